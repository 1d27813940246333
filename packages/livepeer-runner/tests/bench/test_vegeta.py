"""The same figures as vegeta's, at the same rate from the same server.

`go install github.com/tsenart/vegeta/v12@latest` makes it; it is looked for on the path, and in
`GOBIN` and `~/go/bin`.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from livepeer.runner.bench.measure import measure
from livepeer.runner.bench.plan import Plan
from livepeer.runner.targets.reference import target_of

RATE, SECONDS = 60, 12


def vegeta() -> str | None:
    folders = [os.environ.get("GOBIN", ""), str(Path.home() / "go" / "bin")]
    return shutil.which("vegeta") or next(
        (found for folder in folders if folder and (found := shutil.which("vegeta", path=folder))),
        None,
    )


@pytest.fixture
async def slow_server() -> AsyncIterator[tuple[str, list[float]]]:
    """40 ms for nine of ten, else 160; and how long it kept each, by its own clock."""
    draw, kept = random.Random(3), []  # type: ignore[var-annotated]

    async def answer(request: web.Request) -> web.Response:
        came = time.perf_counter()
        await request.read()
        await asyncio.sleep(0.16 if draw.random() < 0.1 else 0.04)
        kept.append(time.perf_counter() - came)
        return web.json_response({})

    app = web.Application()
    app.router.add_post("/predict", answer)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/"), kept


@pytest.mark.slow
@pytest.mark.interop
async def test_vegeta_says_the_same(slow_server: tuple[str, list[float]], tmp_path: Path) -> None:
    program = vegeta()
    if program is None:
        pytest.skip("not run: vegeta is not installed (go install github.com/tsenart/vegeta/v12)")
    url, kept = slow_server
    (tmp_path / "body").write_text("{}")
    (tmp_path / "target").write_text(
        f"POST {url}/predict\nContent-Type: application/json\n@{tmp_path}/body\n"
    )
    theirs = await said(
        f"{program} attack -rate={RATE}/s -duration={SECONDS}s -targets={tmp_path}/target"
        f" | {program} report -type=json"
    )
    truth = sorted(kept)
    kept.clear()
    plan = Plan(rates=[RATE], duration=SECONDS, warmup=0, arrivals="even")
    ours = (await measure(target_of(url), plan, inputs=[{}])).loads[0]
    assert theirs["success"] == 1 and ours.outcomes == {"ok": RATE * SECONDS}
    assert ours.throughput == pytest.approx(theirs["throughput"], rel=0.1)
    told = ours.latency.percentiles
    if abs(truth[len(truth) // 2] - sorted(kept)[len(kept) // 2]) > 0.005:
        pytest.skip("the server itself was not as fast the second time: nothing can be compared")
    for name, key in (("p50", "50th"), ("p95", "95th"), ("p99", "99th")):
        assert told[name].ms == pytest.approx(theirs["latencies"][key] / 1e6, rel=0.1), name


async def said(command: str) -> Any:
    process = await asyncio.create_subprocess_shell(command, stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(SECONDS + 60):
        out, _ = await process.communicate()
    assert process.returncode == 0
    return json.loads(out)
