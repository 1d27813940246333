"""The routes of an orchestrator's BYOC door."""

from __future__ import annotations

import logging
import secrets

from aiohttp import web

from livepeer.runner.devnet import go_json
from livepeer.runner.devnet.byoc.capabilities import Capabilities, PriceFeedMissing
from livepeer.runner.devnet.byoc.jobs import PREFIX, Jobs
from livepeer.runner.devnet.byoc.streams import ByocStreams
from livepeer.runner.devnet.go_http import error, read_body, reply
from livepeer.runner.devnet.listener import DropConnection

logger = logging.getLogger(__name__)

_JSON = {"Content-Type": "application/json"}


class ByocDoor:
    """Registration, jobs and streams of one orchestrator.

    - `address`: its URL, which tokens name.
    - `secret`: what a registration has to show.
    """

    def __init__(
        self,
        capabilities: Capabilities,
        jobs: Jobs,
        streams: ByocStreams,
        address: str,
        secret: str,
    ) -> None:
        self._capabilities = capabilities
        self._jobs = jobs
        self._streams = streams
        self._address = address
        self._secret = secret

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Any request; 404 for a path that is none of these."""
        path = request.raw_path.partition("?")[0]
        if path.startswith(PREFIX):
            return await self._jobs.run(request)
        match path:
            case "/process/token":
                return await self._jobs.token(request, self._address)
            case "/capability/register":
                return await self._register(request)
            case "/capability/unregister":
                return await self._unregister(request)
            case "/ai/stream/start":
                return await self._streams.start(request)
            case "/ai/stream/update":
                return await self._streams.update(request)
            case "/ai/stream/stop":
                return await self._streams.stop(request)
            case "/ai/stream/payment":
                return await self._streams.payment(request)
        return error(404, "404 page not found")

    async def _register(self, request: web.Request) -> web.StreamResponse:
        if (refusal := self._refusal(request)) is not None:
            return refusal
        try:
            capability = self._capabilities.register(await read_body(request))
        except go_json.GoJSONError as bad:
            return reply(400, f"Error registering capability: {bad}".encode(), _JSON)
        except PriceFeedMissing as currency:
            logger.warning("no price feed for %s: the connection is dropped", currency)
            raise DropConnection from None
        logger.info("registered capability %s at %s", capability.name, capability.url)
        return reply(200, b"ok", _JSON)

    async def _unregister(self, request: web.Request) -> web.StreamResponse:
        if (refusal := self._refusal(request)) is not None:
            return refusal
        name = (await read_body(request)).decode("utf-8", "replace")
        self._capabilities.remove(name)
        logger.info("removed capability %s", name)
        return reply(200, b"ok", _JSON)

    def _refusal(self, request: web.Request) -> web.StreamResponse | None:
        if request.method != "POST":
            return error(405, "Method not allowed")
        shown = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if not secrets.compare_digest(shown, self._secret.encode()):
            return error(400, "invalid authorization")
        return None
