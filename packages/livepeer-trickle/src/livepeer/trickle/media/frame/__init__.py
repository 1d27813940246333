"""Pictures, sound and packets with their times: what decoders give, and what encoders take.

Importing this imports neither av nor numpy; the first frame that needs them loads them.
"""

from __future__ import annotations

from livepeer.trickle.media.frame.audio import AudioFrame as AudioFrame
from livepeer.trickle.media.frame.audio import AudioResampler as AudioResampler
from livepeer.trickle.media.frame.packets import CodecParameters as CodecParameters
from livepeer.trickle.media.frame.packets import Kind as Kind
from livepeer.trickle.media.frame.packets import MediaPacket as MediaPacket
from livepeer.trickle.media.frame.video import VideoFrame as VideoFrame

Frame = VideoFrame | AudioFrame
"""Decoded media."""

Item = Frame | MediaPacket
"""Decoded media, or a packet that passes through undecoded."""
