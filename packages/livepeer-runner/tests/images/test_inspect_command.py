"""`livepeer inspect` prints what a registry says, and ends with a code that scripts can use."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from typer.testing import CliRunner

from livepeer.runner.cli.inspect import app
from livepeer.runner.packaging.labels import PREFIX, SCHEMA, schema_labels

from .conftest import ScriptedRegistry

SCHEMA_OF_IT = {"input": {"properties": {"text": {}}}, "output": {"properties": {"label": {}}}}
LABELS = {f"{PREFIX}id": "sentiment", f"{PREFIX}type": "batch", **schema_labels(SCHEMA_OF_IT)}


async def run(*arguments: str) -> Any:
    # The command has a loop of its own, the registry this one.
    return await asyncio.to_thread(CliRunner().invoke, app, list(arguments))


async def test_it_prints_one_document_for_programs(scripted: ScriptedRegistry) -> None:
    digest = scripted.image(labels=LABELS)
    done = await run(f"{scripted.host}/me/app:v1")
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["digest"] == digest and told["pinned"] == f"byoc/me/app@{digest}"
    assert told["pipeline"]["id"] == "sentiment" and told["pipeline"]["schema"] == SCHEMA_OF_IT
    assert told["size"] == 2001 and told["signature_verified"] is False


async def test_an_image_of_another_kind_is_shown_and_said_to_be_one(
    scripted: ScriptedRegistry,
) -> None:
    scripted.image(labels={"org.opencontainers.image.title": "x"})
    done = await run(f"{scripted.host}/me/app:v1")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["pipeline"] is None
    assert "says nothing of a pipeline" in done.stderr


@pytest.mark.parametrize(
    ("name", "code", "told"),
    [
        ("Me/App", 2, "write me/app"),
        ("me/other", 3, "has no me/other:latest"),
    ],
)
async def test_what_cannot_be_shown_has_a_code_and_a_reason(
    scripted: ScriptedRegistry, name: str, code: int, told: str
) -> None:
    done = await run(f"{scripted.host}/{name}")
    assert done.exit_code == code and told in done.stderr
    assert done.stdout == ""


async def test_labels_that_cannot_be_read_are_shown_and_end_it_with_an_error(
    scripted: ScriptedRegistry,
) -> None:
    scripted.image(labels={**LABELS, SCHEMA: '{"input": {}}'})
    done = await run(f"{scripted.host}/me/app:v1")
    assert done.exit_code == 1 and "is not the one of" in done.stderr
    assert json.loads(done.stdout)["labels"][f"{PREFIX}id"] == "sentiment"
