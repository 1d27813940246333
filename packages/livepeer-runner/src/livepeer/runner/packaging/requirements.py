"""What is installed into an image: resolved by uv, to one version and hash of each package."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit

from livepeer.runner.packaging.project import Project
from livepeer.runner.packaging.reuse import key, reuse

SDK = ("livepeer-trickle", "livepeer-runner")
RESOLVE_SECONDS = 300.0
BUILD_SECONDS = 300.0
WHEEL_SECONDS = 30 * 24 * 3600.0
LOCK_SECONDS = 24 * 3600.0
"""So long the same requirements stay the same packages; `--no-cache` asks the index again."""

_NAME = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)", re.MULTILINE)

_OTHER_FILES = re.compile(rb"^\s*(?:-[rce]|--(?:req|con|edit)|[./])|file:", re.MULTILINE)


class RequirementsError(Exception):
    """The packages cannot be had; the message has uv's own words, which name the conflict."""


@dataclass(frozen=True, slots=True)
class Locked:
    """Lines for `pip install --require-hashes`: those of others, and those of the SDK."""

    others: str
    sdk: str
    versions: dict[str, str]


def uv() -> list[str]:
    """How uv is called here. Raises `RequirementsError` where it is not installed."""
    if found := shutil.which("uv"):
        return [found]
    beside = Path(sys.executable).with_name("uv")
    if beside.is_file():
        return [str(beside)]
    raise RequirementsError(
        "uv, which resolves the packages, is not installed: pip install 'livepeer-runner[dev]'"
    )


def wheels(folder: Path, source: str | None = None) -> list[Path]:
    """The SDK's own wheels for an image, in `folder`; none where the index has this version.

    `source`: `index`, or a folder with wheels; without it, what this SDK was installed from: a
    workspace's wheels are built, a wheel is taken as it is. Raises `RequirementsError`.
    """
    if source == "index":
        return []
    if source is not None:
        found = sorted(Path(source).expanduser().glob("livepeer_*.whl"))
        if not found:
            raise RequirementsError(f"there are no wheels livepeer_*.whl in {source}")
        return [Path(shutil.copy2(one, folder)) for one in found]
    made = []
    for name in SDK:
        told = metadata.distribution(name).read_text("direct_url.json")
        if told is None:
            continue
        url = urlsplit(json.loads(told)["url"])
        place = Path(unquote(url.path))
        if url.scheme == "file" and place.is_dir():
            _build_wheel(name, place, folder)
        elif url.scheme == "file" and place.is_file():
            shutil.copy2(place, folder)
        else:
            raise RequirementsError(
                f"{name} was installed from {url.scheme}://{url.hostname or ''}: say where its "
                f"wheels are, --sdk FOLDER, or --sdk index"
            )
        made += sorted(folder.glob(f"{name.replace('-', '_')}-*.whl"))
    return made


def _build_wheel(name: str, source: Path, folder: Path) -> None:
    """Of a folder of the workspace; one that was made of the same files is taken as it is."""
    files = [source / "pyproject.toml", *sorted((source / "src").rglob("*"))]
    inputs = [
        part
        for file in files
        if file.is_file() and "__pycache__" not in file.parts
        for part in (str(file.relative_to(source)).encode(), file.read_bytes())
    ]
    stem = f"{name.replace('-', '_')}-{metadata.version(name)}"
    wheel = folder / f"{stem}-py3-none-any.whl"

    def build() -> bytes:
        command = [*uv(), "build", "--quiet", "--wheel", "--out-dir", str(folder), str(source)]
        _run(command, BUILD_SECONDS)
        return wheel.read_bytes()

    wheel.write_bytes(reuse("wheel", key([stem.encode(), *inputs]), build, seconds=WHEEL_SECONDS))


def lock(project: Project, wheels: list[Path], *, platform: str, anew: bool = False) -> Locked:
    """Resolve for the image's Python and platform. Raises `RequirementsError`.

    `anew` asks the index also where the same was asked within `LOCK_SECONDS`.
    """
    python = project.manifest.python
    lines = [f"livepeer-runner=={metadata.version('livepeer-runner')}", *python.packages]
    inputs = [wheel.name.encode() + wheel.read_bytes() for wheel in wheels]
    inputs += [line.encode() for line in lines]
    if python.requirements is not None:
        file = project.folder / python.requirements
        lines.append(f"-r {file}")
        inputs.append(file.read_bytes())
        # Of files that it names in turn nothing is known here.
        anew = anew or _OTHER_FILES.search(inputs[-1]) is not None
    command = [
        *uv(),
        *("pip", "compile", "--quiet", "--generate-hashes", "--no-header", "--no-annotate"),
        *("--python-version", python.version),
        *("--python-platform", f"{_machine(platform)}-manylinux_2_28"),
    ]
    inputs += [word.encode() for word in command]
    inputs += [f"{k}={v}".encode() for k, v in sorted(os.environ.items()) if k.startswith("UV_")]
    if wheels:
        command += ["--find-links", str(wheels[0].parent)]

    def resolve() -> bytes:
        return _run([*command, "-"], RESOLVE_SECONDS, "\n".join(lines)).encode()

    text = reuse("lock", key(inputs), resolve, seconds=LOCK_SECONDS, anew=anew).decode()
    entries = re.split(r"\n(?=[A-Za-z0-9])", text.strip())
    own: list[str] = []
    others: list[str] = []
    for entry in entries:
        if entry.startswith("--"):
            continue  # --find-links and --index-url: places of this machine
        (own if entry.partition("==")[0] in SDK else others).append(entry)
    versions = {name.lower(): version for name, version in _NAME.findall(text)}
    return Locked("\n".join(others) + "\n", "\n".join(own) + "\n", versions)


def contradictions(project: Project, versions: dict[str, str]) -> list[str]:
    """What is wrong with the packages together, before hours are spent on it."""
    found = []
    if "onnxruntime" in versions and "onnxruntime-gpu" in versions:
        found.append(
            "onnxruntime and onnxruntime-gpu are both installed, and the one that comes last wins: "
            "keep one (a package of yours may bring the other)"
        )
    if "onnxruntime-gpu" in versions and not needs_gpu_libraries(versions):
        found.append(
            "onnxruntime-gpu without its CUDA libraries runs on the CPU, silently: write "
            "onnxruntime-gpu[cuda,cudnn]"
        )
    return found


def warnings(project: Project, versions: dict[str, str]) -> list[str]:
    """What is probably not meant."""
    if "torch" in versions and needs_gpu_libraries(versions) and not project.constant("gpu"):
        return [
            "torch comes with 2 GB of CUDA, but the class does not say `gpu = True`: take it from "
            "https://download.pytorch.org/whl/cpu, or say so"
        ]
    return []


def needs_gpu_libraries(versions: dict[str, str]) -> bool:
    """Whether CUDA comes with the packages."""
    return any(name.startswith("nvidia-") for name in versions)


def _machine(platform: str) -> str:
    machine = platform.split("/")[1]
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)


def _run(command: list[str], seconds: float, given: str | None = None) -> str:
    environment = {**os.environ, "NO_COLOR": "1"}
    try:
        done = subprocess.run(
            command,
            input=given,
            capture_output=True,
            text=True,
            timeout=seconds,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise RequirementsError(
            f"uv gave no answer within {seconds:g} s: is the package index reachable?"
        ) from None
    if done.returncode != 0:
        raise RequirementsError(done.stderr.strip()[-4000:] or "uv failed without a word")
    return done.stdout
