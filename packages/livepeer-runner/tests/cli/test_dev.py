"""`livepeer dev`: a whole local network, of real processes, for one pipeline."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any
from urllib.error import URLError
from urllib.request import urlopen

import httpx
import psutil
import pytest

pytest.importorskip("livepeer.client")

if TYPE_CHECKING:
    from conftest import Folder, Running

FREE = ("--port", "0", "--orch-port", "0", "--gateway-port", "0", "--play-port", "0")
READY = "Ctrl-C ends it all"

ONE = """
    from livepeer.runner import Pipeline
    class Greeter(Pipeline):
        def predict(self, name: str = "Ada") -> str:
            self.log.info("greeting %s", name)
            return f"Hello, {name}!"
"""
STREAM = """
    from collections.abc import Iterator
    from livepeer.runner import Pipeline
    class Spell(Pipeline):
        def predict(self, word: str = "hi") -> Iterator[str]:
            yield from word
"""
LIVE = """
    from pydantic import BaseModel
    from livepeer.runner import LivePipeline, VideoFrame
    class Params(BaseModel):
        u: int = 128
    class Tint(LivePipeline):
        params: Params
        def on_stream_start(self, params: Params) -> None:
            self.emit_event({"type": "tinting", "u": params.u})
        def process_video(self, frame: VideoFrame) -> VideoFrame:
            frame.planes[1][:] = self.params.u
            return frame
"""


@contextmanager
def dev(folder: Folder, *arguments: str) -> Iterator[Running]:
    """The network, ready to be called; at the end nothing of it may be left."""
    with folder.running("dev", *FREE, *arguments) as it:
        it.wait_for(READY)
        children = psutil.Process(it.process.pid).children(recursive=True)
        assert children
        ports = [
            int(port) for port in re.findall(r"^  \w+ +https?://127.0.0.1:(\d+)", it.text, re.M)
        ]
        assert len(ports) == 4  # playground, pipeline, orchestrator, gateway
        yield it
        assert it.interrupt() == 0, it.text
        assert "Traceback" not in it.text
        assert not psutil.wait_procs(children, timeout=60)[1]
        for port in ports:
            with pytest.raises(OSError):
                socket.create_connection(("127.0.0.1", port), timeout=5).close()


def block(text: str, title: str) -> str:
    """The lines below a title, up to the next one."""
    found = re.search(
        rf"^{re.escape(title)}[^\n]*:\n\n(.*?)\n\n?(?=^\S[^\n]*:\n\n|\Z|^One line)",
        text,
        re.M | re.S,
    )
    assert found is not None, text
    return found[1]


def with_command(cwd: Path) -> dict[str, str]:
    """An environment that has the `livepeer` command, in `cwd`."""
    binary = cwd / "bin"
    binary.mkdir(exist_ok=True)
    command = binary / "livepeer"
    command.write_text(f"#!{sys.executable} -P\nfrom livepeer.trickle.cli import main\nmain()\n")
    command.chmod(0o755)
    return {**os.environ, "PATH": f"{binary}{os.pathsep}{os.environ['PATH']}"}


def paste(shell: str, cwd: Path) -> str:
    """What a printed line prints, in a shell that has the `livepeer` command."""
    done = subprocess.run(
        ["sh", "-c", shell],
        cwd=cwd,
        env=with_command(cwd),
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert "not checked" not in done.stderr  # no newcomer is frightened
    return done.stdout


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's own settings, who is nobody that uses this machine."""
    path = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(path / ".config"))
    return path


@pytest.fixture
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A caller's folder: not the one that is watched."""
    return tmp_path_factory.mktemp("caller")


def overview(it: Running) -> str:
    """What was printed to standard output: it is complete once the note behind it is there."""
    return it.wait_for("curl -s")


def orchestrator(text: str) -> str:
    """The URL of the orchestrator that was printed."""
    (url,) = re.findall(r"^  orchestrator +(\S+)$", text, re.M)
    return str(url)


@pytest.mark.slow
def test_a_batch_class_is_called_by_each_of_the_printed_lines(
    folder: Folder, elsewhere: Path, home: Path
) -> None:
    folder.write(pipeline=ONE)
    with dev(folder) as it:
        text = overview(it)
        assert paste(block(text, "The shell"), elsewhere) == "Hello, Ada!\n"
        (elsewhere / "call.py").write_text(block(text, "Python"))
        assert paste(f"{sys.executable} call.py", elsewhere) == "Hello, Ada!\n"
        if shutil.which("curl"):
            assert json.loads(paste(block(text, "curl"), elsewhere)) == "Hello, Ada!"
            told = paste(block(text, "curl, as a live runner"), elsewhere)
            assert '"app":"greeter"' in told and told.rstrip().endswith('"Hello, Ada!"')
        it.wait_for("greeting Ada")
        it.wait_for("for greeter: the container answered 200")
        assert re.search(r"\d\d:\d\d:\d\d registered capability greeter", it.text)
        (pins,) = home.rglob("pins.json")
        assert len(json.loads(pins.read_text())) == 1 and "--tls pin" in text
    assert "removed capability greeter" in it.text
    assert json.loads(pins.read_text()) == {}  # another network may use its port


