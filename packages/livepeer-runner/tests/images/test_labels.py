"""A schema travels in labels as it is, compressed, or by its hash alone; a bomb stays packed."""

from __future__ import annotations

import base64
import gzip
import random

import pytest

from livepeer.runner.packaging.labels import (
    PACKED_BYTES,
    PLAIN_BYTES,
    SCHEMA,
    SCHEMA_GZ,
    SCHEMA_SHA256,
    LabelError,
    PipelineLabels,
    canonical,
    read_schema,
    schema_labels,
)

SMALL = {"input": {"$ref": "#/$defs/In", "$defs": {"In": {"title": "Grüße"}}}}


def test_a_small_schema_stands_in_its_label_as_it_is() -> None:
    labels = schema_labels(SMALL)
    assert set(labels) == {SCHEMA, SCHEMA_SHA256}
    assert labels[SCHEMA].encode() == canonical(SMALL)
    assert read_schema(labels) == SMALL


def test_a_larger_one_is_compressed_and_the_same_each_time() -> None:
    schema = {"input": {"description": "word " * PLAIN_BYTES}}
    labels = schema_labels(schema)
    assert set(labels) == {SCHEMA_GZ, SCHEMA_SHA256}
    assert read_schema(labels) == schema
    assert schema_labels(schema) == labels


def test_one_that_does_not_compress_is_told_by_its_hash_alone() -> None:
    noise = random.Random(1).randbytes(PACKED_BYTES).hex()
    labels = schema_labels({"input": {"description": noise}})
    assert set(labels) == {SCHEMA_SHA256}
    assert read_schema(labels) is None


def test_a_bomb_is_not_unpacked() -> None:
    packed = base64.b64encode(gzip.compress(b" " * 64_000_000)).decode()
    with pytest.raises(LabelError, match="more than 4194304 bytes"):
        read_schema({SCHEMA_GZ: packed})


@pytest.mark.parametrize(
    ("labels", "why"),
    [
        ({SCHEMA: "no"}, "is no JSON"),
        ({SCHEMA: "[]"}, "is no object"),
        ({SCHEMA: "[" * 100_000}, "is no JSON"),
        ({SCHEMA: "{}", SCHEMA_SHA256: "0" * 64}, "not the one of"),
        ({SCHEMA_GZ: "%%"}, "not base64 of gzip"),
        ({SCHEMA_GZ: base64.b64encode(b"plain").decode()}, "not base64 of gzip"),
        ({SCHEMA_GZ: base64.b64encode(gzip.compress(b"{}")[:-9]).decode()}, "is cut off"),
    ],
)
def test_labels_that_cannot_be_read_are_an_error_that_names_them(
    labels: dict[str, str], why: str
) -> None:
    with pytest.raises(LabelError, match=why):
        PipelineLabels.read(labels)


def test_an_image_of_another_kind_says_nothing_of_a_pipeline() -> None:
    assert PipelineLabels.read({"org.opencontainers.image.title": "x"}) is None
