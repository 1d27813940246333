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
from pathlib import Path
from urllib.request import Request, urlopen

import aiohttp
import pytest

from livepeer.runner.playground.network import find_caller

LIVEPEER = (sys.executable, "-P", "-c", "from livepeer.trickle.cli import main; main()")
LIMIT = 60
ROOT = Path(__file__).parents[2]
START = {"type": "start", "params": {"u": 90}, "width": 160, "height": 96}


@contextmanager
def command(home: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Ended by Ctrl-C, with 0."""
    kept = {name: value for name, value in os.environ.items() if "LIVEPEER" not in name}
    user = {"HOME": str(home), "XDG_CONFIG_HOME": str(home), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [*LIVEPEER, *arguments, "--no-open"],
        env={**kept, **user},
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
            origin = page.rsplit("/", 2)[0]
            request = Request(
                f"{page}api/call/0", b'{"name": "Ada"}', {"Origin": origin, "Host": origin[7:]}
            )
            with urlopen(request, timeout=LIMIT) as answer:
                assert json.load(answer) == "Hello, Ada!"
        with command(tmp_path, "play", "live-tint", *where) as playing:
            asyncio.run(_streams(until(playing, r"playground: (\S+)")))


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
