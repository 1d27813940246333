"""`serve` as a process: signals, drain, the port, preparation. Every test starts a real one."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

LIMIT = 60.0
PIPELINE = '''
import asyncio, gc, os, sys, time
from collections.abc import AsyncIterator
from livepeer.runner import Pipeline, serve

class Work(Pipeline):
    """Does what it is told."""
    capacity = 4
    thread_safe = True

    @classmethod
    def prepare_models(cls) -> None:
        (cls.model_dir / "weights").write_text("fetched")

    def setup(self) -> None:
        while os.environ.get("SETUP_WAITS") and not os.path.exists("go"):
            time.sleep(0.01)
        if os.environ.get("SETUP_RAISES"):
            raise OSError("no weights")

    def predict(self, waits: bool = False, said: str = "done") -> str:
        print("begun", flush=True)
        if said == "frozen":
            return str(gc.get_freeze_count())
        while waits and not os.path.exists("go"):
            time.sleep(0.01)
        return said

    def teardown(self) -> None:
        print("torn down", flush=True)

class Stream(Pipeline):
    async def predict(self) -> AsyncIterator[int]:
        for i in range(10_000):
            yield i
            await asyncio.sleep(0.05)

class Unservable(Pipeline):
    def predict(self, text) -> str:
        return text

if __name__ == "__main__":
    serve(globals()[sys.argv[1]])
'''


class Running:
    """A process that serves: its URL, its output, its signals."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._said = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._said:
                self.lines.append(line.rstrip())
                self._said.notify_all()

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, pattern: str) -> re.Match[str]:
        with self._said:
            assert self._said.wait_for(
                lambda: re.search(pattern, self.output) is not None, LIMIT
            ), f"never said {pattern!r}; said:\n{self.output}"
        found = re.search(pattern, self.output)
        assert found is not None
        return found

    @property
    def url(self) -> str:
        return self.wait_for(r"serves on (http://\S+)")[1]

    def ended(self) -> int:
        """The exit status, once all that it said has been read."""
        status = self.process.wait(LIMIT)
        self._reader.join(LIMIT)
        return status


