"""A server between two others that changes what passes, or breaks it off, as a test says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

Meddle = Callable[[str, int, bytes], "tuple[int, bytes] | None"]
"""By path, status and body of an answer: what comes in its place; None ends the connection."""


class Meddler:
    """Passes everything on; `meddle` changes answers, `refuse` answers in place of the other."""

    def __init__(self, to: str) -> None:
        self._to = to
        self.url = ""
        self.meddle: Meddle = lambda path, status, body: (status, body)
        self.refuse: Callable[[str], tuple[int, bytes] | None] = lambda path: None
        self.asked: list[str] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        body = await request.read()
        if (refused := self.refuse(request.path)) is not None:
            return web.Response(status=refused[0], body=refused[1])
        headers = {name: text for name, text in request.headers.items() if name != "Host"}
        async with (
            aiohttp.ClientSession() as http,
            http.request(
                request.method, f"{self._to}{request.raw_path}", headers=headers, data=body
            ) as answer,
        ):
            found = self.meddle(request.path, answer.status, await answer.read())
            if found is None:
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
            kind = answer.headers.get("Content-Type", "application/octet-stream")
            return web.Response(status=found[0], body=found[1], headers={"Content-Type": kind})


@asynccontextmanager
async def meddling(to: str) -> AsyncIterator[Meddler]:
    found = Meddler(to)
    site = web.Application(client_max_size=1 << 24)
    site.router.add_route("*", "/{tail:.*}", found.answer)
    runner = web.AppRunner(site, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield found
    finally:
        await runner.cleanup()


def json_error(text: str) -> Any:
    """As go-livepeer's signer words one."""
    return b'{"error":{"message":"%s"}}' % text.encode()
