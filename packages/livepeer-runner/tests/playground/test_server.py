"""The playground's server: who may come in, what goes over its sockets, and what it is bound by."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import numpy as np
import pytest
from pydantic import BaseModel, Field

from livepeer.runner import LivePipeline, Pipeline, create_app
from livepeer.runner.author.pipeline import PipelineBase
from livepeer.runner.cli.served_page import written_calls
from livepeer.runner.playground.board import Board
from livepeer.runner.playground.container import ContainerCaller
from livepeer.runner.playground.door import Door
from livepeer.runner.playground.http_calls import HttpCalls
from livepeer.runner.playground.live_socket import LARGEST_TEXT
from livepeer.runner.playground.outgoing import MOST_BYTES, MOST_RECORDS, Outgoing
from livepeer.runner.playground.page_files import page_files
from livepeer.runner.playground.reencoder import Reencoder
from livepeer.runner.playground.server import Playground
from livepeer.runner.playground.units import KEY, Unit, packed, unpacked
from livepeer.runner.playground.uplink import MOST_PICTURES, MOST_SOUND_SECONDS, Sent, Uplink
from livepeer.runner.playground.written import field, fields, posting, python_value
from livepeer.runner.settings import Settings
from livepeer.runner.testing import LocalServer
from livepeer.trickle import TrickleServer
from livepeer.trickle.media import (
    CodecParameters,
    MediaPacket,
    SegmentEncoder,
    StreamDecoder,
    VideoFrame,
    VideoOutput,
    encode,
)

LIMIT = 30
START = '{"type": "start", "params": {}, "width": 160, "height": 96, "channels": 2}'


# --- the door ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("127.0.0.1:8940", True),
        ("localhost:8940", True),
        ("localhost", True),
        ("[::1]:8940", True),
        ("127.0.0.1.evil.example:8940", False),
        ("evil.example", False),
        ("192.168.0.7:8940", False),
        ("127.0.0.1@evil.example", False),
        ("", False),
        ("[::1", False),
        ("0.0.0.0:8940", False),
    ],
)
def test_only_loopbacks_own_names_lead_in(host: str, ours: bool) -> None:
    assert Door("127.0.0.1").is_ours(host) is ours


def test_elsewhere_any_address_leads_in_and_no_name_of_others() -> None:
    door = Door("0.0.0.0")
    assert door.is_ours("192.168.0.7:8940") and door.is_ours("[fe80::1]:8940")
    assert not door.is_ours("evil.example:8940")


def test_a_page_of_another_origin_is_none_of_ours() -> None:
    door = Door("127.0.0.1")
    assert door.is_from_us("http://127.0.0.1:8940", "127.0.0.1:8940")
    assert door.is_from_us("https://127.0.0.1:8940", "127.0.0.1:8940")
    for origin in (
        None,
        "null",
        "http://evil.example",
        "http://127.0.0.1:8941",
        "http://localhost:8940",
    ):
        assert not door.is_from_us(origin, "127.0.0.1:8940")


# --- framing and bounds ------------------------------------------------------------------------


def test_a_unit_is_read_as_it_was_packed() -> None:
    message = bytes((1, KEY)) + (123_456).to_bytes(8, "big") + b"pcm"
    assert unpacked(message) == Unit("audio", True, 123_456, b"pcm")


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\0" * 10,
        b"\2\0" + b"\0" * 8 + b"x",
        b"\0\0" + b"\xff" * 8 + b"x",
        b"\0\0\x7f" + b"\0" * 8,
    ],
)
def test_what_is_no_unit_is_refused(message: bytes) -> None:
    with pytest.raises(ValueError, match=r"unit|time"):
        unpacked(message)


async def test_a_slow_page_loses_pictures_up_to_a_keyframe_and_no_word() -> None:
    outgoing = Outgoing()
    parameters = CodecParameters("video", "h264", 16, 16)

    def picture(key: bool, size: int) -> MediaPacket:
        return MediaPacket(b"x" * size, 0, 0, Fraction(1, 90_000), key, parameters)

    outgoing.media(picture(True, MOST_BYTES + 1))
    outgoing.media(picture(True, 10))
    outgoing.media(picture(False, 10))
    outgoing.tell("ended", reason="over")
    messages = outgoing.messages()
    assert len(await anext(messages)) > MOST_BYTES
    outgoing.media(picture(False, 10))  # there is room, but nothing to begin with
    assert json.loads(await anext(messages))["reason"] == "over"
    outgoing.media(picture(True, 11))
    outgoing.close()
    assert [len(each) async for each in messages] == [21]
    assert outgoing.dropped == 3


def test_an_input_that_nobody_takes_is_bounded_and_goes_on_at_a_keyframe() -> None:
    asked: list[None] = []
    uplink = Uplink("http://127.0.0.1:9/x", True, Sent(160, 96, 2), lambda: asked.append(None))
    for i in range(400):
        uplink.put(Unit("video", False, i * 33_333, b"picture"))
        uplink.put(Unit("audio", True, i * 20_000, bytes(3840)))
    assert uplink.dropped == 400 - MOST_PICTURES and len(asked) == 1
    assert uplink.size <= (MOST_SOUND_SECONDS + 0.1) * 4 * 48_000 + MOST_PICTURES * 7
    with pytest.raises(ValueError, match="16-bit PCM of 2 channels"):
        uplink.put(Unit("audio", True, 0, b"odd"))


async def test_records_that_nobody_reads_are_bounded() -> None:
    outgoing = Outgoing()
    for i in range(MOST_RECORDS + 5):
        outgoing.record("data", {"i": i})
    outgoing.close()
    assert len([each async for each in outgoing.messages()]) == MOST_RECORDS
    assert outgoing.dropped == 5


async def test_news_come_once_however_often_they_change_before_they_are_read() -> None:
    board = Board()
    board.add("0", "first")
    board.add("1", "second")
    news = board.news()
    assert [(await anext(news))["name"] for _ in range(2)] == ["first", "second"]
    for i in range(50):
        board.failed("0", f"failure {i}", "trace " * 10_000, serves=False)
    board.reloads("1", "pipeline.py changed")
    told = [await anext(news) for _ in range(2)]
    assert [each["state"] for each in told] == ["failed", "reloading"]
    assert told[0]["reason"] == "failure 49" and len(told[0]["trace"]) <= 16 * 1024
    await news.aclose()
    assert board.readers == 0


# --- as code -----------------------------------------------------------------------------------


def test_a_file_stands_by_its_name_and_never_by_a_path() -> None:
    value = {"image": {"$file": "../../etc/photo.png"}, "n": 1, "more": [{"$file": "a b.wav"}]}
    assert python_value(value) == "{'image': Path('photo.png'), 'n': 1, 'more': [Path('a b.wav')]}"
    line = posting(["curl", "URL"], value)
    assert "base64 < photo.png | tr" in line and "base64 < 'a b.wav' | tr" in line
    assert field("image", {"$file": "photo.png"}) == "image=@photo.png"
    with pytest.raises(ValueError, match="use Python"):
        fields(value, "-i")


# --- the whole of it ---------------------------------------------------------------------------


class Shade(BaseModel):
    u: int = Field(128, ge=0, le=255)


class Tint(LivePipeline):
    """One colour."""

    params: Shade
    capacity = 1

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        frame.planes[1][:] = self.params.u
        self.emit_data({"u": self.params.u})
        return frame


class Double(Pipeline):
    def predict(self, n: Annotated[int, Field(ge=0)], words: str = "") -> dict[str, int]:
        return {"double": 2 * n}


class Spell(Pipeline):
    def predict(self, word: str) -> Iterator[str]:
        yield from word


@dataclass
class Played:
    page: Playground
    browser: aiohttp.ClientSession
    container: str

    def url(self, path: str = "") -> str:
        return self.page.url + path

    @property
    def ours(self) -> dict[str, str]:
        return {"Origin": self.page.url.partition("/" + self.page.door.token)[0]}

    async def in_flight(self) -> int:
        async with self.browser.get(f"{self.container}/health") as answer:
            return int((await answer.json())["in_flight"])

    async def nothing_runs(self) -> None:
        async with asyncio.timeout(LIMIT):
            while await self.in_flight():  # noqa: ASYNC110 — the container tells nobody
                await asyncio.sleep(0.05)


@asynccontextmanager
async def played(cls: type[PipelineBase]) -> AsyncIterator[Played]:
    """A page of `cls`, which is served on a thread, and a browser's connections."""
    app = create_app(cls, Settings.from_env({"LIVEPEER_QUEUE_SIZE": "0"}))
    board = Board()
    board.add("0", cls.__name__)
    with LocalServer(app) as server:
        try:
            await asyncio.to_thread(server.wait_settled, LIMIT)
            async with (
                TrickleServer() as trickle,
                HttpCalls(server.url) as calls,
                Playground(board) as page,
                aiohttp.ClientSession() as browser,
            ):
                document = app.state.service.work.schema()
                lines = partial(written_calls, server.url, "pipeline.py", document)
                caller = ContainerCaller(calls, trickle)
                board.serves("0", document, capacity=1, caller=caller, lines=lines)
                yield Played(page, browser, server.url)
                assert not [each for each in trickle.channels if "play-" in each.name]
        finally:
            await asyncio.to_thread(server.close)


