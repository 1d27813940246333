"""From a project to an image with labels in an engine's store."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from livepeer.runner.packaging import contradictions, dockerfile, requirements
from livepeer.runner.packaging.engine import Built, ContainerEngine, EngineError, StepFailed
from livepeer.runner.packaging.engine_output import LOCKING, READING_SCHEMA
from livepeer.runner.packaging.labels import PREFIX, schema_labels
from livepeer.runner.packaging.platform import PLATFORM
from livepeer.runner.packaging.project import Project, ProjectError
from livepeer.runner.packaging.requirements import RequirementsError

OWN = ".livepeer"
"""The folder beside the pipeline in which builds keep what the next one needs."""
SUFFIX = "-livepeer-runner"
PROTOCOL = "byoc/1"
LABEL_TEXT = 1000
"""Characters of the description that stand in a label; the schema has all of it."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A context on disk, and what was decided on the way to it."""

    folder: Path
    dockerfile: str
    locked: requirements.Locked
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """An image that was built."""

    tag: str
    image: Built
    labels: dict[str, str]
    schema: dict[str, Any]
    locked: requirements.Locked


@contextmanager
def context(
    project: Project,
    *,
    platform: str = PLATFORM,
    sdk: str | None = None,
    secrets: tuple[str, ...] = (),
    cache: bool = True,
) -> Iterator[Prepared]:
    """Stage all that an image is made from, in a temporary folder: the files that are meant, with
    modes that every user can read. Without `cache` the index is asked for packages anew. Raises
    `ProjectError`, `RequirementsError`."""
    if places := project.secrets():
        raise ProjectError(
            f"{', '.join(places[:5])}: this looks like a secret, which an image shows to all who "
            f"pull it: read it from the environment instead"
        )
    with tempfile.TemporaryDirectory(prefix="livepeer-context-") as name:
        folder = Path(name)
        (folder / "wheels").mkdir()
        wheels = requirements.wheels(folder / "wheels", sdk)
        try:
            locked = requirements.lock(project, wheels, platform=platform, anew=not cache)
        except RequirementsError as error:
            raise RequirementsError(contradictions.explained(project, str(error))) from error
        if wrong := contradictions.refused(project, locked):
            raise ProjectError("\n".join(wrong))
        manifest = project.manifest
        plan = dockerfile.ImagePlan(
            base=base_image(project),
            target=project.target,
            python=None if manifest.base is None else manifest.python.version,
            system=manifest.system.packages,
            wheels=bool(wheels),
            prepare=manifest.prepare,
            gpu=manifest.cuda is not None or locked.has_cuda or project.constant("gpu") is True,
            secrets=secrets,
        )
        text = dockerfile.render(plan)
        (folder / "Dockerfile").write_text(text)
        (folder / "requirements.txt").write_text(locked.others)
        (folder / "sdk.txt").write_text(locked.sdk)
        for file in project.files:
            _copy(project.folder / file, folder / "app" / file)
        if manifest.prepare:
            shutil.copytree(_snapshot(project), folder / "prepare")
        for ignored in folder.joinpath("wheels").glob(".*"):
            ignored.unlink()
        if not wheels:
            folder.joinpath("wheels").rmdir()
        make_readable(folder)
        yield Prepared(folder, text, locked, tuple(contradictions.warnings(project, locked)))


def build(
    project: Project,
    engine: ContainerEngine,
    tag: str,
    *,
    platform: str = PLATFORM,
    sdk: str | None = None,
    secrets: Mapping[str, str] | None = None,
    cache: bool = True,
    say: Callable[[str], None] = lambda line: None,
    warn: Callable[[str], None] = lambda text: None,
) -> Result:
    """Build, ask the image for its schema, and label it. `warn` gets what is probably not meant,
    before the build, and `say` each line of the engine's, and what is done beside. Raises
    `ProjectError`, `RequirementsError`, `EngineError` and its `StepFailed`."""
    secrets = secrets or {}
    epoch = _epoch(project.folder)
    say(LOCKING)
    with context(
        project, platform=platform, sdk=sdk, secrets=tuple(secrets), cache=cache
    ) as prepared:
        for text in prepared.warnings:
            warn(text)
        # By its content: the name stands in the history of the image that is made from it.
        unlabelled = f"localhost/livepeer-build:{_hash(prepared.folder)}"
        try:
            built = engine.build(
                prepared.folder,
                unlabelled,
                platform=platform,
                secrets=secrets,
                epoch=epoch,
                cache=cache,
                say=say,
            )
        except StepFailed as failed:
            cause = dockerfile.cause(prepared.dockerfile, failed.step)
            raise StepFailed(failed.step, failed.output, cause) from failed
        say(READING_SCHEMA)
        schema = _schema(engine, unlabelled, project)
        labels = image_labels(project, schema)
        (prepared.folder / "labelled").mkdir()
        (prepared.folder / "labelled" / "Dockerfile").write_text(f"FROM {unlabelled}\n")
        labelled = engine.build(
            prepared.folder / "labelled",
            tag,
            platform=platform,
            labels=labels,
            epoch=epoch,
            cache=cache,
            say=lambda line: None,
        )
        engine.rename(unlabelled, f"localhost/livepeer-build:{slug(project.folder.name)}")
        image = Built(labelled.id, built.seconds + labelled.seconds, built.reused, built.steps)
        return Result(tag, image, labels, schema, prepared.locked)