@pytest.mark.slow
def test_a_stream_is_called_by_each_of_the_printed_lines(folder: Folder, elsewhere: Path) -> None:
    folder.write(pipeline=STREAM)
    with dev(folder) as it:
        text = overview(it)
        assert paste(block(text, "The shell"), elsewhere) == '"h"\n"i"\n'
        (elsewhere / "call.py").write_text(block(text, "Python"))
        assert paste(f"{sys.executable} call.py", elsewhere) == "h\ni\n"
        if shutil.which("curl"):
            printed = paste(block(text, "curl"), elsewhere)
            assert 'data: "h"' in printed
            assert "data: [DONE]" in printed


@pytest.mark.slow
def test_a_live_class_is_called_by_each_of_the_printed_lines(
    folder: Folder, elsewhere: Path, clip: Path
) -> None:
    folder.write(pipeline=LIVE)
    shutil.copy(clip, elsewhere / "in.mp4")
    with dev(folder) as it:
        text = overview(it)
        paste(block(text, "The shell"), elsewhere)
        assert (elsewhere / "out.mp4").stat().st_size > 500
        (elsewhere / "call.py").write_text(block(text, "Python"))
        assert paste(f"{sys.executable} call.py", elsewhere).count("VideoFrame") > 20
        if shutil.which("curl"):
            printed = paste(block(text, "curl"), elsewhere)
            assert "X-Publish-Url: https://127.0.0.1" in printed
            told = paste(block(text, "curl, as a live runner"), elsewhere)
            assert '"app":"tint"' in told
            started, _ = json.JSONDecoder().raw_decode(told[told.index('{"status"') :])
            assert set(started["channels"]) == {"in", "out", "events", "data", "control"}
            for url in started["channels"].values():
                assert url.startswith(f"{orchestrator(text)}/ai/trickle/{started['stream_id']}-")
                gone = httpx.get(f"{url}/next", verify=False, trust_env=False)
                assert gone.status_code == 404  # the last line stopped the session
        it.wait_for("of tint started")
        it.wait_for("ended")


@pytest.fixture
def service() -> Iterator[str]:
    """The URL of a service that knows nothing of all this."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler)
    serving = Thread(target=server.serve_forever, daemon=True)
    serving.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    serving.join()


@pytest.mark.slow
def test_any_service_becomes_a_live_runner_by_the_printed_line(
    folder: Folder, elsewhere: Path, service: str
) -> None:
    folder.write(pipeline=ONE)
    with dev(folder) as it:
        line = block(overview(it), "A service of yours, as a live runner")
        (path,) = map(Path, re.findall(r"SECRET_FILE=(\S+)", line))
        assert path.stat().st_mode & 0o777 == 0o600
        line = line.replace("http://127.0.0.1:9000", service)
        process = subprocess.Popen(
            ["sh", "-c", line], cwd=elsewhere, env=with_command(elsewhere), start_new_session=True
        )
        try:
            it.wait_for("registered for 'my/app'")
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(60)
        it.wait_for("is gone: it unregistered")
        assert path.read_text() not in it.text
    assert not path.exists()


@pytest.mark.slow
def test_a_save_reloads_and_a_broken_one_is_survived(folder: Folder) -> None:
    folder.write(pipeline=ONE)
    with dev(folder) as it:
        folder.write(pipeline="def (")
        it.wait_for("SyntaxError")
        it.wait_for("what served before goes on")
        folder.write(pipeline=ONE.replace("Hello", "Good day"))
        it.wait_for("greeter serves again")


@pytest.mark.slow
def test_a_live_runner_is_another_one_after_a_reload_and_there_is_always_one(
    folder: Folder,
) -> None:
    """Its sessions end in order, the former leaves the registry, and a new session just works."""
    folder.write(pipeline=LIVE)
    with dev(folder) as it, httpx.Client(verify=False, timeout=60, trust_env=False) as http:
        url = orchestrator(overview(it))
        done, counts = Event(), []

        def runners() -> list[dict[str, Any]]:
            (entry,) = http.get(f"{url}/discovery").json()
            found: list[dict[str, Any]] = entry.get("runners", [])
            return found

        def watch() -> None:
            while not done.wait(0.01):
                counts.append(len(runners()))

        def start() -> tuple[dict[str, str], dict[str, Any]]:
            session = http.post(runners()[0]["url"]).json()
            answer = http.post(f"{session['app_url']}/stream/start", json={"params": {"u": 90}})
            assert answer.status_code == 200, answer.text
            return session, answer.json()

        watching = Thread(target=watch)
        watching.start()
        try:
            folder.write(pipeline=LIVE + "    # nobody is there\n")
            it.wait_for("is gone: it unregistered")
            (before,) = runners()
            session, started = start()
            folder.write(pipeline=LIVE + "    # somebody is there\n")
            it.wait_for("tint serves again, as a live runner at", 2)
            it.wait_for("is gone: it unregistered", 2)  # once its streams are over
        finally:
            done.set()
            watching.join()
        assert counts and set(counts) <= {1, 2}
        (after,) = runners()
        assert after["url"] != before["url"]
        assert (after["capacity_used"], after["app"]) == (0, "tint")
        gone = http.post(f"{session['app_url']}/stream/params", json={})
        assert (gone.status_code, gone.text) == (404, "runner not found\n")
        assert http.get(f"{started['channels']['in']}/next").status_code == 404
        session, started = start()
        answer = http.post(f"{session['app_url']}/stream/params", json={"u": 91})
        assert answer.json()["params"]["u"] == 91
        assert http.post(f"{session['control_url']}/stop").status_code == 204


MAKES = """
    import numpy as np
    from livepeer.runner import LivePipeline, VideoFrame
    class Makes(LivePipeline):
        def generate(self):
            while True:
                yield VideoFrame.from_ndarray(np.zeros((96, 160, 3), np.uint8))