async def test_the_page_is_whole_strict_and_only_behind_its_token() -> None:
    board = Board()
    board.add("0", "nothing yet")
    async with Playground(board) as page, aiohttp.ClientSession() as browser:
        for name, file in page_files().items():
            async with browser.get(page.url + name) as answer:
                assert answer.status == 200 and await answer.read() == file.content
                policy = answer.headers["Content-Security-Policy"]
                assert policy.startswith("default-src 'self'") and "unsafe" not in policy
        async with browser.get(page.url) as answer:
            assert await answer.read() == page_files()["index.html"].content
        outside = page.url.replace(page.door.token, "guess")
        for url in (outside, f"{outside}main.js", page.url + "server.py", page.url + "../door.py"):
            async with browser.get(url) as answer:
                assert answer.status == 404
                assert page.door.token not in await answer.text()
        async with browser.get(page.url, headers={"Host": "evil.example"}) as answer:
            assert answer.status == 421
        assert page.door.token not in repr(page)


def test_the_page_loads_nothing_from_elsewhere() -> None:
    for name, file in page_files().items():
        text = file.content.decode()
        found = set(re.findall(r"""(?:src|href|from|import|url)\s*[=(]?\s*["']([^"']+)""", text))
        outside = {each for each in found if "//" in each and "www.w3.org" not in each}
        assert not outside, (name, outside)
        for each in re.findall(r'from "\./([^"]+)"', text):
            assert each in page_files(), (name, each)


