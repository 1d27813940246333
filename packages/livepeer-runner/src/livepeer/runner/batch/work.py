"""`BatchWork`: a class's `predict` as work that an app can serve."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Sequence
from functools import partial
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from starlette.routing import BaseRoute, Route

from livepeer.runner.author.definition import BATCH_HOOKS, check_hooks
from livepeer.runner.author.jsonable import UnfitValue
from livepeer.runner.author.pipeline import Pipeline
from livepeer.runner.author.signature import Encoded, PredictSignature
from livepeer.runner.author.signature.hints import resolve
from livepeer.runner.batch.buffer import EventBuffer
from livepeer.runner.batch.produce import Encode, produce_in_task, produce_in_thread
from livepeer.runner.batch.route import PredictRoute
from livepeer.runner.errors import PipelineError
from livepeer.runner.exceptions import SignatureError
from livepeer.runner.running.execution import AsyncExecution, Execution, ThreadExecution
from livepeer.runner.running.gather import Gatherer
from livepeer.runner.running.service import Service

MISFIT = "the pipeline returned a value that does not fit its declared type"
UNFIT = "the pipeline returned a value that is no JSON"


class BatchWork:
    """Starts executions of one pipeline's `predict`, or of its `predict_batch`."""

    kind = "batch"

    def __init__(self, service: Service, cls: type[Pipeline]) -> None:
        self.service = service
        self.cls = cls
        check_hooks(cls, BATCH_HOOKS)
        self.gathers = hasattr(cls, "predict_batch")
        self.signature = _batch_signature(cls) if self.gathers else PredictSignature.of(cls)
        self.route = PredictRoute(self, service)
        self._gatherer: Gatherer | None = None

    @property
    def timeout(self) -> float | None:
        return self.cls.timeout

    def routes(self) -> Sequence[BaseRoute]:
        return [Route("/predict", self.route, methods=["POST"])]

    def schema(self) -> dict[str, Any]:
        cls = self.cls
        return self.signature.schema(
            id=cls.pipeline_id, version=cls.version, description=cls.description
        )

    def openapi(self) -> dict[str, Any]:
        from livepeer.runner.batch.openapi import document

        return document(self.signature, self.cls.description or self.signature.description)

    def notes(self) -> Sequence[str]:
        notes = []
        name, capacity = self.cls.__name__, self.service.capacity
        serial = not self.signature.is_async and not self.cls.thread_safe
        if serial and capacity > 1 and not self.gathers:
            notes.append(
                f"{name} admits {capacity} jobs, and runs them one at a time: set thread_safe = "
                f"True if `predict` may run in {capacity} threads at once"
            )
        if self.gathers and capacity < self.cls.max_batch_size:
            notes.append(
                f"{name}.max_batch_size is {self.cls.max_batch_size}, but capacity admits only "
                f"{capacity} jobs at once: batches stay smaller"
            )
        return notes

    async def start(self) -> None:
        if self.gathers:
            self._gatherer = Gatherer(
                self._pipeline_method("predict_batch"),
                self.encode,
                size=self.cls.max_batch_size,
                wait=self.cls.max_batch_wait_ms / 1000,
                timeout=self.cls.timeout,
                threads=self.service.threads,
            )
            self._gatherer.start()

    async def drain(self) -> None:
        """Jobs end by themselves."""

    async def cut(self) -> None:
        await self.route.cut()
        if self._gatherer is not None:
            await self._gatherer.aclose()

    @property
    def queued(self) -> int:
        gathered = self._gatherer.queued if self._gatherer is not None else 0
        return self.service.threads.queued + gathered

    @property
    def in_flight(self) -> int:
        return self.service.lifecycle.slots.taken

    @property
    def busy(self) -> bool:
        return self.in_flight > 0

    def execute(self, validated: BaseModel) -> Execution:
        """Begin a job whose future gives an `Encoded`."""
        return self._with_files(validated, self._execution(validated))

    def produce(self, validated: BaseModel, encode: Encode, buffer: EventBuffer) -> Execution:
        """Begin a job whose events go into `buffer`."""
        args, kwargs = self.signature.bind(validated)
        make = partial(self._pipeline_method("predict"), *args, **kwargs)
        if self.signature.is_async:
            execution = produce_in_task(make, encode, buffer)
        else:
            execution = produce_in_thread(make, encode, buffer, self.service.threads)
        return self._with_files(validated, execution)

    def encode(self, value: Any) -> Encoded:
        try:
            return self.signature.encode(value)
        except (ValidationError, UnfitValue) as error:
            raise PipelineError(misfit(error)) from error

    def encode_event(self, value: Any) -> bytes:
        try:
            return self.signature.encode_event(value)
        except (ValidationError, UnfitValue) as error:
            raise PipelineError(misfit(error)) from error

    def _execution(self, validated: BaseModel) -> Execution:
        args, kwargs = self.signature.bind(validated)
        if self._gatherer is not None:
            return self._gatherer.submit(kwargs.get("input", validated))
        predict = self._pipeline_method("predict")
        if self.signature.is_coroutine:
            return AsyncExecution(self._run(predict, args, kwargs))
        return ThreadExecution(self.service.threads, lambda: self.encode(predict(*args, **kwargs)))

    def _with_files(self, validated: BaseModel, execution: Execution) -> Execution:
        """The files that the job has a path of live exactly as long as it runs."""
        if files := self.signature.path_files(validated):

            def remove(_: object) -> None:
                for file in files:
                    file.remove()

            execution.future.add_done_callback(remove)
        return execution

    async def _run(self, predict: Callable[..., Any], args: Any, kwargs: Any) -> Encoded:
        return self.encode(await predict(*args, **kwargs))

    def _pipeline_method(self, name: str) -> Callable[..., Any]:
        return typing.cast(Callable[..., Any], getattr(self.service.pipeline, name))


