"""Files, arrays and pictures in, `FileOutput` out, and what a schema says before that."""

from __future__ import annotations

import base64
import collections
import datetime
import decimal
import enum
import io
import json
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from livepeer.client import FileOutput, Gateway, InvalidInputError, ProtocolError, Schema
from livepeer.client.files import decode, encode, sniff
from livepeer.client.protocol.results import value_of
from livepeer.client.protocol.wire import compact_json
from livepeer.client.testing import HANG, reply

Start = Callable[..., Any]


class Kind(enum.Enum):
    WARM = "warm"


PICTURE = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
IMAGE = {
    "type": "string",
    "format": "file",
    "contentEncoding": "base64",
    "contentMediaType": "image/*",
}
SCHEMA = {
    "id": "upscale",
    "input": {
        "type": "object",
        "$defs": {"Image": IMAGE},
        "properties": {
            "image": {"anyOf": [{"$ref": "#/$defs/Image"}, {"type": "null"}]},
            "raw": {"type": "string", "format": "base64"},
            "many": {"type": "array", "items": {"$ref": "#/$defs/Image"}},
            "numbers": {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}},
            "scale": {"type": "integer", "minimum": 1, "maximum": 4},
            "model": {"type": "string"},
        },
        "required": ["image"],
    },
    "output": {"type": "object", "properties": {"raw": {"type": "string", "format": "base64"}}},
}


