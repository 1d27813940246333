"""The parts of a registration by themselves: callers, the guessed address, the GPU, the delays."""

import os
import socket
import stat
from pathlib import Path

import pytest

from livepeer.runner.attach import gpu
from livepeer.runner.attach.address import guess_url
from livepeer.runner.attach.byoc.client import available_capacity
from livepeer.runner.attach.client import RegistryAnswer
from livepeer.runner.exceptions import RegistrationError
from livepeer.runner.registration import Callers, OrchestratorState, Timing


def test_a_token_that_says_nothing_is_no_number_of_places() -> None:
    for text in ("", "[]", "[" * 100_000, '{"available_capacity": "many"}'):
        assert available_capacity(RegistryAnswer(200, text)) is None
    assert available_capacity(RegistryAnswer(200, "{}")) == 0


class TestCallers:
    def test_a_token_says_who_calls(self) -> None:
        callers = Callers(["https://a", "https://b"])
        first, second = callers
        assert callers.authenticate(f"Bearer {second.token.reveal()}") is second
        assert callers.authenticate(f"bearer  {first.token.reveal()} ") is first

    @pytest.mark.parametrize(
        "header",
        [
            None,
            "",
            "Bearer",
            "Bearer ",
            "Bearer wrong",
            "Basic {token}",
            "{token}",
            "Bearer ü\udcff",
        ],
    )
    def test_anything_else_is_nobody(self, header: str | None) -> None:
        callers = Callers(["https://a"])
        (caller,) = callers
        given = header and header.replace("{token}", caller.token.reveal())
        assert callers.authenticate(given) is None

    def test_each_process_and_each_orchestrator_has_fresh_tokens(self) -> None:
        tokens = {caller.token for _ in range(3) for caller in Callers(["https://a", "https://b"])}
        assert len(tokens) == 6
        assert min(len(token.reveal()) for token in tokens) >= 40

    def test_work_is_counted_until_it_ends_however_it_ends(self) -> None:
        (caller,) = Callers(["https://a"])
        with pytest.raises(RuntimeError), caller.working(), caller.working():
            assert caller.in_flight == 2
            raise RuntimeError
        assert (caller.in_flight, caller.started) == (0, 2)


class TestGuess:
    async def test_on_one_machine_it_is_loopback(self) -> None:
        assert await guess_url("https://127.0.0.1:8935", 80) == "http://127.0.0.1:80"
        assert await guess_url("https://localhost:8935", 80) in (
            "http://127.0.0.1:80",
            "http://[::1]:80",
        )

    async def test_a_public_orchestrator_needs_a_url_that_leads_here(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The route is this machine's own affair: where there is none, that is the error."""
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no route to public addresses")
        with pytest.raises(RegistrationError, match="set LIVEPEER_CAPABILITY_URL"):
            await guess_url("https://8.8.8.8:8935", 80)

    async def test_what_is_listened_on_is_the_address(self) -> None:
        assert await guess_url("https://127.0.0.1:1", 80, "127.0.0.2") == "http://127.0.0.2:80"
        assert await guess_url("https://127.0.0.1:1", 80, "::1") == "http://[::1]:80"
        assert await guess_url("https://127.0.0.1:1", 80, "::") == "http://127.0.0.1:80"
        assert await guess_url("https://127.0.0.1:1", 80, "localhost") == "http://127.0.0.1:80"

    async def test_listening_on_loopback_only_is_no_use_to_others(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(("10.255.255.254", 9))
            except OSError:
                pytest.skip("this machine has no route to other machines")
        with pytest.raises(RegistrationError, match=r"set HOST=0\.0\.0\.0"):
            await guess_url("https://10.255.255.254:8935", 80, "127.0.0.1")

    async def test_a_name_that_is_none_may_be_one_later(self) -> None:
        with pytest.raises(OSError):
            await guess_url("https://nowhere.invalid", 80)


class TestGPU:
    def test_the_list_of_the_driver_is_read(self) -> None:
        assert (
            gpu.parse("NVIDIA L4, 23034\nNVIDIA L4, 23034\n") == [gpu.GPU("NVIDIA L4", 23034)] * 2
        )
        assert gpu.parse("No devices were found\n\n, 5\nX, [N/A]\n") == []

    @pytest.mark.parametrize(
        ("found", "text"),
        [
            ([], ""),
            ([gpu.GPU("NVIDIA L4", 23034)], "NVIDIA L4, 22 GB VRAM"),
            ([gpu.GPU("NVIDIA L4", 23034)] * 2, "2 x NVIDIA L4, 22 GB VRAM each"),
            (
                [gpu.GPU("NVIDIA L4", 23034), gpu.GPU("Tesla T4", 15360)],
                "NVIDIA L4, 22 GB VRAM; Tesla T4, 15 GB VRAM",
            ),
        ],
    )
    def test_it_is_described_in_a_line(self, found: list[gpu.GPU], text: str) -> None:
        assert gpu.describe(found) == text

    @pytest.mark.parametrize(
        ("script", "count"),
        [("echo 'NVIDIA L4, 23034'", 1), ("echo broken >&2; exit 9", 0), (None, 0)],
    )
    async def test_it_is_asked_of_the_machine(
        self, script: str | None, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if script is not None:
            program = tmp_path / "nvidia-smi"
            program.write_text(f"#!/bin/sh\n{script}\n")
            program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", os.pathsep.join([str(tmp_path), "/bin"] if script else []))
        assert len(await gpu.read_gpus()) == count


def test_the_delay_doubles_up_to_its_limit_and_is_spread() -> None:
    timing = Timing(retry_first=1.0, retry_most=8.0)
    state = OrchestratorState("https://a")
    delays = []
    for _ in range(8):
        state = state.becomes("retrying", "down")
        delays.append(state.delay(timing))
    for delay, expected in zip(delays, [1, 2, 4, 8, 8, 8, 8, 8], strict=True):
        assert 0.75 * expected <= delay <= 1.25 * expected
    assert state.becomes("registered").attempts == 0
    many = OrchestratorState("https://a", attempts=10_000)
    assert many.delay(timing) <= 10.0
