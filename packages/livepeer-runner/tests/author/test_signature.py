"""What type hints become: the input model, the kinds of output, the schema document."""

import functools
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Literal, Optional, TypeVar

import pytest
from pydantic import Base64Bytes, BaseModel, Field, RootModel, ValidationError

from livepeer.runner.author.files import Audio, File, Image
from livepeer.runner.author.signature import PredictSignature
from livepeer.runner.exceptions import SignatureError


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Box(BaseModel):
    """Where something is."""

    x: int = Field(ge=0)
    y: int = 0
    color: Color = Color.RED


class Reply(BaseModel):
    label: Literal["positive", "negative"]
    score: float


class Sentiment:
    def predict(
        self,
        text: Annotated[str, Field(max_length=20)],
        mode: Literal["fast", "good"] = "fast",
        box: Box | None = None,
        *,
        color: Color = Color.BLUE,
        limit: int = Field(3, ge=1, le=9, description="how many"),
    ) -> Reply:
        """Judge a text."""
        raise NotImplementedError


def test_bare_parameters_become_the_fields_of_one_model() -> None:
    signature = PredictSignature.of(Sentiment)
    schema = signature.input_schema()
    assert schema["required"] == ["text"]
    assert schema["properties"]["text"]["maxLength"] == 20
    assert schema["properties"]["mode"]["enum"] == ["fast", "good"]
    assert schema["properties"]["limit"]["description"] == "how many"
    assert schema["additionalProperties"] is False
    assert not signature.takes_model
    assert signature.input_model.__name__ == "SentimentInput"


def test_bind_hands_over_python_objects_by_name() -> None:
    signature = PredictSignature.of(Sentiment)
    args, kwargs = signature.bind(
        signature.validate_json(b'{"text": "hi", "box": {"x": 2, "color": "blue"}, "color": "red"}')
    )
    assert args == ()
    assert kwargs == {
        "text": "hi",
        "mode": "fast",
        "box": Box(x=2, color=Color.BLUE),
        "color": Color.RED,
        "limit": 3,
    }


@pytest.mark.parametrize(
    ("body", "location"),
    [
        (b"{}", ("text",)),
        (b'{"text": "x", "txet": 1}', ("txet",)),
        (b'{"text": 5}', ("text",)),
        (b'{"text": "x", "limit": 10}', ("limit",)),
        (b'{"text": "x", "box": {"x": -1}}', ("box", "x")),
        (b'{"text": "x", "color": "green"}', ("color",)),
        (b"[]", ()),
        (b"", ("text",)),
        (b"{", ()),
        (b'"\\ud800"', ()),
        (b"\xff", ()),
        (b'{"text": "x", "limit": NaN}', ("limit",)),
    ],
)
def test_wrong_input_is_refused_with_the_place_that_is_wrong(
    body: bytes, location: tuple[str, ...]
) -> None:
    with pytest.raises(ValidationError) as caught:
        PredictSignature.of(Sentiment).validate_json(body)
    assert caught.value.errors()[0]["loc"] == location


def test_one_model_is_the_input_itself() -> None:
    class Boxes:
        def predict(self, box: Annotated[Box, "any metadata"]) -> int: ...

    signature = PredictSignature.of(Boxes)
    assert signature.takes_model
    assert signature.input_model is Box
    validated = signature.validate_json(b'{"x": 1}')
    assert signature.bind(validated) == ((), {"box": Box(x=1)})


def test_one_model_may_be_keyword_only_and_have_a_default() -> None:
    default = Box(x=7)

    class Boxes:
        def predict(self, *, box: Box = default) -> int: ...

    signature = PredictSignature.of(Boxes)
    given = signature.bind(signature.validate_json(b""))[1]["box"]
    assert given == default
    assert given is not default
    assert signature.bind(signature.validate_json(b'{"x": 1}')) == ((), {"box": Box(x=1)})


def test_the_default_of_a_model_is_not_shared_between_calls() -> None:
    class Words(BaseModel):
        words: list[str] = []

    def predict(words: Words = Words(words=["a"])) -> int: ...  # noqa: B008

    signature = PredictSignature.of(predict)
    signature.bind(signature.validate_json(b""))[1]["words"].words.append("b")
    assert signature.bind(signature.validate_json(b""))[1]["words"].words == ["a"]


def test_an_optional_model_is_a_field_like_others() -> None:
    class Boxes:
        def predict(self, box: Box | None = None) -> int: ...

    signature = PredictSignature.of(Boxes)
    assert signature.bind(signature.validate_json(b'{"box": {"x": 1}}'))[1]["box"] == Box(x=1)
    assert signature.bind(signature.validate_json(b""))[1] == {"box": None}


