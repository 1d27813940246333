"""One call on the local network, made by the client's own command."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from livepeer.runner.cli.dev.lines import Network
from livepeer.trickle.cli.console import fail, note, progress

LIVEPEER = (sys.executable, "-P", "-c", "from livepeer.trickle.cli import main; main()")
STOP_SECONDS = 10.0


def find_client() -> None:
    """End the command where the package that makes calls is missing."""
    if find_spec("livepeer.client") is None:
        fail(
            "a call needs livepeer-client, which is not installed",
            hint="pip install 'livepeer-client[media]'",
            code=2,
        )


@dataclass(frozen=True, slots=True)
class ClientCall:
    """What was asked for: input as the client's command takes it, and where the result goes."""

    input: tuple[str, ...]
    output: Path | None
    params: tuple[str, ...]
    seconds: float | None = None
    """Of a live call; what generates by itself would go on."""

    def command(self, network: Network) -> list[str]:
        words = [*LIVEPEER, network.example.verb, network.called]
        for one in self.input:
            words += ["-i", one]
        if self.output is not None and network.example.verb != "stream":
            words += ["-o", str(self.output)]
        for one in self.params:
            words += ["-p", one]
        if self.seconds is not None and network.example.is_live:
            words += ["--seconds", str(self.seconds)]
        return words + (["--events"] if network.example.is_live else []) + network.where

    def _sink(self, network: Network) -> AbstractContextManager[IO[bytes] | None]:
        """The file for the events, which the client's command can only print."""
        if self.output is None or network.example.verb != "stream":
            return nullcontext()
        return self.output.open("wb")

    async def run(self, network: Network, stop: asyncio.Event) -> int:
        """Make it. The exit code of the client's command, 130 where `stop` came first."""
        began = time.monotonic()
        with self._sink(network) as sink:
            process = await asyncio.create_subprocess_exec(
                *self.command(network),
                stdout=sink,
                stderr=asyncio.subprocess.PIPE if network.example.is_live else None,
                start_new_session=True,
                limit=1 << 20,
            )
            figures = _LiveFigures()
            following = asyncio.create_task(figures.follow(process.stderr), name="figures")
            waiting = asyncio.create_task(process.wait(), name="call")
            stopping = asyncio.create_task(stop.wait(), name="stop")
            try:
                await asyncio.wait((waiting, stopping), return_when=asyncio.FIRST_COMPLETED)
                if not waiting.done():
                    return 130
                await following
            finally:
                stopping.cancel()
                await _end(process)
                following.cancel()
                await asyncio.wait((waiting, stopping, following))
        status = waiting.result()
        if status == 0:
            note(f"{figures.shown() or 'done'} after {time.monotonic() - began:.2f} s")
        return status


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGINT)  # it takes leave of its stream, so that nothing drains
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except BaseException as error:  # also one that is cancelled leaves no process
        with suppress(ProcessLookupError):
            process.kill()
        if not isinstance(error, TimeoutError):
            raise
        await process.wait()


class _LiveFigures:
    """How a live call goes, by the status events that the client's command prints."""

    def __init__(self) -> None:
        self._status: dict[str, Any] = {}

    async def follow(self, lines: asyncio.StreamReader | None) -> None:
        """Until the end; what is no status is passed on."""
        if lines is None:
            return
        with progress() as bar:
            line = bar.add_task("live", total=None, figures="")
            async for text in lines:
                event = _event(text)
                if event is not None and event.get("type") == "status":
                    self._status = event
                    bar.update(line, figures=self.shown())
                elif event is None or event.get("type") != "stream_ended":
                    note(text.decode("utf-8", "replace").rstrip())

    def shown(self) -> str:
        inference = self._status.get("inference_status")
        if not inference:
            return ""
        latency = inference.get("latency_ms", {})
        parts = [
            f"{inference.get('frames', 0)} frames",
            f"{inference.get('fps', 0):.0f} fps",
            *(f"{name} {value:.1f} ms" for name, value in latency.items()),
            f"{inference.get('dropped', 0)} dropped",
        ]
        return ", ".join(parts)


def _event(text: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(text)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None
