"""Certificates met before: what is pinned, and whether a peer is the one that it was.

go-livepeer serves a self-signed certificate, made anew at each start, that names no IP address:
nothing in it can be verified, but that it is the one met before can. `PinStore` remembers one
SHA-256 fingerprint for each `host:port`, in memory or in a file that only its owner may read;
`PinTrust` judges by it. `aiohttp_pin.Pin` is the same for aiohttp, whose import takes
longer than that of all this package.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import json
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from livepeer.trickle.exceptions import CertificateError
from livepeer.trickle.locked_file import HeldElsewhere, LockedFile

_FILE_BYTES = 8 << 20
"""A pin takes about 130."""

logger = logging.getLogger(__name__)


def fingerprint(certificate: bytes) -> str:
    """The SHA-256 of a certificate (DER), as `AA:BB:...`, the way openssl prints it."""
    digest = hashlib.sha256(certificate).hexdigest().upper()
    return ":".join(digest[i : i + 2] for i in range(0, len(digest), 2))


def is_private(host: str) -> bool:
    """Whether `host` is this machine or a private address. Names other than localhost are not."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_private or address.is_link_local


def pins_path() -> Path:
    """The user's own pin file: `LIVEPEER_PINS`, or `pins.json` in the configuration folder.

    Needs platformdirs, which the packages that keep pins there bring along.
    """
    if chosen := os.environ.get("LIVEPEER_PINS"):
        return Path(chosen).expanduser()
    from platformdirs import user_config_path

    return user_config_path("livepeer") / "pins.json"


class PinStore:
    """Fingerprints by `host:port`, in memory, or in the JSON file `path`, of mode 0600.

    The file may be shared by processes: each change reads it again and replaces it whole.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = None if path is None else Path(path).expanduser()
        self._file = None if self.path is None else LockedFile(self.path)
        self._pins: dict[str, str] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"PinStore({str(self.path)!r})" if self.path else "PinStore()"

    def get(self, host: str, port: int) -> str | None:
        """The fingerprint known for `host:port`."""
        return self._load().get(_key(host, port))

    def set(self, host: str, port: int, value: str) -> None:
        """Remember `value` for `host:port`, in place of what was known."""
        with self._locked():
            pins = self._load()
            pins[_key(host, port)] = value
            self._save(pins)

    def meet(self, host: str, port: int, value: str) -> str:
        """Remember `value` for `host:port` unless another is known; returns the one known now.

        Of two processes that meet a server at once one is first, and its word holds for both.
        """
        with self._locked():
            pins = self._load()
            known = pins.setdefault(_key(host, port), value)
            if known == value:
                self._save(pins)
            return known

    def forget(self, host: str, port: int) -> bool:
        """Forget what was known, so that the next certificate is accepted. False if nothing was."""
        with self._locked():
            pins = self._load()
            known = pins.pop(_key(host, port), None) is not None
            if known:
                self._save(pins)
            return known

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        if self._file is None:
            with self._lock:
                yield
            return
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(self._file.held())
            except HeldElsewhere as error:
                raise CertificateError(f"the pin file {error}") from error
            yield

    def _load(self) -> dict[str, str]:
        if self._file is None:
            return self._pins
        try:
            data = self._file.read(_FILE_BYTES)
            pins = {} if data is None else json.loads(data)
        except (ValueError, RecursionError) as error:
            # Starting afresh would accept any certificate: a broken file has to be seen.
            raise CertificateError(
                f"the pin file {self.path} is no JSON; repair it, or delete it to trust anew"
            ) from error
        if not isinstance(pins, dict) or not all(isinstance(pin, str) for pin in pins.values()):
            raise CertificateError(
                f"the pin file {self.path} does not map host:port to fingerprints; "
                "repair it, or delete it to trust anew"
            )
        return pins

    def _save(self, pins: dict[str, str]) -> None:
        if self._file is None:
            self._pins = pins
        else:
            self._file.replace(json.dumps(pins, indent=1, sort_keys=True).encode())


def _key(host: str, port: int) -> str:
    host = host.lower()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class PinTrust:
    """The certificate met first is trusted, and no other afterwards: a `PeerTrust`.

    `store` and `renew` are those of `Pin`.
    """

    def __init__(self, store: PinStore | None = None, *, renew: bool = False) -> None:
        self.store = store if store is not None else PinStore()
        self.renew = renew
        self._lost: set[tuple[str, int]] = set()
        self._private: set[tuple[str, int]] = set()
        """Whose first certificate was met at a private address, by this very `PinTrust`."""

    def lost(self, host: str, port: int) -> None:
        """The server was away: with `renew`, one new certificate of a private address is taken."""
        self._lost.add((host.lower(), port))

    def trust(
        self, host: str, port: int, certificate: bytes, *, address: str | None = None
    ) -> None:
        """Check `certificate` (DER) of `host:port`.

        `address`: what the connection went to. A name (of a container, say) is private if it is.

        Raises `CertificateError` on a change, and if the store fails.
        """
        try:
            self._check(host, port, certificate, address)
        except CertificateError:
            raise
        except OSError as error:
            raise CertificateError(f"the pins can't be kept: {error}") from error

    def _check(self, host: str, port: int, certificate: bytes, address: str | None) -> None:
        if not certificate:
            raise CertificateError(f"{host}:{port} showed no certificate")
        seen, known = fingerprint(certificate), self.store.get(host, port)
        place = (host.lower(), port)
        # What the connection went to tells where it is; a name may lead anywhere tomorrow.
        private = is_private(host if address is None else address)
        if known is None:
            known = self.store.meet(host, port, seen)
            if known == seen and private:
                self._private.add(place)
            elif known == seen:
                self._private.discard(place)
        if known == seen:
            self._lost.discard(place)
            return
        met_private = place in self._private or is_private(host)
        if self.renew and private and met_private and place in self._lost:
            logger.warning(
                "%s:%s came back with a new certificate, which is accepted because the address is "
                "private: %s",
                host,
                port,
                seen,
            )
            self._lost.discard(place)
            self.store.set(host, port, seen)
            return
        kept = f" in {self.store.path}" if self.store.path else ""
        raise CertificateError(
            f"the certificate of {host}:{port} changed: known{kept} as {known}, now {seen}. "
            "If the server was reinstalled or restarted, forget the old one; else somebody may be "
            "in between. Nothing was sent"
        )
