"""Several containers of one app at one orchestrator, shared by their callers."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from livepeer.client import Gateway, LivepeerError

from .media import LIMIT
from .network import HERE, Network

APP = "org/who"


def inside(folder: Path) -> Counter[int]:
    """How many calls each process has taken, by its id."""
    return Counter(int(each.name.partition(".")[0]) for each in folder.glob("*.*"))


async def until_inside(folder: Path, count: int) -> Counter[int]:
    async with asyncio.timeout(LIMIT):
        while inside(folder).total() < count:  # noqa: ASYNC110 — other processes make the files
            await asyncio.sleep(0.02)
    return inside(folder)


@pytest.mark.slow
async def test_eight_callers_share_four_containers_and_do_without_one_that_is_killed(
    network: Network, tmp_path: Path
) -> None:
    env = {"LIVEPEER_REGISTRATION": "live-runner", "LIVEPEER_APP": APP}
    fleet = await asyncio.gather(
        *(asyncio.to_thread(network.serve, HERE / "pipelines.py", "who", env=env) for _ in range(4))
    )
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    async with asyncio.TaskGroup() as tasks:
        gateways = [Gateway(orch_url=network.url, tls="pin", timeout=60) for _ in range(8)]

        def call(folder: Path) -> list[asyncio.Task[int]]:
            return [
                tasks.create_task(gw.run_async(APP, input={"folder": str(folder)}, validate=False))
                for gw in gateways
            ]

        # All eight are in at once: two in each, since that is the capacity of each.
        calls = call(first)
        taken = await until_inside(first, 8)
        assert sorted(taken.values()) == [2, 2, 2, 2]
        (first / "go").touch()
        assert Counter(await asyncio.gather(*calls)) == taken

        async def again(gw: Gateway) -> tuple[int, bool]:
            """The process that answered, and whether the call before was lost."""
            try:
                return await gw.run_async(APP, input={"folder": str(second)}, validate=False), False
            except LivepeerError:
                return await gw.run_async(APP, input={"folder": str(second)}, validate=False), True

        repeated = [tasks.create_task(again(gw)) for gw in gateways]
        await until_inside(second, 8)
        victim = fleet[0].process
        victim.kill()
        (second / "go").touch()
        answers = await asyncio.gather(*repeated)
        assert [lost for _, lost in answers].count(True) == 2
        assert {pid for pid, _ in answers} == set(taken) - {victim.pid}
        for gw in gateways:
            await gw.aclose()
