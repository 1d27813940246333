"""From a built image to a published one, pinned to its digest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from livepeer.runner.packaging import evolution, lockfile
from livepeer.runner.packaging.build import Result, base_image
from livepeer.runner.packaging.engine import ContainerEngine
from livepeer.runner.packaging.engine_output import PUSHING, READING_DIGEST
from livepeer.runner.packaging.inspect import InspectedImage, inspect
from livepeer.runner.packaging.labels import PREFIX, SCHEMA_SHA256
from livepeer.runner.packaging.normal import normalise
from livepeer.runner.packaging.project import Project
from livepeer.runner.packaging.registry.answers import ImageNotFound, RegistryError
from livepeer.runner.packaging.registry.client import ImageRegistry
from livepeer.runner.packaging.registry.reference import (
    HUB,
    ImageReference,
    InvalidReference,
)


class PushRefused(Exception):
    """Nothing was pushed; the message says why and what to do."""

    code = "push_refused"


@dataclass(frozen=True, slots=True)
class Published:
    """An image as its registry has it."""

    image: InspectedImage
    reference: ImageReference
    """With the digest that the registry tells, and no tag."""
    tags: tuple[str, ...]
    changed: tuple[str, ...]
    """Lines of `livepeer.lock` that are new."""


def target(project: Project, given: str | None) -> ImageReference:
    """Where an image goes: `given`, else `image` of `livepeer.yaml`. Without a tag in it, the
    image gets the version of the class, and `latest`. Raises `PushRefused`."""
    text = given or project.manifest.image
    if text is None:
        raise PushRefused(
            "there is no name to push to: write `image: docker.io/me/my-livepeer-runner` into "
            "livepeer.yaml, or say --tag"
        )
    try:
        reference = ImageReference.parse(text)
    except InvalidReference as error:
        raise PushRefused(str(error)) from error
    if reference.digest is not None:
        raise PushRefused(f"{text}: a digest comes out of a push; leave it away")
    if reference.registry == HUB and reference.repository.startswith("library/"):
        raise PushRefused(
            f"{text} names no owner: write docker.io/your-name/{text}, or another registry"
        )
    return reference


def has_tag(text: str) -> bool:
    """Whether a reference names a tag."""
    return ":" in text.rpartition("/")[2]


async def last_published(
    reference: ImageReference, platform: str, *, plain_http: bool
) -> dict[str, Any] | None:
    """The schema of the image that has the tag `latest` there, else this one; None where neither
    says one. Raises `RegistryError` where the registry cannot be asked."""
    for tag in ("latest", reference.tag):
        named = ImageReference(reference.registry, reference.repository, tag)
        try:
            found = await inspect(named, platform=platform, plain_http=plain_http)
        except ImageNotFound:
            continue
        if found.pipeline is not None and found.pipeline.schema is not None:
            return found.pipeline.schema
    return None


def check_evolution(old: dict[str, Any] | None, new: dict[str, Any]) -> list[evolution.Change]:
    """The changes since the last image. Raises `PushRefused` for those that break callers."""
    if old is None:
        return []
    if broken := evolution.refusal(old, new):
        lines = "\n".join(f"  {change.what}" for change in broken)
        raise PushRefused(
            f"callers of {old.get('version')} would stop working with {new.get('version')}:\n"
            f"{lines}\n"
            f"Raise the major version of the class, or take these changes back"
        )
    return evolution.compare(old, new)


async def publish(
    project: Project,
    engine: ContainerEngine,
    built: Result,
    reference: ImageReference,
    tags: tuple[str, ...],
    *,
    platform: str,
    plain_http: bool,
    say: Callable[[str], None] = lambda line: None,
) -> Published:
    """Push, put the image's normal form under each tag, read the digest back from the registry,
    and write `livepeer.lock`.

    Raises `EngineError`, `RegistryError`, `LockError`.
    """
    first = ImageReference(reference.registry, reference.repository, tags[0])
    if str(first) != built.tag:
        engine.tag(built.tag, str(first))
    say(PUSHING)
    engine.push(str(first), plain_http=plain_http, say=say)
    say(READING_DIGEST)
    async with ImageRegistry(first.registry, plain_http=plain_http) as registry:
        await normalise(registry, first, tags)
    image = await inspect(first, platform=platform, plain_http=plain_http)
    if image.labels.get(SCHEMA_SHA256) != built.labels.get(SCHEMA_SHA256):
        raise RegistryError(
            f"{first} is not what was pushed: another push to the same tag came between"
        )
    pinned = first.pinned(image.digest)
    requirements = (built.locked.others + built.locked.sdk).encode()
    base = base_image(project)
    changed = lockfile.write(
        project.folder,
        {
            "image": first.name,
            "digest": image.digest,
            "platform": image.platform,
            "schema_sha256": image.labels.get(SCHEMA_SHA256),
            "sdk": image.labels.get(f"{PREFIX}sdk-version"),
            "protocol": image.labels.get(f"{PREFIX}protocol"),
            "base": base,
            "base_digest": engine.digest(base),
            "requirements_sha256": hashlib.sha256(requirements).hexdigest(),
        },
    )
    return Published(image, pinned, tags, tuple(changed))
