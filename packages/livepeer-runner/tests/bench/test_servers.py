"""What is said of real servers; the truth is their own record of the same run."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from livepeer.runner.bench.measure import measure
from livepeer.runner.bench.plan import Plan
from livepeer.runner.bench.report import LoadReport
from livepeer.runner.targets.reference import target_of

Keep = Callable[[], Awaitable[None]]


async def measured(keep: Keep, plan: Plan) -> tuple[list[LoadReport], list[float]]:
    """The loads, and how long the server kept each call by its own clock."""
    kept: list[float] = []

    async def answer(request: web.Request) -> web.Response:
        came = time.perf_counter()
        await request.read()
        await keep()
        kept.append(time.perf_counter() - came)
        return web.json_response({})

    app = web.Application()
    app.router.add_post("/predict", answer)
    async with TestServer(app) as server:
        report = await measure(target_of(str(server.make_url("")).rstrip("/")), plan, inputs=[{}])
    return report.loads, sorted(kept)


@pytest.mark.slow
async def test_a_server_of_known_delay_is_told_within_five_percent() -> None:
    draw = random.Random(3)

    async def keep() -> None:
        await asyncio.sleep(0.4 if draw.random() < 0.05 else 0.1)

    (load,), kept = await measured(keep, Plan(rates=[40], duration=15, warmup=0))
    if load.limit:
        pytest.skip(f"this machine is too busy to measure on: {load.limit}")
    told = load.latency.percentiles
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        assert told[name].ms == pytest.approx(kept[int(len(kept) * share)] * 1000, rel=0.05), name


@pytest.mark.slow
async def test_a_server_that_freezes_for_a_second_in_ten() -> None:
    """An open loop says so; a closed one, the negative control, hides it."""
    began = time.monotonic()

    async def keep() -> None:
        await asyncio.sleep(0.005)
        if (over := (time.monotonic() - began) % 10) < 1:
            await asyncio.sleep(1 - over)

    (closed, opened), _ = await measured(
        keep, Plan(rates=[40], concurrency=[1], duration=20, warmup=0)
    )
    if opened.limit:
        pytest.skip(f"this machine is too busy to measure on: {opened.limit}")
    assert 750 < opened.latency.percentiles["p99"].ms < 1300
    assert closed.latency.percentiles["p99"].ms < opened.latency.percentiles["p99"].ms / 5
