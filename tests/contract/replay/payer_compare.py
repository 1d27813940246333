"""Our client's request about payments beside the recorded one."""

from __future__ import annotations

import base64
import json
from fractions import Fraction
from typing import Any

from eth_account import Account
from eth_account.messages import encode_defunct
from eth_utils.crypto import keccak

from livepeer.client.protocol.tickets import ORCHESTRATOR_INFO, PAYMENT

from .payer_values import Recorded
from .payer_ways import GENERATE
from .transcript import Mismatch, Step


class Comparison:
    """Of the requests of one scenario. `by_key`: our client pays by a key, at another time."""

    def __init__(self, values: Recorded, by_key: bool) -> None:
        self._values, self._by_key = values, by_key

    def check(self, sent: Step, request: Any) -> None:
        """Raises `Mismatch` where ours differs."""
        headers = sent.get("headers", {})
        for name in ("Livepeer-Payment", "Livepeer-Segment", "Livepeer-Capability"):
            if name not in headers:
                if request.header(name.lower()) and name != "Livepeer-Payment":
                    raise Mismatch(f"{name} was sent, and not in the recording")
                continue
            self._same_header(name, headers[name], request.header(name.lower()) or "")
        payer = request.header("livepeer-payer-address")
        if payer is not None and payer != headers.get("Livepeer-Payer-Address"):
            raise Mismatch(f"the payer is {payer!r}")
        if "Livepeer-Eth-Address" in headers:
            self._same_json(headers["Livepeer-Eth-Address"], request, "livepeer-eth-address", ())
        if "Livepeer" in headers and "b64json" in headers["Livepeer"]:
            self._same_json(headers["Livepeer"], request, "livepeer", ("timeout_seconds",))
        if "message" in sent:
            recorded = base64.b64decode(sent["message"]["recorded"])
            # A client that asks whether there is room leaves `ignoreCapacityCheck` out.
            if bytes(request.body) not in (recorded, recorded.removesuffix(b"\x20\x01")):
                raise Mismatch(f"the offer was asked for by {bytes(request.body)!r}")
        body = sent.get("body")
        if isinstance(body, dict) and "json" in body:
            wanted, found = self._values.expand(body["json"]), json.loads(bytes(request.body))
            if sent["path"] == GENERATE:
                found = self._ordered(wanted, found)
            if wanted != found:
                raise Mismatch(f"{sent['path']}: expected {wanted}, got {found}")
        elif body is not None and bytes(request.body) != self._values.body(body):
            raise Mismatch(f"{sent['path']}: its body is {bytes(request.body)!r}")

    def _ordered(self, wanted: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
        """An order says the app also where the recorded caller left it out; numbers of prices are
        texts of ours."""
        if "app" not in wanted:
            found.pop("app", None)
        if "inPixels" in wanted and "byoc" in found.get("ManifestID", ""):
            # What a token is made into: its session is any.
            found.pop("ManifestID")
            for each in (wanted, found):
                info = ORCHESTRATOR_INFO.decode_text(each["orchestrator"])
                each["orchestrator"] = {
                    "ticket_params": info["ticket_params"],
                    "price": info["price_info"],
                }
        most = wanted.get("maxPrice")
        if most is not None and Fraction(str(most["price"])) == Fraction(
            found["maxPrice"]["price"]
        ):
            found["maxPrice"]["price"] = most["price"]
        return found

    def _same_header(self, name: str, value: Any, found: str) -> None:
        wanted = self._values.header(value)
        if wanted == found:
            return
        if self._by_key and name == "Livepeer-Payment":
            # Ours is for another time; as far as both go they are the same, signatures included.
            one, other = PAYMENT.decode_text(wanted), PAYMENT.decode_text(found)
            tickets = one.pop("ticket_sender_params")
            ours = other.pop("ticket_sender_params")
            both = min(len(tickets), len(ours))
            if one == other and both and ours[:both] == tickets[:both]:
                return
        raise Mismatch(f"{name}: expected {wanted[:200]}, got {found[:200]}")

    def _same_json(self, value: Any, request: Any, name: str, least: tuple[str, ...]) -> None:
        wanted = self._values.expand(value["b64json"])
        found = json.loads(base64.b64decode(request.header(name) or ""))
        for key in least:
            if found.get(key, 0) > wanted.get(key, 0):
                raise Mismatch(f"{name}.{key} is {found.get(key)}")
            wanted.pop(key, None)
            found.pop(key, None)
        if not str(wanted.get("sig", "0x")).startswith("0x"):  # one that changes with its stream
            text = keccak(text=found["request"] + found["parameters"])
            signed = Account.recover_message(encode_defunct(primitive=text), signature=found["sig"])
            wanted["sig"] = found["sig"] if signed == wanted["sender"] else "by another"
        for key in set(found) - set(wanted):
            found.pop(key) if key == "id" else None
        if wanted != found:
            raise Mismatch(f"{name}: expected {wanted}, got {found}")
