"""`livepeer play`: a page for a capability of the network, called by the client's own roads."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import aiohttp
import numpy as np
import pytest

from livepeer.runner.playground.network import find_caller
from livepeer.trickle.media import VideoFrame, decode, encode

LIVEPEER = (sys.executable, "-P", "-c", "from livepeer.trickle.cli import main; main()")
LIMIT = 60
ROOT = Path(__file__).parents[2]
START = {"type": "start", "params": {"u": 90}, "width": 160, "height": 96}


@contextmanager
def command(home: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Ended by Ctrl-C, with 0."""
    with subprocess.Popen(
        [*LIVEPEER, *arguments, "--no-open"],
        env=_environment(home),
        cwd=home,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=LIMIT)
            assert process.returncode == 0
        finally:
            process.kill()


def until(process: subprocess.Popen[str], pattern: str) -> str:
    assert process.stdout is not None
    text = ""
    for line in process.stdout:
        text += line
        if found := re.search(pattern, text, re.M):
            return found[1]
    pytest.fail(f"it ended without {pattern}: {text}")


def test_the_network_brings_a_caller() -> None:
    assert find_caller() is not None


@pytest.mark.slow
def test_a_page_calls_what_is_on_the_network(tmp_path: Path) -> None:
    free = [w for each in ("port", "orch-port", "gateway-port") for w in (f"--{each}", "0")]
    examples = [str(ROOT / f"examples/{each}/pipeline.py") for each in ("live_tint", "hello_world")]
    with command(tmp_path, "dev", *examples, *free, "--play-port", "0") as network:
        orch = until(network, r"^  orchestrator +(\S+)$")
        where = ["--orch", orch, "--tls", "pin", "--port", "0"]
        with command(tmp_path, "play", "hello-world", *where) as playing:
            page = until(playing, r"playground: (\S+)")
            assert json.loads(_posted(f"{page}api/call/0", {"name": "Ada"})) == "Hello, Ada!"
        with command(tmp_path, "play", "live-tint", *where) as playing:
            asyncio.run(_streams(until(playing, r"playground: (\S+)")))


@pytest.mark.slow
def test_what_costs_is_agreed_to_and_what_was_spent_is_told(tmp_path: Path) -> None:
    free = [w for each in ("port", "orch-port", "gateway-port") for w in (f"--{each}", "0")]
    examples = [str(ROOT / f"examples/{each}/pipeline.py") for each in ("live_tint", "hello_world")]
    with command(tmp_path, "dev", *examples, *free, "--paid", "--play-port", "0") as network:
        orch = until(network, r"^  orchestrator +(\S+)$")
        signer = until(network, r"^  signer +(\S+)")
        where = ["--orch", orch, "--tls", "pin", "--port", "0", "--signer", signer]
        refused = subprocess.run(
            [*LIVEPEER, "play", "hello-world", *where, "--no-open"],
            env=_environment(tmp_path),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )
        assert refused.returncode == 4 and refused.stdout == ""
        assert "costs 2.4e+09 wei per second" in refused.stderr and "--yes" in refused.stderr
        agreed = [*where, "--yes", "--max-spend", "60e9"]
        with command(tmp_path, "play", "hello-world", *agreed) as playing:
            page = until(playing, r"playground: (\S+)")
            before = _entry(page)
            assert before["price"] == "2.4e+09 wei per second"
            # What it takes was asked of it, and paid for as every request is.
            assert json.loads(_posted(f"{page}api/call/0", {"name": "Ada"})) == "Hello, Ada!"
            assert _entry(page)["spent"] >= before["spent"] + 2.4e9
            with pytest.raises(HTTPError) as over:
                for _ in range(3):
                    _posted(f"{page}api/call/0", {"name": "Ada"})
            assert "max_spend" in over.value.read().decode()
            assert _entry(page)["spent"] <= 60e9
            lines = json.loads(_posted(f"{page}api/lines/0", {"input": {"name": "Eve"}}))
            assert lines["curl"].startswith("# Not by curl") and "--yes" in lines["Shell"]
            assert "Hello, Eve!" in _run(tmp_path, lines["Shell"])
        # It takes requests in sessions only, and tells what it takes in one.
        with command(tmp_path, "play", "live-tint", *where, "--yes") as playing:
            page = until(playing, r"playground: (\S+)")
            before = _entry(page)["spent"]
            asyncio.run(_streams(page))
            assert _entry(page)["spent"] > before


