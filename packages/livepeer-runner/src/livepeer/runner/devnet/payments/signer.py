"""A remote signer of a local network: go-livepeer's, with test money.

It signs for real, with the payer's test key. What it made is kept in `payments`, so that a test can
look.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from fractions import Fraction
from types import TracebackType

from aiohttp import web

from livepeer.runner.devnet import listener
from livepeer.runner.devnet.go_http import error, only, read_small, reply
from livepeer.runner.devnet.payments.asked import SignerRefusal, fields_of, info_of
from livepeer.runner.devnet.payments.chain import LocalChain
from livepeer.runner.devnet.payments.keys import keccak256
from livepeer.runner.devnet.payments.messages import Fields
from livepeer.runner.devnet.payments.mint import MadePayment, Mint

MOST_BYTES = 1 << 20


class LocalSigner:
    """Signs payments of a local network over plain HTTP.

    - `chain`: the same as the orchestrator's.
    - `host`: address to listen on; anything but loopback lets others spend its test money.
    - `port`: 0 takes a free one.

    Example:
        ```python
        chain = LocalChain()
        async with LocalOrchestrator(chain=chain) as orchestrator, LocalSigner(chain) as signer:
            gw = Gateway(orch_url=orchestrator.url, signer_url=signer.url, tls="insecure")
        ```
    """

    def __init__(self, chain: LocalChain, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self._chain, self._mint = chain, Mint(chain)
        self._host, self._port = host, port
        self._stack: contextlib.AsyncExitStack | None = None
        self._url = ""

    def __repr__(self) -> str:
        return f"LocalSigner(url={self._url or 'not started'!r})"

    @property
    def url(self) -> str:
        """Where it listens; without a slash at the end."""
        if self._stack is None:
            raise RuntimeError("the signer has not been started: use `async with`")
        return self._url

    @property
    def payments(self) -> list[MadePayment]:
        """Those that it made, the oldest first."""
        return self._mint.payments

    @property
    def reused(self) -> int:
        """Times that a state came again: two payments of it carry the same tickets."""
        return self._mint.reused

    @property
    def spent(self) -> Fraction:
        """Wei of all payments that it made."""
        return sum((each.wei for each in self.payments), Fraction(0))

    async def __aenter__(self) -> LocalSigner:
        async with contextlib.AsyncExitStack() as stack:
            listening = socket.create_server((self._host, self._port))
            stack.callback(listening.close)
            app = listener.application()
            listener.handle(app, self._answer)
            await stack.enter_async_context(listener.serve(app, listening))
            host = f"[{self._host}]" if ":" in self._host else self._host
            self._url = f"http://{host}:{listening.getsockname()[1]}"
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        stack, self._stack = self._stack, None
        if stack is not None:
            await stack.aclose()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.raw_path.partition("?")[0]
        if path not in ("/sign-orchestrator-info", "/generate-live-payment"):
            return error(404, "404 page not found")
        if (refused := only(request, "POST")) is not None:
            return refused
        body = await read_small(request, MOST_BYTES)
        if body is None:
            return _json(400, {"error": {"message": "http: request body too large"}})
        if path == "/sign-orchestrator-info":
            key = self._chain.payer
            signature = key.sign(keccak256(key.name.encode()))
            return _json(200, {"address": key.name, "signature": "0x" + signature.hex()})
        try:
            return _json(200, await asyncio.to_thread(self._mint.pay, body))
        except SignerRefusal as refusal:
            headers = {}
            if refusal.status == 480:
                headers["Livepeer-Orchestrator-Url"] = self._orchestrator(body)
            told = {"error": {"message": str(refusal)}}
            return _json(refusal.status, told, headers)

    @staticmethod
    def _orchestrator(body: bytes) -> str:
        with contextlib.suppress(ValueError, SignerRefusal):
            return str(info_of(fields_of(body)).get("transcoder", ""))
        return ""


def _json(status: int, told: Fields, headers: dict[str, str] | None = None) -> web.Response:
    body = json.dumps(told, separators=(",", ":")).encode()
    return reply(status, body, {"Content-Type": "application/json", **(headers or {})})
