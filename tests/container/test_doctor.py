"""`livepeer doctor` judges images: ours by its labels, those of others by their faults."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from .commands import LIVEPEER, Author
from .lanes import Lane

pytestmark = [pytest.mark.container, pytest.mark.slow, pytest.mark.timeout(900)]

LIMIT = 600
FOREIGN = Path(__file__).with_name("foreign_app.py")
CHOSEN = (
    *("image", "process.sigterm", "registration", "http.ready", "http.loading", "batch", "schema"),
)


def foreign(store: Mapping[str, str], base: str, name: str, *settings: str) -> str:
    def buildah(*arguments: str) -> str:
        command = ["buildah", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=store, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    container = buildah("from", base)
    buildah("copy", "-q", container, str(FOREIGN), "/app.py")
    buildah("config", "--entrypoint", '["python3", "/app.py"]', "--port", "8000", container)
    for setting in settings:
        option, _, value = setting.partition(" ")
        buildah("config", option, value, container)
    buildah("commit", "-q", "--format", "docker", container, name)
    buildah("rm", container)
    return name


def examined(environ: Mapping[str, str], image: str, *more: str, code: int) -> dict[str, Any]:
    chosen = [part for one in CHOSEN for part in ("--only", one)]
    done = subprocess.run(
        [*LIVEPEER, "doctor", image, "--engine", "podman", "--json", *chosen, *more],
        env=dict(environ),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == code, done.stderr + done.stdout
    left = subprocess.check_output(["podman", "ps", "-aq"], env=dict(environ), text=True)
    assert left == ""
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def outcomes(document: dict[str, Any], outcome: str) -> set[str]:
    return {one["id"] for one in document["checks"] if one["outcome"] == outcome}


def test_an_image_of_ours_is_clean(buildah: Lane, author: Author) -> None:
    author.build(buildah, "localhost/judged-livepeer-runner")
    document = examined(buildah.environ, "localhost/judged-livepeer-runner", code=0)
    assert outcomes(document, "problem") == set()
    wanted = {"user", "read-only", "secrets", "labels", "platform", "offline", "reaps"}
    assert {f"image.{name}" for name in wanted} <= outcomes(document, "passed")
    registered = {"registration.token", "registration.apps", "registration.unregisters"}
    assert registered <= outcomes(document, "passed")
    assert document["facts"]["platform"] == "linux/amd64"


def test_a_foreign_image_without_a_fault_is_clean(store: dict[str, str], base_image: str) -> None:
    image = foreign(store, base_image, "localhost/careful", "--user 10001:10001")
    document = examined(store, image, code=0)
    assert outcomes(document, "problem") == set()
    assert {"image.offline", "image.reaps", "image.read-only", "process.sigterm"} <= outcomes(
        document, "passed"
    )
    assert {"registration.token", "image.labels"} <= outcomes(document, "not_judged")


def test_a_foreign_image_s_faults_are_found_and_nothing_else(
    store: dict[str, str], base_image: str
) -> None:
    image = foreign(
        store,
        base_image,
        "localhost/careless",
        "--env FAULTS=writes network zombies status",
        "--env API_TOKEN=v3ry-s3cret",
        "--label org.livepeer.pipeline.id=another",
    )
    document = examined(store, image, code=1)
    assert outcomes(document, "problem") == {
        "image.user",
        "image.read-only",
        "image.secrets",
        "image.labels",
        "image.offline",
        "image.reaps",
        "process.sigterm",
    }
    assert "v3ry-s3cret" not in json.dumps(document)


def test_an_image_that_is_nowhere_is_2_and_says_so(store: dict[str, str]) -> None:
    done = subprocess.run(
        [*LIVEPEER, "doctor", "localhost/no-such", "--engine", "podman"],
        env=dict(store),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 2
    assert "has no image localhost/no-such" in done.stderr


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_the_container_is_removed_however_the_doctor_ends(
    store: dict[str, str], base_image: str, how: signal.Signals
) -> None:
    image = foreign(store, base_image, "localhost/left", "--user 10001:10001")

    def there() -> bool:
        return subprocess.check_output(["podman", "ps", "-aq"], env=store, text=True) != ""

    command = [*LIVEPEER, "doctor", image, "--engine", "podman", "--only", "http.keep-alive"]
    with subprocess.Popen(command, env=store, stderr=subprocess.PIPE) as doctor:
        assert doctor.stderr is not None
        while b"http.keep-alive" not in doctor.stderr.readline():
            assert doctor.poll() is None
        assert there()
        doctor.send_signal(how)
    deadline = time.monotonic() + LIMIT
    while there():
        assert time.monotonic() < deadline
        time.sleep(0.1)
