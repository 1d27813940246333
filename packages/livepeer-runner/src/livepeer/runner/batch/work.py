"""`BatchWork`: a class's `predict` as work that an app can serve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.routing import BaseRoute, Route

from livepeer.runner.author.pipeline import Pipeline, PipelineBase
from livepeer.runner.batch.predictor import Predictor
from livepeer.runner.batch.route import PredictRoute
from livepeer.runner.running.service import Service


class BatchWork:
    """Request/response jobs of one pipeline, at `POST /predict`."""

    kind = "batch"

    def __init__(self, service: Service, cls: type[Pipeline]) -> None:
        self.service = service
        self.cls = cls
        self.predictor = Predictor(cls, service.threads)
        self.route = PredictRoute(self.predictor, service)

    def routes(self) -> Sequence[BaseRoute]:
        return [Route("/predict", self.route, methods=["POST"])]

    def schema(self) -> dict[str, Any]:
        cls = self.cls
        return self.predictor.signature.schema(
            id=cls.pipeline_id, version=cls.version, description=cls.description
        )

    def openapi(self) -> dict[str, Any]:
        from livepeer.runner.batch.openapi import document

        signature = self.predictor.signature
        return document(signature, self.cls.description or signature.description)

    def notes(self) -> Sequence[str]:
        notes = []
        name, capacity, predictor = self.cls.__name__, self.service.capacity, self.predictor
        serial = not predictor.signature.is_async and not self.cls.thread_safe
        if serial and capacity > 1 and not predictor.gathers:
            notes.append(
                f"{name} admits {capacity} jobs, and runs them one at a time: set thread_safe = "
                f"True if `predict` may run in {capacity} threads at once"
            )
        if predictor.gathers and capacity < self.cls.max_batch_size:
            notes.append(
                f"{name}.max_batch_size is {self.cls.max_batch_size}, but capacity admits only "
                f"{capacity} jobs at once: batches stay smaller"
            )
        return notes

    async def start(self, pipeline: PipelineBase) -> None:
        self.predictor.start(pipeline)

    async def drain(self) -> None:
        """Jobs end by themselves."""

    async def cut(self) -> None:
        await self.route.cut()
        await self.predictor.aclose()

    @property
    def queued(self) -> int:
        return self.predictor.queued
