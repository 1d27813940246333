"""The road by a go-livepeer gateway, which chooses, signs and pays by itself."""

from __future__ import annotations

from collections.abc import Callable

from livepeer.client.http.deadline import Deadline
from livepeer.client.http.requests import Http
from livepeer.client.http.tls import TlsPolicy
from livepeer.client.network.jobs import RunningJob, Task
from livepeer.client.network.roads import Candidate, post
from livepeer.client.network.selection import Attempt
from livepeer.client.protocol.wire import JOB
from livepeer.client.types import Offer


class ByGateway:
    """Jobs by the `Livepeer` header without a signature."""

    name = "gateway"
    gateway = True

    def __init__(self, trust: TlsPolicy) -> None:
        self._trust = trust

    async def offer(
        self, http: Http, orchestrator: str, capability: str, deadline: Deadline
    ) -> Offer | None:
        return None  # it tells nobody

    async def send(
        self,
        http: Http,
        task: Task,
        to: Candidate,
        deadline: Deadline,
        *,
        attempts: tuple[Attempt, ...] = (),
        paid: Callable[[], None] | None = None,
    ) -> RunningJob:
        job = task.header(deadline)
        return await post(http, self._trust, task, job, to, {JOB: job.header()}, deadline, attempts)
