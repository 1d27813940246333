"""The `Livepeer` header: a job's envelope, and what a caller has to prove for a token."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any

from livepeer.runner.devnet import go_json
from livepeer.runner.devnet.byoc.capabilities import Capabilities

BALANCE = {"Livepeer-Balance": "0"}
"""Offchain nothing is ever owed."""
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


class Refused(Exception):
    """A request that is turned away; `str()` is the text for the caller."""


class NoCapacity(Refused):
    """The capability is not registered. A full one is never refused."""

    def __init__(self) -> None:
        super().__init__("No capacity available for capability")


@dataclass(frozen=True)
class AdmittedJob:
    """A job that was let in. `timeout` (seconds) may be below 0; `url` may be empty."""

    id: str
    capability: str
    url: str
    parameters: str
    stream_id: str
    timeout: int


def admit(header: str | None, capabilities: Capabilities, *, reserve: bool) -> AdmittedJob:
    """Reads an envelope and, with `reserve`, takes a place.

    Raises `Refused`. As in the reference, a place is already taken, and stays so, where only the
    `request` in the envelope turns out to be bad.
    """
    try:
        values = go_json.decode(_decoded(header), JOB_FIELDS, "JobRequest")
    except (ValueError, binascii.Error):
        raise Refused("Could not verify job creds") from None
    timeout = values.get("timeout_seconds", 0)
    if timeout == 0:
        raise Refused("no timeout_seconds set with request, timeout_seconds is required")
    if not _is_signature(values.get("sig", "")):
        raise Refused("Could not verify job creds")
    capability = values.get("capability", "")
    if reserve and not capabilities.reserve(capability):
        capabilities.tell_why_none(capability)
        raise NoCapacity
    try:
        request = go_json.parse(values.get("request", ""))
        details = go_json.decode(request, {"stream_id": "string"}, "JobRequestDetails")
    except go_json.GoJSONError as error:
        raise Refused(f"Unable to unmarshal job request details err={error}") from None
    return AdmittedJob(
        id=values.get("id", ""),
        capability=capability,
        url=capabilities.url(capability),
        parameters=values.get("parameters", ""),
        stream_id=details.get("stream_id", ""),
        timeout=timeout,
    )


def token_sender(header: str) -> dict[str, str]:
    """Who asks for a token, from `Livepeer-Eth-Address`; raises `Refused`."""
    try:
        values = go_json.decode(_decoded(header), {"addr": "string", "sig": "string"}, "JobSender")
    except (ValueError, binascii.Error):
        raise Refused("Invalid eth address header ") from None
    if not _is_signature(values.get("sig", "")):
        raise Refused("Invalid eth address header ")
    return {"addr": values.get("addr", ""), "sig": values.get("sig", "")}


def _decoded(header: str | None) -> Any:
    return go_json.parse(base64.b64decode(header or "", validate=True))


def _is_signature(text: str) -> bool:
    """Offchain any hex is one, an empty text too; `0x` is stripped only from long ones."""
    digits = text[2:] if len(text) > 130 else text
    try:
        return len(bytes.fromhex(digits)) * 2 == len(digits)
    except ValueError:
        return False
