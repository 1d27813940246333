"""A key of this process (extra `eth`): it signs, and makes payments as a remote signer would.

Nothing is asked of the chain: what tickets need of it stands in what the orchestrator asks. So
nobody looks here whether the deposit is there; the orchestrator does, and says so.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Final

from livepeer.client.exceptions import (
    ConfigurationError,
    PaymentRequiredError,
    ProtocolError,
)
from livepeer.client.http.deadline import Deadline
from livepeer.client.http.requests import Http
from livepeer.client.payments.challenge import FIRST_UNITS, UNIT_RATES
from livepeer.client.payments.nonces import Nonces, UsedUp
from livepeer.client.payments.signer import (
    Order,
    PriceRose,
    RefreshNeeded,
    SignedAddress,
    SignedPayment,
)
from livepeer.client.payments.tickets import MOST_TICKETS, Terms, credentials, keccak
from livepeer.client.protocol.tickets import ORCHESTRATOR_INFO, price_of
from livepeer.client.protocol.wire import JobHeader

TICKET_LIMIT: Final = 3 * 10**12
"""Wei that one ticket may be worth, as go-livepeer's signer has it (`-maxTicketEV`). One is always
in hand, so it is what an orchestrator that goes away can keep."""
TERMS_SECONDS: Final = 420.0
"""Tickets are refused from 40 blocks of 12 s on; by then newer terms have been asked for."""
TOKEN_SECONDS: Final = 180.0
"""What has to be left of an auth token's half an hour: the signer's last tenth."""


@dataclass(frozen=True, slots=True)
class _Standing:
    """How one session stands: the state between two of its payments."""

    kind: str
    app: str
    recipient: bytes
    price: Fraction
    """The first one: what follows is charged at it, and may not be dearer."""
    balance: Fraction = Fraction(0)
    """Wei that the orchestrator has beyond what was due."""
    paid_at: float | None = None
    rand_hash: bytes = b""
    since: float = 0.0
    """When terms with this hash came first."""


class LocalKey:
    """Signs and pays with an Ethereum key of this process. Its repr names the address, never the
    key, and it is not pickled."""

    can_pay = True

    def __init__(
        self,
        key: str,
        *,
        nonces: Nonces | None = None,
        clock: Callable[[], float] = time.time,
        passing: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` tells the time, for what others date; `passing` how much of it goes by, which no
        change of the clock does to what is due."""
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
        address: str = self._account.address
        self._identity = SignedAddress(address, self._sign_text(address))
        self._sender = bytes.fromhex(address.removeprefix("0x"))
        self._nonces = Nonces(address) if nonces is None else nonces
        self._clock, self._passing = clock, passing

    def __repr__(self) -> str:
        return f"LocalKey({self._identity.address})"

    def __reduce__(self) -> str:
        raise TypeError("a key is not pickled: it would stand in a file or on a wire")

    async def identity(self, http: Http, deadline: Deadline) -> SignedAddress:
        return self._identity

    async def sign(self, http: Http, job: JobHeader, deadline: Deadline, *, paid: bool) -> str:
        signature = self._sign_text(job.request + job.parameters)
        return job.header(sender=self._identity.address, signature=signature)

    async def pay(
        self, http: Http, order: Order, state: Any, deadline: Deadline
    ) -> SignedPayment | None:
        try:
            info = ORCHESTRATOR_INFO.decode_text(order.params)
            terms, price = Terms.of(info.get("ticket_params", {})), price_of(info["price_info"])
        except (ValueError, KeyError) as error:
            raise ProtocolError(
                f"what {order.app!r} asks to be paid has no sense: {error}"
            ) from None
        if terms.value > TICKET_LIMIT:
            raise PaymentRequiredError(
                f"a ticket for {order.app!r} would be worth {float(terms.value):g} wei, more than"
                f" the {TICKET_LIMIT:g} that a local key signs"
            )
        now = self._passing()
        standing = self._standing(order, state, info, terms, price, now)
        fee = standing.price * self._units(order, standing, now)
        count = terms.tickets(fee, standing.balance)
        if count == 0:
            return None
        if count > MOST_TICKETS:
            raise PaymentRequiredError(
                f"{float(fee):g} wei for {order.app!r} would take {count} tickets of"
                f" {float(terms.value):g}, and an orchestrator takes {MOST_TICKETS} at once: its"
                " -ticketEV is too low for its price"
            )
        try:
            # Signing is Python's arithmetic, and the nonces are on a disk.
            payment, segment = await asyncio.to_thread(self._made, order, terms, info, count)
        except UsedUp:
            raise RefreshNeeded from None
        balance = standing.balance + count * terms.value - fee
        return SignedPayment(payment, segment, replace(standing, balance=balance, paid_at=now))

    def _standing(
        self,
        order: Order,
        state: Any,
        info: dict[str, Any],
        terms: Terms,
        price: Fraction,
        now: float,
    ) -> _Standing:
        """How it stands before this payment; checks what must not change within a session."""
        recipient = terms.params["recipient"]
        if state is None:
            standing = _Standing(order.kind, order.app, recipient, price)
        else:
            standing = state
            if (standing.kind, standing.app) != (order.kind, order.app):
                raise PaymentRequiredError("a session is paid for one app, by one kind of unit")
            if standing.recipient != recipient:
                raise PaymentRequiredError(
                    f"{order.app!r} wants another recipient to be paid than before"
                )
        expiration = info.get("auth_token", {}).get("expiration")
        if expiration is not None and expiration - self._clock() < TOKEN_SECONDS:
            raise RefreshNeeded
        if standing.rand_hash != terms.rand_hash:
            standing = replace(standing, rand_hash=terms.rand_hash, since=now)
        if now - standing.since > TERMS_SECONDS:
            raise RefreshNeeded
        if price > standing.price:
            raise PriceRose(f"{float(price):g} wei, and the session began at {standing.price}")
        if order.max_price is not None and price > order.max_price:
            raise PriceRose(f"{float(price):g} wei, and max_price is {float(order.max_price):g}")
        return standing

    def _units(self, order: Order, standing: _Standing, now: float) -> Fraction:
        """What is due now, as go-livepeer's signer counts it."""
        if order.kind == "units":
            return Fraction(order.units)
        if standing.paid_at is None:
            return Fraction(FIRST_UNITS[order.kind])
        if order.kind == "fixed":
            return Fraction(1)
        passed = Fraction(max(0.0, now - standing.paid_at))
        seconds = max(1, -(-passed // 1)) if order.kind == "live" else passed
        return Fraction(seconds * UNIT_RATES[order.kind])

    def _made(
        self, order: Order, terms: Terms, info: dict[str, Any], count: int
    ) -> tuple[str, str]:
        nonces = self._nonces.take(terms.rand_hash, count)
        payment = terms.payment(self._sender, nonces, info["price_info"], self._sign)
        token = info.get("auth_token", {})
        return payment, credentials(order.manifest_id, token, self._sign)

    def _sign(self, digest: bytes) -> bytes:
        """A personal message of these 32 bytes: r, s and v of 27 or 28, as go-livepeer wants it."""
        from eth_account.messages import encode_defunct

        return bytes(self._account.sign_message(encode_defunct(primitive=digest)).signature)

    def _sign_text(self, text: str) -> str:
        return "0x" + self._sign(keccak(text.encode())).hex()


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
