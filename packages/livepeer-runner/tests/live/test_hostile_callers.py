"""What a caller that means harm can say to a stream: it is refused in words, and goes on."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from pydantic import BaseModel

from livepeer.runner import LivePipeline, VideoFrame
from livepeer.trickle import TricklePublisher


class Params(BaseModel):
    u: int = 0
    any: Any = None


class Typed(LivePipeline):
    params: Params
    capacity = 2

    def on_control(self, message: dict[str, Any]) -> None: ...

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        return frame


class Untyped(LivePipeline):
    capacity = 2

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        return frame


def nested(depth: int) -> str:
    return '{"any": ' + "[" * depth + "]" * depth + "}"


NONSENSE = [
    b"",
    b"\x00",
    b"\xff\xfe\xfd",
    b"null",
    b"[]",
    b'"keep"',
    b'"' + b"[" * 60_000 + b'"',
    b"{" * 50_000,
    b"[" * 200_000,
    nested(300).encode(),
    nested(5000).encode(),
    b'{"u": ' + b"9" * 20_000 + b"}",
    b'{"u": 1e999}',
    b'{"any": NaN}',
    b'{"u": "\\ud800"}',
    b'{"params": {"params": {"params": {}}}}',
    b'{"params": null}',
    b'{"params": "' + b"[" * 60_000 + b'"}',
    b'{"type": "control", "message": ' + b"[" * 900 + b"]" * 900 + b"}",
    b'{"type": ["control"], "message": {}}',
    b'{"": 1, "\\u0000": 2}',
    json.dumps({f"k{n}": n for n in range(8000)}).encode(),
]


@pytest.mark.parametrize("cls", [Typed, Untyped])
async def test_nonsense_on_the_control_channel_ends_no_stream(
    stage: Any, cls: type[LivePipeline]
) -> None:
    async with stage(cls) as it:
        await it.start()
        session = it.server.service.work.sessions["s"]
        async with TricklePublisher(it.url("s-control"), mime_type="application/json") as control:
            for content in NONSENSE:
                await (await control.write(content)).acknowledged()
                await asyncio.sleep(0.02)  # so that a reader of few segments meets each of them
            await control.write(b'{"u": 7}')
            await it.until(lambda: _u(session) == 7)
            assert not session.ending
            assert (await it.post("params", "s", {"u": 8})).status_code == 200


def _u(session: Any) -> Any:
    params = session.params
    return params.get("u") if isinstance(params, dict) else params.u


@pytest.mark.parametrize("cls", [Typed, Untyped])
@pytest.mark.parametrize("route", ["start", "params"])
async def test_nonsense_in_a_body_is_a_refusal_of_ours(
    stage: Any, cls: type[LivePipeline], route: str
) -> None:
    async with stage(cls) as it:
        if route == "params":
            await it.start()
        for content in NONSENSE:
            body = content
            if route == "start":
                body = b'{"params": ' + (content or b"1") + b"}"
            answer = await it.http.post(
                f"/stream/{route}", content=body, headers={"X-Stream-Id": "s"}
            )
            assert answer.status_code in (200, 422), (content[:60], answer.text[:200])
            if answer.status_code == 422:
                assert len(answer.content) < 20_000, content[:60]
                assert answer.json()["error"]["type"] == "invalid_input"
        assert (await it.post("stop", "s")).status_code == 200


async def test_a_flood_of_updates_leaves_the_loop_to_the_others(stage: Any) -> None:
    async with stage(Untyped) as it:
        await it.start()
        session = it.server.service.work.sessions["s"]
        numbers, length = list(range(8000)), 40
        lines = [json.dumps({"any": numbers, "n": n}).encode() + b"\n" for n in range(length)]
        async with TricklePublisher(it.url("s-control"), mime_type="application/json") as control:
            await control.write(b"".join(lines))
            await it.until(lambda: "n" in session.params)
            # While forty of them, each some milliseconds of work, are merged one by one.
            answered = 0
            while session.params["n"] < length - 1:
                assert (await it.http.get("/health")).status_code == 200
                answered += 1
            assert answered >= 20
            assert not session.over
            await control.write(b'{"last": 1}')
            await it.until(lambda: "last" in session.params)
