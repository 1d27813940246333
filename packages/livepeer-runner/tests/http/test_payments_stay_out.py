"""Payments of callers reach no pipeline, and no log of ours."""

from __future__ import annotations

import logging
from typing import Any

import httpx
import pytest

from livepeer.runner.http.asgi import EntryPoint


async def test_headers_with_tickets_are_gone_before_anything_of_an_author_runs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen: list[dict[str, str]] = []

    async def author(scope: Any, receive: Any, send: Any) -> None:
        seen.append({name.decode(): text.decode() for name, text in scope["headers"]})
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    caplog.set_level(logging.DEBUG)
    transport = httpx.ASGITransport(EntryPoint(author))
    async with httpx.AsyncClient(transport=transport, base_url="http://runner") as http:
        headers = {"Livepeer-Payment": "ticket-one", "livepeer-segment": "segment-one", "X-A": "b"}
        await http.post("/predict", headers=headers)
    assert seen[0]["x-a"] == "b"
    assert not {"livepeer-payment", "livepeer-segment"} & seen[0].keys()
    assert "ticket-one" not in caplog.text and "segment-one" not in caplog.text
