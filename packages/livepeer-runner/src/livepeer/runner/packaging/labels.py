"""What an image says of the pipeline in it, readable without a pull.

The labels are `org.livepeer.pipeline.*` beside those of `org.opencontainers.image.*`
(specs/images.md). A schema of up to 16 KiB stands in its label as it is, a larger one compressed;
one that is too large for that is only in the image. Its hash is always there.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

PREFIX: Final = "org.livepeer.pipeline."
SCHEMA: Final = PREFIX + "schema"
SCHEMA_GZ: Final = PREFIX + "schema.gz"
SCHEMA_SHA256: Final = PREFIX + "schema.sha256"

PLAIN_BYTES: Final = 16 * 1024
"""Up to here a schema stands in its label as JSON."""
PACKED_BYTES: Final = 96 * 1024
"""Up to here it stands there compressed: an argument of a program holds 128 KiB."""
LARGEST_SCHEMA: Final = 4 * 1024 * 1024


class LabelError(ValueError):
    """Labels that contradict themselves or cannot be read; the message says which and why."""


def canonical(schema: Mapping[str, Any]) -> bytes:
    """A schema as the bytes that are hashed: JSON in UTF-8, keys sorted, no blanks."""
    text = json.dumps(schema, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return text.encode()


def schema_labels(schema: Mapping[str, Any]) -> dict[str, str]:
    """The labels that carry a schema."""
    body = canonical(schema)
    labels = {SCHEMA_SHA256: hashlib.sha256(body).hexdigest()}
    if len(body) <= PLAIN_BYTES:
        labels[SCHEMA] = body.decode()
    else:
        # No time in it: the same schema makes the same image.
        packed = base64.b64encode(gzip.compress(body, mtime=0)).decode()
        if len(packed) <= PACKED_BYTES:
            labels[SCHEMA_GZ] = packed
    return labels


def read_schema(labels: Mapping[str, str]) -> dict[str, Any] | None:
    """The schema that labels carry, checked against its hash; None where they carry none.

    Raises `LabelError`.
    """
    if SCHEMA in labels:
        body = labels[SCHEMA].encode("utf-8", "surrogatepass")
    elif SCHEMA_GZ in labels:
        body = _unpacked(labels[SCHEMA_GZ])
    else:
        return None
    try:
        schema = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise LabelError(f"the label {SCHEMA} is no JSON") from error
    if not isinstance(schema, dict):
        raise LabelError(f"the label {SCHEMA} is no object")
    told = labels.get(SCHEMA_SHA256)
    if told is not None and told != hashlib.sha256(canonical(schema)).hexdigest():
        raise LabelError(f"the schema in the labels is not the one of {SCHEMA_SHA256}")
    return schema


def _unpacked(label: str) -> bytes:
    """What is in a compressed label, of at most `LARGEST_SCHEMA` bytes."""
    try:
        packed = base64.b64decode(label, validate=True)
        unpacking = zlib.decompressobj(wbits=31)
        body = unpacking.decompress(packed, LARGEST_SCHEMA)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise LabelError(f"the label {SCHEMA_GZ} is not base64 of gzip") from error
    if unpacking.unconsumed_tail:
        raise LabelError(f"the label {SCHEMA_GZ} holds more than {LARGEST_SCHEMA} bytes")
    if not unpacking.eof:
        raise LabelError(f"the label {SCHEMA_GZ} is cut off")
    return body


@dataclass(frozen=True, slots=True)
class PipelineLabels:
    """What an image says of its pipeline; None for what it does not say."""

    id: str | None = None
    version: str | None = None
    type: str | None = None
    """`batch` or `live`."""
    sdk_version: str | None = None
    protocol: str | None = None
    capacity: str | None = None
    gpu: str | None = None
    schema: dict[str, Any] | None = None
    schema_sha256: str | None = None

    @classmethod
    def read(cls, labels: Mapping[str, str]) -> PipelineLabels | None:
        """None where there is no such label: an image of another kind. Raises `LabelError`."""
        if not any(name.startswith(PREFIX) for name in labels):
            return None
        said = {
            field: labels.get(f"{PREFIX}{field.replace('_', '-')}")
            for field in ("id", "version", "type", "sdk_version", "protocol", "capacity", "gpu")
        }
        return cls(**said, schema=read_schema(labels), schema_sha256=labels.get(SCHEMA_SHA256))
