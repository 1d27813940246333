"""`livepeer skills`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from livepeer.trickle.cli.console import fail, note

app = typer.Typer(add_completion=False, rich_markup_mode="rich", no_args_is_help=True)

EPILOG = """Examples:

livepeer skills install claude

livepeer skills install codex --here

livepeer skills install cursor --dry-run

Exit codes: 0 it is there, 1 it was refused and nothing is changed."""

AT_HOME: Final = {
    "claude": ".claude/skills",
    "cursor": ".cursor/skills",
    "codex": ".agents/skills",
    "vscode": ".copilot/skills",
}
"""Where each program looks below the home folder. Within a project all but Claude Code read
`.agents/skills`."""
IN_PROJECT: Final = {"claude": ".claude/skills"}


@app.callback(epilog=EPILOG)
def skills() -> None:
    """What coding agents know of Livepeer without being told: a skill, as agentskills.io has it."""


@app.command(epilog=EPILOG)
def install(
    host: Annotated[
        Literal["claude", "cursor", "codex", "vscode"],
        typer.Argument(help="The agent's program."),
    ],
    here: Annotated[
        bool, typer.Option("--here", help="For this folder alone; else for all that you do.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be written; change nothing.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace one that differs from this version's.")
    ] = False,
) -> None:
    """Give an agent's program the skill of writing pipelines: one file, SKILL.md.

    A file that is there and differs, because you changed it or it is of another version, is left
    as it is without --force.
    """
    from livepeer.runner.cli.templates import SKILL, agents
    from livepeer.trickle.cli.mcp_hosts import CannotInstall, replace_file

    text = agents({})[SKILL]
    folder = IN_PROJECT.get(host, ".agents/skills") if here else AT_HOME[host]
    base = Path.cwd() if here else Path.home()
    path = base / folder / Path(SKILL).parent.name / "SKILL.md"
    try:
        before = path.read_bytes() if path.exists() else None
        if before == text.encode():
            note(f"{path}: it was there already")
            return
        if before is not None and not force:
            raise CannotInstall(f"{path} differs from this version's: --force replaces it")
        if dry_run:
            note(f"{path}: would be {'written' if before is None else 'replaced'}")
            return
        replace_file(path, text)
    except OSError as error:
        fail(f"{path}: {error.strerror}", explain=CannotInstall.code)
    except CannotInstall as error:
        fail(error)
    note(f"{path}: {'written' if before is None else 'replaced'}")