def test_a_root_model_takes_what_is_no_object() -> None:
    class Numbers(RootModel[list[int]]): ...

    class Sum:
        def predict(self, numbers: Numbers) -> int: ...

    signature = PredictSignature.of(Sum)
    assert signature.bind(signature.validate_json(b"[1, 2]"))[1]["numbers"].root == [1, 2]


def test_no_parameters_take_an_empty_object() -> None:
    class Now:
        def predict(self) -> str: ...

    signature = PredictSignature.of(Now)
    assert signature.bind(signature.validate_json(b"{}")) == ((), {})
    assert signature.example == {}


@pytest.mark.parametrize("name", ["json", "copy", "schema", "model_config", "dict", "validate"])
def test_names_that_models_use_themselves_are_good_names_for_parameters(name: str) -> None:
    namespace: dict[str, Any] = {}
    exec(f"def predict({name}: int = 1) -> int: ...", namespace)
    signature = PredictSignature.of(namespace["predict"])
    assert signature.bind(signature.validate_json(f'{{"{name}": 5}}')) == ((), {name: 5})
    assert list(signature.input_schema()["properties"]) == [name]
    with pytest.raises(ValidationError) as caught:
        signature.validate_json(f'{{"{name}": "x"}}')
    assert caught.value.errors()[0]["loc"] == (name,)


def test_an_alias_is_what_callers_write() -> None:
    def predict(kind: Annotated[str, Field(alias="type")]) -> str: ...

    signature = PredictSignature.of(predict)
    assert signature.bind(signature.validate_json(b'{"type": "a"}')) == ((), {"kind": "a"})


def test_a_mutable_default_is_not_shared_between_calls() -> None:
    def predict(words: list[str] = []) -> int: ...  # noqa: B006

    signature = PredictSignature.of(predict)
    signature.bind(signature.validate_json(b"{}"))[1]["words"].append("x")
    assert signature.bind(signature.validate_json(b"{}"))[1]["words"] == []


GOOGLE = """Find things.

    Longer text, see: there.

    Args:
        text (str): what to look at,
            over two lines
        count: how many

    Returns:
        nothing: at all
    """
NUMPY = """Find things.

    Parameters
    ----------
    text : str
        what to look at,
        over two lines
    count
        how many

    Returns
    -------
    nothing : int
        at all
    """
SPHINX = """Find things.

    :param str text: what to look at,
        over two lines
    :param count: how many
    :returns: nothing: at all
    """


@pytest.mark.parametrize("doc", [GOOGLE, NUMPY, SPHINX], ids=["google", "numpy", "sphinx"])
def test_docstrings_describe_parameters(doc: str) -> None:
    def predict(text: str, count: int = 1, nothing: int = 1) -> str: ...

    predict.__doc__ = doc
    signature = PredictSignature.of(predict)
    properties = signature.input_schema()["properties"]
    assert signature.description == "Find things."
    assert properties["text"]["description"] == "what to look at, over two lines"
    assert properties["count"]["description"] == "how many"
    assert "description" not in properties["nothing"]


def test_a_field_description_wins_over_the_docstring() -> None:
    def predict(text: Annotated[str, Field(description="mine")]) -> str:
        """Do it.

        Args:
            text: the docstring's
        """

    assert (
        PredictSignature.of(predict).input_schema()["properties"]["text"]["description"] == "mine"
    )


def test_class_static_and_decorated_methods_are_seen_through() -> None:
    def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return wrapper

    class One:
        @classmethod
        def predict(cls, a: int) -> int: ...

    class Two:
        @staticmethod
        def predict(a: int) -> int: ...

    class Three:
        @decorated
        def predict(self, a: int) -> int: ...

    class Four(Three): ...

    for each in (One, Two, Three, Four, One.predict):
        assert list(PredictSignature.of(each).input_schema()["properties"]) == ["a"]


