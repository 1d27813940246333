"""The entry point of the `livepeer` command: help and versions at once, the rest by typer.

Help needs neither typer nor rich, whose imports take most of a second on a slow machine, nor does
a command that can run without them (`Command.plain`).
"""

from __future__ import annotations

import shutil
import sys
import textwrap
from typing import TYPE_CHECKING

from livepeer.trickle.cli.host import ABOUT, EPILOG, discover, panels, plain, print_versions

if TYPE_CHECKING:
    from collections.abc import Sequence

_OPTIONS = (
    ("--version", "Print the version of each Livepeer package, and exit."),
    ("--install-completion", "Install completion for the current shell."),
    ("--show-completion", "Show completion for the current shell."),
    ("-h, --help", "Show this message and exit."),
)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the `livepeer` command; ends the process with its exit code.

    0: done. 1: failed. 2: wrong usage. 130: interrupted.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        if arguments in ([], ["--help"], ["-h"]):
            print_help()
            raise SystemExit(0 if arguments else 2)
        if arguments == ["--version"]:
            print_versions()
            raise SystemExit(0)
        command = plain(arguments[0])
        if command is not None and command.run_plainly(arguments[1:]):
            raise SystemExit(0)
        from livepeer.trickle.cli.group import app  # typer and rich: only where they are needed
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
    app(args=arguments, prog_name="livepeer")


def print_help() -> None:
    """Print what `livepeer` is, its commands by panel, and its options."""
    width = shutil.get_terminal_size().columns
    tables = [(name, [(each.name, each.help) for each in group]) for name, group in panels()]
    tables.append(("Options", list(_OPTIONS)))
    edge = max(len(name) for _, rows in tables for name, _ in rows) + 4
    print(f"Usage: livepeer [OPTIONS] COMMAND [ARGS]...\n\n{textwrap.fill(ABOUT, width)}")
    for title, rows in tables:
        print(f"\n{title}:")
        for name, text in rows:
            indent = " " * edge
            print(
                textwrap.fill(
                    text,
                    max(width, edge + 20),
                    initial_indent=f"  {name}".ljust(edge),
                    subsequent_indent=indent,
                )
            )
    print(f"\n{EPILOG}")
    for home, why in discover()[1].items():
        print(f"\nThe commands of {home} cannot be loaded: {why}")
