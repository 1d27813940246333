"""The means of one gateway to pay: who signs, what may be spent, at what pace."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from livepeer.client.config import Config
from livepeer.client.exceptions import PaymentRequiredError
from livepeer.client.http.requests import Http
from livepeer.client.http.tls import TlsPolicy
from livepeer.client.payments import pace
from livepeer.client.payments.account import Account, Renewed
from livepeer.client.payments.bill import Bill
from livepeer.client.payments.budget import Budget
from livepeer.client.payments.challenge import KINDS
from livepeer.client.payments.local_key import LocalKey
from livepeer.client.payments.remote_signer import RemoteSigner
from livepeer.client.payments.signer import Signer, Unsigned
from livepeer.client.protocol.discovery import RunnerEntry


class Wallet:
    """What one gateway pays with: its signer, its budget and its limits. Opens a `Bill` for each
    session or request. Safe across threads and event loops."""

    def __init__(self, config: Config, trust: TlsPolicy, signer: Signer) -> None:
        self.signer = signer
        self.budget = Budget(config.max_spend)
        self.max_price = config.max_price
        self._trust = trust
        self._pace = pace.PACE

    @property
    def can_pay(self) -> bool:
        """Whether the signer can pay at all."""
        return self.signer.can_pay

    def bill(
        self,
        http: Http,
        orchestrator: str,
        runner: RunnerEntry,
        budget: Budget | None,
        sending: Callable[[], None] | None = None,
    ) -> Bill | None:
        """The bill of one session or request of a live runner; None if it is free. Raises
        `PaymentRequiredError` for a unit that this version cannot pay."""
        if runner.price == 0:
            return None
        if runner.unit not in KINDS:
            raise PaymentRequiredError(
                f"{runner.app!r} has a price for each {runner.unit or 'unit'!r}, which this version"
                " cannot pay",
                capability=runner.app,
                orchestrator=orchestrator,
            )
        return self.bill_for(
            http, orchestrator, runner.app, runner.unit, runner.price, budget, sending
        )

    def bill_for(
        self,
        http: Http,
        orchestrator: str,
        app: str,
        unit: str,
        price: Fraction,
        budget: Budget | None,
        sending: Callable[[], None] | None = None,
        *,
        renewed: Renewed | None = None,
    ) -> Bill:
        """The bill of an offer at `price` wei for each `unit`, which is one of `KINDS`."""
        account = Account(
            http,
            self.signer,
            self._trust,
            self.budget if budget is None else budget,
            self._pace,
            orchestrator=orchestrator,
            app=app,
            unit=unit,
            listed=price,
            max_price=self.max_price,
            renewed=renewed,
        )
        return Bill(http, account, self._pace, sending)


def signer_for(config: Config, trust: TlsPolicy) -> Signer:
    """The signer that the settings ask for: a local key, a remote signer, or none."""
    if config.eth_key:
        return LocalKey(config.eth_key)
    if config.signer:
        return RemoteSigner(config.signer, config.signer_headers, trust)
    return Unsigned()
