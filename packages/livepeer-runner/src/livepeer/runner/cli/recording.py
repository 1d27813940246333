"""A file that frames are written to as they come, encoded by a thread of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from livepeer.trickle.media.file.endings import SOUND

if TYPE_CHECKING:
    from livepeer.runner.local.stream import Frame

WAITING = 32


class Recording:
    """Owns the thread. `write` waits while the encoder is `WAITING` frames behind."""

    def __init__(self, path: Path) -> None:
        self.frames = 0
        self._path = path
        self._waiting: queue.Queue[Frame | None] = queue.Queue(WAITING)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._encode, name="recording", daemon=True)

    def write(self, frame: Frame) -> None:
        """Raises what encoding raised, for this frame or an earlier one."""
        if not self.frames:
            self._thread.start()
        self.frames += 1
        self._put(frame)
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Until the file is whole. Raises what encoding raised."""
        if self.frames:
            self._put(None)
            self._thread.join()
        if self._error is not None:
            raise self._error

    def _put(self, frame: Frame | None) -> None:
        while self._error is None:
            try:
                return self._waiting.put(frame, timeout=0.1)
            except queue.Full:
                continue

    def _encode(self) -> None:
        from livepeer.trickle.media import VideoOutput, encode

        video = None if self._path.suffix.lower() in SOUND else VideoOutput()
        try:
            encode(self._frames(), self._path, video=video)
        except BaseException as error:  # noqa: BLE001 — `write` or `close` raises it
            self._error = error

    def _frames(self) -> Iterator[Frame]:
        while (frame := self._waiting.get()) is not None:
            yield frame
