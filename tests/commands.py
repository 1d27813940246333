"""Runs `livepeer` commands for tests: processes, forked from one that has imported what they need.

A command imports for a second and works for a tenth of one, and the tests run hundreds.

    commands.py serve SOCKET            the process that forks, until its parent is gone
    commands.py run SOCKET ARGUMENT...  a command in this process's folder, with its environment,
                                        its input and output; ends with the command's exit status

The fixture `commands` of the root `conftest.py` starts the first and gives the second. A forked
command gets no signals: what is told by one is started as a process of its own.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import socket
import sys

LARGEST = 1 << 20
"""Bytes of a request: arguments, folder and environment as JSON."""


def run(path: str, arguments: list[str]) -> int:
    """Have the command run; its exit status."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        request = json.dumps([arguments, os.getcwd(), dict(os.environ)])
        socket.send_fds(connection, [request.encode()], [0, 1, 2])
        connection.shutdown(socket.SHUT_WR)
        return connection.recv(1)[0]


def serve(path: str) -> None:
    """Return in each forked process, ready to be the command, and never here."""
    import numpy  # noqa: F401
    import typer._adapters
    import typer.rich_utils  # noqa: F401

    from livepeer.client import Gateway  # noqa: F401
    from livepeer.runner import create_app  # noqa: F401
    from livepeer.runner.testing import run_live  # noqa: F401
    from livepeer.trickle.cli.host import discover
    from livepeer.trickle.media import decode, encode  # noqa: F401

    for command in discover()[0].values():
        command.load()
    # A collection writes to every object it looks at: each forked process would copy the memory
    # that it shares with this one, which took two thirds of its time.
    gc.collect()
    gc.freeze()
    parent = os.getppid()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        listener.settimeout(1.0)
        print("ready", flush=True)
        while os.getppid() == parent:
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            with connection:
                if os.fork() == 0:
                    listener.close()
                    return keep(connection)
        os._exit(0)


def keep(connection: socket.socket) -> None:
    """Fork the command, where this returns, and send its exit status once it has ended."""
    request, fds, _, _ = socket.recv_fds(connection, LARGEST, 3)
    while more := connection.recv(LARGEST):
        request += more
    process = os.fork()
    if process:
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        connection.sendall(bytes([status % 256]))
        os._exit(0)
    connection.close()
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
        os.close(fd)
    arguments, folder, environment = json.loads(request)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[1:] = arguments


if __name__ == "__main__":
    role, path, *arguments = sys.argv[1:]
    if role == "run":
        sys.exit(run(path, arguments))
    serve(path)
    from livepeer.trickle.cli import main

    main()