def misfit(error: ValidationError | UnfitValue) -> str:
    """What is said of a result that is not what was declared: where, and no value of it."""
    if isinstance(error, UnfitValue):
        return f"{UNFIT}: {error}"
    first = error.errors(include_url=False, include_context=False)[0]
    name = ".".join(map(str, first["loc"]))
    # What an author's own validator says may repeat values.
    what = "" if first["type"] in ("value_error", "assertion_error") else first["msg"]
    if hasattr(first["input"], "tolist"):
        what += f", not {type(first['input']).__name__}: write `.tolist()`"
    return ": ".join(part for part in (MISFIT, name and f"`{name}`", what) if part)


def _batch_signature(cls: type[Pipeline]) -> PredictSignature:
    """The signature of one call, from `predict_batch(self, inputs: list[In]) -> list[Out]`."""
    where = f"{cls.__name__}.predict_batch()"
    method = cls.__dict__.get("predict_batch") or getattr(cls, "predict_batch")  # noqa: B009 — Any
    hints = dict(resolve(method, where, dict(vars(cls))))
    returned = hints.pop("return", None)
    taken = next(iter(hints.values()), None)
    wanted = f"{where}: write `def predict_batch(self, inputs: list[In]) -> list[Out]`"
    names = list(inspect.signature(method).parameters)
    if len(names) != 2 or get_origin(taken) is not list or get_origin(returned) is not list:
        raise SignatureError(wanted)

    def single(input: Any) -> Any:
        raise NotImplementedError

    single.__annotations__ = {
        "input": get_args(taken)[0],
        "return": _without_errors(get_args(returned)[0]),
    }
    single.__doc__ = method.__doc__
    return PredictSignature(single, name=f"{cls.__name__}.predict_batch")


def _without_errors(hint: Any) -> Any:
    """`Out` of `Out | Exception`: an exception in the list is an answer, not a result's type."""
    if get_origin(hint) not in (Union, UnionType):
        return hint
    kept = tuple(
        one
        for one in get_args(hint)
        if not (isinstance(one, type) and issubclass(one, BaseException))
    )
    return Union[kept] if kept else hint  # noqa: UP007 — made at run time
