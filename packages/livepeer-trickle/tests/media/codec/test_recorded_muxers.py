"""Streams that real muxers wrote, recorded: every picture, at its tick, and all of the sound."""

import io
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from livepeer.trickle.media.codec.decoder import StreamDecoder
from livepeer.trickle.media.frame import AudioFrame, VideoFrame

RECORDED = Path(__file__).parents[1] / "recorded"
#: And the pictures in each: VLC leaves out some at the end.
STREAMS = {
    "ffmpeg-segment": 45,
    "go-livepeer-whip": 45,
    "gstreamer-h264-aac": 45,
    "gstreamer-h264-opus": 45,
    "gstreamer-hevc-aac": 45,
    "vlc-h264-aac": 38,
    "vlc-h264-mp2": 40,
}


def segments(name: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted(RECORDED.glob(f"{name}*.ts"))]


def by_ffmpeg(data: bytes) -> tuple[list[int], list[int], int]:
    """Times of pictures, times of sound, and samples, as FFmpeg's own demuxer has them."""
    pictures, sounds, samples = [], [], 0
    with av.open(io.BytesIO(data), "r", format="mpegts") as container:
        for packet in container.demux(video=0, audio=0):
            try:
                frames: list[Any] = packet.decode()
            except av.error.InvalidDataError:
                continue  # VLC's file ends within a frame
            for frame in frames:
                if isinstance(frame, av.VideoFrame):
                    pictures.append(frame.pts)
                else:
                    sounds.append(frame.pts)
                    samples += frame.samples
    return sorted(pictures), sounds, samples


@pytest.mark.parametrize("name", STREAMS)
def test_a_real_muxers_stream_comes_back_picture_by_picture(
    draw: Callable[..., Any], quality: Callable[..., float], name: str
) -> None:
    decoder = StreamDecoder()
    out = []
    for data in segments(name):
        for at in range(0, len(data), 188):
            out += decoder.feed(data[at : at + 188])
        out += decoder.end_segment()
    out += decoder.flush()
    pictures = [frame for frame in out if isinstance(frame, VideoFrame)]
    sounds = [frame for frame in out if isinstance(frame, AudioFrame)]
    stats = decoder.stats
    assert stats.damaged == stats.skipped == stats.lost_packets == stats.clock_restarts == 0
    assert len(pictures) == STREAMS[name]
    begin = pictures[0].time
    for frame in pictures:
        number = round((frame.time - begin) * 30)
        # Matroska, from which most were made, keeps milliseconds.
        assert abs(frame.time - begin - Fraction(number, 30)) <= Fraction(1, 1000)
        assert quality(frame.view()[0], draw(number, 160, 96)[0]) > 38
    times, heard, samples = [], [], 0
    for data in segments(name):
        told = by_ffmpeg(data)
        times += told[0]
        heard += told[1]
        samples += told[2]
    assert [frame.pts for frame in pictures] == times
    assert sounds[0].time * 90_000 == heard[0]
    assert sum(map(len, sounds)) == samples
