"""`docs/architecture.md` is a map: what it names is there, and each room is on it."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/architecture.md").read_text("utf-8")
PICTURE = TEXT.split("```")[1]
DISTRIBUTIONS = ("runner", "client", "trickle")
SOURCES = [ROOT / f"packages/livepeer-{name}/src/livepeer" for name in DISTRIBUTIONS]
PLACES = [
    ROOT,
    *(place / part for place in SOURCES for part in ("", *DISTRIBUTIONS, "trickle/media")),
    *(ROOT / f"packages/livepeer-{name}" for name in DISTRIBUTIONS),
    *(ROOT / f"packages/livepeer-runner/src/livepeer/runner/{part}" for part in ("author", "cli")),
]
ELSEWHERE = {"packages/livepeer-NAME/src/livepeer/NAME", "packages/livepeer-NAME/tests"}


def test_every_path_and_module_that_the_map_names_is_there() -> None:
    spans = set(re.findall(r"`([^`\n]+)`", TEXT.replace(PICTURE, "")))
    paths = {span.rstrip("/") for span in spans if re.fullmatch(r"[\w./*-]+(/|\.py|\.toml)", span)}
    paths |= {span for span in spans if re.fullmatch(r"[\w-]+(/[\w.*-]+)+", span)}
    modules = {span for span in spans if re.fullmatch(r"[a-z_]+(\.[a-z_]+)+", span)} - paths
    assert len(paths) > 40 and len(modules) > 30
    missing = [each for each in sorted(paths - ELSEWHERE) if not _there(each)]
    missing += [each for each in sorted(modules) if not _is_module(each)]
    assert missing == []


def test_every_room_is_in_the_picture() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    rooms = {
        room.strip()
        for contract in contracts["contracts"]
        if contract["name"] in [f"{name}: rooms" for name in DISTRIBUTIONS]
        for layer in contract["layers"]
        for room in layer.split("|")
    }
    assert len(rooms) > 40
    assert [room for room in sorted(rooms) if not re.search(rf"\b{room}\b", PICTURE)] == []


def _there(path: str) -> bool:
    return any((place / path).exists() or list(place.glob(path)) for place in PLACES)


def _is_module(name: str) -> bool:
    """A module, or what stands in one: `gw.live` and settings of the tools are no modules."""
    if name.startswith(("gw.", "livepeer.")):
        return True
    path = name.replace(".", "/")
    parent, _, last = path.rpartition("/")
    return (
        _there(path)
        or _there(f"{path}.py")
        or any(
            re.search(rf"\b{last}\b", file.read_text("utf-8"))
            for place in PLACES
            if (file := place / f"{parent}.py").is_file()
        )
    )
