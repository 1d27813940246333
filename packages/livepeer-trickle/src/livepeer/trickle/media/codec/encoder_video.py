"""One video track: pictures of any size and format in, H.264 frames out, one for one."""

from __future__ import annotations

import ctypes
import functools
import logging
import os
import sys
import threading
from fractions import Fraction
from math import ceil
from typing import Any, cast

import av
from av.codec.hwaccel import HWAccel
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType

from livepeer.trickle.media.codec.encoder_picture import Fitter, Shape, output_pixel, output_size
from livepeer.trickle.media.codec.outputs import EncoderUnavailable, VideoOutput
from livepeer.trickle.media.frame import VideoFrame
from livepeer.trickle.media.frame.clock import MPEG_TIME_BASE
from livepeer.trickle.media.ts.units import EncodedFrame

logger = logging.getLogger(__name__)

CEILING = 0.3
"""Constant quality is capped at so many bits per pixel: 8 Mbit/s at 1280×720, 30 fps. Rate
control costs a tenth of the encoder's time, so it is asked for once a GOP has gone above this."""

FINEST_QUANTISER = 22
"""x264 spends as much as it likes on a keyframe that others follow: 436 KB for a 1280×720 that
nobody can tell from 260 KB (47 dB and 40), but that takes a quarter longer on its way."""

SLICES = 4
"""A large picture is cut into as many, also where fewer threads encode it: they are what a
decoder's threads share out, so that one that wakes late has less to do."""

RATE_TOLERANCE = 0.2
"""A measured frame rate this far from the encoder's makes it open anew at the next keyframe."""


