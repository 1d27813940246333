"""What a gateway sends on: a caller's envelope, signed."""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from dataclasses import dataclass, replace
from typing import Any

from livepeer.runner.devnet import go_json
from livepeer.runner.devnet.byoc.envelope import JOB_FIELDS, JobRefused

_SEARCH, _RESPONSE = 1_000_000_000, 500_000_000
"""Nanoseconds that a gateway says it looks for orchestrators, and waits for one of them. What a
caller asks for in `Livepeer-Orch-Search-*` has no effect in the reference."""
_PARAMETERS = {
    "enable_video_ingress": "bool",
    "enable_video_egress": "bool",
    "enable_data_output": "bool",
}


class OffchainWallet:
    """An address, and something in the form of signatures: there is no key behind it.

    Orchestrators offchain take any hex, so a local network needs no more.
    """

    def __init__(self) -> None:
        self.address = "0x" + secrets.token_hex(20)

    def sign(self, message: str) -> str:
        digest = hashlib.sha512(f"{self.address}{message}".encode()).hexdigest()
        return f"0x{digest}1b"

    def sender(self) -> str:
        """The value of `Livepeer-Eth-Address`."""
        return _header({"addr": self.address, "sig": self.sign(self.address)})


@dataclass(frozen=True)
class GatewayOrder:
    """One job as a gateway passes it on. `timeout` is in seconds."""

    id: str
    request: str
    parameters: str
    capability: str
    capability_url: str
    timeout: int
    searched: bool = False

    def signed(self, wallet: OffchainWallet) -> str:
        """The value of `Livepeer` for an orchestrator."""
        return _header(
            {
                "id": self.id,
                "request": self.request,
                "parameters": self.parameters,
                "capability": self.capability,
                "capability_url": self.capability_url,
                "sender": wallet.address,
                "sig": wallet.sign(self.request + self.parameters),
                "timeout_seconds": self.timeout,
                "OrchSearchTimeout": _SEARCH if self.searched else 0,
                "OrchSearchRespTimeout": _RESPONSE if self.searched else 0,
            }
        )

    def renamed(self, stream_id: str) -> GatewayOrder:
        return replace(self, id=stream_id)


@dataclass(frozen=True)
class OrderParameters:
    """What of an envelope's `parameters` a gateway looks at."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    ingress: bool = False
    egress: bool = False
    data: bool = False

    def wants(self, orchestrator: str) -> bool:
        """Compared as text: a slash at the end is another orchestrator."""
        return orchestrator not in self.exclude and (
            not self.include or orchestrator in self.include
        )


def order_from(header: str, *, searched: bool) -> tuple[GatewayOrder, OrderParameters]:
    """Reads a caller's envelope, whose signature does not matter. Raises `JobRefused`."""
    try:
        try:
            decoded = base64.b64decode(header, validate=True)
        except (ValueError, binascii.Error):
            raise JobRefused("Unable to parse job request, err=ErrorSegEncoding") from None
        values = go_json.decode(go_json.parse(decoded), JOB_FIELDS, "JobRequest")
    except go_json.GoJSONError as error:
        raise JobRefused(f"Unable to parse job request, err={error}") from None
    timeout = values.get("timeout_seconds", 0)
    if timeout == 0:
        raise JobRefused(
            "Unable to parse job request, err=no timeout_seconds set with request,"
            " timeout_seconds is required"
        )
    try:
        request = go_json.parse(values.get("request", ""))
        go_json.decode(request, {"stream_id": "string"}, "JobRequestDetails")
    except go_json.GoJSONError as error:
        raise JobRefused(f"Unable to unmarshal job request err={error}") from None
    try:
        parameters = _parameters(go_json.parse(values.get("parameters", "")))
    except go_json.GoJSONError as error:
        raise JobRefused(f"Unable to unmarshal job parameters err={error}") from None
    order = GatewayOrder(
        id=values.get("id", ""),
        request=values.get("request", ""),
        parameters=values.get("parameters", ""),
        capability=values.get("capability", ""),
        capability_url=values.get("capability_url", ""),
        timeout=timeout,
        searched=searched,
    )
    return order, parameters


def stop_order(stream_id: str, capability: str) -> GatewayOrder:
    """The envelope of a gateway's own stop calls."""
    request = go_json.dumps({"stream_id": stream_id}).decode()
    return GatewayOrder("", request, "", capability, "", timeout=10)


def _parameters(value: Any) -> OrderParameters:
    flags = go_json.decode(value, _PARAMETERS, "JobParameters")
    chosen = value.get("orchestrators") if isinstance(value, dict) else None
    chosen = chosen if isinstance(chosen, dict) else {}
    return OrderParameters(
        include=_urls(chosen.get("include")),
        exclude=_urls(chosen.get("exclude")),
        ingress=flags.get("enable_video_ingress", False),
        egress=flags.get("enable_video_egress", False),
        data=flags.get("enable_data_output", False),
    )


def _urls(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(type(item) is str for item in value):
        raise go_json.GoJSONError(
            "json: cannot unmarshal into Go struct field JobParameters.orchestrators"
        )
    return tuple(value)


def _header(value: dict[str, Any]) -> str:
    return base64.b64encode(go_json.dumps(value)).decode()
