"""A server that ends answers what was sent to it: no connection is reset under a request."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import uvicorn

from livepeer.runner import Pipeline
from livepeer.runner.http import connection
from livepeer.runner.serving.app import create_app
from livepeer.runner.serving.listener import bind
from livepeer.runner.serving.server import server_config, uvicorn_server
from livepeer.runner.settings import Settings

HEAD = b"POST /predict HTTP/1.1\r\nhost: here\r\ncontent-type: application/json\r\n"
REQUEST = HEAD + b"content-length: 2\r\n\r\n{}"


class One(Pipeline):
    def predict(self) -> int:
        return 1


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[uvicorn.Server, asyncio.Task[None], int]]:
    app = create_app(One, Settings.from_env({}))
    listener = bind("127.0.0.1", 0)
    server = uvicorn_server(server_config(app))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    async with asyncio.timeout(20):
        await app.state.service.lifecycle.wait_settled()
        await until(lambda: server.started)
        yield server, task, listener.getsockname()[1]
        server.should_exit = True
        await task


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 — uvicorn tells nobody
        await asyncio.sleep(0.005)


async def accepted(server: uvicorn.Server) -> None:
    await until(lambda: server.server_state.connections)


async def closing(server: uvicorn.Server) -> None:
    """Until it has told its connections."""
    server.should_exit = True
    await until(lambda: not (server.servers and server.servers[0].is_serving()))


async def test_a_connection_is_answered_whose_request_comes_as_the_server_ends() -> None:
    async with serving() as (server, task, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await accepted(server)
        await closing(server)
        writer.write(REQUEST)
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"1")
        assert b"connection: close" in answer.lower()
        writer.close()
        await task


async def test_a_request_that_is_not_read_yet_is_answered() -> None:
    """Also on a connection that had answers before."""
    async with serving() as (server, task, port):
        with socket.create_connection(("127.0.0.1", port)) as first:
            first.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(first, REQUEST)
            assert b"200 OK" in await loop.sock_recv(first, 4096)
            server.should_exit = True
            for each in list(server.server_state.connections):
                # The loop has had no turn between these two, as when both come in one.
                assert first.send(REQUEST) == len(REQUEST)
                type(each).leaving = True  # type: ignore[union-attr]
                each.shutdown()
            answer = b""
            while piece := await loop.sock_recv(first, 4096):
                answer += piece
            assert answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"1")
        await task


@pytest.mark.parametrize("sent", [b"", REQUEST[:30]], ids=["nothing", "half a head"])
async def test_who_sends_no_request_does_not_hold_the_end_up(sent: bytes) -> None:
    async with serving() as (server, task, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        await accepted(server)
        server.should_exit = True
        ending = await reader.read()  # long before a head's own limit of 15 s
        assert ending == b"" if not sent else ending.startswith(b"HTTP/1.1 408")
        writer.close()
        async with asyncio.timeout(10):
            await task


async def test_an_idle_connection_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not wait for what may be on its way on a new one."""
    monkeypatch.setattr(connection, "LEAVING_SECONDS", 60.0)
    async with serving() as (server, task, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST)
        await reader.readuntil(b"\r\n\r\n1")
        await closing(server)
        async with asyncio.timeout(10):
            assert await reader.read() == b""
        writer.close()
        await task
