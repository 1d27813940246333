"""`livepeer.runner.testing.client`: an author's test is three lines."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from livepeer.runner import File, Image, Pipeline, errors
from livepeer.runner.testing import CallFailed, client


class Greeter(Pipeline):
    def setup(self) -> None:
        self.greeting = "Hello"

    def predict(self, name: str) -> str:
        if name == "nobody":
            raise errors.InvalidInput("nobody is nobody", field="name")
        return f"{self.greeting}, {name}"


class Count(Pipeline):
    def predict(self, to: int) -> Iterator[int]:
        for i in range(to):
            self.progress(i / to, "counting")
            yield i
            if i == 5:
                raise errors.PipelineError("cannot count past five")


class Broken(Pipeline):
    def setup(self) -> None:
        raise OSError("no weights")

    def predict(self) -> str:
        return ""


def test_a_pipeline_is_tested_in_three_lines() -> None:
    with client(Greeter) as greeter:
        assert greeter.predict(name="Ada") == "Hello, Ada"


def test_the_client_is_an_http_client_of_the_real_app() -> None:
    with client(Greeter) as greeter:
        assert greeter.get("/").json()["id"] == "greeter"
        assert greeter.post("/predict", json={"name": "Ada"}).json() == "Hello, Ada"


def test_an_error_is_raised_with_its_status_and_fields() -> None:
    with client(Greeter) as greeter, pytest.raises(CallFailed) as caught:
        greeter.predict(name="nobody")
    assert (caught.value.status, caught.value.type) == (422, "invalid_input")
    assert caught.value.fields == [
        {"name": "name", "message": "nobody is nobody", "type": "value_error"}
    ]


def test_a_stream_is_a_list_or_an_iterator_of_its_events() -> None:
    with client(Count) as count:
        assert count.predict(to=3) == [0, 1, 2]
        assert list(count.events(to=3)) == [0, 1, 2]


def test_an_error_in_the_middle_of_a_stream_is_raised_after_the_events_before_it() -> None:
    got = []
    with client(Count) as count, pytest.raises(CallFailed, match="cannot count past five"):
        for item in count.events(to=9):
            got.append(item)  # noqa: PERF402 — the list has to survive the exception
    assert got == [0, 1, 2, 3, 4, 5]


def test_a_setup_that_raises_is_reported_with_its_reason() -> None:
    with (
        pytest.raises(RuntimeError, match=r"Broken cannot be served: .*no weights"),
        client(Broken),
    ):
        pass


class Sizes(Pipeline):
    def predict(self, files: list[File], names: dict[str, list[int]] | None = None) -> list[str]:
        return [f"{file.media_type} {file.size}" for file in files]


class Mirror(Pipeline):
    def predict(self, picture: Image) -> Iterator[Image]:
        yield picture


def test_files_are_passed_as_an_author_has_them(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    picture = PIL.Image.new("RGB", (2, 3), "red")
    picture.save(path)
    data = path.read_bytes()
    size = f"image/png {len(data)}"
    with client(Sizes) as sizes, path.open("rb") as opened:
        files = [path, data, bytearray(data), picture, Image(path), File(data), opened]
        assert sizes.predict(files=files) == [size] * len(files)
        assert sizes.predict(files=[], names={"boxes": np.array([1, 2])}) == []
        with pytest.raises(ValueError, match=r"`names\.x` is of type object"):
            sizes.predict(files=[], names={"x": object()})
    with client(Mirror) as mirror:
        assert list(mirror.events(picture=path)) == [File(data, "image/png").data_uri()]
        assert mirror.predict(picture=picture) == [File(data, "image/png").data_uri()]


def test_without_httpx_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['httpx'] = None\n"
        "try:\n    from livepeer.runner.testing import client\n"
        "except ImportError as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert "pip install 'livepeer-runner[dev]'" in done.stdout
