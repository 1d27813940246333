"""Replayer 1 for payment transcripts: values that are base64 of protobuf, a signer beside the
orchestrator, blocks."""

from __future__ import annotations

import base64
import json
import re
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

from livepeer.runner.devnet import LocalChain
from livepeer.runner.devnet.payments import messages

from .http1 import Connection
from .orchestrator import OrchestratorReplay
from .transcript import Mismatch, Scenario, Step, Transcript, scenario_from
from .values import Values

FIXTURES = Path(__file__).resolve().parents[3] / "specs" / "fixtures" / "payments"
SECRET = "orch-secret"
SHAPES: dict[str, messages.Shape] = {
    "net.OrchestratorInfo": messages.ORCHESTRATOR_INFO,
    "net.Payment": messages.PAYMENT,
    "net.SegData": messages.SEGMENT,
    "net.PaymentResult": messages.PAYMENT_RESULT,
}
TEXTS = frozenset({"manifestId", "profiles"})
"""Fields of bytes that the transcripts write as text."""
OURS = frozenset({"creation_round_block_hash", "capabilities"})
"""Fields that are this network's own, or that it leaves out."""


@lru_cache
def load_payments(name: str) -> Transcript:
    raw = json.loads((FIXTURES / f"{name}.json").read_text("utf-8"))
    scenarios = tuple(scenario_from(item) for item in raw["scenarios"])
    return Transcript(name, scenarios, 0.3, SECRET, raw)


