"""What a live pipeline tells of itself: its schema, and the stream routes as OpenAPI."""

from __future__ import annotations

from typing import Any

from livepeer.runner.author.live_pipeline import LivePipeline
from livepeer.runner.errors import ERROR_SCHEMA
from livepeer.runner.live.hooks import Hooks
from livepeer.runner.live.params import ParamsType
from livepeer.runner.live.request import URLS

_SCHEMAS = "#/components/schemas/"


def schema(cls: type[LivePipeline], hooks: Hooks, params: ParamsType) -> dict[str, Any]:
    """The document that `POST /schema` answers."""
    return {
        "protocol": "v1",
        "id": cls.pipeline_id,
        "version": cls.version,
        "description": cls.description,
        "type": "live",
        "params": params.schema(),
        "video": _track(cls, hooks.video or hooks.generates),
        "audio": _track(cls, hooks.audio),
        "control": "on_control" in hooks,
        "generates": hooks.generates,
    }


def _track(cls: type[LivePipeline], processed: bool) -> str:
    if processed:
        return "processed"
    return "passed through" if cls.passthrough else "dropped"


def openapi(cls: type[LivePipeline], params: ParamsType) -> dict[str, Any]:
    """`paths` and `components` of the stream routes."""
    url = {"type": "string", "format": "uri"}
    model = params.schema(f"{_SCHEMAS}{{model}}")
    components = {**model.pop("$defs", {}), "Params": model, "Error": ERROR_SCHEMA}
    components["Start"] = {
        "type": "object",
        "properties": {
            "gateway_request_id": {"type": "string"},
            **dict.fromkeys(URLS, url),
            "params": {"anyOf": [{"$ref": f"{_SCHEMAS}Params"}, {"type": "null"}]},
        },
    }
    return {
        "paths": {
            "/stream/start": _route("Start a stream", "Start", ("422", "503")),
            "/stream/params": _route("Change parameters, some or all", "Params", ("404", "422")),
            "/stream/stop": _route("Stop a stream; safe to repeat", None, ()),
        },
        "components": {"schemas": components},
    }


def _route(summary: str, model: str | None, errors: tuple[str, ...]) -> dict[str, Any]:
    failure = {"schema": {"$ref": f"{_SCHEMAS}Error"}}
    route: dict[str, Any] = {
        "summary": summary,
        "parameters": [
            {
                "name": "X-Stream-Id",
                "in": "header",
                "required": False,
                "schema": {"type": "string"},
            }
        ],
        "responses": {
            "200": {
                "description": "Done",
                "content": {"application/json": {"schema": {"type": "object"}}},
            },
            **{
                code: {"description": "Refused", "content": {"application/json": failure}}
                for code in (*errors, "401", "413")
            },
        },
    }
    if model is not None:
        route["requestBody"] = {
            "content": {"application/json": {"schema": {"$ref": f"{_SCHEMAS}{model}"}}}
        }
    return {"post": route}
