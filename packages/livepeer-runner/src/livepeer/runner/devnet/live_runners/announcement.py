"""What a runner says of itself in a heartbeat. No I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Any

from livepeer.runner.devnet import go_json
from livepeer.runner.devnet.live_runners.states import RunnerRefusal
from livepeer.runner.devnet.urls import BadURL, GoURL, parse_http_url

PERSISTENT, SINGLE_SHOT = "persistent", "single-shot"
METADATA_BYTES = 1024
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")


@dataclass(frozen=True)
class PriceInfo:
    """What a runner asks for, in the operator's words. Offchain it is read and ignored."""

    price: str = ""
    currency: str = ""
    unit: str = ""

    def checked(self) -> PriceInfo:
        """As an orchestrator on a chain takes it; raises `RunnerRefusal`."""
        try:
            positive = Decimal(self.price.strip()) > 0
        except InvalidOperation:
            positive = False
        if not self.price.strip():
            raise RunnerRefusal(400, "price_info.price is required")
        if not positive:
            raise RunnerRefusal(400, "price_info.price must be a positive decimal")
        currency = self.currency.strip().lower() or "usd"
        if currency != "usd":
            raise RunnerRefusal(400, "price_info.currency must be usd")
        unit = self.unit.strip().lower() or "hour"
        if unit not in ("hour", "720p", "fixed"):
            raise RunnerRefusal(400, "price_info.unit must be hour, 720p, or fixed")
        return replace(self, currency=currency, unit=unit)


@dataclass(frozen=True)
class Announcement:
    """One heartbeat, checked. It replaces all that was known of the runner."""

    runner_id: str
    url: GoURL
    app: str
    label: str = ""
    proxy: bool = False
    version: str = ""
    metadata: str = ""
    status: str = ""
    mode: str = PERSISTENT
    gpu: dict[str, Any] | None = None
    capacity: int = 1
    price_info: PriceInfo = PriceInfo()

    def __repr__(self) -> str:
        # Its URL may hold the secret path that keeps everybody but the orchestrator out.
        return f"Announcement({self.runner_id!r}, {self.app!r})"

    @property
    def ready(self) -> bool:
        return self.status in ("", "ready")


def heartbeat(body: bytes, *, check_prices: bool) -> Announcement:
    """Reads a heartbeat; its `runner_id` may be empty. Raises `RunnerRefusal`."""
    try:
        fields = go_json.decode(
            go_json.parse_first(body), _HEARTBEAT, "LiveRunnerHeartbeatRequest", "runner"
        )
    except go_json.GoJSONError as error:
        raise RunnerRefusal(400, str(error)) from None
    return announcement(fields, check_prices=check_prices)


def announcement(fields: dict[str, Any], *, check_prices: bool) -> Announcement:
    """What the fields say that heartbeats and files have in common. Raises `RunnerRefusal`."""
    try:
        url = parse_http_url(fields.get("runner_url", ""))
    except BadURL:
        raise RunnerRefusal(400, "invalid runner_url") from None
    app = fields.get("app", "")
    if not app or app != app.strip():
        raise RunnerRefusal(400, "app must be trimmed")
    _check_metadata(fields.get("metadata", ""))
    status = fields.get("status", "")
    if status != status.strip().lower():
        raise RunnerRefusal(400, "status must be lowercase and trimmed")
    mode = fields.get("mode", "") or PERSISTENT
    mode = SINGLE_SHOT if mode == "single_shot" else mode
    if mode not in (PERSISTENT, SINGLE_SHOT):
        raise RunnerRefusal(400, f'mode must be "{PERSISTENT}" or "{SINGLE_SHOT}"')
    capacity = fields.get("capacity", 0)
    if capacity < 0:
        raise RunnerRefusal(400, "capacity must be >= 0")
    price = fields.get("price_info", PriceInfo())
    return Announcement(
        runner_id=fields.get("runner_id", "").strip(),
        url=url,
        app=app,
        label=fields.get("label", ""),
        proxy=fields.get("proxy", False),
        version=fields.get("version", ""),
        metadata=fields.get("metadata", ""),
        status=status,
        mode=mode,
        gpu=fields.get("gpu"),
        capacity=capacity or 1,
        price_info=price.checked() if check_prices else price,
    )


def _check_metadata(metadata: str) -> None:
    if len(metadata.encode("utf-8", "replace")) > METADATA_BYTES:
        raise RunnerRefusal(400, f"metadata must be at most {METADATA_BYTES} bytes")
    if "\ufffd" in metadata:
        raise RunnerRefusal(400, "metadata must not contain Unicode replacement character U+FFFD")


def _gpu(value: Any, where: str) -> dict[str, Any]:
    """An object, or the index of a device of the orchestrator (not looked up here)."""
    try:
        return {"id": str(go_json.scalar(value, "int", where))}
    except go_json.GoJSONError:
        pass
    if not isinstance(value, dict):
        raise go_json.mismatch(value, where, "runner.gpuAlias")
    fields = go_json.decode(value, _GPU, where)
    return {name: fields[name] for name in _GPU if fields.get(name)}


def _price_info(value: Any, where: str) -> PriceInfo:
    if not isinstance(value, dict):
        raise go_json.mismatch(value, where, "runner.LiveRunnerPriceInfo")
    path = where.partition(".")[2]
    return PriceInfo(**go_json.decode(value, _PRICE_INFO, f"LiveRunnerPriceInfo.{path}"))


def _number(value: Any, where: str) -> str:
    """A number, or a text that is one, as Go's `json.Number` takes it."""
    if isinstance(value, go_json.Number):
        return str(value)
    if not isinstance(value, str):
        raise go_json.mismatch(value, where, "json.Number")
    text = str(value)
    if not _NUMBER.fullmatch(text):
        quoted = go_json.dumps(go_json.dumps(text).decode()).decode()
        raise go_json.GoJSONError(
            f"json: invalid number literal, trying to unmarshal {quoted} into Number"
        )
    return text


_GPU: dict[str, str | go_json.FieldReader] = {
    "id": go_json.text,
    "name": go_json.text,
    "vram_mb": "int",
}
_PRICE_INFO: dict[str, str | go_json.FieldReader] = {
    "price": _number,
    "currency": go_json.text,
    "unit": go_json.text,
}
FIELDS: dict[str, str | go_json.FieldReader] = {
    "label": go_json.text,
    "proxy": "bool",
    "runner_url": go_json.text,
    "version": go_json.text,
    "metadata": go_json.text,
    "mode": go_json.text,
    "gpu": _gpu,
    "app": go_json.text,
    "capacity": "int",
    "price_info": _price_info,
}
_HEARTBEAT: dict[str, str | go_json.FieldReader] = {
    **FIELDS,
    "runner_id": go_json.text,
    "status": go_json.text,
    "session_ids": go_json.texts,
}
