"""Readers that are slow, or leave, and other event loops: what goes straight to the socket."""

import asyncio
import random
import socket
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path

import psutil
import pytest

from livepeer.trickle.http.http1 import ResponseParser
from livepeer.trickle.server import ServerLimits, TrickleServer
from livepeer.trickle.server.sender import SocketSender

LIMIT = 30.0


async def connect(server: TrickleServer, *, room: int | None = None) -> socket.socket:
    """A reader of `/cam/0` that takes nothing of itself; `room` bytes fit into its socket."""
    host, _, port = server.url.partition("://")[2].partition(":")
    sock = socket.socket()
    if room is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (host, int(port)))
    request = b"GET /cam/0 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    await asyncio.get_running_loop().sock_sendall(sock, request)
    return sock


async def take(sock: socket.socket, answer: ResponseParser, upto: int) -> None:
    """Read on, in pieces of odd sizes, until `upto` bytes of the body are there, or its end."""
    loop = asyncio.get_running_loop()
    while answer.buffered < upto and not answer.complete:
        data = await loop.sock_recv(sock, 7001)
        if not data:
            raise EOFError
        answer.feed(data)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a function says so; its caller has a limit."""
    for _ in iter(condition, True):
        await asyncio.sleep(0.005)


async def readers_at_their_own_pace() -> None:
    """One keeps up, one takes some of each piece, one takes all at the end, one comes late."""
    draw = random.Random(1)
    pieces = [draw.randbytes(draw.choice((1, 900, 40_000, 300_000))) for _ in range(60)]
    async with TrickleServer() as server, asyncio.timeout(LIMIT):
        channel = server.create("cam")
        quick, drip, lazy = [await connect(server, room=r) for r in (None, 20_000, 4_096)]
        answers = [ResponseParser() for _ in range(4)]
        await until(lambda: channel.readers == 3)
        written = 0
        async with channel.segment() as segment:
            for piece in pieces:
                await segment.write(piece)
                written += len(piece)
                await take(quick, answers[0], written)
                await take(drip, answers[1], written // 3)
        late = await connect(server)
        for sock, answer in zip((quick, drip, lazy, late), answers, strict=True):
            await take(sock, answer, 2**40)
            assert b"".join(answer.pieces) == b"".join(pieces)
            sock.close()
        await until(lambda: not channel.readers)


def run_in_asyncio(main: Coroutine[None, None, None]) -> None:
    asyncio.run(main)


def run_in_uvloop(main: Coroutine[None, None, None]) -> None:
    uvloop = pytest.importorskip("uvloop")
    uvloop.run(main)


@pytest.mark.parametrize("run", [run_in_asyncio, run_in_uvloop])
def test_each_reader_gets_every_byte_at_its_own_pace(run: object) -> None:
    assert callable(run)
    run(readers_at_their_own_pace())


async def test_slow_readers_hold_no_bytes_and_leave_no_descriptor() -> None:
    """What they have not taken is in no buffer of their connections; a second descriptor lives as
    long as they read."""
    process = psutil.Process()
    descriptors = process.num_fds()
    async with TrickleServer() as server, asyncio.timeout(LIMIT):
        channel = server.create("cam")
        readers = [await connect(server, room=4_096) for _ in range(5)]
        await until(lambda: channel.readers == 5)
        turn = channel.segment()
        for _ in range(100):
            await turn.write(b"x" * 100_000)
        for reader in readers[:2]:
            reader.close()  # amid the segment
        await until(lambda: channel.readers == 3)
        channel.close()
        answers = [ResponseParser() for _ in readers[2:]]
        for reader, answer in zip(readers[2:], answers, strict=True):
            await take(reader, answer, 2**40)
            assert answer.buffered == 10_000_000
            reader.close()
        await until(lambda: not channel.readers)
    assert process.num_fds() <= descriptors


async def test_a_reader_that_drips_is_cut_by_the_pace_and_not_by_silence() -> None:
    async with TrickleServer(limits=ServerLimits(stall=1.0)) as server, asyncio.timeout(LIMIT):
        channel = server.create("cam")
        sock = await connect(server, room=4_096)
        await until(lambda: channel.readers == 1)
        await channel.write(b"x" * 20_000_000)
        for _ in iter(lambda: channel.readers, 0):  # it takes something all the time
            await asyncio.get_running_loop().sock_recv(sock, 100)
            await asyncio.sleep(0.01)
        sock.close()


def test_tls_and_what_has_no_socket_are_written_through_their_transport(tmp_path: Path) -> None:
    class Transport(asyncio.Transport):
        pass

    assert SocketSender.descriptor(None) is None
    assert SocketSender.descriptor(Transport()) is None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with socket.socket() as sock:
        assert SocketSender.descriptor(Transport({"socket": sock})) == sock.fileno()
        assert SocketSender.descriptor(Transport({"socket": sock, "sslcontext": context})) is None