"""


@pytest.mark.slow
def test_a_class_that_generates_is_called_without_input(folder: Folder, elsewhere: Path) -> None:
    folder.write(pipeline=MAKES)
    with dev(folder) as it:
        text = overview(it)
        line = block(text, "The shell")
        assert " -i " not in line and "--seconds 10" in line
        paste(line.replace("--seconds 10", "--seconds 4"), elsewhere)
        assert (elsewhere / "out.mp4").stat().st_size > 500
        program = block(text, "Python")
        assert "publish_file" not in program
        ended = program.replace("print(frame)", "print(frame); break")
        (elsewhere / "call.py").write_text(ended)
        assert "VideoFrame 160x96" in paste(f"{sys.executable} call.py", elsewhere)
    done = folder.livepeer("dev", *FREE, "--seconds", "4", "-o", "out.mp4")
    assert done.returncode == 0, done.stderr
    assert (folder.path / "out.mp4").stat().st_size > 500


@pytest.mark.slow
def test_several_pipelines_share_a_network_on_ports_that_are_free(
    folder: Folder, elsewhere: Path
) -> None:
    """Also where another `livepeer dev` has the usual ports."""
    folder.write(one=ONE, two=ONE.replace("Greeter", "Other").replace("Hello", "Good day"))
    with ExitStack() as taken:
        for port in (8000, 8935, 8937):
            with suppress(OSError):  # somebody has it already
                taken.enter_context(socket.create_server(("127.0.0.1", port)))
        with folder.running("dev", "one.py", "two.py") as it:
            it.wait_for(READY, 2)
            for name, answer in (("greeter", "Hello, Ada!"), ("other", "Good day, Ada!")):
                (line,) = re.findall(rf"^livepeer run {name} .*$", it.text, re.M)
                assert paste(line, elsewhere) == f"{answer}\n"
            assert it.interrupt() == 0, it.text
    assert "removed capability greeter" in it.text and "removed capability other" in it.text


@pytest.mark.slow
def test_a_pipeline_of_another_signature_gets_new_lines(folder: Folder) -> None:
    folder.write(pipeline=ONE)
    with dev(folder) as it:
        folder.write(pipeline=ONE.replace('"Ada"', '"Grace"'))
        assert "name=Grace" in it.wait_for("name=Grace")


@pytest.mark.slow
def test_a_setup_that_fails_is_told_and_mended_by_a_save(folder: Folder) -> None:
    cold = ONE + (
        "        @classmethod\n"
        "        def prepare_models(cls): ...\n"
        "        def setup(self): open(self.model_dir / 'none.bin')\n"
    )
    folder.write(pipeline=cold)
    with folder.running("dev", *FREE) as it:
        it.wait_for("does not serve: setup raised FileNotFoundError")
        it.wait_for("livepeer prepare")
        folder.write(pipeline=ONE)
        it.wait_for(READY)
        assert it.interrupt() == 0


def test_one_call_is_made_and_the_result_printed(folder: Folder) -> None:
    folder.write(pipeline=ONE)
    done = folder.livepeer("dev", *FREE, "-i", "name=Grace")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "Hello, Grace!\n"
    assert re.search(r"done after \d", done.stderr)


def test_a_paid_call_works_end_to_end_and_says_what_it_cost(folder: Folder) -> None:
    folder.write(pipeline=ONE)
    # A signer pays live runners alone, so it is the runner that is called, whatever its name.
    done = folder.livepeer("dev", *FREE, "--paid", "-i", "name=Grace", LIVEPEER_APP="me/app")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "Hello, Grace!\n"
    assert "me/app costs 2.4e+09 wei per second" in done.stderr
    assert "2.4e+10 wei were paid" in done.stderr  # ten seconds, in three tickets


@pytest.mark.slow
def test_one_live_call_tells_its_figures(folder: Folder, clip: Path) -> None:
    folder.write(pipeline=LIVE)
    done = folder.livepeer("dev", *FREE, "--input", str(clip), "--output", "out.mp4", "-p", "u=90")
    assert done.returncode == 0, done.stderr
    figures = r"(\d+) frames, \d+ fps, p50 .* ms, p95 .* ms, (\d+) dropped after"
    found = re.search(figures, done.stderr)
    assert found is not None, done.stderr
    assert int(found[1]) + int(found[2]) == 30  # in real time, on a machine that may be busy
    assert '{"type": "tinting", "u": 90}' in done.stderr
    from livepeer.trickle.media import VideoFrame, decode

    pictures = [one for one in decode(folder.path / "out.mp4") if isinstance(one, VideoFrame)]
    assert len(pictures) > 20
    assert abs(pictures[-1].planes[1].mean() - 90) < 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "arguments", "status", "words"),
    [
        (ONE, ("-i", "nme=x"), 5, "'nme' was unexpected"),
        (ONE.replace("return", "1 // 0; return"), ("-i", "name=x"), 1, "500"),
        ("1 / 0", ("-i", "name=x"), 1, "ZeroDivisionError"),
        (ONE, ("-o", "x"), 2, "--input too"),
    ],
)
def test_a_call_that_cannot_be_made_ends_it_with_the_reason(
    folder: Folder, source: str, arguments: tuple[str, ...], status: int, words: str
) -> None:
    folder.write(pipeline=source)
    done = folder.livepeer("dev", *FREE, *arguments)
    assert done.returncode == status, done.stderr
    assert words in done.stderr


@pytest.mark.parametrize(
    "option",
    [
        "--orch-port",
        pytest.param("--port", marks=pytest.mark.slow),
        pytest.param("--gateway-port", marks=pytest.mark.slow),
    ],
)
def test_a_port_in_use_names_its_option(folder: Folder, option: str) -> None:
    folder.write(pipeline=ONE)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = folder.livepeer("dev", *FREE, option, port)
    assert done.returncode == 1
    assert f"Say {option} with another one" in done.stderr


@pytest.mark.slow
def test_killed_it_takes_the_pipeline_with_it(folder: Folder) -> None:
    folder.write(pipeline=ONE)
    with folder.running("dev", *FREE) as it:
        it.wait_for(READY)
        children = psutil.Process(it.process.pid).children(recursive=True)
        os.kill(it.process.pid, signal.SIGKILL)
        assert not psutil.wait_procs(children, timeout=60)[1]


@pytest.mark.slow
def test_another_networks_settings_do_not_lead_it_astray(folder: Folder) -> None:
    folder.write(pipeline=ONE)
    with folder.running(
        "dev", *FREE, ORCH_URL="https://example.invalid", ORCH_SECRET="x", PREPARE_MODELS="1"
    ) as it:
        it.wait_for(READY)
        url = re.search(r"(http://127\.0\.0\.1:\d+)/docs", it.text)
        assert url is not None
        try:
            with urlopen(f"{url[1]}/health", timeout=30) as answer:
                health = json.load(answer)
        except URLError as error:
            pytest.fail(str(error))
        assert [one["status"] for one in health["registration"]] == ["registered"] * 2
        assert it.interrupt() == 0


def test_it_starts_where_the_home_cannot_be_written(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A file in the folder's place: nobody can write there, not even root."""
    home = tmp_path / "home"
    home.write_text("")
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "LIVEPEER_PINS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    folder.write(pipeline=ONE)
    done = folder.livepeer("dev", *FREE, "-i", "name=Grace")
    assert "pins.json cannot be written" in done.stderr
    assert (done.returncode, done.stdout) == (0, "Hello, Grace!\n"), done.stderr
