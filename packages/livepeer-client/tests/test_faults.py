"""Every way in which a call can fail: the error, the attempts it records, and what ran."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import threading
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from livepeer.client import (
    CallTimeoutError,
    ConfigurationError,
    ConnectionFailedError,
    Gateway,
    InsufficientBalanceError,
    InvalidInputError,
    LivepeerError,
    NoCapacityError,
    NoOrchestratorError,
    PaymentRequiredError,
    PipelineError,
    ProtocolError,
    StreamInterruptedError,
)
from livepeer.client.network import byoc, selection
from livepeer.client.testing import CUT, EVENT_STREAM, HANG, chunk, events, reply
from livepeer.trickle.testing.streams import StreamServer

Start = Callable[..., Any]

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
HALF = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"half":'
ERROR_BODY = {
    "error": {
        "type": "invalid_input",
        "message": "2 fields",
        "fields": [
            {"name": "text", "message": "too long", "type": "string_too_long"},
            {"name": "boxes.0.x", "message": "not a number", "type": "float"},
        ],
    }
}


@pytest.fixture(autouse=True)
def latency_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine the emptier one, which is to be asked first, may be the slower one."""
    monkeypatch.setattr(selection, "LATENCY_STEP", 100.0)


async def failure(gw: Gateway, **call: Any) -> LivepeerError:
    with pytest.raises(LivepeerError) as caught:
        await gw.run_async("echo", **call)
    return caught.value


@pytest.mark.parametrize(
    ("answer", "kind", "status", "phase", "may_have_run"),
    [
        (reply("no\n", 400, "text/plain"), InvalidInputError, 400, "response", False),
        (reply("no\n", 402, "text/plain"), PaymentRequiredError, 402, "response", False),
        (
            reply("insufficient balance for request\n", 400, "text/plain"),
            InsufficientBalanceError,
            400,
            "response",
            False,
        ),
        (reply("gone\n", 404, "text/plain"), PipelineError, 404, "response", False),
        (reply("x\n", 422, "text/plain"), InvalidInputError, 422, "response", False),
        (reply("busy\n", 429, "text/plain"), NoCapacityError, 429, "response", False),
        (reply("boom\n", 500, "text/plain"), PipelineError, 500, "response", True),
        (reply("boom\n", 502, "text/plain"), PipelineError, 502, "response", True),
        (
            reply("No capacity available for capability\n", 503, "text/plain"),
            NoCapacityError,
            503,
            "response",
            False,
        ),
        (reply("slow\n", 504, "text/plain"), CallTimeoutError, 504, "response", True),
        (reply("", 307, Location="http://elsewhere/"), ProtocolError, 307, "response", False),
        (reply('{"a":'), ProtocolError, None, "response", True),
        ([CUT], ConnectionFailedError, None, "request", True),
        ([b"HTTP/1.1 200"], ConnectionFailedError, None, "request", True),
        ([HALF, CUT], ConnectionFailedError, None, "response", True),
        ([b"SSH-2.0-OpenSSH\r\n\r\n"], ProtocolError, None, "request", True),
        ([b"HTTP/1.1 103 Early Hints\r\n\r\n" * 20], ProtocolError, None, "request", True),
        ([HEAD + b"A: b\r\n" * 20_000], ProtocolError, None, "request", True),
        ([HEAD + b"A: " + b"b" * 200_000], ProtocolError, None, "request", True),
        ([HEAD + b"Content-Length: 2, 3\r\n\r\n{}"], ProtocolError, None, "request", True),
        ([HEAD + b"Content-Length: 2\r\n\r\n{}}"], ProtocolError, None, "response", True),
        ([HEAD + b"Transfer-Encoding: x\r\n\r\n{}"], ProtocolError, None, "request", True),
        (
            [HEAD + b"Transfer-Encoding: chunked\r\n\r\nx\r\n"],
            ProtocolError,
            None,
            "response",
            True,
        ),
        ([b"HTTP/1.1 101 Switching Protocols\r\n\r\n"], ProtocolError, None, "request", True),
        ([EVENT_STREAM, chunk("data: 1\n\n"), CUT], StreamInterruptedError, None, "response", True),
        (events("data: 1\n\n"), StreamInterruptedError, None, "response", True),
        (
            [EVENT_STREAM, chunk("data: 1\n\n"), chunk("\n" * 70_000), HANG],
            StreamInterruptedError,
            None,
            "response",
            True,
        ),
        (
            events('data: 1\n\nevent: error\ndata: {"error":{"message":"boom"}}\n\n'),
            PipelineError,
            None,
            "response",
            True,
        ),
    ],
)
async def test_each_bad_answer_is_its_error_and_runs_once(
    start: Start,
    answer: list[Any],
    kind: type[LivepeerError],
    status: int | None,
    phase: str,
    may_have_run: bool,
) -> None:
    if answer == [b"HTTP/1.1 200"]:
        answer = [*answer, CUT]
    orch = await start(job=answer)
    other = await start()
    async with Gateway(orch_url=orch.url, max_retries=0) as gw:
        error = await failure(gw, timeout=10)
    assert type(error) is kind, error
    assert (error.status, error.may_have_run) == (status, may_have_run)
    assert error.capability == "echo" and error.orchestrator == orch.url and error.job_id
    (rejection,) = error.rejections
    assert (rejection.orchestrator, rejection.phase, rejection.status) == (orch.url, phase, status)
    assert rejection.reason in str(error)
    assert (len(orch.jobs), len(other.jobs)) == (1, 0)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, "No capacity available in the warehouse of this model\n"),
        (500, "the insufficient balance of the picture\n"),
        (
            400,
            {"error": {"type": "invalid_input", "message": "insufficient balance of colours"}},
        ),
        (503, {"error": {"type": "interrupted", "message": "the pipeline is shutting down"}}),
    ],
    ids=["500 capacity", "500 balance", "400 of the pipeline's own", "503 of a job that began"],
)
async def test_a_pipelines_own_words_are_not_taken_for_a_refusal_and_it_runs_once(
    start: Start, status: int, body: Any
) -> None:
    """Nothing that may have run goes to the next orchestrator by the wording of its error."""
    first = await start(job=reply(body, status, "text/plain"), capacity=9)
    second = await start()
    async with Gateway(orch_url=[first.url, second.url]) as gw:
        error = await failure(gw)
    assert type(error) is (InvalidInputError if status == 400 else PipelineError)
    assert error.may_have_run is (status != 400)
    assert (len(first.jobs), len(second.jobs)) == (1, 0)


