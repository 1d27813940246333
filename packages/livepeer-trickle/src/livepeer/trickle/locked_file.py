"""A small file that several processes read and change, one at a time, and always find whole."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

_LOCK_LIMIT = 1.0
"""Seconds that others may hold it and change nothing, which takes milliseconds, before an error."""
_TURNS_LIMIT = 10.0
"""The same where they take turns, each with a change of its own, and this one gets none."""


class HeldElsewhere(OSError):
    """Another process does not let go of the file."""


class LockedFile:
    """A file of this user's, replaced as a whole. Safe across threads and processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._threads = threading.Lock()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """For this process and thread alone, while it is read and replaced.

        The lock is on a file beside it, since the file itself is replaced, and lasts no longer than
        its holder. Raises `HeldElsewhere`, or the `OSError` of a folder that cannot be used.
        """
        with self._threads:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
            handle = os.open(self.path.with_name(f"{self.path.name}.lock"), flags, 0o600)
            try:
                last = time.monotonic() + _TURNS_LIMIT
                end, version = time.monotonic() + _LOCK_LIMIT, self._version()
                while not _try_lock(handle):
                    now = time.monotonic()
                    if now > end:
                        if (found := self._version()) == version or now > last:
                            raise HeldElsewhere(
                                f"{self.path} is held by another process; try again"
                            )
                        end, version = now + _LOCK_LIMIT, found
                    time.sleep(0.005)
                yield
            finally:
                os.close(handle)  # which ends the lock

    def _version(self) -> tuple[int, int] | None:
        """Another one after each change."""
        with contextlib.suppress(OSError):
            found = self.path.stat()
            return found.st_ino, found.st_mtime_ns
        return None

    def read(self, limit: int) -> bytes | None:
        """What is in it; None where there is none. Raises `OSError` for more than `limit` bytes."""
        try:
            with self.path.open("rb") as file:
                data = file.read(limit + 1)
        except FileNotFoundError:
            return None
        if len(data) > limit:
            raise OSError(errno.EFBIG, f"more than {limit:,} bytes", str(self.path))
        return data

    def replace(self, data: bytes, *, sync: bool = False) -> None:
        """Put this in its place, readable by its owner only. `sync`: on the disk before it
        returns."""
        # mkstemp makes the file 0600 from the start.
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=self.path.name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                if sync:
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(name, self.path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
            raise


def _try_lock(handle: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
            return False
        raise
    return True
