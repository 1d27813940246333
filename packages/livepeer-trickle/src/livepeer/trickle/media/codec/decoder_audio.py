"""An audio track to samples, with times that are exact to the sample."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

from av import Packet
from av.error import FFmpegError

from livepeer.trickle.media.codec.track_decoder import DecoderStats, open_audio
from livepeer.trickle.media.frame import AudioFrame
from livepeer.trickle.media.frame.audio import decoded
from livepeer.trickle.media.frame.clock import MPEG_TIME_BASE, SampleClock
from livepeer.trickle.media.ts.codecs import framer_for
from livepeer.trickle.media.ts.timeline import Timeline
from livepeer.trickle.media.ts.units import AccessUnit, ElementaryPacket, Track

if TYPE_CHECKING:
    import av


_EARLY = 64
"""Units that wait for the first time that is told: a second and more."""


class AudioDecoder:
    """Decodes frame by frame; times follow the count of samples as long as the stream agrees."""

    def __init__(self, track: Track, timeline: Timeline, stats: DecoderStats) -> None:
        self.track = track
        self._timeline = timeline
        self._stats = stats
        self._framer = framer_for(track)
        self._context: Any = None
        self._base: Fraction | int | None = None
        self._early: list[AccessUnit] = []
        """Units before the first time that is told."""
        self._early_at: int | None = None
        self._clock = SampleClock()
        self._broken = False

    def push(self, packet: ElementaryPacket) -> list[AudioFrame]:
        return self._units(self._framer.split(packet))

    def lose(self) -> list[AudioFrame]:
        self._stats.skipped += len(self._early)
        self._early = []
        self._base = None
        self._broken = True
        return []

    def flush(self) -> list[AudioFrame]:
        out = self._units(self._framer.flush()) + self._decode_early(None)
        if self._context is not None:
            out += self._decode(None, None)
            self._context = None
        return out

    def _units(self, units: list[AccessUnit]) -> list[AudioFrame]:
        out: list[AudioFrame] = []
        for unit in units:
            if unit.lost:
                self._broken = True
                if unit.pts is None:
                    # Contiguity is gone, and with it every time that was counted from the last one.
                    self._base = None
            if unit.damaged:
                self._stats.damaged += 1
                continue
            if unit.pts is not None:
                self._base = self._timeline.place(unit.pts, "audio", starts=True)
                out += self._decode_early(self._base)
            elif self._base is None:
                if not self._early:
                    self._early_at = None if self._timeline.first is None else self._timeline.latest
                self._early.append(unit)
                if len(self._early) > _EARLY:
                    # Its times are told nowhere: it begins where the stream was.
                    out += self._decode_early(None)
                continue
            out += self._decode(unit, self._time(unit))
        return out

    def _time(self, unit: AccessUnit) -> Fraction | int | None:
        assert self._base is not None
        if unit.rate:
            return self._base + Fraction(unit.after * 90_000, unit.rate)
        # What is in it only its decoder knows, and its clock counts what that gives.
        return None if unit.pts is None else self._base

    def _decode_early(self, end: Fraction | int | None) -> list[AudioFrame]:
        """What came before the first time that is told, which is `end`; `None`: none is."""
        early, self._early = self._early, []
        if not early:
            return []
        first, last = early[0], early[-1]
        # Where the stream was then, or began.
        here = self._early_at if self._early_at is not None else self._timeline.first or 0
        if not first.rate or any(unit.lost for unit in early[1:]):
            if end is not None:
                self._stats.skipped += len(early)
                return []
            self._base = here
            return [sound for unit in early for sound in self._decode(unit, None)]
        told, begin = self._base, Fraction(first.after * 90_000, first.rate)
        if end is None:
            self._base = here - begin
        else:
            self._base = end - Fraction((last.after + last.samples) * 90_000, last.rate)
        out = [sound for unit in early for sound in self._decode(unit, self._time(unit))]
        if end is not None:
            self._base = told
        return out

    def _decode(self, unit: AccessUnit | None, time: Fraction | int | None) -> list[AudioFrame]:
        if self._context is None and unit is not None:
            self._context = open_audio(self.track, unit)
        packet = None
        if unit is not None:
            packet = Packet(unit.data)
            packet.pts = packet.dts = None if time is None else round(time)
            packet.time_base = MPEG_TIME_BASE
        try:
            if self._broken and packet is not None:
                self._broken = False
                self._stats.resyncs += self._clock.started
                self._context.flush_buffers()
            sounds = self._context.decode(packet)
        except FFmpegError:
            self._stats.damaged += 1
            self._broken = True
            return []
        out = [self._frame(sound) for sound in sounds if sound.samples]
        self._stats.audio_frames += len(out)
        return out

    def _frame(self, sound: av.AudioFrame) -> AudioFrame:
        told = None if sound.pts is None else sound.pts * MPEG_TIME_BASE
        return decoded(sound, told, self._clock)
