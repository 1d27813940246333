"""A capability and an app, examined as a caller of their orchestrator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from livepeer.runner.author.pipeline import PipelineBase
from livepeer.runner.devnet import LocalChain
from livepeer.runner.devnet.orchestrator import LocalOrchestrator
from livepeer.runner.devnet.payments.tickets import TICKET_EV
from livepeer.runner.doctor.container import Patience
from livepeer.runner.doctor.diagnosis import UNSEEN, Diagnosis
from livepeer.runner.doctor.examination import CannotExamine, Examination

from . import faults
from .instances import Ending, served

CAPABILITY, APP = "judged", "me/judged"
PATIENCE = Patience(event=6.0, output=10.0, gone=3.0)


@asynccontextmanager
async def offered(
    cls: type[PipelineBase], fault: faults.Fault = faults.none, *, tls: bool = True
) -> AsyncIterator[LocalOrchestrator]:
    async with LocalOrchestrator(tls=tls) as orchestrator:
        environ = {
            "LIVEPEER_ORCH_URL": orchestrator.url,
            "LIVEPEER_ORCH_SECRET": orchestrator.secret,
            "LIVEPEER_REGISTRATION": "both",
            "LIVEPEER_CAPABILITY_NAME": CAPABILITY,
            "LIVEPEER_APP": APP,
            "LIVEPEER_CAPACITY": "2",
        }
        async with asyncio.timeout(60), served(cls, fault, Ending(), environ):
            while not _is_offered(orchestrator):  # noqa: ASYNC110 — told by no event
                await asyncio.sleep(0.02)
            yield orchestrator


def _is_offered(orchestrator: LocalOrchestrator) -> bool:
    known = orchestrator.capabilities.get(CAPABILITY) is not None
    return known and any(one.is_listed for one in orchestrator.runners)


async def examined(orchestrator: LocalOrchestrator, name: str, *only: str) -> Diagnosis:
    examination = Examination(only=only, quick=True, patience=PATIENCE)
    return await examination.through(orchestrator.url, name)


@pytest.mark.parametrize("name", [CAPABILITY, APP])
async def test_jobs_are_judged_by_their_road_and_what_needs_an_address_says_so(name: str) -> None:
    async with offered(faults.Reverse) as orchestrator:
        diagnosis = await examined(orchestrator, name)
        outcomes = {one.check.id: one.outcome for one in diagnosis.examined}
        reasons = {one.reason for one in diagnosis.examined if one.check.group == "http"}
        assert diagnosis.problems == []
        passed = ("batch.answers", "batch.content-type", "schema.accepts", "schema.refuses")
        assert {outcomes[id] for id in passed} == {"passed"}
        assert reasons <= {UNSEEN["address"], UNSEEN["start"]}
        assert orchestrator.capabilities.get(CAPABILITY) is not None
        assert not any(one.sessions for one in orchestrator.runners)


@pytest.mark.parametrize("name", [CAPABILITY, APP])
async def test_a_fault_of_a_job_is_seen_through_an_orchestrator(name: str) -> None:
    async with offered(faults.Double, faults.where(b'{"x"', 500, b"no")) as orchestrator:
        diagnosis = await examined(orchestrator, name, "batch.answers", "schema.refuses")
    assert [one.outcome for one in diagnosis.examined] == ["problem", "problem"]


@pytest.mark.parametrize("name", [CAPABILITY, APP])
async def test_streams_are_judged_and_given_back(name: str) -> None:
    wanted = ("live.starts", "live.events", "live.stops", "live.outputs")
    async with offered(faults.Through) as orchestrator:
        diagnosis = await examined(orchestrator, name, *wanted)
        assert {one.check.id: one.outcome for one in diagnosis.examined} == dict.fromkeys(
            wanted, "passed"
        )
        assert not any(one.sessions for one in orchestrator.runners)


async def test_what_is_not_offered_is_not_examined() -> None:
    async with offered(faults.Double, tls=False) as orchestrator:
        with pytest.raises(CannotExamine, match="neither an app nor a capability"):
            await examined(orchestrator, "no-such")


@pytest.mark.parametrize("price", ["0.5", 1, "much"])
async def test_what_costs_is_not_examined(price: object) -> None:
    """What an orchestrator on a chain lists; offchain ones show no price."""

    async def discovery(request: web.Request) -> web.Response:
        entry = {"url": "/apps/x/app", "app": APP, "mode": "single-shot"}
        runner = {**entry, "price_info": {"price": price, "unit": "hour"}}
        return web.json_response([{"address": "here", "runners": [runner]}])

    app = web.Application()
    app.router.add_get("/discovery", discovery)
    async with TestServer(app) as server:
        with pytest.raises(CannotExamine, match="has a price"):
            await Examination().through(str(server.make_url("")).rstrip("/"), APP)


@pytest.mark.parametrize(
    ("ticket_ev", "tls", "told", "untold"),
    [
        (10**8, False, "a first payment is 240 tickets, and 100 is the most; raise", "certificate"),
        (10**13, False, "no signer pays it", "certificate"),
        (TICKET_EV, False, "pays nothing", "Seen from outside"),
        (TICKET_EV, True, "the certificate of its discovery does not verify", "-ticketEV"),
    ],
    ids=["ticket too small", "ticket too large", "payable", "certificate"],
)
@pytest.mark.parametrize("mode", ["persistent", "single-shot"])
async def test_what_makes_it_unpayable_is_told(
    mode: str, ticket_ev: int, tls: bool, told: str, untold: str
) -> None:
    """2.4e9 wei a second, of which ten are paid first."""
    chain = LocalChain()
    async with LocalOrchestrator(chain=chain, ticket_ev=ticket_ev, tls=tls) as orchestrator:
        says = {
            "runner_id": "one",
            "runner_url": "http://127.0.0.1:9",
            "app": APP,
            "mode": mode,
            "capacity": 1,
            "price_info": {"price": 0.01728, "currency": "usd", "unit": "hour"},
        }
        url, secret = f"{orchestrator.url}/runners/heartbeat", orchestrator.secret
        async with (
            aiohttp.ClientSession() as http,
            http.post(url, json=says, headers={"Authorization": secret}, ssl=False) as answer,
        ):
            assert answer.status == 200
        with pytest.raises(CannotExamine, match=told) as caught:
            await examined(orchestrator, APP)
        assert untold not in str(caught.value)
        assert not any(one.sessions for one in orchestrator.runners)


async def test_nobody_is_attacked_through_an_orchestrator() -> None:
    with pytest.raises(CannotExamine, match="loopback"):
        await Examination(attack=True).through("https://127.0.0.1:1", "x")
    with pytest.raises(CannotExamine, match=r"127\.0\.0\.1:1"):
        await Examination().through("https://127.0.0.1:1", "x")
