"""Mutated transport streams: no crash, no hang, no growth, and every untouched GOP comes out."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livepeer.trickle.media.codec.decoder import StreamDecoder

WORKER = Path(__file__).with_name("fuzz_worker.py")

CLIPS: dict[str, dict[str, Any]] = {
    "h264": {"audio": "aac"},
    "h264 with b-frames": {"bframes": 2, "audio": "libopus"},
    "h264 with lengths": {"audio": "mp2", "mux": {"omit_video_pes_length": "0"}},
    "hevc": {"codec": "libx265", "bframes": 2},
}


def fuzz(path: Path, made: Any, seed: int, count: int, gop_ticks: int) -> dict[str, Any]:
    path.write_bytes(made.data)
    done = subprocess.run(
        [sys.executable, str(WORKER), str(path), str(seed), str(count), str(gop_ticks)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.parametrize("name", CLIPS)
@pytest.mark.parametrize("count", [30, pytest.param(5000, marks=pytest.mark.slow)])
@pytest.mark.timeout(600)
def test_mutated_streams_never_crash_hang_or_grow_and_keep_what_was_not_touched(
    clip: Callable[..., Any], tmp_path: Path, name: str, count: int
) -> None:
    made = clip(width=64, height=48, frames=40, gop=8, **CLIPS[name])
    result = fuzz(tmp_path / "clip.ts", made, seed=count, count=count, gop_ticks=8 * 3000)
    assert result["done"] == count
    assert result["lost"] == []
    assert result["slowest"] < 20
    assert result["grown_kb"] < 64 * 1024


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=600), max_size=8), st.booleans())
def test_any_bytes_at_all_are_taken_without_complaint(pieces: list[bytes], aligned: bool) -> None:
    decoder = StreamDecoder()
    for piece in pieces:
        if aligned:
            piece = b"".join(b"\x47" + piece[n : n + 187] for n in range(0, len(piece), 187))
        decoder.feed(piece)
        decoder.end_segment()
    decoder.discontinuity()
    decoder.flush()
