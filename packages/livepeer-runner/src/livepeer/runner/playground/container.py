"""A caller of a container that is registered nowhere: its channels are at a server of our own."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

from livepeer.runner.playground.caller import CallRefused, HttpAnswer, LiveCall
from livepeer.runner.playground.channel_call import channel_call
from livepeer.runner.playground.http_calls import STOP_SECONDS, HttpCalls, params_in
from livepeer.trickle.server import TrickleServer

_CHANNELS = {
    "control": ("control_url", "application/json"),
    "events": ("events_url", "application/json"),
    "in": ("subscribe_url", "video/MP2T"),
    "out": ("publish_url", "video/MP2T"),
    "data": ("data_url", "application/jsonl"),
}
"""By suffix: the field in the body of a start, and what the channel carries."""


class ContainerCaller:
    """Calls one container. `calls` go to it; `server` has the channels, on this machine."""

    def __init__(self, calls: HttpCalls, server: TrickleServer) -> None:
        self._calls = calls
        self._server = server

    def call(self, body: bytes) -> AbstractAsyncContextManager[HttpAnswer]:
        return self._calls.opened("/predict", body)

    @asynccontextmanager
    async def live(self, params: dict[str, Any], *, sends: bool) -> AsyncIterator[LiveCall]:
        name = f"play-{secrets.token_hex(16)}"
        header = {"X-Stream-Id": name}
        wanted = {each: _CHANNELS[each] for each in _CHANNELS if sends or each != "in"}
        urls = {each: self._server.channel_url(f"{name}-{each}") for each in wanted}
        try:
            for each, (_, mime_type) in wanted.items():
                self._server.create(f"{name}-{each}", mime_type)
            body = {"gateway_request_id": name, "params": params}
            fields = {field: urls[each] for each, (field, _) in wanted.items()}
            await self._calls.posted("/stream/start", {**body, **fields}, header)

            async def update(changes: dict[str, Any]) -> dict[str, Any]:
                return params_in((await self._calls.posted("/stream/params", changes, header))[1])

            try:
                async with channel_call(
                    input_url=urls.get("in"),
                    output_url=urls["out"],
                    events_url=urls["events"],
                    data_url=urls["data"],
                    control_url=urls["control"],
                    tls=True,
                    update=update,
                ) as call:
                    yield call
            finally:
                with suppress(CallRefused):  # it is gone, then
                    await self._calls.posted(
                        "/stream/stop", {"linger": 0}, header, seconds=STOP_SECONDS
                    )
        finally:
            for each in wanted:
                await self._server.close_channel(f"{name}-{each}")
