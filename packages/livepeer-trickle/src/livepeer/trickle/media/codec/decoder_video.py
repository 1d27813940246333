"""A video track to pictures, from keyframe to loss and from the next keyframe on again."""

from __future__ import annotations

import logging
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from av import Packet
from av.error import FFmpegError

from livepeer.trickle.exceptions import PictureTooLarge
from livepeer.trickle.media.codec import gpu
from livepeer.trickle.media.codec.track_decoder import DecoderStats, open_video, picture_size
from livepeer.trickle.media.frame import VideoFrame
from livepeer.trickle.media.frame.clock import MPEG_TIME_BASE
from livepeer.trickle.media.frame.pixels import MAX_PIXELS
from livepeer.trickle.media.frame.upright import Upright
from livepeer.trickle.media.frame.video import SQUARE
from livepeer.trickle.media.ts.codecs import CODECS, framer_for
from livepeer.trickle.media.ts.picture_times import PictureTimes
from livepeer.trickle.media.ts.timeline import Timeline
from livepeer.trickle.media.ts.units import AccessUnit, ElementaryPacket, Track

if TYPE_CHECKING:
    import av


logger = logging.getLogger(__name__)

_REORDERED = 64
"""More units than any codec holds back before it gives the first picture."""


class VideoDecoder:
    """Decodes from keyframe to loss, and from the next keyframe on again."""

    def __init__(
        self,
        track: Track,
        timeline: Timeline,
        stats: DecoderStats,
        *,
        device: str | None = None,
        threads: int = 0,
        max_pixels: int | None = None,
    ) -> None:
        self.track = track
        self._timeline = timeline
        self._stats = stats
        self._framer = framer_for(track, MAX_PIXELS if max_pixels is None else max_pixels)
        self._threads = threads
        self._max_pixels = MAX_PIXELS if max_pixels is None else max_pixels
        self._refused: tuple[int, int] | None = None
        """The size of the last keyframe, where that was too large."""
        self._context = open_video(track.codec, device, threads, self._max_pixels)
        self._device = device if self._context.is_hwaccel else None
        self._waiting = True
        self._started = False
        self._key = self._spoilt_until = -(1 << 63)
        """The time of the newest keyframe that the decoder has, and up to where none is good."""
        self._since_key: list[AccessUnit] = []
        """That keyframe and what came after it, until the first of their pictures is out."""
        self._times: PictureTimes[av.VideoFrame] = PictureTimes()
        self._upright = Upright()

    @property
    def too_large(self) -> tuple[int, int] | None:
        """The size of the last keyframe, where that was too large."""
        return self._refused

    def push(self, packet: ElementaryPacket) -> list[VideoFrame]:
        return self._units(self._framer.split(packet))

    def lose(self) -> list[VideoFrame]:
        """Units are missing here: give what is whole, then wait for a keyframe."""
        if self._waiting:
            return []
        self._waiting = True
        self._since_key = []
        out = self._decode(None)
        self._context.flush_buffers()
        self._times.lose()
        return out

    def flush(self) -> list[VideoFrame]:
        out = self._units(self._framer.flush()) + self.lose()
        rest = self._times.give_up(self._rate, self._timeline.latest)
        self._stats.video_frames += len(rest)
        return out + [self._frame(*each) for each in rest]

    def _units(self, units: list[AccessUnit]) -> list[VideoFrame]:
        out: list[VideoFrame] = []
        for unit in units:
            if unit.lost or unit.damaged:
                out += self.lose()
            if unit.damaged:
                self._stats.damaged += 1
                continue
            if self._waiting:
                if not unit.key:
                    self._stats.skipped += 1
                    continue
                self._waiting = False
                self._stats.resyncs += self._started
                if self._started:
                    self._renew(unit)
                self._started = True
            out += self._decode(unit)
        return out

    def _decode(self, unit: AccessUnit | None, *, again: bool = False) -> list[VideoFrame]:
        if unit is not None and not again:
            if unit.key:
                self._since_key = [unit]
            elif self._since_key:
                self._since_key.append(unit)
                if len(self._since_key) > _REORDERED:
                    self._since_key = []
        try:
            pictures = self._context.decode(None if unit is None else self._packet(unit))
        except FFmpegError:
            self._stats.damaged += 1
            if unit is None:
                return []
            if unit.key:
                self._refuse_if_too_large(unit)
            return self.lose()
        if unit is not None and unit.key:
            if self._context.width * self._context.height > self._max_pixels:
                self._stats.damaged += 1
                self._refuse_if_too_large(unit)
                self._context.flush_buffers()
                return self.lose()
            self._refused = None
        out: list[VideoFrame] = []
        for picture in pictures:
            pts = picture.pts
            if not picture.is_corrupt:
                if pts is not None and pts < self._spoilt_until:
                    self._stats.skipped += 1
                else:
                    out += self._timed(picture)
                if self._since_key and (pts is None or pts >= self._key):
                    self._since_key = []
                continue
            # What follows may be predicted from it: nothing is worth having until a keyframe.
            self._stats.damaged += 1
            key_is_inside = unit is not None and unit.key
            if pts < self._key if pts is not None else key_is_inside:
                self._spoilt_until = self._key
                if unit is None or not self._since_key:
                    continue
                self._stats.video_frames += len(out)
                return out + self._decode_again()
            if unit is not None:
                self._waiting = True
                self._since_key = []
                self._context.flush_buffers()
            break
        self._stats.video_frames += len(out)
        return out

    def _decode_again(self) -> list[VideoFrame]:
        """From the keyframe on, so that nothing of what was broken before it gets into it."""
        units, self._since_key = self._since_key, []
        self._context.flush_buffers()
        self._renew(units[0])
        out: list[VideoFrame] = []
        for unit in units:
            if not self._waiting:
                out += self._decode(unit, again=True)
        return out

    def _renew(self, unit: AccessUnit) -> None:
        """A new decoder for what begins with this keyframe, where that is all it needs.

        FFmpeg's for H.264 keeps something of a broken picture over a flush: what it makes of the
        next GOP, whole as that is, differs from what was encoded, and it does not say so.
        """
        codec = self.track.codec
        if not self._context.is_hwaccel and CODECS[codec].syntax.stands_alone(unit.data):
            self._context = open_video(codec, None, self._threads, self._max_pixels)

    def _refuse_if_too_large(self, unit: AccessUnit) -> None:
        """Raise where two keyframes in a row say so: one alone may be damaged."""
        size = picture_size(self.track.codec, self._context, unit.data)
        if size[0] * size[1] <= self._max_pixels:
            return
        refused, self._refused = self._refused, size
        text = f"the pictures are {size[0]}x{size[1]}, and max_pixels is {self._max_pixels}"
        if refused == size:
            raise PictureTooLarge(f"{text}: give a larger one to have them")
        logger.warning("%s: they are not decoded", text)

    def _packet(self, unit: AccessUnit) -> Any:
        packet = Packet(unit.data)
        packet.pts, packet.dts = self._timeline.place_both(unit.pts, unit.dts, starts=unit.key)
        packet.time_base = MPEG_TIME_BASE
        if unit.key and packet.pts is not None:
            self._key = packet.pts
        return packet

    @property
    def _rate(self) -> Fraction | None:
        return self._context.framerate or None

    def _timed(self, picture: av.VideoFrame) -> list[VideoFrame]:
        told = picture.pts
        if told is None:
            rate, latest = self._rate, self._timeline.latest
            return [
                self._frame(*each)
                for each in self._times.add(picture, None, rate=rate, latest=latest)
            ]
        return [self._frame(*each) for each in self._times.add(picture, told)]

    def _frame(self, picture: av.VideoFrame, pts: int) -> VideoFrame:
        if self._device is not None and picture.format.name != "cuda":
            gpu.warn_of_fallback(self.track.codec, picture.format.name, self._device)
            self._device = None
        key = bool(picture.key_frame)
        shape = self._context.sample_aspect_ratio or SQUARE
        picture, shape = self._upright.turn(picture, shape)
        return VideoFrame(picture, pts=pts, key_frame=key, sample_aspect_ratio=shape)
