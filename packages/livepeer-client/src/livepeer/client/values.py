"""Values of a call as JSON carries them: the files in them as text, and back, by their schema."""

from __future__ import annotations

import base64
import binascii
import math
import re
import sys
from collections.abc import Mapping
from typing import Any, Final

from livepeer.client.files import FileOutput, as_bytes, is_array, sniff, unsendable

_DATA_URI: Final = re.compile(r"data:([\w.+-]+/[\w.+*-]+)?((?:;[\w-]+=[^;,]*)*);base64,", re.ASCII)


def encode(value: Any, schema: Any = None, *, where: str = "", root: Any = None) -> Any:
    """`value` as JSON can carry it: files and pictures become base64, or a data URI where the
    schema names a media type. Raises `InvalidInputError` that names the field."""
    root = schema if root is None else root
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise unsendable(f"{value} is no JSON number", where)
        return value
    part = resolve(schema, root)
    if isinstance(value, Mapping):
        return {
            str(key): encode(item, _property(part, str(key)), where=_join(where, key), root=root)
            for key, item in value.items()
        }
    if is_array(value) and not _is_binary(part) and not _looks_like_picture(value, part):
        if value.dtype.kind == "f" and not sys.modules["numpy"].isfinite(value).all():
            raise unsendable("not every number in this array is finite, as JSON wants it", where)
        return value.tolist()
    if (binary := as_bytes(value, where)) is not None:
        data, media_type = binary
        text = base64.b64encode(data).decode("ascii")
        return f"data:{media_type};base64,{text}" if _wants_data_uri(part) else text
    if isinstance(value, (list, tuple)):
        items = part.get("items") if isinstance(part, Mapping) else None
        return [
            encode(item, items, where=_join(where, index), root=root)
            for index, item in enumerate(value)
        ]
    if _is_model(value):
        return encode(_dumped(value), schema, where=where, root=root)
    if hasattr(value, "item") and type(value).__module__ == "numpy":
        return encode(value.item(), schema, where=where, root=root)
    return _jsonable(value, where)


def _is_model(value: Any) -> bool:
    """Is it a Pydantic model? Whoever passes one has imported pydantic, so nobody else has to."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(value, pydantic.BaseModel)


def _dumped(model: Any) -> Any:
    """A model's values: its own JSON, but for the files in it, which that would take for text."""
    values = model.model_dump()
    return _leaves(values) if _holds_files(values) else model.model_dump(mode="json")


def _holds_files(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_holds_files, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(_holds_files, value))
    return _is_file(value)


def _leaves(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _leaves(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_leaves(item) for item in value]
    return value if _is_file(value) else _jsonable(value, "")


def _is_file(value: Any) -> bool:
    """Is it the content of a file? A path is text in a model: a field of its own type says so."""
    if isinstance(value, (bytes, bytearray, memoryview, FileOutput)) or is_array(value):
        return True
    return hasattr(value, "read") or type(value).__module__.partition(".")[0] == "PIL"


def _jsonable(value: Any, where: str) -> Any:
    """Dates, decimals, enumerations, sets and the like, as Pydantic writes them."""
    from pydantic_core import PydanticSerializationError, to_jsonable_python

    try:
        return to_jsonable_python(value)
    except PydanticSerializationError as error:
        raise unsendable(
            f"a value of type {type(value).__name__} cannot be sent: use JSON values, bytes, a"
            " path, an open file, a numpy image or a PIL image",
            where,
        ) from error


def decode(value: Any, schema: Any = None, *, root: Any = None) -> Any:
    """`value` with every file in it as a `FileOutput`: data URIs always, bare base64 where the
    schema says that it is one."""
    root = schema if root is None else root
    if isinstance(value, str):
        if value.startswith("data:") and (match := _DATA_URI.match(value)):
            data = _unbase64(value[match.end() :])
            if data is not None:
                return FileOutput(data, match[1] or sniff(data))
        part = resolve(schema, root)
        if _is_binary(part) and (data := _unbase64(value)) is not None:
            named = _media_type(part)
            return FileOutput(data, named if named and "*" not in named else sniff(data))
        return value
    if isinstance(value, list):
        part = resolve(schema, root)
        items = part.get("items") if isinstance(part, Mapping) else None
        return [decode(item, items, root=root) for item in value]
    if isinstance(value, dict):
        part = resolve(schema, root)
        return {key: decode(item, _property(part, key), root=root) for key, item in value.items()}
    return value


def resolve(schema: Any, root: Any) -> Any:
    """The part of a schema about one value: references followed, `null` branches left out."""
    for _ in range(16):
        if not isinstance(schema, Mapping):
            return {}
        if isinstance(reference := schema.get("$ref"), str) and reference.startswith("#/"):
            target: Any = root
            for key in reference[2:].split("/"):
                target = target.get(key.replace("~1", "/").replace("~0", "~"), {})
            schema = target
            continue
        branches = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
        if isinstance(branches, list) and "properties" not in schema:
            real = [each for each in branches if each != {"type": "null"}]
            binary = [each for each in real if _is_binary(resolve(each, root))]
            if binary or len(real) == 1:
                schema = (binary or real)[0]
                continue
        return schema
    return {}


def _property(schema: Any, key: str) -> Any:
    if not isinstance(schema, Mapping):
        return None
    return (schema.get("properties") or {}).get(key, schema.get("additionalProperties"))


def _media_type(schema: Any) -> str | None:
    kind = schema.get("contentMediaType") if isinstance(schema, Mapping) else None
    return kind if isinstance(kind, str) else None


def _is_binary(schema: Any) -> bool:
    if not isinstance(schema, Mapping):
        return False
    return (
        schema.get("format") in ("base64", "binary", "byte", "data-uri", "base64url")
        or schema.get("contentEncoding") == "base64"
        or "contentMediaType" in schema
    )


def _wants_data_uri(schema: Any) -> bool:
    return isinstance(schema, Mapping) and (
        "contentMediaType" in schema or schema.get("format") == "data-uri"
    )


def _unbase64(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def _looks_like_picture(array: Any, schema: Any) -> bool:
    if isinstance(schema, Mapping) and schema.get("type") == "array":
        return False
    return array.dtype == "uint8" and array.ndim in (2, 3) and array.shape[-1:] != (0,)


def _join(where: str, key: Any) -> str:
    return f"{where}.{key}" if where else str(key)