async def test_a_foreign_page_opens_no_stream_and_makes_no_call() -> None:
    async with played(Double) as it:
        for headers in ({}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
            async with it.browser.post(it.url("api/call/0"), data="{}", headers=headers) as answer:
                assert answer.status == 403
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await it.browser.ws_connect(it.url("live/0"), headers=headers)
            assert refused.value.status == 403


async def test_a_call_is_answered_as_the_pipeline_answers_it() -> None:
    async with played(Double) as it:
        url, headers = it.url("api/call/0"), it.ours
        async with it.browser.post(url, json={"n": 21}, headers=headers) as answer:
            assert await answer.json() == {"double": 42}
            assert answer.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
        async with it.browser.post(url, json={"n": -1}, headers=headers) as answer:
            assert answer.status == 422
            assert [each["name"] for each in (await answer.json())["error"]["fields"]] == ["n"]
        async with it.browser.post(it.url("api/call/7"), json={}, headers=headers) as answer:
            assert answer.status == 404
        given = {"input": {"n": 1, "words": "it's"}}
        async with it.browser.post(it.url("api/lines/0"), json=given, headers=headers) as answer:
            lines = await answer.json()
        assert lines["Shell"] == """livepeer predict pipeline.py -i n=1 -i 'words=it'"'"'s'"""
        assert set(lines) == {"Python", "curl", "Shell"}
        for bad in (b"[]", b"{", b"[" * 100_000, b'{"input": 1}'):
            async with it.browser.post(it.url("api/lines/0"), data=bad, headers=headers) as answer:
                assert answer.status == 400


async def _program(it: Played, folder: Path, frames: int) -> str:
    """The Python beside a stream, and the clip that it sends."""
    picture = np.zeros((48, 64, 3), np.uint8)
    pictures = (VideoFrame.from_ndarray(picture, time=Fraction(n, 30)) for n in range(frames))
    encode(pictures, folder / "in.mp4")
    given = {"params": {"u": 90}}
    async with it.browser.post(it.url("api/lines/0"), json=given, headers=it.ours) as answer:
        return str((await answer.json())["Python"])


@pytest.mark.slow  # what it says is in test_written_calls, and a browser runs it
async def test_the_python_beside_a_stream_of_a_container_runs_as_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    async with played(Tint) as it:
        await asyncio.to_thread(exec, await _program(it, tmp_path, 6), {})
        assert capsys.readouterr().out.count("VideoFrame") == 6
        await it.nothing_runs()


@pytest.mark.slow
@pytest.mark.parametrize("hook", ["process_video", "on_stream_start"])
async def test_the_python_beside_a_stream_of_a_container_says_why_it_ended(
    hook: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*arguments: Any) -> None:
        raise RuntimeError("no weights")

    cls = type("Broken", (Tint,), {hook: broken, "__annotations__": {"params": Shade}})
    monkeypatch.chdir(tmp_path)
    async with played(cls) as it:
        program = await _program(it, tmp_path, 60)

        def run() -> None:
            with pytest.raises(SystemExit, match=f"the stream ended: .*{hook} raised RuntimeError"):
                exec(program, {})

        await asyncio.to_thread(run)
        assert f"{hook} raised RuntimeError" in capsys.readouterr().err
        await it.nothing_runs()


async def test_events_come_as_they_are_made() -> None:
    async with played(Spell) as it:
        url = it.url("api/call/0")
        async with it.browser.post(url, json={"word": "hi"}, headers=it.ours) as answer:
            assert answer.headers["Content-Type"].startswith("text/event-stream")
            text = await answer.text()
        assert 'data: "h"' in text and text.rstrip().endswith("data: [DONE]")


async def test_a_pipeline_that_does_not_serve_says_why() -> None:
    async with played(Double) as it:
        it.page.board.failed("0", "setup raised ValueError", "Traceback", serves=False)
        url = it.url("api/call/0")
        async with it.browser.post(url, json={"n": 21}, headers=it.ours) as answer:
            assert answer.status == 503
            assert (await answer.json())["error"]["message"] == "setup raised ValueError"
        async with it.browser.get(it.url("api/news")) as news:
            told = json.loads((await news.content.readline()).partition(b":")[2])
        assert told["state"] == "failed" and told["trace"] == "Traceback"


def pictures(count: int) -> list[bytes]:
    """Messages as a page sends them: H.264, a keyframe first."""
    encoder = SegmentEncoder(VideoOutput(gop_seconds=60), None)
    decoder = StreamDecoder(video="packets")
    packets = []
    for i in range(count):
        frame = VideoFrame.from_ndarray(np.full((96, 160, 3), 90, np.uint8), time=Fraction(i, 30))
        for piece in encoder.encode(frame):
            packets += decoder.feed(piece.data)
    packets += decoder.flush()
    return [packed(each) for each in packets if isinstance(each, MediaPacket)]


async def test_a_stream_gives_back_the_pictures_that_went_in_with_their_times() -> None:
    sent = pictures(12)
    async with played(Tint) as it:
        async with it.browser.ws_connect(it.url("live/0"), headers=it.ours) as ws:
            await ws.send_json({"type": "start", "params": {"u": 90}, "width": 160, "height": 96})
            back, told = [], []
            changed = False
            async with asyncio.timeout(LIMIT):
                async for message in ws:
                    if message.type is aiohttp.WSMsgType.BINARY:
                        back.append(unpacked(message.data))
                    else:
                        told.append(json.loads(message.data))
                        if told[-1]["type"] == "started":
                            for each in sent:
                                await ws.send_bytes(each)
                    seen = {each["type"] for each in told}
                    if len(back) >= 10 and not changed:
                        changed = True
                        await ws.send_json({"type": "params", "id": 1, "params": {"u": 200}})
                        await ws.send_json({"type": "params", "id": 2, "params": {"u": 256}})
                        await ws.send_json({"type": "control", "message": {}})
                    if (
                        len([each for each in told if each["type"] == "params"]) == 2
                        and "data" in seen
                    ):
                        break
            assert await it.in_flight() == 1
            async with it.browser.ws_connect(it.url("live/0"), headers=it.ours) as other:
                await other.send_json({"type": "start", "params": {}, "width": 160, "height": 96})
                refused = await other.receive_json(timeout=LIMIT)
                assert refused["type"] == "refused" and refused["error"]["type"] == "over_capacity"
        # In order and at their times; a pipeline in real time may leave one out.
        times = [each.time for each in back]
        assert back[0].key and times == sorted(set(times))
        assert set(times) <= {unpacked(each).time for each in sent}
        (good, bad) = (each for each in told if each["type"] == "params")
        assert good["params"] == {"u": 200}
        assert bad["error"]["fields"][0]["name"] == "u"
        (track,) = (each for each in told if each["type"] == "track")
        assert (track["codec"], track["width"], track["height"]) == ("h264", 160, 96)
        await it.nothing_runs()  # the tab is closed: its slot is free


def test_what_a_decoder_kept_back_is_encoded_anew_in_order_with_its_times() -> None:
    encoder = SegmentEncoder(VideoOutput(gop_seconds=1, width=320), None)
    reencoder = Reencoder()
    given = []
    for i in range(45):
        frame = VideoFrame.from_ndarray(
            np.full((96, 160, 3), 4 * i, np.uint8), time=Fraction(i, 30)
        )
        for piece in encoder.encode(frame):
            if piece.new_segment:
                given += reencoder.end_segment()
            given += reencoder.feed(piece.data)
    given += reencoder.flush()
    packets = [each for each in given if isinstance(each, MediaPacket)]
    assert [each.time for each in packets] == [Fraction(i, 30) for i in range(45)]
    assert packets[0].is_keyframe
    assert all(each.pts == each.dts for each in packets)  # none waits for a later one


async def test_a_stream_whose_pictures_are_kept_back_goes_on_encoded_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = []

    class Noted(Reencoder):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

    monkeypatch.setattr("livepeer.runner.playground.downlink.Reencoder", Noted)
    sent = pictures(24)
    async with played(Tint) as it:
        async with it.browser.ws_connect(it.url("live/0"), headers=it.ours) as ws:
            await ws.send_json({"type": "start", "params": {"u": 90}, "width": 160, "height": 96})
            times: list[int] = []
            async with asyncio.timeout(LIMIT):
                async for message in ws:
                    if message.type is aiohttp.WSMsgType.BINARY:
                        times.append(unpacked(message.data).time)
                    elif json.loads(message.data)["type"] == "started":
                        await ws.send_json({"type": "held"})
                        for each in sent:
                            await ws.send_bytes(each)
                    if len(times) >= 6:
                        break
        assert len(made) == 1
        assert times == sorted(set(times))
        await it.nothing_runs()


@pytest.mark.parametrize(
    ("messages", "told"),
    [
        (["[]"], "a message is a JSON object"),
        (['{"type": "hello"}'], "begins with a start"),
        (['{"type": "start", "params": {}, "width": 1e9}'], "width is 0, or from"),
        ([b"\0" * 20], "begins with a start"),
        (['{"type": "start", "params": {"u": 700}}'], "u"),
        ([START, "x" * (LARGEST_TEXT + 1)], "letters at most"),
        ([START, b"\7" * 20], "a unit is of kind"),
        ([START, b"\1\1" + bytes(8) + b"odd"], ""),
        ([START, '{"type": "reboot", "params": {}}'], "not known here"),
    ],
)
async def test_what_no_page_sends_ends_the_stream_and_frees_its_place(
    messages: list[Any], told: str
) -> None:
    async with played(Tint) as it:
        async with it.browser.ws_connect(it.url("live/0"), headers=it.ours) as ws:
            for each in messages:
                await (ws.send_bytes(each) if isinstance(each, bytes) else ws.send_str(each))
            async with asyncio.timeout(LIMIT):
                said = [
                    json.loads(message.data)
                    async for message in ws
                    if message.type is aiohttp.WSMsgType.TEXT
                ]
        last = [each for each in said if each["type"] in ("ended", "refused")][-1]
        assert told in last.get("reason", "") + json.dumps(last.get("error", ""))
        await it.nothing_runs()


async def test_the_playground_ends_with_streams_open() -> None:
    async with played(Tint) as it:
        ws = await it.browser.ws_connect(it.url("live/0"), headers=it.ours)
        await ws.send_json({"type": "start", "params": {}, "width": 160, "height": 96})
        assert (await ws.receive_json(timeout=LIMIT))["type"] == "started"
        await it.page.__aexit__()
        async with asyncio.timeout(LIMIT):
            async for _ in ws:
                pass
        assert await it.in_flight() == 0
