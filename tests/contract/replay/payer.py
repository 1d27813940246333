"""Replayer 3 for payments: what our client asks of the recorded orchestrator, signer and gateway,
one request at a time, and what it makes of the answers.

The recorded caller's requests are gone through in order. What our client has under way sends the
next request by itself, else the part of it that such a request comes from is begun. Each request is
compared with the recorded one before the recorded answer goes out.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from eth_account import Account
from eth_account.messages import encode_defunct
from eth_utils.crypto import keccak

from livepeer.client import LivepeerError
from livepeer.client.apps.calls import AppCalls
from livepeer.client.apps.request import AppRequest
from livepeer.client.config import Config
from livepeer.client.http.deadline import Deadline
from livepeer.client.http.pools import Pools
from livepeer.client.http.requests import read
from livepeer.client.http.tls import TlsPolicy
from livepeer.client.live import lv2v
from livepeer.client.live.stream import Wanted
from livepeer.client.network.by_gateway import ByGateway
from livepeer.client.network.byoc import Byoc
from livepeer.client.network.dispatch import Dispatcher
from livepeer.client.network.jobs import Task
from livepeer.client.network.live_runner import LiveRunners
from livepeer.client.network.lv2v import START, LiveVideoToVideo
from livepeer.client.network.reservations import Reservations
from livepeer.client.network.roads import Candidate
from livepeer.client.network.runner_lists import RunnerLists
from livepeer.client.payments.account import Abandoned
from livepeer.client.payments.bill import Bill
from livepeer.client.payments.local_key import LocalKey
from livepeer.client.payments.pace import Pace
from livepeer.client.payments.remote_signer import RemoteSigner
from livepeer.client.payments.signer import Order, PriceRose, RefreshNeeded, Unsigned
from livepeer.client.payments.wallet import Wallet
from livepeer.client.protocol.discovery import OpenApp, ReservedPlace, RunnerEntry
from livepeer.client.protocol.orchestrator import ORCHESTRATOR_REQUEST
from livepeer.client.protocol.tickets import ORCHESTRATOR_INFO, PAYMENT, SEG_DATA, ticket_value
from livepeer.client.types import Offer

from .grpc_front import GrpcExchange
from .http1 import LAST_CHUNK, chunk, head
from .scripted import Exchange, ScriptedServer
from .transcript import Mismatch, Scenario, Step, Transcript
from .values import Values, compact_json

LIMIT = 20.0
GENERATE, SIGN, REFRESH = "/generate-live-payment", "/sign-orchestrator-info", "/refresh-payment"
SIGN_JOB = "/sign-byoc-job"
SHAPES = {
    "net.OrchestratorInfo": ORCHESTRATOR_INFO,
    "net.Payment": PAYMENT,
    "net.SegData": SEG_DATA,
    "net.OrchestratorRequest": ORCHESTRATOR_REQUEST,
}
ORDERED = frozenset({"orchestrator", "app", "ManifestID", "type", "inPixels", "maxPrice", "state"})
TAMPERED = {
    "garbage": "a payment that no signer made",
    "other_price": "a payment that no signer made",
    "other_face_value": "a payment that no signer made",
    "other_key": "a payment that no signer made",
    "other_payer": "a payment that no signer made",
    "no_tickets": "a payment without tickets",
    "top_up_same_params": "a second payment by one token",
    "same_payment_twice": "a second payment by one token",
}
"""Scenarios whose payments are such on purpose."""
OTHER_WAYS = {
    (
        "live-runner-paid",
        "other_manifest",
    ): "it pays for another session than the one it was asked for",
    (
        "live-runner-paid",
        "answer_as_params",
    ): "it pays by what a payment was answered, which our client does not read",
    (
        "live-runner-paid",
        "general_payment_url",
    ): "it pays at the address of a refresh; ours keeps its session's own",
    (
        "live-runner-paid",
        "refresh_by_reserve",
    ): "it reserves again to be asked anew; ours has /refresh-payment for it",
    ("live-runner-paid", "refresh_missed"): "it pays by tickets that the signer has called too old",
    ("byoc-paid", "token_signature"): "a signature that is none",
    ("byoc-paid", "token_by_signer"): "the signer's address, where another key pays",
    ("byoc-paid", "token_poor"): "an address without a deposit",
    ("byoc-paid", "other_payer"): "another address pays than the one whose job it is",
    ("byoc-paid", "job_signature"): "a job signed by nobody, or by another",
    (
        "byoc-paid",
        "by_signer",
    ): "it pays by the state of the job before; ours pays by each token anew",
    ("byoc-paid", "by_signer_live"): "it pays for a BYOC job as for a session",
    ("byoc-paid", "stream_payment_alone"): "a second payment by one token",
    ("byoc-paid", "stream_low_balance"): "a second payment by one token",
    ("lv2v", "chain_ask_poor"): "an address without a deposit",
    ("lv2v", "chain_start_unpaid"): "the headers of a payment one by one",
    ("lv2v", "chain_unpaid_end"): "it pays for less than the first minute",
    ("lv2v", "chain_no_segments"): "it pays for less than the first minute",
    ("lv2v", "off_headers"): "segments that nobody made",
}
"""Scenarios whose recorded caller leaves the way of our client, where it does: played so far."""
_SESSION = re.compile(r"(/apps/[^/]+/session)(?:/([^/]+)(/.*)?)?")
_SINGLE = re.compile(r"(/apps/[^/]+/app)/(.*)")
_ALONE = re.compile(r"\$\{([A-Za-z0-9_]+)\}")


class Recorded(Values):
    """Values of the first recording, as far as its messages tell them; else a variable has its own
    name as its value."""

    def __init__(self, raw: dict[str, Any], scenario: Scenario, address: str) -> None:
        super().__init__({})
        self.known = _AnyName()
        roles = ("orch", "orch_off", "orch_bare", "signer", "gateway", "front")
        self.known.update(dict.fromkeys(roles, address))
        for name, value in raw.get("values", {}).items():
            self._learn(value)
            self.known[name] = self.expand(value)
        self._learn(scenario.steps)

    def _learn(self, value: Any) -> None:
        if isinstance(value, list):
            for each in value:
                self._learn(each)
        elif isinstance(value, dict):
            shape = SHAPES.get(str(value.get("b64proto", value.get("proto"))))
            if shape is not None and "recorded" in value:
                self._match(value["fields"], shape.decode_text(value["recorded"]))
                if "name" in value:
                    self.known.setdefault(value["name"], value["recorded"])
            for each in value.values():
                self._learn(each)

    def _match(self, fields: Any, found: Any) -> None:
        if isinstance(fields, dict) and isinstance(found, dict):
            for name, value in fields.items():
                if name != "transcoder" and name in found:
                    self._match(value, found[name])
        elif isinstance(fields, list) and isinstance(found, list):
            for one, other in zip(fields, found, strict=False):
                self._match(one, other)
        elif isinstance(fields, str) and (name := _ALONE.fullmatch(fields)):
            told = found
            if isinstance(found, bytes):
                text = name[1].startswith("manifest")
                told = found.decode() if text else "0x" + found.hex()
            self.known.setdefault(name[1], str(told))

    def expand(self, value: Any) -> Any:
        if isinstance(value, dict):
            if "b64proto" in value or "b64json" in value:
                text = value.get("recorded")
                if text is None:
                    inner = compact_json(super().expand(value["b64json"]))
                    text = base64.b64encode(inner).decode()
                if "name" in value:
                    text = self.known.setdefault(value["name"], text)
                return text
            if "b64hex" in value:
                text = self.text(value["b64hex"])
                if not text.startswith("0x"):
                    text = "0x" + hashlib.sha256(text.encode()).hexdigest()
                return base64.b64encode(bytes.fromhex(text[2:])).decode()
        return super().expand(value)

    def header(self, value: Any) -> str:
        return str(self.expand(value)) if isinstance(value, dict) else super().header(value)


class _AnyName(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return name


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
        raw = transcript.raw
        self._key = (transcript.name, scenario.name)
        self._scenario, self._server = scenario, server
        self._base, self._address = f"http://{address}", address
        self._values = Recorded(raw, scenario, address)
        self.played: list[str | None] = []
        self._gate = asyncio.Semaphore(0)
        self._moved = asyncio.Event()
        self._pools = Pools()
        key = raw["keys"].get("caller", {}).get("private_key")
        # By the key that the recorded caller had, or by its signer.
        steps = json.dumps(scenario.steps)
        by_key = key if "/process/" in steps and GENERATE not in steps else None
        config = Config.resolve(orch_url=self._base, max_retries=0, environ={})
        trust = self._trust = TlsPolicy("verify")
        signer = LocalKey(by_key) if by_key else RemoteSigner(self._base, {}, trust)
        self._signer = signer
        self._wallet = Wallet(config, trust, signer)
        self._wallet._pace = Pace(interval=0.0, again=0.0, sleep=self._sleep)
        self._byoc = Byoc(trust, self._wallet)
        self._lv2v = LiveVideoToVideo(trust, self._wallet)
        dispatcher = Dispatcher(config, trust, self._wallet)
        self._apps = AppCalls(dispatcher, self._pools, trust, self._wallet.budget)
        self._reservations = Reservations(trust)
        self._identity = identity
        self._work: list[Work] = []
        self._open: dict[str, Open | None] = {}
        self._bill: Bill | None = None
        self._place: ReservedPlace | None = None
        self._offer: Offer | None = None
        self._signed: Fraction = Fraction(0)
        self._held: list[Exchange] = []
        self._later: list[Step] = []
        self._paying = False
        self._streams: list[Any] = []

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
        if self._bill is not None:
            await self._bill.end()
        for work in self._work:
            work.task.cancel()
        await asyncio.gather(*(work.task for work in self._work), return_exceptions=True)
        for response in self._streams:
            response.close()
        await self._pools.aclose()
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
        why = self._foreign(caller, sent, path)
        if path == GENERATE and why is None:
            why = self._release(sent)
        exchange = await self._under_way(path, why)
        if exchange is None and why is None:
            begun = self._begin(index, step, sent, path)
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
        pays = self._bill is not None and self._paying and path != REFRESH
        work = expected[-1] if expected and not (pays and expected[-1].waits) else None
        self._open[caller] = Open(exchange, work)
        if work is not None:
            work.waits = True
        asked = exchange.request.start_line.split(" ")[:2]
        if why is None:
            if asked != [sent.get("method", "POST"), path]:
                raise Mismatch(f"{sent.get('method', 'POST')} {path} was sent as {asked}")
            self._compare(sent, exchange)
        self.played.append(why)

    def _release(self, sent: Step) -> str | None:
        """The bill's next payment is due, where the recorded caller makes one."""
        bill = self._bill
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
                if self._bill is not None and self._bill._task is not None and not works:
                    waits.add(self._bill._task)
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

    # -- which of ours, and why not ---------------------------------------------------------------

    def _foreign(self, caller: str, sent: Step, path: str) -> str | None:
        method, headers = sent.get("method", "POST"), sent.get("headers", {})
        if (name := self._scenario.name) in TAMPERED and "Livepeer-Payment" in headers:
            return TAMPERED[name]
        if path.startswith("/ai/trickle/"):
            return "a channel, which livepeer.trickle asks for (its own transcripts)"
        if path == SIGN:
            return None if method == "POST" and sent.get("body") == "{}" else "another form of it"
        if path == GENERATE:
            return self._foreign_order(sent, method)
        if path == REFRESH:
            good = {"sender", "manifest_id"}
            body = sent.get("body")
            told = body.get("json") if isinstance(body, dict) and method == "POST" else None
            if not isinstance(told, dict) or set(told) != good:
                return "another form of a refresh"
            return None
        payments = [headers.get(f"Livepeer-{name}") for name in ("Payment", "Segment")]
        if method in ("POST", "GET") and any(payments) and path.startswith(("/apps/", "/payment")):
            if not all(payments):
                return "a payment without its segment, or the other way round"
            texts = [self._values.header(each) for each in payments]
            if any(text not in self._values.known.values() for text in texts) or any(
                isinstance(each, dict) for each in payments
            ):
                return "a payment that no signer made"
        if "Livepeer-Payer-Address" in headers:
            wanted = self._identity["address"]
            if headers["Livepeer-Payer-Address"] != wanted:
                return "another payer, or one in another form"
        match = _SESSION.fullmatch(path)
        if match and match[2] and match[3] == "/payment" and method != "POST":
            return "another method"
        return None

    def _foreign_order(self, sent: Step, method: str) -> str | None:
        body = sent.get("body")
        told = body.get("json") if isinstance(body, dict) else None
        if method != "POST" or not isinstance(told, dict) or not set(told) <= ORDERED:
            return "an order of another form"
        orchestrator = told.get("orchestrator")
        if not isinstance(orchestrator, str | dict) or (
            isinstance(orchestrator, dict) and "b64proto" not in orchestrator
        ):
            return "an order without what is asked"
        kinds = ("live", "lv2v", "fixed")
        units = told.get("inPixels")
        if told.get("type") not in kinds and not (
            "type" not in told and isinstance(units, int) and units > 0
        ):
            return "an order of no kind, or of one that there is not"
        if told.get("type") in kinds and "inPixels" in told:
            return "an order of two kinds"
        if not isinstance(told.get("ManifestID", ""), str):
            return "an order of another form"
        most = told.get("maxPrice")
        if most is not None:
            unit = {"live": "seconds", "lv2v": "720p-pixel-seconds", "fixed": "fixed"}
            price = str(most.get("price", "")) if isinstance(most, dict) else ""
            if (
                not re.fullmatch(r"[0-9]+(\.[0-9]+)?", price)
                or Fraction(price) <= 0
                or most.get("currency") != "wei"
                or most.get("unit") != unit.get(told.get("type", ""))
            ):
                return "a ceiling of another form"
        state = told.get("state")
        if "state" in told and (not isinstance(state, dict) or set(state) != {"State", "Sig"}):
            return "a state that no signer made"
        return None

    def _begin(
        self, index: int, step: Step, sent: Step, path: str
    ) -> tuple[str, Coroutine[Any, Any, Any]] | str:
        method, headers = sent.get("method", "POST"), sent.get("headers", {})
        if "grpc" in step:
            return self._asking(sent)
        if path == SIGN:
            return "identity", self._identified()
        if path == GENERATE:
            for later, each in enumerate(self._scenario.steps[index + 1 :], index + 1):
                found = each.get("send", {})
                if found.get("path", "").startswith((START, "/process/request", "/ai/stream")):
                    return self._begin(later, each, found, self._values.text(found["path"]))
            if self._bill is not None:
                return "a payment that is not due"
            return "pay", self._paid(sent)
        if path == "/discovery" and method == "GET":
            return "list", self._listed()
        if path == "/process/token" and method == "GET":
            return self._token(sent)
        if path.startswith(("/process/request", "/ai/stream/", START)):
            return self._job(sent, path)
        paid = "Livepeer-Payment" in headers
        if match := _SINGLE.fullmatch(path):
            if paid or "Livepeer-Payer-Address" not in headers:
                return "a paid request without being asked first"
            return "app", self._app(self._after(index, sent), match[1], match[2])
        if path == REFRESH:
            return "a refresh that no signer asked for"
        match = _SESSION.fullmatch(path)
        if match is None or method not in ("POST", "GET"):
            return "a path that payments have nothing to do with"
        if match[2] is None:
            if method != "POST" or paid or "Livepeer-Payer-Address" not in headers:
                return "a reservation without being asked first"
            return "reserve", self._reserve(match[1], self._unit(index))
        if match[3] == "/stop":
            return "stop", self._stop(match[1], match[2])
        if match[3] and match[3].startswith("/app/"):
            return "app", self._app(
                sent, f"{match[1]}/{match[2]}/app", match[3][5:], in_session=True
            )
        return "a payment that is not due"

    def _after(self, index: int, sent: Step) -> Step:
        """The paid request that follows: our client sends the same twice."""
        for step in self._scenario.steps[index + 1 :]:
            found = step.get("send", {})
            if found.get("path") == sent["path"] and "Livepeer-Payment" in found["headers"]:
                return dict(found)
        return sent

    def _unit(self, index: int) -> str:
        for step in self._scenario.steps[index + 1 :]:
            if step.get("send", {}).get("path") == GENERATE:
                kind = step["send"]["body"]["json"].get("type")
                return {"lv2v": "720p-pixel-seconds", "fixed": "fixed"}.get(kind, "seconds")
        return "seconds"

    def _named(self, index: int = 0) -> str:
        for step in self._scenario.steps[index:]:
            if step.get("send", {}).get("path") == GENERATE:
                return str(step["send"]["body"]["json"].get("app", ""))
        return "app"

    def _billed(self, unit: str, price: Fraction = Fraction(10**15)) -> Bill:
        return self._wallet.bill_for(
            self._http, self._base, self._named(), unit, price, self._wallet.budget
        )

    async def _identified(self) -> Any:
        self._http = await self._pools.current()
        return await self._signer.identity(self._http, Deadline(LIMIT))

    async def _paid(self, sent: Step) -> Any:
        told = self._values.expand(sent["body"]["json"])
        self._http = await self._pools.current()
        most = told.get("maxPrice")
        order = Order(
            told["orchestrator"],
            told.get("type", "units"),
            told.get("app", ""),
            told.get("ManifestID", ""),
            told.get("inPixels", 0),
            None if most is None else Fraction(str(most["price"])),
        )
        return await self._signer.pay(self._http, order, told.get("state"), Deadline(LIMIT))

    async def _listed(self) -> Any:
        return await RunnerLists(self._trust).get(
            await self._pools.current(), self._base, Deadline(LIMIT)
        )

    async def _reserve(self, path: str, unit: str) -> Any:
        self._http = await self._pools.current()
        bill = self._billed(unit)
        to = Candidate(self._base, LiveRunners(self._trust, self._wallet))
        entry = RunnerEntry("app", "persistent", path, 1)
        place = await self._reservations.reserve(
            self._http, entry, "app", to, Deadline(LIMIT), bill
        )
        self._bill, self._place = bill, place
        return place

    async def _stop(self, path: str, manifest: str) -> Any:
        place = ReservedPlace(f"{path}/{manifest}/app", f"{path}/{manifest}")
        self._bill = None
        await self._reservations.release(await self._pools.current(), self._base, place)

    async def _app(self, sent: Step, path: str, target: str, *, in_session: bool = False) -> Any:
        self._http = await self._pools.current()
        place = ReservedPlace(path, path.removesuffix("/app"))
        mode = "persistent" if in_session else "single-shot"
        held = place if in_session else None
        opened = OpenApp(self._base, "app", mode, path, path, held)
        bill = None if in_session else self._billed(self._unit(0))
        own = ("Livepeer-", "Content-Length")
        headers = {
            name: text
            for name, text in self._values.headers(sent["headers"])
            if not name.startswith(own)
        }
        body = self._values.body(sent.get("body")) if "body" in sent else None
        request = await AppRequest.make(sent["method"], target, data=body, headers=headers)
        if bill is not None:
            self._bill = bill
        try:
            deadline = Deadline(LIMIT)
            response, begun = await self._apps.send(opened, request, deadline, bill)
            if begun is None:
                begun = await read(response, deadline, limit=1 << 20)
            return response.status, begun
        finally:
            if bill is not None:
                await bill.end()
                self._bill = None

    def _token(self, sent: Step) -> tuple[str, Coroutine[Any, Any, Any]] | str:
        capability = self._values.text(sent["headers"].get("Livepeer-Capability", ""))
        who = self._values.expand(sent["headers"].get("Livepeer-Eth-Address", {}).get("b64json"))
        if not isinstance(who, dict) or not who.get("sig"):
            return "a token request of another form"
        return "offer", self._offered(self._byoc, capability)

    def _asking(self, sent: Step) -> tuple[str, Coroutine[Any, Any, Any]] | str:
        if sent["path"] != "/net.Orchestrator/GetOrchestrator":
            return "another method of gRPC"
        fields = sent["message"].get("fields") if isinstance(sent["message"], dict) else None
        try:
            asked = fields["capabilities"]["constraints"]["PerCapability"][0]  # type: ignore[index]
            model = asked["value"]["models"][0]["key"]
        except (KeyError, TypeError, IndexError):
            return "an offer of no model"
        if fields is not None and fields.get("address", "").startswith("0x000"):
            self._wallet.signer = Unsigned()
        return "lv2v", self._offered(self._lv2v, f"live-video-to-video/{model}")

    async def _offered(self, road: Any, capability: str) -> Any:
        self._http = await self._pools.current()
        self._offer = None
        self._offer = await road.offer(self._http, self._base, capability, Deadline(LIMIT))
        return self._offer

    def _job(self, sent: Step, path: str) -> tuple[str, Coroutine[Any, Any, Any]] | str:
        header = sent["headers"].get("Livepeer")
        if path != START and (not isinstance(header, dict) or "b64json" not in header):
            return "a job without its header"
        if sent["method"] != "POST":
            return "another method"
        body = self._values.body(sent["body"]) if "body" in sent else b""
        if path == START:
            try:
                model = json.loads(body)["model_id"]
            except (ValueError, KeyError, TypeError):
                return "a start of no model"
            if self._offer is None or not isinstance(model, str):
                return "a start of no model"
            segment = sent["headers"].get("Livepeer-Segment")
            if segment is None or segment == "x":
                return "a start without its segment"
            task = Task(f"live-video-to-video/{model}", body, path=START)
            return "start", self._started(task, self._lv2v, 60)
        job = self._values.expand(header["b64json"])
        road: Any = self._byoc
        offer = self._offer
        if sent.get("to") == "gateway":
            road, offer = ByGateway(self._trust), None
        elif offer is None:
            return "a job without an offer"
        if not job.get("sig") and road is self._byoc:
            return "a job that is not signed"
        task = Task(
            job["capability"],
            body,
            path=path,
            job_id=job.get("id"),
            request=job["request"],
            parameters=job.get("parameters", "{}"),
        )
        if path.startswith("/process/request"):
            task = replace(task, path=None, route=path.removeprefix("/process/request/"))
        return "job", self._started(task, road, job["timeout_seconds"], offer)

    async def _started(self, task: Task, road: Any, seconds: float, offer: Any = None) -> Any:
        self._http = await self._pools.current()
        offer = self._offer if road is self._lv2v else offer
        deadline = Deadline(seconds)
        to = Candidate(self._base, road, offer)
        running = await road.send(self._http, task, to, deadline)
        # An event stream goes on for as long as its transcript.
        kind = running.response.headers.get("Content-Type", "")
        if kind.startswith("text/event-stream"):
            self._streams.append(running.response)
            return running.response.status, b""
        answer = await read(running.response, deadline, limit=1 << 20)
        if road is self._lv2v:
            host = self._address
            wanted = Wanted(task.capability)
            live = lv2v.started(wanted, "stream", running, answer, {host, host.split(":")[0]})
            self._bill = live.bill
        return running.response.status, answer

    # -- the comparison ---------------------------------------------------------------------------

    def _compare(self, sent: Step, exchange: Exchange) -> None:
        request, headers = exchange.request, sent.get("headers", {})
        for name in ("Livepeer-Payment", "Livepeer-Segment", "Livepeer-Capability"):
            if name not in headers:
                if request.header(name.lower()) and name != "Livepeer-Payment":
                    raise Mismatch(f"{name} was sent, and not in the recording")
                continue
            self._same_header(name, headers[name], request.header(name.lower()) or "")
        payer = request.header("livepeer-payer-address")
        if payer is not None and payer != headers.get("Livepeer-Payer-Address"):
            raise Mismatch(f"the payer is {payer!r}")
        if "Livepeer-Eth-Address" in headers:
            self._same_json(headers["Livepeer-Eth-Address"], request, "livepeer-eth-address", ())
        if "Livepeer" in headers and "b64json" in headers["Livepeer"]:
            self._same_json(headers["Livepeer"], request, "livepeer", ("timeout_seconds",))
        if "message" in sent:
            recorded = base64.b64decode(sent["message"]["recorded"])
            # A client that asks whether there is room leaves `ignoreCapacityCheck` out.
            if bytes(request.body) not in (recorded, recorded.removesuffix(b"\x20\x01")):
                raise Mismatch(f"the offer was asked for by {bytes(request.body)!r}")
        body = sent.get("body")
        if isinstance(body, dict) and "json" in body:
            wanted, found = self._values.expand(body["json"]), json.loads(bytes(request.body))
            if sent["path"] == GENERATE:
                found = self._ordered(wanted, found)
            if wanted != found:
                raise Mismatch(f"{sent['path']}: expected {wanted}, got {found}")
        elif body is not None and bytes(request.body) != self._values.body(body):
            raise Mismatch(f"{sent['path']}: its body is {bytes(request.body)!r}")

    def _ordered(self, wanted: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
        """An order says the app also where the recorded caller left it out; numbers of prices are
        texts of ours."""
        if "app" not in wanted:
            found.pop("app", None)
        if "inPixels" in wanted and "byoc" in found.get("ManifestID", ""):
            # What a token is made into: its session is any.
            found.pop("ManifestID")
            for each in (wanted, found):
                info = ORCHESTRATOR_INFO.decode_text(each["orchestrator"])
                each["orchestrator"] = {
                    "ticket_params": info["ticket_params"],
                    "price": info["price_info"],
                }
        most = wanted.get("maxPrice")
        if most is not None and Fraction(str(most["price"])) == Fraction(
            found["maxPrice"]["price"]
        ):
            found["maxPrice"]["price"] = most["price"]
        return found

    def _same_header(self, name: str, value: Any, found: str) -> None:
        wanted = self._values.header(value)
        if wanted == found:
            return
        if isinstance(self._signer, LocalKey) and name == "Livepeer-Payment":
            # Ours is for another time; as far as both go they are the same, signatures included.
            one, other = PAYMENT.decode_text(wanted), PAYMENT.decode_text(found)
            tickets = one.pop("ticket_sender_params")
            ours = other.pop("ticket_sender_params")
            both = min(len(tickets), len(ours))
            if one == other and both and ours[:both] == tickets[:both]:
                return
        raise Mismatch(f"{name}: expected {wanted[:200]}, got {found[:200]}")

    def _same_json(self, value: Any, request: Any, name: str, least: tuple[str, ...]) -> None:
        wanted = self._values.expand(value["b64json"])
        found = json.loads(base64.b64decode(request.header(name) or ""))
        for key in least:
            if found.get(key, 0) > wanted.get(key, 0):
                raise Mismatch(f"{name}.{key} is {found.get(key)}")
            wanted.pop(key, None)
            found.pop(key, None)
        if not str(wanted.get("sig", "0x")).startswith("0x"):  # one that changes with its stream
            text = keccak(text=found["request"] + found["parameters"])
            signed = Account.recover_message(encode_defunct(primitive=text), signature=found["sig"])
            wanted["sig"] = found["sig"] if signed == wanted["sender"] else "by another"
        for key in set(found) - set(wanted):
            found.pop(key) if key == "id" else None
        if wanted != found:
            raise Mismatch(f"{name}: expected {wanted}, got {found}")

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
            elif self._bill is not None and self._bill._task is not None:
                self._paying = True
                # Of the three things one alone has an event.
                while not (  # noqa: ASYNC110
                    self._moved.is_set()
                    or self._bill._task.done()
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
        spent = self._wallet.budget.spent
        if isinstance(self._signer, RemoteSigner) and spent > self._signed:
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