class PaymentValues(Values):
    """`Values` that know `b64proto` and `b64json`, the time and the block."""

    chain: LocalChain

    def text(self, value: str) -> str:
        def moved(match: re.Match[str]) -> str:
            if match[1] == "now":
                return str(int(self.chain.now()) + int(match[2]))
            number = self.chain.block + int(match[2])
            return "0x" + number.to_bytes((number.bit_length() + 7) // 8).hex()

        return super().text(re.sub(r"\$\{(now|l1)([+-][0-9]+)\}", moved, value))

    def expand(self, value: Any) -> Any:
        if isinstance(value, dict) and "b64proto" in value:
            name = value.get("name")
            if name is not None and name in self.known:
                return self.known[name]
            shape = SHAPES[value["b64proto"]]
            data = messages.write(shape, self._fields(shape, value["fields"]))
            text = base64.b64encode(data).decode()
            if name is not None:
                self.known[name] = text
            return text
        if isinstance(value, dict) and "b64json" in value:
            return base64.b64encode(json.dumps(super().expand(value["b64json"])).encode()).decode()
        return super().expand(value)

    def header(self, value: Any) -> str:
        if isinstance(value, dict) and "b64proto" in value:
            return str(self.expand(value))
        return super().header(value)

    def check_json(self, expected: Any, actual: Any, what: str) -> None:
        if isinstance(expected, dict) and "b64proto" in expected:
            self._check_proto(SHAPES[expected["b64proto"]], expected, actual, what)
        elif isinstance(expected, dict) and "b64json" in expected:
            base64.b64decode(actual, validate=True)  # opaque, but for its form
            if "name" in expected:
                self.known[expected["name"]] = actual
        else:
            super().check_json(expected, actual, what)

    def check_body(self, step: Any, actual: bytes, what: str = "body") -> None:
        if "proto" in step:
            text = base64.b64encode(actual).decode()
            wanted = step["proto"]
            self._check_proto(SHAPES[wanted["proto"]], wanted, text, what)
        else:
            super().check_body(step, actual, what)

    def body_length(self, step: Any) -> int | None:
        return None if "proto" in step else super().body_length(step)

    def _check_proto(self, shape: messages.Shape, wanted: Any, actual: Any, what: str) -> None:
        try:
            found = messages.read(shape, base64.b64decode(actual, validate=True))
        except ValueError as error:
            raise Mismatch(f"{what}: {error}") from error
        self.check_json(_without(wanted["fields"]), _without(_written(shape, found)), what)
        if "name" in wanted:
            self.known[wanted["name"]] = actual

    def _fields(self, shape: messages.Shape, fields: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, kind in shape.values():
            if name not in fields:
                continue
            value = fields[name]
            if isinstance(kind, dict):
                found[name] = self._fields(kind, value)
            elif isinstance(kind, list):
                found[name] = [self._fields(kind[0], each) for each in value]
            else:
                text = self.text(value) if isinstance(value, str) else value
                found[name] = _read(kind, text)
        return found


def _read(kind: Any, value: Any) -> Any:
    if kind is int:
        return int(value)
    if kind is bytes:
        return bytes.fromhex(value[2:]) if value.startswith("0x") else value.encode()
    return value


def _written(shape: messages.Shape, fields: dict[str, Any]) -> dict[str, Any]:
    """As the transcripts write a message: bytes in hex."""
    found: dict[str, Any] = {}
    for name, kind in shape.values():
        if name not in fields:
            continue
        value = fields[name]
        if isinstance(kind, dict):
            found[name] = _written(kind, value)
        elif isinstance(kind, list):
            found[name] = [_written(kind[0], each) for each in value]
        elif isinstance(value, bytes):
            found[name] = value.decode("utf-8", "replace") if name in TEXTS else "0x" + value.hex()
        else:
            found[name] = value
    return found


def _without(fields: Any) -> Any:
    if isinstance(fields, dict):
        return {
            name: _number(name, _without(value))
            for name, value in fields.items()
            if name not in OURS
        }
    return [_without(each) for each in fields] if isinstance(fields, list) else fields


def _number(name: str, value: Any) -> Any:
    """Numbers that may be variables are compared as texts."""
    return str(value) if name == "expiration" else value


class PaymentReplay(OrchestratorReplay):
    """One run of one scenario at an orchestrator and a signer of one chain."""

    def __init__(
        self,
        transcript: Transcript,
        scenario: Scenario,
        address: str,
        secret: str,
        signer: str,
        chain: LocalChain,
    ) -> None:
        super().__init__(transcript, scenario, address, secret, True)
        values = PaymentValues({"orch": address, "signer": signer}, scenario.patterns)
        self.values = values
        self._chain = values.chain = chain
        for number in ("", *(f"_{each}" for each in range(2, 30))):
            self.values.patterns.setdefault(f"state_sig{number}", "[A-Za-z0-9+/=]+")
            self.values.patterns.setdefault(f"sig{number}", "0x[0-9a-f]+")
        for name, value in transcript.raw.get("values", {}).items():
            self.values.known[name] = self.values.expand(value)

    async def _step(self, step: Step) -> None:
        if "l1_blocks" in step:
            self._chain.mine(step["l1_blocks"])
        else:
            await super()._step(step)

    async def _connect(self, to: str | None = None) -> Connection:
        if to is None:
            return await super()._connect()
        host, _, port = self.values.known[to].rpartition(":")
        return await Connection.open(host, int(port), None)

    def _check_time(self, after: int) -> None:
        """Moments are shown elsewhere, by the clock of the chain."""


def payers(raw: dict[str, Any], **clock: Any) -> tuple[LocalChain, bytes]:
    """A chain with the recorded keys, by a clock that stands unless told otherwise."""
    keys = raw["keys"]
    now = time.time()  # what was made in one second is the same in all of it
    chain = LocalChain(
        payer=keys["signer"]["private_key"],
        orchestrator=keys["orch"]["private_key"],
        **{"now": lambda: now, **clock},
    )
    caller = keys.get("caller")
    return chain, bytes.fromhex(caller["address"][2:]) if caller else b""


def addressed(scenario: Scenario) -> set[str]:
    """The servers that a scenario speaks to."""
    return {step["send"].get("to", "orch") for step in scenario.steps if "send" in step}