def pixels(text: str) -> np.ndarray[Any, Any]:
    data = base64.b64decode(text.partition(",")[2] or text)
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize("kind", ["numpy", "pil", "bytes", "path", "open", "output"])
def test_every_kind_of_picture_is_encoded_as_the_schema_says(kind: str, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(PICTURE).save(buffer, format="PNG")
    path = tmp_path / "cat.png"
    path.write_bytes(buffer.getvalue())
    with path.open("rb") as opened:
        value: Any = {
            "numpy": PICTURE,
            "pil": Image.fromarray(PICTURE),
            "bytes": buffer.getvalue(),
            "path": path,
            "open": opened,
            "output": FileOutput(buffer.getvalue(), "image/png"),
        }[kind]
        sent = encode({"image": value, "many": [value] if kind != "open" else []}, SCHEMA["input"])
        if kind != "open":
            assert sent["many"] == [sent["image"]]
            assert "," not in encode({"raw": value}, SCHEMA["input"])["raw"]
            assert np.array_equal(pixels(encode({"x": value})["x"]), PICTURE)  # without a schema
    assert sent["image"].startswith("data:image/png;base64,")
    assert np.array_equal(pixels(sent["image"]), PICTURE)


@given(
    st.integers(1, 5),
    st.integers(1, 5),
    st.sampled_from([(), (3,), (4,), (1,)]),
    st.randoms(use_true_random=False),
)
def test_arrays_of_every_shape_of_picture_survive(
    height: int, width: int, channels: tuple[int, ...], random: Any
) -> None:
    array = np.frombuffer(random.randbytes(height * width * (channels or (1,))[0]), np.uint8)
    array = array.reshape(height, width, *channels)
    found = pixels(encode({"image": array}, SCHEMA["input"])["image"])
    assert np.array_equal(found, array.reshape(found.shape))


def test_arrays_of_numbers_are_numbers() -> None:
    assert encode({"x": np.float32(0.5), "y": np.int64(3)}) == {"x": 0.5, "y": 3}
    assert encode({"v": np.zeros((2, 2), np.float64)}) == {"v": [[0.0, 0.0], [0.0, 0.0]]}
    assert encode({"numbers": np.ones((1, 2), np.uint8)}, SCHEMA["input"]) == {"numbers": [[1, 1]]}


def test_what_cannot_be_sent_names_its_place(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"boxes\.1\.x: .* type object") as caught:
        encode({"boxes": [{}, {"x": object()}]})
    assert caught.value.fields[0].field == "boxes.1.x"
    with pytest.raises(InvalidInputError, match=r"image: .*none\.png cannot be read"):
        encode({"image": tmp_path / "none.png"})
    for number in (float("nan"), np.float32("inf"), np.full((2,), np.nan)):
        with pytest.raises(InvalidInputError, match=r"^boxes: "):
            encode({"boxes": number})
    with pytest.raises(InvalidInputError, match="no picture"):
        encode({"image": np.zeros((2, 2, 7), np.uint8)}, SCHEMA["input"])


async def test_what_no_json_can_hold_is_refused_before_anything_is_sent(start: Start) -> None:
    orch = await start(schema=SCHEMA)
    around: dict[str, Any] = {}
    around["x"] = around
    deep: list[Any] = []
    for _ in range(50_000):
        deep = [deep]
    async with Gateway(orch_url=orch.url) as gw:
        for value in ({"x": "\ud800"}, {"x": float("nan")}, around, {"x": deep}):
            with pytest.raises(InvalidInputError):
                await gw.run_async("upscale", input=value, validate=False)
    assert not orch.jobs


async def test_wrong_input_is_refused_before_anything_is_sent(start: Start) -> None:
    orch = await start(schema=SCHEMA)
    async with Gateway(orch_url=orch.url) as gw:
        with pytest.raises(InvalidInputError) as caught:
            await gw.run_async("upscale", input={"scale": 9, "many": ["x", 7]})
        places = {field.field for field in caught.value.fields}
        assert places == {"image", "scale", "many.1"} and not orch.jobs
        assert "9 is greater than the maximum of 4" in str(caught.value)
        tokens = len(orch.tokens)
        with pytest.raises(InvalidInputError):
            await gw.run_async("upscale", input={"scale": 9})
        assert (orch.schemas, len(orch.tokens)) == (1, tokens)  # the schema is known by now
        await gw.run_async("upscale", input={"scale": 9}, validate=False)
        assert await gw.run_async("upscale", input={"image": PICTURE, "scale": 2}) == {"ok": True}
        assert orch.jobs[1].json()["image"].startswith("data:image/png")
        schema = await gw.schema_async("upscale")
        assert isinstance(schema, Schema) and schema.document["id"] == "upscale"
        assert orch.schemas == 1


async def test_a_priced_capability_is_asked_for_its_schema_only_when_told_to(start: Start) -> None:
    orch = await start(schema=SCHEMA)
    async with Gateway(gateway_url=orch.url) as gw:  # a gateway tells no price
        await gw.run_async("upscale", input={"scale": 9})
        assert orch.schemas == 0
        with pytest.raises(InvalidInputError):
            await gw.run_async("upscale", input={"scale": 9}, validate=True)
        assert orch.schemas == 1 and len(orch.jobs) == 1


@pytest.mark.parametrize(
    "schema",
    [
        None,
        {"x": 1},
        "text",
        [],
        {"input": {"type": 7}},
        {"input": {"$ref": "#/nowhere"}},
        {"input": {"$ref": "http://127.0.0.1:1/elsewhere"}},
    ],
)
async def test_a_capability_without_a_usable_schema_is_called_all_the_same(
    start: Start, schema: Any
) -> None:
    orch = await start(schema=schema)
    async with Gateway(orch_url=orch.url) as gw:
        for _ in range(2):
            assert await gw.run_async("echo", input={"a": PICTURE}) == {"ok": True}
    assert orch.schemas == 1


async def test_a_schema_that_hangs_delays_the_first_call_and_fails_none(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("livepeer.client.network.schemas.SCHEMA_LIMIT", 0.2)
    orch = await start()
    script = orch.script

    def hanging(request: Any) -> list[Any]:
        return [HANG] if request.path.endswith("/schema") else script(request)

    orch.script = hanging
    async with Gateway(orch_url=orch.url) as gw:
        assert await gw.run_async("echo", timeout=10) == {"ok": True}


async def test_models_go_in_and_types_come_out(start: Start) -> None:
    class Ask(BaseModel):
        text: Annotated[str, Field(max_length=5)]
        at: Path = Path("x")

    class Reply(BaseModel):
        label: str
        score: float

    orch = await start(job=reply({"label": "a", "score": 0.5}))
    async with Gateway(orch_url=orch.url) as gw:
        result = await gw.run_async("sentiment", input=Ask(text="hi"), output=Reply)
        assert result == Reply(label="a", score=0.5)
        assert orch.jobs[0].json() == {"text": "hi", "at": "x"}
        assert await gw.run_async("sentiment", output=dict[str, Any]) == {
            "label": "a",
            "score": 0.5,
        }
        with pytest.raises(ProtocolError, match="list"):
            await gw.run_async("sentiment", output=list[int])


def test_what_json_has_no_form_for_is_written_as_pydantic_writes_it() -> None:
    at = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
    value = {"at": at, "price": decimal.Decimal("1.5"), "tags": {"a"}, "kind": Kind.WARM}
    assert encode(value) == {
        "at": "2026-01-02T00:00:00Z",
        "price": "1.5",
        "tags": ["a"],
        "kind": "warm",
    }


def test_files_in_a_model_are_encoded_like_those_in_a_dict() -> None:
    class Ask(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        image: Any
        raw: bytes = b"hello"  # which is text by chance
        at: datetime.date = datetime.date(2026, 1, 2)
        path: Path = Path("x")

    for image in (PICTURE, Image.fromarray(PICTURE)):
        sent = encode({"ask": Ask(image=image), "many": [Ask(image=None)]})
        assert np.array_equal(pixels(sent["ask"]["image"]), PICTURE)
        rest = {"raw": base64.b64encode(b"hello").decode(), "at": "2026-01-02", "path": "x"}
        assert {key: sent["ask"][key] for key in rest} == rest
        assert sent["many"] == [{"image": None, **rest}]


async def test_bytes_or_a_path_alone_are_the_whole_body(start: Start, tmp_path: Path) -> None:
    orch = await start()
    path = tmp_path / "song.wav"
    path.write_bytes(b"RIFF....WAVE")
    async with Gateway(orch_url=orch.url) as gw:
        await gw.run_async("hear", input=path)
        await gw.run_async("hear", input=b"\x89PNG\r\n\x1a\n")
        await gw.run_async("hear", input=[1, 2])
        await gw.run_async("hear")
    kinds = [each.headers["content-type"] for each in orch.jobs]
    assert kinds[0] in ("audio/x-wav", "audio/wav") and kinds[1:] == [
        "image/png",
        "application/json",
        "application/json",
    ]
    assert [each.body for each in orch.jobs][2:] == [b"[1,2]", b"{}"]


async def test_files_come_out_whole_alone_or_inside_a_value(start: Start, tmp_path: Path) -> None:
    orch = await start(job=reply(b"\x89PNG\r\n\x1a\nxx", content_type="image/png"), schema=SCHEMA)
    async with Gateway(orch_url=orch.url) as gw:
        file = await gw.run_async("upscale", input={"image": b"x"})
        assert isinstance(file, FileOutput) and bytes(file) == b"\x89PNG\r\n\x1a\nxx"
        assert (len(file), file.media_type, file.suffix) == (10, "image/png", ".png")
        assert (
            file.save(tmp_path).read_bytes() == file.data == file.save(tmp_path / "x").read_bytes()
        )
        assert repr(file) == "FileOutput(10 bytes, image/png)"
        inner = {"image": file.data_uri(), "raw": base64.b64encode(b"GIF89a").decode(), "t": "data"}
        orch.job = reply(inner)
        assert await gw.run_async("upscale", input={"image": b"x"}) == {
            "image": file,
            "raw": FileOutput(b"GIF89a", "image/gif"),
            "t": "data",
        }


@pytest.mark.parametrize("gateway", [False, True], ids=["orchestrator", "gateway"])
@pytest.mark.parametrize(
    ("answer", "as_guessed", "value"),
    [
        (b'{"a":1}', "text/plain; charset=utf-8", {"a": 1}),
        (b"hello", "text/plain; charset=utf-8", "hello"),
        (b"\x89PNG\r\n\x1a\n", "image/png", FileOutput(b"\x89PNG\r\n\x1a\n", "image/png")),
        (b"\x00\x01", "application/octet-stream", FileOutput(b"\x00\x01")),
    ],
)
async def test_both_roads_give_the_same_result(
    start: Start, gateway: bool, answer: bytes, as_guessed: str, value: Any
) -> None:
    own = "application/json" if answer.startswith(b"{") else as_guessed
    orch = await start(job=reply(answer, content_type=as_guessed if gateway else own))
    road = {"gateway_url" if gateway else "orch_url": orch.url}
    async with Gateway(**road) as gw:
        assert await gw.run_async("echo") == value
    if gateway:
        assert not orch.tokens and set(orch.jobs[0].job) == {
            "id",
            "request",
            "parameters",
            "capability",
            "timeout_seconds",
        }


async def test_an_empty_answer_is_none_from_an_orchestrator_and_an_error_from_a_gateway(
    start: Start,
) -> None:
    orch = await start(job=reply(b""))
    async with Gateway(orch_url=orch.url) as gw:
        assert await gw.run_async("echo") is None
    async with Gateway(gateway_url=orch.url) as gw:
        with pytest.raises(ProtocolError, match="without a body") as caught:
            await gw.run_async("echo")
    assert caught.value.may_have_run


def test_text_that_only_looks_like_a_file_stays_text() -> None:
    for text in ("data:", "data:image/png;base64,%%%", "data: hello", "aGVsbG8="):
        assert decode(text) == text


@given(st.binary(max_size=40))
def test_sniffing_takes_any_bytes(data: bytes) -> None:
    assert "/" in sniff(data)


JSON_VALUES = st.recursive(
    st.none() | st.integers() | st.text() | st.just("data:text/plain;base64,aGk="),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(), each, max_size=3),
)


@given(JSON_VALUES, st.booleans(), st.sampled_from(["utf-8", "utf-16", "utf-32"]))
def test_an_answer_that_is_not_looked_at_has_no_file_in_it(
    value: Any, ascii_only: bool, coding: str
) -> None:
    body = json.dumps(value, ensure_ascii=ascii_only).encode(coding)
    headers = {"Content-Type": "application/json"}
    assert value_of(body, headers, gateway=False, schema=None, where={}) == decode(value)


def test_a_file_is_found_however_its_text_is_escaped_and_depth_is_bounded_without_one() -> None:
    headers = {"Content-Type": "application/json"}

    def read(body: bytes) -> Any:
        return value_of(body, headers, gateway=False, schema=None, where={})

    for text in (
        rb'"\u0064ata:text/plain;base64,aGk="',
        rb'"data\u003atext/plain;base64,aGk="',
        '"data:text/plain;base64,aGk="'.encode("utf-16"),
    ):
        assert read(text) == FileOutput(b"hi", "text/plain")
    assert read(b"[" * 200 + b"]" * 200)
    with pytest.raises(ProtocolError, match="deep"):
        read(b"[" * 300 + b"]" * 300)


@pytest.mark.parametrize(
    "value",
    [
        {"text": "h\u00e9llo \u2028", "n": [1, 2.5, None, True], "in": {"a": {}}},
        {0: "a", True: "b", None: "c", 2.0: "d"},
        collections.OrderedDict(b=1, a=(1, (2,))),
        MappingProxyType({"a": 1}),
        [["a"], {"b": []}],
        None,
    ],
    ids=repr,
)
async def test_what_goes_as_it_is_is_what_would_be_encoded(start: Start, value: Any) -> None:
    orch = await start()
    async with Gateway(orch_url=orch.url) as gw:
        await gw.run_async("echo", input=value, validate=False)
    wanted = compact_json(encode({} if value is None else value)).encode()
    assert orch.jobs[-1].body == wanted


@pytest.mark.parametrize("depth", [500, 900])
async def test_input_that_is_small_and_nested_too_deeply_is_refused(
    start: Start, depth: int
) -> None:
    orch = await start()
    value: Any = 1
    for _ in range(depth):
        value = [value]
    async with Gateway(orch_url=orch.url) as gw:
        with pytest.raises(InvalidInputError, match="nested too deeply"):
            await gw.run_async("echo", input={"value": value}, validate=False)
    assert orch.jobs == []
