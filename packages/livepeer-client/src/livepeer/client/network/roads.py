"""The roads to whoever runs a job: one file for each kind (`byoc`, `by_gateway`).

A new kind is a `Road` in a file of its own, in its place in the order of `Dispatcher`: the first
road by which an orchestrator offers a capability is taken (`Offers`). Live streams have their part
of it in `livepeer.client.live`, under the same name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from livepeer.client.exceptions import CallTimeoutError, mark_paid
from livepeer.client.http.deadline import Deadline
from livepeer.client.http.requests import SMALL, Http, read
from livepeer.client.http.tls import TlsPolicy
from livepeer.client.network.jobs import RunningJob, Task
from livepeer.client.network.selection import Attempt
from livepeer.client.payments.bill import Bill
from livepeer.client.payments.exchange import answered
from livepeer.client.protocol.results import error_of
from livepeer.client.protocol.wire import JobHeader, job_url
from livepeer.client.types import Offer
from livepeer.client.untrusted import redacted, secrets_in
from livepeer.trickle.http.call import HTTPCall


class Road(Protocol):
    """One way to whoever runs jobs."""

    name: str
    gateway: bool
    """Answers come through a go-livepeer gateway, which changes them."""

    async def offer(
        self, http: Http, orchestrator: str, capability: str, deadline: Deadline
    ) -> Offer | None:
        """What it offers, asked now; None where it does not have the capability by this road.

        Raises a `LivepeerError` where that was not told.
        """
        ...

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
        """Send it, paid for where there is an offer, and wait for the headers of a good answer.

        `paid` is called before a payment goes out: from then on nothing is tried again.
        """
        ...


@dataclass(slots=True)  # made for each call: freezing would double its cost
class Candidate:
    """Somebody who may do a job, and how it gets there."""

    place: str
    """The address of an orchestrator, or of a gateway."""
    road: Road
    offer: Offer | None = None
    """None by a gateway, which tells nobody what it knows."""


async def post(
    http: Http,
    trust: TlsPolicy,
    task: Task,
    job: JobHeader,
    to: Candidate,
    headers: dict[str, str],
    deadline: Deadline,
    attempts: tuple[Attempt, ...] = (),
    bill: Bill | None = None,
) -> RunningJob:
    """Send a job of go-livepeer's and wait for its headers; an answer that is none is raised.

    `bill` pays for this one job, as long as it lasts."""
    gateway = to.road.gateway
    where = {"capability": task.capability, "orchestrator": to.place, "job_id": job.id}
    headers["Content-Type"] = task.content_type
    if task.sending is not None:
        task.sending(to.road.name, to.place)
    url = to.place + task.path if task.path else job_url(to.place, task.route)

    sent: dict[str, str] = headers

    async def send(more: Mapping[str, str]) -> HTTPCall:
        nonlocal sent
        sent = {**headers, **more} if more else headers
        return await http.open(
            "POST",
            url,
            ssl=trust.for_peer(),
            deadline=deadline,
            headers=sent,
            body=task.body,
            job=True,
            where=where,
        )

    response = await answered(bill, send, deadline)
    if response.status == 200 or (task.path and 200 < response.status < 300):
        price = Fraction(0) if to.offer is None else to.offer.price
        return RunningJob(
            response,
            where,
            to.road.name,
            gateway,
            deadline,
            attempts,
            price,
            sent,
            budget=task.budget,
            bill=bill,
        )
    if bill is not None:
        bill.stop()
    body = await read(response, deadline, limit=SMALL, job=True, where=where)
    body = redacted(body.decode("utf-8", "replace"), secrets_in(sent)).encode()
    error = error_of(response.status, response.headers, body, gateway=gateway, where=where)
    if deadline.passed and error.status == 500:
        # Both clocks ran out together: the orchestrator was the first to say so.
        error = CallTimeoutError(
            f"no answer within the {deadline.seconds:g} s of this call",
            phase="answer",
            may_have_run=True,
            status=500,
            **where,
        )
    if bill is not None and bill.sent:
        mark_paid(error, bill.spent)
    raise error
