"""Other encoders' streams through our muxer: undecoded in between, whole and in sync behind it."""

from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest

from livepeer.trickle.media import (
    AudioFrame,
    CodecParameters,
    MediaPacket,
    SegmentEncoder,
    StreamDecoder,
    VideoFrame,
)


def passed(data: bytes) -> list[bytes]:
    """The segments that our muxer makes of a stream, which is not decoded."""
    reader, encoder = StreamDecoder(video="packets", audio="packets", max_hold=1), SegmentEncoder()
    encoder.expect("audio")
    items = [*reader.feed(data), *reader.end_segment(), *reader.flush()]
    out: list[bytearray] = []
    for piece in [piece for item in items for piece in encoder.encode(item)] + encoder.flush():
        if piece.new_segment:
            out.append(bytearray())
        out[-1] += piece.data
    assert encoder.stats.late == encoder.stats.skipped == encoder.stats.timelines == 0
    return [bytes(segment) for segment in out]


def played(parts: list[bytes]) -> tuple[list[VideoFrame], list[AudioFrame]]:
    decoder = StreamDecoder()
    items: list[Any] = []
    for part in parts:
        items += [*decoder.feed(part), *decoder.end_segment()]
    items += decoder.flush()
    stats = decoder.stats
    assert stats.damaged == stats.skipped == stats.lost_packets == stats.clock_restarts == 0
    pictures = [item for item in items if isinstance(item, VideoFrame)]
    return pictures, [item for item in items if isinstance(item, AudioFrame)]


@pytest.mark.parametrize(
    "options",
    [
        {"options": {"profile": "baseline"}},
        {"options": {"profile": "main"}, "bframes": 2},
        {"options": {"profile": "high", "preset": "fast"}},
        {"options": {"profile": "high", "preset": "fast"}, "bframes": 3},
        {"options": {"x264-params": "b-pyramid=normal"}, "bframes": 5},
        {"codec": "libx265", "bframes": 3},
        {"codec": "mpeg2video", "width": 161, "height": 97},
        {"width": 161, "height": 97, "pix_fmt": "yuv444p"},
        {"pix_fmt": "yuv422p", "bframes": 2},
        {"pix_fmt": "yuv422p10le"},
        {"fps": 1, "frames": 5},
        {"fps": 60, "frames": 60, "bframes": 2},
        {"times": [Fraction(n * n, 500) for n in range(30)], "bframes": 2},
        {"start": (1 << 33) - 45_000, "bframes": 2},
    ],
    ids=repr,
)
def test_pictures_of_other_encoders_come_back_at_their_ticks(
    clip: Callable[..., Any], quality: Callable[..., float], options: dict[str, Any]
) -> None:
    made = clip(**{"audio": "aac", **options})
    parts = passed(made.data)
    pictures, _ = played(parts)
    assert [picture.pts for picture in pictures] == made.times
    for picture, drawn in zip(pictures, made.pictures, strict=True):
        for ours, plane in zip(picture.view(), drawn, strict=True):
            assert quality(ours, plane) > 38
    assert order_of([made.data]) == order_of(parts)
    # And each segment alone, by FFmpeg's own demuxer.
    times: list[int] = []
    for part in parts:
        with av.open(io.BytesIO(part), format="mpegts") as container:
            shown = list(container.decode(video=0))
        assert shown[0].key_frame
        assert not any(picture.is_corrupt for picture in shown)
        times += [picture.pts for picture in shown if picture.pts is not None]
    assert [time % (1 << 33) for time in times] == [time % (1 << 33) for time in made.times]


def order_of(parts: list[bytes]) -> list[tuple[int, int]]:
    """When pictures are shown and decoded, in the order of the stream."""
    reader = StreamDecoder(video="packets", audio="drop")
    items = [*(item for part in parts for item in reader.feed(part)), *reader.flush()]
    return [(item.pts, item.dts) for item in items if isinstance(item, MediaPacket)]


def test_opus_packets_of_any_size_are_carried_whole() -> None:
    """Their sizes stand before them in bytes of 255 and a rest, which may be 0."""
    parameters = CodecParameters("audio", "opus", rate=48_000, channels=2)
    encoder, reader = SegmentEncoder(None), StreamDecoder(audio="packets")
    # The first byte says: one frame of 20 ms.
    sent = [b"\xfc" + bytes(size - 1) for size in (2, 254, 255, 256, 509, 510, 511, 1275)]
    came: list[Any] = []
    for n, data in enumerate(sent):
        packet = MediaPacket(data, 1800 * n, 1800 * n, Fraction(1, 90_000), True, parameters)
        for piece in encoder.encode(packet):
            came += reader.feed(piece.data)
    assert [(packet.data, packet.pts) for packet in came] == [
        (data, 1800 * n) for n, data in enumerate(sent)
    ]


@pytest.mark.parametrize(
    ("codec", "rate", "layout"),
    [
        ("aac", 48_000, "stereo"),
        ("aac", 44_100, "mono"),
        ("aac", 48_000, "5.1"),
        ("libopus", 48_000, "stereo"),
        ("libopus", 48_000, "mono"),
        ("mp2", 48_000, "stereo"),
        ("mp2", 44_100, "mono"),
        ("ac3", 48_000, "stereo"),
    ],
)
def test_sound_of_other_encoders_comes_back_whole_and_in_sync(
    clip: Callable[..., Any], codec: str, rate: int, layout: str
) -> None:
    made = clip(audio=codec, audio_rate=rate, audio_layout=layout, frames=60)
    pictures, sounds = played(passed(made.data))
    assert [picture.pts for picture in pictures] == made.times
    assert {(sound.rate, sound.layout) for sound in sounds} == {(rate, layout)}
    at = sounds[0].time
    for sound in sounds:
        assert abs(sound.time - at) <= Fraction(1, 90_000)
        at = sound.time + sound.duration
    samples = np.concatenate([sound.samples[0] for sound in sounds])
    assert len(samples) >= made.audio_samples
    # The tone begins with the first picture: its phase tells where each sample belongs.
    times = float(sounds[0].time - pictures[0].time) + np.arange(len(samples)) / rate
    body = (times > 0.25) & (times < 1.75)
    heard = np.sum(samples[body] * np.exp(-2j * np.pi * 440 * times[body])) * 1j
    assert abs(np.angle(heard) / (2 * np.pi * 440)) < 0.0003
    assert abs(times[np.argmax(np.abs(samples) > 0.1)]) < 0.03
