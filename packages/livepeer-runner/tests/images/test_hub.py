"""The page on Docker Hub: what is sent, and that nothing there fails a push."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from livepeer.runner.packaging.hub import BY_HAND, LONG, SHORT, describe, readme, short
from livepeer.runner.packaging.registry.reference import ImageReference

REFERENCE = ImageReference.parse("docker.io/me/sentiment-livepeer-runner")
SCHEMA = {"id": "sentiment", "description": "Tell whether a text is positive or negative."}
TOKEN = "dckr_pat_0123456789"
LOGIN = {"DOCKERHUB_USERNAME": "me", "DOCKERHUB_TOKEN": TOKEN}


class Hub:
    """Answers as Hub's API is described."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any, str | None]] = []
        self.status = 200
        self.body: Any = {}
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        content = await request.json()
        self.asked.append(
            (request.method, request.path, content, request.headers.get("Authorization"))
        )
        if request.path == "/v2/auth/token":
            if content != {"identifier": "me", "secret": TOKEN}:
                return web.json_response({"message": "no"}, status=401)
            return web.json_response({"access_token": "jwt"})
        if isinstance(self.body, bytes):
            return web.Response(body=self.body, status=self.status)
        return web.json_response(self.body, status=self.status)


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    it = Hub()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", it.answer)
    async with TestServer(app) as server:
        it.url = str(server.make_url("")).rstrip("/")
        yield it


async def test_the_page_gets_a_line_and_the_readme(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# Sentiment\n")
    said = await describe(REFERENCE, SCHEMA, tmp_path, api=hub.url, environ=LOGIN)
    assert said == "https://hub.docker.com/r/me/sentiment-livepeer-runner tells what the image is"
    method, path, content, authorization = hub.asked[1]
    assert (method, path) == ("PATCH", "/v2/namespaces/me/repositories/sentiment-livepeer-runner")
    assert authorization == "Bearer jwt"
    assert content == {
        "description": "Tell whether a text is positive or negative. (livepeer-runner)",
        "full_description": "# Sentiment\n",
    }


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (403, {"message": "insufficient scope"}, "answered 403: insufficient scope"),
        (404, {"detail": "no such\nrepository"}, "answered 404: no such"),
        (500, b"<html>", "answered 500"),
        (200, b"x" * 100_000, "was not changed (its answer has no end)"),
    ],
)
async def test_what_hub_refuses_is_a_sentence(
    hub: Hub, tmp_path: Path, status: int, body: Any, says: str
) -> None:
    hub.status, hub.body = status, body
    said = await describe(REFERENCE, SCHEMA, tmp_path, api=hub.url, environ=LOGIN)
    assert says in said and BY_HAND in said and "\n" not in said and TOKEN not in said


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"DOCKERHUB_USERNAME": "me", "DOCKERHUB_TOKEN": "of-an-organization"}, "personal access"),
        ({}, "set DOCKERHUB_USERNAME and DOCKERHUB_TOKEN"),
    ],
)
async def test_a_login_that_does_not_do_is_told(
    hub: Hub, tmp_path: Path, environ: dict[str, str], says: str
) -> None:
    said = await describe(REFERENCE, SCHEMA, tmp_path, api=hub.url, environ=environ)
    assert says in said
    assert all(method != "PATCH" for method, *_ in hub.asked)


async def test_nobody_at_the_address_and_another_registry_are_told(
    tmp_path: Path, unused_tcp_port: int
) -> None:
    nowhere = f"http://127.0.0.1:{unused_tcp_port}"
    assert BY_HAND in await describe(REFERENCE, SCHEMA, tmp_path, api=nowhere, environ=LOGIN)
    other = ImageReference.parse("ghcr.io/me/app")
    assert "ghcr.io is not Docker Hub" in await describe(other, SCHEMA, tmp_path, environ=LOGIN)


def test_both_texts_keep_to_hubs_limits(tmp_path: Path) -> None:
    assert short("a b\n c") == "a b c (livepeer-runner)"
    assert len(short("word " * 100)) <= SHORT and short("word " * 100).endswith("(livepeer-runner)")
    assert "docker run" in readme(tmp_path, REFERENCE, SCHEMA)
    (tmp_path / "README.md").write_text("line\n" * LONG)
    text = readme(tmp_path, REFERENCE, SCHEMA)
    assert LONG - 200 < len(text) <= LONG and text.endswith("of the source.)\n")
