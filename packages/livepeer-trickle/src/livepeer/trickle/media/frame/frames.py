"""Frames of video and audio: what a pipeline receives and returns.

Importing this imports neither av nor numpy; they are loaded by the first frame that needs them.
"""

from __future__ import annotations

from livepeer.trickle.media.frame.audio import AudioFrame
from livepeer.trickle.media.frame.packets import CodecParameters, MediaPacket
from livepeer.trickle.media.frame.resampler import AudioResampler
from livepeer.trickle.media.frame.video import VideoFrame

__all__ = [
    "AudioFrame",
    "AudioResampler",
    "CodecParameters",
    "Frame",
    "MediaPacket",
    "VideoFrame",
]

Frame = VideoFrame | AudioFrame
