"""Replayer 3 for payments: what our client asks of the recorded orchestrator, signer and gateway,
one request at a time, and what it makes of the answers.

The recorded caller's requests are gone through in order. What our client has under way sends the
next request by itself, else the part of it that such a request comes from is begun. Each request is
compared with the recorded one before the recorded answer goes out.
"""

from __future__ import annotations

import asyncio
import base64
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from livepeer.client import LivepeerError
from livepeer.client.payments.account import Abandoned
from livepeer.client.payments.signer import PriceRose, RefreshNeeded
from livepeer.client.protocol.tickets import PAYMENT, ticket_value

from .grpc_front import GrpcExchange
from .http1 import LAST_CHUNK, chunk, head
from .payer_client import LIMIT, PayingClient
from .payer_compare import Comparison
from .payer_values import Recorded
from .payer_ways import GENERATE, OTHER_WAYS, REFRESH, SIGN, Ways
from .scripted import Exchange, ScriptedServer
from .transcript import Mismatch, Scenario, Step, Transcript
from .values import Values, compact_json

SIGN_JOB = "/sign-byoc-job"


@dataclass
class Work:
    """Something of our client that goes on: its task, and the last answer that it was given."""

    kind: str
    task: asyncio.Task[Any]
    status: int | None = None
    body: bytes = b""
    waits: bool = False
    """Its request is here, and not answered."""
    whole: bool = False
    """Its last answer has come to its end."""
    ended: bool = False


@dataclass
class Open:
    """A request that reached the server, and whose answer is due."""

    exchange: Exchange | GrpcExchange
    work: Work | None
    chunked: bool = False
    begun: bool = False


