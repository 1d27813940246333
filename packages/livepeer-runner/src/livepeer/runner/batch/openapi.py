"""The OpenAPI description of `POST /predict` and `POST /schema`, from the signature."""

from __future__ import annotations

from typing import Any

from livepeer.runner.author.signature import PredictSignature
from livepeer.runner.errors import ERROR_SCHEMA

_TEMPLATE = "#/components/schemas/{model}"

_ERRORS = {
    "401": "The bearer token is missing or wrong (only where a registration gave one out).",
    "409": "A stop ended the job after it had begun.",
    "413": "The body is over the limit.",
    "422": "The input is wrong; `fields` says where.",
    "500": "The pipeline failed.",
    "503": "Not ready, or every slot stayed taken; `retry_after` says when to come again.",
    "504": "The job overran the pipeline's timeout.",
}


def document(signature: PredictSignature, description: str) -> dict[str, Any]:
    """`paths` and `components`."""
    definitions: dict[str, Any] = {"Error": ERROR_SCHEMA}
    model_name = signature.input_model.__name__
    definitions[model_name] = _lifted(signature.input_schema(_TEMPLATE), definitions)
    output = _lifted(signature.output_schema(_TEMPLATE), definitions)
    content: dict[str, Any] = {"schema": {"$ref": f"#/components/schemas/{model_name}"}}
    if (example := signature.example) is not None:
        content["example"] = example
    bodies = {"application/json": content}
    if signature.accepts_multipart:
        bodies["multipart/form-data"] = {"schema": _form_schema(signature)}
    predict = {
        "operationId": "predict",
        "summary": "Run the pipeline",
        "description": description,
        "requestBody": {"required": True, "content": bodies},
        "responses": {
            "200": {"description": "The result.", "content": _answers(signature, output)},
            **{
                status: {
                    "description": text,
                    "content": {
                        "application/json": {"schema": {"$ref": "#/components/schemas/Error"}}
                    },
                }
                for status, text in _ERRORS.items()
            },
        },
    }
    schema = {
        "operationId": "schema",
        "summary": "The schema of input and output",
        "responses": {
            "200": {
                "description": "The schema document.",
                "content": {"application/json": {"schema": {"type": "object"}}},
            }
        },
    }
    return {
        "paths": {"/predict": {"post": predict}, "/schema": {"post": schema}},
        "components": {"schemas": definitions},
    }


def _answers(signature: PredictSignature, output: dict[str, Any]) -> dict[str, Any]:
    if signature.is_generator:
        return {
            "text/event-stream": {"schema": _event(output)},
            "application/json": {"schema": {"type": "array", "items": output}},
        }
    if (media_type := signature.output.raw_media_type) is not None:
        # A file whose bytes say nothing of its type leaves as plain bytes.
        kinds = dict.fromkeys((media_type, "application/octet-stream"))
        return {kind: {"schema": {"type": "string", "format": "binary"}} for kind in kinds}
    return {"application/json": {"schema": output}}


def _event(output: dict[str, Any]) -> dict[str, Any]:
    progress = {
        "type": "object",
        "required": ["progress", "message"],
        "properties": {"progress": {"type": "number"}, "message": {"type": "string"}},
    }
    content = {
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": {"anyOf": [output, progress, {"$ref": "#/components/schemas/Error"}]},
    }
    return {
        "type": "object",
        "description": "One server-sent event. Its data is JSON, folded over several lines where "
        "it is long: drop every line feed before parsing. The last event is a bare [DONE], after "
        "an `error` event too.",
        "required": ["data"],
        "properties": {
            "event": {"enum": ["message", "progress", "error"]},
            "data": {"anyOf": [{"const": "[DONE]"}, content]},
        },
    }


def _form_schema(signature: PredictSignature) -> dict[str, Any]:
    """The same fields as parts: a file is binary, everything else text or JSON."""
    properties: dict[str, Any] = {}
    for name, field in signature.form_fields.items():
        part: dict[str, Any] = {"type": "string"}
        if field.is_file:
            part["format"] = "binary"
        properties[name] = {"type": "array", "items": part} if field.is_list else part
    return {
        "type": "object",
        "properties": properties,
        "required": signature.input_schema().get("required", []),
    }


def _lifted(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema without its `$defs`, which go where an OpenAPI document keeps them."""
    definitions.update(schema.pop("$defs", {}))
    return schema
