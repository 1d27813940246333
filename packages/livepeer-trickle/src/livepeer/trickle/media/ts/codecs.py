"""The codecs of transport streams, one entry each: how tables name it, how units are cut, what
decodes it. A new codec is added to `CODECS`, and nowhere else.

Without a framer FFmpeg's own parser cuts the units, often a picture late; with one they are given
as soon as they are whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from livepeer.trickle.media.frame.packets import Kind
from livepeer.trickle.media.frame.pixels import MAX_PIXELS
from livepeer.trickle.media.ts.audio_headers import (
    HeaderParser,
    ac3,
    adts,
    latm,
    mpeg_audio,
    mpeg_audio_decoder,
    opus_head,
)
from livepeer.trickle.media.ts.audio_units import AudioFrames, OpusFrames
from livepeer.trickle.media.ts.parsed_units import Parsed
from livepeer.trickle.media.ts.picture_probe import are_whole
from livepeer.trickle.media.ts.pictures import Pictures
from livepeer.trickle.media.ts.start_codes import H264, Hevc, Mpeg2, Mpeg4, Syntax
from livepeer.trickle.media.ts.units import Framer, Track

MakeFramer = Callable[[Track, int], Framer]
"""Takes the track, and the most pixels of a picture that may be decoded to look at it."""


def _parsed(track: Track, max_pixels: int) -> Framer:
    return Parsed(track.codec, audio=track.kind == "audio")


def _pictures(track: Track, max_pixels: int) -> Framer:
    # One that says so is believed until a packet of it shows otherwise.
    proof = None if track.whole else partial(are_whole, track.codec, max_pixels)
    return Pictures(CODECS[track.codec].syntax, proof)


def _frames(parse: HeaderParser, sync: bytes = b"\xff") -> MakeFramer:
    """Audio frames that say their own length; `sync` is the first byte of each."""
    return lambda track, max_pixels: AudioFrames(parse, sync)


def _opus(track: Track, max_pixels: int) -> Framer:
    return OpusFrames(track.channels)


@dataclass(frozen=True, slots=True)
class Codec:
    """One codec in MPEG-TS, by FFmpeg's name, which is also that of its decoder."""

    name: str
    kind: Kind
    types: tuple[int, ...] = ()
    """Stream types by which the table of a program names it (ISO/IEC 13818-1 table 2-34)."""
    registered: tuple[bytes, ...] = ()
    """Identifiers of a registration descriptor that name it (SMPTE RA)."""
    dvb: int | None = None
    """Tag of the descriptor by which DVB names it (ETSI EN 300 468)."""
    bluray: tuple[int, ...] = ()
    """Stream types that name it in a program of Blu-ray."""
    written: int | None = None
    """The stream type that our muxer writes, with the first of `registered` in a descriptor.
    The default is that it does not carry the codec."""
    framer: MakeFramer = _parsed
    syntax: type[Syntax] = Syntax
    """What its start codes say, for video."""
    decoder: Callable[[bytes], str] | None = None
    """FFmpeg's decoder for a unit, where it has another name than the codec."""
    extradata: Callable[[int], bytes] | None = None
    """What the decoder needs besides the units, by the number of channels."""


_ALL = (
    Codec("h264", "video", (0x1B,), written=0x1B, framer=_pictures, syntax=H264),
    Codec("hevc", "video", (0x24,), (b"HEVC",), written=0x24, framer=_pictures, syntax=Hevc),
    Codec("mpeg1video", "video", (0x01,), written=0x01, framer=_pictures, syntax=Mpeg2),
    Codec("mpeg2video", "video", (0x02,), written=0x02, framer=_pictures, syntax=Mpeg2),
    Codec("mpeg4", "video", (0x10,), written=0x10, framer=_pictures, syntax=Mpeg4),
    Codec("vvc", "video", (0x33,), (b"VVC ",)),
    Codec("cavs", "video", (0x42,)),
    Codec("dirac", "video", (0xD1,), (b"drac",)),
    Codec("vc1", "video", (0xEA,), (b"VC-1",)),
    Codec("aac", "audio", (0x0F,), written=0x0F, framer=_frames(adts)),
    Codec("aac_latm", "audio", (0x11,), written=0x11, framer=_frames(latm, b"\x56")),
    Codec(
        *("mp2", "audio", (0x03, 0x04)),
        written=0x03,
        framer=_frames(mpeg_audio),
        decoder=mpeg_audio_decoder,
    ),
    # Read as `mp2`, whose stream type they share.
    Codec("mp1", "audio", written=0x03),
    Codec("mp3", "audio", written=0x03),
    Codec(*("ac3", "audio", (0x81,), (b"AC-3",), 0x6A), written=0x81, framer=_frames(ac3, b"\x0b")),
    Codec("eac3", "audio", (0x87,), (b"EAC3",), 0x7A, (0x84,), framer=_frames(ac3, b"\x0b")),
    Codec("opus", "audio", (), (b"Opus",), written=0x06, framer=_opus, extradata=opus_head),
    Codec("dts", "audio", (0x8A,), (b"DTS1", b"DTS2", b"DTS3"), 0x7B, (0x82, 0x85, 0x86)),
    Codec("truehd", "audio", bluray=(0x83,)),
    Codec("pcm_bluray", "audio", bluray=(0x80,)),
    Codec("s302m", "audio", (), (b"BSSD",)),
)

CODECS = {codec.name: codec for codec in _ALL}
"""Every codec that is read or written, by FFmpeg's name."""


def framer_for(track: Track, max_pixels: int = MAX_PIXELS) -> Framer:
    """What cuts the packets of `track` into units."""
    return CODECS[track.codec].framer(track, max_pixels)
