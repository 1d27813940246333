"""What a test passes to a pipeline, as JSON: a path, bytes or a picture are the file's content."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from typing import Any

from livepeer.runner.author.files import File, Image
from livepeer.runner.author.jsonable import plain


def as_json(value: Any) -> Any:
    """Raises `ValueError` with the key for what is neither a file nor JSON."""
    return plain(_files_as_text(value))


def _files_as_text(value: Any) -> Any:
    if isinstance(value, File):
        return value.data_uri() if value.is_fetched else value.url
    if isinstance(value, os.PathLike | bytes | bytearray | memoryview):
        return File(value).data_uri()
    if isinstance(value, io.IOBase):
        content = value.read()
        return File(content.encode() if isinstance(content, str) else content).data_uri()
    if _is_pillow(value):
        return Image.from_pil(value).data_uri()
    if isinstance(value, Mapping):
        return {key: _files_as_text(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_files_as_text(child) for child in value]
    return value


def _is_pillow(value: Any) -> bool:
    """Without importing Pillow, which may not be there."""
    return any(
        cls.__module__ == "PIL.Image" and cls.__name__ == "Image" for cls in type(value).__mro__
    )
