"""Clips for the tests of media, made by real encoders; binary files are of other muxers alone."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

Plane = NDArray[np.uint8]


@dataclass(frozen=True)
class Clip:
    """An encoded clip and what went into it: ``times`` in ticks of 1/90000 s after muxing."""

    data: bytes
    pictures: list[tuple[Plane, Plane, Plane]]
    times: list[int]
    audio_rate: int = 0
    audio_samples: int = 0
    options: dict[str, Any] = field(default_factory=dict)


def picture(index: int, width: int, height: int) -> tuple[Plane, Plane, Plane]:
    """A smooth moving picture, different for each index, that survives encoding."""
    y, x = np.mgrid[0:height, 0:width]
    luma = 128 + 60 * np.sin((x + 5 * index) / 17) + 50 * np.cos((y - 3 * index) / 13)
    cy, cx = np.mgrid[0 : (height + 1) // 2, 0 : (width + 1) // 2]
    u = 128 + 50 * np.sin((cx - index) / 19)
    v = 128 + 50 * np.cos((cy + 2 * index) / 23)
    return luma.astype(np.uint8), u.astype(np.uint8), v.astype(np.uint8)


def psnr(a: NDArray[Any], b: NDArray[Any]) -> float:
    error = float(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2))
    return 99.0 if error == 0 else float(10 * np.log10(255**2 / error))


def make_clip(
    *,
    codec: str = "libx264",
    width: int = 160,
    height: int = 96,
    frames: int = 30,
    fps: Fraction | int = 30,
    gop: int = 10,
    bframes: int = 0,
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    times: list[Fraction] | None = None,
    audio: str | None = None,
    audio_rate: int = 48_000,
    audio_layout: str = "stereo",
    audio_start: Fraction = Fraction(0),
    audio_format: str | None = None,
    mux: dict[str, str] | None = None,
    start: int = 90_000,
    container_format: str = "mpegts",
) -> Clip:
    """Encode ``frames`` pictures, and a 440 Hz tone beside them, into one MPEG-TS file.

    ``times``: seconds of each picture, for a variable rate. ``start``: ticks added to all times.
    """
    fps = Fraction(fps)
    if times is None:
        times = [i / fps for i in range(frames)]
    target = io.BytesIO()
    muxing = {"muxdelay": "0", "muxpreload": "0", "avoid_negative_ts": "disabled"} | (mux or {})
    with av.open(target, "w", format=container_format, container_options=muxing) as container:
        x264 = {"preset": "ultrafast", "crf": "16", "bf": str(bframes), "sc_threshold": "0"}
        if codec == "libx265":
            x264 = {
                "preset": "ultrafast",
                "x265-params": f"log-level=none:keyint={gop}:min-keyint={gop}:bframes={bframes}"
                ":crf=14:scenecut=0:pools=1:open-gop=0",
            }
        elif codec != "libx264":
            x264 = {}
        video = container.add_stream(codec, rate=fps, options=x264 | (options or {}))
        assert isinstance(video, av.VideoStream)
        video.width, video.height, video.pix_fmt = width, height, pix_fmt
        video.gop_size = gop
        context = video.codec_context
        context.time_base = Fraction(1, 90_000)
        context.thread_count = 1
        if codec in ("mpeg2video", "mpeg4"):
            context.bit_rate = 4_000_000
            context.time_base = 1 / fps
        pictures = []
        for i in range(len(times)):
            planes = picture(i, width, height)
            pictures.append(planes)
        sound = None
        sound_at = 0
        end = times[-1] + 1 / fps
        if audio is not None:
            sound = container.add_stream(audio, rate=audio_rate, layout=audio_layout)
            assert isinstance(sound, av.AudioStream)
            sound.codec_context.open()

        def mux_audio(until: Fraction) -> None:
            nonlocal sound_at
            assert isinstance(sound, av.AudioStream)
            size = sound.codec_context.frame_size or 960
            while audio_start + Fraction(sound_at, audio_rate) < until:
                wave = np.sin(2 * np.pi * 440 * (sound_at + np.arange(size)) / audio_rate) * 0.5
                name = sound.codec_context.format.name
                channels = sound.codec_context.layout.nb_channels
                if name == "fltp":
                    array = np.tile(wave.astype(np.float32), (channels, 1))
                elif name == "s16":
                    array = np.repeat((wave * 32767).astype(np.int16), channels)[np.newaxis]
                elif name == "s16p":
                    array = np.tile((wave * 32767).astype(np.int16), (channels, 1))
                else:
                    array = np.repeat(wave.astype(np.float32), channels)[np.newaxis]
                frame = av.AudioFrame.from_ndarray(
                    np.ascontiguousarray(array), format=name, layout=audio_layout
                )
                frame.sample_rate = audio_rate
                frame.time_base = Fraction(1, audio_rate)
                offset = round((audio_start + Fraction(start, 90_000)) * audio_rate)
                frame.pts = offset + sound_at
                sound_at += size
                container.mux(sound.encode(frame))

        for i, time in enumerate(times):
            frame = av.VideoFrame(width, height, "yuv420p")
            for plane, values in zip(frame.planes, pictures[i], strict=True):
                array = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
                array[:, : plane.width] = values
            if pix_fmt != "yuv420p":
                frame = frame.reformat(format=pix_fmt)
            frame.time_base = Fraction(1, 90_000)
            frame.pts = start + round(time * 90_000)
            container.mux(video.encode(frame))
            if sound is not None:
                mux_audio(times[i + 1] if i + 1 < len(times) else end)
        container.mux(video.encode(None))
        if sound is not None:
            container.mux(sound.encode(None))
    return Clip(
        target.getvalue(),
        pictures,
        [start + round(t * 90_000) for t in times],
        audio_rate if audio else 0,
        sound_at,
    )


@pytest.fixture(scope="session")
def clip() -> Callable[..., Clip]:
    """Make (or take from this session's cache) a clip; see ``make_clip`` for the options."""
    cache: dict[str, Clip] = {}

    def make(**options: Any) -> Clip:
        key = repr(sorted(options.items(), key=lambda item: item[0]))
        if key not in cache:
            cache[key] = make_clip(**options)
        return cache[key]

    return make


@pytest.fixture(scope="session")
def quality() -> Callable[..., float]:
    """The PSNR in dB of two arrays."""
    return psnr


@pytest.fixture(scope="session")
def draw() -> Callable[[int, int, int], tuple[Plane, Plane, Plane]]:
    """The planes of the test picture ``(index, width, height)``."""
    return picture


@pytest.fixture
def transport_packets() -> Callable[[bytes], Iterator[bytes]]:
    def split(data: bytes) -> Iterator[bytes]:
        for at in range(0, len(data), 188):
            yield data[at : at + 188]

    return split
