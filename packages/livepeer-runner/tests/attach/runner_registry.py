"""A live-runner registry on real HTTP that answers heartbeats as the recorded orchestrator did."""

from __future__ import annotations

import asyncio
import json
import secrets
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from aiohttp import web

FIXTURE = Path(__file__).parents[4] / "specs" / "fixtures" / "byoc" / "live-runner.json"
SCENARIOS: dict[str, dict[str, Any]] = {
    scenario["name"]: scenario for scenario in json.loads(FIXTURE.read_text())["scenarios"]
}


def exchanges(name: str, path: str = "/runners/") -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """What the recorded runner asked of the registry, and what it was answered."""
    found, sent = [], None
    for step in SCENARIOS[name]["steps"]:
        if "send" in step:
            sent = step["send"] if step["send"]["path"].startswith(path) else None
        elif "caller" in step and step.get("receives") and sent is not None:
            found.append((sent, step["receives"]))
            sent = None
    return found


@dataclass
class Asked:
    """A request to the registry. `at`: when, on the clock of the loop."""

    path: str
    authorization: str | None
    body: dict[str, Any]
    at: float


@dataclass
class Runner:
    secret: str
    record: dict[str, Any]
    heard: float
    sessions: dict[str, str] = field(default_factory=dict)


class RunnerRegistry:
    """Runners by id, each with its secret; sessions with their tokens.

    `script`: answers (status, text) to the next heartbeats, before any state is looked at; `None`
    in it closes the connection without an answer.
    """

    def __init__(
        self,
        *,
        secret: str = "orch-secret",
        interval: str = "100ms",
        ttl: str = "20s",
        tls: ssl.SSLContext | None = None,
        port: int = 0,
    ) -> None:
        self.secret = secret
        self.interval, self.ttl = interval, ttl
        self.runners: dict[str, Runner] = {}
        self.asked: list[Asked] = []
        self.script: list[tuple[int, str] | None] = []
        self.lose_next_answer = False
        self.answer_when: asyncio.Event | None = None
        """Heartbeats are taken, and answered once it is set."""
        self._tls, self._port = tls, port
        self._changed = asyncio.Condition()

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/runners/heartbeat", self._heartbeat)
        app.router.add_post("/runners/{id}/unregister", self._unregister)
        app.router.add_post("/runner/{id}/session/{session}/stop", self._stop)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, ssl_context=self._tls)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self.url = f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def heartbeats(self, authorization: str | None = None) -> list[Asked]:
        return [
            each
            for each in self.asked
            if each.path.endswith("/heartbeat")
            and (authorization is None or each.authorization == authorization)
        ]

    @property
    def one(self) -> Runner:
        (found,) = self.runners.values()
        return found

    def reserve(self) -> str:
        session = f"session_{secrets.token_hex(4)}"
        self.one.sessions[session] = secrets.token_hex(8)
        return session

    def headers(self, session: str) -> dict[str, str]:
        """What the orchestrator adds to a request of a session."""
        (runner_id,) = self.runners
        return {
            "Livepeer-Runner-Route": runner_id,
            "Livepeer-Session-Id": session,
            "Livepeer-Session-Token": self.one.sessions[session],
            "Livepeer-Session-Control": f"{self.url}/runner/{runner_id}/session/{session}",
        }

    async def _note(self, request: web.Request) -> Asked:
        text = await request.text()
        asked = Asked(
            request.path,
            request.headers.get("Authorization"),
            json.loads(text) if text else {},
            asyncio.get_running_loop().time(),
        )
        self.asked.append(asked)
        return asked

    async def _heartbeat(self, request: web.Request) -> web.StreamResponse:
        asked = await self._note(request)
        if self.script:
            step = self.script.pop(0)
            if step is None:
                assert request.transport is not None
                request.transport.close()
                return web.Response()
            return web.Response(status=step[0], text=step[1])
        runner_id = asked.body["runner_id"]
        runner, first = self.runners.get(runner_id), False
        if runner is None:
            if asked.authorization != self.secret:
                return web.Response(status=401, text="invalid registration authorization\n")
            runner = self.runners[runner_id] = Runner(secrets.token_hex(16), asked.body, asked.at)
            first = True
        elif asked.authorization != runner.secret:
            return web.Response(status=401, text="invalid heartbeat authorization\n")
        runner.record, runner.heard = asked.body, asked.at
        if self.lose_next_answer:
            self.lose_next_answer = False
            assert request.transport is not None
            request.transport.close()
        answer: dict[str, Any] = {
            "runner_id": runner_id,
            "orchestrator": self.url,
            "heartbeat_interval": self.interval,
            "heartbeat_ttl": self.ttl,
            "session_ids": list(runner.sessions),
        }
        if first:
            answer["heartbeat_secret"] = runner.secret
            answer["o2r"] = {
                "name": "o2r",
                "channel_name": f"{runner_id}-o2r",
                "url": f"{self.url}/ai/trickle/{runner_id}-o2r",
                "mime_type": "application/json",
            }
        if self.answer_when is not None:
            await self.answer_when.wait()
        return web.json_response(answer)

    async def _unregister(self, request: web.Request) -> web.Response:
        asked = await self._note(request)
        runner = self.runners.get(request.match_info["id"])
        if runner is None:
            return web.Response(status=404, text="runner not found\n")
        if asked.authorization != runner.secret:
            return web.Response(status=401, text="invalid authorization\n")
        del self.runners[request.match_info["id"]]
        return web.Response(status=204)

    async def _stop(self, request: web.Request) -> web.Response:
        await self._note(request)
        runner = self.runners.get(request.match_info["id"])
        session = request.match_info["session"]
        if runner is None or session not in runner.sessions:
            return web.Response(status=404, text="runner session not found\n")
        if request.headers.get("Livepeer-Session-Token") != runner.sessions[session]:
            return web.Response(status=401, text="invalid authorization\n")
        del runner.sessions[session]
        return web.Response(status=204)
