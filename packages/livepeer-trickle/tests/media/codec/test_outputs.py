"""VideoOutput and AudioOutput: values that are right, or an error that says what would be."""

import subprocess
import sys
from dataclasses import FrozenInstanceError
from fractions import Fraction
from typing import Any

import pytest

from livepeer.trickle.media.codec.outputs import AudioOutput, VideoOutput


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        ({"codec": "vp9"}, ValueError, "codec 'vp9'"),
        ({"codec": "h264"}, ValueError, "h264_nvenc"),
        ({"bitrate": 500}, ValueError, "at least 1000 bits per second"),
        ({"bitrate": "4M"}, TypeError, "whole number of bits per second"),
        ({"bitrate": True}, TypeError, "bitrate True"),
        ({"gop_seconds": 0}, ValueError, "gop_seconds 0: expected 0.1 to 60"),
        ({"gop_seconds": float("nan")}, ValueError, "gop_seconds nan"),
        ({"gop_seconds": "1"}, TypeError, "gop_seconds '1'"),
        ({"fps": 0}, ValueError, "fps 0"),
        ({"fps": float("inf")}, ValueError, "fps inf"),
        ({"width": 641}, ValueError, "even sizes"),
        ({"width": 8}, ValueError, "16 to 16384 pixels"),
        ({"height": 720.0}, TypeError, "height 720.0"),
        ({"preset": "warp"}, ValueError, "ultrafast"),
        ({"threads": 0}, ValueError, "1 to 64 threads"),
    ],
)
def test_a_wrong_video_output_is_refused_with_what_would_be_right(
    wrong: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        VideoOutput(**wrong)


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        ({"codec": "mp3"}, ValueError, "'aac' or 'libopus'"),
        ({"rate": 47_000}, ValueError, "aac takes 8000, 11025"),
        ({"codec": "libopus", "rate": 44_100}, ValueError, "libopus takes 8000, 12000"),
        ({"bitrate": 1}, ValueError, "6000 to 512000"),
        ({"layout": "5.1"}, ValueError, "'mono' or 'stereo'"),
    ],
)
def test_a_wrong_audio_output_is_refused_with_what_would_be_right(
    wrong: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        AudioOutput(**wrong)


def test_outputs_are_values_that_compare_and_do_not_change() -> None:
    output = VideoOutput(fps=Fraction(30_000, 1001), width=640, bitrate=2_000_000)
    assert output == VideoOutput(fps=Fraction(30_000, 1001), width=640, bitrate=2_000_000)
    with pytest.raises(FrozenInstanceError):
        output.width = 320  # type: ignore[misc]


def test_outputs_are_imported_without_av_and_numpy() -> None:
    code = (
        "import sys\n"
        "from livepeer.trickle.media import AudioOutput, VideoOutput\n"
        "VideoOutput(); AudioOutput()\n"
        "assert not {'av', 'numpy'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=200)