class TestKinds:
    """How the function is called and what it gives."""

    @pytest.mark.parametrize(
        "hint",
        [Iterator[int], Iterable[int], Generator[int, None, None], Annotated[Iterator[int], 1]],
    )
    def test_a_sync_generator_streams_from_a_thread(self, hint: Any) -> None:
        def predict():  # type: ignore[no-untyped-def]
            yield 1

        predict.__annotations__ = {"return": hint}
        signature = PredictSignature.of(predict)
        assert signature.is_generator
        assert not signature.is_async
        assert not signature.is_coroutine
        assert signature.output.type is int
        assert signature.content_type == "text/event-stream"
        assert signature.encode_event(3) == b"3"

    @pytest.mark.parametrize("hint", [AsyncIterator[int], AsyncGenerator[int, None]])
    def test_an_async_generator_streams_on_the_loop(self, hint: Any) -> None:
        async def predict():  # type: ignore[no-untyped-def]
            yield 1

        predict.__annotations__ = {"return": hint}
        signature = PredictSignature.of(predict)
        assert (signature.is_generator, signature.is_async, signature.is_coroutine) == (
            True,
            True,
            False,
        )

    def test_an_iterator_of_the_other_kind_is_refused_with_the_right_one(self) -> None:
        async def on_loop():  # type: ignore[no-untyped-def]
            yield 1

        def in_thread():  # type: ignore[no-untyped-def]
            yield 1

        on_loop.__annotations__ = {"return": Generator[int, None, None]}
        in_thread.__annotations__ = {"return": AsyncIterator[int]}
        for function, wanted in ((on_loop, "AsyncIterator"), (in_thread, "Iterator")):
            with pytest.raises(SignatureError, match=rf"write `-> {wanted}\[int\]`"):
                PredictSignature.of(function)

    def test_a_function_that_returns_an_iterator_streams_it(self) -> None:
        def plain() -> Iterator[str]:
            return iter("ab")

        def asynchronous() -> AsyncIterator[str]: ...

        async def awaited() -> AsyncIterator[str]: ...

        kinds = [
            (found.is_generator, found.is_async, found.is_coroutine)
            for found in map(PredictSignature.of, (plain, asynchronous, awaited))
        ]
        assert kinds == [(True, False, False), (True, True, False), (True, True, True)]

    def test_a_coroutine_function_is_awaited(self) -> None:
        async def predict() -> list[int]: ...

        signature = PredictSignature.of(predict)
        assert signature.is_async
        assert signature.is_coroutine
        assert not signature.is_generator


class TestOutput:
    def test_a_model_leaves_as_json(self) -> None:
        signature = PredictSignature.of(Sentiment)
        encoded = signature.encode(Reply(label="positive", score=0.5))
        assert json.loads(encoded.body) == {"label": "positive", "score": 0.5}
        assert encoded.media_type == signature.content_type == "application/json"

    def test_a_dict_that_fits_the_model_will_do(self) -> None:
        encoded = PredictSignature.of(Sentiment).encode({"label": "negative", "score": 1})
        assert json.loads(encoded.body) == {"label": "negative", "score": 1.0}

    @pytest.mark.parametrize("value", [None, {"label": "maybe", "score": 1}, "text", object()])
    def test_another_type_than_promised_is_an_error(self, value: Any) -> None:
        with pytest.raises(ValidationError):
            PredictSignature.of(Sentiment).encode(value)

    def test_a_number_that_json_has_not_is_an_error(self) -> None:
        def predict() -> list[float]: ...

        with pytest.raises(ValidationError):
            PredictSignature.of(predict).encode([float("nan")])

    def test_an_image_is_the_whole_body_with_its_own_type(self) -> None:
        def predict() -> Image: ...

        signature = PredictSignature.of(predict)
        assert signature.content_type == "image/*"
        assert signature.encode(Image(b"\xff\xd8\xff", "image/jpeg")) == (
            b"\xff\xd8\xff",
            "image/jpeg",
        )

    def test_bytes_are_the_whole_body(self) -> None:
        def predict() -> bytes: ...

        assert PredictSignature.of(predict).encode(b"\x00\xff") == (
            b"\x00\xff",
            "application/octet-stream",
        )

    def test_a_file_within_a_value_is_a_data_uri(self) -> None:
        def predict() -> dict[str, Audio]: ...

        encoded = PredictSignature.of(predict).encode({"sound": Audio(b"abc", "audio/wav")})
        assert json.loads(encoded.body) == {"sound": "data:audio/wav;base64,YWJj"}

    def test_bytes_within_a_value_are_base64(self) -> None:
        def predict() -> dict[str, bytes]: ...

        encoded = PredictSignature.of(predict).encode({"a": b"\xff\x00"})
        assert json.loads(encoded.body) == {"a": "_wA="}

    def test_base64_of_a_type_of_its_own_is_encoded_once(self) -> None:
        def predict() -> list[Base64Bytes | None]: ...

        encoded = PredictSignature.of(predict).encode([b"\xff\xef\x00", None])
        assert json.loads(encoded.body) == ["/+8A", None]


