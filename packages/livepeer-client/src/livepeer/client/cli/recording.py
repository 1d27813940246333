"""What comes out of a live session, kept in a file: pictures and sound, or sound alone."""

from __future__ import annotations

import asyncio
import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from livepeer.client.exceptions import LivepeerError
from livepeer.trickle.cli.console import note, progress, writable

if TYPE_CHECKING:
    from livepeer.client.sessions import LiveSession

WAV: Final = ".wav"
#: FFmpeg's container for an ending of the file's name.
FORMATS: Final = {
    **{".mp4": "mp4", ".m4v": "mp4", ".m4a": "mp4", ".mov": "mov"},
    **{".mkv": "matroska", ".mka": "matroska", ".webm": "webm"},
    **{".ts": "mpegts", ".m2ts": "mpegts", ".mts": "mpegts", ".aac": "adts"},
}
#: Endings of files that hold no pictures.
SOUND: Final = frozenset({WAV, ".m4a", ".mka", ".aac"})


def media_file(path: Path | None) -> Path | None:
    """Callback of an option: a file of another kind than is written is refused before any work."""
    if path is not None and path.suffix.lower() not in {WAV, *FORMATS}:
        known = ", ".join((*FORMATS, WAV))
        raise typer.BadParameter(f"{path.name} ends in none of {known}")
    return writable(path)


class Recording:
    """Encodes what comes out on a thread."""

    def __init__(self, session: LiveSession, target: Path) -> None:
        self._session, self._target = session, target
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
        if self._suffix == WAV:
            _write_wav(frames, self._target)
            return
        from livepeer.trickle.media import encode

        encode(frames, self._target, format=FORMATS[self._suffix])

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
            if hasattr(frame, "planes"):
                if not self._pictures:
                    self._first = now
                self._pictures, self._last = self._pictures + 1, now
            else:
                self._sound += frame.samples.shape[1] / frame.rate
            told()
            yield frame


def _write_wav(frames: Iterator[Any], target: Path) -> None:
    """Sound as 16-bit PCM. Raises `ValueError` where there is none, or its form changes."""
    import numpy as np

    file: wave.Wave_write | None = None
    try:
        for frame in frames:
            form = (len(frame.samples), frame.rate)
            if file is None:
                file = wave.open(str(target), "wb")
                file.setnchannels(form[0])
                file.setframerate(form[1])
                file.setsampwidth(2)
            elif form != (file.getnchannels(), file.getframerate()):
                raise ValueError(f"the sound changed to {form[0]} channels of {form[1]} Hz")
            scaled = np.clip(frame.samples.T * 32768.0, -32768, 32767)
            file.writeframesraw(scaled.astype("<i2").tobytes())
    finally:
        if file is not None:
            file.close()
    if file is None:
        raise ValueError("there was no sound")


__all__ = ["Recording", "media_file"]
