"""A built image as `packaging.container` runs it, for what judges images from outside."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from livepeer.runner.packaging.container import pulled, started
from livepeer.runner.packaging.engine import Engine, EngineError

from .commands import Author
from .conftest import Lanes
from .lanes import Lane

pytestmark = [pytest.mark.container, pytest.mark.slow]

READY_SECONDS = 60.0


def engine_of(lane: Lane) -> Engine:
    return Engine(lane.engine, environ=lane.environ)  # type: ignore[arg-type]


def names(lane: Lane) -> list[str]:
    return lane.call("ps", "--all", "--format", "{{.Names}}").split()


@pytest.mark.parametrize("name", ["buildah", "docker-legacy"])
async def test_an_image_runs_with_mounts_and_variables_and_ends_in_order(
    engines: Lanes, name: str, author: Author, tmp_path: Path
) -> None:
    lane = engines.get(name)
    author.change("def setup(self) -> None:", "def setup(self) -> None:\n        self.checked()")
    author.change(
        "    async def predict",
        "    def checked(self) -> None:\n"
        "        import os\n"
        '        print("told", open("/given/word").read(), os.environ["WORD"], flush=True)\n'
        "        try:\n"
        '            open("/app/written", "w")\n'
        "        except OSError as error:\n"
        '            print("kept:", error.strerror, flush=True)\n\n'
        "    async def predict",
    )
    author.build(lane, "localhost/started")
    (given := tmp_path / "given").mkdir()
    (given / "word").write_text("hello")
    before = names(lane)
    async with started(
        engine_of(lane), "localhost/started", environ={"WORD": "there"}, mounts={given: "/given"}
    ) as container:
        await container.ready(READY_SECONDS)
        assert container.url is not None and container.url.startswith("http://127.0.0.1:")
        assert await container.pid() > 0
        assert await container.stop() == 0
        assert "told hello there" in container.log
        assert "kept: Read-only file system" in container.log
    assert names(lane) == before


async def test_an_image_gets_ready_without_any_network(
    buildah: Lane, shout: Mapping[str, str]
) -> None:
    engine = engine_of(buildah)
    await pulled(engine, shout["reference"])
    async with started(engine, shout["reference"], network="none") as container:
        assert container.url is None
        await container.ready(READY_SECONDS)


async def test_one_that_fails_its_setup_or_ends_is_told_with_its_words_and_removed(
    buildah: Lane, author: Author
) -> None:
    engine = engine_of(buildah)
    author.change("def setup(self) -> None:", "def setup(self) -> None:\n        1 / 0")
    author.build(buildah, "localhost/failing")
    before = names(buildah)
    with pytest.raises(EngineError, match=re.compile(".*ZeroDivisionError", re.DOTALL)):
        async with started(engine, "localhost/failing") as container:
            await container.ready(READY_SECONDS)
    with pytest.raises(EngineError, match="ended with status 2"):
        async with started(
            engine, "localhost/failing", environ={"LIVEPEER_DRAIN_TIMEOUT": "nonsense"}
        ) as container:
            await container.ready(READY_SECONDS)
    assert names(buildah) == before
    with pytest.raises(EngineError, match="has no image localhost/nothing"):
        async with started(engine, "localhost/nothing"):
            pass
