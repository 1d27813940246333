"""The stream routes of a gateway: start, update, status, data, stop."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

from aiohttp import web

from livepeer.runner.devnet import go_json
from livepeer.runner.devnet.byoc.envelope import JobRefused
from livepeer.runner.devnet.gateway.feeds import DataFeed, Statuses
from livepeer.runner.devnet.gateway.orders import GatewayOrder, OrderParameters, order_from
from livepeer.runner.devnet.gateway.search import NoToken, Orchestrators
from livepeer.runner.devnet.gateway.session import GatewaySession
from livepeer.runner.devnet.go_http import error, guessed, read_body, reply
from livepeer.runner.devnet.listener import DropConnection
from livepeer.runner.devnet.upstream import UpstreamUnreachable

_LARGEST_BODY = 10 * 1024 * 1024
_START = {
    "stream_name": "string",
    "rtmp_output": "string",
    "stream_id": "string",
    "params": "string",
}
_JSON = {"Content-Type": "application/json"}
_END_OF_DATA = b'data: \n\nevent: end\\ndata: {"type":"stream_ended"}\\n\\n'
"""Ill-formed, as the reference sends it: backslashes in place of line ends."""
_FAREWELL = 5.0
"""Seconds that orchestrators get to hear of the end when the gateway ends."""


class GatewayStreams:
    """The running streams of one gateway, and the status of those before."""

    def __init__(self, orchestrators: Orchestrators, authority: str) -> None:
        self._orchestrators = orchestrators
        self._authority = authority
        self._statuses = Statuses()
        self._sessions: dict[str, GatewaySession] = {}
        self._running: dict[GatewaySession, asyncio.Task[None]] = {}

    async def aclose(self) -> None:
        tasks = set(self._running.values())
        for task in tasks:
            task.cancel()
        try:
            if tasks:
                await asyncio.wait(tasks, timeout=_FAREWELL)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def start(self, request: web.Request) -> web.StreamResponse:
        """Answers 200 with the URLs of the stream, before any orchestrator was asked to start."""
        try:
            order, parameters = order_from(request.headers.get("Livepeer", ""), searched=True)
            tokens = await self._orchestrators.find(order.capability, parameters)
        except JobRefused as refusal:
            return error(400, str(refusal))
        body = await read_body(request)
        if len(body) > _LARGEST_BODY:
            return _too_large()
        try:
            asked = go_json.decode(go_json.parse_first(body), _START, "StartRequest")
        except go_json.GoJSONError as bad:
            return error(400, f"invalid JSON request body: {bad}")
        name = asked.get("stream_name", "")
        if name.endswith("-out"):
            raise DropConnection
        try:
            raw = asked.get("params", "")
            params = go_json.decode_object(go_json.parse(raw)) if raw else None
        except go_json.GoJSONError:
            return error(400, "invalid model params")
        stream_id = asked.get("stream_id") or secrets.token_hex(4)
        stream_id = f"{name}-{stream_id}" if name else stream_id
        request_id = secrets.token_hex(4)
        urls = self._urls(stream_id, request_id, parameters, asked.get("rtmp_output", ""))
        self._statuses.clear(stream_id)
        self._statuses.note(stream_id, "whep_url", urls["whep_url"])
        if stream_id in self._sessions:
            return error(400, f"stream already exists: {stream_id}")
        session = GatewaySession(
            order.renamed(stream_id),
            request_id,
            go_json.dumps({"params": params}),
            self._orchestrators,
            self._statuses,
            DataFeed() if parameters.data else None,
        )
        self._sessions[stream_id] = session
        task = asyncio.create_task(
            session.run(tokens, lambda: self._over(session)), name="devnet-gateway-stream"
        )
        self._running[session] = task
        task.add_done_callback(lambda _: self._running.pop(session, None))
        return reply(200, go_json.dumps(urls) + b"\n", _JSON)

    async def update(self, request: web.Request) -> web.StreamResponse:
        """Passes new parameters on; the answer of the orchestrator comes back."""
        session = self._session(request)
        if session is None:
            return error(404, "Stream not found")
        try:
            order, _ = order_from(request.headers.get("Livepeer", ""), searched=False)
        except JobRefused as refusal:
            return error(400, str(refusal))
        body = await read_body(request)
        if len(body) > _LARGEST_BODY:
            return _too_large()
        session.remember(body)
        return await self._pass_update(session, order, body, request)

    async def _pass_update(
        self, session: GatewaySession, order: GatewayOrder, body: bytes, request: web.Request
    ) -> web.StreamResponse:
        if session.current is None:
            return error(400, "failed to get token from Orchestrator after 1 attempts")
        try:
            status, answer = await self._orchestrators.call(
                session.current.url,
                "/ai/stream/update",
                order,
                body,
                request.headers.get("Content-Type", ""),
            )
        except (NoToken, UpstreamUnreachable) as failure:
            return error(400, str(failure))
        return guessed(status, answer)

    async def stop(self, request: web.Request) -> web.StreamResponse:
        """Tells the orchestrator with the caller's body; "stream ended" follows by itself."""
        session = self._session(request)
        if session is None:
            return error(404, "Stream not found")
        answer = await session.stop(await read_body(request))
        if (task := self._running.get(session)) is not None:
            task.cancel()
        self._over(session)
        return guessed(200, answer)

    async def status(self, request: web.Request) -> web.StreamResponse:
        """The last status event as it came, with where it came from; kept after the end."""
        status = self._statuses.get(_stream_id(request))
        if status is None:
            return error(404, "Stream not found")
        return reply(200, go_json.dumps(dict(sorted(status.items()))) + b"\n", _JSON)

    async def data(self, request: web.Request) -> web.StreamResponse:
        """Each line of the data channel as one event, from now on."""
        session = self._session(request)
        if session is None:
            return error(404, "Stream not found")
        if session.data is None:
            return error(503, "Stream data not available")
        response = web.StreamResponse(
            headers={
                "Cache-Control": "no-cache",
                "Connection": "keep-alive",
                "Content-Type": "text/event-stream",
            }
        )
        response.enable_chunked_encoding()
        lines = session.data.subscribe()
        try:
            while (line := await lines.get()) is not None:
                if not response.prepared:
                    await response.prepare(request)
                await response.write(b"data: " + line + b"\n\n")
        finally:
            session.data.unsubscribe(lines)
        if not response.prepared:
            await response.prepare(request)
        await response.write(_END_OF_DATA)
        await response.write_eof()
        return response

    async def rtmp(self, request: web.Request) -> web.StreamResponse:
        """What a media server would report; there is none on a local network."""
        if self._session(request) is None:
            return reply(404, f"stream not found: {_stream_id(request)}".encode(), _JSON)
        return error(400, "missing source_id")

    def _session(self, request: web.Request) -> GatewaySession | None:
        return self._sessions.get(_stream_id(request))

    def _over(self, session: GatewaySession) -> None:
        if self._sessions.get(session.id) is session:
            del self._sessions[session.id]

    def _urls(
        self, stream_id: str, request_id: str, parameters: OrderParameters, rtmp_output: str
    ) -> dict[str, Any]:
        # They claim https whatever the gateway serves, and name media servers that may not be.
        base = f"https://{self._authority}/process/stream/{stream_id}"
        rtmp = f"rtmp://localhost:1935/{stream_id}"
        outputs = [rtmp_output, f"{rtmp}-out", f"{rtmp}-{request_id}-out"]
        whep = f"http://localhost:8889/{stream_id}-{request_id}-out/whep"
        return {
            "stream_id": stream_id,
            "whip_url": f"{base}/whip" if parameters.ingress else "",
            "whep_url": whep if parameters.egress else "",
            "rtmp_url": rtmp if parameters.ingress else "",
            "rtmp_output_url": ",".join(filter(None, outputs)) if parameters.egress else "",
            "update_url": f"{base}/update",
            "status_url": f"{base}/status",
            "data_url": f"{base}/data" if parameters.data else "",
            "stop_url": f"{base}/stop",
        }


def _stream_id(request: web.Request) -> str:
    return request.path.split("/")[3]


def _too_large() -> web.StreamResponse:
    response = error(413, f"request body too large (max {_LARGEST_BODY} bytes)")
    response.force_close()
    return response
