"""A caller of an orchestrator, by BYOC and for free: what the local network takes."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

from livepeer.runner.playground.caller import CallRefused, HttpAnswer, LiveCall, failure
from livepeer.runner.playground.channel_call import channel_call
from livepeer.runner.playground.http_calls import (
    CALL_SECONDS,
    STOP_SECONDS,
    STREAM_SECONDS,
    HttpCalls,
    params_in,
)

NOBODY = "0x0000000000000000000000000000000000000000"


class OrchestratorCaller:
    """Calls one capability (go-livepeer: BYOC jobs and streams). `calls` go to the orchestrator."""

    def __init__(self, calls: HttpCalls, capability: str) -> None:
        self._calls = calls
        self._capability = capability

    def call(self, body: bytes) -> AbstractAsyncContextManager[HttpAnswer]:
        # Not by a gateway: of a failure it tells nothing.
        header = self._envelope(secrets.token_hex(8), CALL_SECONDS)
        return self._calls.opened("/process/request/predict", body, header)

    @asynccontextmanager
    async def live(self, params: dict[str, Any], *, sends: bool) -> AsyncIterator[LiveCall]:
        envelope = self._envelope(f"play-{secrets.token_hex(8)}", STREAM_SECONDS, ingress=sends)
        headers, _ = await self._calls.posted("/ai/stream/start", {"params": params}, envelope)
        try:
            missing = [each for each in _CHANNELS if each not in headers]
            if missing:
                raise CallRefused(502, failure(f"the orchestrator gave no {', '.join(missing)}"))

            async def update(changes: dict[str, Any]) -> dict[str, Any]:
                _, body = await self._calls.posted("/ai/stream/update", changes, envelope)
                return params_in(body)

            async with channel_call(
                input_url=headers.get("X-Publish-Url") if sends else None,
                output_url=headers["X-Subscribe-Url"],
                events_url=headers["X-Events-Url"],
                data_url=headers["X-Data-Url"],
                control_url=headers["X-Control-Url"],
                tls=self._calls.tls,
                update=update,
            ) as call:
                yield call
        finally:
            with suppress(CallRefused):  # it is gone, then
                await self._calls.posted(
                    "/ai/stream/stop", {"linger": 0}, envelope, seconds=STOP_SECONDS
                )

    def _envelope(self, job: str, seconds: float, *, ingress: bool = False) -> dict[str, str]:
        parameters = {
            "enable_video_ingress": ingress,
            "enable_video_egress": True,
            "enable_data_output": True,
        }
        content = {
            "id": job,
            "request": json.dumps({"stream_id": job}),
            "parameters": json.dumps(parameters),
            "capability": self._capability,
            "sender": NOBODY,
            "sig": "",
            "timeout_seconds": round(seconds),
        }
        return {"Livepeer": base64.b64encode(json.dumps(content).encode()).decode()}


_CHANNELS = ("X-Subscribe-Url", "X-Events-Url", "X-Data-Url", "X-Control-Url")
