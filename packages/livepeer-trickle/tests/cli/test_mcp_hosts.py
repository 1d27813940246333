"""What stands in a host's file is somebody's work."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from livepeer.trickle.cli.mcp_hosts import HOSTS, LARGEST, CannotInstall, Stanza, install

STANZA = Stanza("livepeer", "uvx", ["--from", "livepeer-runner[mcp]", "livepeer", "mcp"])


@pytest.mark.parametrize("name", HOSTS)
def test_it_is_added_once_and_all_else_stays(tmp_path: Path, name: str) -> None:
    host = HOSTS[name]
    path = host.path(tmp_path / "home", tmp_path / "here")
    assert install(host, STANZA, path)
    read = tomllib.loads if host.toml else json.loads
    assert read(path.read_text())[host.key]["livepeer"]["command"] == "uvx"
    assert not install(host, STANZA, path)
    other = Stanza("other", "npx", ["x"])
    install(host, other, path)
    path.chmod(0o640)
    install(host, Stanza("livepeer", "uvx", ["changed"]), path)
    found = read(path.read_text())[host.key]
    assert found["livepeer"]["args"] == ["changed"]
    assert found["other"] == other.document(host)
    assert path.stat().st_mode & 0o777 == 0o640
    assert read(STANZA.text(host))[host.key]["livepeer"] == STANZA.document(host)


def test_comments_and_order_of_toml_stay(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    text = '# mine\nmodel = "x"\n\n[mcp_servers.livepeer]\ncommand = "old"\n# gone with it\n'
    text += "\n[a]\nb = 1 # kept\n"
    path.write_text(text)
    install(HOSTS["codex"], STANZA, path)
    after = path.read_text()
    assert after.startswith('# mine\nmodel = "x"\n') and "b = 1 # kept" in after
    assert "old" not in after


@pytest.mark.parametrize(
    "name, text",
    [
        ("vscode", '{"servers": {} // mine\n}'),
        ("claude", "[]"),
        ("claude", '{"mcpServers": 1}'),
        ("codex", "no = toml ="),
        ("codex", 'mcp_servers = { livepeer = { command = "x" } }'),
        ("cursor", "[" * 100_000),
        ("cursor", " " * (LARGEST + 1)),
        ("cursor", "\x00\udce9"),
    ],
)
def test_what_is_not_understood_is_left_as_it_is(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    before = path.read_bytes()
    with pytest.raises(CannotInstall, match="--print shows"):
        install(HOSTS[name], STANZA, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
