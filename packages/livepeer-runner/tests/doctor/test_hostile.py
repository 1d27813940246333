"""What answers as no HTTP server would: the doctor ends within its bounds, and says what it met."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import aiohttp
import pytest

from livepeer.runner.doctor.container import MOST_TOLD, DirectRoad, HttpContainer, Patience
from livepeer.runner.doctor.examination import CannotExamine, Examination
from livepeer.runner.targets.hosting import OpenTarget

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
PATIENCE = Patience(job=0.5, call=0.5, health=0.5)


def sends(*parts: bytes) -> Answer:
    """It writes them, and closes."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()

    return answer


async def drips(writer: asyncio.StreamWriter) -> None:
    writer.write(OK + b"content-length: 9999\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.05)


async def without_end(writer: asyncio.StreamWriter) -> None:
    writer.write(OK + b"content-length: 10737418240\r\n\r\n[")
    while True:
        writer.write(b"9" * 65_536)
        await writer.drain()


def served(answer: Answer) -> AbstractAsyncContextManager[str]:
    return served_by(lambda writer, _: answer(writer))


@asynccontextmanager
async def served_by(
    answer: Callable[[asyncio.StreamWriter, bytes], Awaitable[None]],
) -> AsyncIterator[str]:
    open_ones: set[asyncio.Task[None]] = set()

    async def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_ones.add(task)
        try:
            await answer(writer, await reader.readuntil(b"\r\n\r\n"))
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(met, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in open_ones:
            task.cancel()
        await asyncio.gather(*open_ones, return_exceptions=True)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        pytest.param(drips, "had no answer within 0.5 s", id="drips"),
        pytest.param(sends(), "a closed connection", id="closes"),
        pytest.param(sends(b"<html>hello</html>"), "that is no HTTP/1.1", id="HTTP/0.9"),
        pytest.param(sends(OK + b"content-length: 99\r\n\r\n{"), "that broke off", id="half"),
    ],
)
async def test_what_keeps_it_from_being_examined_is_told(answer: Answer, told: str) -> None:
    async with served(answer) as url, asyncio.timeout(30):
        with pytest.raises(CannotExamine) as caught:
            await Examination(quick=True, patience=PATIENCE).of(OpenTarget(url), url)
    message = str(caught.value)
    assert message.startswith(f"{url} cannot be examined: POST /schema") and told in message
    assert "\n" not in message and "Error" not in message


async def test_of_an_answer_without_an_end_the_beginning_is_read() -> None:
    async with served(without_end) as url, aiohttp.ClientSession() as session:
        container = HttpContainer(DirectRoad(url, session), Patience())
        heard = await container.post("/schema")
    assert heard.truncated and len(heard.body) == MOST_TOLD and heard.json() is None


async def test_a_connection_that_closes_after_each_answer_without_a_word_is_met_anew() -> None:
    body = b'{"x": "\xff\xfe"}'
    answer = sends(OK + b"content-length: %d\r\n\r\n" % len(body) + body)
    async with served(answer) as url, aiohttp.ClientSession() as session:
        container = HttpContainer(DirectRoad(url, session), Patience())
        for _ in range(5):
            heard = await container.post("/schema", b"{}")
            assert heard.status == 200 and heard.json() is None


async def test_all_checks_together_have_an_end() -> None:
    """A container that knows its schema, and whose jobs never end."""
    told = b'{"type": "batch", "input": {"type": "object"}, "example": {}, "status": "OK"}'
    whole = OK + b"content-length: %d\r\n\r\n" % len(told) + told

    async def answer(writer: asyncio.StreamWriter, head: bytes) -> None:
        if b" /predict" in head:
            await asyncio.Event().wait()
        writer.write(whole)
        await writer.drain()

    async with served_by(answer) as url, asyncio.timeout(30):
        # What is known of the first job is not waited for again.
        short = Examination(only=["batch.answers", "batch.content-type"], patience=PATIENCE)
        answers, typed = (await short.of(OpenTarget(url), url)).examined
        assert answers.findings[0].seen == "POST /predict had no answer within 0.5 s"
        # One silence is one problem.
        both = Examination(only=["http.no-401", "http.no-redirect"], patience=PATIENCE)
        first, second = (await both.of(OpenTarget(url), url)).examined
        assert first.outcome == "problem" and first.findings[0].seen in (second.reason or "")
        assert (second.reason or "").endswith("see http.no-401")
        examination = Examination(quick=True, seconds=1)
        diagnosis = await examination.of(OpenTarget(url), url)
    assert typed.reason == "a valid job had no answer: see batch.answers" and typed.seconds < 0.5
    reasons = {each.check.id: each.reason or "" for each in diagnosis.examined}
    told_of = "the 1 s of the examination are over: --only batch.timeout asks for this alone"
    assert reasons["batch.timeout"] == told_of
    assert diagnosis.examined[0].outcome == "passed"


async def test_where_no_stream_starts_no_place_is_missed() -> None:
    away = sends(b"HTTP/1.1 302 Found\r\nlocation: /again\r\ncontent-length: 0\r\n\r\n")
    examination = Examination(only=["live.starts", "live.stop-frees"], patience=PATIENCE)
    async with served(away) as url, asyncio.timeout(30):
        starts, frees = (await examination.of(OpenTarget(url), url)).examined
    assert "answered 302" in starts.findings[0].seen
    assert frees.reason == "a stream does not start: see live.starts"
