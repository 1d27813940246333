"""What an image is, as its engine tells, and how a container of it behaves."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from livepeer.runner.doctor.diagnosis import Check
from livepeer.runner.doctor.finding import Finding, NotJudged
from livepeer.runner.doctor.subject import Subject
from livepeer.runner.packaging.labels import LabelError, PipelineLabels, canonical
from livepeer.runner.packaging.platform import PLATFORM
from livepeer.runner.targets.container import ImageConfig, TargetContainer
from livepeer.runner.targets.hosting import until_ready
from livepeer.runner.targets.image_container import ContainerProcess, TargetImage, image_instance

ROOT = ("", "0", "root")
ORPHANS = 3
LOOK_SECONDS = 0.25
REAP_SECONDS = 5.0
_NAMES = r"(?:TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|CREDENTIALS?)"
_NAMED = re.compile(rf"\b(?:\w*_)?{_NAMES}\b", re.I)
_ASSIGNED = re.compile(rf"\b((?:\w*_)?{_NAMES})=[\"']?([^\s\"'$]+)", re.I)
_SHAPES = (
    ("a token of Hugging Face", r"\bhf_[A-Za-z0-9]{20,}"),
    ("a token of GitHub", r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,})"),
    ("a token of GitLab", r"\bglpat-[\w-]{16,}"),
    ("an API key", r"\bsk-[\w-]{20,}"),
    ("a key of AWS", r"\bAKIA[0-9A-Z]{16}\b"),
    ("a private key", r"-----BEGIN [A-Z ]*PRIVATE KEY"),
    ("a name with its password in a URL", r"\bhttps?://[^/\s:@]+:[^/\s@]+@"),
)
_READY = "/ready"
_PYTHON = (
    "import sys, urllib.request; "
    "sys.exit(urllib.request.urlopen(sys.argv[1], timeout=4).status != 200)"
)


def user_findings(config: ImageConfig) -> Sequence[Finding]:
    if config.user.partition(":")[0] not in ROOT:
        return []
    return [
        Finding(
            "it runs as root",
            "write USER 10001:10001 at the end of the Dockerfile: who breaks out of it is nobody",
        )
    ]


def secret_findings(config: ImageConfig) -> Sequence[Finding]:
    fix = "hand secrets over when it runs, or as a build secret: whoever pulls the image reads this"
    return [Finding(seen, fix) for seen in dict.fromkeys(_secrets(config))]


def _secrets(config: ImageConfig) -> Iterator[str]:
    """What looks like a secret, by its name and place; never the secret itself."""
    for variable in config.environment:
        name, _, value = variable.partition("=")
        if value and (_NAMED.fullmatch(name) or _shape(value)):
            yield f"the variable {name} holds what looks like a secret"
    for name, value in config.labels.items():
        if _shape(value):
            yield f"the label {name} holds {_shape(value)}"
    for step in config.history:
        for found in _ASSIGNED.finditer(step):
            yield f"a step of its history sets {found[1]}"
        if shape := _shape(step):
            yield f"a step of its history holds {shape}"


def _shape(text: str) -> str | None:
    return next((what for what, shape in _SHAPES if re.search(shape, text)), None)


def platform_findings(config: ImageConfig) -> Sequence[Finding]:
    if config.platform == PLATFORM:
        return []
    fix = f"build it for {PLATFORM}, which is what orchestrators run: --platform {PLATFORM}"
    return [Finding(f"it is made for {config.platform}", fix)]


def label_findings(config: ImageConfig, running: object) -> Sequence[Finding]:
    """`running`: the document of `POST /schema`."""
    fix = "read the labels from the schema of the built image, as `livepeer build` does"
    try:
        labels = PipelineLabels.read(config.labels)
    except LabelError as error:
        return [Finding(str(error), fix)]
    if labels is None:
        raise NotJudged("it has no labels org.livepeer.pipeline.*: it says nothing of a pipeline")
    if not isinstance(running, dict):
        raise NotJudged("its container answers no /schema to compare its labels with")
    if labels.schema is not None and canonical(labels.schema) != canonical(running):
        return [Finding("the schema in its labels is not what /schema answers", fix)]
    said = {"id": labels.id, "version": labels.version, "type": labels.type}
    return [
        Finding(f"its label says {name} {told!r}, /schema says {running.get(name)!r}", fix)
        for name, told in said.items()
        if told is not None and told != running.get(name)
    ]


def _image(subject: Subject) -> TargetImage:
    assert subject.image is not None
    config = subject.image.config
    subject.facts.update(
        platform=config.platform, size_mb=config.size // 1_000_000, layers=config.layers
    )
    return subject.image


async def user(subject: Subject) -> Sequence[Finding]:
    return user_findings(_image(subject).config)


async def no_secrets(subject: Subject) -> Sequence[Finding]:
    return secret_findings(_image(subject).config)


async def platform(subject: Subject) -> Sequence[Finding]:
    return platform_findings(_image(subject).config)


async def labels(subject: Subject) -> Sequence[Finding]:
    return label_findings(_image(subject).config, subject.document)


async def read_only(subject: Subject) -> Sequence[Finding]:
    image = _image(subject)
    fix = "write nowhere but below /tmp, or a volume: operators run it with --read-only"
    if image.unwritable is not None:
        return [Finding(f"without a writable root it does not start: {image.unwritable}", fix)]
    if subject.kind != "batch" or subject.input is None or (await subject.first_job()).ok:
        return []
    async with image_instance(image.writable(), {}) as instance:
        await until_ready(instance, subject.patience.load)
        answer = await subject.at(instance.url).post(
            subject.route, subject.valid_input(), seconds=subject.patience.job
        )
    if not answer.ok:
        raise NotJudged("no job succeeds, with a writable root neither: see batch.answers")
    return [Finding("a job fails without a writable root", fix)]


async def offline(subject: Subject) -> Sequence[Finding]:
    fix = "put all that it needs into the image: models in a layer (prepare_models), no telemetry"
    async with image_instance(_image(subject), {}, network=False) as instance:
        process = instance.process
        assert isinstance(process, ContainerProcess)
        deadline = time.monotonic() + subject.patience.load
        while time.monotonic() < deadline:
            code = await asyncio.to_thread(lambda: process.returncode)
            if code is not None:
                return [Finding(f"without a network it ends with status {code}", fix)]
            answers = await asyncio.to_thread(_asked_within, process.container)
            if answers is None:
                raise NotJudged("nothing in the image can ask it: it has no python, wget or curl")
            if answers:
                return []
            await asyncio.sleep(LOOK_SECONDS)
    return [Finding(f"without a network it is not ready within {subject.patience.load:g} s", fix)]


def _asked_within(container: TargetContainer) -> bool | None:
    """Whether it says from within that it is ready; None where nothing in it can ask."""
    url = f"http://127.0.0.1:{container.port}"
    for path in (_READY, "/health"):
        for command in (
            ["python3", "-c", _PYTHON, url + path],
            ["python", "-c", _PYTHON, url + path],
            ["wget", "-q", "-O", "/dev/null", url + path],
            ["curl", "-sf", "-o", "/dev/null", url + path],
        ):
            done = container.execute(command)
            if done.returncode not in (126, 127):
                if done.returncode == 0:
                    return True
                break
        else:
            return None
    return False


async def reaps(subject: Subject) -> Sequence[Finding]:
    process = subject.process
    assert isinstance(process, ContainerProcess)
    pid = await asyncio.to_thread(lambda: process.pid)
    before = _zombies(pid)
    orphans = " ".join(["(true &)"] * ORPHANS).replace(") (", "); (")
    command = ["sh", "-c", f"{orphans}; exit 0"]
    done = await asyncio.to_thread(process.container.execute, command)
    if done.returncode in (126, 127):
        raise NotJudged("there is no sh in it to leave orphans")
    deadline = time.monotonic() + REAP_SECONDS
    while (left := _zombies(pid) - before) > 0:
        if time.monotonic() > deadline:
            fix = "begin with an init (tini, `docker run --init`), or wait for all children"
            return [Finding(f"its first process leaves {left} orphans that ended as they are", fix)]
        await asyncio.sleep(LOOK_SECONDS)
    return []


def _zombies(parent: int) -> int:
    """Ended children of a process that nobody has waited for. Raises `NotJudged`."""
    if not parent or not Path(f"/proc/{parent}/stat").exists():
        raise NotJudged("its processes are not seen from here")
    found = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            rest = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        found += rest[0] == "Z" and int(rest[1]) == parent
    return found


_check = partial(Check, need="any", by="image")

CHECKS = (
    _check("image.user", "it does not run as root", "should", examine=user),
    _check("image.read-only", "it needs no writable root", "should", examine=read_only),
    _check("image.secrets", "no secret is in it", "must", examine=no_secrets),
    _check("image.labels", "its labels are what it is", "should", examine=labels),
    _check("image.platform", f"it is made for {PLATFORM}", "should", examine=platform),
    _check("image.offline", "it runs without a network", "should", examine=offline, slow=True),
    _check("image.reaps", "orphans are reaped", "should", examine=reaps),
)
