"""The network breaks: an orchestrator or a container dies, comes back, or never was there."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from livepeer.client import (
    CertificateChangedError,
    Gateway,
    NoCapacityError,
    SessionEndedError,
)

from .media import LIMIT, chroma, endless, take
from .network import EXAMPLES, HERE, Network

PIPELINES = HERE / "pipelines.py"
HELLO = EXAMPLES / "hello_world" / "pipeline.py"


async def trust(url: str) -> None:
    """What the error tells its reader to do."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from livepeer.trickle.cli import main; main()"),
        *("trust", url.removeprefix("https://"), "--yes"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(process.communicate(), LIMIT)
    assert process.returncode == 0, said.decode()


@pytest.mark.slow
async def test_after_a_crash_of_the_orchestrator_the_container_comes_back_by_itself(
    network: Network, gw: Gateway
) -> None:
    hello = network.serve(HELLO)
    assert await gw.run_async(hello.capability) == "Hello, world!"
    before = len(hello.process.lines)
    network.processes[0].kill()
    await hello.process.says("is not registered at .* trying again", before)
    await asyncio.to_thread(network.orchestrator, network.port)
    await hello.process.says("certificate", before)
    await hello.process.says("hello-world is registered at", before)
    with pytest.raises(CertificateChangedError) as caught:
        await gw.run_async(hello.capability)
    assert not caught.value.may_have_run
    assert "livepeer trust" in str(caught.value)
    await trust(network.url)
    async with Gateway(orch_url=network.url, tls="pin") as again:
        assert await again.run_async(hello.capability) == "Hello, world!"


@pytest.mark.slow
async def test_a_container_that_dies_ends_its_session_with_the_reason_and_a_new_one_works(
    network: Network, gw: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("livepeer.client.live.events.SILENCE", 6.0)
    paint = network.serve(PIPELINES, "paint")
    async with gw.live(paint.capability, params={"u": 60}) as session:
        session.publish(endless())
        frames = session.subscribe()
        await take(frames, 10)
        paint.process.kill()
        with pytest.raises(SessionEndedError) as caught:
            await take(frames)
        assert "6 s" in str(caught.value) and session.ended in str(caught.value)
    network.serve(PIPELINES, "paint")
    async with gw.live(paint.capability, params={"u": 200}) as session:
        session.publish(endless())
        found = await take(session.subscribe(), 10)
    assert all(abs(chroma(frame)[0] - 200) < 3 for frame in found)


@pytest.mark.slow
async def test_a_container_that_is_stopped_ends_its_streams_first_and_says_why(
    network: Network, gw: Gateway
) -> None:
    paint = network.serve(PIPELINES, "paint")
    async with gw.live(paint.capability) as session:
        session.publish(endless())
        frames = session.subscribe()
        await take(frames, 10)
        stopping = asyncio.create_task(asyncio.to_thread(paint.process.stop))
        with pytest.raises(SessionEndedError, match="shutting down"):
            await take(frames)
        async with asyncio.timeout(LIMIT):
            assert "shutting down" in await session.wait()
            await stopping
    assert "the painting was stopped" in paint.process.log
    async with Gateway(orch_url=network.url, tls="pin", max_retries=0) as once:
        with pytest.raises(NoCapacityError):
            await once.live(paint.capability).__aenter__()


@pytest.mark.slow
async def test_a_container_serves_on_without_its_orchestrator_and_says_what_is_wrong(
    network: Network, tmp_path: Path
) -> None:
    hello = network.serve(HELLO, env={"LIVEPEER_ORCH_SECRET": "another"}, registered=False)
    said = await hello.process.says("ERROR .* is not registered at")
    assert "LIVEPEER_ORCH_SECRET" in said.string
    assert "another" not in hello.process.log and network.secret not in hello.process.log
