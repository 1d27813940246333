"""What runners ask of the orchestrator: to be known, and things for their sessions."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from livepeer.runner.devnet import go_json
from livepeer.runner.devnet.go_http import json_reply, read_small, reply
from livepeer.runner.devnet.live_runners.announcement import heartbeat as read_heartbeat
from livepeer.runner.devnet.live_runners.records import (
    RegisteredRunner,
    ReservedSession,
    public_url,
)
from livepeer.runner.devnet.live_runners.registry import RunnerRegistry
from livepeer.runner.devnet.live_runners.states import RunnerRefusal

MOST_CHANNELS_ASKED = 25
LARGEST_BODY = 256 * 1024
"""Of a heartbeat or a request for channels, in bytes. The reference has no limit."""
_NO_CONTENT = 204


class RunnerRoutes:
    """The routes for runners. They raise `RunnerRefusal` and `GoJSONError`.

    - `registry`: what they change.
    - `interval`: how often a runner is told to send a heartbeat, in seconds.
    """

    def __init__(self, registry: RunnerRegistry, interval: float) -> None:
        self._registry = registry
        self._interval = interval

    async def heartbeat(self, request: web.Request) -> web.StreamResponse:
        says = read_heartbeat(await _body(request), check_prices=self._registry.check_prices)
        runner, first = self._registry.heartbeat(says, _shown(request, "Authorization"))
        told: dict[str, Any] = {
            "runner_id": runner.id,
            "orchestrator": self._registry.runner_address,
            "heartbeat_interval": _duration(self._interval),
            "heartbeat_ttl": _duration(self._registry.ttl),
        }
        if first:
            told["heartbeat_secret"] = runner.heartbeat_secret
            told["o2r"] = runner.o2r
        return json_reply({**told, "session_ids": list(runner.sessions)})

    def unregister(self, request: web.Request, route: str) -> web.StreamResponse:
        self._registry.unregister(route, _shown(request, "Authorization"))
        return reply(_NO_CONTENT)

    async def channels(
        self, request: web.Request, route: str, session_id: str
    ) -> web.StreamResponse:
        _, session = self._of_runner(request, route, session_id)
        opens = request.method == "POST"
        asked = go_json.decode(
            go_json.parse_first(await _body(request)),
            {"channels": _channel_requests if opens else go_json.texts},
            "liveRunnerTrickleChannelsRequest"
            if opens
            else "deleteLiveRunnerTrickleChannelsRequest",
            "server",
        ).get("channels", [])
        if not asked:
            raise RunnerRefusal(400, "channels is required")
        if len(asked) > MOST_CHANNELS_ASKED:
            raise RunnerRefusal(
                400, f"channels cannot contain more than {MOST_CHANNELS_ASKED} entries"
            )
        # The session may have ended while the body came.
        self._of_runner(request, route, session_id)
        if opens:
            made = [
                self._registry.open_channel(session, one.get("name", ""), one.get("mime_type", ""))
                for one in asked
            ]
            return json_reply({"channels": made})
        for name in asked:
            self._registry.close_channel(session, name)
        return json_reply({"deleted": asked})

    async def open_proxy(
        self, request: web.Request, route: str, session_id: str
    ) -> web.StreamResponse:
        self._of_runner(request, route, session_id)
        body = await _body(request)
        document = go_json.parse_first(body) if body.strip() else None
        target = go_json.decode(
            document, {"target_url": go_json.text}, "liveRunnerProxyRequest", "server"
        ).get("target_url", "")
        runner, session = self._of_runner(request, route, session_id)
        proxy_id = self._registry.open_proxy(runner, session, target)
        return json_reply(
            {"proxy_id": proxy_id, "url": public_url(self._registry.address, proxy_id)}
        )

    def stop(self, request: web.Request, route: str, session_id: str) -> web.StreamResponse:
        self._of_runner(request, route, session_id)
        self._registry.release(route, session_id)
        return reply(_NO_CONTENT)

    def _of_runner(
        self, request: web.Request, route: str, session_id: str
    ) -> tuple[RegisteredRunner, ReservedSession]:
        token = _shown(request, "Livepeer-Session-Token")
        return self._registry.session(route, session_id, token=token)


async def _body(request: web.Request) -> bytes:
    body = await read_small(request, LARGEST_BODY)
    if body is None:
        raise RunnerRefusal(413, f"request body too large (max {LARGEST_BODY} bytes)")
    return body


def _shown(request: web.Request, header: str) -> str:
    return request.headers.get(header, "")


def _duration(seconds: float) -> str:
    """As Go writes a duration of less than a minute."""
    return f"{seconds:g}s" if seconds >= 1 else f"{seconds * 1000:g}ms"


def _channel_requests(value: Any, where: str) -> list[dict[str, str]]:
    def one(item: Any) -> dict[str, str]:
        if not isinstance(item, dict | None):
            raise go_json.mismatch(item, where, "server.liveRunnerTrickleChannelRequest")
        path = where.partition(".")[2]
        fields = {"name": go_json.text, "mime_type": go_json.text}
        return go_json.decode(item, fields, f"liveRunnerTrickleChannelRequest.{path}")

    return go_json.items(value, where, "[]server.liveRunnerTrickleChannelRequest", one)
