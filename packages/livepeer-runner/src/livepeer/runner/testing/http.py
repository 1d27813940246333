"""A pipeline served on the loopback, and a client for it."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import httpx
from starlette.applications import Starlette

from livepeer.runner.author.files import File, Image
from livepeer.runner.author.jsonable import plain
from livepeer.runner.author.pipeline import PipelineBase
from livepeer.runner.local.host import check_settled
from livepeer.runner.running.lifecycle import State
from livepeer.runner.running.service import Service
from livepeer.runner.serving.app import make_app
from livepeer.runner.serving.listener import bind
from livepeer.runner.serving.server import run, server_config, uvicorn_server
from livepeer.runner.settings import Settings


class CallFailed(Exception):
    """The pipeline answered with an error; `status`, `type`, `message`, `fields` as it sent it.

    `code` is its `type`: `livepeer explain CODE` says more.
    """

    def __init__(self, status: int, error: dict[str, Any]) -> None:
        self.status = status
        self.type: str = error.get("type", "")
        self.message: str = error.get("message", "")
        self.fields: list[dict[str, str]] = error.get("fields", [])
        self.code = self.type
        super().__init__(f"{status} {self.type}: {self.message}")


class PipelineClient(httpx.Client):
    """An `httpx.Client` whose base URL is the pipeline, with its two calls made short."""

    service: Service

    def predict(self, **input: Any) -> Any:
        """The result: JSON decoded, a file as bytes, a stream as the list of its events.

        A file of the input is a `Path`, bytes, an open file, a picture of Pillow, or an `Image` and
        its like; arrays of numpy are lists. Raises `CallFailed` for an answer that is an error.
        """
        response = self.post("/predict", json=_as_json(input))
        kind = response.headers.get("content-type", "").split(";")[0]
        if response.is_error:
            raise _failure(response.status_code, response.content)
        if kind == "text/event-stream":
            return list(_payloads(response.text.split("\n")))
        return response.json() if kind == "application/json" else response.content

    def events(self, **input: Any) -> Iterator[Any]:
        """The events of a stream, as they come. Closing the iterator leaves the stream.

        Raises `CallFailed` for an error, also in the middle.
        """
        with self.stream("POST", "/predict", json=_as_json(input)) as response:
            if response.is_error:
                raise _failure(response.status_code, response.read())
            yield from _payloads(response.iter_lines())


@contextmanager
def client(
    cls: type[PipelineBase], *, settings: Settings | None = None, timeout: float = 30.0
) -> Iterator[PipelineClient]:
    """Serve `cls` for the length of the block and give a client of it, once it is ready.

    Without `settings` the environment's are taken, but no orchestrator is registered with. Raises
    `RuntimeError` with the reason where setup failed, or took longer than `timeout` seconds.
    """
    if settings is None:
        settings = dataclasses.replace(Settings.from_env(), registration=None)
    with LocalServer(make_app(cls, settings)) as server:
        server.wait_settled(timeout)
        check_settled(server.service, timeout)
        with PipelineClient(base_url=server.url, timeout=timeout, trust_env=False) as connected:
            connected.service = server.service
            yield connected


class LocalServer:
    """An app of `make_app` behind a real server in a thread: a context manager with `url`."""

    def __init__(self, app: Starlette) -> None:
        self.service: Service = app.state.service
        self._listener = bind("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._config = server_config(app)
        self._server = uvicorn_server(self._config)
        self._settled = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="local-server", daemon=True)

    def __enter__(self) -> LocalServer:
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop as at a SIGTERM, and wait for it. Safe to call again."""
        self._server.should_exit = True
        self._thread.join(self.service.settings.limits.drain_timeout + 30)
        if self._thread.is_alive():
            raise RuntimeError("the server did not stop")

    @property
    def tasks(self) -> int:
        """How many tasks its event loop has: after work it has no more than before."""

        async def count() -> int:
            return len(asyncio.all_tasks())

        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(count(), self._loop).result(10)

    def wait_settled(self, timeout: float) -> State:
        """Wait until setup is over, and say how it ended."""
        self._settled.wait(timeout)
        return self.service.lifecycle.state

    def _run(self) -> None:
        run(self._serve(), self._config)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        watching = asyncio.create_task(self._watch())
        try:
            await self._server.serve(sockets=[self._listener])
        finally:
            watching.cancel()
            self._settled.set()

    async def _watch(self) -> None:
        await self.service.lifecycle.wait_settled()
        self._settled.set()


def _payloads(lines: Any) -> Iterator[Any]:
    """Events decoded, up to `[DONE]`. Progress is left out; an error event raises."""
    name, data = "", []
    for line in lines:
        if line.startswith("event:"):
            name = line[6:].strip()
        elif line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif not line and data:
            text = "".join(data)
            if text == "[DONE]":
                return
            if name == "error":
                raise _failure(200, text.encode())
            if name != "progress":
                yield json.loads(text)
            name, data = "", []


def _failure(status: int, body: bytes) -> CallFailed:
    try:
        error = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        error = {"message": body[:500].decode("utf-8", "replace")}
    return CallFailed(status, error)


def _as_json(value: Any) -> Any:
    """The input as JSON: a path, bytes or a picture become the content of a file.

    Raises `ValueError`, with the key, for what is neither a file nor JSON.
    """
    return plain(_files_as_text(value))


def _files_as_text(value: Any) -> Any:
    if isinstance(value, File):
        return value.data_uri() if value.is_fetched else value.url
    if isinstance(value, os.PathLike | bytes | bytearray | memoryview):
        return File(value).data_uri()
    if isinstance(value, io.IOBase):
        content = value.read()
        return File(content.encode() if isinstance(content, str) else content).data_uri()
    if _is_pillow(value):
        return Image.from_pil(value).data_uri()
    if isinstance(value, Mapping):
        return {key: _files_as_text(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_files_as_text(child) for child in value]
    return value


def _is_pillow(value: Any) -> bool:
    """Without importing Pillow, which may not be there."""
    return any(
        cls.__module__ == "PIL.Image" and cls.__name__ == "Image" for cls in type(value).__mro__
    )
