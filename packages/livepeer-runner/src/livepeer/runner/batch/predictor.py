"""Starts jobs: one call of `predict`, one place in a `predict_batch`, or one generator's events."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from functools import partial
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from livepeer.runner.author.definition import BATCH_HOOKS, check_hooks
from livepeer.runner.author.jsonable import UnfitValue
from livepeer.runner.author.pipeline import Pipeline, PipelineBase
from livepeer.runner.author.signature import Encoded, PredictSignature
from livepeer.runner.author.signature.function import resolve
from livepeer.runner.batch.buffer import EventBuffer, StreamClosed
from livepeer.runner.errors import PipelineError
from livepeer.runner.exceptions import SignatureError
from livepeer.runner.running.execution import AsyncExecution, Execution, ThreadExecution
from livepeer.runner.running.gather import Gatherer
from livepeer.runner.running.threads import WorkerThreads

MISFIT = "the pipeline returned a value that does not fit its declared type"
UNFIT = "the pipeline returned a value that is no JSON"

Encode = Callable[[Any], bytes]


class Predictor:
    """Starts executions of one class's `predict`, or of its `predict_batch`.

    Jobs may be started between `start` and `aclose`.
    """

    def __init__(self, cls: type[Pipeline], threads: WorkerThreads) -> None:
        check_hooks(cls, BATCH_HOOKS)
        self.gathers = hasattr(cls, "predict_batch")
        self.signature = _batch_signature(cls) if self.gathers else PredictSignature.of(cls)
        self.timeout = cls.timeout
        self._cls = cls
        self._threads = threads
        self._predict: Callable[..., Any] = _not_started
        self._gatherer: Gatherer | None = None

    def start(self, pipeline: PipelineBase) -> None:
        """`pipeline` is set up: its methods may be called."""
        if not self.gathers:
            self._predict = pipeline.predict  # type: ignore[attr-defined]
            return
        self._gatherer = Gatherer(
            pipeline.predict_batch,  # type: ignore[attr-defined]
            self.encode,
            size=self._cls.max_batch_size,
            wait=self._cls.max_batch_wait_ms / 1000,
            timeout=self._cls.timeout,
            threads=self._threads,
        )
        self._gatherer.start()

    async def aclose(self) -> None:
        """End the gathering of batches; the calls that wait in it are cancelled."""
        if self._gatherer is not None:
            await self._gatherer.aclose()

    @property
    def queued(self) -> int:
        """Jobs that wait for a thread, or for their batch."""
        gathered = self._gatherer.queued if self._gatherer is not None else 0
        return self._threads.queued + gathered

    def execute(self, validated: BaseModel) -> Execution:
        """Begin a job whose future gives an `Encoded`."""
        return self._with_files(validated, self._execution(validated))

    def produce(self, validated: BaseModel, encode: Encode, buffer: EventBuffer) -> Execution:
        """Begin a job whose events go into `buffer`, each as `encode` gives it."""
        args, kwargs = self.signature.bind(validated)
        make = partial(self._predict, *args, **kwargs)
        if self.signature.is_async:
            execution = _produce_in_task(make, encode, buffer)
        else:
            execution = _produce_in_thread(make, encode, buffer, self._threads)
        return self._with_files(validated, execution)

    def encode(self, value: Any) -> Encoded:
        """The body of a result. Raises `PipelineError` for one that does not fit its type."""
        try:
            return self.signature.encode(value)
        except (ValidationError, UnfitValue) as error:
            raise PipelineError(misfit(error)) from error

    def encode_event(self, value: Any) -> bytes:
        """One event as JSON. Raises `PipelineError` for one that does not fit its type."""
        try:
            return self.signature.encode_event(value)
        except (ValidationError, UnfitValue) as error:
            raise PipelineError(misfit(error)) from error

    def _execution(self, validated: BaseModel) -> Execution:
        args, kwargs = self.signature.bind(validated)
        if self._gatherer is not None:
            return self._gatherer.submit(kwargs.get("input", validated))
        predict = self._predict
        if self.signature.is_coroutine:
            return AsyncExecution(self._run(predict, args, kwargs))
        return ThreadExecution(self._threads, lambda: self.encode(predict(*args, **kwargs)))

    async def _run(self, predict: Callable[..., Any], args: Any, kwargs: Any) -> Encoded:
        return self.encode(await predict(*args, **kwargs))

    def _with_files(self, validated: BaseModel, execution: Execution) -> Execution:
        """The files that the job has a path of live exactly as long as it runs."""
        if files := self.signature.path_files(validated):

            def remove(_: object) -> None:
                for file in files:
                    file.remove()

            execution.future.add_done_callback(remove)
        return execution


def _not_started(*args: Any, **kwargs: Any) -> Any:
    raise RuntimeError("the pipeline has not been set up")


# A generator is closed in the thread or task that runs it, whether it ends, raises, or its reader
# leaves, so that its `finally` blocks run where its other code ran.


def _produce_in_thread(
    make: Callable[[], Iterator[Any]], encode: Encode, buffer: EventBuffer, threads: WorkerThreads
) -> Execution:
    def pump() -> None:
        error: BaseException | None = None
        try:
            items = make()
            try:
                for item in items:
                    buffer.put_blocking(encode(item))
            finally:
                if isinstance(items, Generator):
                    items.close()
        except StreamClosed:
            pass
        except Exception as caught:  # noqa: BLE001 — an author's code; it goes to the caller
            error = caught
        except BaseException as caught:  # noqa: BLE001 — SystemExit would end the event loop
            error = RuntimeError(f"it raised {caught!r}")
        buffer.end(error)

    return ThreadExecution(threads, pump, on_stop=buffer.close)


def _produce_in_task(
    make: Callable[[], AsyncIterator[Any]], encode: Encode, buffer: EventBuffer
) -> Execution:
    async def pump() -> None:
        try:
            items = make()
            try:
                async for item in items:
                    await buffer.put(encode(item))
            finally:
                if isinstance(items, AsyncGenerator):
                    await items.aclose()
        except StreamClosed:
            pass
        except Exception as caught:  # noqa: BLE001 — an author's code; it goes to the caller
            buffer.end(caught)
        except (SystemExit, KeyboardInterrupt) as caught:
            buffer.end(RuntimeError(f"it raised {caught!r}"))
        finally:
            buffer.end()

    return AsyncExecution(pump())


def misfit(error: ValidationError | UnfitValue) -> str:
    """What is said of a result that is not what was declared: where, and no value of it."""
    if isinstance(error, UnfitValue):
        return f"{UNFIT}: {error}"
    first = error.errors(include_url=False, include_context=False)[0]
    name = ".".join(map(str, first["loc"]))
    # What an author's own validator says may repeat values.
    own = first["type"] in ("value_error", "assertion_error")
    what = "" if own else first["msg"]
    if hasattr(first["input"], "tolist"):
        kind = type(first["input"]).__name__
        # A file refuses it with a `ValueError` of its own.
        fix = "`Image.from_ndarray(...)` for a picture" if own else "`.tolist()`"
        what += f"{', ' if what else ''}not {kind}: write {fix}"
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
