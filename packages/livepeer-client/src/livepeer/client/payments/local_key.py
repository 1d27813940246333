"""A key of this process that signs (extra `eth`)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from livepeer.client.exceptions import ConfigurationError, PaymentRequiredError
from livepeer.client.http.deadline import Deadline
from livepeer.client.http.requests import Http
from livepeer.client.payments.signer import Identity, Order, SignedPayment
from livepeer.client.protocol.wire import JobHeader


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

    async def sign(self, http: Http, job: JobHeader, deadline: Deadline, *, paid: bool) -> str:
        signature = self._sign(job.request + job.parameters)
        return job.header(sender=self._identity.address, signature=signature)

    async def pay(
        self, http: Http, order: Order, state: Any, deadline: Deadline
    ) -> SignedPayment | None:
        raise PaymentRequiredError(
            f"{order.app!r} has a price, and this version signs with a local key but does not pay"
            " with it: set signer_url, or call through a gateway_url that pays"
        )

    def _sign(self, text: str) -> str:
        from eth_account.messages import encode_defunct
        from eth_utils.crypto import keccak

        # go-livepeer signs the 32 bytes of keccak256(text) as a personal message; v is 27 or 28.
        signed = self._account.sign_message(encode_defunct(primitive=keccak(text=text)))
        return "0x" + bytes(signed.signature).hex()
