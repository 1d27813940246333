"""A track that passes through undecoded, in sync with those that are decoded."""

from __future__ import annotations

from fractions import Fraction

from av import Packet
from av.error import FFmpegError

from livepeer.trickle.media.codec.track_decoder import (
    DecoderStats,
    open_audio,
    open_video,
    picture_size,
)
from livepeer.trickle.media.frame import CodecParameters, MediaPacket
from livepeer.trickle.media.frame.clock import MPEG_TIME_BASE
from livepeer.trickle.media.frame.pixels import MAX_PIXELS
from livepeer.trickle.media.ts.codecs import CODECS, framer_for
from livepeer.trickle.media.ts.picture_times import PacketTimes, Shown
from livepeer.trickle.media.ts.timeline import Timeline
from livepeer.trickle.media.ts.units import AccessUnit, ElementaryPacket, Track


class PacketTrack:
    """Hands units on as they are, on the same timeline; video from keyframe to loss only."""

    def __init__(self, track: Track, timeline: Timeline, stats: DecoderStats) -> None:
        self.track = track
        self._timeline = timeline
        self._stats = stats
        self._framer = framer_for(track)
        self._waiting = True
        self._started = False
        self._base: int | None = None
        self._after = self._samples = 0
        """Samples since that time, and in a frame, where headers do not tell."""
        self._times = PacketTimes(self._order)
        self._sets = b""
        self._parameters: CodecParameters | None = None

    def push(self, packet: ElementaryPacket) -> list[MediaPacket]:
        return self._units(self._framer.split(packet))

    def lose(self) -> list[MediaPacket]:
        self._waiting = True
        return self._packets(self._times.finish(self._timeline.latest))

    def flush(self) -> list[MediaPacket]:
        return self._units(self._framer.flush()) + self.lose()

    def _units(self, units: list[AccessUnit]) -> list[MediaPacket]:
        out: list[MediaPacket] = []
        for unit in units:
            if unit.lost or unit.damaged:
                out += self.lose()
            if unit.damaged or (self._waiting and not unit.key):
                self._stats.skipped += 1
                continue
            if self._describe(unit) is None:
                self._stats.skipped += 1
                continue
            pts, dts = self._timeline.place_both(
                unit.pts, unit.dts, self.track.kind, starts=unit.key
            )
            if self.track.kind == "video":
                timed = self._times.add(unit, pts, dts, latest=self._timeline.latest)
            else:
                timed = self._sound(unit, pts)
                if not timed:
                    self._stats.skipped += 1
                    continue
            self._stats.resyncs += self._waiting and self._started
            self._waiting, self._started = False, True
            out += self._packets(timed)
        return out

    def _sound(self, unit: AccessUnit, told: int | None) -> list[tuple[AccessUnit, int, int]]:
        assert self._parameters is not None
        if told is not None:
            self._base, self._after = told, 0
        if self._base is None:
            return []
        after = unit.after if unit.rate else self._after
        pts = self._base + round(Fraction(after * 90_000, self._parameters.rate))
        self._after += self._samples
        return [(unit, pts, pts)]

    def _packets(self, timed: list[tuple[AccessUnit, int, int]]) -> list[MediaPacket]:
        self._stats.packets += len(timed)
        return [self._packet(*each) for each in timed]

    def _packet(self, unit: AccessUnit, pts: int, dts: int) -> MediaPacket:
        assert self._parameters is not None
        samples, rate = unit.samples or self._samples, self._parameters.rate
        return MediaPacket(
            unit.data,
            pts,
            dts,
            MPEG_TIME_BASE,
            unit.key,
            self._parameters,
            duration=round(Fraction(samples * 90_000, rate)) if rate else 0,
        )

    def _order(self) -> Shown:
        """A decoder that only says in which order pictures are shown."""
        context = open_video(self.track.codec, None, 1)

        def shown(unit: AccessUnit | None, number: int) -> list[int]:
            packet = None
            if unit is not None:
                packet = Packet(unit.data)
                packet.pts = packet.dts = number
            try:
                return [p.pts for p in context.decode(packet) if p.pts is not None]
            except FFmpegError:
                return []

        return shown

    def _describe(self, unit: AccessUnit) -> CodecParameters | None:
        codec = CODECS[self.track.codec]
        if self.track.kind == "audio":
            found = self._parameters
            if unit.channels and (
                found is None or (found.rate, found.channels) != (unit.rate, unit.channels)
            ):
                self._parameters = CodecParameters(
                    "audio",
                    codec.name,
                    rate=unit.rate,
                    channels=unit.channels or 2,
                    extradata=codec.extradata(unit.channels) if codec.extradata else b"",
                )
            elif found is None:
                self._parameters, self._samples = _probe_sound(self.track, unit)
            return self._parameters
        if unit.key:
            sets = codec.syntax.parameter_sets(unit.data)
            if self._parameters is None or (sets and sets != self._sets):
                self._sets = sets
                self._parameters = _probe(self.track, unit) or self._parameters
        return self._parameters


def _probe(track: Track, unit: AccessUnit) -> CodecParameters | None:
    """Size of pictures that are not decoded, from decoding one of them."""
    context = open_video(track.codec, None, 1)
    try:
        found = context.decode(Packet(unit.data)) + context.decode(None)
    except FFmpegError:
        found = []
    if found:
        size = found[0].width, found[0].height
    else:
        # It may be too large to be decoded, which nobody asks for here.
        size = picture_size(track.codec, context, unit.data)
        if size[0] * size[1] <= MAX_PIXELS:
            return None
    return CodecParameters("video", track.codec, width=size[0], height=size[1])


def _probe_sound(track: Track, unit: AccessUnit) -> tuple[CodecParameters | None, int]:
    """What sound it is, and the samples of a frame, where only its decoder knows."""
    try:
        sounds = open_audio(track, unit).decode(Packet(unit.data))
    except FFmpegError:
        return None, 0
    if not sounds:
        return None, 0
    rate, channels = sounds[0].sample_rate, sounds[0].layout.nb_channels
    return CodecParameters("audio", track.codec, rate=rate, channels=channels), sounds[0].samples
