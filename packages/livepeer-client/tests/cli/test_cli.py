"""The commands, as processes: what they print, where, and with which exit code."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from livepeer.client.cli.discover import _table
from livepeer.client.testing import HANG, events, reply
from livepeer.client.types import CapabilityInfo, Offer, Rejection, RunnerInfo
from livepeer.trickle.text import printable

Start = Callable[..., Any]


LIVEPEER = [sys.executable, "-c", "from livepeer.trickle.cli import main; main()"]


@pytest.fixture(scope="module", autouse=True)
def imported(commands: tuple[str, ...]) -> None:
    LIVEPEER[:] = commands


async def livepeer(
    *arguments: str, stdin: bytes = b"", env: dict[str, str] | None = None
) -> tuple[int, bytes, str]:
    process = await asyncio.create_subprocess_exec(
        *LIVEPEER,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"COLUMNS": "200"} | (env or {}),
    )
    out, err = await asyncio.wait_for(process.communicate(stdin), 200)
    assert process.returncode is not None
    return process.returncode, out, err.decode()


async def test_run_prints_json_on_a_pipe_and_takes_fields_of_every_kind(
    start: Start, tmp_path: Path
) -> None:
    orch = await start(job=lambda request: reply(request.json()))
    (tmp_path / "a.txt").write_bytes(b"hi")
    code, out, err = await livepeer(
        "run",
        "echo",
        *("-i", "text=hello world", "-i", "n=3", "-i", 's="3"', "-i", 'l=["a"]'),
        *("-i", f"file=@{tmp_path / 'a.txt'}"),
        *("--orch", orch.url),
    )
    assert (code, err) == (0, "")
    assert json.loads(out) == {"text": "hello world", "n": 3, "s": "3", "l": ["a"], "file": "aGk="}
    code, out, _ = await livepeer(
        "run", "echo", "-i", "@-", stdin=b'{"a":1}', env={"LIVEPEER_ORCH_URL": orch.url}
    )
    assert (code, json.loads(out)) == (0, {"a": 1})


async def test_run_writes_files_to_a_file_or_a_pipe(start: Start, tmp_path: Path) -> None:
    orch = await start(job=reply(b"\x89PNG", content_type="image/png"))
    target = tmp_path / "out.png"
    code, out, err = await livepeer("run", "paint", "-o", str(target), "--orch", orch.url)
    assert (code, out, target.read_bytes()) == (0, b"", b"\x89PNG") and str(target) in err
    assert (await livepeer("run", "paint", "--orch", orch.url))[1] == b"\x89PNG"
    orch.job = reply({"a": 1})
    await livepeer("run", "paint", "-o", str(target), "--orch", orch.url)
    assert json.loads(target.read_text()) == {"a": 1}


async def test_stream_prints_each_event_or_one_field_of_it(start: Start) -> None:
    orch = await start(
        job=events(
            'data: {"t":"Hel"}\n\nevent: progress\ndata: {"progress":1}\n\ndata: {"t":"lo"}\n\n',
            "data: [DONE]\n\n",
        )
    )
    code, out, err = await livepeer("stream", "llm", "--orch", orch.url)
    assert (code, out, err) == (0, b'{"t":"Hel"}\n{"t":"lo"}\n', 'progress: {"progress":1}\n')
    assert (await livepeer("stream", "llm", "--field", "t", "--orch", orch.url))[1] == b"Hello\n"
    out = (await livepeer("stream", "llm", "--all", "--orch", orch.url))[1]
    assert [json.loads(line)["event"] for line in out.splitlines()] == [
        "message",
        "progress",
        "message",
    ]


async def test_each_kind_of_failure_has_its_exit_code(start: Start) -> None:
    orch = await start()
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{unused.getsockname()[1]}"
        cases: list[tuple[list[str], Any, int, str]] = [
            (["--orch", orch.url], reply("boom", 500), 1, "failed with 500"),
            (["--orch", "orch:8935"], None, 2, "needs its scheme"),
            ([], None, 2, "LIVEPEER_ORCH_URL"),
            (["--orch", orch.url, "-i", "nonsense"], None, 2, "not K=V"),
            (["--orch", orch.url, "-i", "a=@none"], None, 2, "no file none"),
            (["--orch", orch.url, "--max-retries", "0"], reply("busy", 503), 3, "no room"),
            (["--orch", orch.url, "--max-retries", "-1"], None, 2, "max_retries"),
            (["--orch", orch.url], reply("pay", 402), 4, "paid for"),
            (["--orch", orch.url], reply("bad", 422), 5, "refused"),
            (["--orch", orch.url, "--timeout", "0.5"], [HANG], 6, "within the 0.5 s"),
            (["--orch", dead], None, 7, "no connection"),
        ]

        async def one(arguments: list[str], answer: Any, code: int, told: str) -> None:
            if answer is not None:
                orch.job = answer
            got, out, err = await livepeer("run", "echo", *arguments)
            assert (got, out) == (code, b""), (arguments, err)
            assert told in err and "Traceback" not in err

        for case in cases:
            await one(*case)


async def test_discover_tells_who_has_room_at_which_price(start: Start) -> None:
    orch = await start(capacity=3)
    code, out, _ = await livepeer("discover", "a", "b", "--orch", orch.url)
    found = json.loads(out)
    assert code == 0 and [each["capability"] for each in found] == ["a", "b"]
    (offer,) = found[0]["offers"]
    assert (offer["capacity"], offer["price_wei_per_second"]) == (3, 0.0)
    orch.capacity = 0
    code, out, _ = await livepeer("discover", "a", "--orch", orch.url)
    assert code == 3 and not json.loads(out)[0]["available"]
    code, out, err = await livepeer("discover", "--orch", orch.url)
    assert (code, out) == (0, b"[]\n") and "asked for by name" in err


async def test_discover_lists_each_live_runner_with_what_it_says_of_itself(start: Start) -> None:
    gpu = {"name": "NVIDIA H100", "vram_mb": 81920}
    usual = {"app": "org/x", "mode": "single-shot", "capacity_available": 2, "gpu": gpu}
    entries = [
        usual
        | {"url": "http://o/apps/a/app", "version": "2", "metadata": '{"image":"r@sha256:12"}'},
        usual | {"url": "http://o/apps/b/app", "mode": "persistent"},
    ]
    orch = await start(other=lambda _: reply([{"runners": entries}]), capacity=0)
    code, out, _ = await livepeer("discover", "--json", "--orch", orch.url)
    ((offer,),) = [each["offers"] for each in json.loads(out)]
    first, second = offer["runners"]
    assert (code, first["version"], first["image"], first["gpu"]) == (
        0,
        "2",
        "r@sha256:12",
        "NVIDIA H100",
    )
    assert first["image_verified"] is False
    assert (second["mode"], second["capacity"], second["price_unit"]) == ("persistent", 2, None)


async def test_trust_is_the_one_command_that_accepts_a_changed_certificate(
    start: Start, certificate: Callable[[], ssl.SSLContext], tmp_path: Path
) -> None:
    env = {"LIVEPEER_PINS": str(tmp_path / "pins.json"), "LIVEPEER_TLS": "pin"}
    orch = await start(ssl_context=certificate())
    assert (await livepeer("run", "echo", "--orch", orch.url, env=env))[0] == 0
    await orch.stop()
    await start(port=orch.port, ssl_context=certificate())
    code, _, err = await livepeer("run", "echo", "--orch", orch.url, env=env)
    command = f"livepeer trust 127.0.0.1:{orch.port}"
    assert code == 7 and command in " ".join(err.split())
    assert (await livepeer(*command.split()[1:], env=env))[0] != 0  # it asks, and nobody answered
    code, _, err = await livepeer(*command.split()[1:], "--yes", env=env)
    assert code == 0 and "pinned:" in err and "shown:" in err
    assert (await livepeer("run", "echo", "--orch", orch.url, env=env))[0] == 0


@pytest.mark.parametrize("command", ["run", "stream", "live", "discover", "trust"])
async def test_help_explains_itself_with_exit_codes(command: str) -> None:
    code, out, _ = await livepeer(command, "--help")
    assert code == 0 and b"Usage" in out
    assert command == "trust" or b"Exit codes" in out


def test_what_others_say_is_neither_markup_nor_obeyed_in_the_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    hostile = Rejection("https://orch", "[/red]\x1b[2J\u202eno [bold]room", "connect")
    card = RunnerInfo(
        "persistent", 2, unit="seconds", gpu="[bold]H100", vram_mb=81920, image="r@sha256:abcdef"
    )
    offers = (
        Offer("https://orch", "tint", 2, mode="persistent", runners=(card,)),
        Offer("https://orch", "tint", 0, Fraction(3)),
    )
    _table([CapabilityInfo("tint", offers, (hostile,))])
    printed, said = capsys.readouterr()
    assert "not verified" in said
    for text in ("persistent", "[bold]H100 (80 GB)", "abcdef", "BYOC", "3 / second"):
        assert text in printed
    assert "[/red]\\x1b[2J\\u202eno [bold]room" in printed
    assert printable(printed, lines=True) == printed


async def test_a_script_that_does_not_say_yes_pays_nothing_and_is_told_the_price(
    start: Start,
) -> None:
    def identity(request: Any) -> list[Any]:
        known = request.path == "/sign-orchestrator-info"
        return reply(
            {"address": "0xAbC", "signature": "0x01"} if known else "", 200 if known else 404
        )

    orch, signer = await start(price={"pricePerUnit": 7}), await start(other=identity)
    where = ("--orch", orch.url, "--signer", signer.url)
    for command in ("run", "stream", "live"):
        code, out, err = await livepeer(command, "echo", *where)
        assert (code, out) == (4, b"")
        assert "echo costs 7 wei per second" in err and "--yes" in err
    assert not orch.jobs and len(signer.others) == 3  # who asks for the price, and nothing else
    free = await start()
    code, _, err = await livepeer("run", "echo", "--orch", free.url, "--signer", signer.url)
    assert (code, err.count("wei")) == (0, 0)
