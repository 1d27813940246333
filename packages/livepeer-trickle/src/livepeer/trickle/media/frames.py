"""Frames of video and audio: what a pipeline receives and returns.

Importing this imports neither av nor numpy; they are loaded by the first frame that needs them.
"""

from .audio_frame import AudioFrame
from .audio_resampler import AudioResampler
from .packets import CodecParameters, MediaPacket
from .video_frame import VideoFrame

__all__ = [
    "AudioFrame",
    "AudioResampler",
    "CodecParameters",
    "Frame",
    "MediaPacket",
    "VideoFrame",
]

Frame = VideoFrame | AudioFrame
