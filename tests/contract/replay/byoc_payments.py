"""Replayer 1 for paid BYOC: a caller that signs, and a clock that is moved by the transcript."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import heapq
import time
from itertools import count
from typing import Any

from livepeer.runner.devnet.payments.keys import Key, keccak256
from livepeer.runner.devnet.payments.messages import Fields
from livepeer.runner.devnet.payments.tickets import ticket_hash

from .orchestrator import Caller
from .payments import OURS, PaymentReplay, PaymentValues
from .transcript import Step, Transcript
from .values import LENGTH

TURNS = 50
"""Of the loop: what was waiting for a moment has then done what it does."""
SILENCE = 0.05


class MovedClock:
    """Time that passes only where somebody moves it."""

    def __init__(self) -> None:
        self._now = time.time()
        self._order = count()
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (self._now + seconds, next(self._order), woken))
        await woken

    async def move(self, seconds: float) -> None:
        until = self._now + seconds
        while self._waiting and self._waiting[0][0] <= until:
            self._now, _, woken = heapq.heappop(self._waiting)
            if not woken.done():
                woken.set_result(None)
            for _ in range(TURNS):
                await asyncio.sleep(0)
        self._now = until


class PayerValues(PaymentValues):
    """Signs what goes out without a recorded signature: tickets, and a job."""

    keys: dict[str, Key]
    """By address, in small letters."""
    forger: Key | None = None
    """Who signs the tickets in place of their sender."""

    def expand(self, value: Any) -> Any:
        if isinstance(value, dict) and value.get("b64proto") == "net.Payment":
            fields = value["fields"]
            if value.get("name") not in self.known and "ticket_sender_params" in fields:
                value = {**value, "fields": self._signed(fields)}
        return super().expand(value)

    def _signed(self, fields: Fields) -> Fields:
        params = _bytes(super().expand(fields["ticket_params"]))
        key = self.forger or self.keys[fields["sender"]]
        sender, expiration = bytes.fromhex(fields["sender"][2:]), fields["expiration_params"]
        tickets = [
            {
                **each,
                "sig": "0x"
                + key.sign(
                    ticket_hash(params, _bytes(expiration), sender, each["sender_nonce"])
                ).hex(),
            }
            for each in fields["ticket_sender_params"]
        ]
        return {**fields, "ticket_sender_params": tickets}

    def header(self, value: Any) -> str:
        if isinstance(value, dict) and isinstance(job := value.get("b64json"), dict):
            if str(job.get("sig", "")).startswith("${"):
                text = self.text(job["request"]) + self.text(job["parameters"])
                signature = self.keys[job["sender"].lower()].sign(keccak256(text.encode()))
                value = {"b64json": {**job, "sig": "0x" + signature.hex()}}
        return super().header(value)

    def check_json(self, expected: Any, actual: Any, what: str) -> None:
        if isinstance(expected, dict) and "b64hex" in expected:
            found = "0x" + base64.b64decode(actual, validate=True).hex()
            self.check_text(expected["b64hex"], found, what)
        elif isinstance(expected, dict) and isinstance(actual, dict) and OURS & expected.keys():
            expected, actual = (
                {name: each for name, each in fields.items() if name not in OURS}
                for fields in (expected, actual)
            )
            super().check_json(expected, actual, what)
        else:
            super().check_json(expected, actual, what)


class ByocPaymentReplay(PaymentReplay):
    """One run of one scenario; `chain` is by `clock`."""

    def __init__(self, clock: MovedClock, transcript: Transcript, *given: Any) -> None:
        """`given`: what else `PaymentReplay` takes."""
        super().__init__(transcript, *given)
        fresh = {"capability": "paid-capability", "stream_id": "paid-stream"}
        known, patterns = self.values.known | fresh, self.values.patterns
        values = PayerValues(known, patterns)
        values.chain = self._chain
        keys = {name: Key(each["private_key"]) for name, each in transcript.raw["keys"].items()}
        values.keys = {key.name.lower(): key for key in keys.values()}
        values.forger = keys["signer"] if self.scenario.name == "other_key" else None
        self.values, self._clock = values, clock

    async def _step(self, step: Step) -> None:
        if "wait_s" in step:
            await self._clock.move(step["wait_s"])
        elif "send" in step:
            await self._clock.move(step.get("after_s", 0))
            await super()._step(step)
        elif step.get("caller") == "s" and "receives" in step:
            # A state is as long as its maker likes, and the answer in chunks above 2,048 bytes.
            headers = {**step["receives"]["headers"], "Content-Length": LENGTH}
            headers.pop("Transfer-Encoding", None)
            await super()._step({**step, "receives": {**step["receives"], "headers": headers}})
        elif "container" in step and step.get("answers", {}).keys() == {"status", "headers"}:
            await super()._step({**step, "answers": {**step["answers"], "body": ""}})
        elif "each_s" in step:
            for piece in step["answers"]["pieces"]:
                await self._clock.move(step["each_s"])
                await self._pass_on(step, piece)
        elif "receives" in step and step["receives"] is None:
            await self._clock.move(step.get("for_s", 0))
            await super()._step({**step, "for_s": SILENCE})
        else:
            await super()._step(step)

    async def _receive_body(self, caller: Caller, receives: dict[str, Any], limit: float) -> None:
        """Where an answer goes on, what comes after a step's text is that of the next step."""
        length = None if receives.get("ended") else self.values.body_length(receives)
        if length is None:
            await super()._receive_body(caller, receives, limit)
            return
        until, message = caller.taken + length, caller.message
        await message.until(
            lambda: len(message.body) >= until or message.closed, limit, "more of the body"
        )
        self.values.check_body(receives, bytes(message.body[caller.taken : until]))
        caller.taken = until

    async def _pass_on(self, step: Step, piece: Any) -> None:
        """A piece of an answer that goes on has reached the caller before time passes."""
        message = self.callers["c"].message
        before = len(message.body)
        with contextlib.suppress(ConnectionError):
            await super()._step({**step, "answers": {"pieces": [piece]}})
        await message.until(
            lambda: len(message.body) >= before + len(piece) or message.ended or message.closed,
            20,
            "a piece of the answer",
        )


def _bytes(fields: Fields) -> Fields:
    return {
        name: bytes.fromhex(each[2:]) if isinstance(each, str) else each
        for name, each in fields.items()
    }
