"""A server of bytes, for tests: nothing of it outlives it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import warnings
from typing import Any

import pytest

from livepeer.trickle.testing.streams import StreamServer


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("turns", range(8))
async def test_a_connection_ends_with_it_however_new_it_is(turns: int) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        server = StreamServer(hang)
        await server.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for _ in range(turns):
            await asyncio.sleep(0)
        await server.stop()
        assert not server.tasks
        with pytest.raises(OSError, match=r".*"):
            # It was reset, or never accepted.
            if await asyncio.wait_for(reader.read(), 10) == b"":
                raise ConnectionResetError
        writer.close()
        await asyncio.sleep(0)
        del reader, writer, server
        gc.collect()
    assert [str(each.message) for each in caught] == []


async def test_one_that_is_accepted_in_the_turn_of_its_end_is_met_and_ended() -> None:
    """As often as it takes: nobody can say in which turn the system tells of a connection."""
    loop = asyncio.get_running_loop()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        for turns in range(40):
            server = StreamServer(hang)
            await server.start()
            with socket.socket() as client:
                client.setblocking(False)
                connecting = loop.create_task(loop.sock_connect(client, ("127.0.0.1", server.port)))
                for _ in range(turns % 4):
                    await asyncio.sleep(0)
                await server.stop()
                with contextlib.suppress(OSError):
                    await asyncio.wait_for(connecting, 10)
        del server
        gc.collect()
    assert [str(each.message) for each in caught] == []


async def test_what_nobody_reads_ends_with_it() -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(bytes(50_000_000))

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        async with StreamServer(flood) as server:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            async with asyncio.timeout(10):
                while server.tasks:  # noqa: ASYNC110
                    await asyncio.sleep(0)
        writer.close()
        await asyncio.sleep(0)
        gc.collect()
    assert [str(each.message) for each in caught] == []


async def test_it_comes_back_where_it_was() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")

    server = StreamServer(greet)
    for _ in range(2):
        async with server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            assert await asyncio.wait_for(reader.read(), 10) == b"hello"
            writer.close()


async def test_a_fault_of_its_own_is_told_and_a_peer_that_left_is_none() -> None:
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    faults: list[Exception] = [ConnectionResetError(), ValueError("a fault of the test's own")]

    async def fail(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fault = faults.pop(0)
        raise fault

    async with StreamServer(fail) as server:
        for _ in range(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            assert await asyncio.wait_for(reader.read(), 10) == b""
            writer.close()
    assert [str(each["exception"]) for each in told] == ["a fault of the test's own"]
