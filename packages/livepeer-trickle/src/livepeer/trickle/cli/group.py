"""The top-level command group, on typer: lazy, and clear about what is not installed."""

from __future__ import annotations

import difflib
import logging
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from livepeer.trickle.cli.console import PrintableFormatter
from livepeer.trickle.cli.host import (
    ABOUT,
    EPILOG,
    Command,
    discover,
    halves,
    panels,
    print_versions,
    versions,
)


class CommandGroup(TyperGroup):
    """Lists commands from their descriptions, and imports a command only when it is called."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.found, self.broken = discover()

    def list_commands(self, ctx: Any) -> list[str]:
        return [command.name for _, commands in panels() for command in commands]

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
        if (half := halves().get(name)) is not None and half.meant(args):
            command = half
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
        missing = [home for home, version in versions().items() if version is None]
        if missing:
            reasons.append(f"more come with {' and '.join(missing)}: pip install {missing[0]}")
        ctx.fail("; ".join([told, *reasons]))


def as_click(command: Command) -> Any:
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
    cls=CommandGroup,
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_show_locals=False,  # locals may hold secrets
)


def _versions(wanted: bool) -> None:
    if wanted:
        print_versions()
        raise typer.Exit


@app.callback(help=ABOUT, epilog=EPILOG)
def livepeer(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_versions,
            is_eager=True,
            help="Print the version of each Livepeer package, and exit.",
        ),
    ] = False,
) -> None:
    if logging.lastResort is not None:  # where a command has no log of its own
        logging.lastResort.setFormatter(PrintableFormatter())
