"""An image without what only its build knew: the same files make the same digest.

Builders write names of their own into an image's configuration, such as the container that a step
ran in. No runtime reads them.
"""

from __future__ import annotations

import json
from typing import Any

from livepeer.runner.packaging.registry.answers import RegistryError
from livepeer.runner.packaging.registry.client import LARGEST_CONFIG, ImageRegistry
from livepeer.runner.packaging.registry.reference import ImageReference

_BY_THE_BUILD = ("container", "container_config", "parent", "docker_version", "moby.buildkit.trace")
_OF_THE_CONTAINER = ("Hostname", "Image", "Domainname")


def normal(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration without what differs from build to build."""
    kept = {name: value for name, value in config.items() if name not in _BY_THE_BUILD}
    inner = kept.get("config")
    if isinstance(inner, dict):
        kept["config"] = {
            name: value for name, value in inner.items() if name not in _OF_THE_CONTAINER
        }
    history = kept.get("history")
    if isinstance(history, list):
        kept["history"] = [
            {name: value for name, value in step.items() if name != "comment"}
            for step in history
            if isinstance(step, dict)
        ]
    return kept


async def normalise(registry: ImageRegistry, image: ImageReference, tags: tuple[str, ...]) -> str:
    """Put the normal form of a pushed image under each of `tags`; its digest.

    An index is left as it is, under its own tag. Raises `RegistryError`.
    """
    manifest = await registry.manifest(image)
    if manifest.is_index:
        for tag in tags:
            named = ImageReference(image.registry, image.repository, tag)
            await registry.tag(named, manifest.body, manifest.media_type)
        return manifest.digest
    described = manifest.content.get("config")
    if not isinstance(described, dict) or not isinstance(described.get("digest"), str):
        raise RegistryError(f"{image} is no image: its manifest names no configuration")
    body = await registry.blob(image, described["digest"], limit=LARGEST_CONFIG)
    try:
        config = json.loads(body)
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise RegistryError(f"{image} is no image: its configuration is no JSON object")
    written = _json(normal(config))
    digest = await registry.store(image, written)
    content = {**manifest.content, "config": {**described, "digest": digest, "size": len(written)}}
    whole = _json(content)
    for tag in tags:
        named = ImageReference(image.registry, image.repository, tag)
        pushed = await registry.tag(named, whole, manifest.media_type)
    return pushed


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
