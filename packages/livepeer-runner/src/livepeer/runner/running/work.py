"""The seam between the app and the kind of work it serves: batch or live."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from starlette.routing import BaseRoute

from livepeer.runner.author.pipeline import PipelineBase


class Work(Protocol):
    """What `create_app` needs of a kind of work."""

    kind: str
    """`batch` or `live`, for the discovery document."""

    def routes(self) -> Sequence[BaseRoute]:
        """The routes that an orchestrator calls."""

    def schema(self) -> dict[str, Any]:
        """The document that `POST /schema` answers."""

    def openapi(self) -> dict[str, Any]:
        """`paths` and `components` of these routes, as OpenAPI 3.1 has them."""

    def notes(self) -> Sequence[str]:
        """What an operator should know before the start, a sentence each."""

    async def start(self, pipeline: PipelineBase) -> None:
        """Called once, before the first job, with the instance that is set up."""

    async def drain(self) -> None:
        """The stop was asked for: end what would never end by itself, such as a stream."""

    async def cut(self) -> None:
        """End what still runs: the time to drain is over. Callers are answered 503."""

    @property
    def queued(self) -> int:
        """Jobs that have a slot and wait for their turn."""
