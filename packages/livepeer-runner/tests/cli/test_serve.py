"""`livepeer serve`: a process that a terminal, a save and a signal get on with."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from textwrap import dedent
from typing import TYPE_CHECKING
from urllib.error import URLError
from urllib.request import Request, urlopen

import psutil
import pytest

from livepeer.trickle.cli import host

if TYPE_CHECKING:
    from conftest import Folder, Running

ONE = """
    from livepeer.runner import Pipeline
    class Number(Pipeline):
        def predict(self) -> int: return 1
"""


def predict(port: int) -> object:
    with urlopen(Request(f"http://127.0.0.1:{port}/predict", b"{}"), timeout=30) as answer:
        return json.load(answer)


def port_of(running: Running, count: int = 1) -> int:
    text = running.wait_for("is ready", count)
    return int(re.findall(r"serves on http://127\.0\.0\.1:(\d+)", text)[-1])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_a_signal_and_ends_with_0(folder: Folder, number: int) -> None:
    folder.write(pipeline=ONE)
    with folder.running("serve", "--host", "127.0.0.1", "--port", "0") as it:
        assert predict(port_of(it)) == 1
        it.process.send_signal(number)
        assert it.end() == 0
        assert "Traceback" not in it.text


def test_it_serves_without_typer_or_a_manifest_s_models(folder: Folder) -> None:
    folder.write(
        pipeline="""
        import sys
        from livepeer.runner import Pipeline
        class Loaded(Pipeline):
            def predict(self) -> list[str]: return list(sys.modules)
    """
    )
    with folder.running("serve", "pipeline.py:Loaded", "--host=127.0.0.1", "--port", "0") as it:
        loaded = set(predict(port_of(it)))  # type: ignore[call-overload]
    assert loaded.isdisjoint(
        {
            "typer",
            "rich",
            "yaml",
            "livepeer.runner.packaging.manifest",
            "livepeer.runner.packaging.registry",
            "livepeer.client",
        }
    )


def test_it_is_found_without_a_look_at_what_else_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.metadata.entry_points", None)
    found = host.plain("serve")
    assert found is not None and found.target == "livepeer.runner.cli.serve:app"
    assert host.plain("predict") is None  # typer's
    assert host.plain("no-such-command") is None


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("import livepeer.nothing_of_this_name", "which is not installed"),
        ("raise ValueError('it is broken')", "it is broken"),
    ],
)
def test_a_pipeline_that_cannot_be_loaded_ends_it_with_1(
    folder: Folder, source: str, told: str
) -> None:
    folder.write(pipeline=f"{source}\n{dedent(ONE)}")
    done = folder.livepeer("serve", "--host", "127.0.0.1", "--port", "0")
    assert done.returncode == 1
    assert told in done.stderr
    assert "livepeer explain" in done.stderr


@pytest.mark.parametrize("line", [["--port", "70000"], ["--port=x"], ["--prot", "1"], ["a", "b"]])
def test_a_wrong_line_is_wrong_usage(folder: Folder, line: list[str]) -> None:
    folder.write(pipeline=ONE)
    done = folder.livepeer("serve", *line)
    assert done.returncode == 2
    assert "Usage" in done.stderr


def test_options_win_over_the_environment(folder: Folder) -> None:
    folder.write(pipeline=ONE)
    arguments = ("serve", "--host", "127.0.0.1", "--port", "0")
    with folder.running(*arguments, HOST="256.0.0.1", PORT="1") as it:
        assert predict(port_of(it)) == 1


@pytest.mark.parametrize("reload", [[], ["--reload"]])
def test_a_port_in_use_says_what_to_do(folder: Folder, reload: list[str]) -> None:
    folder.write(pipeline=ONE)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = folder.livepeer("serve", "--host", "127.0.0.1", "--port", str(port), *reload)
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1 port {port}" in done.stderr
    assert "--port" in done.stderr


def test_its_help_lists_every_variable(folder: Folder) -> None:
    from livepeer.runner import settings

    shown = folder.livepeer("serve", "--help").stdout
    names = re.findall(r"`([A-Z_]+)`", settings.__doc__ or "")
    assert len(names) > 30
    assert [name for name in names if name not in shown] == []
    assert "jobs and streams at once (default: the class)" in shown


def test_a_bad_environment_is_wrong_usage(folder: Folder) -> None:
    folder.write(pipeline=ONE)
    done = folder.livepeer("serve", PORT="many")
    assert done.returncode == 2
    assert "PORT is 'many'" in done.stderr


def until(port: int, expected: object) -> None:
    """Calls, none of which may fail, until one is answered so."""
    deadline = time.monotonic() + 60
    while (answer := predict(port)) != expected:
        assert time.monotonic() < deadline, answer
        time.sleep(0.02)


@contextmanager
def calling(port: int, answers: set[object]) -> Iterator[None]:
    """Callers, none of whom is lost, each on a connection that is accepted before it is used."""
    over = threading.Event()

    def call() -> None:
        while not over.is_set():
            with closing(HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
                connection.connect()
                over.wait(0.02)
                connection.request("POST", "/predict", b"{}")
                with connection.getresponse() as answer:
                    assert answer.status == 200
                    answers.add(json.load(answer))

    with ThreadPoolExecutor(4) as callers:
        calls = [callers.submit(call) for _ in range(4)]
        try:
            yield
        finally:
            over.set()
    for each in calls:
        each.result()


@contextmanager
def reloading(folder: Folder, *arguments: str) -> Iterator[tuple[Running, int]]:
    with folder.running(
        "serve", *arguments, "--host", "127.0.0.1", "--port", "0", "--reload"
    ) as it:
        yield it, port_of(it)
        assert it.interrupt() == 0
        assert "Traceback" not in it.text


def test_a_save_reloads_and_a_broken_one_is_survived(folder: Folder) -> None:
    folder.write(pipeline=ONE)
    with reloading(folder) as (it, port):
        assert predict(port) == 1
        parent = psutil.Process(it.process.pid)
        former = parent.children(recursive=True)
        folder.write(pipeline="def (")
        it.wait_for("SyntaxError")
        it.wait_for("not reloaded, its process ended with status 1: what served before goes on")
        assert predict(port) == 1
        folder.write(pipeline=ONE.replace("return 1", "return 3"))
        until(port, 3)
        assert not psutil.wait_procs(former, timeout=60)[1]
        children = parent.children(recursive=True)
        assert len(children) == 1
    assert not psutil.wait_procs(children, timeout=60)[1]


@pytest.mark.slow
def test_the_former_serves_until_the_new_one_is_set_up_and_no_call_is_lost(folder: Folder) -> None:
    slow = ONE + (
        "        def setup(self):\n"
        "            import pathlib, time\n"
        "            pathlib.Path('begun').touch()\n"
        "            while not pathlib.Path('go').exists(): time.sleep(0.01)\n"
    )
    folder.write(pipeline=ONE)
    answers: set[object] = set()
    with reloading(folder) as (it, port), calling(port, answers):
        former = psutil.Process(it.process.pid).children(recursive=True)
        folder.write(pipeline=slow.replace("return 1", "return 2"))
        it.wait_for("reloading: pipeline.py changed")
        deadline = time.monotonic() + 60
        while not (folder.path / "begun").exists():
            assert predict(port) == 1
            assert time.monotonic() < deadline
        assert [predict(port) for _ in range(20)] == [1] * 20
        (folder.path / "go").touch()
        until(port, 2)
        assert not psutil.wait_procs(former, timeout=60)[1]
        assert [predict(port) for _ in range(20)] == [2] * 20
        for number in (3, 4):
            folder.write(pipeline=ONE.replace("return 1", f"return {number}"))
            until(port, number)
        deadline = time.monotonic() + 60
        while 4 not in answers:  # of the callers: that one was this test's own
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert answers == {1, 2, 3, 4}


@pytest.mark.slow
def test_only_what_the_pipeline_is_made_of_reloads_it(folder: Folder) -> None:
    """What it imports, and reads while it is set up; not what lies beside it."""
    folder.write(
        number="VALUE = 1",
        pipeline="""
        import json, pathlib
        import number
        from livepeer.runner import Pipeline
        class Number(Pipeline):
            def setup(self): self.more = json.loads(pathlib.Path("more.json").read_text())
            def predict(self) -> int: return number.VALUE + self.more
        """,
    )
    more = folder.path / "more.json"
    more.write_text("10")
    with reloading(folder) as (it, port):
        assert predict(port) == 11
        folder.write(caller="print('pasted')")
        (folder.path / "result.json").write_text("{}")
        folder.write(number="VALUE = 2")
        until(port, 12)
        more.write_text("20")
        until(port, 22)
        assert "reloading: number.py changed" in it.text
        assert "reloading: more.json changed" in it.text
        assert "caller" not in it.text and "result" not in it.text


def test_a_process_that_dies_leaves_nobody_waiting(folder: Folder) -> None:
    folder.write(pipeline=ONE.replace("return 1", "import os; os._exit(3)"))
    with reloading(folder) as (it, port):
        with pytest.raises((URLError, ConnectionError)):
            predict(port)
        it.wait_for("ended with status 3")
        with pytest.raises(URLError, match="refused"):
            predict(port)
        folder.write(pipeline=ONE)
        it.wait_for("is ready", 2)
        assert predict(port) == 1


def test_the_served_process_ends_when_its_parent_is_killed(
    folder: Folder, unused_tcp_port: int
) -> None:
    folder.write(pipeline=ONE)
    with folder.running(
        "serve", "--host", "127.0.0.1", "--port", str(unused_tcp_port), "--reload"
    ) as it:
        port_of(it)
        children = psutil.Process(it.process.pid).children(recursive=True)
        assert children
        os.kill(it.process.pid, signal.SIGKILL)
        assert not psutil.wait_procs(children, timeout=60)[1]
