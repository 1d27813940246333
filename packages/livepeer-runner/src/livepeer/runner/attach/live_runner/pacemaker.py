"""The process that sends the heartbeats: started, told what to send, started again, ended."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import socket
import ssl
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from livepeer.runner.attach.client import TLS
from livepeer.runner.attach.live_runner import beat
from livepeer.trickle.tls.aiohttp_pin import Pin

logger = logging.getLogger(__name__)

SIGN_SECONDS = 30.0
"""Between two signs of life to the process, which gives up after `beat.PATIENCE_SECONDS`."""
END_SECONDS = 2.0
"""How long the process may take to end before it is killed."""
AGAIN_SECONDS = 1.0
"""Before a process that ended by itself is started again."""
_LONGEST_LINE = 1024 * 1024
# What the program needs of its surroundings; the rest may hold secrets.
_KEPT = ("SYSTEMROOT", "SSL_CERT_FILE", "SSL_CERT_DIR", "LD_LIBRARY_PATH", "TZ")


@dataclass(frozen=True, slots=True)
class HeartbeatPlan:
    """What to send, and how often. `first`: seconds before the first one. `trust`: `verify`,
    `insecure`, or the SHA-256 of the only certificate that will do."""

    url: str
    headers: dict[str, str] = field(repr=False)
    body: str = field(repr=False)
    interval: float
    first: float
    limit: float
    trust: str


@dataclass(frozen=True, slots=True)
class Report:
    """How a heartbeat went. `plan`: the number of the plan that it belongs to."""

    plan: int
    status: int | None = None
    text: str = ""
    error: str = ""


class Pacemaker:
    """Heartbeats that neither a busy event loop nor code that holds the interpreter delays.

    `say` answers the number of a plan, by which its reports are known.
    """

    def __init__(self) -> None:
        self._numbers = count(1)
        self._order = b""
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._newest: Report | None = None
        self._came = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="pacemaker")
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def say(self, plan: HeartbeatPlan | None) -> int:
        """The plan from now on; None: a rest."""
        number = next(self._numbers)
        told = None
        if plan is not None:
            told = {
                "number": number,
                "url": plan.url,
                "headers": plan.headers,
                "body": plan.body,
                "interval": plan.interval,
                "first": plan.first,
                "limit": plan.limit,
                "trust": plan.trust,
            }
        self._order = json.dumps({"plan": told}).encode() + b"\n"
        self._write(self._order)
        return number

    async def report(self) -> Report:
        """The newest that was not read yet."""
        await self._came.wait()
        self._came.clear()
        assert self._newest is not None
        return self._newest

    def _write(self, line: bytes) -> None:
        process = self._process
        if process is not None and process.stdin is not None and line:
            with suppress(OSError, RuntimeError):  # it is gone, and will be told when it is back
                process.stdin.write(line)

    async def _run(self) -> None:
        while True:
            try:
                await self._one()
                logger.warning("the process that sends heartbeats has ended: starting it again")
            except OSError as error:
                self._tell(Report(0, error=f"the process that sends them cannot start: {error}"))
            await asyncio.sleep(AGAIN_SECONDS)

    async def _one(self) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-S",
            str(Path(beat.__file__)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LONGEST_LINE,
            # A terminal sends Ctrl-C to all of a session, and this process is needed until the
            # last sessions have ended; while it still imports, it could not ignore it.
            start_new_session=True,
            env={name: os.environ[name] for name in _KEPT if name in os.environ},
        )
        signs = asyncio.create_task(self._signs(), name="signs of life")
        try:
            self._process = process
            self._write(self._order)
            assert process.stdout is not None
            async for line in process.stdout:
                told: dict[str, Any] = json.loads(line)
                self._tell(
                    Report(
                        told["number"],
                        told.get("status"),
                        told.get("text", ""),
                        told.get("error", ""),
                    )
                )
        finally:
            self._process = None
            signs.cancel()
            await _end(process)

    async def _signs(self) -> None:
        while True:
            await asyncio.sleep(SIGN_SECONDS)
            self._write(b"{}\n")

    def _tell(self, report: Report) -> None:
        self._newest = report
        self._came.set()


async def _end(process: asyncio.subprocess.Process) -> None:
    """It ends when its input does."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        async with asyncio.timeout(END_SECONDS):
            await process.wait()
    except TimeoutError:
        logger.warning("the process that sends heartbeats did not end: killed")
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def trust_in(tls: TLS, url: str, limit: float) -> str:
    """How the process is to know the orchestrator, which was reached just now as `tls` wants.

    A context of the service's own cannot be handed to another process: the certificate that it
    accepts now is what counts from here on. Raises `OSError`.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 443
    if parts.scheme == "http" or tls is False:
        return "insecure"
    if isinstance(tls, Pin):
        known = tls.store.get(host, port)
        return known.replace(":", "").lower() if known else "verify"
    if isinstance(tls, ssl.SSLContext):
        return await asyncio.to_thread(_met, tls, host, port, limit)
    return "verify"


def _met(context: ssl.SSLContext, host: str, port: int, limit: float) -> str:
    with (
        socket.create_connection((host, port), timeout=limit) as plain,
        context.wrap_socket(plain, server_hostname=host) as secure,
    ):
        return hashlib.sha256(secure.getpeercert(binary_form=True) or b"").hexdigest()
