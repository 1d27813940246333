"""`livepeer predict`: one call in this process, on what a shell has."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import threading
import wave
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest
import typer

if TYPE_CHECKING:
    from conftest import Folder

PNG = b"\x89PNG\r\n\x1a\n and the rest"

BATCH = """
    from typing import Annotated
    from pydantic import Field
    from livepeer.runner import Image, Pipeline, errors

    class Takes(Pipeline):
        def predict(
            self, text: str = "", n: int = 1, tags: list[str] = [], image: Image | None = None
        ) -> dict[str, object]:
            return {"text": text, "n": n, "tags": tags, "bytes": image.size if image else 0}

    class Same(Pipeline):
        def predict(self, image: Image) -> Image: return image

    class Says(Pipeline):
        async def predict(self, name: Annotated[str, Field(max_length=5)]) -> str:
            return f"Hello, {name}!"

    class Fails(Pipeline):
        def predict(self, how: str) -> int:
            if how == "refuse":
                raise errors.InvalidInput("there is no face in it", field="how")
            if how == "told":
                raise errors.PipelineError("the model ran out of memory")
            if how == "misfit":
                return "no number"
            return 1 // 0

    class Cold(Pipeline):
        def setup(self): raise ValueError("no weights here")
        def predict(self) -> int: return 1

    class Together(Pipeline):
        def predict_batch(self, inputs: list[int]) -> list[int]: return [2 * one for one in inputs]
"""

STREAM = """
    import time
    from collections.abc import AsyncIterator, Iterator
    from livepeer.runner import Pipeline

    class Count(Pipeline):
        def predict(self, to: int, pause: float = 0, fail_at: int = -1) -> Iterator[int]:
            try:
                for number in range(to):
                    if number == fail_at:
                        raise ValueError("enough")
                    self.progress(number / to, f"step {number}")
                    yield number
                    time.sleep(pause)
            finally:
                print("closed", flush=True)

    class CountAsync(Pipeline):
        async def predict(self, to: int) -> AsyncIterator[dict[str, int]]:
            for number in range(to):
                yield {"number": number}
