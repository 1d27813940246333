"""What an orchestrator offers under a name, and how its callers reach that."""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import aiohttp

from livepeer.runner.targets.reference import TargetError
from livepeer.trickle.text import printable

ASK_SECONDS: Final = 10.0
LARGEST_ANSWER: Final = 1 << 20
JOB_SECONDS: Final = 120
_PATH: Final = re.compile(r"/(?:apps/[^/?#]{1,256}/(?:app|session)|run/[^/?#]{1,256})")
"""Of a live runner (go-livepeer: `ai/runner`)."""
CHANNEL_HEADERS: Final = {
    "in": "X-Publish-Url",
    "out": "X-Subscribe-Url",
    "events": "X-Events-Url",
    "control": "X-Control-Url",
    "data": "X-Data-Url",
}
"""Channels of a capability's stream by the header that names them to its caller (go-livepeer:
package `byoc`); an app names them by these words in its answer."""

OfferKind = Literal["capability", "single-shot", "persistent"]


class ForeignChannel(Exception):
    """A channel that is not at the orchestrator; the message says where it is."""


@dataclass(frozen=True, slots=True)
class SessionPlace:
    """A session of a live runner: the URLs at which its app is, and where it is given back."""

    app: str
    control: str


@dataclass(frozen=True, slots=True)
class OrchestratorOffer:
    """A BYOC capability, or a live runner's app (`single-shot`, or one with sessions)."""

    orchestrator: str
    name: str
    kind: OfferKind
    path: str = ""
    """Of an app, below the orchestrator's URL."""
    price: str = ""
    """What it costs, as the orchestrator says it; empty where it is free."""
    unit: str = ""
    """For what an app costs that (`seconds`, `720p-pixel-seconds`, `fixed`)."""

    def job(
        self,
        id: str | None = None,
        *,
        request: Mapping[str, Any] | None = None,
        video: bool = False,
        data: bool = False,
    ) -> dict[str, str]:
        """The header of a capability's job (go-livepeer: package `byoc`); unsigned, which is what
        an orchestrator without a chain takes."""
        wanted = {"enable_video_ingress": True, "enable_video_egress": True} if video else {}
        if data:
            wanted["enable_data_output"] = True
        envelope = {
            "id": id or secrets.token_hex(8),
            "request": json.dumps(request or {}),
            "parameters": json.dumps(wanted),
            "capability": self.name,
            "sender": "",
            "sig": "",
            "timeout_seconds": JOB_SECONDS,
        }
        return {"Livepeer": base64.b64encode(json.dumps(envelope).encode()).decode()}

    def channels(self, named: Mapping[str, Any], *, headers: bool = False) -> dict[str, str]:
        """The URLs of a stream's channels, by `in`, `out`, `events`, `control` and `data`: those
        that `named` has, by header or by their own names. Raises `ForeignChannel` for one that is
        not at the orchestrator that was called."""
        here = urlsplit(self.orchestrator)
        found: dict[str, str] = {}
        for name, header in CHANNEL_HEADERS.items():
            if not isinstance(url := named.get(header if headers else name), str):
                continue
            there = urlsplit(url)
            if (there.scheme, there.netloc) != (here.scheme, here.netloc):
                where = printable(there.netloc, 200)
                raise ForeignChannel(f"its channel {name!r} is at {where}, not at the orchestrator")
            found[name] = url
        return found

    def place(self, reservation: object) -> SessionPlace | None:
        """The session of an answer to a reservation; None where it names none. Of its URLs only the
        path is taken."""
        told = reservation if isinstance(reservation, Mapping) else {}
        paths = [urlsplit(str(told.get(key))).path for key in ("app_url", "control_url")]
        if not all(path.startswith("/") for path in paths):
            return None
        return SessionPlace(*(self.orchestrator + path.rstrip("/") for path in paths))


async def offer_of(
    orchestrator: str, name: str, session: aiohttp.ClientSession
) -> OrchestratorOffer:
    """A live runner's app of that name, else a capability. Raises `TargetError`.

    Certificates are not looked at: orchestrators have some that nobody signed, and what is asked is
    no secret.
    """
    status, listed = await _asked(session, "GET", f"{orchestrator}/discovery", {})
    found = [
        runner
        for entry in (listed if status == 200 and isinstance(listed, list) else [])
        if isinstance(entry, dict) and isinstance(entry.get("runners"), list)
        for runner in entry["runners"]
        if isinstance(runner, dict) and runner.get("app") == name
    ]
    for runner in found:
        path = urlsplit(str(runner.get("url"))).path
        if _PATH.fullmatch(path) is not None:
            told = runner.get("price_info")
            info = told if isinstance(told, dict) else {}
            price, unit = _price(info.get("price")), printable(str(info.get("unit", "")), 40)
            kind: OfferKind = "persistent" if runner.get("mode") == "persistent" else "single-shot"
            return OrchestratorOffer(orchestrator, name, kind, path, price, unit)
    nobody = base64.b64encode(b'{"addr": "", "sig": ""}').decode()
    headers = {"Livepeer-Eth-Address": nobody, "Livepeer-Capability": name}
    status, token = await _asked(session, "GET", f"{orchestrator}/process/token", headers)
    if status != 200 or not isinstance(token, dict):
        raise TargetError(
            f"{orchestrator} answered {status} for a token: is it an orchestrator's address?"
        )
    if not token.get("available_capacity"):
        raise TargetError(f"{orchestrator} offers neither an app nor a capability {name!r} now")
    told = token.get("price")
    price = _price((told if isinstance(told, dict) else {}).get("pricePerUnit"))
    return OrchestratorOffer(orchestrator, name, "capability", price=price)


async def _asked(
    session: aiohttp.ClientSession, method: str, url: str, headers: Mapping[str, str]
) -> tuple[int, Any]:
    """The status, and the body as JSON; None where it is none. Raises `TargetError`."""
    try:
        async with session.request(
            method,
            url,
            headers=headers,
            allow_redirects=False,
            ssl=False,
            timeout=aiohttp.ClientTimeout(total=ASK_SECONDS),
        ) as answer:
            body = b""
            async for piece in answer.content.iter_any():
                body += piece
                if len(body) > LARGEST_ANSWER:
                    raise TargetError(f"the answer of {url} has no end")
            with suppress(ValueError, RecursionError):
                return answer.status, json.loads(body)
            return answer.status, None
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        why = printable(str(error) or type(error).__name__, 200)
        raise TargetError(f"{url} does not answer: {why}") from None


def _price(told: object) -> str:
    """Empty for what is free: nothing, and a zero in either notation."""
    if told is None or told == 0:
        return ""
    with suppress(ValueError):
        if isinstance(told, str) and len(told) <= 40 and float(told) == 0:
            return ""
    return printable(str(told), 40)
