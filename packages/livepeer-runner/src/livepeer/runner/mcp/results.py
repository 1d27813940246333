"""What the tools give back: small, typed, with paths in place of what is large."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

from mcp_types import AudioContent, CallToolResult, ContentBlock, ImageContent, TextContent
from pydantic import BaseModel, Field

LARGEST_TEXT = 32_768
"""Letters of JSON that a result may have."""
LARGEST_SOUND = 4 << 20
MOST_PICTURES = 4
PIXELS = 768
"""The longer side of a picture."""
MOST_RECORDS = 20
_URI = re.compile(r"data:([a-z0-9.+-]+/[a-z0-9.+-]+)[^,]{0,100},", re.IGNORECASE)


class Manual(BaseModel):
    """The pages that there are, or one of them."""

    topics: dict[str, str]
    """Titles by topic."""
    text: str


class Scaffold(BaseModel):
    """A folder with a pipeline that runs."""

    folder: str
    id: str
    """The pipeline's name on the network."""
    files: list[str]
    next: str


class Mistake(BaseModel):
    """One place of a pipeline's source to be mended."""

    code: str
    level: str
    file: str
    line: int
    message: str
    fix: str


class Checked(BaseModel):
    """What a pipeline's source shows to be wrong."""

    errors: int
    warnings: int
    findings: list[Mistake]


class Prediction(BaseModel):
    """What one call of a pipeline gave."""

    kind: Literal["value", "events", "file"]
    value: Any = None
    """A value; files in it are named in place of their bytes."""
    events: list[Any] = []
    count: int = 0
    """How many events there were."""
    media_type: str = ""
    bytes: int = 0
    path: str = ""
    """Where the result is kept, where that was asked for."""
    shortened: bool = False
    """It is too large to be shown whole: `output` keeps it in a file."""


class Picture(BaseModel):
    """One picture of a live run, in the order of the images beside this."""

    what: list[Literal["first", "middle", "last", "worst"]]
    number: int
    time: float
    """Seconds after the first picture."""
    waited_ms: float
    """How long it came after the one before it."""


class LiveRun(BaseModel):
    """How a live pipeline did on a clip."""

    well: bool
    """It came to its end; the errors beside this may still need mending."""
    reason: str
    """Why it ended."""
    seconds: float
    figures: dict[str, float]
    """frames, fps, latency_p50_ms, latency_p95_ms, dropped, errors, records."""
    pictures: list[Picture]
    data: list[Any] = Field(description=f"The first {MOST_RECORDS} data records.")
    events: list[Any]
    warnings: list[Any]
    errors: list[Any]
    output: str = ""


class ServeState(BaseModel):
    """The pipeline that is served in the background."""

    running: bool
    ready: bool = False
    url: str = ""
    pipeline: str = ""
    exit_status: int | None = None
    logs: list[str] = []
    next: str = ""


class TestRun(BaseModel):
    """How the tests went."""

    passed: int
    failed: int
    errors: int
    skipped: int
    output: str
    """The end of what pytest printed."""


class BuiltImage(BaseModel):
    """An image, or what would be built."""

    dry_run: bool
    tag: str = ""
    image_id: str = ""
    seconds: float = 0
    packages: int = 0
    dockerfile: str = ""
    next: str


class DoctorFinding(BaseModel):
    """One thing to mend."""

    check: str
    level: str
    title: str
    seen: str
    fix: str


class DoctorResult(BaseModel):
    """Whether a container is what the network needs."""

    passed: int
    must: int
    """Problems that must be mended."""
    should: int
    not_judged: int
    findings: list[DoctorFinding]


class PublishedImage(BaseModel):
    """What was published, or would be."""

    published: bool
    image: str
    """The exact name."""
    tags: list[str] = []
    last_version: str = ""
    reference: str = ""
    """With the digest that the registry tells."""
    next: str


class CapabilityAnswer(BaseModel):
    """What a capability of the network answered."""

    capability: str
    value: Any = None
    media_type: str = ""
    bytes: int = 0
    path: str = ""
    data: list[Any] = []
    """Data records of a live stream."""
    said: str = ""
    shortened: bool = False


def last_document(text: str) -> Any:
    """The document that a command printed: the last line that is JSON. Raises `ValueError`."""
    for line in reversed(text.splitlines()):
        if line[:1] in ("{", "["):
            try:
                return json.loads(line)
            except (ValueError, RecursionError):
                continue
    raise ValueError("there is no document in what it printed")


def answer(result: BaseModel, blocks: Sequence[ContentBlock] = ()) -> CallToolResult:
    """A typed result, the same as text, and pictures or sound beside it."""
    document = result.model_dump(mode="json")
    text = TextContent(type="text", text=json.dumps(document, ensure_ascii=False))
    return CallToolResult(content=[text, *blocks], structured_content=document)


def media_block(data: bytes, kind: str) -> ContentBlock | None:
    """A picture (made smaller) or sound, as a model sees or hears it; None for anything else."""
    if kind.startswith("image/") and kind != "image/svg+xml":
        return _picture(data)
    if kind.startswith("audio/") and len(data) <= LARGEST_SOUND:
        return AudioContent(type="audio", data=base64.b64encode(data).decode(), mime_type=kind)
    return None


def jpeg_block(path: Path) -> ContentBlock:
    """A JPEG that is small enough already."""
    data = base64.b64encode(path.read_bytes()).decode()
    return ImageContent(type="image", data=data, mime_type="image/jpeg")


def without_files(value: Any, blocks: list[ContentBlock]) -> Any:
    """`value` with each file named in place of its bytes; what can be seen or heard is added to
    `blocks`."""
    if isinstance(value, str) and len(value) > 64 and (found := _URI.match(value)):
        kind = found[1].lower()
        try:
            data = base64.b64decode(value[found.end() :], validate=True)
        except ValueError:
            return value
        block = media_block(data, kind) if len(blocks) < MOST_PICTURES else None
        if block is not None:
            blocks.append(block)
        return f"<{kind}, {len(data)} bytes>"
    if isinstance(value, dict):
        return {key: without_files(item, blocks) for key, item in value.items()}
    return [without_files(item, blocks) for item in value] if isinstance(value, list) else value


def shortened(value: Any) -> tuple[Any, bool]:
    """`value`, or the beginning of its JSON where that is too long, and whether it is."""
    text = json.dumps(value, ensure_ascii=False)
    return (value, False) if len(text) <= LARGEST_TEXT else (f"{text[:LARGEST_TEXT]}…", True)


def _picture(data: bytes) -> ContentBlock | None:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(BytesIO(data)) as opened, opened.convert("RGB") as picture:
            picture.thumbnail((PIXELS, PIXELS))
            into = BytesIO()
            picture.save(into, "JPEG", quality=85)
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        return None
    data64 = base64.b64encode(into.getvalue()).decode()
    return ImageContent(type="image", data=data64, mime_type="image/jpeg")
