"""What keeps callers from paying for a live runner that has a price, as far as it shows without
money: an orchestrator asks to be paid before it does anything."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import math
import ssl
from contextlib import suppress
from fractions import Fraction

import aiohttp

from livepeer.runner.devnet.payments import messages
from livepeer.runner.devnet.payments.tickets import FIRST_UNITS, MOST_TICKETS, value
from livepeer.runner.targets.offer import OrchestratorOffer

ASK_SECONDS = 10.0
LARGEST_ANSWER = 1 << 16
MAX_TICKET_EV = 3 * 10**12
"""Wei of a ticket that go-livepeer's signer makes at most (`-maxTicketEV`)."""
_KINDS = {"seconds": "live", "720p-pixel-seconds": "lv2v", "fixed": "fixed"}
_PAYER = {"Livepeer-Payer-Address": "0x" + "0" * 40}


async def why_unpayable(offer: OrchestratorOffer, session: aiohttp.ClientSession) -> list[str]:
    """The reasons, with what its operator has to change. Empty where none is seen, which includes
    an orchestrator that says nothing."""
    found = [await _tickets(offer, session), await _certificate(offer, session)]
    return [reason for reason in found if reason]


async def _tickets(offer: OrchestratorOffer, session: aiohttp.ClientSession) -> str:
    """Do its tickets fit its price?"""
    units = FIRST_UNITS.get(_KINDS.get(offer.unit, ""))
    if units is None:
        return ""
    path = offer.path if offer.kind == "persistent" else f"{offer.path}/"
    with suppress(aiohttp.ClientError, TimeoutError, OSError, ValueError, RecursionError):
        async with asyncio.timeout(ASK_SECONDS):
            request = session.post(
                offer.orchestrator + path, headers=_PAYER, allow_redirects=False, ssl=False
            )
            async with request as answer:
                if answer.status != 402:
                    return ""
                body = await answer.content.read(LARGEST_ANSWER)
        return _judged(json.loads(body)["payment_params"], units)
    return ""


def _judged(params: object, units: int) -> str:
    try:
        info = messages.read(messages.ORCHESTRATOR_INFO, base64.b64decode(str(params)))
        price, worth = info["price_info"], value(info["ticket_params"])
        first = Fraction(price["pricePerUnit"], price["pixelsPerUnit"]) * units
    except (binascii.Error, LookupError, ZeroDivisionError) as error:
        raise ValueError("it is asked for no payment") from error
    if worth > MAX_TICKET_EV:
        return (
            f"no signer pays it: a ticket is worth {float(worth):.3g} wei there, and one makes"
            f" {MAX_TICKET_EV:.3g} at most; lower the orchestrator's -ticketEV"
        )
    if worth and first / worth > MOST_TICKETS:
        return (
            f"nobody can pay it: a first payment is {math.ceil(first / worth)} tickets, and"
            f" {MOST_TICKETS} is the most; raise the orchestrator's -ticketEV (up to"
            f" {MAX_TICKET_EV:.3g} wei), or lower the price"
        )
    return ""


async def _certificate(offer: OrchestratorOffer, session: aiohttp.ClientSession) -> str:
    """Does its discovery verify, as remote signers read it?"""
    if not offer.orchestrator.startswith("https:"):
        return ""
    try:
        async with asyncio.timeout(ASK_SECONDS):
            context = await asyncio.to_thread(ssl.create_default_context)
            url = f"{offer.orchestrator}/discovery"
            async with session.get(url, allow_redirects=False, ssl=context):
                return ""
    except aiohttp.ClientConnectorCertificateError:
        return (
            "callers who ask a remote signer for orchestrators do not see it: the certificate of"
            " its discovery does not verify; put a proxy with a trusted one before it"
        )
    except (aiohttp.ClientError, TimeoutError, OSError):
        return ""
