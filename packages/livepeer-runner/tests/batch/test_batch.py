"""Jobs that return one result: capacity, threads, time and callers who leave."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from livepeer.runner import Pipeline

Serve = Any
LIMIT = 60


class Reply(BaseModel):
    score: float


def error(response: httpx.Response) -> dict[str, Any]:
    body: dict[str, Any] = response.json()["error"]
    return body


def gate_pipeline(**attributes: Any) -> tuple[type[Pipeline], threading.Semaphore, list[str]]:
    """A sync pipeline whose calls begin at once and end when the semaphore lets them."""
    gate, begun = threading.Semaphore(0), []

    def predict(self: Pipeline, name: str) -> str:
        begun.append(name)
        assert gate.acquire(timeout=LIMIT)
        return name

    return type("Gated", (Pipeline,), {"predict": predict, **attributes}), gate, begun


async def test_200_callers_at_capacity_4_make_exactly_4_jobs_and_196_refusals_at_once(
    served: Serve,
) -> None:
    cls, gate, begun = gate_pipeline(capacity=4, thread_safe=True, queue_timeout=0)
    async with served(cls) as s:
        calls = [asyncio.create_task(s.post(name=str(i))) for i in range(200)]
        pending = set(calls)
        while len(pending) > 4:
            done, pending = await asyncio.wait(
                pending, timeout=LIMIT, return_when=asyncio.FIRST_COMPLETED
            )
            assert done, "a refusal waited for a slot"
        assert len(begun) == 4 and s.slots_taken == 4
        gate.release(4)
        responses = await asyncio.gather(*calls)
        assert Counter(response.status_code for response in responses) == {200: 4, 503: 196}
        refused = next(response for response in responses if response.status_code == 503)
        assert error(refused)["type"] == "over_capacity"
        assert refused.headers["retry-after"] == str(error(refused)["retry_after"]) == "1"
        assert s.slots_taken == 0
        assert (await s.http.get("/health")).json()["status"] == "IDLE"
        gate.release(4)
        again = await asyncio.gather(*(s.post(name=str(i)) for i in range(4)))
        assert [response.status_code for response in again] == [200] * 4


async def test_two_callers_of_a_class_that_is_not_thread_safe_run_one_after_the_other(
    served: Serve,
) -> None:
    inside, most = 0, 0

    class Serial(Pipeline):
        capacity = 4

        def predict(self) -> int:
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            time.sleep(0.02)
            inside -= 1
            return threading.get_ident()

    async with served(Serial) as s:
        responses = await asyncio.gather(*(s.post() for _ in range(4)))
    assert [response.status_code for response in responses] == [200] * 4
    assert most == 1
    assert len({response.json() for response in responses}) == 1


async def test_setup_predict_and_teardown_of_a_serial_class_run_in_one_thread(
    served: Serve,
) -> None:
    threads = []

    class Owner(Pipeline):
        def setup(self) -> None:
            threads.append(threading.get_ident())

        def predict(self) -> None:
            threads.append(threading.get_ident())

        def teardown(self) -> None:
            threads.append(threading.get_ident())

    async with served(Owner) as s:
        assert (await s.post()).status_code == 200
    assert len(threads) == 3 and len(set(threads)) == 1
    assert threads[0] != threading.get_ident()


async def test_a_thread_safe_class_runs_as_many_calls_as_it_has_capacity(served: Serve) -> None:
    together = threading.Barrier(3)

    class Parallel(Pipeline):
        capacity = 3
        thread_safe = True

        def predict(self) -> int:
            return together.wait(LIMIT)

    async with served(Parallel) as s:
        responses = await asyncio.gather(*(s.post() for _ in range(3)))
    assert sorted(response.json() for response in responses) == [0, 1, 2]


async def test_async_calls_run_together_on_the_loop(served: Serve) -> None:
    together = asyncio.Barrier(3)

    class Async(Pipeline):
        capacity = 3

        async def predict(self) -> int:
            assert threading.current_thread() is threading.main_thread()
            return await together.wait()

    async with served(Async) as s:
        responses = await asyncio.gather(*(s.post() for _ in range(3)))
    assert sorted(response.json() for response in responses) == [0, 1, 2]


async def test_an_async_job_over_its_timeout_is_cancelled_and_answered_504(served: Serve) -> None:
    stopped = asyncio.Event()

    class Slow(Pipeline):
        timeout = 0.1

        async def predict(self) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                stopped.set()

    async with served(Slow) as s:
        response = await s.post()
        assert (response.status_code, error(response)["type"]) == (504, "timeout")
        async with asyncio.timeout(LIMIT):
            await stopped.wait()
        await s.until(lambda: s.slots_taken == 0)


async def test_an_async_job_that_resists_its_cancellation_is_answered_and_keeps_its_slot(
    served: Serve,
) -> None:
    release = asyncio.Event()

    class Stubborn(Pipeline):
        timeout = 0.1
        queue_timeout = 0

        async def predict(self) -> None:
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    continue

    async with served(Stubborn) as s:
        assert (await s.post()).status_code == 504
        assert s.slots_taken == 1
        assert (await s.post()).status_code == 503
        release.set()
        await s.until(lambda: s.slots_taken == 0)


async def test_a_sync_job_that_hangs_keeps_its_slot_and_the_others_go_on(served: Serve) -> None:
    release = threading.Event()

    class Hangs(Pipeline):
        capacity = 2
        timeout = 0.2

        def predict(self, hang: bool) -> str:
            if hang:
                assert release.wait(LIMIT)
            return "done"

    async with served(Hangs) as s:
        assert (await s.post(hang=True)).status_code == 504
        assert s.slots_taken == 1
        for _ in range(3):
            response = await s.post(hang=False)
            assert (response.status_code, s.slots_taken) == (200, 1)
        metrics = (await s.http.get("/metrics")).text
        assert "livepeer_abandoned_threads 1.0" in metrics
        release.set()
        await s.until(lambda: s.slots_taken == 0)
        await s.until(lambda: s.service.threads.abandoned == 0)


async def test_a_queued_job_whose_time_is_up_is_answered_504_and_never_runs(served: Serve) -> None:
    cls, gate, begun = gate_pipeline(capacity=2, timeout=0.3)
    async with served(cls) as s:
        first = asyncio.create_task(s.post(name="first"))
        await s.until(lambda: begun == ["first"])
        second = await s.post(name="second")
        assert second.status_code == 504
        assert (await first).status_code == 504
        gate.release(5)
        await s.until(lambda: s.slots_taken == 0)
        assert (await s.post(name="third")).status_code == 200
    assert "second" not in begun or begun.index("second") > 0


async def test_a_caller_who_leaves_cancels_async_work(served: Serve) -> None:
    begun, stopped = asyncio.Event(), asyncio.Event()

    class Endless(Pipeline):
        async def predict(self) -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                stopped.set()

    async with served(Endless) as s:
        call = asyncio.create_task(s.post())
        async with asyncio.timeout(LIMIT):
            await begun.wait()
            call.cancel()
            await stopped.wait()
        await s.until(lambda: s.slots_taken == 0)
        await s.until(lambda: 'outcome="cancelled"} 1.0' in s.service.metrics.render().decode())


async def test_a_caller_who_leaves_a_sync_job_frees_its_slot_when_the_job_has_ended(
    served: Serve,
) -> None:
    cls, gate, begun = gate_pipeline()
    async with served(cls) as s:
        call = asyncio.create_task(s.post(name="left"))
        await s.until(lambda: begun == ["left"])
        call.cancel()
        await s.until(lambda: 'outcome="cancelled"} 1.0' in s.service.metrics.render().decode())
        assert s.slots_taken == 1
        gate.release()
        await s.until(lambda: s.slots_taken == 0)


async def test_a_caller_who_leaves_while_queued_is_never_run(served: Serve) -> None:
    cls, gate, begun = gate_pipeline(capacity=2)
    async with served(cls) as s:
        first = asyncio.create_task(s.post(name="first"))
        await s.until(lambda: begun == ["first"])
        second = asyncio.create_task(s.post(name="second"))
        await s.until(lambda: s.slots_taken == 2)
        await asyncio.sleep(0.1)
        second.cancel()
        await s.until(lambda: s.slots_taken == 1)
        gate.release(2)
        assert (await first).status_code == 200
    assert begun == ["first"]


async def test_a_hung_job_whose_caller_left_is_given_up_at_its_timeout(served: Serve) -> None:
    cls, gate, begun = gate_pipeline(capacity=2, timeout=0.5)
    async with served(cls) as s:
        call = asyncio.create_task(s.post(name="left"))
        await s.until(lambda: begun == ["left"])
        await asyncio.sleep(0.1)
        call.cancel()
        gate_free = asyncio.create_task(s.post(name="next"))
        await s.until(lambda: s.service.threads.abandoned >= 1)
        gate.release(4)
        assert (await gate_free).status_code in (200, 504)
        await s.until(lambda: s.slots_taken == 0)


@pytest.mark.parametrize("sync", [True, False])
async def test_the_wrong_type_is_the_pipelines_fault_and_says_so(served: Serve, sync: bool) -> None:
    class Wrong(Pipeline):
        if sync:

            def predict(self) -> Reply:
                return "secret"  # type: ignore[return-value]
        else:

            async def predict(self) -> Reply:
                return "secret"  # type: ignore[return-value]

    async with served(Wrong) as s:
        response = await s.post()
        assert response.status_code == 500
        assert "does not fit its declared type" in error(response)["message"]
        assert "secret" not in response.text
        assert s.slots_taken == 0


@pytest.mark.parametrize("raised", [RuntimeError("secret"), StopIteration(3), KeyboardInterrupt()])
async def test_an_exception_is_500_without_its_text_and_frees_the_slot(
    served: Serve, raised: BaseException
) -> None:
    class Raises(Pipeline):
        def predict(self) -> str:
            raise raised

    async with served(Raises) as s:
        response = await s.post()
        assert (response.status_code, error(response)["type"]) == (500, "pipeline_error")
        assert "secret" not in response.text and "Traceback" not in response.text
        assert s.slots_taken == 0


async def test_an_async_job_that_exits_does_not_take_the_others_with_it(served: Serve) -> None:
    class Exits(Pipeline):
        async def predict(self) -> str:
            raise SystemExit(3)

    async with served(Exits) as s:
        assert (await s.post()).status_code == 500
        assert (await s.http.get("/health")).json()["status"] == "IDLE"


async def test_a_slow_upload_takes_no_slot(served: Serve) -> None:
    class Echo(Pipeline):
        def predict(self, text: str) -> str:
            return text

    async with served(Echo) as s:
        reader, writer = await asyncio.open_connection("127.0.0.1", s.port)
        writer.write(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 13\r\n\r\n{")
        await writer.drain()
        assert (await s.post(text="other")).json() == "other"
        writer.write(b'"text":"me"}\r')
        await writer.drain()
        assert b" 200 " in await asyncio.wait_for(reader.readline(), LIMIT)
        writer.close()
        await writer.wait_closed()