async def test_the_pipelines_fields_and_wait_are_on_the_error(start: Start) -> None:
    orch = await start(job=reply(ERROR_BODY, 422, "text/plain; charset=utf-8"))
    async with Gateway(orch_url=orch.url, max_retries=0) as gw:
        error = await failure(gw)
        assert isinstance(error, InvalidInputError) and isinstance(error, ValueError)
        assert [str(field) for field in error.fields] == [
            "text: too long",
            "boxes.0.x: not a number",
        ]
        assert "boxes.0.x: not a number" in str(error)
        body = {"error": {"type": "over_capacity", "message": "full", "retry_after": 7}}
        orch.job = reply(body, 503, "text/plain")
        busy = await failure(gw)
        assert isinstance(busy, NoCapacityError) and busy.retry_after == 7


async def test_what_came_before_the_error_of_a_stream_is_kept(start: Start) -> None:
    orch = await start(
        job=events('data: {"t":1}\n\n', "data: two\n\n", 'event: error\ndata: {"error":"x"}\n\n')
    )
    async with Gateway(orch_url=orch.url) as gw:
        error = await failure(gw)
    assert isinstance(error, PipelineError) and error.received == ({"t": 1}, "two")


async def test_a_hanging_job_ends_at_the_deadline_and_leaves(start: Start) -> None:
    orch = await start(job=[HANG])
    async with Gateway(orch_url=orch.url) as gw:
        error = await failure(gw, timeout=2.0)
        assert isinstance(error, CallTimeoutError) and isinstance(error, TimeoutError)
        assert (error.phase, error.may_have_run) == ("answer", True)
        assert error.rejections[0].phase == "request"
        await asyncio.wait_for(orch.left.wait(), 30)
    assert len(orch.jobs) == 1


