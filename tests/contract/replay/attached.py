"""Plays the callers of a live runner's scenario against a service that is merely attached
(replayer 2): what the recorded runner sent as heartbeats comes from a `Registration` of ours."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import Iterator
from typing import Any

from livepeer.runner.devnet import LocalOrchestrator
from livepeer.runner.registration import Capability, Registration

from .orchestrator import LIMIT, OrchestratorReplay
from .transcript import Mismatch, Scenario, Step, Transcript

HEARTBEAT = "/runners/heartbeat"


def first_heartbeat(scenario: Scenario) -> dict[str, Any]:
    """What the recorded runner said of itself."""
    said: dict[str, Any] = scenario.steps[0]["send"]["body"]["json"]
    return said


def without_heartbeats(steps: list[Step]) -> Iterator[Step]:
    beating: set[str] = set()
    for step in steps:
        caller = step.get("caller", "")
        if "send" in step and step["send"].get("path") == HEARTBEAT:
            beating.add(caller)
        elif caller in beating and "receives" in step:
            beating.discard(caller)
        else:
            yield step


class AttachedReplay(OrchestratorReplay):
    """The scripted server is the foreign service; its requests are compared byte for byte."""

    def __init__(
        self, transcript: Transcript, scenario: Scenario, orchestrator: LocalOrchestrator
    ) -> None:
        address = orchestrator.url.removeprefix("https://")
        super().__init__(transcript, scenario, address, orchestrator.secret, True)
        self._orchestrator = orchestrator

    async def _set_up(self, stack: contextlib.AsyncExitStack) -> None:
        await super()._set_up(stack)
        said = first_heartbeat(self.scenario)
        if unknown := said.keys() - {"runner_id", "runner_url", "app", "mode", "capacity"}:
            raise Mismatch(f"a heartbeat of ours has no {sorted(unknown)}")
        capability = Capability(
            name=said["app"],
            url=self.values.text(said["runner_url"]),
            capacity=said.get("capacity", 1),
            mode=said.get("mode", "persistent"),
        )
        kept = await stack.enter_async_context(
            Registration(
                self._orchestrator.url,
                self._orchestrator.secret,
                capability=capability,
                kind="live-runner",
            )
        )
        async with asyncio.timeout(LIMIT):
            await kept.settled()
        (runner,) = self._orchestrator.runners
        assert runner.o2r is not None
        key = runner.o2r["channel_name"].removeprefix(f"{runner.id}-").removesuffix("-o2r")
        self.values.known |= {"o2r_key": key, "heartbeat_secret": runner.heartbeat_secret}
        ours = json.dumps(list(without_heartbeats(self.scenario.steps)))
        steps = json.loads(ours.replace(said["runner_id"], runner.id))
        self.scenario = dataclasses.replace(self.scenario, steps=steps)


async def replay(transcript: Transcript, scenario: Scenario) -> None:
    """Play one scenario, at an orchestrator of its own. Raises `Mismatch`."""
    async with LocalOrchestrator() as orchestrator:
        await AttachedReplay(transcript, scenario, orchestrator).run()
