"""`POST /predict`: from bytes to a slot, to the work, and back to bytes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import BaseModel

from livepeer.runner import logs
from livepeer.runner.batch.buffer import EventBuffer
from livepeer.runner.batch.cut import Cuts, stopping
from livepeer.runner.batch.predictor import Predictor
from livepeer.runner.batch.request import parse
from livepeer.runner.batch.stream import EventSource, collect, stream, wants_json
from livepeer.runner.errors import (
    FieldError,
    InvalidInput,
    JobError,
    Unauthorized,
    public,
)
from livepeer.runner.exceptions import FileError
from livepeer.runner.http.asgi import (
    BodyBudget,
    CallerLeft,
    Receive,
    Scope,
    Send,
    header,
    read_body,
    respond,
    respond_error,
)
from livepeer.runner.http.sse import data_event, progress_event
from livepeer.runner.job import Job, current_job
from livepeer.runner.running.execution import disconnected, outcome
from livepeer.runner.running.service import Service
from livepeer.runner.running.slots import Slot

logger = logging.getLogger(__name__)

# What the callers of a cut get to take their answers.
CUT_SECONDS = 5.0


class PredictRoute:
    """An ASGI endpoint. Every request ends in exactly one answer, or in a caller who left."""

    def __init__(self, predictor: Predictor, service: Service) -> None:
        self._predictor = predictor
        self._service = service
        # As much as the slots can hold once they are taken.
        self._bodies = BodyBudget(service.settings.limits.max_body * service.capacity)
        self._tasks: set[asyncio.Task[None]] = set()
        self._cuts = Cuts()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        service = self._service
        try:
            calling = service.caller(scope)
        except Unauthorized as error:
            service.metrics.finished(await self._refuse(send, error), loop.time() - started)
            return
        job = Job(scope.get("livepeer.request_id", ""))
        context = current_job.set(job)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        result = "ok"
        try:
            with calling:
                await self._serve(scope, receive, send)
        except CallerLeft:
            result = "cancelled"
        except asyncio.CancelledError:
            result = "cancelled"
            raise
        except Exception as error:  # noqa: BLE001 — an author's code; it is logged and answered
            result = await self._refuse(send, explain(error))
        finally:
            self._tasks.discard(task)
            current_job.reset(context)
            seconds = loop.time() - started
            service.metrics.finished(result, seconds)
            logger.debug("%s after %.3f s", result, seconds, extra={"job_id": job.id})

    async def cut(self) -> None:
        """Answer every job that still runs, and every call that has not become one."""
        self._cuts.make()
        if tasks := set(self._tasks):
            await asyncio.wait(tasks, timeout=CUT_SECONDS)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        service, predictor = self._service, self._predictor
        limits = service.settings.limits
        async with self._cuts.place(stopping) as cut:
            if (refusal := service.lifecycle.refusal()) is not None:
                await read_body(scope, receive, limits.max_body)
                raise refusal
            with self._bodies.hold() as held:
                body = await read_body(scope, receive, limits.max_body, held=held)
                validated = await parse(
                    predictor.signature, body, header(scope, b"content-type"), scope
                )
                del body
                slot = await service.admission.slot(lambda: disconnected(receive))
            started = asyncio.get_running_loop().time()
            if predictor.signature.accepts_files:
                with released_on_error(slot):
                    await self._fetch(validated)
            deadline = None if predictor.timeout is None else started + predictor.timeout
            slot.limit(predictor.timeout)
            if not predictor.signature.is_generator:
                with released_on_error(slot):
                    execution = predictor.execute(validated)
                execution.future.add_done_callback(lambda _: slot.release())
                cut.begins(execution)
                encoded = await outcome(execution, deadline, receive)
        if predictor.signature.is_generator:
            await self._stream(scope, receive, send, validated, slot, deadline)
        else:
            await respond(send, encoded.body, media_type=encoded.media_type.encode())

    async def _stream(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        validated: BaseModel,
        slot: Slot,
        deadline: float | None,
    ) -> None:
        encode = self._predictor.encode_event
        made = 0

        def item(value: Any) -> bytes:
            nonlocal made
            made += 1
            return encode(value) + b","

        def event(value: Any) -> bytes:
            nonlocal made
            made += 1
            return data_event(encode(value))

        collecting = wants_json(header(scope, b"accept"))
        buffer = EventBuffer()
        if not collecting and (job := current_job.get()) is not None:
            job.on_progress = lambda done, text: buffer.insert(progress_event(done, text))
        with released_on_error(slot):
            execution = self._predictor.produce(validated, item if collecting else event, buffer)
        execution.future.add_done_callback(lambda _: slot.release())
        try:
            async with EventSource(execution, buffer, deadline, receive, self._cuts) as source:
                if collecting:
                    await collect(source, send)
                else:
                    await stream(source, send, on_error=self._failed)
        finally:
            self._service.metrics.events.inc(made)

    async def _fetch(self, validated: BaseModel) -> None:
        from livepeer.runner.author import fetch

        settings = self._service.settings
        await fetch.resolve(
            validated,
            max_bytes=settings.limits.max_file,
            timeout=settings.limits.fetch_timeout,
            allow_private=settings.allow_private_urls,
        )
        if files := self._predictor.signature.path_files(validated):
            await asyncio.to_thread(lambda: [file.path() for file in files])

    def _failed(self, error: BaseException) -> JobError:
        failure = explain(error)
        self._service.metrics.error(failure.type)
        return failure

    async def _refuse(self, send: Send, error: JobError) -> str:
        self._service.metrics.error(error.type)
        await respond_error(send, error)
        return error.type


@contextmanager
def released_on_error(slot: Slot) -> Iterator[None]:
    """Until an execution holds the slot, a failure gives it back."""
    try:
        yield
    except BaseException:
        slot.release()
        raise


def explain(error: BaseException) -> JobError:
    """What a caller is told of an error in the pipeline; the log is told the rest."""
    if isinstance(error, FileError):
        name = ".".join(map(str, error.location))
        return InvalidInput(str(error), fields=[FieldError(name, str(error))] if name else ())
    if not isinstance(error, JobError):
        logger.error("predict raised", exc_info=logs.authors(error))
    elif error.status == 500:
        logger.error("predict failed: %s", error, exc_info=error.__cause__)
    return public(error)
