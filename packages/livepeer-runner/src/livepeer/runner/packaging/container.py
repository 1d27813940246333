"""An image while it runs: started by the engine as an operator would, asked, and ended.

```python
async with started(Engine.find(), image, network="none") as container:
    await container.ready(300)
    status = await container.stop()
```
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import aiohttp

from livepeer.runner.packaging.engine import QUICK_SECONDS, Engine, EngineError
from livepeer.trickle.text import printable

Network = Literal["published", "host", "none"]
"""published: a port of its own on this machine's loopback; host: this machine's own network, in
which it reaches what listens here; none: no network at all."""
PORT = 8000
STOP_SECONDS = 45
"""From the engine's SIGTERM to its SIGKILL: more than a drain takes."""
PULL_SECONDS = 1800.0
LOOK_SECONDS = 0.1
WORDS = 2000
"""Bytes of its log that are shown where it does not come up."""


@dataclass(frozen=True, slots=True)
class StartedContainer:
    """A container of ours. `process` is the engine's command that is attached to it: it passes
    signals on, and its status is the container's. `url` is None without a network."""

    engine: Engine
    name: str
    url: str | None
    process: asyncio.subprocess.Process
    health: tuple[str, ...]
    """The image's own HEALTHCHECK, as a command; () where it has none."""
    _log: BinaryIO

    @property
    def log(self) -> str:
        """The last that it has written, as text that can be shown."""
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - WORDS))
        return printable(self._log.read().decode("utf-8", "replace").strip(), lines=True)

    async def ready(self, seconds: float) -> None:
        """Wait until `/ready` answers 200; without a network, until its HEALTHCHECK succeeds.

        Raises `EngineError` with its last words where it ends before, fails its setup, or is not
        ready in time.
        """
        if self.url is None and not self.health:
            raise EngineError("without a network only a HEALTHCHECK tells, and the image has none")
        limit = aiohttp.ClientTimeout(total=5)
        try:
            async with asyncio.timeout(seconds), aiohttp.ClientSession(timeout=limit) as session:
                while self.process.returncode is None:
                    if await self._is_ready(session):
                        return
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            raise EngineError(f"it was not ready within {seconds:g} s{self._words()}") from None
        raise EngineError(f"it ended with status {self.process.returncode}{self._words()}")

    async def _is_ready(self, session: aiohttp.ClientSession) -> bool:
        if self.url is None:
            return (await _call(self.engine, "exec", self.name, *self.health))[0] == 0
        with suppress(aiohttp.ClientError, TimeoutError):
            async with session.get(f"{self.url}/ready") as answer:
                if answer.status == 200:
                    return True
            async with session.get(f"{self.url}/health") as answer:
                told = json.loads(await answer.content.read(65_536))
            if isinstance(told, dict) and told.get("status") == "ERROR":
                raise EngineError(f"its setup failed{self._words()}")
        return False

    async def pid(self) -> int:
        """Its first process, as this machine counts; 0 where the engine runs elsewhere."""
        wanted = ("inspect", "--format", "{{.State.Pid}}", self.name)
        pid = int(await _checked(self.engine, *wanted))
        return pid if Path("/proc", str(pid)).exists() else 0  # noqa: ASYNC240 - it blocks nothing

    async def stop(self, seconds: int = STOP_SECONDS) -> int:
        """SIGTERM, and SIGKILL after `seconds`; its own exit status."""
        if self.process.returncode is None:
            arguments = ("stop", "-t", str(seconds), self.name)
            await _checked(self.engine, *arguments, limit=seconds + QUICK_SECONDS)
        return await self.process.wait()

    def _words(self) -> str:
        return f":\n{said}" if (said := self.log) else ""


async def pulled(engine: Engine, image: str) -> None:
    """Have the engine pull an image, with the user's own login. Raises `EngineError`."""
    plain = ["--tls-verify=false"] if engine.needs_plain_http(image) else []
    await _checked(engine, "pull", *plain, image, limit=PULL_SECONDS)


