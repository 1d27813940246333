"""`livepeer bench` on an image: what making and starting the container takes, and what it bears."""

from __future__ import annotations

import json
import subprocess

import pytest

from .commands import LIVEPEER, Author
from .conftest import Lanes

pytestmark = [pytest.mark.container, pytest.mark.slow]

LIMIT = 240
IMAGE = "localhost/measured-livepeer-runner"


@pytest.mark.parametrize("name", ["buildah", "docker-legacy"])
def test_an_image_is_started_measured_and_removed(
    name: str, engines: Lanes, author: Author
) -> None:
    """By podman, which runs what buildah made, and by docker."""
    lane = engines.get(name)
    author.build(lane, IMAGE)
    load = ("--rate", "20", "--duration", "2", "--warmup", "0.5")
    done = subprocess.run(
        [*LIVEPEER, "bench", IMAGE, "--engine", lane.runtime, *load],
        env=dict(lane.environ),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    (measured,) = report["loads"]
    assert measured["outcomes"] == {"ok": measured["calls"]}
    assert measured["usage"]["memory_mb"] > 20
    cold = report["cold"]
    assert cold["pull"] is None and cold["create"] > 0
    assert 0 < cold["answers"] <= cold["ready"] < cold["first_result"]
    assert "req/s" in report["paste"] and "cold" in report["paste"]
    assert lane.call("ps", "-aq") == ""