def base_image(project: Project) -> str:
    """The image that it is made from: `base`, else one with `cuda`, else a slim Python."""
    manifest = project.manifest
    if manifest.base is not None:
        return manifest.base
    if manifest.cuda is not None:
        return f"nvidia/cuda:{manifest.cuda}-cudnn-runtime-ubuntu24.04"
    return f"python:{manifest.python.version}-slim"


def image_name(project: Project, given: str | None = None) -> str:
    """The tag that is built: given, or of `livepeer.yaml`, or the folder's name with the suffix
    by which runners are found in registries."""
    if given is not None:
        return given
    if project.manifest.image is not None:
        return project.manifest.image
    return f"{slug(project.folder.name)}{SUFFIX}"


def slug(text: str) -> str:
    """A text as part of an image's name."""
    kept = "".join(c if c.isascii() and c.isalnum() else "-" for c in text.lower())
    return re.sub("-+", "-", kept).strip("-") or "pipeline"


def image_labels(project: Project, schema: dict[str, Any]) -> dict[str, str]:
    """The labels of an image, from the schema that was read inside of it."""
    capacity = project.constant("capacity")
    said = {
        "id": schema.get("id"),
        "version": schema.get("version"),
        "type": schema.get("type"),
        # What the class says of itself: its environment may say otherwise, where it runs.
        "capacity": capacity if type(capacity) is int else None,
    }
    labels = {
        "org.opencontainers.image.title": said["id"],
        "org.opencontainers.image.version": said["version"],
        "org.opencontainers.image.description": str(schema.get("description") or "")[:LABEL_TEXT],
        "org.opencontainers.image.revision": _git(project.folder, "rev-parse", "HEAD"),
        **{f"{PREFIX}{name}": value for name, value in said.items()},
        f"{PREFIX}gpu": "true" if project.constant("gpu") is True else "false",
        f"{PREFIX}sdk-version": metadata.version("livepeer-runner"),
        f"{PREFIX}protocol": PROTOCOL,
        **schema_labels(schema),
    }
    return {name: str(value) for name, value in sorted(labels.items()) if value not in (None, "")}


def _schema(engine: ContainerEngine, tag: str, project: Project) -> dict[str, Any]:
    """From inside the image: only there all that the class imports is installed."""
    printed = engine.run(tag, ["livepeer", "schema", project.target])
    try:
        schema = json.loads(printed)
    except ValueError:
        schema = None
    if not isinstance(schema, dict):
        raise EngineError(f"`livepeer schema` in the image printed no schema: {printed[-500:]!r}")
    return schema


def _snapshot(project: Project) -> Path:
    """The files as they were when `prepare_models` last changed, so that the layer of the weights
    outlives changes of other code. Kept beside the pipeline."""
    kept = project.folder / OWN / "prepare"
    key = kept.with_suffix(".key")
    wanted = project.prepare_key()
    if not (kept.is_dir() and key.is_file() and key.read_text() == wanted):
        shutil.rmtree(kept, ignore_errors=True)
        for file in project.files:
            _copy(project.folder / file, kept / file)
        (project.folder / OWN / ".gitignore").write_text("*\n")
        key.write_text(wanted)
    return kept


def _hash(folder: Path) -> str:
    """Of all files below it, by name and content."""
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{file.relative_to(folder)}\0".encode())
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()[:32]


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def make_readable(context: Path) -> None:
    """Let every user read what is below a context, whatever the author's own modes are: an image
    has them, and runs as another user."""
    for path in context.rglob("*"):
        runs = path.is_dir() or os.access(path, os.X_OK)
        path.chmod(0o755 if runs else 0o644)


def _epoch(folder: Path) -> int:
    """Seconds since 1970 that stand in the image: of the last commit, so that a build can be
    repeated; without git a fixed time."""
    told = _git(folder, "log", "-1", "--format=%ct")
    return int(told) if told and told.isdigit() else 946_684_800


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
