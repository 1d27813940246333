"""The payments of one session or request on their way: each is sent until it has arrived, and the
next one follows in time, until it is over."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Final

from livepeer.client.exceptions import (
    ConfigurationError,
    ConnectionFailedError,
    LivepeerError,
    NoOrchestratorError,
    PaymentRequiredError,
    ProtocolError,
    SessionEndedError,
    mark_paid,
    reword,
)
from livepeer.client.http.deadline import Deadline
from livepeer.client.http.requests import Http
from livepeer.client.payments.account import Abandoned, Account
from livepeer.client.payments.pace import Pace
from livepeer.client.payments.signer import SignedPayment

logger = logging.getLogger(__name__)

STEP_SECONDS: Final = 5.0
"""For a payment to be made, and to be sent."""
REPLACED_SECONDS: Final = 300.0
"""A payment that is refused may have been kept all the same, so in this time one is made anew: each
is a first one again, and three times what the next would have been."""
_FINAL: Final = (PaymentRequiredError, ConfigurationError, NoOrchestratorError)
"""After these nothing more is paid."""
_SEEN: Final = "already seen"
"""What an orchestrator says of tickets that it has."""


class Bill:
    """Pays one orchestrator for one session or request, from `start` on, until `end`.

    A payment is sent until it is known to have arrived, and the next one is made once the one
    before is settled. Nothing is paid from `end` on.
    """

    def __init__(
        self, http: Http, account: Account, pace: Pace, sending: Callable[[], None] | None = None
    ) -> None:
        """`sending` is told before the first payment goes out."""
        self._http, self._pace, self._sending = http, pace, sending
        self._pending: SignedPayment | None = None
        self._task: asyncio.Task[None] | None = None
        self._listeners: list[Callable[[LivepeerError], None]] = []
        self._replaced_at: float | None = None
        self.account = account
        """What is asked, and the payments that are made."""
        self.sent = False
        """Has a payment gone out?"""
        self.problem: LivepeerError | None = None
        """Why no more is paid, though it is not over."""

    def __repr__(self) -> str:
        return f"Bill({self.account.app!r}, {float(self.spent):g} wei)"

    @property
    def where(self) -> dict[str, Any]:
        """What errors name."""
        return self.account.where

    @property
    def spent(self) -> Fraction:
        """Wei, signed so far."""
        return self.account.spent

    @property
    def control(self) -> str:
        """The path of the session that is paid for; a credential."""
        return self.account.path.rpartition("/")[0]

    def listen(self, listener: Callable[[LivepeerError], None]) -> None:
        """Call `listener` with the reason when payments end by themselves; at once if they have."""
        if self.problem is not None:
            listener(self.problem)
        else:
            self._listeners.append(listener)

    def forget(self, listener: Callable[[LivepeerError], None]) -> None:
        """Call it no more, if it is to be called."""
        with contextlib.suppress(ValueError):
            self._listeners.remove(listener)

    def failed(self, error: LivepeerError) -> LivepeerError:
        """`error` of what is paid, with why that is paid no longer, and with what was paid."""
        if self.problem is not None:
            error = unpaid(error, self.problem)
        if self.sent:
            mark_paid(error, self.spent)
        return error

    def send(self) -> None:
        """Mark that a payment goes out now. Raises `Abandoned` if nobody waits for the answer any
        more."""
        if self.account.abandoned:
            raise Abandoned
        if not self.sent and self._sending is not None:
            self._sending()
        self.sent = True

    # -- its life ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to pay in the background, until `end`."""
        if self.account.kind == "fixed" or self._task is not None:
            return
        self._task = asyncio.create_task(self._run(), name="livepeer-payments")
        self._task.add_done_callback(self._done)
        # Also where nobody ends it, but the loop or the gateway ends.
        self._http.farewells.owe(self, self.end)

    async def hold(self) -> None:
        """Pause: the orchestrator did not take what was sent, so nothing more is paid until it is
        sent again. A payment that is being made meanwhile becomes the next one."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def abandon(self) -> None:
        """Nobody waits for the answer any more: a payment that has not been sent is not sent."""
        self.account.abandoned = True

    def stop(self) -> None:
        """`end` without waiting for it: from now on nothing is sent."""
        self.abandon()
        if self._http.farewells.pay(self) is None:
            self._let_go()

    async def end(self) -> None:
        """Nothing is paid from now on. Safe to repeat."""
        self.abandon()
        try:
            await self.hold()
        finally:
            self._http.farewells.forget(self)
            self._let_go()

    def _let_go(self) -> None:
        """Nobody waits for a payment that is being made; it is counted still."""
        if self.account.making:
            self._http.farewells.say(self.account.finish)

    def _done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            # Its text may quote the session's URL, or what signs for it.
            told = f"payments broke off by an error of this client: {type(error).__name__}"
            self._failed(LivepeerError(told, **self.where))

    async def _run(self) -> None:
        """Until it is over, or cannot be paid any longer."""
        pause, reached = self._pace.interval, self._pace.now()
        while True:
            await self._pace.sleep(pause)
            begun = self._pace.now()
            try:
                if not await self._step():
                    return
            except Abandoned:
                return
            except LivepeerError as error:
                lasted = self._pace.now() - reached
                if isinstance(error, _FINAL) or lasted > self._pace.outage:
                    self._failed(error)
                    return
                logger.warning("a payment for %s did not get through: %s", self.account.app, error)
                pause = self._pace.again
            else:
                reached = self._pace.now()
                pause = max(0.0, self._pace.interval - (reached - begun))

    async def _step(self) -> bool:
        """Make the payment that is due, and bring it there. False where it is over."""
        again = self._pending is not None
        for anew in (False, True):
            if self._pending is None:
                self._pending = await self.account.make(Deadline(STEP_SECONDS))
            if self._pending is None:
                return True
            self.send()
            answer = await self.account.post(
                self.account.path, self._pending.headers, b"", Deadline(STEP_SECONDS)
            )
            text = self.account.said(answer.body, self._pending)
            # The second: it had arrived, and its answer was lost.
            if answer.status == 200 or (answer.status == 400 and again and _SEEN in text):
                self._pending = None
                return True
            if answer.status == 404:
                self._failed(
                    SessionEndedError("the orchestrator has ended the session", **self.where)
                )
                return False
            if answer.status == 409:
                return False  # a fixed price, paid already
            if answer.status >= 500:
                raise ProtocolError(
                    f"the orchestrator answered a payment {answer.status}: {text}", **self.where
                )
            self._pending, again = None, False
            if anew or self._replaced_lately or answer.status not in (400, 402):
                raise PaymentRequiredError(
                    f"the orchestrator refused a payment: {answer.status} {text}", **self.where
                )
            self._replaced_at = self._pace.now()
            self.account.begin_anew()
        return True

    @property
    def _replaced_lately(self) -> bool:
        at = self._replaced_at
        return at is not None and self._pace.now() - at < REPLACED_SECONDS

    def _failed(self, problem: LivepeerError) -> None:
        self.problem = problem
        logger.info("payments for %s end: %s", self.account.app, problem)
        for listener in tuple(self._listeners):
            listener(problem)


def unpaid(error: LivepeerError, problem: LivepeerError) -> LivepeerError:
    """`error` of what was not paid any longer, with the reason. What broke off is an error of that
    reason's kind: it is for money, or its session is over."""
    told = f"{error.message}; it was not paid any longer: {problem.message}"
    kind = type(problem)
    if not isinstance(error, ConnectionFailedError) or not isinstance(
        problem, PaymentRequiredError | SessionEndedError
    ):
        reword(error, told)
        return error
    return kind(
        told,
        capability=error.capability,
        orchestrator=error.orchestrator,
        job_id=error.job_id,
        status=problem.status,
        may_have_run=error.may_have_run,
        received=error.received,
    )