@pytest.mark.parametrize(
    "script", [[HALF, HANG], [EVENT_STREAM, chunk("data: 1\n\n"), HANG]], ids=["body", "stream"]
)
async def test_an_answer_that_stops_ends_at_the_deadline(start: Start, script: list[Any]) -> None:
    orch = await start()
    async with Gateway(orch_url=orch.url) as gw:
        await gw.run_async("echo")  # what comes before an answer has been done, however slowly
        orch.job = script
        error = await failure(gw, timeout=2.0)
        assert isinstance(error, CallTimeoutError) and error.may_have_run
        assert error.rejections[0].phase == "response"
        await asyncio.wait_for(orch.left.wait(), 30)


async def test_a_slow_token_uses_up_the_deadline_and_nothing_is_sent(start: Start) -> None:
    orch = await start(token=[HANG])
    async with Gateway(orch_url=orch.url) as gw:
        error = await failure(gw, timeout=1.0)
    assert isinstance(error, CallTimeoutError) and error.phase == "token"
    assert not error.may_have_run and not orch.jobs


async def test_the_deadline_is_one_for_all_tries(start: Start) -> None:
    slow = [await start(job=[1.5, *reply("full\n", 503, "text/plain")]) for _ in range(5)]
    async with Gateway(orch_url=[each.url for each in slow]) as gw:
        error = await failure(gw, timeout=2.5)
    assert isinstance(error, CallTimeoutError)
    assert [len(each.jobs) for each in slow].count(1) == len(error.rejections) == 2


@pytest.mark.parametrize(
    ("token", "kind", "told"),
    [
        (reply("bad\n", 400, "text/plain"), NoOrchestratorError, "answered 400: bad"),
        (reply("not json"), ProtocolError, "not a JSON object"),
        (reply("[1]"), ProtocolError, "not a JSON object"),
        ([CUT], ConnectionFailedError, "ended the connection"),
    ],
)
async def test_a_bad_token_is_told_and_nothing_is_sent(
    start: Start, token: list[Any], kind: type[LivepeerError], told: str
) -> None:
    orch = await start(token=token)
    async with Gateway(orch_url=orch.url) as gw:
        error = await failure(gw)
    assert type(error) is kind and told in str(error)
    assert not orch.jobs and not error.may_have_run


@pytest.mark.parametrize("name", ["", " ", "a\nb", None, 7])
async def test_a_name_that_is_none_is_refused_before_anything_is_sent(
    start: Start, name: Any
) -> None:
    orch = await start()
    async with Gateway(orch_url=orch.url) as gw:
        with pytest.raises(ConfigurationError, match="name of a capability"):
            await gw.run_async(name)
    assert not orch.tokens


async def test_every_error_of_a_call_says_where_it_happened(start: Start) -> None:
    orch = await start()
    async with Gateway(orch_url=orch.url, max_retries=0) as gw:
        for answer in (
            reply("no", 400),
            reply("full", 503),
            reply("boom", 500),
            [CUT],
            [HALF, CUT],
            events("data: 1\n\n"),
            events('event: error\ndata: {"error":"x"}\n\n'),
            reply("{"),
        ):
            orch.job = answer
            error = await failure(gw, validate=False)
            assert orch.url.partition("://")[2] in str(error) == error.message
            assert str(error).count("(at ") <= 1


async def test_no_capacity_in_the_token_means_that_nothing_is_sent(start: Start) -> None:
    full, also = await start(capacity=0), await start(capacity=0)
    async with Gateway(orch_url=[full.url, also.url], max_retries=0) as gw:
        error = await failure(gw)
    assert type(error) is NoCapacityError
    assert {each.orchestrator for each in error.rejections} == {full.url, also.url}
    assert {each.phase for each in error.rejections} == {"token"}
    assert not full.jobs and not also.jobs


async def test_a_price_without_the_means_to_pay_is_one_clear_error(start: Start) -> None:
    orch = await start(price={"pricePerUnit": 30, "pixelsPerUnit": 2})
    async with Gateway(orch_url=orch.url) as gw:
        error = await failure(gw)
        assert type(error) is PaymentRequiredError and "15 wei per second" in str(error)
    async with Gateway(orch_url=orch.url, max_price=10) as gw:
        error = await failure(gw)
        assert type(error) is NoOrchestratorError and "max_price 10" in str(error)
    assert not orch.jobs and not orch.schemas


