"""`PredictSignature`: one function's type hints, as everything that is derived from them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.json_schema import DEFAULT_REF_TEMPLATE

from livepeer.runner.author.definition import instead_of_predict
from livepeer.runner.author.files import File
from livepeer.runner.author.signature.function import (
    described_parameters,
    parameters_of,
    resolve,
    summary_of,
    unwrapped,
)
from livepeer.runner.author.signature.inputs import Inputs
from livepeer.runner.author.signature.paths import PathFile
from livepeer.runner.author.signature.returns import Encoded, Output, shape_of
from livepeer.runner.author.signature.schema import (
    FormField,
    example_of,
    form_fields,
    form_values,
    schema_nodes,
)
from livepeer.runner.exceptions import SignatureError


class PredictSignature:
    """What callers may send to a function and what they get, from its type hints.

    `is_async`: it runs on the event loop. `is_coroutine`: its call has to be awaited (a generator
    is not). `is_generator`: it gives an iterator of events; `output` then describes one event.
    `accepts_files`: some input, however deep, is a file, so `fetch.resolve` has to see it.
    """

    def __init__(
        self,
        function: Any,
        *,
        name: str,
        skip_self: bool = False,
        namespace: Mapping[str, Any] | None = None,
    ) -> None:
        where = f"{name}()"
        inner = unwrapped(function)
        parameters = parameters_of(inner)
        if skip_self:
            if not parameters:
                raise SignatureError(f"{where}: its first parameter is `self`")
            _check_self(parameters[0], where)
            parameters = parameters[1:]
        hints = resolve(inner, where, dict(namespace or {}))
        if "return" not in hints:
            raise SignatureError(
                f"{where}: it has no return type; write `-> str`, `-> dict[str, Any]`, "
                f"a BaseModel, or what else it returns"
            )
        shape = shape_of(inner, hints["return"], where)
        self.description = summary_of(inner.__doc__)
        self.is_async = shape.asynchronous
        self.is_coroutine = shape.coroutine
        self.is_generator = shape.stream
        title = "".join(part[:1].upper() + part[1:] for part in name.split(".")[0].split("_"))
        self._inputs = Inputs(
            parameters,
            hints,
            described_parameters(inner.__doc__),
            name=f"{title}Input",
            where=where,
        )
        self.output = Output(shape.value, stream=shape.stream, where=where)
        schema = self.input_schema()
        self.form_fields: dict[str, FormField] = form_fields(schema)
        self.accepts_files = any(node.get("format") == "file" for node in schema_nodes(schema))

    @classmethod
    def of(cls, target: Any, method: str = "predict") -> PredictSignature:
        """Read a class's `predict` (or another method), or a plain function.

        Hints are resolved here, so call it when the class is used, not while it is being made.
        Raises `SignatureError` that names the parameter and says what to write instead.
        """
        if not inspect.isclass(target):
            if not inspect.isroutine(target):
                raise SignatureError(f"{target!r} is neither a class nor a function")
            return cls(target, name=target.__name__, skip_self=inspect.ismethod(target))
        name = f"{target.__name__}.{method}"
        try:
            function = inspect.getattr_static(target, method)
        except AttributeError:
            function = None
        if function is None or not (
            isinstance(function, classmethod | staticmethod) or inspect.isroutine(function)
        ):
            raise SignatureError(
                f"{target.__name__} has no `{method}`{instead_of_predict(target)} "
                f"write `def {method}(self, text: str) -> str:`"
            )
        return cls(
            function,
            name=name,
            skip_self=not isinstance(function, staticmethod),
            namespace=vars(target),
        )

    @property
    def input_model(self) -> type[BaseModel]:
        """The model of the input, also where `predict` takes bare parameters."""
        return self._inputs.model

    @property
    def takes_model(self) -> bool:
        """`predict` takes one `BaseModel`, whose fields are the input."""
        return self._inputs.single is not None

    @property
    def content_type(self) -> str:
        """What a caller gets: JSON, events, or the media range of a file."""
        if self.is_generator:
            return "text/event-stream"
        return self.output.raw_media_type or "application/json"

    @property
    def accepts_multipart(self) -> bool:
        """A file, or a list of files, is a field of its own: it can be a part of a form."""
        return any(field.is_file for field in self.form_fields.values())

    def validate_json(self, body: bytes | str) -> BaseModel:
        """The input from a JSON body; an empty body is `{}`. Raises `pydantic.ValidationError`."""
        return self._inputs.validate_json(body)

    def validate(self, value: Any) -> BaseModel:
        """The input from Python values. Raises `pydantic.ValidationError`."""
        return self._inputs.validate(value)

    def validate_form(self, items: Sequence[tuple[str, str | File]]) -> BaseModel:
        """The input from the parts of a form, in their order; text that is not for a text field is
        read as JSON. Raises `pydantic.ValidationError`."""
        return self.validate(form_values(self.form_fields, items))

    def bind(self, validated: BaseModel) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments for the call (without `self`)."""
        return self._inputs.bind(validated)

    def path_files(self, validated: BaseModel) -> list[PathFile]:
        """The files of the input that the function gets as paths; `remove` them after the call."""
        return self._inputs.path_files(validated)

    def encode(self, value: Any) -> Encoded:
        """Check and encode what the function returned; see `Output.encode`."""
        return self.output.encode(value)

    def encode_event(self, value: Any) -> bytes:
        """Check and encode one event as JSON; see `Output.encode_json`."""
        return self.output.encode_json(value)

    def input_schema(self, ref_template: str = DEFAULT_REF_TEMPLATE) -> dict[str, Any]:
        """JSON Schema of the input, with its `$defs`."""
        return self.input_model.model_json_schema(ref_template=ref_template)

    def output_schema(self, ref_template: str = DEFAULT_REF_TEMPLATE) -> dict[str, Any]:
        """JSON Schema of the output, or of one event."""
        return self.output.schema(ref_template)

    @property
    def example(self) -> Any:
        """An input that is valid, or None where none could be made up (say `examples=[...]`)."""
        try:
            value = example_of(self.input_schema())
            self.validate(value)
        except (ValidationError, KeyError, TypeError, ArithmeticError):
            return None
        return value

    def schema(self, *, id: str, version: str, description: str = "") -> dict[str, Any]:
        """The document that `POST /schema` answers and the image label holds."""
        document = {
            "protocol": "v1",
            "type": "batch",
            "id": id,
            "version": version,
            "description": description or self.description,
            "streaming": self.is_generator,
            "content_type": self.content_type,
            "input": self.input_schema(),
            "output": self.output_schema(),
        }
        example = self.example
        return document if example is None else {**document, "example": example}


def _check_self(first: inspect.Parameter, where: str) -> None:
    """A forgotten `self` would swallow the first input in silence."""
    named = first.kind in (first.POSITIONAL_ONLY, first.POSITIONAL_OR_KEYWORD)
    if named and first.name not in ("self", "cls", "this") and not first.name.startswith("_"):
        raise SignatureError(
            f"{where}: its first parameter is `{first.name}`, and has to be `self`; write "
            f"`(self, {first.name}: ...)`"
        )
