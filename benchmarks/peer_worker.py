"""One of the peers, in the environment that it is installed in: told what to do, a line at a time.

`peers.py` starts it with that environment's Python. A line is a JSON list, the answer a number:
seconds for `count` of them.
Nothing of this repository is imported here.
"""

import asyncio
import json
import logging
import sys
import time
from typing import Any


async def publish_gateway(url: str, size: int, count: int) -> float:
    from livepeer_gateway.trickle_publisher import TricklePublisher

    data, begun = bytes(size), time.perf_counter()
    async with TricklePublisher(url, "video/mp2t") as publisher:
        for _ in range(count):
            async with await publisher.next() as segment:
                await segment.write(data)
    return time.perf_counter() - begun


async def subscribe_gateway(url: str, size: int, count: int) -> float:
    from livepeer_gateway.trickle_subscriber import TrickleSubscriber

    async with TrickleSubscriber(url, start_seq=0) as subscriber:
        return await _read(subscriber, size, count, lambda segment: segment.make_reader())


async def subscribe_pytrickle(url: str, size: int, count: int) -> float:
    from pytrickle.subscriber import TrickleSubscriber

    async with TrickleSubscriber(url, start_seq=0) as subscriber:
        return await _read(subscriber, size, count, lambda segment: segment)


async def _read(subscriber: Any, size: int, count: int, reader_of: Any) -> float:
    got, begun = 0, time.perf_counter()
    for _ in range(count):
        segment = await subscriber.next()
        reader = reader_of(segment)
        while chunk := await reader.read(64 * 1024):
            got += len(chunk)
    if got != size * count:
        raise RuntimeError(f"{got} of {size * count} bytes")
    return time.perf_counter() - begun


async def httpx_async(url: str, width: int, count: int) -> float:
    import httpx

    async with httpx.AsyncClient() as client:

        async def lane() -> None:
            for _ in range(count // width):
                (await client.post(url, json={"text": "hello"})).raise_for_status().json()

        begun = time.perf_counter()
        await asyncio.gather(*(lane() for _ in range(width)))
        return time.perf_counter() - begun


def httpx_sync(url: str, _: int, count: int) -> float:
    import httpx

    with httpx.Client() as client:
        begun = time.perf_counter()
        for _ in range(count):
            client.post(url, json={"text": "hello"}).raise_for_status().json()
        return time.perf_counter() - begun


def _tell(value: float | str) -> None:
    print(json.dumps(value), file=_answers, flush=True)


_answers = sys.stdout


def main() -> None:
    global _answers
    # What a peer prints is not an answer.
    _answers, sys.stdout = sys.stdout, sys.stderr
    logging.disable(logging.CRITICAL)
    while line := sys.stdin.readline():
        name, *arguments = json.loads(line)
        try:
            made = globals()[name](*arguments)
            _tell(asyncio.run(made) if asyncio.iscoroutine(made) else made)
        except Exception as error:  # noqa: BLE001 — a peer that cannot is left out
            _tell(f"{type(error).__name__}: {error}"[:200])


if __name__ == "__main__":
    main()
