"""A request's body as the input of `predict`: JSON, or the parts of a form."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from pydantic import BaseModel, ValidationError
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import FormParser, MultiPartException, MultiPartParser

from livepeer.runner.author.files import File
from livepeer.runner.author.signature import PredictSignature
from livepeer.runner.errors import InvalidInput, invalid
from livepeer.runner.exceptions import FileError
from livepeer.runner.http.asgi import Scope
from livepeer.runner.http.json_bounds import check_values

# Parsing more than this would hold the event loop up for longer than a thread costs.
INLINE_BYTES = 256 * 1024
MOST_FIELDS = 1000
MEDIA = frozenset({b"image", b"audio", b"video"})
"""A body of these is a file, sent as none of what is taken."""
PART_HEAD_BYTES = 8 * 1024
_PIECE = 64 * 1024


async def parse(
    signature: PredictSignature, body: bytes, content_type: bytes, scope: Scope
) -> BaseModel:
    """The validated input. Raises `InvalidInput` that names each field that is wrong.

    Anything that is not a form is read as JSON: an orchestrator passes on whatever type its caller
    gave, which is often none (go-livepeer: BYOC job forwarding), and `curl -d '{...}'` calls its
    JSON a form.
    """
    kind = content_type.split(b";")[0].strip().lower()
    form = kind == b"multipart/form-data" or (
        kind == b"application/x-www-form-urlencoded" and not body.lstrip().startswith(b"{")
    )
    try:
        if form:
            reading = _form(body, scope, multipart=kind.startswith(b"multipart"))
            if len(body) <= INLINE_BYTES:
                return signature.validate_form(await reading)
            items = await asyncio.to_thread(asyncio.run, reading)
            return await asyncio.to_thread(signature.validate_form, items)
        await check_values(body)
        if len(body) > INLINE_BYTES:
            return await asyncio.to_thread(signature.validate_json, body)
        return signature.validate_json(body)
    except ValidationError as error:
        if kind.partition(b"/")[0] in MEDIA and body.lstrip()[:1] not in (b"{", b"["):
            raise InvalidInput(
                f"the body is {kind.decode('ascii', 'replace')}: a file is sent as a field of a "
                f"form (curl -F NAME=@FILE), or in JSON as base64, a data: URI or a URL"
            ) from error
        raise invalid(error) from error
    except UnicodeDecodeError as error:
        raise InvalidInput("the body is not UTF-8") from error


class _PartsParser(MultiPartParser):
    """Bounds a part's head, which older parsers read at a step for each byte."""

    def on_part_begin(self) -> None:
        self._head = 0
        super().on_part_begin()

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        super().on_header_field(data, start, end)

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        super().on_header_value(data, start, end)

    def _count(self, size: int) -> None:
        self._head += size
        if self._head > PART_HEAD_BYTES:
            raise MultiPartException(f"a part's head is over {PART_HEAD_BYTES} bytes")


async def _form(body: bytes, scope: Scope, *, multipart: bool) -> list[tuple[str, str | File]]:
    async def chunks() -> AsyncGenerator[bytes, None]:
        for start in range(0, len(body), _PIECE):  # so that a head is counted while it is read
            yield body[start : start + _PIECE]
        if not multipart:
            yield b""

    if not multipart and body.count(b"&") >= MOST_FIELDS:
        raise InvalidInput(f"the form cannot be read: it has over {MOST_FIELDS} fields")
    headers = Headers(scope=scope)
    parser = (
        _PartsParser(
            headers,
            chunks(),
            max_files=MOST_FIELDS,
            max_fields=MOST_FIELDS,
            max_part_size=len(body) + 1,
        )
        if multipart
        else FormParser(headers, chunks())
    )
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError) as error:
        message = error.message if isinstance(error, MultiPartException) else "it has no boundary"
        raise InvalidInput(f"the form cannot be read: {message}") from error
    items: list[tuple[str, str | File]] = []
    try:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                data = await value.read()
                items.append((name, File(data, value.content_type, name=value.filename)))
            else:
                items.append((name, value))
    except FileError as error:
        raise InvalidInput(str(error), field=name) from error
    finally:
        await form.close()
    return items
