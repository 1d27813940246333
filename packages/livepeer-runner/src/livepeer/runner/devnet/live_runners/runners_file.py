"""The content of a `runners.json`: static runners as an operator lists them. No I/O."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from livepeer.runner.devnet import go_json
from livepeer.runner.devnet.live_runners.announcement import FIELDS, Announcement, announcement
from livepeer.runner.devnet.live_runners.states import RunnerRefusal
from livepeer.runner.devnet.urls import BadURL, parse_http_url, parse_url

_MOST_STATIC = 100
"""Entries of one `runners.json`. The reference has no limit."""


@dataclass(frozen=True)
class StaticEntry:
    """One entry of `runners.json`, checked."""

    says: Announcement
    runner_url: str
    """As it was written."""
    health_url: str
    healthy_status: int
    by_label: bool
    """Whether callers reach it by its label, and not by the id that the orchestrator makes."""

    def __repr__(self) -> str:
        return f"StaticEntry({self.says.label!r}, {self.says.app!r})"


def static_entries(data: bytes, *, check_prices: bool) -> list[StaticEntry]:
    """Reads the content of a `runners.json`; raises `RunnerRefusal`."""
    try:
        document = go_json.decode(
            go_json.parse(data), {"runners": _static_fields}, "StaticLiveRunnerConfig", "runner"
        )
    except go_json.GoJSONError as error:
        raise RunnerRefusal(400, str(error)) from None
    listed = document.get("runners", [])
    health_urls = []
    for number, fields in enumerate(listed):
        with _numbered(number):
            _check_routing(fields)
            health_urls.append(
                _health_url(fields.get("runner_url", ""), fields.get("health_url", ""))
            )
    entries: list[StaticEntry] = []
    for number, (fields, health_url) in enumerate(zip(listed, health_urls, strict=True)):
        with _numbered(number):
            entry = _static_entry(fields, health_url, check_prices=check_prices)
            if entry.says.label in {each.says.label for each in entries}:
                raise RunnerRefusal(400, f'duplicate label "{entry.says.label}"')
            entries.append(entry)
    return entries


@contextmanager
def _numbered(number: int) -> Iterator[None]:
    try:
        yield
    except RunnerRefusal as refusal:
        raise RunnerRefusal(400, f"runners[{number}]: {refusal}") from None


def _check_routing(fields: dict[str, Any]) -> None:
    if fields.get("routing", "").strip() not in ("", "runner-id", "label"):
        raise RunnerRefusal(400, 'routing must be "runner-id" or "label"')


def _static_entry(fields: dict[str, Any], health_url: str, *, check_prices: bool) -> StaticEntry:
    by_label = fields.get("routing", "").strip() == "label"
    healthy_status = fields.get("healthy_status_code", 0) or 200
    label = fields.get("label", "")
    if not label or label != label.strip():
        raise RunnerRefusal(400, "label is required and must be trimmed")
    if not health_url:
        raise RunnerRefusal(400, "health_url is required")
    try:
        parse_http_url(health_url)
    except BadURL:
        raise RunnerRefusal(400, "invalid health_url") from None
    if not 100 <= healthy_status <= 599:
        raise RunnerRefusal(400, "healthy_status_code must be a valid HTTP status code")
    says = announcement(fields, check_prices=check_prices)
    if by_label and "/" in label:
        raise RunnerRefusal(400, 'label cannot contain / when routing is "label"')
    return StaticEntry(says, fields["runner_url"], health_url, healthy_status, by_label)


def _health_url(runner_url: str, health_url: str) -> str:
    """A path alone is below the runner's URL."""
    try:
        url = parse_url(health_url)
        if url.scheme or url.host or not url.target.startswith("/"):
            return health_url
    except BadURL:
        raise RunnerRefusal(400, "invalid health_url") from None
    try:
        parse_http_url(runner_url)
    except BadURL:
        raise RunnerRefusal(400, "invalid runner_url") from None
    return runner_url.rstrip("/") + health_url


def _static_fields(value: Any, where: str) -> list[dict[str, Any]]:
    entries = go_json.items(
        value,
        where,
        "[]runner.StaticLiveRunnerConfigEntry",
        lambda item: _static_one(item, where),
    )
    if len(entries) > _MOST_STATIC:
        raise go_json.GoJSONError(f"runners cannot contain more than {_MOST_STATIC} entries")
    return entries


def _static_one(item: Any, where: str) -> dict[str, Any]:
    if not isinstance(item, dict | None):
        raise go_json.mismatch(item, where, "runner.StaticLiveRunnerConfigEntry")
    path = where.partition(".")[2]
    return go_json.decode(item, _STATIC, f"StaticLiveRunnerConfigEntry.{path}")


_STATIC: dict[str, str | go_json.FieldReader] = {
    **FIELDS,
    "routing": go_json.text,
    "health_url": go_json.text,
    "healthy_status_code": "int",
}
