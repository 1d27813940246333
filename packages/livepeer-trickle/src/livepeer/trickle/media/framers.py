"""Which framer a track needs."""

from __future__ import annotations

from .access_units import AccessUnit, Framer
from .audio_units import AudioFrames, OpusFrames, adts, mpeg_audio
from .pes import ElementaryPacket
from .picture_units import Pictures
from .psi import Track

__all__ = ["framer_for"]


def framer_for(track: Track) -> Framer:
    match track.codec:
        case "h264" | "hevc":
            return Pictures(track.codec == "hevc")
        case "aac":
            return AudioFrames(adts)
        case "mp2":
            return AudioFrames(mpeg_audio)
        case "opus":
            return OpusFrames(track.channels)
        case _:
            return _Whole(track.kind == "audio")


class _Whole:
    """Codecs whose packets are handed over as they come."""

    def __init__(self, audio: bool) -> None:
        self._audio = audio

    def split(self, packet: ElementaryPacket) -> list[AccessUnit]:
        key = self._audio or packet.random_access or packet.data.startswith(b"\0\0\1\xb3")
        return [AccessUnit(packet.data, packet.pts, packet.dts, key, packet.lost, packet.damaged)]

    def flush(self) -> list[AccessUnit]:
        return []
