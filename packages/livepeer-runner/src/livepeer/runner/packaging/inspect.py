"""What a registry says of an image: nothing is pulled, no engine is needed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from livepeer.runner.packaging import bundle, signing
from livepeer.runner.packaging.labels import LabelError, PipelineLabels
from livepeer.runner.packaging.platform import PLATFORM
from livepeer.runner.packaging.registry.answers import RegistryError
from livepeer.runner.packaging.registry.client import LARGEST_CONFIG, ImageManifest, ImageRegistry
from livepeer.runner.packaging.registry.reference import ImageReference, is_digest, is_here
from livepeer.runner.packaging.signing import CosignMissing, ImageSigner, SigningError

MOST_LAYERS = 1000
SIGNATURE_TYPES = (
    bundle.MEDIA_TYPE,
    "application/vnd.dev.cosign.artifact.sig.v1+json",
)


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer: its digest, and its size in bytes as it is transferred."""

    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class InspectedImage:
    """An image of one platform, as its registry keeps it."""

    reference: ImageReference
    """As it was asked for."""
    digest: str
    """Of what the reference names: the index where there is one. This is what is pinned."""
    manifest_digest: str
    """Of this platform's manifest; the same as `digest` where there is no index."""
    platform: str
    platforms: tuple[str, ...]
    created: str | None
    size: int
    """Bytes of all layers, as they are transferred."""
    layers: tuple[Layer, ...]
    labels: dict[str, str]
    user: str
    pipeline: PipelineLabels | None
    """None for an image that says nothing of a pipeline."""
    pipeline_error: str | None = None
    """Why its labels could not be read."""
    signatures: int = 0
    """How many signatures refer to it; none of them is verified here."""
    environment: tuple[str, ...] = field(default=(), repr=False)

    @property
    def pinned(self) -> str:
        """The capability's name that stands for exactly this image."""
        return f"byoc/{self.reference.repository}@{self.digest}"


async def inspect(
    reference: ImageReference, *, platform: str = PLATFORM, plain_http: bool = False
) -> InspectedImage:
    """Ask an image's registry for all that it says of it. Raises `RegistryError`."""
    async with ImageRegistry(reference.registry, plain_http=plain_http) as registry:
        top = await registry.manifest(reference)
        platforms: tuple[str, ...] = ()
        manifest = top
        if top.is_index:
            found = _platforms(top)
            platforms = tuple(sorted(found))
            if platform not in found:
                raise RegistryError(
                    f"{reference} is not there for {platform}, but for "
                    f"{', '.join(platforms) or 'no platform'}: name one with --platform"
                )
            manifest = await registry.manifest(reference.pinned(found[platform]))
            if manifest.is_index:
                raise RegistryError(f"{reference} is an index of indexes, which is no image")
        config = await _config(registry, reference, manifest)
        signatures = await _signatures(registry, reference, top.digest)
    inner = config.get("config")
    inner = inner if isinstance(inner, dict) else {}
    labels = _texts(inner.get("Labels"))
    pipeline, problem = None, None
    try:
        pipeline = PipelineLabels.read(labels)
    except LabelError as error:
        problem = str(error)
    own = f"{config.get('os', 'unknown')}/{config.get('architecture', 'unknown')}"
    layers = _layers(reference, manifest)
    created = config.get("created")
    return InspectedImage(
        reference=reference,
        digest=top.digest,
        manifest_digest=manifest.digest,
        platform=own,
        platforms=platforms or (own,),
        created=created if isinstance(created, str) else None,
        size=sum(layer.size for layer in layers),
        layers=layers,
        labels=labels,
        user=str(inner.get("User") or ""),
        pipeline=pipeline,
        pipeline_error=problem,
        signatures=signatures,
        environment=tuple(str(one) for one in inner.get("Env") or ()),
    )


async def verify(image: InspectedImage, signer: ImageSigner, *, plain_http: bool = False) -> None:
    """That `signer` signed exactly this image. A signature with a key of `cosign generate-key-pair`
    is verified here, all else by cosign. Raises `SigningError`, `RegistryError`."""
    reference = image.reference.pinned(image.digest)
    key = bundle.read_key(signer.key) if signer.key is not None else None
    if key is not None:
        async with ImageRegistry(reference.registry, plain_http=plain_http) as registry:
            async for found in _bundles(registry, reference):
                if bundle.signs(found, image.digest, key):
                    return
    plain = plain_http or is_here(reference.registry)
    try:
        await asyncio.to_thread(signing.verify, str(reference), signer, plain_http=plain)
    except CosignMissing as error:
        if key is None:
            raise
        raise SigningError(f"none of its {image.signatures} signatures is by {signer}") from error


async def _bundles(registry: ImageRegistry, image: ImageReference) -> AsyncIterator[bytes]:
    """What was signed with keys; of those that cannot be had the next is asked."""
    referring = await registry.referrers(image, str(image.digest))
    wanted = [one for one in referring if one.get("artifactType") == bundle.MEDIA_TYPE]
    for one in wanted[: bundle.MOST_SIGNATURES]:
        digest = one.get("digest")
        if not isinstance(digest, str) or not is_digest(digest):
            continue
        with suppress(RegistryError):
            manifest = await registry.manifest(image.pinned(digest))
            for layer in _layers(image, manifest)[: bundle.MOST_SIGNATURES]:
                yield await registry.blob(image, layer.digest, limit=bundle.LARGEST)


def _platforms(index: ImageManifest) -> dict[str, str]:
    """Platform to digest; attestations, which have the platform `unknown`, are left out."""
    found: dict[str, str] = {}
    entries = index.content.get("manifests")
    for entry in entries if isinstance(entries, list) else ():
        if not isinstance(entry, dict) or not isinstance(entry.get("platform"), dict):
            continue
        parts = entry["platform"]
        names = [parts.get("os"), parts.get("architecture"), parts.get("variant")]
        name = "/".join(one for one in names if isinstance(one, str) and one)
        digest = entry.get("digest")
        if name.startswith("unknown/") or not isinstance(digest, str) or not is_digest(digest):
            continue
        found.setdefault(name, digest)
        if name.count("/") == 2:
            found.setdefault(name.rpartition("/")[0], digest)
    return found


async def _config(
    registry: ImageRegistry, reference: ImageReference, manifest: ImageManifest
) -> dict[str, Any]:
    described = manifest.content.get("config")
    digest = described.get("digest") if isinstance(described, dict) else None
    if not isinstance(digest, str):
        raise RegistryError(f"{reference} is no image: its manifest names no configuration")
    body = await registry.blob(reference, digest, limit=LARGEST_CONFIG)
    try:
        config = json.loads(body)
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise RegistryError(f"{reference} is no image: its configuration is no JSON object")
    return config


def _layers(reference: ImageReference, manifest: ImageManifest) -> tuple[Layer, ...]:
    described = manifest.content.get("layers")
    layers: list[Layer] = []
    for one in described if isinstance(described, list) else ():
        if len(layers) == MOST_LAYERS:
            raise RegistryError(f"{reference} has more than {MOST_LAYERS} layers")
        match one:
            case {"digest": str(digest), "size": int(size)} if size >= 0 and is_digest(digest):
                layers.append(Layer(digest, size))
            case _:
                raise RegistryError(f"{reference} has a layer without digest or size")
    return tuple(layers)


async def _signatures(registry: ImageRegistry, reference: ImageReference, digest: str) -> int:
    found = await registry.referrers(reference, digest)
    return sum(one.get("artifactType") in SIGNATURE_TYPES for one in found)


def _texts(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        return {}
    return {name: text for name, text in value.items() if isinstance(text, str)}
