"""Docker, podman or buildah, through their own commands and with the user's own credentials."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from livepeer.runner.packaging.engine_output import StepLog, last_line, push_refusal
from livepeer.runner.packaging.registry.reference import is_here

Name = Literal["docker", "podman", "buildah"]
NAMES: tuple[Name, ...] = ("docker", "podman", "buildah")
Builder = Literal["legacy", "buildkit", "buildx"]
"""Docker's: the one of old; BuildKit in the daemon, as clients before 23 call it; and by buildx."""
QUICK_SECONDS = 20.0
RUN_SECONDS = 120.0
STEP_LENGTH = 120
"""Characters of a failing step that an error shows."""
FIRST_WITHOUT_BUILDKIT = 23
"""The first version of Docker's client that needs buildx to ask the daemon's BuildKit."""
_DIGEST_OF = "{{.FromImageDigest}}"


class EngineError(Exception):
    """An engine is missing or failed; the message says which, where, and what to do."""

    code = "engine"


class StepFailed(EngineError):
    """A step of a Dockerfile failed; `step` is the step, `output` its last lines, `cause` the line
    of `livepeer.yaml` that it stands for."""

    code = "build_step"

    def __init__(self, step: str, output: str, cause: str | None = None) -> None:
        shown = step if len(step) <= STEP_LENGTH else f"{step[:STEP_LENGTH]}…"
        super().__init__(f"the step `{shown}` failed" if step else "the build failed")
        self.step = step
        self.output = output
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Built:
    """An image in the engine's own store."""

    id: str
    """`sha256:...` of its configuration, as the engine tells."""
    seconds: float
    reused: int
    """Steps that were taken from the cache."""
    steps: int


