"""Process 1 of a container: its kernel hands it every orphan, and none of its signals' defaults."""

from __future__ import annotations

import os
import signal
import sys

_FORWARDED = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")


def split() -> None:
    """Return in a child, which does the work; stay behind as the init of both.

    To be called before there are threads, and before a pipeline is imported: what has touched a
    GPU can't be forked. Does nothing where this is not process 1.
    """
    if os.getpid() == 1:
        become_init()


def become_init() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    worker = os.fork()
    if worker == 0:
        os.setpgid(0, 0)  # else a Ctrl-C of the terminal comes twice, which ends it at once
        return
    for name in _FORWARDED:
        signal.signal(getattr(signal, name), lambda number, _: _forward(worker, number))
    while True:
        ended, status = os.wait()
        if ended == worker:
            code = os.waitstatus_to_exitcode(status)
            if code < 0:
                sys.stderr.write(f"the server was ended by {signal.Signals(-code).name}\n")
                sys.stderr.flush()
            os._exit(code if code >= 0 else 128 - code)


def _forward(worker: int, number: int) -> None:
    try:
        os.kill(worker, number)
    except ProcessLookupError:
        pass  # it has just ended