async def test_nobody_there_and_dns_gone_are_connection_errors(start: Start) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{unused.getsockname()[1]}"
        async with Gateway(orch_url=dead) as gw:
            error = await failure(gw)
    assert type(error) is ConnectionFailedError and isinstance(error, ConnectionError)
    assert error.rejections[0].phase == "connect" and not error.may_have_run
    async with Gateway(orch_url="http://no-such-host.invalid:8935") as gw:
        error = await failure(gw)
    assert type(error) is ConnectionFailedError
    assert "no-such-host.invalid:8935 does not resolve" in str(error)


# -- failover -------------------------------------------------------------------------------------


async def two(start: Start, first: dict[str, Any], second: dict[str, Any]) -> Any:
    """Two orchestrators of which `first` is asked first, since it is cheaper."""
    a = await start(**({"capacity": 9} | first))
    b = await start(**({"capacity": 1} | second))
    return a, b


@pytest.mark.parametrize(
    "answer",
    [
        reply("No capacity available for capability\n", 503, "text/plain"),
        reply("busy\n", 429, "text/plain"),
        reply("pay\n", 402, "text/plain"),
    ],
)
async def test_a_refusal_goes_on_to_the_next_orchestrator(start: Start, answer: list[Any]) -> None:
    a, b = await two(start, {"job": answer}, {})
    async with Gateway(orch_url=[a.url, b.url]) as gw:
        assert await gw.run_async("echo") == {"ok": True}
    assert (len(a.jobs), len(b.jobs)) == (1, 1)


@pytest.mark.parametrize(
    "answer",
    [reply("boom\n", 500, "text/plain"), [CUT]],
    ids=["500", "cut"],
)
async def test_what_may_have_run_goes_on_only_where_that_does_no_harm(
    start: Start, answer: list[Any]
) -> None:
    a, b = await two(start, {"job": answer}, {})
    async with Gateway(orch_url=[a.url, b.url]) as gw:
        error = await failure(gw)
        assert error.may_have_run and (len(a.jobs), len(b.jobs)) == (1, 0)
    async with Gateway(orch_url=[a.url, b.url]) as gw:
        assert await gw.run_async("echo", idempotent=True) == {"ok": True}
        assert (len(a.jobs), len(b.jobs)) == (2, 1)


@pytest.mark.parametrize(
    "answer",
    [
        reply("no\n", 422, "text/plain"),
        [HALF, CUT],
        events("data: 1\n\n"),
    ],
    ids=["422", "half", "stream"],
)
async def test_after_the_first_byte_nothing_is_tried_again(start: Start, answer: list[Any]) -> None:
    a, b = await two(start, {"job": answer}, {})
    async with Gateway(orch_url=[a.url, b.url]) as gw:
        await failure(gw, idempotent=True)
    assert (len(a.jobs), len(b.jobs)) == (1, 0)


async def test_every_attempt_is_on_the_error_in_order_and_in_the_debug_log(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "livepeer.client")
    full = await start(capacity=0)
    a, b = await two(
        start,
        {"job": reply("busy\n", 503, "text/plain")},
        {"job": reply("no\n", 422, "text/plain")},
    )
    async with Gateway(orch_url=[full.url, a.url, b.url]) as gw:
        error = await failure(gw)
    assert [(each.orchestrator, each.phase, each.status) for each in error.rejections] == [
        (full.url, "token", None),
        (a.url, "response", 503),
        (b.url, "response", 422),
    ]
    assert type(error) is InvalidInputError
    for rejection in error.rejections:
        assert str(rejection) in caplog.text


async def test_an_orchestrator_that_failed_comes_last_for_a_while(start: Start) -> None:
    a, b = await two(start, {"job": reply("boom\n", 500, "text/plain")}, {})
    async with Gateway(orch_url=[a.url, b.url]) as gw:
        await failure(gw)
        for _ in range(3):
            assert await gw.run_async("echo") == {"ok": True}
    assert (len(a.jobs), len(b.jobs)) == (1, 3)


