"""`python -m livepeer.runner.targets.child FD PIPELINE`: serves a pipeline on a listening socket.

It ends once its standard input does: its parent is gone.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading


def main() -> None:
    """Serve the pipeline on the listening socket that the descriptor is."""
    listener = socket.socket(fileno=int(sys.argv[1]))
    threading.Thread(target=_watch, name="parent", daemon=True).start()
    from livepeer.runner.packaging.load import LoadError, load

    try:
        cls = load(sys.argv[2])
    except LoadError as error:
        sys.exit(f"{error.trace}\n{error}".strip())
    from livepeer.runner.serving.server import configure, serve_on

    serve_on(listener, cls, configure())


def _watch() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
