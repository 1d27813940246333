"""Values of a recorded payer: what its messages say, since no signature can be made again."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

from livepeer.client.protocol.orchestrator import ORCHESTRATOR_REQUEST
from livepeer.client.protocol.tickets import ORCHESTRATOR_INFO, PAYMENT, SEG_DATA

from .transcript import Scenario
from .values import Values, compact_json

SHAPES = {
    "net.OrchestratorInfo": ORCHESTRATOR_INFO,
    "net.Payment": PAYMENT,
    "net.SegData": SEG_DATA,
    "net.OrchestratorRequest": ORCHESTRATOR_REQUEST,
}
_ALONE = re.compile(r"\$\{([A-Za-z0-9_]+)\}")


class Recorded(Values):
    """Values of the first recording, as far as its messages tell them; else a variable has its own
    name as its value."""

    def __init__(self, raw: dict[str, Any], scenario: Scenario, address: str) -> None:
        super().__init__({})
        self.known = _AnyName()
        roles = ("orch", "orch_off", "orch_bare", "signer", "gateway", "front")
        self.known.update(dict.fromkeys(roles, address))
        for name, value in raw.get("values", {}).items():
            self._learn(value)
            self.known[name] = self.expand(value)
        self._learn(scenario.steps)

    def _learn(self, value: Any) -> None:
        if isinstance(value, list):
            for each in value:
                self._learn(each)
        elif isinstance(value, dict):
            shape = SHAPES.get(str(value.get("b64proto", value.get("proto"))))
            if shape is not None and "recorded" in value:
                self._match(value["fields"], shape.decode_text(value["recorded"]))
                if "name" in value:
                    self.known.setdefault(value["name"], value["recorded"])
            for each in value.values():
                self._learn(each)

    def _match(self, fields: Any, found: Any) -> None:
        if isinstance(fields, dict) and isinstance(found, dict):
            for name, value in fields.items():
                if name != "transcoder" and name in found:
                    self._match(value, found[name])
        elif isinstance(fields, list) and isinstance(found, list):
            for one, other in zip(fields, found, strict=False):
                self._match(one, other)
        elif isinstance(fields, str) and (name := _ALONE.fullmatch(fields)):
            told = found
            if isinstance(found, bytes):
                text = name[1].startswith("manifest")
                told = found.decode() if text else "0x" + found.hex()
            self.known.setdefault(name[1], str(told))

    def expand(self, value: Any) -> Any:
        if isinstance(value, dict):
            if "b64proto" in value or "b64json" in value:
                text = value.get("recorded")
                if text is None:
                    inner = compact_json(super().expand(value["b64json"]))
                    text = base64.b64encode(inner).decode()
                if "name" in value:
                    text = self.known.setdefault(value["name"], text)
                return text
            if "b64hex" in value:
                text = self.text(value["b64hex"])
                if not text.startswith("0x"):
                    text = "0x" + hashlib.sha256(text.encode()).hexdigest()
                return base64.b64encode(bytes.fromhex(text[2:])).decode()
        return super().expand(value)

    def header(self, value: Any) -> str:
        return str(self.expand(value)) if isinstance(value, dict) else super().header(value)


class _AnyName(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return name
