"""Who signs a job, and with what. Offchain nobody has to.

Paying on chain fits behind `Signer.can_pay` and `Signer.payment`: the headers that come from there
go out with a job, and for a live stream again and again (`livepeer.client.live.payments`). No
signer of this version can pay: a payment is go-livepeer's protobuf `net.Payment`, and the reference
signer's `/generate-live-payment` makes it from a `net.OrchestratorInfo`, which a BYOC token is not.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

from livepeer.client.config import Config
from livepeer.client.exceptions import (
    ConfigurationError,
    ConnectionFailedError,
    LivepeerError,
    PaymentRequiredError,
    ProtocolError,
)
from livepeer.client.http.deadline import Deadline
from livepeer.client.http.requests import Http
from livepeer.client.http.tls import TlsPolicy
from livepeer.client.protocol.wire import JobHeader, compact_json
from livepeer.client.types import Offer
from livepeer.client.untrusted import loads, shown_url

logger = logging.getLogger(__name__)

_TEXT_LIMIT: Final = 1_000
"""Letters of an address or a signature, which has 132."""

NOBODY: Final = "0x0000000000000000000000000000000000000000"


@dataclass(frozen=True, slots=True)
class Identity:
    """An address, and its signature over itself: what a token request carries."""

    address: str
    signature: str


class Signer(Protocol):
    """Signs for an address, and pays for a job where it can."""

    can_pay: bool
    """Can `payment` answer for a capability that has a price?"""

    async def identity(self, http: Http, deadline: Deadline) -> Identity: ...

    async def sign(self, http: Http, job: JobHeader, deadline: Deadline) -> str:
        """The value of the job's `Livepeer` header."""
        ...

    async def payment(
        self, http: Http, job: JobHeader, offer: Offer, deadline: Deadline
    ) -> dict[str, str]:
        """Headers that pay for the job; none for a free one."""
        ...


class Unsigned:
    """Offchain: an orchestrator takes an empty signature of any address."""

    can_pay = False

    async def identity(self, http: Http, deadline: Deadline) -> Identity:
        return Identity(NOBODY, "")

    async def sign(self, http: Http, job: JobHeader, deadline: Deadline) -> str:
        return job.header(sender=NOBODY)

    async def payment(
        self, http: Http, job: JobHeader, offer: Offer, deadline: Deadline
    ) -> dict[str, str]:
        return _unpaid(offer, "set signer_url or eth_key, or call through gateway_url")


@contextmanager
def _recursion_limit_kept() -> Iterator[None]:
    """py_ecc, which eth-account imports, raises the limit of the whole process a hundredfold.

    Signing needs nothing of it, and with it an answer that is nested deeply enough ends the process
    in `json.loads` with a segmentation fault, in place of a `RecursionError`.
    """
    limit = sys.getrecursionlimit()
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


class LocalKey:
    """Signs with an Ethereum key of this process (extra `eth`)."""

    can_pay = False

    def __init__(self, key: str) -> None:
        try:
            with _recursion_limit_kept():
                from eth_account import Account
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                "signing with eth_key needs eth-account: pip install 'livepeer-client[eth]'"
            ) from error
        try:
            self._account = Account.from_key(key)
        except Exception:  # noqa: BLE001 — its exception types vary, and may quote the key
            raise ConfigurationError("eth_key is not a private key in hex") from None
        self._identity = Identity(self._account.address, self._sign(self._account.address))

    def __repr__(self) -> str:
        return f"LocalKey({self._account.address})"

    async def identity(self, http: Http, deadline: Deadline) -> Identity:
        return self._identity

    async def sign(self, http: Http, job: JobHeader, deadline: Deadline) -> str:
        signature = self._sign(job.request + job.parameters)
        return job.header(sender=self._identity.address, signature=signature)

    async def payment(
        self, http: Http, job: JobHeader, offer: Offer, deadline: Deadline
    ) -> dict[str, str]:
        return _unpaid(offer, "this version signs with a local key, and cannot pay with it yet")

    def _sign(self, text: str) -> str:
        from eth_account.messages import encode_defunct
        from eth_utils.crypto import keccak

        # go-livepeer signs the 32 bytes of keccak256(text) as a personal message; v is 27 or 28.
        signed = self._account.sign_message(encode_defunct(primitive=keccak(text=text)))
        return "0x" + bytes(signed.signature).hex()


