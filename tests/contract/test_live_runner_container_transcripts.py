"""Our runners against what an orchestrator was recorded to send to live runners (replayer 2).

Two of them: a service of any kind that is attached (`livepeer attach`), which has to get each
request byte for byte, and a served pipeline, which has to take each request for what it is. What
runners are answered to their heartbeats is replayed beside the registration itself
(`packages/livepeer-runner/tests/attach/test_live_runner_parts.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
from pydantic import BaseModel, ConfigDict

from livepeer.runner import LivePipeline, Pipeline, VideoFrame, create_app
from livepeer.runner.devnet import LocalOrchestrator
from livepeer.runner.live.work import LiveWork
from livepeer.runner.local.http import listening
from livepeer.runner.running.service import Service
from livepeer.runner.settings import OrchestratorAddress, RegistrationSettings, Secret, Settings

from .replay import attached
from .replay.container import LIMIT, Anything
from .replay.http1 import Connection, Incoming, head
from .replay.transcript import Scenario, Step, load
from .replay.values import Values

#: What the recorded runners did themselves: replayed beside the registration.
HEARTBEATS = {"heartbeat", "unregister"}

_PROXY = "Nobody asks for `proxy`: an app's URL need not hide that it has sessions."

#: Every scenario that an attached service does not reproduce, and why. One that passes must leave.
DIFFERENCES = {
    "single_shot_proxy_call": _PROXY,
    "persistent_proxy": _PROXY,
}

TRANSCRIPT = load("live-runner")
SCENARIOS = [
    one
    for one in TRANSCRIPT.scenarios
    if one.group not in HEARTBEATS and one.steps[0]["send"]["path"] == attached.HEARTBEAT
]
SAME = [one.name for one in SCENARIOS if one.name not in DIFFERENCES]


Outcome = dict[str, Exception | None]


async def play(scenarios: list[Scenario]) -> Outcome:
    room = asyncio.Semaphore(8)

    async def attempt(scenario: Scenario) -> None:
        async with room, asyncio.timeout(3 * LIMIT):
            await attached.replay(TRANSCRIPT, scenario)

    results = await asyncio.gather(*map(attempt, scenarios), return_exceptions=True)
    return {
        one.name: result if isinstance(result, Exception) else None
        for one, result in zip(scenarios, results, strict=True)
    }


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    return asyncio.run(play([one for one in SCENARIOS if not one.slow]))


@pytest.mark.parametrize("name", [one for one in SAME if not TRANSCRIPT[one].slow])
def test_an_attached_service_gets_what_was_recorded(outcome: Outcome, name: str) -> None:
    assert outcome[name] is None, str(outcome[name])


@pytest.mark.parametrize("name", DIFFERENCES)
def test_every_listed_difference_is_still_one(outcome: Outcome, name: str) -> None:
    assert outcome[name] is not None


@pytest.mark.slow
@pytest.mark.parametrize("name", [one for one in SAME if TRANSCRIPT[one].slow])
async def test_so_does_it_where_that_takes_time(name: str) -> None:
    await attached.replay(TRANSCRIPT, TRANSCRIPT[name])


def test_the_counts_are_what_the_specification_says() -> None:
    assert (len(SAME), len(DIFFERENCES), len(REQUESTS)) == (35, 2, 39)


# --- a served pipeline ---------------------------------------------------------------------------

#: What reached the recorded runners, one by one.
REQUESTS = [
    pytest.param(step["receives"], id=f"{scenario.name}-{number}")
    for scenario in TRANSCRIPT.scenarios
    for number, step in enumerate(scenario.steps)
    if step.get("container") and step.get("receives")
]


class Answering(Pipeline):
    capacity = 4
    left = 0

    async def predict(self, request: Anything) -> dict[str, object]:
        if getattr(request, "wait", False):
            try:
                await asyncio.Event().wait()
            finally:
                type(self).left += 1
        return {"asked": request.model_dump()}


class Passing(LivePipeline):
    capacity = 64

    class Params(BaseModel):
        model_config = ConfigDict(extra="allow")

    params: Params

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        return frame


class Runner:
    """A served pipeline, registered at a local orchestrator."""

    def __init__(self, orchestrator: LocalOrchestrator, service: Service, port: int) -> None:
        self.orchestrator, self.service, self.port = orchestrator, service, port
        assert service.registration is not None
        (self.caller,) = service.registration.callers

    async def reserve(self) -> Values:
        """A session, as the variables of a recorded request."""
        (runner,) = self.orchestrator.runners
        session = self.orchestrator.runners.reserve(runner.route)
        orch = self.orchestrator.url.removeprefix("https://")
        known = {"orch": orch, "session_id": session.id, "session_token": session.token}
        return Values({**known, "container": f"127.0.0.1:{self.port}"})

    def release(self, values: Values) -> None:
        (runner,) = self.orchestrator.runners
        self.orchestrator.runners.release(runner.route, values.known["session_id"])

    def as_recorded(
        self, recorded: Step, values: Values, *, path: str, body: bytes, method: str
    ) -> bytes:
        """The request with the headers of the recording: route, session, token and the rest."""
        (runner,) = self.orchestrator.runners
        route = recorded["headers"]["Livepeer-Runner-Route"]
        headers = json.loads(json.dumps(recorded["headers"]).replace(route, runner.route))
        headers.pop("Transfer-Encoding", None)
        headers.pop("Content-Length", None)
        if body:
            headers["Content-Length"] = str(len(body))
        listed = [("Host", f"127.0.0.1:{self.port}"), *values.headers(headers)]
        return head(f"{method} {path} HTTP/1.1", listed) + body

    async def ask(self, data: bytes) -> Incoming:
        connection, answer = await Connection.open("127.0.0.1", self.port, None), Incoming()
        try:
            await connection.write(data)
            async with asyncio.timeout(LIMIT):
                await connection.read(answer, request=False)
        finally:
            connection.abort()
        assert answer.ended and not answer.broken, answer.describe()
        return answer


@contextlib.asynccontextmanager
async def runner(cls: type[Pipeline] | type[LivePipeline]) -> AsyncIterator[Runner]:
    async with LocalOrchestrator(heartbeat_interval=0.5) as orchestrator:
        address = OrchestratorAddress(orchestrator.url, Secret(orchestrator.secret))
        wanted = RegistrationSettings((address,), kind="live-runner", app="org/app")
        app = create_app(cls, Settings(registration=wanted, port=1))
        service: Service = app.state.service
        async with listening(app) as url:
            async with asyncio.timeout(LIMIT):
                await service.lifecycle.wait_ready()
                assert service.registration is not None
                await service.registration.settled()
            yield Runner(orchestrator, service, int(url.rpartition(":")[2]))


async def test_each_recorded_request_gets_one_whole_answer_and_no_redirect() -> None:
    """With the secret in the path; without it nothing is let in but what all the world may see."""
    async with runner(Answering) as served:
        secret = f"/r/{served.caller.token.reveal()}"
        for each in REQUESTS:
            (recorded,) = each.values
            values = await served.reserve()
            body = values.body(recorded.get("body"))
            method, path = recorded["method"], recorded["path"]
            for prefix in (secret, "", "/r/guessed"):
                sent = served.as_recorded(
                    recorded, values, path=prefix + path, body=body, method=method
                )
                answer = await served.ask(sent)
                known = method == "GET" and path == "/"
                allowed = {200} if known and prefix != "/r/guessed" else {404, 405}
                assert answer.status in allowed, (each.id, prefix, answer.describe())
                if answer.status != 200 and method != "HEAD":
                    assert json.loads(answer.body)["error"]["message"]
                    assert served.caller.token.reveal().encode() not in answer.body
            if "Upgrade" in recorded["headers"]:
                served.release(values)  # a served pipeline speaks no WebSocket
                continue
            job = served.as_recorded(
                recorded, values, path=f"{secret}/predict", body=b'{"a":1}', method="POST"
            )
            answer = await served.ask(job)
            assert json.loads(answer.body) == {"asked": {"a": 1}}, each.id
            open_door = job.replace(secret.encode(), b"", 1)
            assert (await served.ask(open_door)).status == 401
            served.release(values)
        assert served.caller.in_flight == 0 and served.caller.started == len(REQUESTS) - 1


async def test_a_caller_who_leaves_ends_the_work() -> None:
    """`single_shot_leaves`: the orchestrator closes its connection to the runner."""
    (recorded,) = next(each for each in REQUESTS if "single_shot_leaves" in str(each.id)).values
    async with runner(Answering) as served:
        values = await served.reserve()
        path = f"/r/{served.caller.token.reveal()}/predict"
        data = served.as_recorded(recorded, values, path=path, body=b'{"wait":true}', method="POST")
        connection = await Connection.open("127.0.0.1", served.port, None)
        await connection.write(data)
        async with asyncio.timeout(LIMIT):
            while served.caller.in_flight == 0:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            before = Answering.left
            connection.abort()
            await served.service.lifecycle.wait_empty()
        assert Answering.left == before + 1


async def test_each_recorded_request_is_known_for_the_session_that_it_is_part_of() -> None:
    """Its stream has the session's id, and its channels are opened with the session's token."""
    async with runner(Passing) as served, aiohttp.ClientSession() as http:
        assert isinstance(served.service.work, LiveWork)
        served.service.work.linger = 0
        for each in REQUESTS:
            (recorded,) = each.values
            if "Upgrade" in recorded["headers"]:
                continue
            values = await served.reserve()
            path = f"/r/{served.caller.token.reveal()}/stream/start"
            body = b'{"channels": ["events"]}'
            answer = await served.ask(
                served.as_recorded(recorded, values, path=path, body=body, method="POST")
            )
            assert answer.status == 200, (each.id, answer.describe())
            told = json.loads(answer.body)
            assert told["stream_id"] == values.known["session_id"]
            assert list(told["channels"]) == ["events"]
            async with http.get(f"{told['channels']['events']}/0", ssl=False) as event:
                assert event.status == 200
            served.release(values)
        async with asyncio.timeout(LIMIT):
            await served.service.lifecycle.wait_empty()
