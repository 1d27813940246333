"""A service ends, whatever its author's teardown and its orchestrators do."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import Any

import pytest

from livepeer.runner import Pipeline, local
from livepeer.runner.devnet import LocalOrchestrator
from livepeer.runner.environment import Secret
from livepeer.runner.registration import Registration
from livepeer.runner.running import service as service_module
from livepeer.runner.settings import OrchestratorAddress, RegistrationSettings

LIMIT = 60.0


class Say(Pipeline):
    def predict(self, text: str) -> str:
        return text


def at(orchestrator: LocalOrchestrator) -> RegistrationSettings:
    return RegistrationSettings((OrchestratorAddress(orchestrator.url, Secret("s")),))


class Raising(Say):
    def teardown(self) -> None:
        raise ValueError("of the author's")


class Exiting(Say):
    async def teardown(self) -> None:
        raise SystemExit("of the author's")


@pytest.mark.parametrize("cls", [Raising, Exiting])
async def test_a_teardown_that_raises_is_told_and_ends_nothing_else(
    cls: type[Pipeline], caplog: pytest.LogCaptureFixture
) -> None:
    async with local.serve(cls) as hosted:
        await hosted.predict({"text": "hi"})
    assert "teardown raised" in caplog.text and "of the author's" in caplog.text


async def test_a_teardown_that_hangs_is_left_behind(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(service_module, "TEARDOWN_SECONDS", 0.1)
    release = threading.Event()

    class Hanging(Say):
        def teardown(self) -> None:
            release.wait(LIMIT)

    try:
        began = time.monotonic()
        async with local.serve(Hanging):
            pass
        assert time.monotonic() - began < LIMIT / 2
        assert "teardown took longer" in caplog.text
    finally:
        release.set()


async def test_a_registration_that_breaks_off_leaves_a_pipeline_that_serves(
    served: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By an error that nobody has foreseen: what an orchestrator does becomes a state."""
    broke = asyncio.Event()

    async def breaks(_: Registration) -> None:
        broke.set()
        raise RuntimeError("a defect of ours")

    monkeypatch.setattr(Registration, "__aenter__", breaks)
    async with LocalOrchestrator(secret="s") as orchestrator:
        async with served(Say, registration=at(orchestrator)) as s:
            async with asyncio.timeout(LIMIT):
                await broke.wait()
            assert (await s.http.get("/ready")).status_code == 200
    assert "the pipeline goes on serving" in caplog.text


async def test_an_end_does_not_wait_for_orchestrators_that_take_no_leave(
    served: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither before its work is over nor after it: what hangs is cancelled, and told."""
    cancelled: list[str] = []

    def hangs(name: str) -> Any:
        async def hang(*_: object) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.append(name)

        return hang

    leave = Registration.__aexit__
    monkeypatch.setattr(service_module, "UNREGISTER_SECONDS", 0.1)
    monkeypatch.setattr(Registration, "drain", hangs("drain"))
    monkeypatch.setattr(Registration, "__aexit__", hangs("leave"))
    async with LocalOrchestrator(secret="s") as orchestrator:
        async with served(Say, registration=at(orchestrator)) as s:
            registration: Registration = s.service.registration
            async with asyncio.timeout(LIMIT):
                await registration.settled()
            async with asyncio.timeout(LIMIT):
                await s.service.drain()
                while len(cancelled) < 2:  # noqa: ASYNC110 — the task was told, and is not waited for
                    await asyncio.sleep(0.01)
            await leave(registration, None, None, None)
    assert cancelled == ["drain", "leave"]
    levels = [one.levelno for one in caplog.records if "longer than" in one.getMessage()]
    assert levels == [logging.ERROR, logging.ERROR]
