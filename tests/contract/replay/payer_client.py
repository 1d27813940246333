"""The part of our client that a recorded payer's request comes from."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from fractions import Fraction
from typing import Any

from livepeer.client.apps.calls import AppCalls
from livepeer.client.apps.request import AppRequest
from livepeer.client.config import Config
from livepeer.client.http.deadline import Deadline
from livepeer.client.http.pools import Pools
from livepeer.client.http.requests import Http, read
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
from livepeer.client.payments.bill import Bill
from livepeer.client.payments.local_key import LocalKey
from livepeer.client.payments.pace import Pace
from livepeer.client.payments.remote_signer import RemoteSigner
from livepeer.client.payments.signer import Order, Unsigned
from livepeer.client.payments.wallet import Wallet
from livepeer.client.protocol.discovery import OpenApp, ReservedPlace, RunnerEntry
from livepeer.client.types import Offer

from .payer_values import Recorded
from .payer_ways import GENERATE, REFRESH, SESSION, SIGN
from .transcript import Scenario, Step, Transcript

LIMIT = 20.0
LISTED = Fraction(10**15)
"""Wei: what is asked is never more."""
SINGLE = re.compile(r"(/apps/[^/]+/app)/(.*)")


class PayingClient:
    """Our client, where a recorded one was: its parts, begun one by one.

    `sleep` is the pause of its payments.
    """

    def __init__(
        self,
        transcript: Transcript,
        scenario: Scenario,
        values: Recorded,
        address: str,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._scenario, self._values, self._address = scenario, values, address
        self._base = f"http://{address}"
        self._pools = Pools()
        key = transcript.raw["keys"].get("caller", {}).get("private_key")
        # By the key that the recorded caller had, or by its signer.
        steps = json.dumps(scenario.steps)
        by_key = key if "/process/" in steps and GENERATE not in steps else None
        config = Config.resolve(orch_url=self._base, max_retries=0, environ={})
        trust = self._trust = TlsPolicy("verify")
        signer = LocalKey(by_key) if by_key else RemoteSigner(self._base, {}, trust)
        self.signer = signer
        self.wallet = Wallet(config, trust, signer)
        self.wallet._pace = Pace(interval=0.0, again=0.0, sleep=sleep)
        self._byoc = Byoc(trust, self.wallet)
        self._lv2v = LiveVideoToVideo(trust, self.wallet)
        dispatcher = Dispatcher(config, trust, self.wallet)
        self._apps = AppCalls(dispatcher, self._pools, trust, self.wallet.budget)
        self._reservations = Reservations(trust)
        self._offer: Offer | None = None
        self._streams: list[Any] = []
        self.bill: Bill | None = None
        """What pays beside what is under way."""

    @property
    def by_key(self) -> bool:
        return isinstance(self.signer, LocalKey)

    async def aclose(self) -> None:
        for response in self._streams:
            response.abort()
        await self._pools.aclose()

    def begin(
        self, index: int, step: Step, sent: Step, path: str
    ) -> tuple[str, Coroutine[Any, Any, Any]] | str:
        """The kind of a part of our client, and the part; or why it is not ours to begin."""
        method, headers = sent.get("method", "POST"), sent.get("headers", {})
        if "grpc" in step:
            return self._asking(sent)
        if path == SIGN:
            return "identity", self._identified()
        if path == GENERATE:
            for later, each in enumerate(self._scenario.steps[index + 1 :], index + 1):
                found = each.get("send", {})
                if found.get("path", "").startswith((START, "/process/request", "/ai/stream")):
                    return self.begin(later, each, found, self._values.text(found["path"]))
            if self.bill is not None:
                return "a payment that is not due"
            return "pay", self._paid(sent)
        if path == "/discovery" and method == "GET":
            return "list", self._listed()
        if path == "/process/token" and method == "GET":
            return self._token(sent)
        if path.startswith(("/process/request", "/ai/stream/", START)):
            return self._job(sent, path)
        paid = "Livepeer-Payment" in headers
        if match := SINGLE.fullmatch(path):
            if paid or "Livepeer-Payer-Address" not in headers:
                return "a paid request without being asked first"
            return "app", self._app(self._after(index, sent), match[1], match[2])
        if path == REFRESH:
            return "a refresh that no signer asked for"
        match = SESSION.fullmatch(path)
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

    def _billed(self, http: Http, unit: str) -> Bill:
        return self.wallet.bill_for(
            http, self._base, self._named(), unit, LISTED, self.wallet.budget
        )

    async def _identified(self) -> Any:
        http = await self._pools.current()
        return await self.signer.identity(http, Deadline(LIMIT))

    async def _paid(self, sent: Step) -> Any:
        told = self._values.expand(sent["body"]["json"])
        http = await self._pools.current()
        most = told.get("maxPrice")
        order = Order(
            told["orchestrator"],
            told.get("type", "units"),
            told.get("app", ""),
            told.get("ManifestID", ""),
            told.get("inPixels", 0),
            None if most is None else Fraction(str(most["price"])),
        )
        return await self.signer.pay(http, order, told.get("state"), Deadline(LIMIT))

    async def _listed(self) -> Any:
        return await RunnerLists(self._trust).get(
            await self._pools.current(), self._base, Deadline(LIMIT)
        )

    async def _reserve(self, path: str, unit: str) -> Any:
        http = await self._pools.current()
        bill = self._billed(http, unit)
        to = Candidate(self._base, LiveRunners(self._trust, self.wallet))
        entry = RunnerEntry("app", "persistent", path, 1)
        place = await self._reservations.reserve(http, entry, "app", to, Deadline(LIMIT), bill)
        self.bill = bill
        return place

    async def _stop(self, path: str, manifest: str) -> Any:
        place = ReservedPlace(f"{path}/{manifest}/app", f"{path}/{manifest}")
        self.bill = None
        await self._reservations.release(await self._pools.current(), self._base, place)

    async def _app(self, sent: Step, path: str, target: str, *, in_session: bool = False) -> Any:
        http = await self._pools.current()
        place = ReservedPlace(path, path.removesuffix("/app"))
        mode = "persistent" if in_session else "single-shot"
        held = place if in_session else None
        opened = OpenApp(self._base, "app", mode, path, path, held)
        bill = None if in_session else self._billed(http, self._unit(0))
        own = ("Livepeer-", "Content-Length")
        headers = {
            name: text
            for name, text in self._values.headers(sent["headers"])
            if not name.startswith(own)
        }
        body = self._values.body(sent.get("body")) if "body" in sent else None
        request = await AppRequest.make(sent["method"], target, data=body, headers=headers)
        if bill is not None:
            self.bill = bill
        try:
            deadline = Deadline(LIMIT)
            response, begun = await self._apps.send(opened, request, deadline, bill)
            if begun is None:
                begun = await read(response, deadline, limit=1 << 20)
            return response.status, begun
        finally:
            if bill is not None:
                await bill.end()
                self.bill = None

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
            self.wallet.signer = Unsigned()
        return "lv2v", self._offered(self._lv2v, f"live-video-to-video/{model}")

    async def _offered(self, road: Any, capability: str) -> Any:
        http = await self._pools.current()
        self._offer = None
        self._offer = await road.offer(http, self._base, capability, Deadline(LIMIT))
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
        http = await self._pools.current()
        offer = self._offer if road is self._lv2v else offer
        deadline = Deadline(seconds)
        to = Candidate(self._base, road, offer)
        running = await road.send(http, task, to, deadline)
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
            self.bill = live.bill
        return running.response.status, answer
