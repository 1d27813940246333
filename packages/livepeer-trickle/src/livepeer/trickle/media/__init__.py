"""Frames in, frames out: MPEG-TS segments to pictures and sound, and back (extra ``media``).

Everything here is imported on first use; importing the package loads neither av nor numpy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .decoder import DecoderStats as DecoderStats
    from .decoder import StreamDecoder as StreamDecoder
    from .encoder import SegmentEncoder as SegmentEncoder
    from .encoder_file import encode as encode
    from .encoder_video import EncoderUnavailable as EncoderUnavailable
    from .files import decode as decode
    from .frames import AudioFrame as AudioFrame
    from .frames import AudioResampler as AudioResampler
    from .frames import CodecParameters as CodecParameters
    from .frames import MediaPacket as MediaPacket
    from .frames import VideoFrame as VideoFrame
    from .outputs import AudioOutput as AudioOutput
    from .outputs import VideoOutput as VideoOutput
    from .sink import MediaPublisher as MediaPublisher
    from .sink import MediaPublisherStats as MediaPublisherStats
    from .source import MediaSubscriber as MediaSubscriber
    from .source import SourceStats as SourceStats

_HOME = {
    "AudioFrame": "frames",
    "AudioOutput": "outputs",
    "AudioResampler": "frames",
    "CodecParameters": "frames",
    "DecoderStats": "decoder",
    "MediaPacket": "frames",
    "EncoderUnavailable": "encoder_video",
    "MediaPublisher": "sink",
    "MediaPublisherStats": "sink",
    "MediaSubscriber": "source",
    "SegmentEncoder": "encoder",
    "SourceStats": "source",
    "StreamDecoder": "decoder",
    "VideoFrame": "frames",
    "VideoOutput": "outputs",
    "decode": "files",
    "encode": "encoder_file",
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
