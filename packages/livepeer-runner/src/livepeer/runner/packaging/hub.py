"""Docker Hub's page of a repository: its short description and its README (`livepeer push --hub`).

Hub finds images by name and description only, and takes neither from an image. The page is beside
the point of a push, so nothing here fails one: what went wrong comes back as a sentence.

The API is Hub's own (docs.docker.com/reference/api/hub): a token for a name and a personal access
token, then a change of the repository.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import aiohttp

from livepeer.runner.packaging.registry.credentials import CredentialError, Login, login
from livepeer.runner.packaging.registry.reference import HUB, ImageReference
from livepeer.runner.secret import Secret
from livepeer.trickle.text import printable

API: Final = "https://hub.docker.com"
SHORT: Final = 100
LONG: Final = 25_000
"""Characters that Hub takes."""
KIND: Final = "livepeer-runner"
"""In each short description, so that a search finds all of them."""
SECONDS: Final = 20.0
LARGEST_ANSWER: Final = 64 * 1024
BY_HAND: Final = "set the description by hand on the repository's page"


async def describe(
    reference: ImageReference,
    schema: Mapping[str, Any],
    folder: Path,
    *,
    api: str = API,
    environ: Mapping[str, str] | None = None,
) -> str:
    """Set the page of a repository; the sentence to show, whether it went well or not."""
    if reference.registry != HUB:
        return f"{reference.registry} is not Docker Hub: its page was left as it is"
    try:
        found = await _login(os.environ if environ is None else environ)
    except CredentialError as error:
        return f"the page on Docker Hub was not changed: {error}"
    if found is None:
        return (
            "the page on Docker Hub was not changed: set DOCKERHUB_USERNAME and DOCKERHUB_TOKEN (a "
            "personal access token with read, write and delete), or use one with docker login"
        )
    page = {
        "description": short(str(schema.get("description") or reference.repository)),
        "full_description": readme(folder, reference, schema),
    }
    try:
        async with asyncio.timeout(SECONDS), aiohttp.ClientSession() as session:
            return await _set(session, api, reference, found, page)
    except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
        reason = type(error).__name__ if isinstance(error, TimeoutError) else str(error)
        return f"the page on Docker Hub was not changed ({printable(reason, 200)}): {BY_HAND}"


def short(description: str) -> str:
    """One line that fits, with what kind of image it is at its end."""
    line = " ".join(description.split())
    end = f" ({KIND})"
    room = SHORT - len(end)
    return (line if len(line) <= room else f"{line[: room - 1].rstrip()}…") + end


def readme(folder: Path, reference: ImageReference, schema: Mapping[str, Any]) -> str:
    """The folder's README, cut where it is too long; else a few lines of what is known."""
    try:
        text = (folder / "README.md").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        text = (
            f"# {schema.get('id') or reference.repository}\n\n{schema.get('description') or ''}\n\n"
            f"A {KIND}: it joins a Livepeer orchestrator by itself.\n\n"
            f"```\ndocker run -p 8000:8000 {reference}\n```\n"
        )
    if len(text) <= LONG:
        return text
    note = "\n\n(The rest is in the repository of the source.)\n"
    return text[: LONG - len(note)].rpartition("\n")[0] + note


async def _login(environ: Mapping[str, str]) -> Login | None:
    name, token = environ.get("DOCKERHUB_USERNAME"), environ.get("DOCKERHUB_TOKEN")
    if name and token:
        return Login(name, Secret(token))
    found = await login(HUB, environ)
    return None if found is None or found.is_token else found


async def _set(
    session: aiohttp.ClientSession,
    api: str,
    reference: ImageReference,
    found: Login,
    page: dict[str, str],
) -> str:
    secret = {"identifier": found.username, "secret": found.password.reveal()}
    status, answer = await _send(session, "POST", f"{api}/v2/auth/token", secret, {})
    token = answer.get("access_token")
    if status != 200 or not isinstance(token, str):
        return (
            f"Docker Hub refused the login of {printable(found.username, 80)} ({status}): the page "
            f"wants a personal access token; tokens of organizations are not taken"
        )
    owner, _, name = reference.repository.partition("/")
    status, answer = await _send(
        session,
        "PATCH",
        f"{api}/v2/namespaces/{owner}/repositories/{name}",
        page,
        {"Authorization": f"Bearer {token}"},
    )
    if status == 200:
        return f"https://hub.docker.com/r/{reference.repository} tells what the image is"
    told = answer.get("message") or answer.get("detail") or ""
    why = f": {printable(str(told), 200)}" if told else ""
    return f"Docker Hub answered {status}{why}; {BY_HAND}"


async def _send(
    session: aiohttp.ClientSession,
    method: str,
    url: str,
    content: Mapping[str, str],
    headers: Mapping[str, str],
) -> tuple[int, dict[str, Any]]:
    async with session.request(
        method, url, json=content, headers=headers, allow_redirects=False
    ) as response:
        body = b""
        async for piece in response.content.iter_any():
            body += piece
            if len(body) > LARGEST_ANSWER:
                raise ValueError("its answer has no end")
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            answer = None
        return response.status, answer if isinstance(answer, dict) else {}
