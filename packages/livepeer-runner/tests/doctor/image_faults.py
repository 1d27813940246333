"""Images with a fault each: as an engine tells of them, and as they behave."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from livepeer.runner.packaging.labels import PREFIX
from livepeer.runner.targets.container import ImageConfig

CLEAN = ImageConfig(
    user="10001:10001",
    environment=("PATH=/usr/bin", "LIVEPEER_MODEL_DIR=/models", "TOKENIZERS_PARALLELISM=false"),
    labels={},
    ports=(8000,),
    platform="linux/amd64",
    size=200_000_000,
    layers=9,
    history=("RUN pip install x", 'RUN HF_TOKEN="$(cat /run/secrets/HF_TOKEN)" livepeer prepare'),
)
WRITABLE = "it cannot be served"

IMAGE_FAULTS: dict[str, list[Callable[[ImageConfig], ImageConfig]]] = {
    "image.user": [
        lambda one: dataclasses.replace(one, user=""),
        lambda one: dataclasses.replace(one, user="0:10001"),
        lambda one: dataclasses.replace(one, user="root"),
    ],
    "image.read-only": [],
    "image.secrets": [
        lambda one: dataclasses.replace(one, environment=("HF_TOKEN=abcdef",)),
        lambda one: dataclasses.replace(one, environment=("X=hf_" + "a" * 30,)),
        lambda one: dataclasses.replace(one, labels={"x": "ghp_" + "a" * 36}),
        lambda one: dataclasses.replace(one, history=("RUN API_KEY=abc pip install x",)),
        lambda one: dataclasses.replace(one, history=("ARG NPM_TOKEN=abcdef",)),
        lambda one: dataclasses.replace(
            one, history=("RUN pip install --index-url https://a:b@c/",)
        ),
    ],
    "image.labels": [
        lambda one: dataclasses.replace(one, labels={**one.labels, PREFIX + "id": "other"}),
        lambda one: dataclasses.replace(one, labels={**one.labels, PREFIX + "schema": "{}"}),
        lambda one: dataclasses.replace(one, labels={**one.labels, PREFIX + "schema": "{"}),
    ],
    "image.platform": [lambda one: dataclasses.replace(one, platform="linux/arm64")],
}
"""Changes of a clean image, each of which trips the check; of `read-only` see its own test."""

CONTAINER_FAULTS = ("image.offline", "image.reaps")
"""Only a container shows them: `tests/container/test_doctor.py`."""
