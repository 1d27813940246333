"""What an engine tells of an image: each fault is found, and a clean one passes."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from livepeer.runner.doctor.diagnosis import Diagnosis
from livepeer.runner.doctor.examination import Examination
from livepeer.runner.packaging.engine import ContainerEngine
from livepeer.runner.packaging.labels import PREFIX, schema_labels
from livepeer.runner.targets.container import ImageConfig
from livepeer.runner.targets.image_container import TargetImage

from . import faults
from .image_faults import CLEAN, IMAGE_FAULTS, WRITABLE
from .instances import open_target

CHANGES = [(id, change) for id, changes in IMAGE_FAULTS.items() for change in changes]


async def examined(config: ImageConfig, *ids: str, **how: Any) -> Diagnosis:
    image = TargetImage(ContainerEngine("podman"), "localhost/x", config, **how)
    async with open_target(faults.Double, faults.none, image=image) as target:
        return await Examination(only=ids).of(target)


def labelled(config: ImageConfig) -> ImageConfig:
    """With the labels that `livepeer build` gives to this pipeline."""
    from livepeer.runner.serving.app import create_app
    from livepeer.runner.settings import Settings

    schema = create_app(faults.Double, Settings.from_env({})).state.service.work.schema()
    own = {PREFIX + name: schema[name] for name in ("id", "version", "type")}
    return dataclasses.replace(config, labels={**own, **schema_labels(schema)})


async def test_each_fault_trips_its_check_and_tells_no_secret() -> None:
    for id, change in CHANGES:
        diagnosis = await examined(change(labelled(CLEAN)), id)
        assert [one.outcome for one in diagnosis.examined] == ["problem"], id
        shown = json.dumps(diagnosis.as_json())
        assert "abcdef" not in shown and "a" * 20 not in shown


async def test_a_root_that_has_to_be_writable_is_found() -> None:
    diagnosis = await examined(CLEAN, "image.read-only", read_only=False, unwritable=WRITABLE)
    assert [one.outcome for one in diagnosis.examined] == ["problem"]


async def test_a_clean_image_passes_and_its_size_is_told() -> None:
    diagnosis = await examined(labelled(CLEAN), *IMAGE_FAULTS)
    assert {one.check.id: one.outcome for one in diagnosis.examined} == dict.fromkeys(
        IMAGE_FAULTS, "passed"
    )
    assert diagnosis.as_json()["facts"] == {
        "platform": "linux/amd64",
        "size_mb": 200,
        "layers": 9,
    }


@pytest.mark.parametrize(("ids", "count"), [((), 0), (("image",), 7)])
async def test_of_a_class_the_image_is_not_judged(ids: tuple[str, ...], count: int) -> None:
    async with open_target(faults.Double, faults.none) as target:
        chosen = Examination(only=ids, skip=() if ids else ("http", "batch", "process", "schema"))
        diagnosis = await dataclasses.replace(chosen, quick=not ids).of(target)
    assert sum(one.check.group == "image" for one in diagnosis.examined) == count
    assert all(
        one.outcome == "not judged" for one in diagnosis.examined if one.check.group == "image"
    )