@dataclass(frozen=True)
class ContainerEngine:
    """One engine; `builder` tells which of Docker's is used."""

    name: Name
    builder: Builder | None = None
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)

    @classmethod
    def find(cls, wanted: str | None = None) -> ContainerEngine:
        """The one that is wanted, else the first that works. Raises `EngineError`."""
        if wanted is not None and wanted not in NAMES:
            raise EngineError(f"{wanted} is no engine: say {', '.join(NAMES)}")
        told = []
        for name in (name for name in NAMES if wanted in (None, name)):
            if shutil.which(name) is None:
                told.append(f"{name} is not installed")
                continue
            # Docker's client answers without its daemon, the server's version does not.
            probe = ["version", "--format", "{{.Server.Version}}"] if name == "docker" else ["info"]
            done = _quick([name, *probe])
            if done.returncode == 0:
                return cls(name, _builder() if name == "docker" else None)
            told.append(f"{name}: {last_line(done.stderr)}")
        raise EngineError(
            "no engine that can build: " + "; ".join(told) + ". Start Docker, or install buildah "
            "(apt-get install buildah), which needs no daemon"
        )

    def needs_plain_http(self, image: str) -> bool:
        """Whether it has to be told that an image's registry is on this machine, without TLS."""
        return self.name != "docker" and is_here(image.partition("/")[0])

    @property
    def reproducible(self) -> str | None:
        """Why two builds of the same files may differ; None where they do not."""
        if self.name in ("buildah", "podman") or self.builder == "buildx":
            return None
        return "docker without buildx writes the time into each layer"

    @property
    def keeps_secrets(self) -> bool:
        """Whether a step may have a secret that no layer keeps."""
        return self.builder != "legacy"

    def build(
        self,
        context: Path,
        tag: str,
        *,
        platform: str,
        labels: Mapping[str, str] | None = None,
        secrets: Mapping[str, str] | None = None,
        epoch: int | None = None,
        cache: bool = True,
        say: Callable[[str], None] = lambda line: None,
    ) -> Built:
        """Build `context/Dockerfile` as `tag`. `secrets`: values for `RUN --mount=type=secret`,
        handed over in files that only this user can read. Raises `StepFailed`, `EngineError`."""
        if secrets and not self.keeps_secrets:
            raise EngineError(
                "docker's legacy builder would keep a secret in a layer: install docker-buildx, or "
                "use --engine buildah"
            )
        command = [*self._build_command(epoch, cache), "--tag", tag, "--platform", platform]
        for name, value in (labels or {}).items():
            command += ["--label", f"{name}={value}"]
        environ = dict(self.environ)
        if self.name == "docker":
            environ["DOCKER_BUILDKIT"] = "0" if self.builder == "legacy" else "1"
            if epoch is not None:
                environ["SOURCE_DATE_EPOCH"] = str(epoch)
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="livepeer-build-") as folder:
            for name, value in (secrets or {}).items():
                file = Path(folder) / name
                file.touch(0o600)
                file.write_text(value)
                # Without the type, buildah takes one whose name is a variable here from there.
                command += ["--secret", f"id={name},type=file,src={file}"]
            identity = Path(folder) / "iid"
            command += ["--iidfile", str(identity), str(context)]
            steps, reused = self._stream(command, environ, say)
            found = identity.read_text().strip()
        return Built(found, time.monotonic() - started, reused, steps)

    def run(self, image: str, command: Sequence[str]) -> str:
        """Run a program in the image without network; what it printed. Raises `EngineError`."""
        if self.name != "buildah":
            whole = [self.name, "run", "--rm", "--network", "none", image, *command]
            return self._checked(whole, RUN_SECONDS)
        container = self._checked(["buildah", "from", "--pull-never", image], QUICK_SECONDS).strip()
        try:
            whole = ["buildah", "run", "--network", "none", container, "--", *command]
            return self._checked(whole, RUN_SECONDS)
        finally:
            self.ask(["buildah", "rm", container])

    def push(self, tag: str, *, plain_http: bool, say: Callable[[str], None]) -> None:
        """Push with the user's own login. Raises `EngineError` with the engine's last words."""
        command = [self.name, "push"]
        if self.needs_plain_http(tag) or (plain_http and self.name != "docker"):
            command.append("--tls-verify=false")
        command.append(tag)
        if self.name == "buildah":
            command.append(f"docker://{tag}")
        try:
            self._stream(command, dict(self.environ), say)
        except StepFailed as error:
            raise EngineError(push_refusal(tag, error.output)) from error

    def rename(self, tag: str, name: str) -> None:
        """Keep an image under another name: one that has none is removed with the layers that the
        next build would reuse. What fails is left as it is."""
        if self.ask([self.name, "tag", tag, name]).returncode == 0:
            self.ask([self.name, "rmi", tag])

    def tag(self, image: str, tag: str) -> None:
        """Give an image another name. Raises `EngineError`."""
        self._checked([self.name, "tag", image, tag], QUICK_SECONDS)

    def digest(self, image: str) -> str | None:
        """The digest that an image was pulled by; None for one that was made here."""
        if self.name == "buildah":
            done = self.ask(
                ["buildah", "inspect", "--type", "image", "--format", _DIGEST_OF, image]
            )
        else:
            wanted = "{{range .RepoDigests}}{{.}} {{end}}"
            done = self.ask([self.name, "image", "inspect", "--format", wanted, image])
        found = re.search(r"sha256:[0-9a-f]{64}", done.stdout)
        return found[0] if done.returncode == 0 and found else None

    def _build_command(self, epoch: int | None, cache: bool) -> list[str]:
        if self.name == "docker":
            command = ["docker", "build"]
            if self.builder == "legacy":
                command.append("--force-rm")
            if self.builder == "buildkit":
                command.append("--progress=plain")
            elif self.builder == "buildx":
                rewrite = "" if epoch is None else ",rewrite-timestamp=true"
                command = ["docker", "buildx", "build", "--progress=plain"]
                command += ["--provenance=false", "--sbom=false"]
                command += [f"--output=type=docker{rewrite}"]
            return [*command, *([] if cache else ["--no-cache"])]
        command = [self.name, "bud" if self.name == "buildah" else "build"]
        # HEALTHCHECK is dropped from OCI's format. What a failing step has written is not kept.
        command += ["--format", "docker", "--layers", "--force-rm"]
        command += [] if cache else ["--no-cache"]
        return command if epoch is None else [*command, "--timestamp", str(epoch)]

    def _stream(
        self, command: list[str], environ: dict[str, str], say: Callable[[str], None]
    ) -> tuple[int, int]:
        """Run with each line handed to `say`; how many steps there were, and how many reused."""
        log = StepLog()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environ,
        )
        assert process.stdout is not None
        try:
            for line in process.stdout:
                say(log.read(line))
            code = process.wait()
        except BaseException:  # Ctrl-C too: the build ends with its command
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            raise
        finally:
            process.stdout.close()
        if code != 0:
            raise StepFailed(log.step, log.tail)
        return log.steps, log.reused

    def _checked(self, command: list[str], seconds: float) -> str:
        done = self.ask(command, seconds)
        if done.returncode != 0:
            said = done.stderr.strip()[-2000:]
            raise EngineError(f"`{' '.join(command[:3])} ...` failed: {said}")
        return done.stdout

    def ask(
        self, command: list[str], seconds: float = QUICK_SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """What a command says that ends soon; 124 where it does not within `seconds`."""
        return _quick(command, seconds, self.environ)


def _builder() -> Builder:
    """The best that docker has here; `DOCKER_BUILDKIT=0` asks for the legacy one, as ever."""
    if os.environ.get("DOCKER_BUILDKIT") == "0":
        return "legacy"
    if _quick(["docker", "buildx", "version"]).returncode == 0:
        return "buildx"
    client = _quick(["docker", "version", "--format", "{{.Client.Version}}"]).stdout
    major = client.strip().partition(".")[0]
    return "buildkit" if major.isdigit() and int(major) < FIRST_WITHOUT_BUILDKIT else "legacy"


def _quick(
    command: list[str], seconds: float = QUICK_SECONDS, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            env=environ,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"no answer within {seconds:g} s")
