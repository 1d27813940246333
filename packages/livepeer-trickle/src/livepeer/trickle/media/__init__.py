"""Frames in, frames out: MPEG-TS segments to pictures and sound, and back (extra `media`).

Everything here is imported on first use; importing the package loads neither av nor numpy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from livepeer.trickle.media.codec.decoder import StreamDecoder as StreamDecoder
    from livepeer.trickle.media.codec.encoder import SegmentEncoder as SegmentEncoder
    from livepeer.trickle.media.codec.outputs import AudioOutput as AudioOutput
    from livepeer.trickle.media.codec.outputs import EncoderUnavailable as EncoderUnavailable
    from livepeer.trickle.media.codec.outputs import VideoOutput as VideoOutput
    from livepeer.trickle.media.codec.track_decoder import DecoderStats as DecoderStats
    from livepeer.trickle.media.file.decode import decode as decode
    from livepeer.trickle.media.file.encode import encode as encode
    from livepeer.trickle.media.frame import AudioFrame as AudioFrame
    from livepeer.trickle.media.frame import AudioResampler as AudioResampler
    from livepeer.trickle.media.frame import CodecParameters as CodecParameters
    from livepeer.trickle.media.frame import MediaPacket as MediaPacket
    from livepeer.trickle.media.frame import VideoFrame as VideoFrame
    from livepeer.trickle.media.publisher import MediaPublisher as MediaPublisher
    from livepeer.trickle.media.publisher import MediaPublisherStats as MediaPublisherStats
    from livepeer.trickle.media.subscriber import MediaSubscriber as MediaSubscriber
    from livepeer.trickle.media.subscriber import SourceStats as SourceStats

_HOME = {
    "AudioFrame": "frame",
    "AudioOutput": "codec.outputs",
    "AudioResampler": "frame",
    "CodecParameters": "frame",
    "DecoderStats": "codec.track_decoder",
    "MediaPacket": "frame",
    "EncoderUnavailable": "codec.outputs",
    "MediaPublisher": "publisher",
    "MediaPublisherStats": "publisher",
    "MediaSubscriber": "subscriber",
    "SegmentEncoder": "codec.encoder",
    "SourceStats": "subscriber",
    "StreamDecoder": "codec.decoder",
    "VideoFrame": "frame",
    "VideoOutput": "codec.outputs",
    "decode": "file.decode",
    "encode": "file.encode",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(import_module(f"{__name__}.{home}"), name)
    except ModuleNotFoundError as error:
        if error.name in ("av", "numpy"):
            raise ModuleNotFoundError(
                f"{name} needs the extra 'media': pip install 'livepeer-trickle[media]'",
                name=error.name,
            ) from error
        raise
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
