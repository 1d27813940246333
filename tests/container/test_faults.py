"""What goes wrong on the way to a published image: each is told with its cause and what to do."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from livepeer.runner.packaging.engine import ContainerEngine, EngineError
from livepeer.runner.packaging.labels import PACKED_BYTES

from .base_image import VERSION
from .commands import LIVEPEER, Author
from .conftest import Lanes, LocalRegistry, unavailable
from .lanes import Lane, mounts_below, storage

pytestmark = [pytest.mark.container, pytest.mark.slow]


@pytest.mark.parametrize(
    ("more", "packages", "told"),
    [
        pytest.param(
            "system: {packages: [no-such-package]}\n",
            "",
            ["apt-get", "livepeer.yaml: system.packages", "The base is no Debian"],
            id="apt",
        ),
        pytest.param(
            "",
            "no-such-package-of-anybody",
            ["livepeer.yaml:2:", "no-such-package-of-anybody", "See `python` in livepeer.yaml"],
            id="no package",
        ),
        pytest.param(
            "",
            "torch==1.12.1",
            ["livepeer.yaml:2:", f"torch has no wheel for Python {VERSION}", "3.10"],
            id="no wheel",
        ),
        pytest.param(
            "",
            "netifaces==0.11.0",  # as source alone, in C
            [
                "warning: netifaces (livepeer.yaml:2:",
                "gcc",
                "It comes from livepeer.yaml: python.requirements, python.packages.",
                "build-essential",
            ],
            id="no compiler",
        ),
    ],
)
def test_packages_that_cannot_be_had_are_told_with_their_line(
    buildah: Lane, author: Author, more: str, packages: str, told: list[str]
) -> None:
    author.manifest(more, packages=packages)
    refused = author.refused(buildah, "build")
    assert all(part in refused for part in told), refused


def test_a_failing_prepare_shows_its_own_error(builder: Lane, author: Author) -> None:
    author.change('"loud")', '"loud"); raise ValueError("the hub is closed")')
    refused = author.refused(builder, "build")
    assert "the hub is closed" in refused and "It comes from livepeer.yaml: prepare" in refused


def test_a_base_with_another_python_is_told_before_anything_is_installed(
    buildah: Lane, author: Author
) -> None:
    other = "3.13" if VERSION != "3.13" else "3.12"
    file = author.folder / "livepeer.yaml"
    file.write_text(file.read_text().replace(f"'{VERSION}'", f"'{other}'"))
    refused = author.refused(buildah, "build")
    assert f"this base has Python {VERSION}, python.version is {other}" in refused
    assert "or name another base" in refused


def test_a_base_without_python_is_told(buildah: Lane, author: Author) -> None:
    container = subprocess.check_output(
        ["buildah", "from", author.base_image], text=True, env=buildah.environ
    ).strip()
    for command in (
        ["run", container, "--", "rm", "-r", "/usr/local/bin"],
        ["commit", "-q", container, "localhost/bare"],
        ["rm", container],
    ):
        subprocess.run(["buildah", *command], check=True, env=buildah.environ, capture_output=True)
    author.manifest(base="localhost/bare")
    refused = author.refused(buildah, "build")
    assert "It comes from livepeer.yaml: python" in refused
    assert "The base needs Python with pip" in refused


def test_a_base_that_is_nowhere_is_told(
    builder: Lane, author: Author, registry: LocalRegistry
) -> None:
    author.manifest(base=f"{registry.host}/me/nothing:1")
    refused = author.refused(builder, "build")
    assert "livepeer.yaml: base" in refused and "me/nothing" in refused


def test_a_secret_in_the_tree_is_refused_before_anything_is_built(
    buildah: Lane, author: Author
) -> None:
    author.change("class Shout", f'TOKEN = "hf_{"a" * 34}"\n\n\nclass Shout')
    refused = author.refused(buildah, "build", code=2)
    assert "pipeline.py:" in refused and "looks like a secret" in refused


def test_without_a_daemon_docker_is_no_engine(buildah: Lane, author: Author) -> None:
    environ = {**buildah.environ, "DOCKER_HOST": f"unix://{author.folder}/nobody"}
    refused = author.run(environ, "build", "--engine", "docker", code=1)
    assert "docker" in refused and "install buildah" in refused


# --- the registry ------------------------------------------------------------------------------


def test_a_wrong_login_is_told_before_the_build(
    buildah: Lane, author: Author, registry: LocalRegistry, tmp_path: Path
) -> None:
    """The right one is that of all tests."""
    name = f"{registry.host}/me/shout-livepeer-runner"
    nobody = {"HOME": str(tmp_path / "nobody"), "XDG_RUNTIME_DIR": str(tmp_path)}
    for login in (nobody, registry.login(tmp_path / "wrong", "guessed")):
        refused = author.run({**buildah.environ, **login}, "push", "--tag", name, code=4)
        assert f"docker login {registry.host}" in refused and "guessed" not in refused


@pytest.mark.parametrize("name", ["buildah", "docker-legacy"])
def test_a_push_that_the_registry_refuses_is_told_in_its_words(
    engines: Lanes, name: str, author: Author, registry: LocalRegistry, tmp_path: Path
) -> None:
    """The engine's login is wrong where ours is right: `docker login` was for another one."""
    lane = engines.get(name)
    tag = f"{registry.host}/me/shout-livepeer-runner:refused"
    author.build(lane, tag)
    wrong = registry.login(tmp_path / "wrong", "guessed")
    with pytest.raises(EngineError) as caught:
        ContainerEngine(lane.engine, "legacy", {**lane.environ, **wrong}).push(  # type: ignore[arg-type]
            tag, plain_http=False, say=lambda line: None
        )
    assert "refused the push" in str(caught.value) and "docker login" in str(caught.value)


