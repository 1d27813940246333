"""The `Livepeer` header: a job's envelope, and what a caller has to prove for a token."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from livepeer.runner.devnet import go_json
from livepeer.runner.devnet.byoc.accounts import (
    InsufficientBalance,
    JobAccount,
    JobAccounts,
    NoPrice,
)
from livepeer.runner.devnet.byoc.capabilities import Capabilities

JOB_FIELDS = {
    "id": "string",
    "request": "string",
    "parameters": "string",
    "capability": "string",
    "capability_url": "string",
    "sender": "string",
    "sig": "string",
    "timeout_seconds": "int",
    "OrchSearchTimeout": "int64",
    "OrchSearchRespTimeout": "int64",
}


class JobRefused(Exception):
    """A request that is turned away; `str()` is the text for the caller."""


class NoCapacity(JobRefused):
    """The capability is not registered. A full one is never refused."""

    def __init__(self) -> None:
        super().__init__("No capacity available for capability")


class UnpaidJob(JobRefused):
    """The caller's balance does not cover a minute of the price."""

    def __init__(self) -> None:
        super().__init__("Insufficient balance for request")


@dataclass(frozen=True)
class AdmittedJob:
    """A job that was let in. `timeout` (seconds) may be below 0; `url` may be empty."""

    id: str
    capability: str
    url: str
    parameters: str
    stream_id: str
    timeout: int
    account: JobAccount


async def admit(
    headers: Mapping[str, str], capabilities: Capabilities, accounts: JobAccounts, *, reserve: bool
) -> AdmittedJob:
    """Reads an envelope and the payment beside it and, with `reserve`, takes a place.

    Raises `JobRefused`, and `DropConnection` for a payment that cannot be taken. As in the
    reference, a place is already taken, and stays so, where only the `request` in the envelope
    turns out to be bad; and what was not paid gives back a place, whether it took one or not.
    """
    try:
        values = go_json.decode(_decoded(headers.get("Livepeer")), JOB_FIELDS, "JobRequest")
    except (ValueError, binascii.Error):
        raise JobRefused("Could not verify job creds") from None
    timeout = values.get("timeout_seconds", 0)
    if timeout == 0:
        raise JobRefused("no timeout_seconds set with request, timeout_seconds is required")
    sender, told = values.get("sender", ""), values.get("request", "")
    parameters = values.get("parameters", "")
    if not await accounts.signed(sender, told + parameters, values.get("sig", "")):
        raise JobRefused("Could not verify job creds")
    capability = values.get("capability", "")
    if reserve and not capabilities.reserve(capability):
        capabilities.tell_why_none(capability)
        raise NoCapacity
    try:
        payment = headers.get("Livepeer-Payment", "")
        account = await accounts.confirmed(sender, capability, payment)
    except NoPrice:
        raise JobRefused("Could not get job price") from None
    except InsufficientBalance:
        capabilities.free(capability)
        raise UnpaidJob from None
    try:
        details = go_json.decode(go_json.parse(told), {"stream_id": "string"}, "JobRequestDetails")
    except go_json.GoJSONError as error:
        raise JobRefused(f"Unable to unmarshal job request details err={error}") from None
    return AdmittedJob(
        id=values.get("id", ""),
        capability=capability,
        url=capabilities.url(capability),
        parameters=parameters,
        stream_id=details.get("stream_id", ""),
        timeout=timeout,
        account=account,
    )


async def token_sender(header: str, accounts: JobAccounts) -> dict[str, str]:
    """Who asks for a token, from `Livepeer-Eth-Address`; raises `JobRefused`."""
    try:
        values = go_json.decode(_decoded(header), {"addr": "string", "sig": "string"}, "JobSender")
    except (ValueError, binascii.Error):
        raise JobRefused("Invalid eth address header ") from None
    address, signature = values.get("addr", ""), values.get("sig", "")
    if not await accounts.signed(address, address, signature):
        raise JobRefused("Invalid eth address header ")
    return {"addr": address, "sig": signature}


def _decoded(header: str | None) -> Any:
    return go_json.parse(base64.b64decode(header or "", validate=True))
