"""`livepeer trickle ...` as an operator runs it: processes and pipes."""

from __future__ import annotations

import json
import os
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


def run(*arguments: str, input: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*LIVEPEER, *arguments], input=input, capture_output=True, timeout=200)


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
    refused = run("publish", f"{server[0]}/_changes", input=b"x")
    assert refused.returncode == 1
    missing = run("subscribe", f"{server[0]}/missing")
    assert missing.returncode == 1
    assert missing.stderr.startswith(b"Error: ")
    assert b"Traceback" not in missing.stderr


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


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
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
