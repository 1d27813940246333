"""`livepeer trickle ...` as an operator runs it: processes and pipes."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

LIVEPEER = [sys.executable, "-c", "from livepeer.trickle.cli import main; main()", "trickle"]


FORKED = [*LIVEPEER]
"""The same for a command that runs to its end."""


@pytest.fixture(scope="module", autouse=True)
def imported(commands: tuple[str, ...]) -> None:
    FORKED[:] = [*commands, "trickle"]


def run(*arguments: str, input: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*FORKED, *arguments], input=input, capture_output=True, timeout=200)


@contextmanager
def start(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command that runs on; killed at the end, if it has not ended."""
    pipe = subprocess.PIPE
    with subprocess.Popen([*LIVEPEER, *arguments], stdin=pipe, stdout=pipe, stderr=pipe) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def server() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """`livepeer trickle serve`, and its URL."""
    with start("serve", "--port", "0") as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"], process


Server = tuple[str, subprocess.Popen[bytes]]


def wait_for(url: str) -> None:
    """Return once the channel exists."""
    deadline = monotonic() + 30
    while monotonic() < deadline:
        try:
            urlopen(f"{url}/next", timeout=10).close()
            return
        except HTTPError as error:
            error.close()
    pytest.fail(f"{url} was never made")


@pytest.mark.slow
def test_what_is_piped_in_comes_out_while_the_writer_goes_on(server: Server) -> None:
    url = f"{server[0]}/cam"
    with start("publish", url, "--create") as writer:
        assert writer.stdin is not None
        wait_for(url)
        writer.stdin.write(b"first")
        writer.stdin.flush()
        with start("subscribe", url, "--start", "0") as reader:
            assert reader.stdout is not None
            assert reader.stdout.read(5) == b"first"
            sent = os.urandom(500_000)
            writer.communicate(sent, timeout=200)
            received, _ = reader.communicate(timeout=200)
    assert (writer.returncode, reader.returncode) == (0, 0)
    assert received == sent


def test_a_file_as_standard_input_is_published_whole(server: Server, tmp_path: Path) -> None:
    url = f"{server[0]}/file"
    source = tmp_path / "clip.bin"
    source.write_bytes(os.urandom(300_000))
    with source.open("rb") as file:
        published = subprocess.run(
            [*LIVEPEER, "publish", url, "--create", "--keep"], stdin=file, timeout=200
        )
    assert published.returncode == 0
    assert run("subscribe", url, "--start", "0", "-n", "1").stdout == source.read_bytes()


def test_records_are_published_and_a_bad_line_is_named(server: Server) -> None:
    url = f"{server[0]}/data"
    lines = b'{"n": 1}\nnot json\n\n[2]\n{"n": 3}\n' + b"[" * 100_000
    published = run("publish", url, "--jsonl", "--create", "--keep", input=lines)
    assert published.returncode == 0
    assert b"line 2 is no JSON object" in published.stderr
    assert b"line 4 is no JSON object" in published.stderr
    assert b"line 6 is no JSON object" in published.stderr
    received = run("subscribe", url, "--start", "0", "-n", "1").stdout
    assert [json.loads(line) for line in received.splitlines()] == [{"n": 1}, {"n": 3}]


def test_inspect_tells_each_segment_as_json_on_a_pipe(server: Server) -> None:
    url = f"{server[0]}/seen"
    run("publish", url, "--create", "--keep", input=b"x" * 5000)
    (line,) = run("inspect", url, "--start", "0", "-n", "1").stdout.splitlines()
    told = json.loads(line)
    assert told["seq"] == 0
    assert told["bytes"] == 5000
    assert told["type"] == "video/MP2T"


def test_a_missing_channel_is_an_error_in_one_line_that_says_what_to_do(server: Server) -> None:
    refused = run("publish", f"{server[0]}/missing", "--no-create", input=b"x")
    assert refused.returncode == 1
    missing = run("subscribe", f"{server[0]}/missing")
    assert missing.returncode == 1
    assert missing.stderr.startswith(b"Error: ")
    assert b"Traceback" not in missing.stderr