"""


@pytest.fixture
def batch(folder: Folder) -> Folder:
    folder.write(batch=BATCH)
    return folder


def test_input_comes_from_stdin_arguments_and_files(batch: Folder) -> None:
    (batch.path / "i.png").write_bytes(PNG)
    done = batch.livepeer(
        "predict",
        *("batch.py:Takes", "-i", "-", "-i", "n=8", "-i", "image=@i.png"),
        input='{"text": "stdin", "n": 7}',
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"text": "stdin", "n": 8, "tags": [], "bytes": len(PNG)}
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-i", "n=many", "-i", "m=1"], "n: Input should be a valid integer"),
        (["-i", "image=@none.png"], "image: none.png cannot be read: No such file"),
        (["-p", "u=1"], "is for a live class"),
    ],
)
def test_bad_input_is_told_by_field_and_runs_nothing(
    batch: Folder, arguments: list[str], words: str
) -> None:
    done = batch.livepeer("predict", "batch.py:Takes", *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stdout == ""


def test_what_an_author_prints_stays_out_of_the_result_that_a_program_reads(folder: Folder) -> None:
    folder.write(
        loud="""
            from livepeer.runner import Pipeline

            print("imported")

            class Loud(Pipeline):
                def setup(self) -> None:
                    print("set up")

                def predict(self, text: str) -> str:
                    print("called")
                    return text
        """
    )
    done = folder.livepeer("predict", "loud.py", "-i", "text=hi")
    assert (done.returncode, json.loads(done.stdout)) == (0, "hi")
    assert done.stderr.split("\n")[:3] == ["imported", "set up", "called"]
    done = folder.livepeer("schema", "loud.py")
    assert (json.loads(done.stdout)["id"], done.stderr) == ("loud", "imported\n")


def test_a_file_comes_out_as_it_is(batch: Folder) -> None:
    (batch.path / "i.png").write_bytes(PNG)
    done = batch.livepeer("predict", "batch.py:Same", "-i", "image=@i.png", "-o", "o.png")
    assert (batch.path / "o.png").read_bytes() == PNG
    assert (done.returncode, done.stdout) == (0, "")
    assert f"image/png, {len(PNG)} bytes -> o.png" in done.stderr


def test_a_file_that_is_a_url_is_fetched_also_from_this_machine(batch: Folder) -> None:
    class Serve(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "image/png")
            self.end_headers()
            self.wfile.write(PNG)

        def log_message(self, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Serve) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/i.png"
        done = batch.livepeer("predict", "batch.py:Same", "-i", f"image={url}", "-o", "o.png")
        server.shutdown()
    assert done.returncode == 0, done.stderr
    assert (batch.path / "o.png").read_bytes() == PNG


def test_a_result_is_json_on_a_pipe_and_goes_to_a_file(batch: Folder) -> None:
    assert batch.livepeer("predict", "batch.py:Says", "-i", "name=Ada").stdout == '"Hello, Ada!"\n'
    batch.livepeer("predict", "batch.py:Says", "-i", "name=Ada", "-o", "o.txt")
    assert (batch.path / "o.txt").read_text() == "Hello, Ada!"
    batch.livepeer("predict", "batch.py:Takes", "-o", "o.json")
    assert json.loads((batch.path / "o.json").read_text())["n"] == 1


def test_a_class_that_gathers_calls_takes_one(batch: Folder) -> None:
    done = batch.livepeer("predict", "batch.py:Together", "-i", "input=4")
    assert done.stdout == "8\n", done.stderr


@pytest.mark.parametrize(
    ("how", "status", "words", "traced"),
    [
        ("refuse", 2, "how: there is no face in it", False),
        ("told", 1, "Error: the model ran out of memory", False),
        ("misfit", 1, "does not fit its declared type", False),
        ("raise", 1, "predict raised ZeroDivisionError", True),
    ],
)
def test_a_call_that_fails_says_why(
    batch: Folder, how: str, status: int, words: str, traced: bool
) -> None:
    done = batch.livepeer("predict", "batch.py:Fails", "-i", f"how={how}")
    assert done.returncode == status
    assert words in done.stderr
    assert ('batch.py", line' in done.stderr) == traced
    assert "livepeer/runner" not in done.stderr, "the author's frames, not ours"


def test_a_setup_that_fails_says_where(batch: Folder) -> None:
    done = batch.livepeer("predict", "batch.py:Cold")
    assert done.returncode == 1
    assert "setup raised ValueError: no weights here" in done.stderr
    assert 'batch.py", line' in done.stderr
    assert "livepeer/runner" not in done.stderr, "the author's frames, not ours"
    assert "livepeer prepare" not in done.stderr, "there is nothing to prepare"


def test_a_setup_without_its_models_says_how_to_get_them(folder: Folder) -> None:
    folder.write(
        pipeline="""
        from livepeer.runner import Pipeline


        class Cold(Pipeline):
            @classmethod
            def prepare_models(cls) -> None: ...

            def setup(self) -> None:
                open(self.model_dir / "none.bin")

            def predict(self, text: str) -> str:
                return text
        """
    )
    done = folder.livepeer("predict", "-i", "text=x")
    assert done.returncode == 1
    told, explain = done.stderr.splitlines()[-2:]
    assert told.startswith("Error: setup raised FileNotFoundError")
    assert "run `livepeer prepare`" in told
    assert explain == "livepeer explain setup_failed"


@pytest.mark.parametrize("output", ["nowhere/out.json", "."])
def test_an_output_that_cannot_be_written_is_refused_before_anything_runs(
    batch: Folder, output: str
) -> None:
    done = batch.livepeer("predict", "batch.py:Cold", "-i", "name=x", "-o", output)
    assert done.returncode == 2
    assert "nowhere" in done.stderr or "cannot be written" in done.stderr
    assert "setup raised" not in done.stderr


def test_events_are_printed_one_on_each_line(folder: Folder) -> None:
    folder.write(stream=STREAM)
    done = folder.livepeer("predict", "stream.py:CountAsync", "-i", "to=3")
    assert done.stdout == '{"number": 0}\n{"number": 1}\n{"number": 2}\n'


def test_events_come_while_the_generator_still_runs(folder: Folder) -> None:
    folder.write(stream=STREAM)
    with folder.running("predict", "stream.py:Count", "-i", "to=1000", "-i", "pause=0.05") as it:
        it.wait_for("3\n")
        assert it.process.poll() is None
        assert it.interrupt() == 130
        assert "closed" in it.text
        assert "Traceback" not in it.text


def test_events_before_an_error_are_kept(folder: Folder) -> None:
    folder.write(stream=STREAM)
    done = folder.livepeer(
        "predict", "stream.py:Count", "-i", "to=9", "-i", "fail_at=2", "-o", "events.jsonl"
    )
    assert done.returncode == 1
    assert "predict raised ValueError: enough" in done.stderr
    assert (folder.path / "events.jsonl").read_text() == "0\n1\n"


def test_progress_is_drawn_on_a_terminal_and_the_pipe_gets_only_events(folder: Folder) -> None:
    folder.write(stream=STREAM.replace('print("closed", flush=True)', "pass"))
    ours, theirs = pty.openpty()
    with folder.running(
        "predict", "stream.py:Count", "-i", "to=3", "-i", "pause=0.3", terminal=theirs
    ) as it:
        os.close(theirs)
        shown = b""
        while True:
            try:
                shown += os.read(ours, 4096)
            except OSError:
                break
        assert it.end() == 0
    os.close(ours)
    assert it.text == "0\n1\n2\n"
    assert "step 1" in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())


LIVE = """
    from pydantic import BaseModel, Field
    from livepeer.runner import LivePipeline, VideoFrame

    class Params(BaseModel):
        u: int = Field(128, ge=0, le=255)

    class Tint(LivePipeline):
        params: Params
        def process_video(self, frame: VideoFrame) -> VideoFrame:
            frame.planes[1][:] = self.params.u
            self.emit_data({"time": float(frame.time)})
            return frame

    class Drops(LivePipeline):
        def process_video(self, frame: VideoFrame) -> None: return None

    class Fails(LivePipeline):
        max_errors = 3
        on_error = "drop"
        def process_video(self, frame: VideoFrame) -> VideoFrame: return 1 // 0

    class Makes(LivePipeline):
        def generate(self):
            import numpy as np
            while True:
                yield VideoFrame.from_ndarray(np.zeros((96, 160, 3), np.uint8))
