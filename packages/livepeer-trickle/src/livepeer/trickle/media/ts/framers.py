"""Which framer a track needs."""

from __future__ import annotations

from functools import partial

from livepeer.trickle.media.frame.pixels import MAX_PIXELS
from livepeer.trickle.media.ts.access_units import Framer
from livepeer.trickle.media.ts.audio_headers import ac3, adts, latm, mpeg_audio
from livepeer.trickle.media.ts.audio_units import AudioFrames, OpusFrames
from livepeer.trickle.media.ts.parsed_units import Parsed
from livepeer.trickle.media.ts.picture_probe import are_whole
from livepeer.trickle.media.ts.picture_units import Pictures
from livepeer.trickle.media.ts.psi import Track


def framer_for(track: Track, max_pixels: int = MAX_PIXELS) -> Framer:
    match track.codec:
        case "h264" | "hevc" | "mpeg1video" | "mpeg2video" | "mpeg4":
            return Pictures(track.codec, partial(are_whole, track.codec, max_pixels))
        case "aac":
            return AudioFrames(adts)
        case "mp2":
            return AudioFrames(mpeg_audio)
        case "aac_latm":
            return AudioFrames(latm, b"\x56")
        case "ac3" | "eac3":
            return AudioFrames(ac3, b"\x0b")
        case "opus":
            return OpusFrames(track.channels)
        case _:
            return Parsed(track.codec, audio=track.kind == "audio")
