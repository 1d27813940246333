"""What an editor knows of a call, by a type checker."""

from __future__ import annotations

from pathlib import Path

import pytest
from mypy import api

PROGRAM = """
from collections.abc import Mapping
from typing import Any, assert_type

from pydantic import BaseModel

from livepeer.client import Gateway, StreamEvent
from livepeer.trickle.media import AudioFrame, VideoFrame


class Reply(BaseModel):
    label: str


def sync(gw: Gateway) -> None:
    assert_type(gw.run("a"), Any)
    assert_type(gw.run("a", output=Reply), Reply)
    assert_type(gw.run("a", output=list[int]), list[int])
    with gw.stream("a", input=Reply(label="x")) as events:
        for event in events:
            assert_type(event, StreamEvent)


async def asynchronous(gw: Gateway) -> None:
    assert_type(await gw.run_async("a"), Any)
    assert_type(await gw.run_async("a", output=Reply), Reply)
    async with gw.stream_async("a") as events, gw.live("a") as session:
        async for event in events:
            assert_type(event, StreamEvent)
        async for either in session.subscribe():
            assert_type(either, VideoFrame | AudioFrame)
        async for picture in session.subscribe(audio=False):
            assert_type(picture, VideoFrame)
        async for sound in session.subscribe(video=False, policy="all"):
            assert_type(sound, AudioFrame)
        async for record in session.data():
            assert_type(record, dict[str, Any])
        assert_type(session.urls, Mapping[str, str])
"""
WRONG = """
from livepeer.client import Gateway

gw = Gateway(orch="https://o:1")
gw.run("a", inputs={})
gw.run("a", output=3)
gw.live("a", params=["u"])
"""


@pytest.mark.slow
def test_results_and_frames_are_typed_and_wrong_arguments_are_found(tmp_path: Path) -> None:
    (tmp_path / "right.py").write_text(PROGRAM)
    (tmp_path / "wrong.py").write_text(WRONG)
    options = ["--strict", "--config-file=", f"--cache-dir={tmp_path / 'cache'}"]
    told, errors, status = api.run([*options, str(tmp_path / "right.py")])
    assert (status, errors) == (0, ""), told
    told, _, _ = api.run([*options, str(tmp_path / "wrong.py")])
    assert [line.split(":")[1] for line in told.splitlines() if " error:" in line] == [
        "4",
        "5",
        "6",
        "7",
    ]
