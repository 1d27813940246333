"""A track that passes through undecoded, in sync with those that are decoded."""

from __future__ import annotations

from fractions import Fraction

from .access_units import AccessUnit
from .clock import MPEG_TIME_BASE
from .decoder_audio import open_audio, opus_head
from .decoder_video import open_video
from .framers import framer_for
from .frames import CodecParameters, MediaPacket
from .pes import ElementaryPacket
from .picture_units import parameter_sets
from .psi import Track
from .timeline import Timeline
from .track import DecoderStats

__all__ = ["PacketTrack"]


class PacketTrack:
    """Hands units on as they are, on the same timeline; video from keyframe to loss only."""

    def __init__(self, track: Track, timeline: Timeline, stats: DecoderStats) -> None:
        self.track = track
        self._timeline = timeline
        self._stats = stats
        self._framer = framer_for(track)
        self._waiting = True
        self._base: int | None = None
        self._last: int | None = None
        self._sets = b""
        self._parameters: CodecParameters | None = None

    def push(self, packet: ElementaryPacket) -> list[MediaPacket]:
        return self._units(self._framer.split(packet))

    def lose(self) -> list[MediaPacket]:
        self._waiting = True
        return []

    def flush(self) -> list[MediaPacket]:
        return self._units(self._framer.flush())

    def _units(self, units: list[AccessUnit]) -> list[MediaPacket]:
        out: list[MediaPacket] = []
        for unit in units:
            if unit.lost or unit.damaged:
                self._waiting = True
            if unit.damaged or (self._waiting and not unit.key):
                self._stats.skipped += 1
                continue
            packet = self._packet(unit)
            if packet is None:
                self._stats.skipped += 1
                continue
            self._stats.resyncs += self._waiting and self._last is not None
            self._waiting = False
            self._last = packet.pts
            out.append(packet)
        self._stats.packets += len(out)
        return out

    def _packet(self, unit: AccessUnit) -> MediaPacket | None:
        parameters = self._describe(unit)
        placed, dts = self._timeline.place_both(
            unit.pts, unit.dts, self.track.kind, starts=unit.key
        )
        if placed is not None:
            self._base = placed
        if self._base is None or parameters is None:
            return None
        duration = round(Fraction(unit.samples * 90_000, unit.rate)) if unit.rate else 0
        pts = self._base
        if unit.pts is None:
            if not unit.rate:
                return None
            pts += round(Fraction(unit.after * 90_000, unit.rate))
        return MediaPacket(
            unit.data,
            pts,
            pts if dts is None else dts,
            MPEG_TIME_BASE,
            unit.key,
            parameters,
            duration=duration,
        )

    def _describe(self, unit: AccessUnit) -> CodecParameters | None:
        codec = self.track.codec
        if self.track.kind == "audio":
            found = self._parameters
            if unit.rate and (
                found is None or (found.rate, found.channels) != (unit.rate, unit.channels)
            ):
                head = opus_head(unit.channels) if codec == "opus" else b""
                self._parameters = CodecParameters(
                    "audio",
                    codec,
                    rate=unit.rate,
                    channels=unit.channels or 2,
                    extradata=head,
                )
            elif found is None:
                self._parameters = _probe(self.track, unit)
            return self._parameters
        if unit.key:
            sets = parameter_sets(codec, unit.data)
            if self._parameters is None or (sets and sets != self._sets):
                self._sets = sets
                self._parameters = _probe(self.track, unit) or self._parameters
        return self._parameters


def _probe(track: Track, unit: AccessUnit) -> CodecParameters | None:
    """Size or rate of a track that is not decoded, from decoding one unit of it."""
    from av import Packet
    from av.error import FFmpegError

    try:
        if track.kind == "video":
            context = open_video(track.codec, None, 1)
            found = context.decode(Packet(unit.data)) + context.decode(None)
            if not found:
                return None
            return CodecParameters(
                "video", track.codec, width=found[0].width, height=found[0].height
            )
        sounds = open_audio(track, unit).decode(Packet(unit.data))
    except FFmpegError:
        return None
    if not sounds:
        return None
    return CodecParameters(
        "audio",
        track.codec,
        rate=sounds[0].sample_rate,
        channels=sounds[0].layout.nb_channels,
    )
