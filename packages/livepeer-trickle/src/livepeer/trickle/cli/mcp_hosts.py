"""The programs that start an MCP server, and where each keeps the list of them.

Used by the commands that bring one. What stands in such a file is somebody's work: it is read
whole, changed in one place, and written whole, or it is left as it is.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

LARGEST: Final = 4 << 20
"""Bytes of a file that is changed."""


class CannotInstall(Exception):
    """The file was left as it is; the message says why and what to do."""

    code = "cannot_install"


@dataclass(frozen=True, slots=True)
class McpHost:
    """A program that starts MCP servers. `file` is below the home folder, or below the present one
    where `here`; `key` is the object in it that holds the servers."""

    name: str
    file: str
    key: str
    here: bool = False
    toml: bool = False

    def path(self, home: Path, folder: Path) -> Path:
        return (folder if self.here else home) / self.file


HOSTS: Final = {
    "claude": McpHost("Claude Code", ".mcp.json", "mcpServers", here=True),
    "cursor": McpHost("Cursor", ".cursor/mcp.json", "mcpServers"),
    "codex": McpHost("Codex", ".codex/config.toml", "mcp_servers", toml=True),
    "vscode": McpHost("VS Code", ".vscode/mcp.json", "servers", here=True),
}


@dataclass(frozen=True, slots=True)
class Stanza:
    """One server, as a host is told of it."""

    name: str
    command: str
    arguments: Sequence[str]

    def document(self, host: McpHost) -> dict[str, Any]:
        told: dict[str, Any] = {"command": self.command, "args": list(self.arguments)}
        return {"type": "stdio", **told} if host.key == "servers" else told

    def text(self, host: McpHost) -> str:
        """What `--print` prints: the part of the host's file that is this server's."""
        if host.toml:
            return _toml(host.key, self)
        return json.dumps({host.key: {self.name: self.document(host)}}, indent=2) + "\n"


def install(host: McpHost, stanza: Stanza, path: Path) -> bool:
    """Add the server to the host's file, or change it there; whether the file was changed.

    Raises `CannotInstall` where the file is not what its host reads, or cannot be written.
    """
    try:
        before = _read(path)
        after = _with_toml(before, host, stanza) if host.toml else _with_json(before, host, stanza)
        if after == before:
            return False
        replace_file(path, after)
    except OSError as error:
        raise CannotInstall(f"{path}: {error.strerror}; --print shows what to add") from error
    return True


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except FileNotFoundError:
        return ""
    if len(data) > LARGEST:
        raise CannotInstall(f"{path} has over {LARGEST >> 20} MiB; --print shows what to add")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CannotInstall(f"{path} is no text; --print shows what to add") from error


def _with_json(text: str, host: McpHost, stanza: Stanza) -> str:
    try:
        document = json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError) as error:
        raise CannotInstall(
            f"{host.file} is no plain JSON ({error}), perhaps with comments: it is left as it is; "
            "--print shows what to add"
        ) from error
    servers = document.setdefault(host.key, {}) if isinstance(document, dict) else None
    if not isinstance(servers, dict):
        raise CannotInstall(f"{host.file} has no object {host.key!r}; --print shows what to add")
    if servers.get(stanza.name) == stanza.document(host):
        return text
    servers[stanza.name] = stanza.document(host)
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _with_toml(text: str, host: McpHost, stanza: Stanza) -> str:
    """The text as it is, with the table of this server at its end, or in place of its former."""
    try:
        servers = tomllib.loads(text).get(host.key, {})
    except tomllib.TOMLDecodeError as error:
        raise CannotInstall(f"{host.file} is no TOML ({error}); --print shows what to add") from (
            error
        )
    there = servers.get(stanza.name) if isinstance(servers, dict) else None
    if there == stanza.document(host):
        return text
    added = _toml(host.key, stanza)
    if there is not None:
        head = re.escape(f"[{host.key}.{stanza.name}]")
        text, count = re.subn(rf"(?m)^{head}[^\n]*\n(?:(?!\[).*(?:\n|\Z))*", "", text)
        if count != 1:
            raise CannotInstall(
                f"{host.file} writes {stanza.name!r} in a way of its own: it is left as it is; "
                "--print shows what it has to be"
            )
    after = f"{text.rstrip()}\n\n{added}" if text.strip() else added
    expected = {**servers, stanza.name: stanza.document(host)}
    if tomllib.loads(after).get(host.key) != expected:
        raise CannotInstall(f"{host.file} cannot be changed safely; --print shows what to add")
    return after


def _toml(key: str, stanza: Stanza) -> str:
    # A TOML basic string is a JSON string, for all that comes here.
    arguments = ", ".join(json.dumps(each) for each in stanza.arguments)
    return f"[{key}.{stanza.name}]\ncommand = {json.dumps(stanza.command)}\nargs = [{arguments}]\n"


def replace_file(path: Path, text: str) -> None:
    """In one step, so that a host never reads half of it; what a link points to is written."""
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(name, path.stat().st_mode & 0o777 if path.exists() else 0o600)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