@contextmanager
def started(folder: Path, name: str = "Work", **environment: str) -> Iterator[Running]:
    (folder / "pipeline.py").write_text(PIPELINE)
    inherited = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("LIVEPEER_", "ORCH_", "CAPABILITY_"))
    }
    process = subprocess.Popen(
        [sys.executable, "pipeline.py", name],
        cwd=folder,
        env={**inherited, "HOST": "127.0.0.1", "PORT": "0", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    running = Running(process)
    try:
        yield running
    finally:
        process.kill()
        process.wait(LIMIT)
        running._reader.join(LIMIT)
        assert process.stdout is not None
        process.stdout.close()


class Call(threading.Thread):
    """A request in a thread of its own; `response` is there after `join`."""

    def __init__(self, url: str, **input: object) -> None:
        super().__init__(daemon=True)
        self.url, self.input = url, input
        self.response: httpx.Response | None = None
        self.start()

    def run(self) -> None:
        with suppress(httpx.TransportError):  # the process may be killed under it
            self.response = httpx.post(f"{self.url}/predict", json=self.input, timeout=LIMIT)

    def result(self) -> httpx.Response:
        self.join(LIMIT)
        assert self.response is not None
        return self.response


def test_sigterm_with_a_job_in_flight_finishes_it_refuses_new_ones_and_exits_0(
    tmp_path: Path,
) -> None:
    with started(tmp_path) as server:
        server.wait_for("is ready")
        call = Call(server.url, waits=True)
        server.wait_for("begun")
        server.process.send_signal(signal.SIGTERM)
        server.wait_for("stopping")
        refused = httpx.post(f"{server.url}/predict", json={}, timeout=LIMIT)
        assert refused.status_code == 503
        assert refused.json()["error"]["message"] == "the pipeline is shutting down"
        health = httpx.get(f"{server.url}/health", timeout=LIMIT).json()
        assert (health["status"], health["draining"]) == ("OK", True)
        (tmp_path / "go").touch()
        assert call.result().json() == "done"
        assert server.ended() == 0
        assert "torn down" in server.output


def test_a_job_that_outlasts_the_drain_is_told_that_it_had_begun_and_the_exit_is_still_0(
    tmp_path: Path,
) -> None:
    with started(tmp_path, LIVEPEER_DRAIN_TIMEOUT="0.3") as server:
        server.wait_for("is ready")
        call = Call(server.url, waits=True)
        server.wait_for("begun")
        server.process.send_signal(signal.SIGTERM)
        answer = call.result()
        assert (answer.status_code, answer.json()["error"]["type"]) == (409, "interrupted")
        assert "retry_after" not in answer.json()["error"]
        assert server.ended() == 0
        assert "cut off" in server.output and "torn down" in server.output


def test_a_stream_that_outlasts_the_drain_ends_with_an_error_and_done(tmp_path: Path) -> None:
    with started(tmp_path, "Stream", LIVEPEER_DRAIN_TIMEOUT="0.3") as server:
        server.wait_for("is ready")
        with httpx.stream("POST", f"{server.url}/predict", json={}, timeout=LIMIT) as response:
            lines = response.iter_lines()
            assert next(lines) == "data: 0"
            server.process.send_signal(signal.SIGTERM)
            rest = [line for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        assert rest[-3] == "event: error" and '"type":"interrupted"' in rest[-2]
        assert server.ended() == 0


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    with started(tmp_path) as server:
        server.wait_for("is ready")
        Call(server.url, waits=True)
        server.wait_for("begun")
        server.process.send_signal(signal.SIGTERM)
        server.wait_for("stopping")
        server.process.send_signal(signal.SIGTERM)
        assert server.ended() == 128 + signal.SIGTERM


def test_ctrl_c_on_an_idle_server_exits_0(tmp_path: Path) -> None:
    with started(tmp_path) as server:
        server.wait_for("is ready")
        server.process.send_signal(signal.SIGINT)
        assert server.ended() == 0
        assert "Traceback" not in server.output


def test_what_setup_made_is_kept_out_of_garbage_collections(tmp_path: Path) -> None:
    with started(tmp_path) as server:
        server.wait_for("is ready")
        assert int(Call(server.url, said="frozen").result().json()) > 10_000


def test_health_answers_while_setup_goes_on(tmp_path: Path) -> None:
    with started(tmp_path, SETUP_WAITS="1") as server:
        health = httpx.get(f"{server.url}/health", timeout=LIMIT)
        assert health.json()["status"] == "LOADING"
        assert httpx.get(f"{server.url}/ready", timeout=LIMIT).status_code == 503
        (tmp_path / "go").touch()
        server.wait_for("is ready")
        assert httpx.get(f"{server.url}/health", timeout=LIMIT).json()["status"] == "IDLE"


def test_sigterm_during_setup_exits_0_without_waiting_for_it(tmp_path: Path) -> None:
    with started(tmp_path, SETUP_WAITS="1") as server:
        assert httpx.get(f"{server.url}/health", timeout=LIMIT).json()["status"] == "LOADING"
        server.process.send_signal(signal.SIGTERM)
        assert server.ended() == 0


def test_a_setup_that_raises_is_reported_and_the_process_goes_on(tmp_path: Path) -> None:
    with started(tmp_path, SETUP_RAISES="1") as server:
        server.wait_for("setup raised")
        health = httpx.get(f"{server.url}/health", timeout=LIMIT)
        assert (health.status_code, health.json()["status"]) == (200, "ERROR")
        assert health.json()["reason"].startswith("setup raised OSError, the log says more")
        server.process.send_signal(signal.SIGTERM)
        assert server.ended() == 0


def test_a_port_that_is_taken_is_said_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with started(tmp_path, PORT=port) as server:
            assert server.ended() == 1
            assert f"cannot listen on 127.0.0.1 port {port}" in server.output
            assert "Traceback" not in server.output


@pytest.mark.parametrize(
    ("name", "environment", "says"),
    [
        ("Work", {"PORT": "http"}, "PORT is 'http'"),
        ("Work", {"LIVEPEER_ORCH_URL": "http://127.0.0.1:1"}, "LIVEPEER_ORCH_SECRET is missing"),
        ("Unservable", {}, "`text`"),
    ],
)
def test_what_is_wrong_with_environment_or_class_is_said_without_a_traceback(
    tmp_path: Path, name: str, environment: dict[str, str], says: str
) -> None:
    with started(tmp_path, name, **environment) as server:
        assert server.ended() == 1
        assert says in server.output
        assert "Traceback" not in server.output


def test_prepare_models_runs_and_exits_without_serving(tmp_path: Path) -> None:
    models = tmp_path / "models"
    with started(tmp_path, PREPARE_MODELS="1", LIVEPEER_MODEL_DIR=str(models)) as server:
        assert server.ended() == 0
        assert (models / "weights").read_text() == "fetched"
        assert "serves on" not in server.output


def test_logs_are_json_on_request(tmp_path: Path) -> None:
    with started(tmp_path, LIVEPEER_LOG_FORMAT="json") as server:
        assert '"level": "info"' in server.wait_for(r".*is ready after.*")[0]


def test_an_idle_connection_outlives_the_sixty_seconds_of_an_orchestrator() -> None:
    from livepeer.runner import Pipeline, create_app
    from livepeer.runner.serving.server import server_config
    from livepeer.runner.settings import Settings

    class Echo(Pipeline):
        def predict(self) -> str:
            return ""

    assert server_config(create_app(Echo, Settings())).timeout_keep_alive > 60


def test_that_it_listens_on_every_address_is_said(tmp_path: Path) -> None:
    with started(tmp_path, HOST="0.0.0.0") as server:
        assert server.url.startswith("http://127.0.0.1:")
        server.wait_for(r"every other address of this machine \(HOST=0\.0\.0\.0\)")
        server.wait_for("is ready")
        httpx.post(f"{server.url}/predict", json={"said": "it"}, timeout=LIMIT)
        server.wait_for(r"livepeer\.runner\.access \[\w+\] 127\.0\.0\.1 POST /predict 200 ")
