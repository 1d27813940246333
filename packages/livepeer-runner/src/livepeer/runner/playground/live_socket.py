"""One live stream of the page: a WebSocket on one side, a `LiveCall` on the other.

From the page: `{"type": "start", "params", "width", "height", "channels"}` first; then units
(`units`), `{"type": "params", "id", "params"}`, `{"type": "control", "message"}`, and
`{"type": "held"}` where its decoder keeps pictures back. To the page:
`started`, `refused`, `track`, units, `event`, `data`, `params`, `key` (send a keyframe), `ended`.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from aiohttp import WSMsgType, web

from livepeer.runner.playground.caller import CallRefused, LiveCall, PipelineCaller, failure
from livepeer.runner.playground.downlink import Downlink
from livepeer.runner.playground.outgoing import Outgoing
from livepeer.runner.playground.units import unpacked
from livepeer.runner.playground.uplink import Sent, Uplink
from livepeer.trickle.exceptions import TrickleError

logger = logging.getLogger(__name__)

LARGEST_MESSAGE = 4 * 1024 * 1024
"""Bytes: a keyframe of 4096×2304 at its best."""
LARGEST_TEXT = 256 * 1024
START_SECONDS = 10.0
"""Between the opening of a socket and its start."""
LAST_WORDS_SECONDS = 1.0
"""What a page that is slow gets to hear why its stream ended."""


class BadMessage(Exception):
    """The page sent what no page of ours sends; the text says what."""


class LiveSocket:
    """Serves one socket, from its start to the end of either side."""

    def __init__(
        self, socket: web.WebSocketResponse, caller: PipelineCaller, *, sends: bool
    ) -> None:
        self._socket = socket
        self._caller = caller
        self._sends = sends
        self._outgoing = Outgoing()
        self._downlink: Downlink | None = None

    async def run(self) -> None:
        sending = asyncio.create_task(self._send(), name="playground send")
        try:
            await self._run()
        finally:
            self._outgoing.close()
            try:
                await asyncio.wait((sending,), timeout=LAST_WORDS_SECONDS)
            finally:
                sending.cancel()
                await asyncio.wait((sending,))

    async def _run(self) -> None:
        tell = self._outgoing.tell
        try:
            async with asyncio.timeout(START_SECONDS):
                start = await self._text()
        except TimeoutError:
            return tell("ended", reason=f"no start came within {START_SECONDS:g} s")
        except BadMessage as error:
            return tell("ended", reason=str(error))
        if start is None:
            return
        try:
            if start.get("type") != "start" or not isinstance(start.get("params"), dict):
                raise ValueError("a stream begins with a start and its params")
            sent = Sent.of(start)
        except ValueError as error:
            return tell("refused", status=400, error=failure(str(error), "bad_message"))
        sends = self._sends and bool(sent.width or sent.channels)
        try:
            async with self._caller.live(start["params"], sends=sends) as call:
                tell("started")
                tell("ended", reason=await self._serve(call, sent))
        except CallRefused as error:
            tell("refused", status=error.status, error=error.error)

    async def _serve(self, call: LiveCall, sent: Sent) -> str:
        """Until one side ends; why it did."""
        self._downlink = Downlink(call.output_url, call.tls, self._outgoing)
        tasks = {
            asyncio.create_task(each, name="playground stream")
            for each in (self._receive(call, sent), self._downlink.run())
        }
        beside = {
            asyncio.create_task(self._records(kind, records), name="playground records")
            for kind, records in (("event", call.events()), ("data", call.data()))
        }
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if beside:  # the last words of a pipeline: why it ended
                await asyncio.wait(beside, timeout=0.2)
        finally:
            for task in (*tasks, *beside):
                task.cancel()
            await asyncio.wait((*tasks, *beside))
        for task in done:
            if (error := task.exception()) is None:
                continue
            if not isinstance(error, TrickleError | BadMessage | CallRefused | ValueError):
                raise error
            return str(error)
        return "the stream is over"

    async def _receive(self, call: LiveCall, sent: Sent) -> None:
        if call.input_url is None:
            return await self._messages(call, None)
        wants_key = partial(self._outgoing.tell, "key")
        async with Uplink(call.input_url, call.tls, sent, wants_key) as uplink:
            tasks = [
                asyncio.create_task(each, name="playground input")
                for each in (self._messages(call, uplink), uplink.run())
            ]
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
            for task in done:
                task.result()

    async def _messages(self, call: LiveCall, uplink: Uplink | None) -> None:
        """Until the page leaves."""
        async for message in self._socket:
            if message.type is WSMsgType.TEXT:
                await self._said(call, _parsed(message.data))
            elif message.type is WSMsgType.BINARY and uplink is not None:
                uplink.put(unpacked(message.data))

    async def _said(self, call: LiveCall, said: dict[str, Any]) -> None:
        kind, content = said.get("type"), said.get("params", said.get("message"))
        if kind == "held" and self._downlink is not None:
            return self._downlink.held()
        if kind not in ("params", "control") or not isinstance(content, dict):
            raise BadMessage(f"the page said {str(kind)[:40]!r}, which is not known here")
        try:
            if kind == "params":
                params = await call.update(content)
                self._outgoing.tell("params", id=said.get("id"), params=params)
            else:
                await call.control(content)
        except CallRefused as error:
            self._outgoing.tell("params", id=said.get("id"), error=error.error)

    async def _records(self, kind: str, records: AsyncIterator[dict[str, Any]]) -> None:
        try:
            async for record in records:
                self._outgoing.record(kind, record)
        except TrickleError as error:
            logger.debug("the %s records are lost: %s", kind, error)

    async def _text(self) -> dict[str, Any] | None:
        message = await self._socket.receive()
        if message.type is WSMsgType.TEXT:
            return _parsed(message.data)
        if message.type is WSMsgType.BINARY:
            raise BadMessage("a stream begins with a start")
        return None

    async def _send(self) -> None:
        async for message in self._outgoing.messages():
            try:
                if isinstance(message, bytes):
                    await self._socket.send_bytes(message)
                else:
                    await self._socket.send_str(message)
            except ConnectionError:  # the page is gone, which the receiver hears as well
                return


def _parsed(text: str) -> dict[str, Any]:
    if len(text) > LARGEST_TEXT:
        raise BadMessage(f"a message has {LARGEST_TEXT} letters at most")
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise BadMessage("a message is a JSON object")
    return said
