"""Batch jobs and SSE through a gateway."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from urllib.parse import unquote

from aiohttp import web

from livepeer.runner.devnet.byoc import sse
from livepeer.runner.devnet.byoc.envelope import JobRefused
from livepeer.runner.devnet.gateway.orders import GatewayOrder, order_from
from livepeer.runner.devnet.gateway.search import JobToken, Orchestrators
from livepeer.runner.devnet.go_http import error, guessed, read_body, reply
from livepeer.runner.devnet.upstream import (
    AnswerBrokeOff,
    UpstreamAnswer,
    UpstreamUnreachable,
)

logger = logging.getLogger(__name__)

_GRACE = 10
"""Seconds that a stream may take beyond the caller's limit."""


class GatewayJobs:
    """Forwards jobs to orchestrators, with the reference's quirks.

    A 4xx is final. After a 5xx or a lost connection the next orchestrator is asked, and where none
    is left the caller gets 200 without a body. A stream goes to every orchestrator, one after the
    other.
    """

    def __init__(self, orchestrators: Orchestrators) -> None:
        self._orchestrators = orchestrators

    async def run(self, request: web.Request) -> web.StreamResponse:
        """One job, tried at each orchestrator with room until one answers."""
        if request.method != "POST":
            return error(405, "Method not allowed")
        try:
            order, parameters = order_from(request.headers.get("Livepeer", ""), searched=True)
            tokens = await self._orchestrators.find(order.capability, parameters)
        except JobRefused as refusal:
            return error(400, str(refusal))
        body = await read_body(request)
        path = unquote(request.raw_path.partition("?")[0])
        stream: web.StreamResponse | None = None
        final: web.StreamResponse | None = None
        for token in tokens:
            try:
                answer = await self._orchestrators.send(
                    token, path, order, body, request.headers.get("Content-Type", "")
                )
            except UpstreamUnreachable as failure:
                logger.info("orchestrator %s: %s", token.url, failure)
                continue
            try:
                if answer.status < 400 and _is_stream(answer):
                    stream = stream if stream is not None else _stream_response(answer, token)
                    await self._forward(request, stream, answer, order)
                    continue
                final = await _collected(answer, token)
            finally:
                answer.close()
            if final is not None:
                break
        if stream is not None:
            return await sse.end(request, stream)
        return final if final is not None else reply(200)

    async def _forward(
        self,
        request: web.Request,
        stream: web.StreamResponse,
        answer: UpstreamAnswer,
        order: GatewayOrder,
    ) -> None:
        """Passes lines on up to the first with `[DONE]`, wherever in it that is."""
        try:
            async with asyncio.timeout(max(order.timeout + _GRACE, 0)):
                async with contextlib.aclosing(sse.lines(answer)) as lines:
                    async for line in lines:
                        await sse.write(request, stream, line)
                        if b"[DONE]" in line:
                            return
                await sse.flood(request, stream)
        except TimeoutError:
            pass


def _is_stream(answer: UpstreamAnswer) -> bool:
    return "text/event-stream" in answer.headers.get("Content-Type", "")


def _passed_on(answer: UpstreamAnswer, token: JobToken) -> dict[str, str]:
    return {
        "Livepeer-Balance": answer.headers.get("Livepeer-Balance", ""),
        "X-Metadata": answer.headers.get("X-Metadata", ""),
        "X-Orchestrator-Url": token.url,
    }


def _stream_response(answer: UpstreamAnswer, token: JobToken) -> web.StreamResponse:
    fixed = {
        "Cache-Control": "no-cache",
        "Connection": "keep-alive",
        "Content-Type": "text/event-stream",
    }
    return web.StreamResponse(headers={**_passed_on(answer, token), **fixed})


async def _collected(answer: UpstreamAnswer, token: JobToken) -> web.StreamResponse | None:
    """The answer for the caller, None where another orchestrator is to be asked."""
    try:
        body = await answer.read()
    except AnswerBrokeOff as broken:
        headers = _passed_on(answer, token) if answer.status < 400 else {}
        return error(500, str(broken), headers)
    if answer.status >= 500:
        logger.info("orchestrator %s answered %s", token.url, answer.status)
        return None
    if answer.status >= 400:
        return error(answer.status, body)
    return guessed(200, body, _passed_on(answer, token))