@pytest.mark.slow
def test_a_missing_channel_is_made_where_the_server_lets_clients(server: Server) -> None:
    url = f"{server[0]}/new"
    assert run("publish", f"{url}/no", "--no-create", input=b"x").returncode == 1
    for jsonl in ([], ["--jsonl"]):
        published = run("publish", f"{url}{len(jsonl)}", "--keep", *jsonl, input=b'{"n": 1}\n')
        assert (published.returncode, published.stderr[:10]) == (0, b"1 segments")


def test_where_it_lets_nobody_the_error_says_so() -> None:
    with start("serve", "--port", "0", "--no-autocreate") as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        refused = run("publish", f"{url}/cam", input=b"x")
    assert refused.returncode == 1
    assert b"does not let clients make channels" in refused.stderr


@pytest.mark.slow
def test_a_reader_of_a_missing_channel_is_told_how_to_wait(server: Server) -> None:
    for command in ("subscribe", "inspect"):
        missing = run(command, f"{server[0]}/missing", "--wait", "0.2")
        assert missing.returncode == 1
        assert b"--wait SECONDS" in missing.stderr


@pytest.mark.slow
def test_the_lines_of_the_readme_work_as_they_are_printed(
    tmp_path: Path, unused_tcp_port: int
) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    block = readme.partition("## On the command line")[2].split("```")[1].strip()
    lines = block.replace("8080", str(unused_tcp_port)).splitlines()
    assert len(lines) == 4
    (tmp_path / "clip.ts").write_bytes(clip := os.urandom(100_000))
    connect = f'import socket; socket.create_connection(("localhost", {unused_tcp_port}))'
    script = [*lines[:-1], f"until python -c '{connect}' 2>/dev/null; do :; done", lines[-1]]
    done = subprocess.run(
        ["bash", "-c", "\n".join([*script, "wait %2 %3", "kill %1", "wait %1"])],
        cwd=tmp_path,
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        timeout=100,
    )
    assert b"Error" not in done.stderr
    assert (tmp_path / "copy.ts").read_bytes() == clip
    assert b'"bytes": 100000' in done.stdout


@pytest.mark.slow
def test_a_channel_shown_on_a_terminal_moves_nothing_there(server: Server) -> None:
    url = f"{server[0]}/text"
    text = "\x1b]0;owned\x07grö\u00dfer\x9b2J\n".encode()
    run("publish", url, "--keep", input=text)
    terminal, end = pty.openpty()
    try:
        subprocess.run(
            [*LIVEPEER, "subscribe", url, "--start", "0", "-n", "1"],
            stdout=end,
            stderr=subprocess.PIPE,
            timeout=200,
            check=True,
        )
        shown = os.read(terminal, 1000)
    finally:
        os.close(terminal)
        os.close(end)
    assert shown.decode() == "\\x1b]0;owned\\x07größer\\x9b2J\r\n"


def test_a_url_without_a_channel_is_wrong_usage() -> None:
    wrong = run("subscribe", "http://127.0.0.1:1")
    assert wrong.returncode == 2
    assert b"names no channel" in wrong.stderr


def test_a_port_in_use_is_told_without_a_traceback(server: Server) -> None:
    port = server[0].rpartition(":")[2]
    refused = run("serve", "--port", port)
    assert refused.returncode == 1
    assert b"Traceback" not in refused.stderr
    assert port.encode() in refused.stderr


@pytest.mark.parametrize(
    ("sent", "code"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 0, marks=pytest.mark.slow)],
)
def test_a_stopped_server_ends_its_readers_and_exits(
    server: Server, sent: signal.Signals, code: int
) -> None:
    url, process = server
    run("publish", f"{url}/cam", "--create", "--keep", input=b"x")
    with start("subscribe", f"{url}/cam", "--start", "0") as reader:
        assert reader.stdout is not None
        assert reader.stdout.read(1) == b"x"
        process.send_signal(sent)
        assert process.wait(60) == code
        reader.communicate(timeout=200)
    assert reader.returncode == 0
