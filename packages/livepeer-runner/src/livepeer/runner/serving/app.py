"""`create_app`: a pipeline class as an ASGI app, with the routes of the container contract.

| Route | For | Answers |
| --- | --- | --- |
| `POST /predict` | orchestrators | the job |
| `POST /schema` | orchestrators | input and output schema; takes no slot and no model |
| `GET /schema` | people and programs | the same |
| `GET /` | people and programs | discovery: id, version, type, protocol, transports |
| `GET /health` | orchestrators, platforms | 200 and `{"status": LOADING, OK, IDLE or ERROR}` |
| `GET /ready` | platforms | 200 once jobs are taken, else 503 |
| `GET /metrics` | Prometheus | counters |
| `GET /openapi.json`, `GET /docs` | people | the interface, with the real fields |

An orchestrator forwards whatever path follows `/process/request/`. Every other one answers 404 in
the error shape and names the routes that there are; none redirects, since an orchestrator would
follow with its bearer token.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from livepeer.runner.author.pipeline import PipelineBase
from livepeer.runner.errors import (
    JobError,
    MethodNotAllowed,
    NotReady,
    RouteNotFound,
    error_body,
)
from livepeer.runner.http.asgi import EntryPoint
from livepeer.runner.metrics import CONTENT_TYPE
from livepeer.runner.running.lifecycle import State
from livepeer.runner.running.service import Service
from livepeer.runner.running.work import Work
from livepeer.runner.serving.kinds import make_service
from livepeer.runner.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI

PROTOCOL = "v1"


def create_app(cls: type[PipelineBase], settings: Settings | None = None) -> FastAPI:
    """An app that serves `cls`; `settings` come from the environment where none are given.

    Setup begins with the app's lifespan and the routes answer meanwhile. Mounted into another app,
    enter `app.router.lifespan_context(app)` in that app's own lifespan. Raises `SignatureError`
    where the class cannot be served as it is written, `SettingsError` for a bad environment.
    """
    from fastapi import FastAPI  # its import takes as long as all that `make_app` needs

    service = _service(cls, settings)
    app = FastAPI(
        title=cls.pipeline_id,
        version=cls.version,
        description=cls.description,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
    )
    description = _fill(app, service)
    app.openapi = description.document  # type: ignore[method-assign]
    return app


def make_app(cls: type[PipelineBase], settings: Settings | None = None) -> Starlette:
    """The same app without FastAPI, which its author may add to: what is served, and tested, by
    this package."""
    service = _service(cls, settings)
    app = Starlette()
    _fill(app, service)
    return app


def _service(cls: type[PipelineBase], settings: Settings | None) -> Service:
    return make_service(cls, settings if settings is not None else Settings.from_env())


def _fill(app: Starlette, service: Service) -> Description:
    work = service.work
    description = Description(work, service.cls)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await service.start()
        try:
            yield
        finally:
            await service.drain()
            await service.aclose()

    app.router.lifespan_context = lifespan
    app.router.redirect_slashes = False
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(JobError, _job_error)
    app.state.service = service
    # First, since they are matched in order and carry the load.
    app.router.routes.extend([*work.routes(), *_routes(service, work, description)])
    app.add_middleware(EntryPoint)
    if service.registration is not None:
        # Outside of it, so that what is secret in a path is gone before anything is logged.
        app.add_middleware(service.registration.door)
    return description


class Description:
    """The OpenAPI document of an app, made when it is first asked for."""

    def __init__(self, work: Work, cls: type[PipelineBase]) -> None:
        self._work, self._cls = work, cls
        self._made: dict[str, Any] | None = None

    def document(self) -> dict[str, Any]:
        if self._made is None:
            cls = self._cls
            about = {"title": cls.pipeline_id, "version": cls.version}
            about["description"] = cls.description
            self._made = {"openapi": "3.1.0", "info": about, **self._work.openapi()}
        return self._made


def _routes(service: Service, work: Work, description: Description) -> list[Route]:
    lifecycle = service.lifecycle

    async def discovery(request: Request) -> Response:
        cls = service.cls
        return _json(
            {
                "id": cls.pipeline_id,
                "version": cls.version,
                "description": cls.description,
                "type": work.kind,
                "protocol": PROTOCOL,
                "transports": ["http", "sse"] if work.kind == "batch" else ["http", "trickle"],
                "capacity": service.capacity,
                "schema_url": "/schema",
                "openapi_url": "/openapi.json",
                "docs_url": "/docs",
            }
        )

    async def health(request: Request) -> Response:
        content: dict[str, Any] = {
            "status": lifecycle.health,
            "pipeline": service.cls.pipeline_id,
            "version": service.cls.version,
            "capacity": service.capacity,
            "in_flight": lifecycle.slots.taken,
        }
        if lifecycle.reason is not None:
            content["reason"] = lifecycle.reason
        if lifecycle.draining:
            content["draining"] = True
        if service.registration is not None:
            content["registration"] = [state.as_dict() for state in service.registration.state]
        well = lifecycle.ready and lifecycle.health != State.ERROR
        return _json(content, 503 if service.settings.strict_health and not well else 200)

    async def ready(request: Request) -> Response:
        refusal = lifecycle.refusal()
        if isinstance(refusal, NotReady):
            raise refusal
        return _json({"ready": True})

    async def schema(request: Request) -> Response:
        if request.method == "POST":  # what an orchestrator forwards carries its token
            with service.caller(request.scope):
                return _json(work.schema())
        return _json(work.schema())

    async def docs(request: Request) -> Response:
        from livepeer.runner.serving import docs_page

        return HTMLResponse(docs_page.page(description.document()), headers=docs_page.HEADERS)

    async def openapi(request: Request) -> Response:
        return _json(description.document())

    async def metrics(request: Request) -> Response:
        return Response(service.metrics.render(), media_type=CONTENT_TYPE)

    return [
        Route("/", discovery, methods=["GET"]),
        Route("/health", health, methods=["GET"]),
        Route("/ready", ready, methods=["GET"]),
        Route("/schema", schema, methods=["GET", "POST"]),
        Route("/metrics", metrics, methods=["GET"]),
        Route("/openapi.json", openapi, methods=["GET"]),
        Route("/docs", docs, methods=["GET"]),
    ]


def _json(content: Any, status: int = 200) -> Response:
    return Response(json.dumps(content, ensure_ascii=False), status, media_type="application/json")


def _error(error: JobError) -> Response:
    headers = {key.decode(): value.decode() for key, value in error.headers()}
    return Response(error_body(error), error.status, headers, "application/json")


async def _job_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, JobError)
    return _error(error)


async def _http_error(request: Request, error: Exception) -> Response:
    """Starlette's 404 and 405, in our shape, saying what would have worked."""
    assert isinstance(error, HTTPException)
    path = request.url.path
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "").split(", ")
        return _error(MethodNotAllowed(f"{path} takes {' or '.join(allowed)}", allowed=allowed))
    routes = ", ".join(
        route.path
        for route in request.app.router.routes
        if isinstance(route, Route) and "POST" in (route.methods or ())
    )
    return _error(RouteNotFound(f"there is no {path}; this pipeline takes POST on {routes}"))
