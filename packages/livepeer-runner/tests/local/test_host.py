"""`local.serve`: a pipeline of either kind in this process, called without HTTP or with it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import aclosing

import httpx
import pytest
from pydantic import ValidationError

from livepeer.runner import Image, LivePipeline, Pipeline, VideoFrame, local
from livepeer.runner.settings import Settings

LIMIT = 60.0


class Greeter(Pipeline):
    ended = False

    def setup(self) -> None:
        self.greeting = "Hello"

    def predict(self, name: str) -> str:
        self.progress(0.5, "half")
        return f"{self.greeting}, {name}"

    def teardown(self) -> None:
        type(self).ended = True


class Count(Pipeline):
    closed = False

    def predict(self, to: int) -> Iterator[str]:
        try:
            for i in range(to):
                yield f"{i}\u2028"
        finally:
            type(self).closed = True


class Broken(Pipeline):
    def setup(self) -> None:
        raise OSError("no weights")

    def predict(self) -> str:
        return ""


class Endless(Pipeline):
    async def setup(self) -> None:
        await asyncio.Event().wait()

    def predict(self) -> str:
        return ""


class Blank(LivePipeline):
    realtime = False

    def generate(self) -> Iterator[VideoFrame]:
        import numpy as np

        for _ in range(3):
            yield VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8))


class Sized(Pipeline):
    def predict(self, image: Image) -> int:
        return image.size


async def test_a_batch_class_is_called_and_torn_down() -> None:
    told: list[tuple[float, str]] = []
    async with local.serve(Greeter, Settings()) as hosted:
        encoded = await hosted.predict(
            {"name": "Ada"}, on_progress=lambda done, text: told.append((done, text))
        )
        assert encoded == (b'"Hello, Ada"', "application/json")
    assert told == [(0.5, "half")]
    assert Greeter.ended


async def test_the_signature_is_known_before_setup_and_a_wrong_input_is_refused() -> None:
    hosted = local.serve(Broken, Settings())
    assert hosted.signature.form_fields == {}
    async with local.serve(Greeter, Settings()) as hosted:
        with pytest.raises(ValidationError):
            await hosted.predict({"nam": "Ada"})


async def test_a_file_of_the_input_may_be_bytes() -> None:
    async with local.serve(Sized, Settings()) as hosted:
        assert (await hosted.predict({"image": b"\x89PNG\r\n\x1a\n"})).body == b"8"


async def test_events_come_one_by_one_whatever_is_in_them() -> None:
    async with local.serve(Count, Settings()) as hosted, aclosing(hosted.events({"to": 3})) as got:
        assert [json.loads(event) async for event in got] == ["0\u2028", "1\u2028", "2\u2028"]


async def test_a_reader_of_events_that_leaves_closes_the_generator() -> None:
    Count.closed = False
    async with local.serve(Count, Settings()) as hosted:
        async with aclosing(hosted.events({"to": 10**9})) as got:
            assert json.loads(await anext(got)) == "0\u2028"
        assert Count.closed


async def test_a_setup_that_fails_is_raised_with_its_reason() -> None:
    with pytest.raises(local.SetupFailed, match="Broken cannot be served: setup raised") as caught:
        async with local.serve(Broken, Settings()):
            pass
    assert caught.value.reason == "setup raised OSError: no weights"


async def test_a_setup_that_does_not_end_is_raised_after_its_time() -> None:
    with pytest.raises(local.SetupFailed, match=r"Endless.setup took longer than 0.1 s"):
        async with local.serve(Endless, Settings(), setup_timeout=0.1):
            pass


async def test_it_listens_where_an_address_is_wanted() -> None:
    async with (
        asyncio.timeout(LIMIT),
        local.serve(Greeter, Settings(), http=True) as hosted,
        httpx.AsyncClient(base_url=hosted.url, trust_env=False) as http,
    ):
        assert (await http.post("/predict", json={"name": "Ada"})).json() == "Hello, Ada"
        assert (await hosted.predict({"name": "Bob"})).body == b'"Hello, Bob"'
    assert local.serve(Greeter, Settings()).url == ""


async def test_a_live_class_runs_several_streams_in_turn() -> None:
    async with local.serve(Blank, Settings.from_env({})) as hosted:
        for _ in range(2):
            result = await hosted.run_live()
            assert (len(result.video), result.reason) == (3, "the input ended")


def test_a_host_without_http_imports_no_web_framework() -> None:
    code = (
        "import asyncio, sys\nfrom livepeer.runner import Pipeline, local\n"
        "class Echo(Pipeline):\n    def predict(self, text: str) -> str: return text\n"
        "async def main():\n"
        "    async with local.serve(Echo) as hosted: await hosted.predict({'text': 'a'})\n"
        "asyncio.run(main())\n"
        "print([name for name in ('fastapi', 'uvicorn', 'httpx', 'av') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=200
    )
    assert done.stdout.strip() == "[]"
