"""`livepeer.runner`: write one Python class, serve it as a capability of the Livepeer network.

Names are loaded when they are first used: importing this package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from livepeer.runner import errors
    from livepeer.runner.author.files import Audio, File, Image, Video
    from livepeer.runner.author.live_pipeline import BatchItem, LivePipeline
    from livepeer.runner.author.pipeline import Pipeline
    from livepeer.runner.registration import Registration
    from livepeer.runner.serving.app import create_app
    from livepeer.runner.serving.server import serve
    from livepeer.trickle.media import AudioFrame, AudioOutput, VideoFrame, VideoOutput

_HOMES = {
    "Audio": "livepeer.runner.author.files",
    "AudioFrame": "livepeer.trickle.media",
    "AudioOutput": "livepeer.trickle.media",
    "BatchItem": "livepeer.runner.author.live_pipeline",
    "File": "livepeer.runner.author.files",
    "Image": "livepeer.runner.author.files",
    "LivePipeline": "livepeer.runner.author.live_pipeline",
    "Pipeline": "livepeer.runner.author.pipeline",
    "Registration": "livepeer.runner.registration",
    "Video": "livepeer.runner.author.files",
    "VideoFrame": "livepeer.trickle.media",
    "VideoOutput": "livepeer.trickle.media",
    "create_app": "livepeer.runner.serving.app",
    "serve": "livepeer.runner.serving.server",
}

__all__ = [
    "Audio",
    "AudioFrame",
    "AudioOutput",
    "BatchItem",
    "File",
    "Image",
    "LivePipeline",
    "Pipeline",
    "Registration",
    "Video",
    "VideoFrame",
    "VideoOutput",
    "create_app",
    "errors",
    "serve",
]


def __getattr__(name: str) -> Any:
    if name == "errors":
        return import_module("livepeer.runner.errors")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