@pytest.mark.slow
def test_the_code_of_a_capability_of_the_network_is_true(tmp_path: Path) -> None:
    free = [w for each in ("port", "orch-port", "gateway-port") for w in (f"--{each}", "0")]
    tint = str(ROOT / "examples/live_tint/pipeline.py")
    frames = (
        VideoFrame.from_ndarray(np.full((96, 160, 3), 110, np.uint8), time=Fraction(number, 15))
        for number in range(24)
    )
    encode(frames, tmp_path / "in.mp4", format="mp4")
    with command(tmp_path, "dev", tint, *free, "--play-port", "0") as network:
        orch = until(network, r"^  orchestrator +(\S+)$")
        with command(
            tmp_path, "play", "live-tint", "--orch", orch, "--tls", "pin", "--port", "0"
        ) as playing:
            page = until(playing, r"playground: (\S+)")
            lines = json.loads(_posted(f"{page}api/lines/0", {"params": {"u": 200}}))
            assert lines["curl"].startswith("# Not by curl")
            (tmp_path / "call.py").write_text(lines["Python"])
            assert "VideoFrame" in _run(tmp_path, f"{sys.executable} call.py")
            _run(tmp_path, lines["Shell"])
            assert next(decode(tmp_path / "out.mp4")).planes[0].shape == (96, 160)


def _environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if "LIVEPEER" not in name}
    return {**kept, "HOME": str(home), "XDG_CONFIG_HOME": str(home), "PYTHONUNBUFFERED": "1"}


def _run(home: Path, line: str) -> str:
    """What a line of the page prints."""
    (home / "bin").mkdir(exist_ok=True)
    shell = home / "bin" / "livepeer"
    shell.write_text(f'#!/bin/sh\nexec {sys.executable} -P -c "{LIVEPEER[-1]}" "$@"\n')
    shell.chmod(0o755)
    environment = _environment(home)
    environment["PATH"] = f"{home}/bin:{environment['PATH']}"
    done = subprocess.run(
        ["sh", "-c", line],
        cwd=home,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _posted(url: str, content: object) -> bytes:
    host = url.split("/")[2]
    headers = {"Origin": f"http://{host}", "Host": host, "Content-Type": "application/json"}
    with urlopen(Request(url, json.dumps(content).encode(), headers), timeout=LIMIT) as answer:
        return bytes(answer.read())


def _entry(page: str) -> dict[str, Any]:
    """The pipeline as the page is told of it."""
    with urlopen(f"{page}api/news", timeout=LIMIT) as news:
        entry: dict[str, Any] = json.loads(news.readline().removeprefix(b"data: "))
        return entry


async def _streams(page: str) -> None:
    headers = {"Origin": page.rsplit("/", 2)[0]}
    async with aiohttp.ClientSession() as browser:
        async with browser.ws_connect(f"{page}live/0", headers=headers) as ws:
            await ws.send_json(START)
            told = await ws.receive_json(timeout=LIMIT)
            assert told["type"] == "started", told
            await ws.send_json({"type": "params", "id": 1, "params": {"u": 700}})
            while (told := await ws.receive_json(timeout=LIMIT))["type"] != "params":
                pass
            assert told["error"]["fields"][0]["name"] == "u"
            await ws.send_json({"type": "params", "id": 2, "params": {"u": 200}})
            while (told := await ws.receive_json(timeout=LIMIT))["type"] != "params":
                pass
            assert told["params"]["u"] == 200
