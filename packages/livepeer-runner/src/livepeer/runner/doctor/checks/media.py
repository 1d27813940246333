"""Media that is none, is cut off, or is of an odd size: the fault of one caller alone."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import zlib
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

from livepeer.runner.doctor.diagnosis import Check
from livepeer.runner.doctor.finding import Finding, NotJudged, SubjectLost
from livepeer.runner.doctor.pictures import FRAMES_PER_SECOND, feed, feed_bytes
from livepeer.runner.doctor.streams import WatchedStream
from livepeer.runner.doctor.subject import Subject

PACKET = 188
NOISE = bytes((i * 167 + 13) % 256 for i in range(64 * 1024))
"""The same each time, so that what was found is found again."""
TRUNCATED = (b"\x47\x40\x00\x10\x00" + NOISE[:183]) * 20 + b"\x47\x41"
SIZES = ((16, 16), (1920, 1080), (192, 108), (2, 2), (320, 240))
SIDE = 20_000
"""Of a picture that is small as a file: 1.2 GB of pixels."""


async def garbage_stream(subject: Subject) -> Sequence[Finding]:
    """Bytes that are no transport stream, and one that breaks off."""

    async def fed(stream: WatchedStream) -> None:
        await feed_bytes(stream.urls["in"], [NOISE, TRUNCATED, b"", b"G" * PACKET * 4])

    return await _survived(subject, "input that is no video", fed)


async def odd_pictures(subject: Subject) -> Sequence[Finding]:
    """Tiny, large and changing pictures."""

    async def fed(stream: WatchedStream) -> None:
        await feed(stream.urls["in"], SIZES, FRAMES_PER_SECOND // 3)

    return await _survived(subject, "pictures of tiny, large and changing sizes", fed)


async def _survived(
    subject: Subject, what: str, fed: Callable[[WatchedStream], Awaitable[None]]
) -> Sequence[Finding]:
    fix = "leave out what cannot be decoded, or end that stream; others go on"
    async with subject.streams.start(subject, video=True) as stream:
        if not stream.answer.ok:
            raise NotJudged("a stream does not start: see live.starts")
        try:
            async with asyncio.timeout(subject.patience.output):
                await fed(stream)
        except TimeoutError:
            pass  # it takes its time; what counts is whether it still answers
        await stream.input_ends()
        try:
            await subject.get("/health", subject.patience.health)
        except SubjectLost as lost:
            return [Finding(f"during {what}, {lost}", fix)]
    async with subject.streams.start(subject) as after:
        if not after.answer.ok:
            return [Finding(f"after {what}, a stream was answered {after.answer}", fix)]
        if not await after.heard(lambda event: True, subject.patience.event):
            return [Finding(f"after {what}, a stream says nothing", fix)]
    return []


async def files(subject: Subject) -> Sequence[Finding]:
    """Files of a job that are none, are cut off, or unpack to far more."""
    fix = "answer 422 for a file that cannot be read, before it is unpacked whole"
    try:
        base = json.loads(subject.valid_input())
    except ValueError:
        base = None
    named = list(_file_fields(subject.document)) if isinstance(base, dict) else []
    if not named:
        raise NotJudged("its input has no file at its top")
    found = []
    for name, family in named:
        for what, content in _bad_files(family):
            uri = f"data:{family}/{_SUBTYPES[family]};base64,{base64.b64encode(content).decode()}"
            try:
                answer = await subject.job(json.dumps({**base, name: uri}).encode())
            except SubjectLost as lost:
                found.append(Finding(f"{name}, {what}: {lost}", fix))
                continue
            if answer.status >= 500 and answer.status != 503:
                found.append(Finding(f"{name}, {what}, was answered {answer}", fix))
    try:
        await subject.get("/health", subject.patience.health)
    except SubjectLost as lost:
        found.append(Finding(f"after files that are none, {lost}", fix))
    return found


_SUBTYPES = {"image": "png", "audio": "wav", "video": "mp4"}


def _file_fields(document: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    """Fields at the top that are files, with the family of their media type."""
    schema = (document or {}).get("input")
    fields = schema.get("properties") if isinstance(schema, Mapping) else None
    for name, field in (fields or {}).items():
        if isinstance(field, Mapping) and field.get("format") == "file":
            family = str(field.get("contentMediaType", "")).partition("/")[0]
            if family in _SUBTYPES:
                yield name, family


def _bad_files(family: str) -> Iterator[tuple[str, bytes]]:
    yield "empty", b""
    yield "of noise", NOISE[:4096]
    if family == "image":
        yield "cut off", _png(64, 64)[:80]
        yield "of one pixel", _png(1, 1)
        yield f"of {SIDE} pixels a side", _png(SIDE, SIDE)
    elif family == "audio":
        yield "cut off", b"RIFF\xff\xff\xff\xffWAVEfmt \x10\x00\x00\x00\x01\x00"
    else:
        yield "cut off", b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00"


def _png(width: int, height: int) -> bytes:
    """A black picture, one bit a pixel."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    packing = zlib.compressobj(9)
    row = bytes(1 + (width + 7) // 8)
    rows = b"".join(packing.compress(row) for _ in range(height)) + packing.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


CHECKS = (
    Check("attack.files", "files that are none are the caller's fault", "should", "batch", files),
    Check("attack.garbage-stream", "input that is no video", "should", "live", garbage_stream),
    Check(
        "attack.odd-pictures",
        "pictures of odd and changing sizes",
        "should",
        "live",
        odd_pictures,
        slow=True,
    ),
)