"""


@pytest.fixture
def live(folder: Folder) -> Folder:
    folder.write(live=LIVE)
    return folder


def test_a_live_class_runs_on_a_clip(live: Folder, clip: Path) -> None:
    from livepeer.trickle.media import VideoFrame, decode

    done = live.livepeer("predict", "live.py:Tint", "-i", str(clip), "-o", "out.mp4", "-p", "u=90")
    assert done.returncode == 0, done.stderr
    frames = list(decode(live.path / "out.mp4"))
    assert len(frames) == 30
    for frame in frames:
        assert isinstance(frame, VideoFrame)
        assert abs(frame.planes[1].mean() - 90) < 4
    assert len(done.stdout.splitlines()) == 30
    assert json.loads(done.stdout.splitlines()[0]) == {"time": 0.0}
    assert re.search(
        r"frames 30, fps .*latency p50 ms .*dropped 0, errors 0, records 30", done.stderr
    )


def test_data_records_go_to_a_file_by_its_ending(live: Folder, clip: Path) -> None:
    done = live.livepeer("predict", "live.py:Tint", "-i", str(clip), "-o", "records.jsonl")
    assert done.stdout == ""
    assert len((live.path / "records.jsonl").read_text().splitlines()) == 30


def test_a_class_that_generates_runs_for_as_long_as_it_is_told(live: Folder) -> None:
    done = live.livepeer("predict", "live.py:Makes", "--seconds", "1", "-o", "out.mkv")
    assert done.returncode == 0, done.stderr
    assert (live.path / "out.mkv").stat().st_size > 500


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["live.py:Tint"], 2, "Tint is live: name a clip, -i in.mp4"),
        (["live.py:Tint", "-i", "none.mp4"], 2, "none.mp4 is no file"),
        (["live.py:Tint", "-i", "u=90"], 2, "parameters are -p"),
        (["live.py:Tint", "-i", "live.py"], 2, "is not a media file"),
        (["live.py:Tint", "-i", "CLIP", "-p", "u=300"], 2, "u: Input should be less than"),
        (
            ["live.py:Tint", "-i", "CLIP", "-p", "uu=90"],
            2,
            "uu: there is no such parameter: did you mean 'u'?",
        ),
        (["live.py:Tint", "-i", "CLIP", "-o", "out.gif"], 2, "ends in none of .mp4"),
        (["live.py:Makes"], 2, "say how long"),
        (["live.py:Drops", "-i", "CLIP", "-o", "out.mp4"], 1, "nothing came out"),
        (["live.py:Fails", "-i", "CLIP"], 1, "3 errors in a row"),
    ],
)
def test_a_live_run_that_cannot_be_says_why(
    live: Folder, clip: Path, arguments: list[str], status: int, words: str
) -> None:
    given = [str(clip) if one == "CLIP" else one for one in arguments]
    done = live.livepeer("predict", *given)
    assert done.returncode == status, done.stderr
    assert words in done.stderr


LOUDER = """
    from livepeer.runner import AudioFrame, LivePipeline
    class Louder(LivePipeline):
        def process_audio(self, frame: AudioFrame) -> AudioFrame:
            if frame.time == 0:
                self.emit_event({"type": "heard", "rate": frame.rate})
            return frame.replace(frame.samples * 0.5)
