"""Where a live session goes, and what it takes there: only what its orchestrator may name."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from livepeer.client import ConfigurationError, Gateway, LivepeerError, ProtocolError
from livepeer.client.testing import ScriptedOrchestrator, reply
from livepeer.trickle.testing.streams import StreamServer

from .scripts import answers, asked

Start = Callable[..., Any]
NAMES = ("X_Publish_Url", "X_Subscribe_Url", "X_Control_Url", "X_Events_Url", "X_Data_Url")


@contextlib.asynccontextmanager
async def victim() -> AsyncIterator[tuple[str, list[int]]]:
    """Another service on this machine, and how often it was connected to."""
    connections: list[int] = []

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(1)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with StreamServer(serve) as server:
        yield f"127.0.0.1:{server.port}", connections


def started_at(**urls: str) -> Callable[[Any], list[Any]]:
    """A start whose channels are the orchestrator's own, but for those that are named."""

    def script(request: Any) -> list[Any]:
        if not request.path.endswith("/start"):
            return answers()(request)
        own = f"http://{request.headers['host']}/ai/trickle/x"
        return reply(b"", **(dict.fromkeys(NAMES, own) | urls))

    return script


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://{victim}/x", "is at {victim}"),
        ("http://localhost:{port}/x", "is at localhost"),
        ("http://[::1]:{port}/x", "is at "),
        ("http://2130706433:{port}/x", "is at 2130706433"),
        ("http://me:secret@{own}/x", "user name"),
        ("http://{own}@{victim}/x", "user name|is at"),
        ("http://{own}\\\\@{victim}/x", "no URL"),
        ("http://{own}/", "names no channel"),
        ("file:///etc/passwd", "http"),
        ("gopher://{own}/x", "http"),
        ("http://{own}:99999/x", "no URL"),
        ("http://{own}/" + "x" * 5000, "no URL"),
    ],
)
async def test_a_session_goes_to_nobody_but_its_orchestrator(
    start: Start, name: str, url: str, told: str
) -> None:
    async with victim() as (place, connections):
        orch = await start()
        port = place.rpartition(":")[2]
        own = orch.url.removeprefix("http://")
        there = url.replace("\\\\", "\\").format(victim=place, own=own, port=port)
        orch.other = started_at(**{name: there})
        async with Gateway(orch_url=orch.url) as gw:
            with pytest.raises(ProtocolError, match=told.format(victim=place)) as caught:
                async with gw.live("tint"):
                    raise AssertionError("it has started")
        assert caught.value.may_have_run and caught.value.orchestrator == orch.url
        assert name.replace("_", "-") in str(caught.value) and "secret" not in str(caught.value)
        assert len(asked(orch, "stop")) == 1 and not connections


@pytest.mark.parametrize("how", ["argument", "environment", "port"])
async def test_a_host_that_the_caller_allows_is_gone_to(
    start: Start, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other: ScriptedOrchestrator = await start()
    place = other.url.removeprefix("http://")
    orch = await start(other=started_at(X_Control_Url=f"http://{place}/x"))
    allowed = "127.0.0.1" if how == "argument" else place
    if how == "environment":
        monkeypatch.setenv("LIVEPEER_TRICKLE_HOSTS", f"elsewhere, {allowed}")
    hosts = None if how == "environment" else [allowed]
    async with Gateway(orch_url=orch.url, trickle_hosts=hosts) as gw, gw.live("tint") as session:
        await asyncio.wait_for(session.wait(), 30)
    assert other.others


@pytest.mark.parametrize("value", ["http://a:1", "me@a", [3]])
def test_what_is_no_host_is_refused_when_the_gateway_is_made(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="trickle_hosts"):
        Gateway(orch_url="http://127.0.0.1:1", trickle_hosts=value)


async def test_a_tls_orchestrators_channels_are_not_plain(
    start: Start, certificate: Callable[[], Any]
) -> None:
    orch = await start(ssl_context=certificate(), other=started_at())
    async with Gateway(orch_url=orch.url, tls="insecure") as gw:
        with pytest.raises(ProtocolError, match="plain http"):
            await gw.live("tint").__aenter__()


@pytest.mark.parametrize("stream_id", ["..", "a/../../x", "a b", "", "\x1b[2J", 3, None, "x" * 999])
async def test_a_gateways_stream_id_names_one_stream_and_no_other_path(
    start: Start, stream_id: Any
) -> None:
    gateway = await start(other=answers(start=reply({"stream_id": stream_id}), stop=reply("{}")))
    async with Gateway(gateway_url=gateway.url) as gw:
        with pytest.raises(LivepeerError, match="which stream"):
            await gw.live("tint").__aenter__()
    # Told to stop is the stream that was asked for.
    (stopped,) = asked(gateway, "stop")
    assert stopped.path == f"/process/stream/{asked(gateway, 'start')[0].job['id']}/stop"
