"""Who is calling: a credential for each orchestrator, and the work each of them has running."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from livepeer.runner.settings import Secret


@dataclass(frozen=True, slots=True)
class OpenChannel:
    """A trickle channel: `url` is for the caller, `internal_url` for this service."""

    url: str
    internal_url: str


class Caller:
    """One orchestrator, at one registry, as a caller of this service.

    `token` is what its requests carry; by default fresh for each process. An orchestrator that
    still has an earlier one is answered 401, and drops the capability until it is registered again,
    which the registration notices.
    """

    def __init__(self, url: str, token: Secret | None = None, *, session: str = "") -> None:
        self.url = url
        self.session = session
        """The session at a live runner's registry; empty where there are none."""
        self.owner = f"{url} {session}" if session else url
        """What its streams are known by: it can change and end no other's."""
        self.token = token or Secret(secrets.token_urlsafe(32))
        self.in_flight = 0
        self.started = 0
        self._when_ended: list[Callable[[], None]] = []

    @contextmanager
    def working(self) -> Iterator[Caller]:
        """Count a job or stream of this orchestrator as running."""
        self.in_flight += 1
        self.started += 1
        try:
            yield self
        finally:
            self.in_flight -= 1

    def when_ended(self, call: Callable[[], None]) -> Callable[[], None]:
        """Call `call` once the orchestrator has ended the session. Returns what undoes that."""
        self._when_ended.append(call)
        return lambda: self._when_ended.remove(call)

    def end(self) -> None:
        """The session is over at its orchestrator."""
        for call in list(self._when_ended):
            call()

    async def open_channels(self, wanted: Mapping[str, str]) -> dict[str, OpenChannel] | None:
        """Channels of the session, by name, for a MIME type each. None: this registry's callers
        bring their own.

        Raises `JobError` where the orchestrator opens none.
        """
        return None

    def __repr__(self) -> str:
        return f"Caller({self.url!r}, in_flight={self.in_flight})"


class Callers:
    """The orchestrators that may call, by their tokens.

    `identity`: what the tokens are made of, so that processes that serve in turn have the same
    ones; by default each process has its own.
    """

    def __init__(self, urls: Sequence[str], identity: Secret | None = None) -> None:
        self._callers = tuple(
            Caller(url, identity and _derived(identity, f"{number} {url}"))
            for number, url in enumerate(urls)
        )

    def __iter__(self) -> Iterator[Caller]:
        return iter(self._callers)

    def authenticate(self, authorization: str | None) -> Caller | None:
        """The orchestrator whose token an `Authorization` header carries, or None: answer 401.

        Takes the same time whatever the header holds.
        """
        scheme, _, given = (authorization or "").strip().partition(" ")
        found = None
        for caller in self._callers:
            expected = caller.token.reveal().encode()
            if hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), expected):
                found = caller
        return found if scheme.lower() == "bearer" else None


def _derived(identity: Secret, purpose: str) -> Secret:
    return Secret(hmac.digest(identity.reveal().encode(), purpose.encode(), "sha256").hex())
