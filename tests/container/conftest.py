"""Engines, a registry, and a base image, for the whole session."""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import pytest

from . import base_image as base
from . import lanes
from .commands import Author
from .lanes import CannotRun, Lane

LIMIT = 60.0
PASSWORD = "s3cret"


def unavailable(why: str) -> NoReturn:
    """Where the lane is known to be whole, what is missing fails; elsewhere it is told."""
    if os.environ.get("LIVEPEER_CONTAINERS_STRICT"):
        pytest.fail(f"needed here: {why}")
    pytest.skip(f"not run: {why}")


def needs(*programs: str) -> None:
    if missing := [name for name in programs if not shutil.which(name)]:
        unavailable(f"{' and '.join(missing)} (apt-get install)")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Wheels and resolved packages are made once for all tests, and not for this user."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        # uv's own, with what it has downloaded before.
        kept = subprocess.run(["uv", "cache", "dir"], capture_output=True, text=True, check=False)
        if kept.returncode == 0:
            patch.setenv("UV_CACHE_DIR", kept.stdout.strip())
        yield


@dataclass
class LocalRegistry:
    """Debian's registry on loopback, with the user `me`; it can be taken down and brought back."""

    host: str
    folder: Path
    _process: subprocess.Popen[bytes] | None = None

    @classmethod
    def make(cls, folder: Path) -> LocalRegistry:
        needs("docker-registry", "htpasswd")
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        command = ["htpasswd", "-Bbc", str(folder / "htpasswd"), "me", PASSWORD]
        subprocess.run(command, check=True, capture_output=True)
        (folder / "config.yml").write_text(
            f"version: 0.1\n"
            f"log: {{level: warn}}\n"
            f"storage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n"
            f"http: {{addr: '127.0.0.1:{port}'}}\n"
            f"auth: {{htpasswd: {{realm: here, path: {folder}/htpasswd}}}}\n"
        )
        return cls(f"127.0.0.1:{port}", folder)

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["docker-registry", "serve", str(self.folder / "config.yml")],
                stdout=log,
                stderr=log,
            )
        wait_for_port(int(self.host.rpartition(":")[2]))

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def login(self, home: Path, password: str) -> dict[str, str]:
        """The environment of a user whose `docker login` left this password."""
        (home / ".docker").mkdir(parents=True)
        kept = base64.b64encode(f"me:{password}".encode()).decode()
        auths = {"auths": {self.host: {"auth": kept}}}
        (home / ".docker" / "config.json").write_text(json.dumps(auths))
        return {"HOME": str(home), "XDG_RUNTIME_DIR": str(home)}


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRegistry]:
    started = LocalRegistry.make(tmp_path_factory.mktemp("registry"))
    try:
        started.start()
        yield started
    finally:
        started.stop()
        shutil.rmtree(started.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def store(
    own_cache: None, registry: LocalRegistry, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """The environment of buildah and podman, whose images are gone with the session, with a login
    for the registry."""
    needs("buildah", "runc")
    folder = tmp_path_factory.mktemp("store")
    home = tmp_path_factory.mktemp("home")
    yield {**lanes.storage(folder), **registry.login(home, PASSWORD)}
    lanes.remove(folder)


@pytest.fixture(scope="session")
def base_image(store: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """Its name, in every engine."""
    name = base.build(tmp_path_factory.mktemp("base"), store)
    if shutil.which("podman"):
        # A sandbox may allow that images are made, and not that they are run.
        command = ["podman", "run", "--rm", "--network", "host", name, "true"]
        tried = subprocess.run(command, capture_output=True, text=True, env=store, check=False)
        if tried.returncode != 0:
            unavailable(f"containers do not run on this machine: {tried.stderr.strip()[-300:]}")
    return name


@pytest.fixture(scope="session")
def debian_image(
    store: dict[str, str], base_image: str, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """The name of a base in which apt works."""
    needs("mmdebstrap")
    if os.geteuid() != 0:
        unavailable("a Debian as a base is made by root")
    return base.build_debian(tmp_path_factory.mktemp("debian"), store)


@dataclass
class Lanes:
    """The lanes that were asked for; docker's daemon is started with the first of its own."""

    environ: Mapping[str, str]
    base_image: str
    folder: Path
    stack: ExitStack
    _found: dict[str, Lane | CannotRun] = field(default_factory=dict)
    _docker: dict[str, str] | None = None

    def get(self, name: str) -> Lane:
        if name not in self._found:
            try:
                self._found[name] = self._make(name)
            except CannotRun as error:
                self._found[name] = error
        found = self._found[name]
        if isinstance(found, CannotRun):
            pytest.skip(f"not run: {found}")
        return found

    def _make(self, name: str) -> Lane:
        if name in ("buildah", "podman"):
            needs("podman")
            return Lane(name, name, "podman", self.environ)
        needs("docker")
        if self._docker is None:
            self._docker = self._daemon()
        environ = dict(self._docker)
        if name == "docker-legacy":
            environ["DOCKER_BUILDKIT"] = "0"
        else:
            (clients := self.folder / "clients").mkdir()
            if not lanes.has_buildkit(clients, environ):
                raise CannotRun("docker's client has no BuildKit: install docker-buildx")
            environ["PATH"] = f"{clients}:{environ['PATH']}"
        return Lane(name, "docker", "docker", environ)

    def _daemon(self) -> dict[str, str]:
        """With the base image, in which all packages are already: that they are installed is
        shown by buildah, and takes a minute each time."""
        environ = {
            **self.stack.enter_context(lanes.docker_daemon(self.folder)),
            "HOME": self.environ["HOME"],
        }
        (place := self.folder / "warm").mkdir()
        author = Author.begin(place, self.base_image)
        author.build(self.get("buildah"), "localhost/warm")
        file = self.folder / "base.tar"

        def buildah(*arguments: str) -> str:
            return subprocess.check_output(["buildah", *arguments], env=self.environ, text=True)

        container = buildah("from", "localhost/warm").strip()
        buildah("config", "--user", "root", "--workingdir", "/", container)
        buildah("commit", "-q", "--format", "docker", container, "localhost/warm-base")
        buildah("rm", container)
        buildah("push", "-q", "localhost/warm-base", f"docker-archive:{file}:{self.base_image}")
        subprocess.run(["docker", "load", "-q", "-i", str(file)], check=True, env=environ)
        file.unlink()
        return environ


@pytest.fixture(scope="session")
def engines(
    store: dict[str, str], base_image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Lanes]:
    folder = tmp_path_factory.mktemp("docker")
    with ExitStack() as stack:
        yield Lanes(store, base_image, folder, stack)
    lanes.remove(folder)


@pytest.fixture(scope="session")
def buildah(engines: Lanes) -> Lane:
    """The lane for what is not asked of every engine: it needs no daemon."""
    return engines.get("buildah")


@pytest.fixture(params=lanes.NAMES)
def lane(request: pytest.FixtureRequest, engines: Lanes) -> Lane:
    """Each engine."""
    return engines.get(request.param)


@pytest.fixture(params=lanes.BUILDERS)
def builder(request: pytest.FixtureRequest, engines: Lanes) -> Lane:
    """Each engine that builds in a way of its own."""
    return engines.get(request.param)


def wait_for_port(port: int) -> None:
    deadline = time.monotonic() + LIMIT
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


@pytest.fixture
def author(tmp_path: Path, base_image: str) -> Author:
    """Whose pipeline's image needs nothing of others but the SDK."""
    (folder := tmp_path / "project").mkdir()
    return Author.begin(folder, base_image)


@pytest.fixture(scope="session")
def shout(
    buildah: Lane,
    base_image: str,
    registry: LocalRegistry,
    tmp_path_factory: pytest.TempPathFactory,
) -> Mapping[str, object]:
    """What `livepeer push` printed of an image that tests read, and do not change."""
    author = Author.begin(tmp_path_factory.mktemp("shout"), base_image)
    return author.push(buildah, f"{registry.host}/me/shout-livepeer-runner")
