"""A registry whose answers a test writes, and Debian's own, where it is installed."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def digest_of(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


@dataclass
class ScriptedRegistry:
    """Serves what it was given below /v2/; `before` may answer in its place."""

    host: str = ""
    files: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    seen: list[web.Request] = field(default_factory=list)
    before: Answer | None = None

    def put(self, path: str, content: Any, kind: str = "application/octet-stream") -> str:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.files[path] = (body, kind)
        return digest_of(body)

    def image(
        self, repository: str = "me/app", tag: str = "v1", labels: dict[str, str] | None = None
    ) -> str:
        """An image of two layers; answers its digest."""
        config = {"os": "linux", "architecture": "amd64", "config": {"Labels": labels or {}}}
        body = json.dumps(config).encode()
        self.put(f"{repository}/blobs/{digest_of(body)}", body)
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"digest": digest_of(body), "size": len(body)},
            "layers": [{"digest": digest_of(bytes([n])), "size": 1000 + n} for n in range(2)],
        }
        digest = self.put(f"{repository}/manifests/{tag}", manifest, MANIFEST)
        self.put(f"{repository}/manifests/{digest}", manifest, MANIFEST)
        return digest

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request)
        if self.before is not None:
            with suppress(LookupError):  # it has nothing to say of this one
                return await self.before(request)
        path = request.path.removeprefix("/v2/")
        if not path:
            return web.Response(text="{}")
        if path not in self.files:
            errors = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}
            return web.json_response(errors, status=404)
        body, kind = self.files[path]
        return web.Response(body=body, headers={"Content-Type": kind})


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedRegistry]:
    registry = ScriptedRegistry()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", registry.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    registry.host = f"127.0.0.1:{port}"
    try:
        yield registry
    finally:
        await runner.cleanup()


@dataclass(frozen=True)
class DebianRegistry:
    host: str
    folder: Path


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DebianRegistry]:
    """`docker-registry` of Debian, on loopback, with the user `me` and the password `s3cret`."""
    if missing := [name for name in ("docker-registry", "htpasswd") if not shutil.which(name)]:
        pytest.skip(f"not run: needs {' and '.join(missing)} (apt-get install)")
    folder = tmp_path_factory.mktemp("registry")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    subprocess.run(
        ["htpasswd", "-Bbc", folder / "htpasswd", "me", "s3cret"], check=True, capture_output=True
    )
    config = folder / "config.yml"
    config.write_text(
        f"version: 0.1\n"
        f"storage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n"
        f"auth: {{htpasswd: {{realm: here, path: {folder}/htpasswd}}}}\n"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", config], stdout=log, stderr=log)
    try:
        asyncio.run(_listens(port))
        yield DebianRegistry(f"127.0.0.1:{port}", folder)
    finally:
        process.terminate()
        process.wait(10)


async def _listens(port: int) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return