class RemoteSigner:
    """Signs through a remote signer: tokens by `/sign-orchestrator-info`, jobs by `/sign-byoc-job`.

    The second exists in forks of go-livepeer only. Where it is missing, a job goes out unsigned,
    which an offchain orchestrator accepts and an on-chain one refuses.
    """

    can_pay = False

    def __init__(self, url: str, headers: Mapping[str, str], trust: TlsPolicy) -> None:
        self._url, self._headers, self._trust = url, dict(headers), trust
        self._identity: Identity | None = None
        self._signs_jobs = True

    def __repr__(self) -> str:
        return f"RemoteSigner({shown_url(self._url)})"

    async def identity(self, http: Http, deadline: Deadline) -> Identity:
        if self._identity is None:
            status, answer = await self._ask(http, "/sign-orchestrator-info", {}, deadline)
            if status != 200:
                raise self._refused("/sign-orchestrator-info", status)
            # The address goes out with its exact casing: that text is what was signed.
            self._identity = Identity(_text(answer, "address"), _text(answer, "signature"))
        return self._identity

    async def sign(self, http: Http, job: JobHeader, deadline: Deadline) -> str:
        if self._signs_jobs:
            status, answer = await self._ask(
                http,
                "/sign-byoc-job",
                {
                    "id": job.id,
                    "capability": job.capability,
                    "request": job.request,
                    "parameters": job.parameters,
                    "timeout_seconds": job.timeout_seconds,
                },
                deadline,
            )
            if status == 200:
                return job.header(
                    sender=_text(answer, "sender"), signature=_text(answer, "signature")
                )
            if status not in (404, 405, 501):
                raise self._refused("/sign-byoc-job", status)
            place = shown_url(self._url)
            logger.warning("%s has no /sign-byoc-job: jobs go out unsigned", place)
            self._signs_jobs = False
        identity = await self.identity(http, deadline)
        return job.header(sender=identity.address)

    async def payment(
        self, http: Http, job: JobHeader, offer: Offer, deadline: Deadline
    ) -> dict[str, str]:
        return _unpaid(offer, "this version does not ask a remote signer for payments yet")

    async def _ask(
        self, http: Http, path: str, body: dict[str, Any], deadline: Deadline
    ) -> tuple[int, Any]:
        try:
            reply = await http.fetch(
                "POST",
                self._url + path,
                ssl=self._trust.for_service(),
                deadline=deadline,
                headers={**self._headers, "Content-Type": "application/json"},
                body=compact_json(body).encode(),
                where={"orchestrator": shown_url(self._url)},
            )
        except ConnectionFailedError as error:
            raise type(error)(
                f"the remote signer cannot be asked: {error}", orchestrator=shown_url(self._url)
            ) from error
        if reply.status != 200:
            return reply.status, None
        try:
            return 200, loads(reply.body)
        except ValueError as error:
            place = shown_url(self._url)
            raise ProtocolError(f"the signer {place}{path} did not answer with JSON") from error

    def _refused(self, path: str, status: int) -> LivepeerError:
        told = f"the signer refused {shown_url(self._url)}{path}: {status}"
        if status in (401, 403):
            return ConfigurationError(f"{told} (are its headers right?)", status=status)
        return ProtocolError(told, status=status)


def _unpaid(offer: Offer, hint: str) -> dict[str, str]:
    if offer.free:
        return {}
    raise PaymentRequiredError(
        f"{offer.capability!r} costs {float(offer.price):g} wei per second at"
        f" {offer.orchestrator}: {hint}",
        capability=offer.capability,
        orchestrator=offer.orchestrator,
    )


def _text(answer: Any, key: str) -> str:
    value = answer.get(key) if isinstance(answer, dict) else None
    if not isinstance(value, str) or not value or len(value) > _TEXT_LIMIT:
        raise ProtocolError(f"the signer's answer has no {key!r}")
    if not value.isascii() or not value.isprintable():  # it goes into a header
        raise ProtocolError(f"the {key!r} of the signer's answer is no line of ASCII")
    return value


def signer_for(config: Config, trust: TlsPolicy) -> Signer:
    """The signer that the settings ask for: a local key, a remote signer, or none."""
    if config.eth_key:
        return LocalKey(config.eth_key)
    if config.signer:
        return RemoteSigner(config.signer, config.signer_headers, trust)
    return Unsigned()