class TestForms:
    class Edit:
        def predict(
            self,
            image: Image,
            caption: str = "",
            count: int = 1,
            box: Box | None = None,
            more: list[Image] = [],  # noqa: B006
            words: list[str] = [],  # noqa: B006
        ) -> str: ...

    def test_files_and_text_parts_become_the_input(self) -> None:
        signature = PredictSignature.of(self.Edit)
        assert signature.accepts_files
        assert signature.accepts_multipart
        given = signature.bind(
            signature.validate_form(
                [
                    ("image", File(b"\xff\xd8\xff", name="a.jpg")),
                    ("caption", "5"),
                    ("count", "5"),
                    ("box", '{"x": 1}'),
                    ("more", File(b"GIF89a")),
                    ("more", File(b"GIF87a")),
                    ("words", "one"),
                    ("words", "2"),
                ]
            )
        )[1]
        assert type(given["image"]) is Image
        assert given["image"].media_type == "image/jpeg"
        assert given["image"].name == "a.jpg"
        assert (given["caption"], given["count"], given["box"]) == ("5", 5, Box(x=1))
        assert [file.media_type for file in given["more"]] == ["image/gif", "image/gif"]
        assert given["words"] == ["one", "2"]

    def test_a_list_may_be_one_part_of_json(self) -> None:
        signature = PredictSignature.of(self.Edit)
        form: list[tuple[str, str | File]] = [("image", "R0lGODlh"), ("words", '["a", "b"]')]
        assert signature.bind(signature.validate_form(form))[1]["words"] == ["a", "b"]

    def test_a_value_given_twice_is_refused(self) -> None:
        signature = PredictSignature.of(self.Edit)
        with pytest.raises(ValidationError, match="count"):
            signature.validate_form([("image", "R0lGODlh"), ("count", "1"), ("count", "2")])

    def test_the_wrong_kind_of_file_is_refused_by_name(self) -> None:
        with pytest.raises(ValidationError, match="not an image") as caught:
            PredictSignature.of(self.Edit).validate_form([("image", File(b"fLaC"))])
        assert caught.value.errors()[0]["loc"] == ("image",)


class TestDocument:
    def test_the_schema_document_says_it_all(self) -> None:
        document = PredictSignature.of(Sentiment).schema(id="sentiment", version="1.0.0")
        assert list(document) == [
            "protocol",
            "type",
            "id",
            "version",
            "description",
            "streaming",
            "content_type",
            "input",
            "output",
            "example",
        ]
        assert document["protocol"] == "v1"
        assert document["description"] == "Judge a text."
        json.dumps(document)

    def test_references_go_where_openapi_keeps_them(self) -> None:
        schema = PredictSignature.of(Sentiment).input_schema("#/components/schemas/{model}")
        assert "#/components/schemas/Box" in json.dumps(schema)

    def test_the_output_schema_of_a_stream_is_that_of_one_event(self) -> None:
        def predict() -> Iterator[Reply]:
            yield Reply(label="positive", score=1)

        document = PredictSignature.of(predict).schema(id="x", version="1")
        assert document["streaming"] is True
        assert document["output"]["title"] == "Reply"


@dataclass
class Point:
    x: float
    y: float


class Tree(BaseModel):
    name: str
    children: "list[Tree]" = []


T = TypeVar("T")


@pytest.mark.parametrize(
    "hint",
    [
        str,
        int,
        bool,
        float,
        Any,
        Color,
        Literal[3, "x"],
        Box,
        Tree,
        Point,
        Image,
        Audio,
        File,
        Base64Bytes,
        list[Box],
        dict[str, int],
        tuple[int, str],
        set[Color],
        Optional[int],  # noqa: UP045 — the older spelling has to work as well
        int | str,
        Annotated[str, Field(min_length=12)],
        Annotated[str, Field(pattern="^[a-z]+-[0-9]$", examples=["ab-1"])],
        Annotated[int, Field(gt=10, lt=13)],
        Annotated[float, Field(gt=0, lt=0.25)],
        Annotated[float, Field(ge=-2, le=-1)],
        Annotated[int, Field(multiple_of=7, ge=10)],
        Annotated[list[int], Field(min_length=3)],
    ],
    ids=str,
)
def test_every_supported_type_has_an_example_that_it_takes(hint: Any) -> None:
    def predict(value: T) -> str: ...

    predict.__annotations__ = {"value": hint, "return": str}
    signature = PredictSignature.of(predict)
    example = signature.example
    assert example is not None
    signature.validate_json(json.dumps(example))


def test_no_example_is_better_than_a_wrong_one() -> None:
    def predict(code: Annotated[str, Field(pattern="^xyzzy[0-9]{9}$")]) -> str: ...

    signature = PredictSignature.of(predict)
    assert signature.example is None
    assert "example" not in signature.schema(id="x", version="1")


class MayBeLeftOut:
    def predict(
        self,
        text: str,
        image: Image | None = None,
        seed: int | None = None,
        strength: float = 0.5,
        style: Annotated[str | None, Field(examples=["ink"])] = None,
    ) -> str:
        return text


def test_what_may_be_left_out_has_no_invented_sample() -> None:
    example = PredictSignature.of(MayBeLeftOut).example
    assert example == {"text": "text", "strength": 0.5, "style": "ink"}
