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

_NEEDED_BY = re.compile(r"#(?: +via)? +(?!via$)([a-z0-9][a-z0-9._-]*)(?:\[[^]]*\])?$", re.MULTILINE)
"""Of uv's comments below a package: `# via numpy`, or a line for each."""
_FROM_SOURCE = "# only as source: "
_WITHOUT_WHEEL = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==\S+ has no (?:usable )?wheels")

_OTHER_FILES = re.compile(rb"^\s*(?:-[rce]|--(?:req|con|edit)|[./])|file:", re.MULTILINE)


_INDEX = re.compile(r"^\s*(-i|--index-url|--extra-index-url)[=\s]\s*(https?://\S+)", re.MULTILINE)
"""An index that an author's own lines name."""


class RequirementsError(Exception):
    """The packages cannot be had; the message has uv's own words, which name the conflict."""

    code = "requirements"


@dataclass(frozen=True, slots=True)
class Locked:
    """Lines for `pip install --require-hashes`: those of others, after the indexes that the author
    names for them, and those of the SDK."""

    others: str
    sdk: str
    versions: dict[str, str]
    wanted_by: dict[str, tuple[str, ...]]
    """Packages that need each of them; none for what the author has written down."""
    from_source: str | None
    """One that has no wheel for the image's Python; None where all have."""

    @property
    def has_cuda(self) -> bool:
        """Whether CUDA comes with the packages."""
        return any(name.startswith("nvidia-") for name in self.versions)


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
    command = [
        *uv(),
        *("pip", "compile", "--quiet", "--generate-hashes", "--no-header"),
        *("--python-version", python.version),
        *("--python-platform", f"{_machine(platform)}-manylinux_2_28"),
    ]
    inputs += [word.encode() for word in command]
    indexes = _indexes("\n".join(python.packages))
    inputs += [f"{k}={v}".encode() for k, v in sorted(os.environ.items()) if k.startswith("UV_")]
    if wheels:
        command += ["--find-links", str(wheels[0].parent)]
    command.append("-")
    if python.requirements is not None:
        file = project.folder / python.requirements
        command.append(str(file))
        inputs.append(file.read_bytes())
        indexes += _indexes(inputs[-1].decode("utf-8", "replace"))
        # Of files that it names in turn nothing is known here.
        anew = anew or _OTHER_FILES.search(inputs[-1]) is not None

    def resolve() -> bytes:
        text = _run(command, RESOLVE_SECONDS, "\n".join(lines))
        return f"{text}{_FROM_SOURCE}{_from_source(command, indexes, text)}\n".encode()

    text = reuse("lock", key(inputs), resolve, seconds=LOCK_SECONDS, anew=anew).decode()
    text, _, built = text.rpartition(_FROM_SOURCE)
    own: list[str] = []
    others: list[str] = []
    wanted_by: dict[str, tuple[str, ...]] = {}
    for entry in re.split(r"\n(?=[A-Za-z0-9])", text.strip()):
        if entry.startswith("--"):
            continue  # --find-links and --index-url: places of this machine
        kept = [line for line in entry.splitlines() if not line.lstrip().startswith("#")]
        name = entry.partition("==")[0].lower()
        (own if name in SDK else others).append("\n".join(kept))
        wanted_by[name] = tuple(_NEEDED_BY.findall(entry))
    versions = {name.lower(): version for name, version in _NAME.findall(text)}
    return Locked(
        "\n".join([*indexes, *others]) + "\n",
        "\n".join(own) + "\n",
        versions,
        wanted_by,
        built.strip() or None,
    )


def _indexes(text: str) -> list[str]:
    """The options by which these lines name an index, for the image, which knows no other than its
    base does. Raises `RequirementsError` for one with a password: a layer would keep it."""
    found = []
    for option, url in _INDEX.findall(text):
        if "@" in urlsplit(url).netloc or "${" in url:
            raise RequirementsError(
                f"the index at {url.rpartition('@')[2][:200]} is named with a password, which a "
                f"layer of the image would keep: put its wheels where none is asked for"
            )
        found.append(f"{'--index-url' if option == '-i' else option}={url}")
    return found


def _from_source(command: list[str], indexes: list[str], locked: str) -> str:
    """The name of one that is there as source alone; empty where there is none. uv takes these
    without a word, and the image's build ends where it has no compiler for them."""
    pins = "\n".join(f"{name}=={version}" for name, version in _NAME.findall(locked))
    try:
        _run(
            [*command[: command.index("-")], *indexes, "--no-build", "--no-deps", "-"],
            RESOLVE_SECONDS,
            pins,
        )
    except RequirementsError as error:
        found = _WITHOUT_WHEEL.search(str(error))
        return found[1] if found else ""
    return ""


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
