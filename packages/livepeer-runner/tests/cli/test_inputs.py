"""`-i` arguments are read by the signature: text for text fields, JSON for any other."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import ValidationError

from livepeer.runner import Image
from livepeer.runner.author.signature import PredictSignature
from livepeer.runner.cli.inputs import documents, pairs, read

PNG = b"\x89PNG\r\n\x1a\n and the rest"


def predict(
    text: str = "",
    n: int = 1,
    tags: list[str] = [],  # noqa: B006 — never written
    image: Image | None = None,
) -> int:
    return 0


SIGNATURE = PredictSignature.of(predict)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with some files, and a standard input."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO('{"text": "stdin", "n": 7}'))
    Path("i.png").write_bytes(PNG)
    Path("t.txt").write_text("from a file")
    Path("all.json").write_text('{"text": "all"}')
    Path("list.json").write_text("[1]")
    Path("bad.json").write_text("{")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], {}),
        (["text=hi", "n=3"], {"text": "hi", "n": 3}),
        (["text=3"], {"text": "3"}),
        (["text=a=b"], {"text": "a=b"}),
        (["text="], {"text": ""}),
        (["tags=a", "tags=b"], {"tags": ["a", "b"]}),
        (['tags=["a"]'], {"tags": ["a"]}),
        (["text=@t.txt"], {"text": "from a file"}),
        (["image=@i.png"], {"image": PNG}),
        (["-"], {"text": "stdin", "n": 7}),
        (["@-", "n=8"], {"text": "stdin", "n": 8}),
        (["@all.json"], {"text": "all"}),
        (["-", "image=@i.png"], {"text": "stdin", "n": 7, "image": PNG}),
    ],
)
def test_a_value_is_what_its_field_takes(arguments: list[str], expected: dict[str, Any]) -> None:
    found: Any = read(SIGNATURE, arguments)
    image = found.image.data if found.image is not None else None
    told = {"text": found.text, "n": found.n, "tags": found.tags, "image": image}
    assert told == {"text": "", "n": 1, "tags": [], "image": None} | expected


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("n", "'n' is not K=V; the fields are text, n, tags, image"),
        ("=1", "is not K=V"),
        ("image=@none.png", "image: none.png cannot be read: No such file"),
        ("text=@i.png", "text is text, and i.png is not"),
        ("@none.json", "none.json: No such file"),
        ("@bad.json", "bad.json is no JSON"),
    ],
)
def test_what_cannot_be_read_is_told(argument: str, words: str) -> None:
    with pytest.raises(typer.BadParameter) as caught:
        read(SIGNATURE, [argument])
    assert words in str(caught.value)


@pytest.mark.parametrize("argument", ["n=many", "m=1", "image=!!"])
def test_what_does_not_fit_is_left_to_validation(argument: str) -> None:
    with pytest.raises(ValidationError):
        read(SIGNATURE, [argument])


def test_fields_go_into_an_object_only() -> None:
    with pytest.raises(typer.BadParameter, match="JSON object"):
        read(SIGNATURE, ["@list.json", "n=1"])


def test_live_parameters_are_json_where_they_can_be() -> None:
    assert pairs(["u=90", "name=Ada", "box=[1, 2]"], "-p") == {
        "u": 90,
        "name": "Ada",
        "box": [1, 2],
    }
    with pytest.raises(typer.BadParameter):
        pairs(["u"], "-p")


def test_the_name_of_a_file_without_its_sign_says_what_to_write() -> None:
    with pytest.raises(typer.BadParameter, match=r"write image=@i\.png"):
        read(SIGNATURE, ["image=i.png"])
    assert read(SIGNATURE, ["text=t.txt"]).text == "t.txt"  # type: ignore[attr-defined]


def test_inputs_without_a_signature_are_pairs_files_or_lines(tmp_path: Path) -> None:
    picture = tmp_path / "dot.png"
    picture.write_bytes(PNG)
    (tmp_path / "in.jsonl").write_text('{"a": 1}\n\n{"a": "x"}\n')
    assert documents(["n=3", "text=hi"]) == [{"n": 3, "text": "hi"}]
    (one,) = documents([f"image=@{picture}"])
    assert one["image"].startswith("data:image/png;base64,")
    assert documents([f"@{tmp_path}/in.jsonl"]) == [{"a": 1}, {"a": "x"}]
    assert documents([]) == []
    assert documents([f'text="@{picture}"']) == [{"text": f"@{picture}"}]  # JSON: no file
    (tmp_path / "bad.jsonl").write_text("[1]\n")
    for wrong in (f"@{tmp_path}/bad.jsonl", f"@{tmp_path}/none", f"image=@{tmp_path}/none"):
        with pytest.raises(typer.BadParameter):
            documents([wrong])
