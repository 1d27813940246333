"""What a scripted orchestrator answers about live streams."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from livepeer.client.testing import ScriptedOrchestrator, reply
from livepeer.trickle import TrickleServer


def answers(**by_path: list[Any]) -> Callable[[Any], list[Any]]:
    """Scripts by the last part of the path; a start gets channels that nobody serves."""

    def other(request: Any) -> list[Any]:
        name = request.path.rpartition("/")[2]
        if name in by_path:
            return by_path[name]
        if request.path == "/ai/stream/start":
            return started(f"http://{request.headers['host']}", request.job["id"])
        if request.path in ("/ai/stream/update", "/ai/stream/stop"):
            return reply({"ok": True})
        return reply("Stream not found\n", 404, "text/plain")

    return other


def channels_at(server: TrickleServer) -> Callable[[Any], list[Any]]:
    """A start whose channels are those of a real server."""
    for name in ("in", "out", "control", "events", "data"):
        server.create(name)

    def script(request: Any) -> list[Any]:
        if not request.path.endswith("/start"):
            return answers()(request)
        return reply(
            b"",
            X_Publish_Url=server.channel_url("in"),
            X_Subscribe_Url=server.channel_url("out"),
            X_Control_Url=server.channel_url("control"),
            X_Events_Url=server.channel_url("events"),
            X_Data_Url=server.channel_url("data"),
        )

    return script


def started(base: str, stream_id: str) -> list[Any]:
    channel = f"{base}/ai/trickle/{stream_id}"
    return reply(
        b"",
        X_Publish_Url=channel,
        X_Subscribe_Url=f"{channel}-out",
        X_Control_Url=f"{channel}-control",
        X_Events_Url=f"{channel}-events",
        X_Data_Url=f"{channel}-data",
    )


def asked(server: ScriptedOrchestrator, name: str) -> list[Any]:
    return [each for each in server.others if each.path.endswith(f"/{name}")]
