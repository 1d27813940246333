"""`GET /docs`: the interface as one page of HTML, made of its OpenAPI document.

Nothing is loaded from anywhere, so it shows without internet, and it runs no script.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

# Texts of the author are escaped; this holds where one would slip through.
HEADERS = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;"
    "color:#1b1f24;background:#fff}"
    "code,pre{font:14px/1.45 ui-monospace,monospace;background:#f3f4f6;border-radius:4px}"
    "code{padding:.1em .3em}pre{padding:1rem;overflow:auto}"
    "table{border-collapse:collapse;width:100%}"
    "th,td{text-align:left;vertical-align:top;padding:.4rem .6rem;border-bottom:1px solid #d8dee4}"
    "h2{margin-top:2.5rem}.method{color:#0a7c42;margin-right:.5rem}"
    "@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}"
    "code,pre{background:#161b22}th,td{border-color:#30363d}a{color:#6cb6ff}}"
)


def page(document: Mapping[str, Any]) -> str:
    """`document` is an OpenAPI 3.1 one, as `/openapi.json` answers it."""
    info = document["info"]
    title = escape(info["title"])
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>"
        f"<meta name=viewport content='width=device-width'><style>{_STYLE}</style>",
        f"<h1>{title} <small>{escape(info['version'])}</small></h1>",
        _prose(info.get("description", "")),
        "<p>For programs: <a href=openapi.json>openapi.json</a></p>",
    ]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            parts.extend(_operation(path, method, operation, document))
    return "\n".join(parts) + "\n"


def _operation(
    path: str, method: str, operation: Mapping[str, Any], document: Mapping[str, Any]
) -> Iterator[str]:
    yield f"<h2><span class=method>{escape(method.upper())}</span>{escape(path)}</h2>"
    yield _prose(operation.get("description") or operation.get("summary", ""))
    body = operation.get("requestBody", {}).get("content", {})
    if body:
        kinds = " or ".join(f"<code>{escape(kind)}</code>" for kind in body)
        content = next(iter(body.values()))
        schema = _resolved(content.get("schema", {}), document)
        yield f"<h3>Input</h3><p>{kinds}</p>"
        yield _fields(schema, document)
        if (example := content.get("example")) is not None:
            yield f"<h3>Example</h3><pre>{escape(_curl(path, example))}</pre>"
    rows = [
        f"<tr><td>{escape(status)}<td>{escape(answer.get('description', ''))}"
        f"<td>{' '.join(f'<code>{escape(kind)}</code>' for kind in answer.get('content', {}))}"
        for status, answer in operation.get("responses", {}).items()
    ]
    yield "<h3>Answers</h3><table><tr><th>Status<th>Meaning<th>As"
    yield from rows
    yield "</table>"
    good = operation.get("responses", {}).get("200", {}).get("content", {})
    for kind, content in good.items():
        shown = json.dumps(content.get("schema", {}), indent=2, ensure_ascii=False)
        yield f"<details><summary>Schema of {escape(kind)}</summary><pre>{escape(shown)}</pre>"
        yield "</details>"


def _fields(schema: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    properties = schema.get("properties")
    if not properties:
        return f"<pre>{escape(json.dumps(schema, indent=2, ensure_ascii=False))}</pre>"
    required = schema.get("required", ())
    rows = ["<table><tr><th>Field<th>Type<th>Default<th>"]
    for name, field in properties.items():
        default = json.dumps(field["default"], ensure_ascii=False) if "default" in field else ""
        if name in required:
            default = "required"
        rows.append(
            f"<tr><td><code>{escape(name)}</code><td>{escape(_type(field, document))}"
            f"<td>{escape(default)}<td>{escape(field.get('description', ''))}"
        )
    return "\n".join([*rows, "</table>"])


_BOUNDS = {
    "minimum": "≥",
    "exclusiveMinimum": ">",
    "maximum": "≤",
    "exclusiveMaximum": "<",
    "minLength": "length ≥",
    "maxLength": "length ≤",
}


def _type(field: Mapping[str, Any], document: Mapping[str, Any], depth: int = 0) -> str:
    field = _resolved(field, document)
    if choices := field.get("enum"):
        return " | ".join(json.dumps(choice, ensure_ascii=False) for choice in choices)
    if "const" in field:
        return json.dumps(field["const"], ensure_ascii=False)
    if options := field.get("anyOf") or field.get("oneOf"):
        return " | ".join(_type(option, document, depth + 1) for option in options)
    name = str(field.get("title") if field.get("properties") else field.get("type", "any"))
    if field.get("format") == "file":
        name = f"file ({field.get('contentMediaType', '*/*')}): URL, base64 or data: URI"
    elif name == "array" and depth < 4:
        name = f"array of {_type(field.get('items', {}), document, depth + 1)}"
    bounds = [f"{sign} {field[key]}" for key, sign in _BOUNDS.items() if key in field]
    return ", ".join([name, *bounds])


def _resolved(schema: Mapping[str, Any], document: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = schema.get("$ref", "")
    found = document.get("components", {}).get("schemas", {}).get(reference.rpartition("/")[2])
    return found if reference and found is not None else schema


def _curl(path: str, example: Any) -> str:
    body = json.dumps(example, ensure_ascii=False).replace("'", "'\\''")
    return f"curl http://localhost:8000{path} -d '{body}'"


def _prose(text: str) -> str:
    return "".join(f"<p>{escape(part)}</p>" for part in text.split("\n\n") if part.strip())
