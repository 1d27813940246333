"""`python -m livepeer.runner.cli.child TARGET`: a pipeline served in a process of its own.

Its parent (`reload`) hands it the listening socket. Standard input is the line from the parent:

| Line | Means |
| --- | --- |
| `files` | name the files that the pipeline was made of so far |
| `replaced` | another process serves in this one's place: end, and stay registered |
| the end of it | the parent is gone, however it went: end |

What it has to say goes, as JSON lines, to the file descriptor `LIVEPEER_CHILD_SAYS`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import os
import signal
import socket
import sys
import threading
import traceback
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from livepeer.runner.http.asgi import App, Message, Receive, Scope, Send
    from livepeer.runner.running.service import Service

LISTENER = "LIVEPEER_CHILD_LISTENER"
SAYS = "LIVEPEER_CHILD_SAYS"
TOKEN = "LIVEPEER_CHILD_TOKEN"
SUCCESSOR = "LIVEPEER_CHILD_SUCCESSOR"
REGISTERED_SECONDS = 10.0
"""What a successor's registration gets before its former leaves all the same."""
LONGEST_TRACE = 16 * 1024
"""Letters of a traceback that the parent is told: its end, which has the error."""


class Files:
    """The files that a pipeline is made of: the sources of what it imports, by now, and what was
    read while it was loaded and set up, such as its labels."""

    def __init__(self) -> None:
        self._read: set[str] | None = set()
        self._kept: set[str] = set()
        sys.addaudithook(self._audit)

    def settled(self) -> None:
        """What is read from here on is work, not what the pipeline is made of."""
        self._kept, self._read = self._read or self._kept, None

    def __call__(self) -> list[str]:
        found = (getattr(module, "__file__", None) for module in tuple(sys.modules.values()))
        modules = {file for file in found if isinstance(file, str)}
        return sorted(map(os.path.realpath, modules | self._kept | (self._read or set())))

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._read is not None and event == "open":
            path, _, flags = arguments
            if isinstance(path, str) and flags & os.O_ACCMODE == os.O_RDONLY:
                self._read.add(path)


class Traces(logging.Handler):
    """Passes on the tracebacks that are logged: whoever works on the pipeline is shown them."""

    def __init__(self, parent: Parent) -> None:
        super().__init__(logging.ERROR)
        self._parent = parent

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info is not None and record.exc_info[1] is not None:
            text = "".join(traceback.format_exception(record.exc_info[1]))
            self._parent.say("trace", trace=text[-LONGEST_TRACE:])


class Parent:
    """The line to the process that started this one."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._says = int(os.environ.pop(SAYS))
        self._service: Service | None = None
        threading.Thread(target=self._listen, name="parent", daemon=True).start()

    def serves(self, service: Service) -> None:
        """`service` is what a `replaced` is meant for."""
        self._service = service

    def say(self, event: str, **content: Any) -> None:
        line = json.dumps({"event": event, **content}) + "\n"
        try:
            os.write(self._says, line.encode())
        except OSError:  # it is gone, which `_listen` hears as well
            return

    def _listen(self) -> None:
        # Not `sys.stdin`, whose lock would hold the interpreter's own end up.
        waiting = b""
        while given := os.read(0, 4096):
            *lines, waiting = (waiting + given).split(b"\n")
            for line in lines:
                if line == b"files":
                    self.say("files", files=self._files())
                elif line == b"replaced":
                    self._replaced()
        os.kill(os.getpid(), signal.SIGTERM)

    def _replaced(self) -> None:
        if self._service is not None:
            self._service.hand_over()
        os.kill(os.getpid(), signal.SIGTERM)


@dataclass
class Served:
    """The app, with an eye on how its setup ends.

    A successor accepts no connection before it is set up: another process serves until then.
    """

    app: Starlette
    parent: Parent
    files: Files
    successor: bool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            return await self.app(scope, receive, send)
        settling: asyncio.Task[None] | None = None

        async def held(message: Message) -> None:
            nonlocal settling
            if message["type"] == "lifespan.startup.complete":
                settling = asyncio.create_task(self._settled(), name="settling")
                if self.successor:
                    await settling
            await send(message)

        try:
            await self.app(scope, receive, held)
        finally:
            if settling is not None:
                settling.cancel()

    async def _settled(self) -> None:
        service: Service = self.app.state.service
        await service.lifecycle.wait_settled()
        self.files.settled()
        if self.successor and not service.lifecycle.ready:
            self.parent.say("failed", reason=service.lifecycle.reason)
            await asyncio.Event().wait()  # the parent ends this process
        if self.successor and service.registration is not None:
            # A live runner is another one from here on: there has to be one at any time.
            with suppress(TimeoutError):
                async with asyncio.timeout(REGISTERED_SECONDS):
                    await service.registration.settled()
        self.parent.say("ready")


def main() -> None:
    files = Files()
    parent = Parent(files)
    listener = socket.socket(fileno=int(os.environ.pop(LISTENER)))
    token, successor = os.environ.pop(TOKEN), os.environ.pop(SUCCESSOR, "") != ""
    from livepeer.runner.packaging.load import LoadError, load

    # Bytecode is known by its source's size and second: of two saves in one second it would be the
    # first one's.
    written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        cls = load(sys.argv[1])
    except LoadError as error:
        if error.trace:
            print(error.trace, file=sys.stderr)
        parent.say("trace", trace=f"{error.trace}\n{error}".strip()[-LONGEST_TRACE:])
        sys.exit(f"Error: {error}")
    sys.dont_write_bytecode = written
    from livepeer.runner.serving.server import configure, serve_on
    from livepeer.runner.settings import Secret

    settings = configure()
    if settings.registration is not None:
        # One identity for all that serve in turn: an orchestrator knows one of them at a time.
        registration = dataclasses.replace(settings.registration, identity=Secret(token))
        settings = dataclasses.replace(settings, registration=registration)
    if os.environ.get("LIVEPEER_DEV"):
        quiet()
    logging.getLogger("livepeer.runner").addHandler(Traces(parent))

    def made(app: Starlette) -> App:
        parent.serves(app.state.service)
        return Served(app, parent, files, successor)

    serve_on(listener, cls, settings, made)


def quiet() -> None:
    """Under `livepeer dev`, which tells what happens by itself: the author's own log, and how
    streams end."""
    logging.getLogger("livepeer.runner").setLevel(logging.WARNING)
    logging.getLogger("livepeer.runner.live.session").setLevel(logging.INFO)


if __name__ == "__main__":
    main()
