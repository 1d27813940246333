"""`livepeer bench` on an image: what making and starting the container takes, and what it bears."""

from __future__ import annotations

import json
import subprocess

import pytest

from .commands import LIVEPEER, Author
from .lanes import Lane

pytestmark = [pytest.mark.container, pytest.mark.slow]

LIMIT = 240
IMAGE = "localhost/measured-livepeer-runner"


def test_an_image_is_started_measured_and_removed(buildah: Lane, author: Author) -> None:
    author.build(buildah, IMAGE)
    load = ("--rate", "20", "--duration", "2", "--warmup", "0.5")
    done = subprocess.run(
        [*LIVEPEER, "bench", IMAGE, "--engine", "podman", *load],
        env=dict(buildah.environ),
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
    left = subprocess.check_output(["podman", "ps", "-aq"], env=dict(buildah.environ), text=True)
    assert left == ""
