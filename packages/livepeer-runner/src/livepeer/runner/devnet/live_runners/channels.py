"""The channels of live runners and their sessions, on the orchestrator's trickle server."""

from __future__ import annotations

import asyncio
import datetime
import logging

from livepeer.runner.devnet import go_json
from livepeer.runner.devnet.live_runners.states import RunnerRefusal
from livepeer.runner.devnet.urls import BadURL, join_names
from livepeer.trickle.exceptions import TrickleError
from livepeer.trickle.server import Channel, LimitExceeded, TrickleServer

logger = logging.getLogger(__name__)

KEEPALIVE_SECONDS = 10.0
_KEEPALIVE = b'{"keep":"alive"}'
_O2R_TYPE = "application/json"


class RunnerChannels:
    """Makes channels, and keeps those to runners alive.

    - `trickle`: the server that has them.
    - `public`: the URL of its channels for callers.
    - `internal`: the same for runners.
    - `keepalive`: seconds between two keepalives, counted from a channel's start.
    """

    def __init__(
        self,
        trickle: TrickleServer,
        *,
        public: str,
        internal: str,
        keepalive: float = KEEPALIVE_SECONDS,
    ) -> None:
        self._trickle = trickle
        self._public, self._internal = public, internal
        self._keepalive = keepalive
        self._beats: dict[str, asyncio.TimerHandle] = {}

    def aclose(self) -> None:
        """Ends the keepalives; the channels end with their server."""
        for beat in self._beats.values():
            beat.cancel()
        self._beats.clear()

    def create(self, name: str, channel_name: str, mime_type: str) -> dict[str, str]:
        """Makes a session's channel; its descriptor. Raises `RunnerRefusal`."""
        self._make(channel_name, mime_type)
        return {
            "name": name,
            "channel_name": channel_name,
            "url": f"{self._public}/{channel_name}",
            "internal_url": f"{self._internal}/{channel_name}",
            "mime_type": mime_type,
        }

    def create_o2r(self, channel_name: str) -> dict[str, str]:
        """Makes the channel from the orchestrator to a runner. Raises `RunnerRefusal`."""
        try:
            # A runner names itself: its id may be anything.
            path = join_names(channel_name.encode().decode("latin-1"))
        except BadURL as bad:
            raise RunnerRefusal(500, str(bad)) from None
        self._beat(self._make(channel_name, _O2R_TYPE))
        return {
            "name": "o2r",
            "channel_name": channel_name,
            "url": self._internal + path,
            "mime_type": _O2R_TYPE,
        }

    def tell(self, channel_name: str, event: str, session_id: str) -> None:
        """Writes a session event; it is lost if the runner does not read it in time."""
        now = datetime.datetime.now(datetime.UTC).isoformat().replace("+00:00", "Z")
        document = {"event": event, "session": session_id, "timestamp": now}
        if (channel := self._trickle.get(channel_name)) is not None:
            _put(channel, go_json.dumps(document))

    def close(self, channel_name: str) -> None:
        """Ends a channel and its keepalives."""
        if (beat := self._beats.pop(channel_name, None)) is not None:
            beat.cancel()
        if (channel := self._trickle.get(channel_name)) is not None:
            channel.close()

    def _make(self, channel_name: str, mime_type: str) -> Channel:
        try:
            return self._trickle.create(channel_name, mime_type)
        except LimitExceeded as full:
            raise RunnerRefusal(full.status, str(full)) from None
        except ValueError as error:
            raise RunnerRefusal(400, str(error)) from None

    def _beat(self, channel: Channel) -> None:
        loop = asyncio.get_running_loop()
        self._beats[channel.name] = loop.call_later(self._keepalive, self._keep_alive, channel)

    def _keep_alive(self, channel: Channel) -> None:
        del self._beats[channel.name]
        if not channel.closed:  # whoever knows its URL may have deleted it
            _put(channel, _KEEPALIVE)
            self._beat(channel)


def _put(channel: Channel, message: bytes) -> None:
    try:
        channel.put(message)
    except TrickleError as error:
        # Its name holds a key, so it is not told.
        logger.warning("a live runner's channel takes no event: %s", type(error).__name__)
