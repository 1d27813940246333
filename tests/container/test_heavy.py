"""What takes minutes: an image of every example, and 300 MB of weights."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from .base_image import VERSION
from .commands import LIVEPEER, Author
from .conftest import LocalRegistry
from .lanes import Lane

pytestmark = [pytest.mark.container, pytest.mark.slow]

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = sorted(file.parent.name for file in EXAMPLES.glob("[a-z]*/livepeer.yaml"))
LIMIT = 120.0


CALLS = {
    "hello_world": ("name=Ada",),
    "embeddings": ("text=a cat",),
    "text_to_speech": ("text=hello",),
    "llm_chat": ('messages=[{"role": "user", "content": "Say hello."}]', "max_tokens=8"),
}
"""Inputs of those that are called once in their image, without a network."""
MEASURED = {"hello_world", "live_grayscale"}
"""A light one, and a live one: judged by `livepeer doctor` and measured by `livepeer bench`."""


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("name", NAMES)
def test_the_image_of_an_example_builds_and_gets_ready(
    name: str,
    buildah: Lane,
    base_image: str,
    request: pytest.FixtureRequest,
    registry: LocalRegistry,
    tmp_path: Path,
    unused_tcp_port: int,
) -> None:
    """`scripts/test-containers --all -s` prints a line of the table for each."""
    folder = tmp_path / name
    shutil.copytree(EXAMPLES / name, folder)
    manifest = yaml.safe_load((folder / "livepeer.yaml").read_text())
    base = request.getfixturevalue("debian_image") if manifest.get("system") else base_image
    # Weights come from a hub on the internet: what is shown here is the image without them.
    prepares = manifest.pop("prepare", False)
    manifest["python"] = {**manifest.get("python", {}), "version": VERSION}
    (folder / "livepeer.yaml").write_text(yaml.safe_dump({**manifest, "base": base}))
    author = Author(folder, base)
    tag = f"{registry.host}/examples/{name.replace('_', '-')}-livepeer-runner"
    started = time.monotonic()
    # llm_chat's runtime is built from its source in the image.
    pushed = json.loads(
        author.run(buildah.environ, "push", "--engine", "buildah", "--tag", tag, limit=2400)
    )
    seconds = time.monotonic() - started
    told = json.loads(author.run(buildah.environ, "inspect", pushed["reference"]))
    runs = "without its weights not run"
    if not prepares:
        image = pushed["reference"]
        buildah.pull(image)
        runs = "ready, and ended with status 0"
        if name in CALLS:
            given = [part for each in CALLS[name] for part in ("-i", each)]
            assert buildah.in_image(image, "livepeer", "predict", *given).strip()
            runs = f"a call without a network; {runs}"
        with buildah.running(
            image, f"livepeer-example-{name}", PORT=str(unused_tcp_port)
        ) as container:
            deadline = time.monotonic() + LIMIT
            while not is_ready(unused_tcp_port):
                late = time.monotonic() > deadline
                assert not container.ended and not late, container.log
                time.sleep(0.1)
            assert container.stop() == 0, container.log
        if name in MEASURED:
            runs = f"{judged_and_measured(buildah, image)}; {runs}"
    own = sum(layer["size"] for layer in told["layers"][1:])
    print(
        f"\n| {name} | {told['size'] / 1e6:.0f} MB | {own / 1e6:.0f} MB | {seconds:.0f} s "
        f"| {runs} |"
    )


def judged_and_measured(lane: Lane, image: str) -> str:
    """Nothing must be mended, and it bears something; neither leaves a container."""

    def livepeer(*arguments: str) -> dict[str, Any]:
        done = subprocess.run(
            [*LIVEPEER, *arguments, "--engine", lane.runtime],
            env=dict(lane.environ),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stderr + done.stdout
        assert lane.call("ps", "-aq") == ""
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    summary = livepeer("doctor", image, "--quick", "--json")["summary"]
    assert summary["must"] == 0 and summary["passed"] > 10
    report = livepeer("bench", image, "--duration", "2", "--warmup", "0.5", "--no-null")
    assert report["cold"]["first_result"] > 0
    if report["live"] is not None:
        assert all(one["first_ms"] for step in report["live"]["steps"] for one in step["each"])
    else:
        assert all(load["outcomes"].get("ok") for load in report["loads"])
    return f"doctor: {summary['passed']} passed; {report['paste']}"


def is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.mark.timeout(900)
def test_300_mb_of_weights_are_in_a_layer_of_their_own_that_goes_over_once(
    buildah: Lane, author: Author, registry: LocalRegistry
) -> None:
    author.change(
        '(cls.model_dir / "weights").write_text("loud")',
        'import os; (cls.model_dir / "weights").write_bytes(os.urandom(1 << 20) * 300)',
    )
    author.change('self.model_dir / "weights").read_text()', 'self.model_dir / "weights").name')
    name = f"{registry.host}/me/heavy-livepeer-runner"
    before = author.push(buildah, name)
    told = json.loads(author.run(buildah.environ, "inspect", name))
    weights = [layer for layer in told["layers"] if layer["size"] > 300_000_000]
    assert len(weights) == 1
    author.change("word.upper()", "word.title()")
    started = time.monotonic()
    after = author.push(buildah, name)
    taken = time.monotonic() - started
    print(f"\n300 MB of weights: pushed again after a change of code: {taken:.1f} s")
    told = json.loads(author.run(buildah.environ, "inspect", name))
    assert after["digest"] != before["digest"] and weights[0] in told["layers"]
