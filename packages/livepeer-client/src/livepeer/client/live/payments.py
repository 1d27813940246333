"""The payments of a live stream: it is paid for again and again, as long as it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from livepeer.client.exceptions import LivepeerError, PaymentRequiredError
from livepeer.client.live.ending import Ending
from livepeer.client.live.outage import OUTAGE, Outage

PAYMENT_SECONDS: Final = 50.0
"""As often as go-livepeer's gateway asks for a token, and pays where it has a price."""


class Payments:
    """Pays for a stream that has a price; the first payment went out with its start."""

    def __init__(self, pay: Callable[[], Awaitable[None]], ending: Ending) -> None:
        self.outage = Outage(
            "a payment for the stream did not get through",
            ending,
            limit=PAYMENT_SECONDS + OUTAGE,
            final=lambda error: str(error) if isinstance(error, PaymentRequiredError) else None,
            reason=lambda why: f"the stream cannot be paid for: {why}",
        )
        self._pay = pay

    async def run(self) -> None:
        """Until it cannot be paid for any longer, which ends the session with the reason."""
        while True:
            await asyncio.sleep(PAYMENT_SECONDS)
            while True:
                try:
                    await self._pay()
                    self.outage.reached()
                    break
                except LivepeerError as error:
                    if self.outage.lost(error):
                        return
                    await self.outage.pause()
