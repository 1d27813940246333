"""`python -m livepeer.runner.cli.child TARGET`: a pipeline served in a process of its own.

Standard input is the line to the process that started it: when that ends, however it ended, so does
this one.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading


def end_with_parent() -> None:
    """Stop, as by SIGTERM, at the end of standard input."""

    def watch() -> None:
        # Not `sys.stdin`, whose lock would hold the interpreter's own end up.
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def main() -> None:
    end_with_parent()
    from livepeer.runner.cli.load import LoadError, load

    try:
        cls = load(sys.argv[1])
    except LoadError as error:
        if error.trace:
            print(error.trace, file=sys.stderr)
        sys.exit(f"Error: {error}")
    from livepeer.runner.server import serve

    if os.environ.get("LIVEPEER_DEV"):
        quiet()
    serve(cls)


def quiet() -> None:
    """Under `livepeer dev`, which tells what happens by itself: the author's own log, and how
    streams end."""
    logging.getLogger("livepeer.runner").setLevel(logging.WARNING)
    logging.getLogger("livepeer.runner.live.session").setLevel(logging.INFO)


if __name__ == "__main__":
    main()
