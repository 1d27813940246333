"""The user's own logins: what `docker login` and `podman login` have kept.

Files are those of the engines, in their order; helpers are the programs `docker-credential-NAME`
of Docker's protocol (a host on its input, JSON on its output).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import logging
import os
import re
import signal
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from livepeer.runner.packaging.registry.reference import HUB
from livepeer.runner.secret import Secret

logger = logging.getLogger(__name__)

HUB_KEY = "https://index.docker.io/v1/"
"""Under which Docker keeps the login of Docker Hub."""
HELPER_SECONDS = 20.0
LARGEST_FILE = 1024 * 1024
LARGEST_ANSWER = 64 * 1024

_HELPER = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_BY_TOKEN = "<token>"


class CredentialError(Exception):
    """A login that is there cannot be read; the message says where and why, and no secret."""

    code = "credentials"


@dataclass(frozen=True, slots=True)
class Login:
    """A name and a password, or an identity token, for one registry."""

    username: str
    password: Secret
    is_token: bool = False
    """Whether `password` is an identity token: an OAuth2 refresh token, no password."""


async def login(registry: str, environ: Mapping[str, str] | None = None) -> Login | None:
    """The user's login for `registry`, None where there is none.

    Raises `CredentialError` where the file or the helper that should have it is broken.
    """
    for path in _files(os.environ if environ is None else environ):
        config = _read(path)
        if config is None:
            continue
        helper = _helper(config, registry)
        if helper is not None and (found := await _ask(helper, registry)) is not None:
            return found
        if (found := _kept(path, config, registry)) is not None:
            return found
    return None


def _files(environ: Mapping[str, str]) -> Iterator[Path]:
    if named := environ.get("REGISTRY_AUTH_FILE"):
        yield Path(named)
    if folder := environ.get("DOCKER_CONFIG"):
        yield Path(folder) / "config.json"
    elif home := environ.get("HOME"):
        yield Path(home) / ".docker" / "config.json"
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        yield Path(runtime) / "containers" / "auth.json"
    elif hasattr(os, "getuid"):
        yield Path(f"/run/containers/{os.getuid()}/auth.json")
    config = environ.get("XDG_CONFIG_HOME") or (
        f"{environ['HOME']}/.config" if environ.get("HOME") else None
    )
    if config:
        yield Path(config) / "containers" / "auth.json"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError:
        return None
    if len(content) > LARGEST_FILE:
        raise CredentialError(f"{path} is larger than {LARGEST_FILE} bytes")
    try:
        config = json.loads(content)
    except (ValueError, RecursionError):
        raise CredentialError(f"{path} is no JSON: mend it, or log in again") from None
    if not isinstance(config, dict):
        raise CredentialError(f"{path} holds no object: mend it, or log in again")
    return config


def _keys(registry: str) -> tuple[str, ...]:
    """What a login of `registry` may be kept under, the likeliest first."""
    if registry == HUB:
        return (HUB_KEY, "docker.io", "index.docker.io", "registry-1.docker.io")
    return (
        registry,
        *(
            f"{scheme}{registry}{path}"
            for scheme in ("https://", "http://", "")
            for path in ("/v2/", "/v1/", "/")
        ),
        f"https://{registry}",
        f"http://{registry}",
    )


def _helper(config: dict[str, Any], registry: str) -> str | None:
    """The program that keeps the login: one for this registry, else the one for all."""
    own = config.get("credHelpers")
    named = [own.get(key) for key in _keys(registry)] if isinstance(own, dict) else []
    candidates = [*named, config.get("credsStore")]
    return next((name for name in candidates if isinstance(name, str) and name), None)


def _kept(path: Path, config: dict[str, Any], registry: str) -> Login | None:
    auths = config.get("auths")
    if not isinstance(auths, dict):
        return None
    for key in _keys(registry):
        entry = auths.get(key)
        if not isinstance(entry, dict):
            continue
        token = entry.get("identitytoken")
        if isinstance(token, str) and token:
            return Login("", Secret(token), is_token=True)
        auth = entry.get("auth")
        if not isinstance(auth, str) or not auth:
            continue  # Docker leaves an empty entry where a helper has the login.
        try:
            name, colon, password = base64.b64decode(auth, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            colon = ""
        if not colon:
            raise CredentialError(f"the login of {registry} in {path} cannot be read: log in again")
        return Login(name, Secret(password.rstrip("\0")))
    return None


async def _ask(helper: str, registry: str) -> Login | None:
    program = f"docker-credential-{helper}"
    if not _HELPER.fullmatch(helper):
        raise CredentialError("the name of the credential helper is no name of a program")
    server = HUB_KEY if registry == HUB else registry
    try:
        process = await asyncio.create_subprocess_exec(
            program,
            "get",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        logger.warning("%s cannot be asked for a login: %s", program, error.strerror)
        return None
    try:
        async with asyncio.timeout(HELPER_SECONDS):
            answer = await _talk(process, server.encode())
            code = await process.wait()
    except TimeoutError:
        raise CredentialError(f"{program} gave no answer within {HELPER_SECONDS:g} s") from None
    finally:
        await _end(process)
    if code != 0:
        return None  # "credentials not found": helpers say it in words of their own
    try:
        told = json.loads(answer)
        username, secret = told["Username"], told["Secret"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise CredentialError(f"{program} gave an answer that is no login") from None
    if not isinstance(username, str) or not isinstance(secret, str):
        raise CredentialError(f"{program} gave an answer that is no login")
    if username == _BY_TOKEN:
        return Login("", Secret(secret), is_token=True)
    return Login(username, Secret(secret)) if secret else None


async def _talk(process: asyncio.subprocess.Process, line: bytes) -> bytes:
    assert process.stdin is not None and process.stdout is not None
    with suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(line)
        await process.stdin.drain()
    process.stdin.close()
    answer = b""
    while chunk := await process.stdout.read(LARGEST_ANSWER):
        answer += chunk
        if len(answer) > LARGEST_ANSWER:
            _kill(process)
            return b""
    return answer


async def _end(process: asyncio.subprocess.Process) -> None:
    """Whatever it does, nothing of it stays: no process, and no pipe."""
    if process.returncode is None:
        _kill(process)
    assert process.stdout is not None
    with suppress(TimeoutError):
        async with asyncio.timeout(1):
            while await process.stdout.read(LARGEST_ANSWER):
                pass
    await process.wait()


def _kill(process: asyncio.subprocess.Process) -> None:
    """Its children too: helpers are often scripts."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
