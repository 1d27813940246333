"""A thousand clients that come and go, also cancelled at any point, leave nothing behind."""

import asyncio
import contextlib
import gc
import os
import random
import socket
import threading
import tracemalloc
import warnings
import weakref
from collections.abc import Iterator

import pytest

from livepeer.trickle import (
    JSONLPublisher,
    JSONLSubscriber,
    Timeouts,
    Transport,
    TrickleError,
    TricklePublisher,
    TrickleServer,
    TrickleSubscriber,
)
from livepeer.trickle.http import transport as transport_module
from livepeer.trickle.http.connection import ClientConnection
from livepeer.trickle.http.state import ExchangeState

_LIMITS = Timeouts(connect=5, write=2, answer=2, silence=5, outage=2)


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


async def _publish(url: str) -> None:
    async with TricklePublisher(
        url, create=True, linger=0, delete_on_close=False, timeouts=_LIMITS
    ) as publisher:
        for _ in range(2):
            async with publisher.segment() as segment:
                await segment.write(b"x" * 3000)
                await segment.write(b"y")


async def _subscribe(url: str) -> None:
    async with TrickleSubscriber(url, start="current", timeouts=_LIMITS) as subscriber:
        async for segment in subscriber:
            async for _ in segment:
                break
            break


async def _write_records(url: str) -> None:
    async with JSONLPublisher(
        url, create=True, linger=0, delete_on_close=False, timeouts=_LIMITS
    ) as publisher:
        await publisher.write({"a": 1})


async def _read_records(url: str) -> None:
    async with JSONLSubscriber(url, timeouts=_LIMITS) as subscriber:
        await anext(subscriber)


async def _settled(tasks: int, descriptors: int) -> None:
    """Let what was cancelled end, as long as there is more than that; who waits looks himself."""
    for _ in range(3000):
        await asyncio.sleep(0.01)
        if len(asyncio.all_tasks()) <= tasks and _descriptors() <= descriptors:
            return


@pytest.mark.slow
async def test_clients_that_come_and_go_leave_no_task_no_descriptor_and_no_memory() -> None:
    chance = random.Random(20261121)

    async def cycle(url: str, number: int) -> None:
        client = (_publish, _subscribe, _write_records, _read_records)[number % 4]
        task = asyncio.create_task(client(f"{url}{number % 4 // 2}"))
        if chance.random() < 0.5:
            # From before the first connection to after the last byte.
            await asyncio.wait((task,), timeout=chance.random() * 0.006)
            task.cancel()
        # A reader that comes after a segment without a byte waits for the next: it is cancelled.
        with contextlib.suppress(asyncio.CancelledError, TrickleError, TimeoutError):
            await asyncio.wait_for(task, 0.1)

    async with TrickleServer() as server:
        url = server.channel_url("cam")
        for name in ("cam0", "cam1"):
            await server.create(name, "application/jsonl").write(b'{"a":1}\n')
        tasks, descriptors = len(asyncio.all_tasks()) + 2, _descriptors() + 4
        for number in range(100):
            await cycle(url, number)
        await _settled(tasks, descriptors)
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.take_snapshot()
        for number in range(400):
            await cycle(url, number)
        await _settled(tasks, descriptors)
        gc.collect()
        grown = sum(
            entry.size_diff for entry in tracemalloc.take_snapshot().compare_to(before, "filename")
        )
        tracemalloc.stop()
        assert len(asyncio.all_tasks()) <= tasks, asyncio.all_tasks()
        assert _descriptors() <= descriptors
        assert grown < 400_000, f"{grown:,} bytes"
    assert not transport_module._shared.get(asyncio.get_running_loop())


async def test_clients_of_one_loop_share_a_pool_and_the_last_one_closes_it(
    server: TrickleServer,
) -> None:
    url = server.channel_url("cam")
    first, second = TrickleSubscriber(url), TrickleSubscriber(url)
    async with first:
        async with second:
            assert first._channel.transport is second._channel.transport
        assert isinstance(first._channel.transport, Transport)
        assert transport_module._shared
    assert asyncio.get_running_loop() not in transport_module._shared


@contextlib.contextmanager
def _unclosed() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield


def test_a_loop_that_has_ended_is_not_kept_by_what_was_left_open_in_it() -> None:
    async def leave(
        port: int,
    ) -> tuple[TrickleSubscriber, "weakref.ref[asyncio.AbstractEventLoop]"]:
        left = TrickleSubscriber(f"http://127.0.0.1:{port}/cam")
        await left.__aenter__()
        async with asyncio.timeout(30):
            while not (left._pending and left._pending.state is ExchangeState.SENT):  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        return left, weakref.ref(asyncio.get_running_loop())

    with _unclosed(), socket.create_server(("127.0.0.1", 0)) as silent:
        left, loop = asyncio.run(leave(silent.getsockname()[1]))
        del left
        gc.collect()
        assert loop() is None


@pytest.mark.parametrize("client", [TrickleSubscriber, TricklePublisher])
async def test_a_client_that_another_thread_drops_is_given_up_in_its_loop(
    client: type[TrickleSubscriber | TricklePublisher], monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []
    abort = ClientConnection.abort

    def watched(connection: ClientConnection) -> None:
        threads.append(threading.get_ident())
        abort(connection)

    monkeypatch.setattr(ClientConnection, "abort", watched)
    async with TrickleServer() as server:
        server.create("cam")
        left = [client(server.channel_url("cam"))]
        await left[0].__aenter__()
        shared = Transport.lease(None)
        async with asyncio.timeout(30):
            while not shared.connections:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        await Transport.release(shared)
        with _unclosed():
            await asyncio.to_thread(left.clear)
            await asyncio.to_thread(gc.collect)
        async with asyncio.timeout(30):
            while not threads:  # noqa: ASYNC110 — the loop is told by the other thread
                await asyncio.sleep(0.005)
        assert set(threads) == {threading.get_ident()}
    assert asyncio.get_running_loop() not in transport_module._shared