@asynccontextmanager
async def started(
    engine: Engine,
    image: str,
    *,
    environ: Mapping[str, str] | None = None,
    mounts: Mapping[Path, str] | None = None,
    read_only: bool = True,
    network: Network = "published",
    port: int | None = None,
    gpu: bool = False,
) -> AsyncIterator[StartedContainer]:
    """Run an image that the engine has, and remove the container at the end, whatever happened.

    - `environ`: variables, beside `PORT`; they are in no command line.
    - `mounts`: files and folders of this machine, and where the container finds them, read-only.
    - `read_only`: it can write nowhere but in `/tmp`.
    - `port`: where it listens; the default is what the image exposes, else 8000. With
      `network="host"` this is a port of this machine: say one that is free.

    buildah's images are run by podman, which shares its store. Raises `EngineError` where the
    engine cannot, with its words.
    """
    told = await _image(engine, image)
    port = port or _exposed(told)
    # Its own checks would be podman's by systemd, which may not be there; `ready` asks for itself.
    command = ["create", "--pull", "never", "--no-healthcheck", f"--env=PORT={port}"]
    # The names alone: the engine takes the values from its own environment.
    command += [f"--env={name}" for name in environ or ()]
    command += [f"--volume={place}:{to}:ro" for place, to in (mounts or {}).items()]
    if read_only:
        command += ["--read-only", "--tmpfs", "/tmp"]
    if network == "published":
        command.append(f"--publish=127.0.0.1::{port}")
    else:
        command.append(f"--network={network}")
    if gpu:
        # podman has CDI in place of docker's own way.
        command += ["--gpus=all"] if engine.runtime == "docker" else ["--device=nvidia.com/gpu=all"]
    name = f"livepeer-{os.getpid()}-{os.urandom(4).hex()}"
    command += ["--name", name, image]
    process = None
    with tempfile.TemporaryFile(prefix="livepeer-container-") as log:
        try:
            await _checked(engine, *command, environ=environ)
            process = await asyncio.create_subprocess_exec(
                *(engine.runtime, "start", "--attach", name),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=engine.environ,
                start_new_session=True,  # a terminal's Ctrl-C is for us: we end it
            )
            url = f"http://127.0.0.1:{port}" if network == "host" else None
            if network == "published":
                url = await _published(engine, name, port, process)
            yield StartedContainer(engine, name, url, process, _health(told), log)
        finally:
            # Also one that was only being created.
            with suppress(EngineError):
                await _call(engine, "rm", "--force", name)
            if process is not None:
                await _ended(process)


async def _published(
    engine: Engine, name: str, port: int, process: asyncio.subprocess.Process
) -> str:
    """Its address here, once the engine has given it one; where it ends before, one that nobody
    answers."""
    until = asyncio.get_running_loop().time() + QUICK_SECONDS
    while process.returncode is None and asyncio.get_running_loop().time() < until:
        code, said, _ = await _call(engine, "port", name, f"{port}/tcp")
        if code == 0 and said.strip():
            return f"http://{said.split()[0]}"
        await asyncio.sleep(LOOK_SECONDS)
    return "http://127.0.0.1:0"


async def _ended(process: asyncio.subprocess.Process) -> None:
    try:
        async with asyncio.timeout(QUICK_SECONDS):
            await process.wait()
    except TimeoutError:
        pass
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _image(engine: Engine, image: str) -> dict[str, Any]:
    """What the engine tells of an image that it has."""
    code, said, error = await _call(engine, "image", "inspect", image)
    if code != 0:
        raise EngineError(
            f"{engine.runtime} has no image {image} ({error.strip()[-200:]}): pull it"
        )
    told: dict[str, Any] = json.loads(said)[0]
    return told


def _exposed(told: Mapping[str, Any]) -> int:
    exposed = (told.get("Config") or {}).get("ExposedPorts") or {}
    ports = [int(each.partition("/")[0]) for each in exposed if each.endswith("/tcp")]
    return PORT if PORT in ports or not ports else min(ports)


def _health(told: Mapping[str, Any]) -> tuple[str, ...]:
    """docker has it in the configuration, podman beside it."""
    found = (told.get("Config") or {}).get("Healthcheck") or told.get("Healthcheck") or {}
    match found.get("Test"):
        case ["CMD", *command]:
            return tuple(command)
        case ["CMD-SHELL", command]:
            return ("/bin/sh", "-c", command)
    return ()


async def _checked(
    engine: Engine,
    *arguments: str,
    limit: float = QUICK_SECONDS,
    environ: Mapping[str, str] | None = None,
) -> str:
    code, said, error = await _call(engine, *arguments, limit=limit, environ=environ)
    if code != 0:
        raise EngineError(f"`{engine.runtime} {arguments[0]}` failed: {error.strip()[-WORDS:]}")
    return said


async def _call(
    engine: Engine,
    *arguments: str,
    limit: float = QUICK_SECONDS,
    environ: Mapping[str, str] | None = None,
) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(engine.runtime, *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**engine.environ, **(environ or {})},
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(limit):
            said, error = await process.communicate()
    except TimeoutError:
        raise EngineError(f"`{engine.runtime} {arguments[0]}` did not end in {limit:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, said.decode(errors="replace"), error.decode(errors="replace")
