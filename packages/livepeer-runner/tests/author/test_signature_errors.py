"""What cannot be served is refused with the parameter's name and what to write instead."""

from __future__ import annotations

import types
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pydantic import BaseModel

from livepeer.runner.author.signature import PredictSignature
from livepeer.runner.exceptions import SignatureError

if TYPE_CHECKING:
    from decimal import Decimal


class Later:
    """Uses a class that the module defines further down."""

    def predict(self, box: Afterwards, other: Inner) -> Inner: ...

    class Inner(BaseModel):
        y: int


class Afterwards(BaseModel):
    x: int


def test_hints_may_name_what_is_defined_later_or_inside_of_the_class() -> None:
    signature = PredictSignature.of(Later)
    validated = signature.validate_json(b'{"box": {"x": 1}, "other": {"y": 2}}')
    assert signature.bind(validated)[1] == {"box": Afterwards(x=1), "other": Later.Inner(y=2)}


class OnlyChecked:
    def predict(self, amount: Decimal) -> str: ...


class Unfound:
    def predict(self, text: str) -> Nowhere: ...  # type: ignore[name-defined]  # noqa: F821


def no_hint(text) -> str: ...  # type: ignore[no-untyped-def]
def no_return(text: str): ...  # type: ignore[no-untyped-def]
def star(*texts: str) -> str: ...
def stars(**texts: str) -> str: ...
def positional(text: str, /) -> str: ...
def underscore(_text: str) -> str: ...
def raw(data: bytes) -> str: ...
def array(frame: np.ndarray[Any, Any]) -> str: ...
def module(value: types.ModuleType) -> str: ...
def function(value: Callable[[], int]) -> str: ...
def array_out(text: str) -> np.ndarray[Any, Any]: ...
def none_default(size: int = None) -> str: ...  # type: ignore[assignment]  # noqa: RUF013
def bad_default(size: int = "big") -> str: ...  # type: ignore[assignment]
def object_default(size: Any = object()) -> str: ...  # noqa: B008
def bare_stream() -> Iterator: ...  # type: ignore[type-arg]
def broken(text: str[3]) -> str: ...  # type: ignore[type-arg]
def stream_of_arrays() -> Iterator[np.ndarray[Any, Any]]: ...


def yields_text(text: str) -> str:  # type: ignore[misc]
    yield text


async def yields_async(text: str) -> str:  # type: ignore[misc]
    yield text


def yields_of_list(count: int) -> list[int]:  # type: ignore[misc]
    yield from range(count)


async def yields_of_tuple(count: int) -> tuple[str, ...]:  # type: ignore[misc]
    yield str(count)


async def blocks() -> Iterator[str]: ...


class Nothing: ...


class NoSelf:
    def predict(text: str) -> str: ...  # type: ignore[misc]


class NoSelfNorHint:
    def predict(text) -> str: ...  # type: ignore[no-untyped-def]


class Frames:
    def process_video(self, frame: Any) -> Any: ...


class Runs:
    def run(self, text: str) -> str: ...


class Predcits:
    def predcit(self, text: str) -> str: ...


class NotCallable:
    predict = 5


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (no_hint, "parameter `text` has no type hint; write `text: str`"),
        (no_return, "no return type; write `-> str`"),
        (star, "`*texts` .* write `texts: list"),
        (stars, "`**texts` .* write each parameter"),
        (positional, "`text` is positional-only.* take the `/` out"),
        (underscore, "`_text` starts with an underscore; write `text`"),
        (raw, "`data` is bytes.* write `data: File`"),
        (array, "`frame` is .*ndarray.* no JSON form; write"),
        (module, "`value` is module, which has no JSON form; write"),
        (function, "`value` is .*Callable.* no JSON form; write"),
        (array_out, "return type is .*ndarray.* no JSON form; write"),
        (stream_of_arrays, "an event of its stream is .*ndarray.* no JSON form; write"),
        (none_default, r"parameter `size`, None.* write `size: int \| None = None`"),
        (bad_default, "the default of parameter `size`, 'big', does not fit"),
        (object_default, "the default of parameter `size`.* has no JSON form; use None"),
        (bare_stream, r"write what the stream's events are, `-> Iterator\[str\]`"),
        (yields_text, r"write `-> Iterator\[str\]`"),
        (yields_async, r"write `-> AsyncIterator\[str\]`"),
        (yields_of_list, r"not `list\[int\]`; write `-> Iterator\[int\]`"),
        (yields_of_tuple, r"write `-> AsyncIterator\[str\]`"),
        (blocks, r"`yield` in it and write `-> AsyncIterator"),
        (OnlyChecked, "parameter `amount` names the type `Decimal`.*not under `if TYPE_CHECKING:`"),
        (Unfound, "the return type names the type `Nowhere`, which cannot be found"),
        (broken, "a type hint cannot be evaluated"),
        (Nothing, r"Nothing has no `predict`; write `def predict\(self, text: str\) -> str:`"),
        (NoSelf, r"first parameter is `text`.* write `\(self, text: \.\.\.\)`"),
        (NoSelfNorHint, "first parameter is `text`, and has to be `self`"),
        (Frames, "it has `process_video`, a hook of LivePipeline: derive from that"),
        (Runs, "it has `run`: call that `predict`"),
        (Predcits, "it has `predcit`: did you mean that"),
        (NotCallable, "NotCallable has no `predict`"),
        (5, "5 is neither a class nor a function"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_the_error_names_the_parameter_and_says_what_to_write(target: Any, says: str) -> None:
    with pytest.raises(SignatureError, match=says.replace("**", r"\*\*").replace("`*", r"`\*")):
        PredictSignature.of(target)


def test_the_error_names_the_class_and_its_method() -> None:
    class Broken:
        def predict(self, frame: np.ndarray[Any, Any]) -> AsyncIterator[str]: ...

    with pytest.raises(SignatureError, match=r"^Broken\.predict\(\): parameter `frame`"):
        PredictSignature.of(Broken)


def test_a_class_with_a_broken_signature_can_be_made() -> None:
    """Hints are looked at when the class is used: a forward reference would fail before."""
    assert OnlyChecked().__class__.__name__ == "OnlyChecked"
