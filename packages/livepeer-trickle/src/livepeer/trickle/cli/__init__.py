"""The `livepeer` command.

One host for the commands of every installed Livepeer distribution, in the lowest of them, since two
distributions must never install the same script. See `livepeer.trickle.cli.host` for how a
distribution brings commands of its own.
"""

from __future__ import annotations

try:
    from livepeer.trickle.cli.entry import main
    from livepeer.trickle.cli.host import Command
except KeyboardInterrupt:  # Ctrl-C before the command has begun: not worth a traceback
    raise SystemExit(130) from None

__all__ = ["Command", "commands", "main"]

commands = (
    Command(
        name="explain",
        help="Explain an error code: cause, fix, example.",
        target="livepeer.trickle.cli.explain:app",
        group="Author",
    ),
    Command(
        name="trickle",
        help="Debug a live channel: serve, publish, subscribe and inspect trickle streams.",
        target="livepeer.trickle.cli.trickle:app",
        group="Transport",
    ),
    Command(
        name="docs",
        help="Print the manual, offline.",
        target="livepeer.trickle.cli.docs:app",
        group="Author",
    ),
)
