"""Where a recorded payer goes other ways than our client, and why."""

from __future__ import annotations

import re
from fractions import Fraction

from .payer_values import Recorded
from .transcript import Step

GENERATE, SIGN, REFRESH = "/generate-live-payment", "/sign-orchestrator-info", "/refresh-payment"
SESSION = re.compile(r"(/apps/[^/]+/session)(?:/([^/]+)(/.*)?)?")
ORDERED = frozenset({"orchestrator", "app", "ManifestID", "type", "inPixels", "maxPrice", "state"})
TAMPERED = {
    "garbage": "a payment that no signer made",
    "other_price": "a payment that no signer made",
    "other_face_value": "a payment that no signer made",
    "other_key": "a payment that no signer made",
    "other_payer": "a payment that no signer made",
    "no_tickets": "a payment without tickets",
    "top_up_same_params": "a second payment by one token",
    "same_payment_twice": "a second payment by one token",
}
"""Scenarios whose payments are such on purpose."""
OTHER_WAYS = {
    (
        "live-runner-paid",
        "other_manifest",
    ): "it pays for another session than the one it was asked for",
    (
        "live-runner-paid",
        "answer_as_params",
    ): "it pays by what a payment was answered, which our client does not read",
    (
        "live-runner-paid",
        "general_payment_url",
    ): "it pays at the address of a refresh; ours keeps its session's own",
    (
        "live-runner-paid",
        "refresh_by_reserve",
    ): "it reserves again to be asked anew; ours has /refresh-payment for it",
    ("live-runner-paid", "refresh_missed"): "it pays by tickets that the signer has called too old",
    ("byoc-paid", "token_signature"): "a signature that is none",
    ("byoc-paid", "token_by_signer"): "the signer's address, where another key pays",
    ("byoc-paid", "token_poor"): "an address without a deposit",
    ("byoc-paid", "other_payer"): "another address pays than the one whose job it is",
    ("byoc-paid", "job_signature"): "a job signed by nobody, or by another",
    (
        "byoc-paid",
        "by_signer",
    ): "it pays by the state of the job before; ours pays by each token anew",
    ("byoc-paid", "by_signer_live"): "it pays for a BYOC job as for a session",
    ("byoc-paid", "stream_payment_alone"): "a second payment by one token",
    ("byoc-paid", "stream_low_balance"): "a second payment by one token",
    ("lv2v", "chain_ask_poor"): "an address without a deposit",
    ("lv2v", "chain_start_unpaid"): "the headers of a payment one by one",
    ("lv2v", "chain_unpaid_end"): "it pays for less than the first minute",
    ("lv2v", "chain_no_segments"): "it pays for less than the first minute",
    ("lv2v", "off_headers"): "segments that nobody made",
}
"""Scenarios whose recorded caller leaves the way of our client, where it does: played so far."""


class Ways:
    """Which requests of a scenario's caller are ours as well. `payer`: the signer's address."""

    def __init__(self, name: str, values: Recorded, payer: str) -> None:
        self._name, self._values, self._payer = name, values, payer

    def why_not(self, sent: Step, path: str) -> str | None:
        """Why our client does not send it as it stands; None where it does."""
        method, headers = sent.get("method", "POST"), sent.get("headers", {})
        if (name := self._name) in TAMPERED and "Livepeer-Payment" in headers:
            return TAMPERED[name]
        if path.startswith("/ai/trickle/"):
            return "a channel, which livepeer.trickle asks for (its own transcripts)"
        if path == SIGN:
            return None if method == "POST" and sent.get("body") == "{}" else "another form of it"
        if path == GENERATE:
            return self._order(sent, method)
        if path == REFRESH:
            good = {"sender", "manifest_id"}
            body = sent.get("body")
            told = body.get("json") if isinstance(body, dict) and method == "POST" else None
            if not isinstance(told, dict) or set(told) != good:
                return "another form of a refresh"
            return None
        payments = [headers.get(f"Livepeer-{name}") for name in ("Payment", "Segment")]
        if method in ("POST", "GET") and any(payments) and path.startswith(("/apps/", "/payment")):
            if not all(payments):
                return "a payment without its segment, or the other way round"
            texts = [self._values.header(each) for each in payments]
            if any(text not in self._values.known.values() for text in texts) or any(
                isinstance(each, dict) for each in payments
            ):
                return "a payment that no signer made"
        if "Livepeer-Payer-Address" in headers:
            wanted = self._payer
            if headers["Livepeer-Payer-Address"] != wanted:
                return "another payer, or one in another form"
        match = SESSION.fullmatch(path)
        if match and match[2] and match[3] == "/payment" and method != "POST":
            return "another method"
        return None

    def _order(self, sent: Step, method: str) -> str | None:
        body = sent.get("body")
        told = body.get("json") if isinstance(body, dict) else None
        if method != "POST" or not isinstance(told, dict) or not set(told) <= ORDERED:
            return "an order of another form"
        orchestrator = told.get("orchestrator")
        if not isinstance(orchestrator, str | dict) or (
            isinstance(orchestrator, dict) and "b64proto" not in orchestrator
        ):
            return "an order without what is asked"
        kinds = ("live", "lv2v", "fixed")
        units = told.get("inPixels")
        if told.get("type") not in kinds and not (
            "type" not in told and isinstance(units, int) and units > 0
        ):
            return "an order of no kind, or of one that there is not"
        if told.get("type") in kinds and "inPixels" in told:
            return "an order of two kinds"
        if not isinstance(told.get("ManifestID", ""), str):
            return "an order of another form"
        most = told.get("maxPrice")
        if most is not None:
            unit = {"live": "seconds", "lv2v": "720p-pixel-seconds", "fixed": "fixed"}
            price = str(most.get("price", "")) if isinstance(most, dict) else ""
            if (
                not re.fullmatch(r"[0-9]+(\.[0-9]+)?", price)
                or Fraction(price) <= 0
                or most.get("currency") != "wei"
                or most.get("unit") != unit.get(told.get("type", ""))
            ):
                return "a ceiling of another form"
        state = told.get("state")
        if "state" in told and (not isinstance(state, dict) or set(state) != {"State", "Sig"}):
            return "a state that no signer made"
        return None
