"""`run` and `run_async`: what is sent, and what comes back."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from livepeer.client import Gateway
from livepeer.client.testing import ScriptedOrchestrator, reply


async def test_run_sends_one_unsigned_job_and_returns_the_json_value(start: Any) -> None:
    orch: ScriptedOrchestrator = await start()
    async with Gateway(orch_url=orch.url) as gw:
        assert await gw.run_async("echo", input={"text": "é"}, timeout=70) == {"ok": True}
    (job,) = orch.jobs
    assert job.method == "POST" and job.path == "/process/request/predict"
    assert job.json() == {"text": "é"} and job.headers["content-type"] == "application/json"
    header = job.job
    assert header.pop("id")
    assert 40 < header.pop("timeout_seconds") <= 70  # what is left, in whole seconds
    assert header == {
        "capability": "echo",
        "request": "{}",
        "parameters": "{}",
        "sender": "0x" + "0" * 40,
        "sig": "",
    }
    assert [token.headers["livepeer-capability"] for token in orch.tokens] == ["echo"]


async def test_run_works_in_a_thread_whose_own_loop_is_running(start: Any) -> None:
    orch: ScriptedOrchestrator = await start()
    gw = Gateway(orch_url=orch.url)

    def inside_a_loop() -> Any:
        async def main() -> Any:
            return gw.run("echo", input={})  # blocks this loop, and works all the same

        return asyncio.run(main())

    assert await asyncio.to_thread(inside_a_loop) == {"ok": True}
    await gw.aclose()


async def test_a_sync_call_in_a_running_loop_says_once_that_it_blocks_it(
    start: Any, caplog: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr("livepeer.client.portal._warned", False)
    orch: ScriptedOrchestrator = await start()
    gw = Gateway(orch_url=orch.url)
    await asyncio.to_thread(gw.run, "echo")
    assert "run_async" not in caplog.text

    async def main() -> None:
        assert gw.run("echo") == gw.run("echo") == {"ok": True}

    await asyncio.to_thread(lambda: asyncio.run(main()))
    assert caplog.text.count("await gw.run_async") == 1
    await gw.aclose()


async def test_one_gateway_serves_many_threads_and_loops_at_once(start: Any) -> None:
    orch: ScriptedOrchestrator = await start(
        capacity=100, job=lambda request: reply(request.json())
    )
    gw = Gateway(orch_url=orch.url)

    def sync(i: int) -> Any:
        return gw.run("echo", input={"i": i})

    def other_loop(i: int) -> Any:
        return asyncio.run(gw.run_async("echo", input={"i": i}))

    results = await asyncio.gather(
        *(asyncio.to_thread(sync, i) for i in range(10)),
        *(asyncio.to_thread(other_loop, i) for i in range(10, 15)),
        *(gw.run_async("echo", input={"i": i}) for i in range(15, 25)),
    )
    assert results == [{"i": i} for i in range(25)]
    await gw.aclose()


async def test_the_thread_of_the_sync_methods_ends_with_close_and_comes_back(start: Any) -> None:
    orch: ScriptedOrchestrator = await start()
    before = set(threading.enumerate())
    gw = Gateway(orch_url=orch.url)
    assert await asyncio.to_thread(gw.run, "echo") == {"ok": True}
    await asyncio.to_thread(gw.close)
    assert not [each for each in set(threading.enumerate()) - before if "livepeer" in each.name]
    assert await asyncio.to_thread(gw.run, "echo") == {"ok": True}
    await gw.aclose()
    assert not [each for each in set(threading.enumerate()) - before if "livepeer" in each.name]


async def test_a_gateway_that_is_dropped_closes_what_it_opened(start: Any) -> None:
    orch: ScriptedOrchestrator = await start()

    def use() -> None:
        Gateway(orch_url=orch.url).run("echo")  # never closed: warnings are errors here

    await asyncio.to_thread(use)
    await Gateway(orch_url=orch.url).run_async("echo")
    gc.collect()
    for _ in range(200):
        if not [each for each in threading.enumerate() if each.name == "livepeer-client"]:
            break
        await asyncio.sleep(0.01)
    assert not [each for each in threading.enumerate() if each.name == "livepeer-client"]


def test_no_warning_is_left_by_asyncio_run_without_aclose(tmp_path: Path) -> None:
    program = """
import asyncio
from livepeer.client import Gateway
from livepeer.client.testing import ScriptedOrchestrator

gw = None

async def main():
    asyncio.get_running_loop().slow_callback_duration = 60  # a busy machine is no fault of ours
    global gw
    async with ScriptedOrchestrator() as orch:
        gw = gw or Gateway(orch_url=orch.url)
        gw2 = Gateway(orch_url=orch.url)
        print(await gw2.run_async("echo"), await asyncio.to_thread(gw2.run, "echo"))

asyncio.run(main(), debug=True)
asyncio.run(main(), debug=True)
"""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "{'ok': True} {'ok': True}\n" * 2
