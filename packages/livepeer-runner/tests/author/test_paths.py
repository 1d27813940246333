"""`Path` in a signature is a file that is sent, never one of this machine."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import IO, Annotated, Any, BinaryIO, NamedTuple

import httpx
import pytest
from pydantic import BaseModel, DirectoryPath, Field, FilePath, NewPath
from typing_extensions import TypedDict

from livepeer.runner import LivePipeline, Pipeline
from livepeer.runner.author.signature import PredictSignature
from livepeer.runner.exceptions import SignatureError
from livepeer.runner.live.params import ParamsType

Serve = Any
LIMIT = 60
TEXT = base64.b64encode(b"hello").decode()


def uri(data: bytes, kind: str = "text/plain") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


class Shows(Pipeline):
    """What is in a document, and where it lies."""

    def predict(self, doc: Path) -> dict[str, str]:
        return {"text": doc.read_text(), "path": str(doc)}


NAMES = ["/etc/passwd", "../../etc/passwd", "file:///etc/passwd", "~/.ssh/id_rsa", "pipeline.py"]


@pytest.mark.parametrize("name", NAMES)
async def test_the_name_of_a_file_of_the_server_is_refused_however_it_is_sent(
    served: Serve, name: str
) -> None:
    async with served(Shows) as s:
        for answer in (
            await s.post(doc=name),
            await s.http.post("/predict", data={"doc": name}),
            await s.http.post("/predict", files={"doc": (None, name)}),
        ):
            assert answer.status_code == 422, answer.text
            assert answer.json()["error"]["fields"][0]["name"] == "doc"


async def test_what_is_sent_is_a_temporary_file_which_is_gone_after_the_job(served: Serve) -> None:
    async with served(Shows) as s:
        for answer in (
            await s.post(doc=uri(b"hello")),
            await s.post(doc=TEXT),
            await s.http.post("/predict", files={"doc": ("../notes.txt", b"hello")}),
        ):
            assert answer.status_code == 200, answer.text
            told = answer.json()
            assert told["text"] == "hello"
            await s.until(lambda path=told["path"]: not os.path.exists(path))
        assert told["path"].endswith(".txt"), "libraries look at the ending"
        assert "notes" not in told["path"]


async def test_it_lives_as_long_as_the_job_whatever_becomes_of_its_caller(served: Serve) -> None:
    go, seen = threading.Event(), []

    class Slow(Pipeline):
        def predict(self, doc: Path) -> None:
            seen.append(doc)
            go.wait(LIMIT)
            seen.append(doc.read_bytes())

    async with served(Slow) as s:
        call = asyncio.create_task(s.post(doc=TEXT))
        await s.until(lambda: bool(seen))
        call.cancel()
        await asyncio.wait({call})
        assert seen[0].exists()
        go.set()
        await s.until(lambda: len(seen) == 2 and not seen[0].exists())
        assert seen[1] == b"hello"


async def test_a_url_is_fetched_within_the_bounds_of_files(served: Serve) -> None:
    async with served(Shows) as s:
        answer = await s.post(doc=f"http://127.0.0.1:{s.port}/health")
        assert answer.status_code == 422
        assert "not a public address" in answer.json()["error"]["message"]
    async with served(Shows, allow_private_urls=True) as s:
        answer = await s.post(doc=f"http://127.0.0.1:{s.port}/health")
        assert '"status"' in answer.json()["text"]


async def test_lists_and_optional_ones_and_those_of_a_batch_and_a_stream(served: Serve) -> None:
    class Many(Pipeline):
        async def predict(
            self, docs: list[Path], named: dict[str, Path] | None = None, more: Path | None = None
        ) -> str:
            files = [*docs, *(named or {}).values(), *([more] if more else [])]
            return " ".join(file.read_text() for file in files)

    class Batch(Pipeline):
        def predict_batch(self, inputs: list[Path]) -> list[str]:
            return [file.read_text() for file in inputs]

    class Lines(Pipeline):
        def predict(self, doc: Path) -> Iterator[str]:
            yield from doc.read_text().split()

    async with served(Many) as s:
        whole = {"docs": [uri(b"a"), uri(b"b")], "named": {"x": uri(b"c")}, "more": uri(b"d")}
        assert (await s.post(**whole)).json() == "a b c d"
        files: Any = [("docs", ("a.txt", b"a")), ("docs", ("b.txt", b"b"))]
        assert (await s.http.post("/predict", files=files)).json() == "a b"
    async with served(Batch) as s:
        assert (await s.post(input=TEXT)).json() == "hello"
    async with served(Lines) as s:
        assert (await s.post(doc=uri(b"x y"))).text == 'data: "x"\n\ndata: "y"\n\ndata: [DONE]\n\n'


PNG = b"\x89PNG\r\n\x1a\n0000"


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("out.png", PNG, "image/png"),
        ("out.csv", b"a,b", "text/csv"),
        ("out", b"a", "application/octet-stream"),
    ],
)
async def test_a_returned_path_is_the_bytes_of_the_file(
    served: Serve, tmp_path: Path, name: str, content: bytes, kind: str
) -> None:
    made = tmp_path / name
    made.write_bytes(content)

    class Gives(Pipeline):
        def predict(self) -> Path:
            return made

    class GivesSome(Pipeline):
        async def predict(self) -> list[Path | None]:
            return [made, None]

    class Yields(Pipeline):
        def predict(self) -> Iterator[Path]:
            yield made

    async with served(Gives) as s:
        answer = await s.post()
        assert (answer.content, answer.headers["content-type"]) == (content, kind)
    async with served(GivesSome) as s:
        assert (await s.post()).json() == [uri(content, kind), None]
    async with served(Yields) as s:
        assert uri(content, kind) in (await s.post()).text
    assert made.exists(), "an author's file is the author's"


@pytest.mark.parametrize("returned", [Path("/no/such/file"), Path("/etc"), "/etc/hostname"])
async def test_a_path_that_leads_nowhere_is_the_pipelines_fault_and_is_not_told(
    served: Serve, returned: Any
) -> None:
    class Gives(Pipeline):
        def predict(self) -> Path:
            return returned  # type: ignore[no-any-return]

    async with served(Gives) as s:
        answer: httpx.Response = await s.post()
        assert answer.status_code == 500
        assert "/etc" not in answer.text and "/no" not in answer.text


class Inside(BaseModel):
    doc: Path


class Deeper(BaseModel):
    inner: list[Inside] = []


@dataclasses.dataclass
class Data:
    doc: Path | None = None


class Typed(TypedDict):
    doc: Path


class Named(NamedTuple):
    doc: Path


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (Inside, "`Inside.doc` is a Path.*write `doc: File`"),
        (list[Deeper], "`Inside.doc` is a Path"),
        (Data, "`Data.doc` is a Path"),
        (Typed, "`Typed.doc` is a Path"),
        (Named, "write File"),
        (FilePath, "names a file of this machine.*write `Path`"),
        (DirectoryPath, "names a file of this machine"),
        (list[NewPath], "names a file of this machine"),
        (PurePath, "write `Path`"),
        (os.PathLike[str], "write `Path`"),
        (BinaryIO, "write `File`: its `open\\(\\)` gives"),
        (IO[bytes] | None, "write `File`"),
        (io.BytesIO, "write `File`"),
    ],
)
@pytest.mark.parametrize("side", ["input", "output"])
def test_what_would_name_a_file_of_the_server_is_refused_with_what_to_write(
    hint: Any, words: str, side: str
) -> None:
    def predict(value: Any) -> Any: ...

    def other(value: Any, more: int = 0) -> Any: ...

    for function in (predict, other):
        function.__annotations__ = {"value": str, "more": int, "return": str} | {
            "value" if side == "input" else "return": hint
        }
        with pytest.raises(SignatureError, match=words):
            PredictSignature.of(function)


def test_a_default_that_names_a_file_is_refused_with_what_to_write() -> None:
    def predict(doc: Path = Path("sample.png")) -> str: ...

    with pytest.raises(SignatureError, match=r"write `doc: Path \| None = None`"):
        PredictSignature.of(predict)


def test_live_parameters_name_no_file_either() -> None:
    class Live(LivePipeline):
        params: Inside

    with pytest.raises(SignatureError, match=r"`Inside\.doc` is a Path"):
        ParamsType.of(Live)


def test_its_schema_is_that_of_a_file() -> None:
    def predict(
        doc: Annotated[Path, Field(description="A text.")], more: list[Path] | None = None
    ) -> Path: ...

    signature = PredictSignature.of(predict)
    schema = signature.input_schema()["properties"]["doc"]
    assert (schema["format"], schema["description"]) == ("file", "A text.")
    assert signature.accepts_files and signature.accepts_multipart
    assert signature.form_fields["more"].is_list and signature.form_fields["more"].is_file
    assert signature.content_type == "*/*"
    assert signature.example["doc"].startswith("data:text/plain")