class PayerReplay:
    """One scenario. `played`: for each request of the recorded caller None, or why our client does
    not send it as it stands (where it has anything under way, the answer is played to that)."""

    def __init__(
        self,
        transcript: Transcript,
        scenario: Scenario,
        server: ScriptedServer,
        address: str,
        identity: dict[str, str],
    ) -> None:
        """`address`: of the server, or of what is before it. `identity`: what the recorded signer
        says that it is."""
        self._key = (transcript.name, scenario.name)
        self._scenario, self._server, self._identity = scenario, server, identity
        self._values = Recorded(transcript.raw, scenario, address)
        self._gate = asyncio.Semaphore(0)
        self._moved = asyncio.Event()
        self._client = PayingClient(transcript, scenario, self._values, address, self._sleep)
        self._ways = Ways(scenario.name, self._values, identity["address"])
        self._comparison = Comparison(self._values, self._client.by_key)
        self.played: list[str | None] = []
        self._work: list[Work] = []
        self._open: dict[str, Open | None] = {}
        self._signed = Fraction(0)
        self._held: list[Exchange] = []
        self._later: list[Step] = []
        self._paying = False

    async def _sleep(self, _: float) -> None:
        self._moved.set()
        await self._gate.acquire()

    async def run(self) -> list[str | None]:
        """Play it. Raises `Mismatch`."""
        try:
            await self._play()
        except Mismatch:
            if self._key not in OTHER_WAYS:
                raise
            self.played.append(OTHER_WAYS[self._key])
        finally:
            await self._end()
        return self.played

    async def _end(self) -> None:
        """Whatever is said on leaving is answered."""
        answering = asyncio.create_task(self._farewell())
        if self._client.bill is not None:
            await self._client.bill.end()
        for work in self._work:
            work.task.cancel()
        await asyncio.gather(*(work.task for work in self._work), return_exceptions=True)
        await self._client.aclose()
        answering.cancel()
        await asyncio.gather(answering, return_exceptions=True)
        await self._server.down()

    async def _farewell(self) -> None:
        for opened in self._open.values():
            if opened is not None and isinstance(opened.exchange, Exchange):
                opened.exchange.connection.abort()
                opened.exchange.answered.set()
        while True:
            exchange = await self._server.requests.get()
            if isinstance(exchange, Exchange):
                await exchange.answer({"status": 204}, Values({}))

    async def _play(self) -> None:
        for index, step in enumerate(self._scenario.steps):
            caller = step.get("caller")
            self._later = self._scenario.steps[index + 1 :]
            if caller is None or caller == "container":
                continue
            if "grpc" in step or "method" in step.get("send", {}):
                await self._send(index, caller, step)
            elif "grpc_receives" in step:
                await self._grpc(caller, step["grpc_receives"])
            elif "receives" in step:
                await self._receive(caller, step["receives"] or {"closed": True})
            elif step.get("drop"):
                await self._leave(caller)
        await self._finish()

    # -- the recorded caller's request ------------------------------------------------------------

    async def _send(self, index: int, caller: str, step: Step) -> None:
        sent = step.get("send") or step["grpc"]
        path = self._values.text(sent["path"])
        why = self._ways.why_not(sent, path)
        if path == GENERATE and why is None:
            why = self._release(sent)
        exchange = await self._under_way(path, why)
        if exchange is None and why is None:
            begun = self._client.begin(index, step, sent, path)
            if isinstance(begun, str):
                why = begun
            else:
                kind, work = begun
                self._work.append(Work(kind, asyncio.create_task(work)))
                exchange = await self._next(path)
        if exchange is None:
            self.played.append(why or "our client has come to an end: it asks no more")
            self._open[caller] = None
            return
        expected = [work for work in self._work if not work.ended]
        pays = self._client.bill is not None and self._paying and path != REFRESH
        work = expected[-1] if expected and not (pays and expected[-1].waits) else None
        self._open[caller] = Open(exchange, work)
        if work is not None:
            work.waits = True
        asked = exchange.request.start_line.split(" ")[:2]
        if why is None:
            if asked != [sent.get("method", "POST"), path]:
                raise Mismatch(f"{sent.get('method', 'POST')} {path} was sent as {asked}")
            self._comparison.check(sent, exchange.request)
        self.played.append(why)

    def _release(self, sent: Step) -> str | None:
        """The bill's next payment is due, where the recorded caller makes one."""
        bill = self._client.bill
        if bill is None or bill._task is None or bill._task.done():
            return None
        if any(work.kind != "app" for work in self._busy) or not self._server.requests.empty():
            return None
        if not sent.get("body", {}).get("json", {}).get("state"):
            return "a second first payment of one session"
        self._moved.clear()
        self._gate.release()
        self._paying = True
        return None

    @property
    def _busy(self) -> list[Work]:
        return [work for work in self._work if not work.ended]

    async def _under_way(self, path: str, why: str | None) -> Exchange | None:
        """What our client asks by itself where the recorded caller asks for `path`. What it had
        begun and the recorded caller does not go on with is given up, as its caller would."""
        for held in self._held:
            if held.request.start_line.split(" ")[1] == path:
                self._held.remove(held)
                return held
        if not (
            any(not each.waits for each in self._busy)
            or self._paying
            or not self._server.requests.empty()
        ):
            return None
        exchange = await self._next(path)
        if exchange is None:
            return None
        asked = exchange.request.start_line.split(" ")[1]
        if asked == path:
            return exchange
        later = {self._values.text(step.get("send", {}).get("path", "")) for step in self._later}
        if why is not None or (asked in later and asked != GENERATE):
            self._held.append(exchange)
            return None
        if not self._busy:
            raise Mismatch(f"{path} was sent as {asked}")
        work = self._busy[-1]
        work.ended = True
        work.task.cancel()
        exchange.connection.abort()
        exchange.answered.set()
        return None

    async def _next(self, wanted: str) -> Exchange | None:
        """The next request of our client; None where it has come to an end without one."""
        async with asyncio.timeout(LIMIT):
            while True:
                works = self._busy
                getting = asyncio.ensure_future(self._server.requests.get())
                waits: set[asyncio.Future[Any]] = {getting, *(work.task for work in works)}
                if (
                    self._client.bill is not None
                    and self._client.bill._task is not None
                    and not works
                ):
                    waits.add(self._client.bill._task)
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                if not getting.done():
                    getting.cancel()
                    for work in works:
                        if work.task.done():
                            await self._check(work)
                    if any(not work.waits for work in self._busy):
                        continue
                    return None
                exchange = getting.result()
                if not await self._unscripted(wanted, exchange):
                    return exchange

    async def _unscripted(self, wanted: str, exchange: Exchange) -> bool:
        """Answer what is asked beside the script: who pays, and the fork's signature of a job."""
        path = exchange.request.start_line.split(" ")[1]
        scripted = any(
            (step.get("send") or {}).get("path") == SIGN and step.get("caller") != "container"
            for step in self._scenario.steps
        )
        if path == SIGN and not (scripted and self._work and self._work[-1].kind == "identity"):
            await exchange.answer({"status": 200, "body": {"json": self._identity}}, Values({}))
            return True
        if path.endswith("/stop") and path != wanted:
            await exchange.answer({"status": 204}, Values({}))
            return True
        if path == SIGN_JOB:
            job = next(
                step["send"]["headers"]["Livepeer"]["b64json"]
                for step in self._scenario.steps
                if "Livepeer" in step.get("send", {}).get("headers", {})
            )
            told = {"sender": job["sender"], "signature": job["sig"]}
            await exchange.answer({"status": 200, "body": {"json": told}}, Values({}))
            return True
        return False

    # -- the recorded answer ----------------------------------------------------------------------

    async def _receive(self, caller: str, told: dict[str, Any]) -> None:
        opened = self._open.get(caller)
        if opened is None:
            return
        exchange, data = opened.exchange, b""
        if "json" in told:
            body = compact_json(self._values.expand(told["json"]))
        elif "proto" in told:
            body = base64.b64decode(told["proto"]["recorded"])
        else:
            body = self._values.body(told.get("body"))
        work = opened.work
        path = exchange.request.start_line.split(" ")[1]
        if "status" in told:
            headers = {
                name: self._values.header(value)
                for name, value in told.get("headers", {}).items()
                if name != "Content-Length"
            }
            opened.chunked = headers.get("Transfer-Encoding") == "chunked"
            ended = told.get("ended", not opened.chunked)
            if not opened.chunked and told["status"] != 204:
                headers["Content-Length"] = str(len(body))
            data = head(f"HTTP/1.1 {told['status']} Recorded", list(headers.items()))
            opened.begun = True
            if work is not None:
                work.status, work.body = told["status"], body
            if path == GENERATE and told["status"] == 200:
                self._count(told["json"])
        else:
            ended = told.get("ended", False)
            if work is not None:
                work.body += body
        data += chunk(body) if opened.chunked and body else body
        if ended and opened.chunked:
            data += LAST_CHUNK
        closed = not opened.begun or told.get("closed")
        if ended or closed:
            exchange.answered.set()
        if data:
            await exchange.connection.write(data)
        if closed:
            exchange.connection.close()
            if work is not None:
                work.status = None
        if ended or closed:
            if work is not None:
                work.waits, work.whole = False, bool(ended)
            await self._settled(work)

    def _count(self, told: dict[str, Any]) -> None:
        payment = PAYMENT.decode_text(self._values.expand(told["payment"]))
        count = len(payment.get("ticket_sender_params", ()))
        self._signed += ticket_value(payment["ticket_params"]) * count

    async def _grpc(self, caller: str, told: dict[str, Any]) -> None:
        opened = self._open.get(caller)
        if opened is None:
            return
        assert isinstance(opened.exchange, GrpcExchange) and opened.work is not None
        opened.work.waits = False
        told = {"trailers": [], **told}
        status = dict(told["trailers"]).get("grpc-status", dict(told["headers"]).get("grpc-status"))
        full = "OrchestratorCapped" in str(told)
        opened.work.status = 200 if status == "0" or full else 400
        opened.exchange.answer(told)
        await self._settled(opened.work)

    async def _settled(self, work: Work | None) -> None:
        """Wait until what is under way asks again, or is done."""
        async with asyncio.timeout(LIMIT):
            if work is not None:
                getting = asyncio.create_task(self._server.requests.get())
                await asyncio.wait({getting, work.task}, return_when=asyncio.FIRST_COMPLETED)
                if getting.done():
                    self._server.requests.put_nowait(getting.result())
                getting.cancel()
                if work.task.done() and not work.ended:
                    await self._check(work)
            elif (bill := self._client.bill) is not None and bill._task is not None:
                self._paying = True
                # Of the three things one alone has an event.
                while not (  # noqa: ASYNC110
                    self._moved.is_set()
                    or bill._task is None
                    or bill._task.done()
                    or not self._server.requests.empty()
                ):
                    await asyncio.sleep(0.001)
                self._paying = not self._server.requests.empty()

    async def _leave(self, caller: str) -> None:
        opened = self._open.pop(caller, None)
        if opened is not None:
            opened.exchange.answered.set()
            if opened.work is not None:
                opened.work.ended = True
                opened.work.task.cancel()

    async def _finish(self) -> None:
        for work in self._work:
            if not work.ended and work.status is not None:
                opened = [each for each in self._open.values() if each and each.work is work]
                for each in opened:
                    each.exchange.connection.close()
                    each.exchange.answered.set()
                work.status = work.status if work.whole else None
                async with asyncio.timeout(LIMIT):
                    await asyncio.wait([work.task])
                await self._check(work)
        spent = self._client.wallet.budget.spent
        if not self._client.by_key and spent > self._signed:
            raise Mismatch(f"{spent} was told as spent, and {self._signed} signed")

    # -- what became of it ------------------------------------------------------------------------

    async def _check(self, work: Work) -> None:
        work.ended = True
        try:
            result = await work.task
        except (LivepeerError, Abandoned, RefreshNeeded, PriceRose) as error:
            result = error
        status = work.status
        failed = isinstance(result, LivepeerError | RefreshNeeded | PriceRose)
        if status is None or (status >= 400 and work.kind != "app"):
            if not failed and not (work.kind == "stop" or (work.kind == "pay" and status == 482)):
                raise Mismatch(f"{work.kind}: answered {status}, and it became {result!r}")
            if status is not None and isinstance(result, LivepeerError):
                self._says(result, work)
        elif failed and work.kind != "app":
            raise Mismatch(f"{work.kind}: answered {status}, and it became {result!r}")
        elif work.kind == "app" and not failed and result != (status, work.body):
            raise Mismatch(f"{status} {work.body!r} became {result!r}")

    def _says(self, error: LivepeerError, work: Work) -> None:
        words = re.findall(r"\w{4,}", work.body.decode("utf-8", "replace"))
        told = str(error)
        if words and not any(word in told for word in words) and str(work.status) not in told:
            raise Mismatch(f"{told!r} says nothing of {work.status} {work.body!r}")