"""


@pytest.mark.parametrize(
    "name", ["out.wav", "out.m4a", pytest.param("out.mp4", marks=pytest.mark.slow)]
)
def test_sound_alone_is_counted_and_written_as_its_name_says(folder: Folder, name: str) -> None:
    folder.write(louder=LOUDER)
    with wave.open(str(folder.path / "in.wav"), "wb") as file:
        file.setparams((1, 2, 48000, 0, "NONE", ""))
        file.writeframes((np.sin(np.arange(48000) / 10) * 8000).astype("<i2").tobytes())
    done = folder.livepeer("predict", "louder.py", "-i", "in.wav", "-o", name)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^sound s (0\.9|1\.0)", done.stderr, re.M), done.stderr
    assert 'event {"type": "heard", "rate": 48000' in done.stderr
    with av.open(str(folder.path / name)) as file:
        assert (file.format.name.split(",")[0], len(file.streams)) == (
            "wav" if name.endswith("wav") else "mov",
            1,
        )


def test_a_playlist_in_place_of_a_clip_opens_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from livepeer.runner.cli.predict_live import _duration

    cases = Path(__file__).parents[3] / "livepeer-trickle/tests/media/differential/cases"
    shutil.copy(cases / "one_second.ts", tmp_path / "other.ts")
    playlist = tmp_path / "clip.m3u8"
    lines = ("#EXTM3U", "#EXT-X-TARGETDURATION:1", "#EXTINF:1.0,", "other.ts", "#EXT-X-ENDLIST")
    playlist.write_text("\n".join(lines) + "\n")
    with pytest.raises(typer.Exit):
        _duration(playlist)
    assert "not a media file that can be decoded" in capsys.readouterr().err
