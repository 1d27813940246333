"""A request that has to be paid for: it asks, is told what to pay, pays, and is sent again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from livepeer.client.exceptions import (
    InsufficientBalanceError,
    LivepeerError,
    NoCapacityError,
    mark_paid,
)
from livepeer.client.http.deadline import Deadline
from livepeer.client.http.requests import SMALL, read
from livepeer.client.payments.account import Abandoned
from livepeer.client.payments.bill import Bill
from livepeer.client.payments.signer import SignedPayment
from livepeer.trickle.http.call import HTTPCall
from livepeer.trickle.text import printable

Send = Callable[[Mapping[str, str]], Awaitable[HTTPCall]]
"""Sends the request with these headers beside its own."""

FULL: Final = "no capacity available for runner"
"""The orchestrator's words where it took no ticket, since there was no place (recorded)."""
_NO_RESERVE: Final = "insufficient sender reserve"
PAUSES: Final = (0.5, 1.0, 2.0, 4.0)
"""Seconds between tries with one payment where there is no place for it yet."""


async def answered(
    bill: Bill | None, send: Send, deadline: Deadline, ask: Send | None = None
) -> HTTPCall:
    """The answer to a request that is paid for by `bill`, or free without one.

    `ask` stands for `send` where nothing is paid yet, for a request that can be sent once only. The
    bill goes on paying beside the answer, and is the caller's to end; after an error it has ended.
    An error that comes once a payment has gone out says so, and is not to be tried elsewhere.
    """
    if bill is None:
        return await send({})
    try:
        return await _paid(bill, send, ask or send, deadline, once=ask is not None)
    except BaseException as error:
        bill.stop()
        if isinstance(error, Abandoned):
            raise LivepeerError("given up before anything was paid", **bill.where) from None
        if isinstance(error, LivepeerError) and bill.sent:
            mark_paid(error, bill.spent)
        raise


async def opening(
    bill: Bill, ask: Send, deadline: Deadline, *, only: bool = True
) -> SignedPayment | HTTPCall:
    """The first payment for what `ask` is told to pay; or, unless it is asked for that `only`, the
    answer of who asks for nothing."""
    response = await ask(await bill.account.asking(deadline))
    if response.status == 500 or (only and response.status != 402):
        body = await read(response, deadline, limit=SMALL, where=bill.where)
        text = printable(body.decode("utf-8", "replace"), 200)
        if _NO_RESERVE in text.lower():
            raise InsufficientBalanceError(
                f"the orchestrator takes no payment of this payer: {text} (on chain its deposit and"
                " reserve have to be filled up)",
                **bill.where,
            )
        raise LivepeerError(
            f"it answered {response.status} where it was asked what is to be paid: {text}",
            status=response.status,
            may_have_run=True,
            **bill.where,
        )
    if response.status != 402:
        return response
    bill.account.challenged(await read(response, deadline, limit=SMALL, where=bill.where))
    return await bill.account.first(deadline)


async def _paid(bill: Bill, send: Send, ask: Send, deadline: Deadline, *, once: bool) -> HTTPCall:
    payment = await opening(bill, ask, deadline, only=once)
    if not isinstance(payment, SignedPayment):
        return payment
    for pause in (*PAUSES, None):
        bill.send()
        bill.start()
        response = await send(payment.headers)
        if response.status != 503 or "text/plain" not in response.headers.get("Content-Type", ""):
            return response
        if (response.content_length or SMALL) > len(FULL) + 1:
            return response
        body = await read(response, deadline, limit=SMALL, where=bill.where)
        if body.decode("utf-8", "replace").strip() != FULL:
            raise _full(bill, printable(bill.account.said(body, payment), 200))
        # Its tickets were not taken: the same payment is good as soon as there is a place.
        await bill.hold()
        if pause is None or pause >= deadline.remaining():
            break
        await asyncio.sleep(pause)
    raise _full(bill, FULL)


def _full(bill: Bill, text: str) -> NoCapacityError:
    where: dict[str, Any] = {**bill.where, "status": 503}
    return NoCapacityError(
        f"no room for {bill.where['capability']!r} any more: {text}; the payment was made and not"
        " taken",
        **where,
    )
