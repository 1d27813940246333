"""The commands of the `livepeer` program: how they are described, found and loaded.

A distribution brings commands by one entry point in the group `livepeer.commands`, whose value is a
tuple of `Command`. Listing them imports nothing but the module that holds the tuple, so
`livepeer --help` stays fast however heavy the commands are.
"""

from __future__ import annotations

import functools
import sys
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

ENTRY_POINTS = "livepeer.commands"
DISTRIBUTIONS = ("livepeer-trickle", "livepeer-runner", "livepeer-client")
PANELS = ("Author", "Publish", "Operate", "Call", "Transport")
"""The order of the panels in `livepeer --help`; others come last."""
ABOUT = "Run AI on the Livepeer network: write a pipeline, serve it, call it."
EPILOG = "Each command explains itself: livepeer COMMAND --help"


@dataclass(frozen=True, slots=True)
class Command:
    """One command of the `livepeer` program, described without importing it.

    `target` is `"module:attribute"`, a typer function or a `typer.Typer`; `group` is the panel of
    `livepeer --help` that lists it. Two distributions may bring halves of one command: the half
    with `options` is meant where one of these is given, or where it is the only one installed.

    `plain` is `"module:function"`: it is given the arguments before typer is imported, which takes
    longer than some commands do. It runs those that it understands, and answers False, having done
    nothing, for a line that is wrong, wants help or takes an option that it does not know.
    """

    name: str
    help: str
    target: str
    group: str
    options: tuple[str, ...] = ()
    plain: str = ""

    def meant(self, arguments: Sequence[str]) -> bool:
        """Whether one of its `options` is among the arguments."""
        given = {argument.partition("=")[0] for argument in arguments}
        return not given.isdisjoint(self.options)

    def load(self) -> Any:
        """Import the target: a function or a `typer.Typer`."""
        return _loaded(self.target)

    def run_plainly(self, arguments: Sequence[str]) -> bool:
        """Run it without typer; False where that can't be."""
        return bool(self.plain and _loaded(self.plain)(arguments))


def _loaded(target: str) -> Any:
    module, _, attribute = target.partition(":")
    return getattr(import_module(module), attribute)


@functools.cache
def discover() -> tuple[dict[str, Command], dict[str, str]]:
    """All commands by name, and the distributions whose commands could not be read, with why."""
    found: dict[str, Command] = {}
    broken: dict[str, str] = {}
    entry_points = metadata.entry_points(group=ENTRY_POINTS)
    for entry_point in sorted(entry_points, key=lambda each: each.name):
        try:
            commands: Sequence[Command] = entry_point.load()
        except (ImportError, AttributeError) as error:  # one broken package must not hide the rest
            broken[entry_point.dist.name if entry_point.dist else entry_point.name] = str(error)
            continue
        for command in commands:
            former = found.get(command.name)
            if former is None or (former.options and not command.options):
                found[command.name] = command
    return found, broken


def plain(name: str) -> Command | None:
    """A command of these distributions that runs without typer, found by their own entry points:
    to read those of everything that is installed takes longer than some need to start."""
    for distribution in DISTRIBUTIONS:
        with suppress(metadata.PackageNotFoundError, ImportError, AttributeError):
            for entry_point in metadata.distribution(distribution).entry_points.select(
                group=ENTRY_POINTS
            ):
                commands: Sequence[Command] = entry_point.load()
                for command in commands:
                    if command.name == name and command.plain:
                        return command
    return None


@functools.cache
def halves() -> dict[str, Command]:
    """The commands that are meant by their options, by name."""
    found: dict[str, Command] = {}
    for entry_point in metadata.entry_points(group=ENTRY_POINTS):
        with suppress(ImportError, AttributeError):  # which `discover` tells
            found |= {command.name: command for command in entry_point.load() if command.options}
    return found


def versions() -> dict[str, str | None]:
    """The installed version of each Livepeer distribution, None for one that is not installed."""
    result: dict[str, str | None] = {}
    for distribution in DISTRIBUTIONS:
        try:
            result[distribution] = metadata.version(distribution)
        except metadata.PackageNotFoundError:
            result[distribution] = None
    return result


def print_versions() -> None:
    """Print the version of each Livepeer distribution, and of Python."""
    for distribution, version in versions().items():
        print(f"{distribution} {version or 'not installed'}")
    print(f"python {sys.version.partition(' ')[0]}")


def panels() -> list[tuple[str, list[Command]]]:
    """The commands by panel, in the order of `livepeer --help`."""
    found: dict[str, list[Command]] = {name: [] for name in PANELS}
    for command in discover()[0].values():
        found.setdefault(command.group, []).append(command)
    return [(name, commands) for name, commands in found.items() if commands]
