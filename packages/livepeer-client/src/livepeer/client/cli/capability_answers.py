"""What a call of a capability gave, as a client of the Model Context Protocol gets it."""

from __future__ import annotations

import base64
import json
import mimetypes
from pathlib import Path
from typing import Any, Final

from mcp_types import (
    AudioContent,
    CallToolResult,
    ContentBlock,
    ImageContent,
    ResourceLink,
    TextContent,
)

INLINE: Final = 1 << 20
"""Bytes of a picture or a sound that are shown; larger ones are only kept in a file."""
MOST_TEXT: Final = 32_768
SHOWN: Final = ("image/png", "image/jpeg", "image/gif", "image/webp")


def shown(data: bytes, kind: str) -> list[ContentBlock]:
    """A picture or a sound as a model gets it; nothing for what is too large, or neither."""
    if len(data) > INLINE:
        return []
    text = base64.b64encode(data).decode()
    if kind in SHOWN:
        return [ImageContent(type="image", data=text, mime_type=kind)]
    return [AudioContent(type="audio", data=text, mime_type=kind)] * kind.startswith("audio/")


def answer(document: dict[str, Any], blocks: list[ContentBlock]) -> CallToolResult:
    text = json.dumps(document, ensure_ascii=False, default=str)
    if len(text) > MOST_TEXT:
        document = {"shortened": text[:MOST_TEXT]}
        text = json.dumps(document, ensure_ascii=False)
    content: list[ContentBlock] = [TextContent(type="text", text=text), *blocks]
    return CallToolResult(content=content, structured_content=document)


def failed(text: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=text)], is_error=True)


def link(path: Path, kind: str) -> ResourceLink:
    kind = kind or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return ResourceLink(type="resource_link", uri=path.as_uri(), name=path.name, mime_type=kind)


def pictures(video: Path) -> list[ContentBlock]:
    """The first picture of a video, as a model sees it; none where pillow is not installed."""
    try:
        from PIL import Image
    except ModuleNotFoundError:
        return []
    from io import BytesIO

    from livepeer.trickle.media import decode

    frame = next((each for each in decode(video) if each.kind == "video"), None)
    if frame is None:
        return []
    with Image.fromarray(frame.to_ndarray("rgb24")) as picture:
        picture.thumbnail((768, 768))
        picture.save(into := BytesIO(), "JPEG", quality=85)
    data = base64.b64encode(into.getvalue()).decode()
    return [ImageContent(type="image", data=data, mime_type="image/jpeg")]
