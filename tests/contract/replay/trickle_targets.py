"""Servers to replay transcripts against: our own in this process, and any other by its URL."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

from livepeer.trickle.protocol import wire
from livepeer.trickle.server import TrickleServer

from .trickle_server import Scenario, Step


class EmbeddedTarget:
    """A fresh `TrickleServer`, configured as the scenario's server was."""

    def __init__(self) -> None:
        self._server: TrickleServer | None = None

    @property
    def server(self) -> TrickleServer:
        assert self._server is not None, "start() comes first"
        return self._server

    async def start(self, config: Mapping[str, Any]) -> str:
        self._server = TrickleServer(
            base_path=config["base_path"],
            autocreate=config["autocreate"],
            changefeed=config["changefeed"],
            idle_timeout=config["idle_timeout_s"],
            sweep_interval=config["sweep_interval_s"],
        )
        await self._server.start()
        return self._server.url

    async def local(self, op: str, channel: str, *, content_type: str, data: bytes) -> bool:
        if op == "create":
            self.server.create(channel, content_type)
            return True
        if op == "close":
            return await self.server.close_channel(channel)
        found = self.server.get(channel)
        if found is not None:
            await found.write(data)
        return found is not None

    async def end_channels(self) -> None:
        await self.server.close_channels()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.aclose()


class RemoteTarget:
    """A server that runs already and makes channels on request. What the recorded server's own code
    did is done by requests here; scenarios have to go through `for_remote` first."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    async def start(self, config: Mapping[str, Any]) -> str:
        return self._url

    async def local(self, op: str, channel: str, *, content_type: str, data: bytes) -> bool:
        url = wire.channel_url(self._url, channel)
        async with aiohttp.ClientSession() as session:
            if op == "create":
                headers = {wire.EXPECT_CONTENT: content_type}
                async with session.post(url, headers=headers) as response:
                    return response.ok
            if op == "close":
                async with session.delete(url) as response:
                    return response.ok
        raise ValueError(f"{op!r} can only be done by the server's own code")

    async def end_channels(self) -> None:
        raise ValueError("a remote server can't be told to end its channels")

    async def stop(self) -> None:
        return None


_PATHS_ARE_THE_POINT: Final = frozenset({"bad_channel_names", "channel_names", "outside_base"})


def for_remote(scenario: Scenario, url: str) -> Scenario | str:
    """The scenario with fresh channel names below `url`, or why it can't be replayed there."""
    steps = scenario.steps
    if scenario.reference_bug:
        return "a defect of the reference: servers differ"
    if scenario.name in _PATHS_ARE_THE_POINT or any("raw" in s.get("send", ()) for s in steps):
        return "it is about paths or bytes as they are"
    if scenario.server["changefeed"] and "_changes" in str(steps):
        return "other channels of the server would show in its change feed"
    if scenario.server["idle_timeout_s"] < wire.DEFAULT_IDLE_TIMEOUT:
        return "it needs a short sweep"
    if any("stop_server" in s or s.get("local", {}).get("op") == "write" for s in steps):
        return "it needs the server's own code"
    if not scenario.server["autocreate"] and _posts_to_missing(scenario):
        return "it needs a server that makes no channels on request"
    suffix = secrets.token_hex(4)
    base = urlsplit(url).path.rstrip("/") + "/"
    moved = tuple(_moved(step, scenario.server["base_path"], base, suffix) for step in steps)
    return Scenario(scenario.name, scenario.about, scenario.server, moved, scenario.slow)


def _posts_to_missing(scenario: Scenario) -> bool:
    """Whether a POST comes at a time when its channel does not exist."""
    existing: set[str] = set()
    for step in scenario.steps:
        local, send = step.get("local", {}), step.get("send", {})
        name, _, number = (
            send.get("path", "").removeprefix(scenario.server["base_path"]).partition("/")
        )
        if local.get("op") == "create":
            existing.add(local["channel"])
        elif local.get("op") == "close":
            existing.discard(local["channel"])
        elif send.get("method") == "POST" and name not in existing:
            return True
        elif send.get("method") == "DELETE" and not number:
            existing.discard(name)
    return False


def _moved(step: Step, old_base: str, new_base: str, suffix: str) -> Step:
    if "local" in step:
        local = step["local"]
        return {"local": {**local, "channel": f"{local['channel']}-{suffix}"}}
    send = step.get("send", {})
    if "path" not in send:
        return step
    name, slash, rest = send["path"].removeprefix(old_base).partition("/")
    return {**step, "send": {**send, "path": f"{new_base}{name}-{suffix}{slash}{rest}"}}
