"""The host of the `livepeer` command: finds commands, lists them, loads the one that is asked for.

A distribution brings commands by one entry point in the group `livepeer.commands`, whose value is a
tuple of `Command`. Listing them imports nothing but the module that holds the tuple, so
`livepeer --help` stays fast however heavy the commands are.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

ENTRY_POINTS = "livepeer.commands"
DISTRIBUTIONS = ("livepeer-trickle", "livepeer-runner", "livepeer-client")


@dataclass(frozen=True, slots=True)
class Command:
    """One command of the `livepeer` program, described without importing it.

    `target` is `"module:attribute"`, a typer function or a `typer.Typer`; `group` is the panel of
    `livepeer --help` that lists it.
    """

    name: str
    help: str
    target: str
    group: str

    def load(self) -> Any:
        """Import the target: a function or a `typer.Typer`."""
        module, _, attribute = self.target.partition(":")
        return getattr(import_module(module), attribute)


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
            found.setdefault(command.name, command)
    return found, broken


def versions() -> dict[str, str | None]:
    """The installed version of each Livepeer distribution, None for one that is not installed."""
    result: dict[str, str | None] = {}
    for distribution in DISTRIBUTIONS:
        try:
            result[distribution] = metadata.version(distribution)
        except metadata.PackageNotFoundError:
            result[distribution] = None
    return result


def main(argv: Sequence[str] | None = None) -> None:
    """Run the `livepeer` command; ends the process with its exit code.

    0: done. 1: failed. 2: wrong usage. 130: interrupted.
    """
    try:
        from livepeer.trickle.cli import group
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich"):
            raise
        print(
            "The livepeer command needs typer and rich: pip install 'livepeer-trickle[cli]'",
            file=sys.stderr,
        )
        raise SystemExit(1) from None
    except KeyboardInterrupt:  # in the middle of an import: not worth a traceback
        raise SystemExit(130) from None
    group.app(args=None if argv is None else list(argv), prog_name="livepeer")
