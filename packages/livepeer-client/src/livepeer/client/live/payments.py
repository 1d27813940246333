"""The payments of a live stream: it is paid for again and again, as long as it runs."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

from livepeer.client.exceptions import LivepeerError, PaymentRequiredError
from livepeer.client.live.ending import Ending
from livepeer.client.live.outage import OUTAGE, PAUSE

logger = logging.getLogger(__name__)

PAYMENT_SECONDS: Final = 50.0
"""As often as go-livepeer's gateway asks for a token, and pays where it has a price."""


class Payments:
    """Pays for a stream that has a price; the first payment went out with its start."""

    def __init__(self, pay: Callable[[], Awaitable[None]], ending: Ending) -> None:
        self._pay, self._ending = pay, ending

    async def run(self) -> None:
        """Until it cannot be paid for any longer, which ends the session with the reason."""
        paid = time.monotonic()
        wait = PAYMENT_SECONDS
        while True:
            await asyncio.sleep(wait)
            try:
                await self._pay()
            except LivepeerError as error:
                late = time.monotonic() - paid > PAYMENT_SECONDS + OUTAGE
                if late or isinstance(error, PaymentRequiredError):
                    self._ending.finish(f"the stream cannot be paid for: {error}", lost=True)
                    return
                logger.warning("a payment for the stream did not get through: %s", error)
                wait = PAUSE
            else:
                paid, wait = time.monotonic(), PAYMENT_SECONDS
