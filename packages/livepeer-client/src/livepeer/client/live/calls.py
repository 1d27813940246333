"""The requests of a live stream, by every road: start, update, status, stop. No media here."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from livepeer.client.exceptions import (
    LivepeerError,
    NoOrchestratorError,
    PipelineError,
    SessionEndedError,
    reword,
)
from livepeer.client.files import encode
from livepeer.client.http.deadline import Deadline
from livepeer.client.http.pools import Pools
from livepeer.client.http.requests import SMALL, Http, read
from livepeer.client.http.tls import TlsPolicy
from livepeer.client.live import by_gateway, byoc, live_runner, lv2v
from livepeer.client.live.ahead import Ahead
from livepeer.client.live.stream import Live, LiveRoad, Wanted
from livepeer.client.network.dispatch import Dispatcher
from livepeer.client.network.jobs import RunningJob, Task
from livepeer.client.network.live_runner import LiveRunners
from livepeer.client.network.lv2v import LiveVideoToVideo
from livepeer.client.network.schemas import Schemas
from livepeer.client.payments.bill import Bill
from livepeer.client.payments.budget import Budget
from livepeer.client.protocol.wire import compact_json
from livepeer.client.untrusted import loads
from livepeer.trickle.http.call import HTTPCall
from livepeer.trickle.types import TLS

logger = logging.getLogger(__name__)

START_LIMIT: Final = 120.0
CALL_LIMIT: Final = 20.0
STOP_LIMIT: Final = 10.0
SESSION_STOP_LIMIT: Final = 1.0
"""A live runner learns of its session's release anyway, which is not to wait long for its stop:
both together have `farewells.LAST_CALL`."""
KNOWN_LIMIT: Final = 2.0
DATA_LIMIT: Final = 24 * 3600.0

ROADS: Final[Mapping[str, LiveRoad]] = {
    "byoc": byoc,
    "gateway": by_gateway,
    LiveRunners.name: live_runner,
    LiveVideoToVideo.name: lv2v,
}
"""By the name of the road by which it was started."""


@dataclass(slots=True, kw_only=True)
class StreamStart(Task):
    """The start of a stream, which each road words in its own way."""

    job_id: str
    params: Any
    session: bool = True

    def by(self, road: str) -> Task:
        path, body = ROADS[road].start(self.capability, self.job_id, self.params)
        return replace(self, path=path, body=compact_json(body).encode())


class LiveCalls:
    """Starts streams and speaks of them to whoever runs them."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        schemas: Schemas,
        pools: Pools,
        trust: TlsPolicy,
        hosts: Collection[str],
    ) -> None:
        self._dispatcher, self._schemas = dispatcher, schemas
        self._pools, self._trust = pools, trust
        self._hosts = hosts

    @property
    def tls(self) -> TLS:
        """For the channels of a stream."""
        return self._trust.for_peer()

    async def start(self, wanted: Wanted, stream_id: str, deadline: Deadline, ahead: Ahead) -> Live:
        """Start a stream. Where it is not known whether it did start, it is told to stop.

        `ahead` connects to whoever is asked, where the channels of the stream are to be there."""
        http = await self._pools.current()
        params = None if wanted.params is None else encode(wanted.params)
        asked: list[tuple[str, str]] = []
        if (only := self._dispatcher.candidates.only) is not None:
            ahead.open(only)

        def sending(road: str, place: str) -> None:
            asked.append((road, place))
            if ROADS[road] is not by_gateway:  # which has no channels for its callers
                ahead.open(place)

        task = StreamStart(
            capability=wanted.capability,
            model=wanted.model,
            job_id=stream_id,
            params=params,
            parameters=wanted.parameters(),
            budget=wanted.budget,
            sending=sending,
        )
        choice = self._dispatcher.candidates.presumed(wanted.capability)
        if choice is None:
            choice = await self._dispatcher.candidates.choose(
                http, wanted.capability, wanted.model, deadline, session=True
            )
        if isinstance(params, Mapping):
            await self._schemas.check_params(http, wanted.capability, params, deadline, choice)
        running: RunningJob | None = None
        answer = b""
        try:
            running = await self._dispatcher.start(http, task, deadline, choice)
            answer = await read(running.response, deadline, limit=SMALL, where=running.where)
            road = ROADS[running.road]
            live = road.started(wanted, stream_id, running, answer, self._hosts)
            stop = partial(self.stop, http, live, "its caller left")
            # Also where nobody leaves, but the loop or the gateway ends.
            http.farewells.owe(live.stream_id, stop)
            return live
        except BaseException as error:
            if running is not None:
                running.settle()
            # Also of a start that its caller gave up nobody else would tell the one who was asked.
            refused = isinstance(error, LivepeerError) and not error.may_have_run
            reserved = running.reserved if running else None
            # By live runners, whoever reserves a session releases it until the start is answered.
            theirs = bool(asked) and asked[-1][0] == LiveRunners.name and reserved is None
            if asked and not theirs and (reserved or not refused):
                road_name, place = asked[-1]
                live = Live(
                    stream_id,
                    wanted.capability,
                    road_name,
                    place,
                    reserved=reserved,
                    ended_by=lv2v.ended_by(place, answer, self._hosts)
                    if road_name == LiveVideoToVideo.name
                    else None,
                )
                said = http.farewells.say(partial(self.stop, http, live, "its start was given up"))
                if isinstance(error, LivepeerError):
                    if road_name == LiveVideoToVideo.name and live.ended_by is None:
                        reword(error, f"{error.message}; {lv2v.LEFT}")
                    await asyncio.shield(said)
            raise

    async def update(self, live: Live, params: Mapping[str, Any]) -> Any:
        """Change parameters; the container's answer. Raises with its fields where it refuses, and
        `SessionEndedError` where there is no such stream any more."""
        http = await self._pools.current()
        try:
            return await self._ask(http, live, "update", encode(params), CALL_LIMIT)
        except PipelineError as error:
            if error.status != 404:
                raise
            raise SessionEndedError(
                "there is no such stream any more: it ended, or (by a gateway, which does not tell)"
                f" never started: {error}",
                capability=live.capability,
                orchestrator=live.base,
                job_id=live.stream_id,
                status=404,
            ) from error

    async def pay(self, live: Live, budget: Budget | None) -> None:
        """Pay for the time that comes. Raises `PaymentRequiredError` where there is no means to."""
        http = await self._pools.current()
        await self._ask(http, live, "payment", {}, CALL_LIMIT, pay=True, budget=budget)

    def paid_by(self, live: Live) -> Bill | None:
        """What it is paid by beside its requests; None where it is free, or by BYOC."""
        if live.bill is not None:
            return live.bill
        return self._dispatcher.paid_by(live.reserved) if live.reserved is not None else None

    async def leave(self, live: Live) -> None:
        """End the stream; the orchestrator is told also where whoever waits is cancelled."""
        http = await self._pools.current()
        said = http.farewells.pay(live.stream_id)
        if said is None:
            said = http.farewells.say(partial(self.stop, http, live, "its caller left"))
        await asyncio.shield(said)

    def let_go(self, close: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Have a session closed that was dropped, on its loop."""
        if (http := self._pools.here()) is not None:
            http.farewells.say(close)

    async def stop(self, http: Http, live: Live, reason: str) -> None:
        """End the stream; a failure is logged, since there is nothing else to be done about it.

        `linger`: nobody on this side reads any more (specs/live.md).
        """
        try:
            await self._end(http, live, reason)
        except LivepeerError as error:
            if error.status == 404:
                logger.debug("stream %s was over already", live.stream_id)
            else:
                logger.warning("stream %s may go on: %s", live.stream_id, error)
        finally:
            try:
                if live.reserved is not None:
                    await self._dispatcher.release(http, live.base, live.reserved)
            finally:
                if live.bill is not None:
                    await live.bill.end()

    async def _end(self, http: Http, live: Live, reason: str) -> None:
        if live.road != LiveVideoToVideo.name:
            limit = STOP_LIMIT if live.reserved is None else SESSION_STOP_LIMIT
            await self._ask(http, live, "stop", {"reason": reason, "linger": 0}, limit)
        elif live.ended_by is not None:
            await http.fetch(
                "DELETE",
                live.ended_by,
                ssl=self._trust.for_peer(),
                deadline=Deadline(STOP_LIMIT),
                where={"orchestrator": live.base, "capability": live.capability},
            )

    async def status(self, live: Live) -> dict[str, Any]:
        """A gateway's view of the stream. An orchestrator has none: its events tell."""
        http, deadline = await self._pools.current(), Deadline(CALL_LIMIT)
        url = live.base + ROADS[live.road].path(live.stream_id, "status")
        where: dict[str, Any] = {"orchestrator": live.base, "capability": live.capability}
        reply = await http.fetch(
            "GET", url, ssl=self._trust.for_peer(), deadline=deadline, where=where
        )
        if reply.status != 200:
            raise NoOrchestratorError(
                f"the gateway has no status of stream {live.stream_id}",
                status=reply.status,
                **where,
            )
        value = _json(reply.body)
        return value if isinstance(value, dict) else {}

    async def known(self, live: Live) -> bool | None:
        """Does the orchestrator still have the stream? None where it does not answer.

        Its control channel is there from the start to the stop, whatever the pipeline does.
        """
        http = await self._pools.current()
        try:
            reply = await http.fetch(
                "GET",
                f"{live.control_url}/next",
                ssl=self._trust.for_peer(),
                deadline=Deadline(KNOWN_LIMIT),
                where={"orchestrator": live.base},
            )
        except LivepeerError as error:
            logger.debug("stream %s: %s", live.stream_id, error)
            return None
        return reply.status != 404

    async def open_data(self, live: Live) -> HTTPCall:
        """A gateway's event stream of the data channel, its headers received."""
        http: Http = await self._pools.current()
        return await http.open(
            "GET",
            live.data_url or "",
            ssl=self._trust.for_peer(),
            # Headers come with the first record, whenever that is.
            deadline=Deadline(DATA_LIMIT),
            where={"orchestrator": live.base, "capability": live.capability},
        )

    async def _ask(
        self,
        http: Http,
        live: Live,
        verb: str,
        body: Any,
        limit: float,
        *,
        pay: bool = False,
        budget: Budget | None = None,
    ) -> Any:
        deadline = Deadline(limit)
        task = Task(
            live.capability,
            compact_json(body).encode(),
            path=(live.reserved.app if live.reserved else "")
            + ROADS[live.road].path(live.stream_id, verb),
            request=compact_json({"stream_id": live.stream_id}),
            budget=budget,
            price=live.price if pay else None,
        )
        running = await self._dispatcher.ask(http, task, live.road, live.base, deadline, pay=pay)
        return _json(await read(running.response, deadline, limit=SMALL, where=running.where))


def _json(body: bytes) -> Any:
    try:
        return loads(body)
    except ValueError:
        return body.decode("utf-8", "replace") or None