def test_a_registry_that_goes_down_in_mid_push_is_told_and_gets_it_when_it_is_back(
    buildah: Lane, author: Author, registry: LocalRegistry
) -> None:
    name = f"{registry.host}/me/midway-livepeer-runner"
    author.change("Say it louder", "A layer that is nowhere yet")
    process = subprocess.Popen(
        [*LIVEPEER, "push", "--engine", "buildah", "--tag", name],
        cwd=author.folder,
        env=buildah.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    uploads = registry.folder / "data/docker/registry/v2/repositories/me/midway-livepeer-runner"
    with process:
        while process.poll() is None and not any(uploads.glob("_uploads/*")):
            time.sleep(0.01)
        registry.stop()
        _, told = process.communicate(timeout=120)
    try:
        assert process.returncode == 1, told
        assert f"{registry.host} cannot be reached" in told and "Traceback" not in told
        assert not (author.folder / "livepeer.lock").exists(), "nothing was published"
    finally:
        registry.start()
    pushed = author.push(buildah, name)
    assert json.loads(author.run(buildah.environ, "inspect", name))["digest"] == pushed["digest"]


class Refusing(BaseHTTPRequestHandler):
    """A registry that has nothing, and takes nothing under one name."""

    refused = ("POST",)
    answer = 400, "NAME_INVALID", "names have to begin with a team"

    def _answer(self) -> None:
        status, code, message = self.answer
        if self.path.rstrip("/") == "/v2":
            status, body = 200, b"{}"
        elif self.command in self.refused:
            body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
        else:
            status = 404
            body = b'{"errors": [{"code": "NAME_UNKNOWN", "message": "repository name not known"}]}'
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = _answer

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("refused", [("POST",), ("POST", "GET")], ids=["at the push", "at once"])
def test_a_name_that_a_registry_refuses_is_told_in_its_words(
    buildah: Lane, author: Author, refused: tuple[str, ...]
) -> None:
    handler = type("Handler", (Refusing,), {"refused": refused})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            name = f"127.0.0.1:{server.server_port}/mine/shout-livepeer-runner"
            told = author.run(buildah.environ, "push", "--tag", name, code=1)
        finally:
            server.shutdown()
    assert "names have to begin with a team" in told and name in told
    assert not (author.folder / "livepeer.lock").exists(), "nothing was published"
    assert ("Downloaded" not in told) or refused == ("POST",)


# --- the disk ----------------------------------------------------------------------------------


@contextmanager
def disk(place: Path, size: str) -> Iterator[Path]:
    """A disk of that size at a place."""
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        unavailable(f"a small disk: {done.stderr.strip()}")
    try:
        yield place
    finally:
        for mounted in reversed(mounts_below(place)):
            subprocess.run(["umount", "-l", mounted], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB."""
    with disk(tmp_path / "small", "1m") as place:
        yield place


def test_a_full_disk_is_told_where_the_context_is_made(
    buildah: Lane, author: Author, small_disk: Path
) -> None:
    (author.folder / "large.bin").write_bytes(bytes(4_000_000))
    author.manifest("include: [large.bin]\n")
    refused = author.run(
        {**buildah.environ, "TMPDIR": str(small_disk)}, "build", "--engine", "buildah", code=1
    )
    assert "the disk is full" in refused and "TMPDIR" in refused
    assert not list(small_disk.glob("livepeer-*")), "nothing is left there"


def test_an_engine_whose_own_storage_is_full_says_so(
    buildah: Lane, author: Author, tmp_path: Path
) -> None:
    """The base fits, the packages do not; nothing of the step is left."""
    with disk(tmp_path / "engine", "256m") as place:
        environ = {**buildah.environ, **storage(place)}
        archive = f"docker-archive:{tmp_path}/base.tar:{author.base_image}"
        for command, env in (
            (["push", "-q", author.base_image, archive], buildah.environ),
            (["pull", "-q", archive], environ),
        ):
            subprocess.run(["buildah", *command], check=True, capture_output=True, env=env)
        refused = author.run(environ, "build", "--engine", "buildah", code=1)
        assert "No space left on device" in refused and "The engine's disk is full" in refused
        assert "It comes from livepeer.yaml: python.requirements" in refused
        left = subprocess.check_output(["buildah", "containers", "-q"], env=environ, text=True)
        assert not left.split()


def test_a_disk_that_a_step_fills_is_told(buildah: Lane, author: Author) -> None:
    """In `prepare_models`, on a small disk in place of the engine's own."""
    author.change(
        '(cls.model_dir / "weights").write_text("loud")',
        "import pathlib; pathlib.Path('/dev/shm/weights').write_bytes(bytes(1 << 31))",
    )
    refused = author.refused(buildah, "build")
    assert "No space left on device" in refused and "disk is full" in refused


# --- labels ------------------------------------------------------------------------------------

FIELDS = """
class Shout(Pipeline):
    \"\"\"{description}\"\"\"

    version = "1.0.0"

    def predict(self, {fields}) -> str:
        return ""
"""


def test_a_schema_of_the_largest_size_that_a_label_may_have_passes_every_builder(
    builder: Lane, author: Author
) -> None:
    fields = [f"f{i}_{os.urandom(12).hex()}: int = {i}" for i in range(1200)]
    (author.folder / "pipeline.py").write_text(
        "from livepeer.runner import Pipeline\n"
        + FIELDS.format(description="long " * 40_000, fields=", ".join(fields))
    )
    author.manifest()
    file = author.folder / "livepeer.yaml"
    file.write_text(file.read_text().replace("prepare: true\n", ""))
    labels: dict[str, str] = author.build(builder, "localhost/long")["labels"]
    packed = labels["org.livepeer.pipeline.schema.gz"]
    assert 80 * 1024 < len(packed) <= PACKED_BYTES
    told = json.loads(builder.call("inspect", "--type", "image", "localhost/long"))[0]
    kept = told["Config"]["Labels"]
    assert {name: kept.get(name) for name in labels} == labels
