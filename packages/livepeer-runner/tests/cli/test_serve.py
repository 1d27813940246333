"""`livepeer serve`: a process that a terminal, a save and a signal get on with."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from typing import TYPE_CHECKING
from urllib.request import Request, urlopen

import psutil
import pytest

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


def test_a_bad_environment_is_wrong_usage(folder: Folder) -> None:
    folder.write(pipeline=ONE)
    done = folder.livepeer("serve", PORT="many")
    assert done.returncode == 2
    assert "PORT is 'many'" in done.stderr


def test_a_save_reloads_and_a_broken_one_is_survived(folder: Folder, unused_tcp_port: int) -> None:
    folder.write(pipeline=ONE)
    arguments = ("serve", "--host", "127.0.0.1", "--port", str(unused_tcp_port), "--reload")
    with folder.running(*arguments) as it:
        assert predict(port_of(it)) == 1
        folder.write(pipeline=ONE.replace("return 1", "return 2"))
        it.wait_for("reload: pipeline.py changed")
        assert predict(port_of(it, 2)) == 2
        folder.write(pipeline="def (")
        it.wait_for("SyntaxError")
        it.wait_for("it starts again when a file is saved")
        folder.write(pipeline=ONE.replace("return 1", "return 3"))
        assert predict(port_of(it, 3)) == 3
        children = psutil.Process(it.process.pid).children(recursive=True)
        assert len(children) == 1
        assert it.interrupt() == 0
        assert not psutil.wait_procs(children, timeout=60)[1]


def test_a_helper_of_the_pipeline_is_watched_too(folder: Folder, unused_tcp_port: int) -> None:
    folder.write(
        number="VALUE = 1",
        pipeline="""
        import number
        from livepeer.runner import Pipeline
        class Number(Pipeline):
            def predict(self) -> int: return number.VALUE
        """,
    )
    with folder.running(
        "serve", "--host", "127.0.0.1", "--port", str(unused_tcp_port), "--reload"
    ) as it:
        assert predict(port_of(it)) == 1
        folder.write(number="VALUE = 2")
        assert predict(port_of(it, 2)) == 2


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
