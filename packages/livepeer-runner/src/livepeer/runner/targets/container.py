"""An image that runs: a container of docker or podman, from its start to its removal.

It runs as operators run it: without a writable root, with `/tmp` in memory. Whatever becomes of
this process, also where it is killed, the container is removed.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from livepeer.runner.packaging.engine import ContainerEngine, EngineError

CALL_SECONDS = 30.0
REMOVE_SECONDS = 60.0
PULL_SECONDS = 3600.0
LOG_LINES = 40
LOG_BYTES = 4000
PORT = 8000
"""Where a container of this SDK listens, and most others; what an image exposes goes first."""
_REMOVE = 'cat >/dev/null; exec "$0" rm --force "$1" >/dev/null 2>&1'
"""Waits for the end of its standard input, which is this process's."""


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What an engine knows of an image in its store. `history` holds the step of each layer; `size`
    is in bytes, unpacked."""

    user: str
    environment: tuple[str, ...] = field(repr=False)
    labels: Mapping[str, str]
    ports: tuple[int, ...]
    platform: str
    size: int
    layers: int
    history: tuple[str, ...] = field(repr=False)


def image_config(engine: ContainerEngine, image: str) -> ImageConfig | None:
    """The configuration of an image; None if it is not in the engine's store.

    Raises `EngineError`.
    """
    done = _asked(engine, "image", "inspect", image)
    if done.returncode != 0:
        return None
    try:
        told = json.loads(done.stdout)[0]
    except (ValueError, LookupError, RecursionError):
        raise EngineError(f"{engine.name} says nothing readable of {image}") from None
    inner: dict[str, Any] = told.get("Config") or {}
    labels = inner.get("Labels") or {}
    steps = _asked(engine, "history", "--no-trunc", "--format", "{{.CreatedBy}}", image)
    return ImageConfig(
        user=str(inner.get("User") or ""),
        environment=tuple(map(str, inner.get("Env") or ())),
        labels={str(name): str(value) for name, value in labels.items()},
        ports=tuple(_ports(inner.get("ExposedPorts") or {})),
        platform=f"{told.get('Os', 'unknown')}/{told.get('Architecture', 'unknown')}",
        size=int(told.get("Size") or 0),
        layers=len((told.get("RootFS") or {}).get("Layers") or ()),
        history=tuple(steps.stdout.splitlines()),
    )


def pull(engine: ContainerEngine, image: str) -> None:
    """Pull the image with the user's own login. Raises `EngineError`."""
    done = _asked(engine, "pull", "--quiet", image, seconds=PULL_SECONDS)
    if done.returncode != 0:
        raise EngineError(
            f"{engine.name} has no image {image} and cannot pull it: {_words(done.stderr)}"
        )


@dataclass(frozen=True, slots=True)
class TargetContainer:
    """A container. Its methods block; those that ask raise `EngineError`."""

    engine: ContainerEngine
    name: str
    port: int

    @property
    def url(self) -> str:
        """Where this machine reaches it."""
        told = self._told("port", self.name, f"{self.port}/tcp").split()
        if not told:
            raise EngineError(f"port {self.port} of the container is not published")
        return f"http://127.0.0.1:{told[0].rpartition(':')[2]}"

    @property
    def pid(self) -> int:
        """Of its first process, as this machine counts; 0 once it has ended."""
        return int(self._inspected("{{.State.Pid}}") or 0)

    @property
    def gateway(self) -> str | None:
        """The address of this machine within the container's network."""
        wanted = (
            "{{.NetworkSettings.Gateway}} {{range .NetworkSettings.Networks}}{{.Gateway}} {{end}}"
        )
        return next(iter(self._inspected(wanted).split()), None)

    @property
    def status(self) -> int | None:
        """What its first process ended with; None while it runs."""
        state, _, code = self._inspected("{{.State.Status}} {{.State.ExitCode}}").partition(" ")
        return int(code) if state in ("exited", "stopped", "dead") else None

    def terminate(self) -> None:
        """SIGTERM for its first process, as `docker stop` sends it."""
        self._told("kill", "--signal", "TERM", self.name)

    def wait(self) -> int:
        """Until it ends by itself."""
        told = self._told("wait", self.name, seconds=PULL_SECONDS).split()
        return int(told[-1])

    def execute(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """A program in it."""
        return _asked(self.engine, "exec", self.name, *command)

    @property
    def log(self) -> str:
        """The last lines of what it said."""
        done = _asked(self.engine, "logs", "--tail", str(LOG_LINES), self.name)
        return (done.stdout + done.stderr).strip()[-LOG_BYTES:]

    def _inspected(self, wanted: str) -> str:
        return self._told("inspect", "--format", wanted, self.name).strip()

    def _told(self, *arguments: str, seconds: float = CALL_SECONDS) -> str:
        done = _asked(self.engine, *arguments, seconds=seconds)
        if done.returncode != 0:
            raise EngineError(f"{self.engine.name} {arguments[0]}: {_words(done.stderr)}")
        return done.stdout


@contextmanager
def started(
    engine: ContainerEngine,
    image: str,
    *,
    environ: Mapping[str, str] | None = None,
    port: int = PORT,
    network: bool = True,
    read_only: bool = True,
) -> Iterator[TargetContainer]:
    """A container of `image` for the length of the block; with `network`, its `port` is published
    on the loopback of this machine. Raises `EngineError` where it does not start."""
    name = f"livepeer-{secrets.token_hex(6)}"
    remover = subprocess.Popen(
        ["sh", "-c", _REMOVE, engine.name, name],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=dict(engine.environ),
        start_new_session=True,
    )
    try:
        with _environment(environ or {}) as file:
            done = _asked(
                engine,
                *("run", "--detach", "--name", name, "--env-file", file),
                *(("--read-only", "--tmpfs", "/tmp") if read_only else ()),
                *("--pull", "never"),
                *(("--publish", f"127.0.0.1::{port}") if network else ("--network", "none")),
                image,
            )
        if done.returncode != 0:
            raise EngineError(f"{image} does not start: {_words(done.stderr)}")
        yield TargetContainer(engine, name, port)
    finally:
        assert remover.stdin is not None
        remover.stdin.close()
        try:
            remover.wait(REMOVE_SECONDS)
        except subprocess.TimeoutExpired:
            remover.kill()
            remover.wait()


@contextmanager
def _environment(environ: Mapping[str, str]) -> Iterator[str]:
    """In a file that only this user reads: arguments are seen by all."""
    descriptor, path = tempfile.mkstemp(prefix="livepeer-env-")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.writelines(f"{name}={value}\n" for name, value in environ.items())
        yield path
    finally:
        with suppress(OSError):
            os.unlink(path)


def _asked(
    engine: ContainerEngine, *arguments: str, seconds: float = CALL_SECONDS
) -> subprocess.CompletedProcess[str]:
    return engine.ask([engine.name, *arguments], seconds)


def _ports(exposed: Mapping[str, Any]) -> Iterator[int]:
    for name in exposed:
        number, _, protocol = str(name).partition("/")
        if number.isdigit() and protocol in ("", "tcp"):
            yield int(number)


def _words(said: str) -> str:
    return said.strip()[-1000:] or "it failed without a word"
