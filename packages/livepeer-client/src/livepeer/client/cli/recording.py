"""What comes out of a live session, kept in a file: pictures and sound, or sound alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from livepeer.client.exceptions import LivepeerError
from livepeer.trickle.cli.console import note, progress, writable
from livepeer.trickle.media.file.endings import FORMATS, SOUND

if TYPE_CHECKING:
    from livepeer.client.live.session import LiveSession


def media_file(path: Path | None) -> Path | None:
    """Callback of an option: a file of another kind than is written is refused before any work."""
    if path is not None and path.suffix.lower() not in FORMATS:
        raise typer.BadParameter(f"{path.name} ends in none of {', '.join(FORMATS)}")
    return writable(path)


def load() -> None:
    """Import what a recording needs: a short stream could be over before that is done."""
    from livepeer.client.live.media import media

    media()
    from livepeer.trickle.media import MediaSubscriber, encode  # noqa: F401


class SessionRecording:
    """Encodes what comes out on a thread."""

    def __init__(self, session: LiveSession, target: Path) -> None:
        self._target = target
        self._suffix = target.suffix.lower()
        self._frames: Any = (
            session.subscribe(policy="all", video=False)
            if self._suffix in SOUND
            else session.subscribe(policy="all")
        )
        self._loop = asyncio.get_running_loop()
        self._error: Exception | None = None
        self._pictures = 0
        self._sound = 0.0
        self._began = self._first = self._last = time.monotonic()

    async def run(self) -> None:
        """Until the end; what came so far is kept, also where that was no good one."""
        with progress() as bar:
            line = bar.add_task(str(self._target), total=None, figures="")
            pulled = self._pulled(lambda: bar.update(line, figures=self.figures()))
            writing = asyncio.create_task(asyncio.to_thread(self._write, pulled))
            try:
                await asyncio.shield(writing)
            except ValueError:  # there was nothing to encode, or the file cannot hold it
                if self.came:
                    raise
            finally:
                await self._frames.aclose()
                await asyncio.wait((writing,))
                failed = writing.exception()  # of which nobody is told who has left
                if self.came and failed is None:
                    note(f"{self.figures()} -> {self._target}")
        if self._error is not None:
            raise self._error
        if not self.came:
            wanted = "no sound came" if self._suffix in SOUND else "nothing came"
            note(f"{wanted} out of the pipeline, so there is no {self._target}")

    @property
    def came(self) -> bool:
        return bool(self._pictures or self._sound)

    def figures(self) -> str:
        """Pictures a second from the first to the last of them, whatever was before and after."""
        first = f"the first after {self._first - self._began:.2f} s"
        if not self._pictures:
            return f"{self._sound:.1f} s of sound, {first}"
        seconds = self._last - self._first
        rate = f", {(self._pictures - 1) / seconds:.1f} a second" if seconds > 0 else ""
        return f"{self._pictures} pictures{rate}, {first}"

    def _write(self, frames: Iterator[Any]) -> None:
        from livepeer.trickle.media import encode

        encode(frames, self._target)

    def _pulled(self, told: Callable[[], None]) -> Iterator[Any]:
        """The frames, for the thread that encodes them: the next is asked for when it is wanted."""
        while True:
            asking = asyncio.run_coroutine_threadsafe(anext(self._frames, None), self._loop)
            try:
                frame = asking.result()
            except LivepeerError as error:
                self._error = error
                return
            if frame is None:
                return
            now = time.monotonic()
            if not self.came:
                self._first = now
            if frame.kind == "video":
                if not self._pictures:
                    self._first = now
                self._pictures, self._last = self._pictures + 1, now
            else:
                self._sound += frame.samples.shape[1] / frame.rate
            told()
            yield frame
