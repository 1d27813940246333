"""The whole road: a class, its image, a registry, a container, an orchestrator, and calls."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from livepeer.client import Gateway, NoOrchestratorError
from livepeer.runner.devnet import LocalOrchestrator
from livepeer.trickle.media import VideoFrame

from .commands import PIPELINE, TINT, Author
from .conftest import LocalRegistry
from .lanes import Lane, RunningContainer

pytestmark = [pytest.mark.container, pytest.mark.slow]

LIMIT = 60.0


async def until(true: Callable[[], bool], container: RunningContainer) -> None:
    deadline = asyncio.get_running_loop().time() + LIMIT
    while not true():
        late = asyncio.get_running_loop().time() > deadline
        assert not container.ended and not late, f"not within {LIMIT:g} s:\n{container.log}"
        await asyncio.sleep(0.05)


async def offered(gw: Gateway, name: str) -> None:
    """A registry learns with the next heartbeat that the session before has left its place."""
    async with asyncio.timeout(LIMIT):
        while True:
            found = await gw.capabilities_async([name])
            if any(info.available for info in found):
                return
            await asyncio.sleep(0.1)


async def pictures() -> AsyncIterator[VideoFrame]:
    i = 0
    while True:
        array = np.full((192, 320, 3), 100, np.uint8)
        yield VideoFrame.from_ndarray(array, time=i / 30)
        i += 1


@asynccontextmanager
async def joined(
    lane: Lane, image: str, name: str, orchestrator: LocalOrchestrator, port: int
) -> AsyncIterator[RunningContainer]:
    """The image, pulled by its digest and run until both registries have it; and its end."""
    await asyncio.to_thread(lane.pull, image)
    with lane.running(
        image,
        f"livepeer-test-{lane.name}-{name}",
        PORT=str(port),
        LIVEPEER_ORCH_URL=orchestrator.url,
        LIVEPEER_ORCH_SECRET=orchestrator.secret,
        LIVEPEER_CAPABILITY_URL=f"http://127.0.0.1:{port}",
        LIVEPEER_REGISTRATION="both",
        LIVEPEER_APP=f"me/{name}",
        LIVEPEER_IMAGE=image.partition("/")[2],
    ) as container:

        def is_registered() -> bool:
            return orchestrator.capabilities.get(name) is not None and len(orchestrator.runners) > 0

        await until(is_registered, container)
        yield container
        status = await asyncio.to_thread(container.stop)
        assert status == 0, container.log
        assert orchestrator.capabilities.get(name) is None and len(orchestrator.runners) == 0
        assert "Traceback" not in container.log


async def test_from_a_class_to_calls_by_each_verb(
    lane: Lane,
    registry: LocalRegistry,
    base_image: str,
    tmp_path: Path,
    unused_tcp_port: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LIVEPEER_PINS", str(tmp_path / "pins.json"))
    images = {}
    for name, source in (("shout", PIPELINE), ("tint", TINT)):
        (folder := tmp_path / name).mkdir()
        author = Author.begin(folder, base_image, source)
        place = f"{registry.host}/{lane.name}/{name}-livepeer-runner"
        pushed = await asyncio.to_thread(author.push, lane, place)
        images[name] = pushed["reference"]
        assert images[name] == f"{place}@{pushed['digest']}"
        told = json.loads(await asyncio.to_thread(author.run, lane.environ, "inspect", place))
        assert told["digest"] == pushed["digest"] and told["pipeline"]["id"] == name
        # What runs has come from the registry, not from the build.
        for tag in ("1.0.0", "latest"):
            lane.call("rmi", "-f", f"{place}:{tag}")

    async with (
        LocalOrchestrator() as orchestrator,
        Gateway(orch_url=orchestrator.url, tls="pin") as gw,
    ):
        async with joined(lane, images["shout"], "shout", orchestrator, unused_tcp_port):
            # By both of the roads on which it is registered.
            for name in ("shout", "me/shout"):
                words = await gw.run_async(name, input={"text": "hello there"})
                assert words == ["HELLO loud", "THERE loud"]
                async with gw.stream_async(name, input={"text": "one two"}) as events:
                    found = [event.json() async for event in events]
                assert found == ["ONE loud", "TWO loud"]
            # By its digest, which the container tells; and not by another.
            pinned = f"byoc/{images['shout'].partition('/')[2]}"
            assert await gw.run_async(pinned, input={"text": "pinned"}) == ["PINNED loud"]
            with pytest.raises(NoOrchestratorError, match="only"):
                await gw.run_async(f"{pinned[:-64]}{'0' * 64}", input={"text": "other"})
        async with joined(lane, images["tint"], "tint", orchestrator, unused_tcp_port):
            for name in ("tint", "me/tint"):
                await offered(gw, name)
                async with asyncio.timeout(LIMIT), gw.live(name, params={"u": 200}) as session:
                    session.publish(pictures())
                    async for frame in session.subscribe():
                        if isinstance(frame, VideoFrame):
                            break
                    assert abs(float(frame.planes[1].mean()) - 200) < 4
