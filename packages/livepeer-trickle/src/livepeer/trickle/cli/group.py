"""The top-level command group, on typer: lazy, and clear about what is not installed."""

from __future__ import annotations

import difflib
import logging
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from livepeer.trickle.cli import console, host


class Group(TyperGroup):
    """Lists commands from their descriptions, and imports a command only when it is called."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.found, self.broken = host.discover()

    def list_commands(self, ctx: Any) -> list[str]:
        order = {"Author": 0, "Operate": 1, "Call": 2, "Transport": 3}
        return sorted(self.found, key=lambda name: order.get(self.found[name].group, len(order)))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """What `--help` and shell completion need to know of a command; it cannot be run."""
        command = self.found.get(cmd_name)
        if command is None:
            return None
        return TyperCommand(name=command.name, help=command.help, rich_help_panel=command.group)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The real command: the only place that imports one."""
        name = args[0]
        command = self.found.get(name)
        if command is None:
            return self._explain_absence(ctx, name)
        try:
            return name, as_click(command), args[1:]
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            if missing == "livepeer":
                raise
            ctx.fail(
                f"`livepeer {name}` needs the package {missing!r}, which is not installed. "
                f"Install it, or reinstall the package that brings `livepeer {name}`."
            )

    def _explain_absence(self, ctx: Any, name: str) -> None:
        near = difflib.get_close_matches(name, self.found, n=1)
        told = f"there is no command {name!r} here" + (f": did you mean {near[0]}?" if near else "")
        reasons = [f"those of {home} cannot be loaded: {why}" for home, why in self.broken.items()]
        missing = [home for home, version in host.versions().items() if version is None]
        if missing:
            reasons.append(f"more come with {' and '.join(missing)}: pip install {missing[0]}")
        ctx.fail("; ".join([told, *reasons]))


def as_click(command: host.Command) -> Any:
    """The click command behind a description, under the name that it describes."""
    target = command.load()
    if not isinstance(target, typer.Typer):
        function = target
        target = typer.Typer(add_completion=False, rich_markup_mode="rich")
        target.command(name=command.name)(function)
    result = typer.main.get_command(target)
    result.name = command.name
    return result


app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_show_locals=False,  # locals may hold secrets
)


def print_versions(wanted: bool) -> None:
    if wanted:
        for distribution, version in host.versions().items():
            print(f"{distribution} {version or 'not installed'}")
        print(f"python {sys.version.partition(' ')[0]}")
        raise typer.Exit


@app.callback(epilog="Each command explains itself: livepeer COMMAND --help")
def livepeer(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=print_versions,
            is_eager=True,
            help="Print the version of each Livepeer package, and exit.",
        ),
    ] = False,
) -> None:
    """Run AI on the Livepeer network: write a pipeline, serve it, call it."""
    if logging.lastResort is not None:  # where a command has no log of its own
        logging.lastResort.setFormatter(console.PrintableFormatter())
