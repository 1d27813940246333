"""The garbage collector in a process that serves: what it need not look at, and what we leave."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Iterator, MutableMapping
from typing import Any

import pytest
from pydantic import BaseModel

from livepeer.runner import Pipeline
from livepeer.runner.running import garbage
from livepeer.runner.serving.app import create_app, make_app

REQUESTS = 20


class Said(BaseModel):
    text: str


class Echo(Pipeline):
    async def predict(self, value: Said) -> Said:
        if value.text == "wrong":
            raise ValueError(value.text)
        return value


class EchoInThread(Pipeline):
    def predict(self, text: str) -> str:
        return text


class Words(Pipeline):
    async def predict(self, text: str) -> AsyncIterator[str]:
        for word in text.split():
            yield word


@pytest.fixture
def collector() -> Iterator[None]:
    """As it was, afterwards."""
    threshold = gc.get_threshold()
    yield
    gc.set_debug(0)
    gc.garbage.clear()
    gc.unfreeze()
    gc.set_threshold(*threshold)


async def _post(app: Any, path: str, body: bytes) -> int:
    status = 0
    parts = [body]

    async def receive() -> MutableMapping[str, Any]:
        if not parts:
            await asyncio.Event().wait()  # a caller who stays
        return {"type": "http.request", "body": parts.pop(), "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        nonlocal status
        status = message.get("status", status)

    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    await app(scope, receive, send)
    return status


@pytest.mark.parametrize("make", [make_app, create_app])
@pytest.mark.parametrize(
    ("cls", "path", "text", "status"),
    [
        (Echo, "/predict", "hello", 200),
        (Echo, "/predict", "wrong", 500),
        (Echo, "/predict", 1, 422),
        (Echo, "/nothing", "hello", 404),
        (EchoInThread, "/predict", "hello", 200),
        (Words, "/predict", "hello you", 200),
    ],
)
async def test_a_request_leaves_no_cycle(
    collector: None, make: Any, cls: type[Pipeline], path: str, text: object, status: int
) -> None:
    """Else full collections come by themselves, and hold up every request."""
    app = make(cls)
    body = json.dumps({"text": text}).encode()
    async with app.router.lifespan_context(app):
        await app.state.service.lifecycle.wait_settled()
        assert await _post(app, path, body) == status
        await asyncio.sleep(0)
        gc.collect()
        gc.set_debug(gc.DEBUG_SAVEALL)
        for _ in range(REQUESTS):
            assert await _post(app, path, body) == status
        await asyncio.sleep(0)
        gc.collect()
        left = list(gc.garbage)
        gc.set_debug(0)
    assert left == []


def test_what_is_imported_is_not_looked_at(collector: None) -> None:
    before = gc.get_freeze_count()
    with garbage.imports():
        assert not gc.isenabled()
    assert gc.isenabled()
    assert gc.get_freeze_count() > before


def test_after_setup_only_what_is_new_is_looked_at(collector: None) -> None:
    gc.set_threshold(700, 10, 10)
    garbage.settle()
    assert len(gc.get_objects()) < 1000
    assert gc.get_threshold() == (garbage.YOUNG, 10, 10)


@pytest.mark.parametrize("young", [0, 50_000])
def test_a_threshold_of_the_author_s_own_stays(collector: None, young: int) -> None:
    gc.set_threshold(young, 10, 10)
    garbage.settle()
    assert gc.get_threshold() == (young, 10, 10)
