"""Lanes: an engine that builds and pushes, and what runs the image; each the real one."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from livepeer.runner.packaging.engine import FIRST_WITHOUT_BUILDKIT

NAMES = ("buildah", "podman", "docker-legacy", "docker-buildkit")
BUILDERS = ("buildah", "docker-legacy", "docker-buildkit")
"""Those that differ in how they build; podman's is buildah's."""
START_SECONDS = 60.0
STOP_SECONDS = 45


class CannotRun(Exception):
    """A lane is not there on this machine; the message says why."""


@dataclass(frozen=True)
class Lane:
    """How images are made (`livepeer build --engine`), and by which command they are run."""

    name: str
    engine: str
    runtime: str
    environ: Mapping[str, str]

    def call(self, *arguments: str, code: int = 0) -> str:
        """A command of the runtime's; what it printed."""
        done = subprocess.run(
            [self.runtime, *arguments],
            capture_output=True,
            text=True,
            errors="replace",  # a pipeline may answer bytes
            timeout=120,
            env=self.environ,
            check=False,
        )
        assert done.returncode == code, f"{self.runtime} {arguments}: {done.stderr}"
        return done.stdout

    def in_image(self, image: str, *command: str) -> str:
        return self.call("run", "--rm", "--network", "none", image, *command)

    def pull(self, image: str) -> None:
        plain = ["--tls-verify=false"] if self.runtime == "podman" else []
        self.call("pull", "--quiet", *plain, image)

    @contextmanager
    def running(self, image: str, name: str, **environ: str) -> Iterator[RunningContainer]:
        """Run it as an operator does: read-only, next to the orchestrator of this machine."""
        given = [part for key, value in environ.items() for part in ("-e", f"{key}={value}")]
        command = [self.runtime, "run", "--rm", "--name", name, "--network", "host"]
        command += ["--read-only", "--tmpfs", "/tmp", *given, image]
        container = RunningContainer(self, name, command)
        try:
            yield container
        finally:
            container.remove()


class RunningContainer:
    """A container with its log, line by line."""

    def __init__(self, lane: Lane, name: str, command: list[str]) -> None:
        self._lane, self._name = lane, name
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=lane.environ,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.rstrip())

    @property
    def log(self) -> str:
        return "\n".join(self.lines)

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def stop(self) -> int:
        """SIGTERM, as `docker stop` sends it; the container's own exit status."""
        self._lane.call("stop", "-t", str(STOP_SECONDS), self._name)
        return self._process.wait(STOP_SECONDS)

    def remove(self) -> None:
        if not self.ended:
            subprocess.run(
                [self._lane.runtime, "rm", "-f", self._name],
                capture_output=True,
                env=self._lane.environ,
                check=False,
            )
        self._process.wait(STOP_SECONDS)
        self._reader.join(STOP_SECONDS)
        assert self._process.stdout is not None
        self._process.stdout.close()


def storage(folder: Path) -> dict[str, str]:
    """The environment in which buildah, podman and skopeo keep all that they have in a folder."""
    (folder / "storage.conf").write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/graph"\nrunroot = "{folder}/run"\n'
    )
    # Whether a service manager is there or not; crun refuses machines with both kinds of cgroups.
    (folder / "containers.conf").write_text(
        '[containers]\ndefault_ulimits = ["nofile=20000:20000", "nproc=4096:4096"]\n'
        '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\n'
    )
    # Names are whole ones here; the file that says so for the machine may be missing.
    (folder / "registries.conf").write_text("unqualified-search-registries = []\n")
    return {
        **os.environ,
        "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
        "CONTAINERS_CONF": str(folder / "containers.conf"),
        "CONTAINERS_REGISTRIES_CONF": str(folder / "registries.conf"),
        "BUILDAH_RUNTIME": "runc",
    }


@contextmanager
def docker_daemon(folder: Path) -> Iterator[dict[str, str]]:
    """The environment of a daemon that answers: this machine's, else one of our own."""
    environ = dict(os.environ)
    if _answers(environ):
        yield environ
        return
    if shutil.which("dockerd") is None or os.geteuid() != 0:
        raise CannotRun("no docker daemon answers, and none can be started: dockerd, as root")
    environ["DOCKER_HOST"] = f"unix://{folder}/socket"
    command = ["dockerd", "--host", environ["DOCKER_HOST"], "--pidfile", f"{folder}/pid"]
    command += ["--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(environ):
            if process.poll() is not None or time.monotonic() > deadline:
                said = (folder / "log").read_text(errors="replace").splitlines()
                raise CannotRun(f"dockerd does not start: {said[-1] if said else 'no word'}")
            time.sleep(0.1)
        yield environ
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


def has_buildkit(folder: Path, environ: Mapping[str, str]) -> bool:
    """Whether a client is there that can ask for BuildKit; `folder`, for PATH, has it then."""
    if _succeeds(["docker", "buildx", "version"], environ):
        return True
    for place in environ.get("PATH", "").split(os.pathsep):
        client = Path(place) / "docker"
        told = _output([str(client), "version", "--format", "{{.Client.Version}}"], environ)
        if (major := told.partition(".")[0]).isdigit() and int(major) < FIRST_WITHOUT_BUILDKIT:
            (folder / "docker").symlink_to(client)
            return True
    return False


def _answers(environ: Mapping[str, str]) -> bool:
    return _succeeds(["docker", "version", "--format", "{{.Server.Version}}"], environ)


def _succeeds(command: list[str], environ: Mapping[str, str]) -> bool:
    done = subprocess.run(command, capture_output=True, env=environ, timeout=20, check=False)
    return done.returncode == 0


def _output(command: list[str], environ: Mapping[str, str]) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=environ, timeout=20, check=False
        )
    except OSError:
        return ""
    return done.stdout.strip()


def mounts_below(folder: Path) -> list[str]:
    """What is mounted in a folder or at it, in the order in which it was."""
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    return [place for place in mounted if Path(place).is_relative_to(folder)]


def remove(folder: Path) -> None:
    """With all that an engine has mounted in it."""
    for place in reversed(mounts_below(folder)):
        subprocess.run(["umount", "-l", place], capture_output=True, check=False)
    shutil.rmtree(folder)