class VideoEncoder:
    """Encodes frames as they come; opens itself anew, at a keyframe, when its input changes.

    Not thread-safe: one thread at a time. `opened` counts how often a codec was opened.
    """

    def __init__(self, output: VideoOutput) -> None:
        self.output = output
        self.codec = ""
        self.opened = 0
        self._context: VideoCodecContext | None = None
        self._fitter: Fitter | None = None
        self._shape: Shape | None = None
        self._rate = Fraction(output.fps or 30).limit_denominator(1001)
        self._capped = output.bitrate is not None
        self._gop: _Gop | None = None
        self._measured = self._rate
        """The rate of the GOP before this one."""

    @property
    def interval(self) -> int:
        """The usual distance of two frames, in ticks."""
        return round(90_000 / self._rate)

    def encode(self, frame: VideoFrame, pts: int, *, key: bool = False) -> list[EncodedFrame]:
        """The encoded frames that `frame`, shown at `pts` ticks, brings out: one, as a rule.

        `key` makes it a keyframe; a change of input does so too. Pixels are not changed.
        Raises `EncoderUnavailable` where the codec does not open.
        """
        # The encoder reads its instructions from the picture itself, and two publishers may have
        # been given the same one: it is lent to one of them at a time.
        with _LOCKS[(id(frame._picture) >> 6) % len(_LOCKS)]:
            picture = frame.to_av()
            units: list[EncodedFrame] = []
            shape = Shape.of(picture, frame.sample_aspect_ratio)
            if self._context is None or shape != self._shape or (key and self._outgrown()):
                units = self.flush()
                self._open(picture, shape)
                key = True
            assert self._context is not None
            if self._fitter is not None:
                picture = self._fitter.fit(picture)
            picture.pts, picture.time_base = pts, MPEG_TIME_BASE
            picture.pict_type = PictureType.I if key else PictureType.NONE
            encoded = _units(self._context.encode(picture))
            if key or self._gop is None:
                self._gop = _Gop(pts)
            self._gop.add(pts, sum(len(unit.data) for unit in encoded))
            return units + encoded

    def flush(self) -> list[EncodedFrame]:
        """What the encoder still holds; the next frame opens a new one."""
        if self._context is None:
            return []
        units = _units(self._context.encode(None))
        self._context = None
        return units

    def _outgrown(self) -> bool:
        """Whether the last GOP had another frame rate, or more bits, than the encoder is set to.

        A GOP with holes tells no rate until the next one tells the same: to open an encoder anew
        because a busy machine lost pictures would cost it more of them.
        """
        gop = self._gop
        if gop is None or gop.count < 3:
            return False
        rate, before = gop.rate, self._measured
        self._measured = rate
        changed = _differ(rate, self._rate) and (gop.even or not _differ(rate, before))
        changed &= self.output.fps is None
        if changed:
            self._rate = min(max(rate, Fraction(1, 2)), Fraction(1000)).limit_denominator(1001)
        if not self._capped and self._context is not None:
            bits = gop.bytes * 8 * rate / gop.count
            self._capped = bits > self._ceiling(self._context.width, self._context.height)
            changed |= self._capped
        return changed

    def _ceiling(self, width: int, height: int) -> int:
        # A small or slow stream still needs room for its keyframes.
        return self.output.bitrate or max(1_000_000, int(width * height * self._rate * CEILING))

    def _open(self, picture: av.VideoFrame, shape: Shape) -> None:
        """Open the first encoder that does; only `auto` has a second choice."""
        codec = resolve_codec(self.output.codec)
        width, height = output_size(self.output, picture.width, picture.height)
        attempts = [(codec, False)]
        # NVENC reads NV12 where it was decoded, but it does not scale it.
        same_size = (width, height) == (picture.width, picture.height)
        if codec == "h264_nvenc" and shape.on_device and same_size and _is_nv12(picture):
            attempts.insert(0, (codec, True))
        if self.output.codec == "auto" and codec != "libx264":
            # Its sessions are limited in number and its pictures in size.
            attempts.append(("libx264", False))
        fitter = Fitter(picture, width, height)
        pixel = output_pixel(self.output, shape)
        reasons = []
        for codec, on_device in attempts:
            try:
                context = self._context_of(codec, fitter, picture if on_device else None)
                if pixel != 1:
                    context.sample_aspect_ratio = pixel
                context.open()
            except (av.FFmpegError, NotImplementedError, ValueError) as error:
                reasons.append(f"{codec} does not open for {width}x{height}: {error}")
                continue
            self.codec, self._context, self._shape = codec, context, shape
            self._fitter = None if on_device else fitter
            self.opened += 1
            logger.debug("opened %s, %dx%d at %s fps", codec, width, height, self._rate)
            return
        raise EncoderUnavailable(
            f"{'; '.join(reasons)}. Ask for another one with VideoOutput(codec=...)."
        )

    def _context_of(
        self, codec: str, fitter: Fitter, on_device: av.VideoFrame | None
    ) -> VideoCodecContext:
        hwaccel = None
        if on_device is not None:
            # The process's primary context of the same GPU: the one that decoded the picture.
            index = on_device.planes[0].__dlpack_device__()[1]
            hwaccel = HWAccel("cuda", device=str(index), is_hw_owned=True)
        context = cast(VideoCodecContext, av.CodecContext.create(codec, "w", hwaccel))
        context.width, context.height = fitter.width, fitter.height
        context.time_base, context.framerate = MPEG_TIME_BASE, self._rate
        context.pix_fmt = "cuda" if hwaccel else fitter.format
        if hwaccel:
            context.sw_format = "nv12"
        context.colorspace, context.color_range = fitter.colour[:2]
        context.color_primaries, context.color_trc = fitter.colour[2:]
        context.gop_size, context.max_b_frames = 1 << 30, 0
        context.thread_count = self.output.threads or _threads(fitter.width, fitter.height)
        context.options = self._options(codec, fitter.width, fitter.height)
        return context

    def _options(self, codec: str, width: int, height: int) -> dict[str, str]:
        bits = self.output.bitrate
        options = {"aud": "1", "forced-idr": "1"}
        if self._capped:
            ceiling = self._ceiling(width, height)
            options |= {"maxrate": str(ceiling), "bufsize": str(ceiling // 2)}
        if bits:
            options["b"] = str(bits)
        if codec == "libx264":
            options |= {"preset": self.output.preset, "tune": "zerolatency", "sc_threshold": "0"}
            options |= {} if bits else {"crf": "23", "qmin": str(FINEST_QUANTISER)}
            threads = self.output.threads or _threads(width, height)
            if 1 < threads < SLICES:
                options["x264-params"] = f"slice-max-mbs={_slice_of(width, height, threads)}"
        elif codec == "h264_nvenc":
            options |= {"preset": "p2", "tune": "ull", "delay": "0", "zerolatency": "1"}
            options |= {"rc": "cbr"} if bits else {"rc": "vbr", "cq": "23"}
        return options


class _Gop:
    """What a keyframe and the pictures after it were like: when they are shown, and their bytes."""

    def __init__(self, pts: int) -> None:
        self._first = self._last = pts
        self._shortest, self._longest = 1 << 63, 0
        self.count = 0
        self.bytes = 0

    def add(self, pts: int, size: int) -> None:
        if self.count:
            self._shortest = min(self._shortest, pts - self._last)
            self._longest = max(self._longest, pts - self._last)
        self._last = pts
        self.count += 1
        self.bytes += size

    @property
    def rate(self) -> Fraction:
        return Fraction((self.count - 1) * 90_000, max(1, self._last - self._first))

    @property
    def even(self) -> bool:
        """Whether none of its pictures seems to be missing."""
        return self._longest < 1.5 * self._shortest


def _differ(rate: Fraction, other: Fraction) -> bool:
    return abs(rate / other - 1) > RATE_TOLERANCE


@functools.cache
def resolve_codec(codec: str) -> str:
    """The encoder behind `"auto"`: NVENC where it really opens, else x264; asked only once."""
    if codec != "auto":
        return codec
    try:
        # Asking NVENC where there is no driver works too, but FFmpeg complains aloud.
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return "libx264"
    try:
        context = av.CodecContext.create("h264_nvenc", "w")
        context.width, context.height, context.pix_fmt = 256, 256, "yuv420p"
        context.time_base = MPEG_TIME_BASE
        context.open()
    except (av.FFmpegError, ValueError) as error:
        logger.debug("no NVENC here, x264 encodes: %s", error)
        return "libx264"
    return "h264_nvenc"


def _is_nv12(picture: av.VideoFrame) -> bool:
    return picture.sw_format is not None and picture.sw_format.name == "nv12"


def _threads(width: int, height: int) -> int:
    return max(1, min(4, _cores(), round(width * height / (1280 * 360))))


def _slice_of(width: int, height: int, threads: int) -> int:
    """Macroblocks of a slice: whole rows, several slices for each thread."""
    rows = ceil(ceil(height / 16) / threads)
    return ceil(rows / (SLICES // threads)) * ceil(width / 16)


def _cores() -> int:
    """Those that this process may use: more slices than these cost, and gain nothing."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _units(packets: list[av.Packet[Any]]) -> list[EncodedFrame]:
    units = []
    for packet in packets:
        assert packet.pts is not None
        dts = packet.pts if packet.dts is None else packet.dts
        units.append(EncodedFrame(bytes(packet), packet.pts, dts, packet.is_keyframe))
    return units


_LOCKS = tuple(threading.Lock() for _ in range(64))
"""A few locks are enough to tell the pictures apart that are being encoded right now."""
