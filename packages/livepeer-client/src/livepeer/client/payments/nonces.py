"""Nonces that no thread, process or later run gives to a second ticket.

An orchestrator refuses a nonce that it has seen with the same `recipient_rand_hash`, and with it
the payment. So all that pay with one key count in one file.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, Final

from livepeer.client.exceptions import ConfigurationError
from livepeer.trickle.locked_file import LockedFile

MOST: Final = 600
"""Different nonces that an orchestrator remembers for one hash; it refuses more."""
KEPT_SECONDS: Final = 6 * 3600.0
"""A hash is good for 40 blocks of 12 s."""
_HASHES: Final = 10_000
_FILE_BYTES: Final = 2 << 20


class UsedUp(Exception):
    """No nonce is left for this hash: ask the orchestrator for new ticket parameters."""


class Nonces:
    """The nonces of one key, counted in a file of `folder`: `LIVEPEER_STATE`, or the user's folder
    for state by default. Safe across threads and processes."""

    def __init__(self, address: str, folder: Path | None = None) -> None:
        self._file = LockedFile((folder or _folder()) / f"nonces-{address.lower()}.json")

    def take(self, rand_hash: bytes, count: int) -> range:
        """The next `count` nonces, which are nobody else's from now on.

        Raises `UsedUp`, or `ConfigurationError` where they cannot be kept: a payment that might be
        another's is not made.
        """
        try:
            with self._file.held():
                told = self._told()
                key, now = rand_hash.hex(), time.time()
                first = told.get(key, (0, now))[0] + 1
                last = first + count - 1
                if last > MOST:
                    raise UsedUp
                told[key] = (last, now)
                kept = {k: v for k, v in told.items() if abs(now - v[1]) < KEPT_SECONDS}
                latest = sorted(kept.items(), key=lambda each: each[1][1])[-_HASHES:]
                self._file.replace(json.dumps(dict(latest)).encode(), sync=True)
        except OSError as error:
            raise ConfigurationError(
                f"the nonces of payments cannot be kept in {self._file.path}: {error} (set"
                " LIVEPEER_STATE to a folder that can be written)"
            ) from error
        return range(first, last + 1)

    def _told(self) -> dict[str, tuple[int, float]]:
        """What is in the file. One that is damaged is an error: to begin anew would repeat."""
        data = self._file.read(_FILE_BYTES)
        if data is None:
            return {}
        try:
            told: Any = json.loads(data)
            return {str(key): (int(last), float(when)) for key, (last, when) in told.items()}
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise OSError(f"it is damaged ({error}); remove it while nothing is paid") from error


def _folder() -> Path:
    if chosen := os.environ.get("LIVEPEER_STATE"):
        return Path(chosen).expanduser()
    from platformdirs import user_state_path

    return user_state_path("livepeer")