async def test_one_dead_and_one_slow_orchestrator_do_not_delay_a_quick_one(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(byoc, "TOKEN_LIMIT", 100.0)
    slow = await start(token=[HANG])
    quick = await start()
    async with Gateway(orch_url=[slow.url, "http://no-such-host.invalid:1", quick.url]) as gw:
        async with asyncio.timeout(50):
            assert await gw.run_async("echo") == {"ok": True}
        await asyncio.wait_for(slow.left.wait(), 30)


# -- what a call must not leave behind ------------------------------------------------------------


@pytest.mark.slow
async def test_a_thousand_calls_of_every_kind_leave_nothing_behind(start: Start) -> None:
    scripts = [
        reply({"ok": True}),
        reply("boom\n", 500, "text/plain"),
        [CUT],
        [HALF, CUT],
        events("data: 1\n\n", "data: [DONE]\n\n"),
        events("data: 1\n\n"),
        [EVENT_STREAM, chunk("data: 1\n\ndata: [DONE]\n\n"), chunk("\n" * 1000), HANG],
        reply('{"a":'),
    ]
    count = 0

    def job(_: Any) -> list[Any]:
        nonlocal count
        count += 1
        return scripts[count % len(scripts)]

    orch = await start(job=job, capacity=50)
    gw = Gateway(orch_url=orch.url)

    async def some(n: int) -> None:
        for _ in range(n):
            with contextlib.suppress(LivepeerError):
                await gw.run_async("echo", timeout=20)
            with contextlib.suppress(LivepeerError):
                async with gw.stream_async("echo", timeout=20) as stream:
                    async for _event in stream:
                        break

    process = psutil.Process()

    async def footprint(tasks: int, tries: int) -> tuple[int, int, int]:
        for _ in range(tries):  # the server's side of a connection needs a moment to end
            await asyncio.sleep(0.01)
            if len(asyncio.all_tasks()) <= tasks:
                break
        return process.num_fds(), len(asyncio.all_tasks()), threading.active_count()

    await asyncio.gather(*(some(10) for _ in range(4)))
    before = await footprint(tasks=3, tries=200)
    await asyncio.gather(*(some(125) for _ in range(4)))
    after = await footprint(tasks=before[1], tries=3000)
    await gw.aclose()
    assert count >= 1000
    assert after[0] <= before[0] + 8, (before, after)  # idle connections, both of their ends
    assert after[1] <= before[1] + 8 and after[2] == before[2], (before, after)


async def test_a_cancelled_call_leaves_at_once(start: Start) -> None:
    orch = await start(job=[HANG])
    async with Gateway(orch_url=orch.url) as gw:
        call = asyncio.create_task(gw.run_async("echo"))
        await asyncio.wait_for(orch.begun.wait(), 30)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(orch.left.wait(), 30)


async def test_closing_the_gateway_ends_the_calls_of_other_threads(start: Start) -> None:
    orch = await start(job=[HANG])
    gw = Gateway(orch_url=orch.url)
    call = asyncio.create_task(asyncio.to_thread(gw.run, "echo"))
    await asyncio.wait_for(orch.begun.wait(), 30)
    await asyncio.to_thread(gw.close)
    with pytest.raises((LivepeerError, asyncio.CancelledError, RuntimeError)):
        await asyncio.wait_for(call, 30)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
async def test_a_gateway_works_in_a_forked_child(start: Start) -> None:
    orch = await start()
    gw = Gateway(orch_url=orch.url)

    def fork() -> int:
        assert gw.run("echo") == {"ok": True}
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = 0 if gw.run("echo", timeout=15) == {"ok": True} else 2
            finally:
                os._exit(code)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    if os.environ.get("PYTHONWARNINGS") is None:
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads, on purpose
            assert await asyncio.to_thread(fork) == 0
    await gw.aclose()


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), float("nan")])
async def test_a_timeout_that_is_none_is_refused(start: Start, timeout: float) -> None:
    orch = await start()
    async with Gateway(orch_url=orch.url) as gw:
        with pytest.raises(ConfigurationError, match="timeout"):
            await gw.run_async("echo", timeout=timeout)
    assert not orch.tokens


async def test_a_flood_after_done_is_cut_off_at_done(start: Start) -> None:
    written = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await reader.readuntil(b"\r\n\r\n")
        writer.write(EVENT_STREAM + chunk('data: {"i":0}\n\n'))
        writer.write(chunk('data: {"balance": 0.000}\n\n\ndata: [DONE]\n\n'))
        while True:
            writer.write(chunk("\n" * 4096))
            written += 4096
            await writer.drain()

    async with (
        StreamServer(serve) as server,
        Gateway(gateway_url=f"http://127.0.0.1:{server.port}") as gw,
    ):
        assert await gw.run_async("llm", timeout=20) == [{"i": 0}]
        for _ in range(500):
            before = written
            await asyncio.sleep(0.01)
            if written == before:
                break
    assert written < 50_000_000
