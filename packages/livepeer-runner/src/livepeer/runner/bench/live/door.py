"""How a stream is started and ended: at a container, with channels of our own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp

from livepeer.trickle import TrickleServer
from livepeer.trickle.text import printable
from livepeer.trickle.types import TLS

START_SECONDS = 30.0
STOP_SECONDS = 30.0
LONGEST_ANSWER = 1 << 16
SUFFIXES = {
    "subscribe_url": "in",
    "publish_url": "out",
    "events_url": "events",
    "control_url": "control",
}
"""Channels by their key in the body of a start."""


class StreamRefused(Exception):
    """The stream was not started; the message says what was answered."""


@dataclass(frozen=True, slots=True)
class BenchChannels:
    """Where the caller of a stream writes and reads."""

    input: str
    output: str
    events: str
    control: str
    tls: TLS = True


class StreamDoor(Protocol):
    """Starts and stops streams of one target."""

    async def start(self, id: str, params: Mapping[str, Any]) -> BenchChannels:
        """Raises `StreamRefused`."""

    async def stop(self, id: str) -> None:
        """Raises nothing: what does not answer is left alone."""


@dataclass(frozen=True, slots=True)
class ContainerDoor:
    """A container, called as its orchestrator would, with channels on a trickle server of ours."""

    url: str
    session: aiohttp.ClientSession
    server: TrickleServer

    async def start(self, id: str, params: Mapping[str, Any]) -> BenchChannels:
        body: dict[str, Any] = {"gateway_request_id": id, "params": dict(params)}
        for key, suffix in SUFFIXES.items():
            media = suffix in ("in", "out")
            self.server.create(f"{id}-{suffix}", "video/MP2T" if media else "application/json")
            body[key] = self.server.channel_url(f"{id}-{suffix}")
        await started(self.session, f"{self.url}/stream/start", json.dumps(body).encode(), id)
        return BenchChannels(
            **{name: body[key] for key, name in zip(SUFFIXES, _NAMES, strict=True)}
        )

    async def stop(self, id: str) -> None:
        await stopped(self.session, f"{self.url}/stream/stop", id)
        for suffix in SUFFIXES.values():
            await self.server.close_channel(f"{id}-{suffix}")


_NAMES = ("input", "output", "events", "control")


async def started(
    session: aiohttp.ClientSession,
    url: str,
    body: bytes,
    id: str,
    headers: Mapping[str, str] | None = None,
) -> Mapping[str, str]:
    """The headers of the answer. Raises `StreamRefused`."""
    given = {"X-Stream-Id": id, "Content-Type": "application/json", **(headers or {})}
    try:
        async with session.post(
            url,
            data=body,
            headers=given,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=START_SECONDS),
        ) as answer:
            said = await answer.content.read(LONGEST_ANSWER)
            if answer.status != 200:
                raise StreamRefused(f"its start was answered {answer.status}: {_words(said)}")
            return answer.headers
    except TimeoutError:
        raise StreamRefused(f"its start had no answer within {START_SECONDS:g} s") from None
    except (aiohttp.ClientError, OSError) as error:
        raise StreamRefused(
            f"its start had no answer: {str(error) or type(error).__name__}"
        ) from None


async def stopped(
    session: aiohttp.ClientSession,
    url: str,
    id: str,
    headers: Mapping[str, str] | None = None,
) -> None:
    try:
        async with session.post(
            url,
            data=b'{"linger": 0}',
            headers={"X-Stream-Id": id, **(headers or {})},
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=STOP_SECONDS),
        ) as answer:
            await answer.content.read(LONGEST_ANSWER)
    except (TimeoutError, aiohttp.ClientError, OSError):
        pass


def _words(said: bytes) -> str:
    """What an error's body says: its message where it has one, else its text."""
    text = said.decode("utf-8", "replace").strip()
    try:
        message = json.loads(text)["error"]["message"]
    except (ValueError, TypeError, KeyError, RecursionError):
        message = text
    return printable(str(message), 200) or "nothing"
