"""Replayer 3 for live streams: start, update, stop and status, as our client sends them."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from typing import Any

from livepeer.client import LivepeerError
from livepeer.client.http.deadline import Deadline
from livepeer.client.live.ahead import Ahead
from livepeer.client.live.calls import LiveCalls
from livepeer.client.live.stream import Live, Wanted

from .scripted import Exchange, ScriptedServer
from .transcript import Mismatch, Scenario, Step
from .values import Values, compact_json

LIMIT = 30.0
FLAGS = {
    "enable_video_ingress": "publish",
    "enable_video_egress": "subscribe",
    "enable_data_output": "data",
}
CHANNELS = {
    "X-Publish-Url": "publish_url",
    "X-Subscribe-Url": "subscribe_url",
    "X-Control-Url": "control_url",
    "X-Events-Url": "events_url",
    "X-Data-Url": "data_url",
}
ROUTE = re.compile(r"/(?:ai|process)/stream/(?:([^/]+)/)?(start|update|stop|status)")


async def replay(
    scenario: Scenario, server: ScriptedServer, calls: LiveCalls, *, gateway: bool
) -> list[str | None]:
    """Play one scenario: for each request None, or why our client never sends it. Raises
    `Mismatch`."""
    values = Values({})
    values.known = _Any()
    played: list[str | None] = []
    steps = [step for step in scenario.steps if "caller" in step]
    for step, following in zip(steps, [*steps[1:], {}], strict=True):
        sent = step.get("send", {})
        match = ROUTE.fullmatch(values.text(sent.get("path", "")))
        answer = following.get("receives") if following.get("caller") == step["caller"] else None
        if not match or not answer or "status" not in answer or not answer.get("ended"):
            continue
        foreign = foreign_to_us(sent, match[2], values, gateway)
        played.append(foreign)
        if foreign is None:
            await _play(sent, answer, match, server, calls, values, gateway)
    return played


class _Any(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return name


def foreign_to_us(sent: Step, kind: str, values: Values, gateway: bool) -> str | None:
    """Why our client never sends this request, or None for one that it does."""
    header = sent["headers"].get("Livepeer")
    if sent["method"] != ("GET" if kind == "status" else "POST"):
        return "another method"
    if gateway and kind in ("stop", "status"):
        return None
    if not isinstance(header, dict) or "b64json" not in header:
        return "a Livepeer header that is missing or broken"
    job = values.expand(header["b64json"])
    try:
        request, parameters = json.loads(job["request"]), json.loads(job["parameters"])
        body = json.loads(values.body(sent.get("body")))
    except (KeyError, ValueError, TypeError):
        return "a request, parameters or a body that is no JSON"
    if not isinstance(job.get("timeout_seconds"), int) or job["timeout_seconds"] < 1:
        return "a timeout_seconds that is no positive integer"
    if kind == "start":
        known = set(FLAGS) | ({"orchestrators"} if gateway else set())
        wanted = {name: flag for name, flag in parameters.items() if name in FLAGS}
        if set(parameters) - known or any(flag is not True for flag in wanted.values()):
            return "parameters beyond the three switches"
        if not job["id"] or "/" in job["id"] or "Content-Type" not in sent["headers"]:
            return "an id or a type that our client never sends"
        if gateway:
            return None if _params(body.get("params")) is not False else "params that are no JSON"
        if not isinstance(body, dict) or set(body) != {"params"}:
            return "a body other than its params"
        if not isinstance(body["params"], dict | None):
            return "params that are no object"
        if sent["headers"]["Content-Type"] != "application/json":
            return "another type than JSON"
    elif not isinstance(body, dict) or "stream_id" not in request:
        return "no object, or no stream_id"
    return None


def _params(text: Any) -> Any:
    try:
        return json.loads(text) if text else None
    except (ValueError, TypeError):
        return False


async def _play(
    sent: Step,
    answer: dict[str, Any],
    match: re.Match[str],
    server: ScriptedServer,
    calls: LiveCalls,
    values: Values,
    gateway: bool,
) -> None:
    kind = match[2]
    header = sent["headers"].get("Livepeer")
    job = values.expand(header["b64json"]) if header else {"capability": "some"}
    body = json.loads(values.body(sent["body"])) if sent.get("body") else {}
    task = asyncio.ensure_future(
        _call(kind, match[1], job, body, calls, f"http://{server.address}", gateway)
    )
    try:
        async with asyncio.timeout(LIMIT):
            exchange = await _request(server, match[0])
            _check_request(kind, match[0], sent, job, body, exchange, gateway)
            await exchange.answer(_answer(answer, values), values)
            more = asyncio.ensure_future(_answer_others(server, match[0], answer, values))
            try:
                result = await task
                if isinstance(result, Live):  # its end, which is owed from now on
                    await calls.leave(result)
            except LivepeerError as error:
                result = error
            finally:
                more.cancel()
                await asyncio.gather(more, return_exceptions=True)
    except TimeoutError:
        raise Mismatch(f"{kind}: the client did not come to an end") from None
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    _check_result(kind, answer, result, values, gateway)


async def _call(
    kind: str,
    stream_id: str | None,
    job: dict[str, Any],
    body: Any,
    calls: LiveCalls,
    base: str,
    gateway: bool,
) -> Any:
    if kind == "start":
        parameters = json.loads(job["parameters"])
        wants = {name: bool(parameters.get(flag)) for flag, name in FLAGS.items()}
        params = _params(body.get("params")) if gateway else body["params"]
        wanted = Wanted(job["capability"], params, **wants)
        ahead = Ahead(False, 0, lambda: None)  # no channel of it is used
        try:
            return await calls.start(wanted, job["id"], Deadline(job["timeout_seconds"]), ahead)
        finally:
            await ahead.aclose()
    road = "gateway" if gateway else "byoc"
    known = stream_id or json.loads(job["request"])["stream_id"]
    live = Live(known, job["capability"], road, base)
    match kind:
        case "update":
            return await calls.update(live, body)
        case "stop":
            return await calls.leave(live)
        case _:
            return await calls.status(live)


async def _request(server: ScriptedServer, path: str) -> Exchange:
    """The next request for `path`; tokens are answered on the way."""
    while True:
        exchange = await server.requests.get()
        line = exchange.request.start_line
        if path in line:
            return exchange
        if not await _offered(exchange):
            raise Mismatch(f"{path} was due, and the client sent {line!r}")


async def _offered(exchange: Exchange) -> bool:
    """Answer a question about offers; False where it is none."""
    line = exchange.request.start_line
    if "/process/token" in line:
        token = {"price": {"pixelsPerUnit": 1}, "available_capacity": 9, "LastNonce": 0}
        await exchange.answer({"status": 200, "body": {"json": token}}, Values({}))
    elif line.startswith("GET /discovery "):  # no live runners here
        await exchange.answer({"status": 404, "body": "404"}, Values({}))
    else:
        return False
    return True


async def _answer_others(
    server: ScriptedServer, path: str, answer: dict[str, Any], values: Values
) -> None:
    """What no scenario knows of: a start that may have worked is stopped; one that was sent unasked
    and not taken is sent again, where there is an offer."""
    while True:
        exchange = await server.requests.get()
        line = exchange.request.start_line
        if "/stop" in line:
            await exchange.answer({"status": 200, "body": ""}, Values({}))
        elif path.endswith("/start") and path in line:
            await exchange.answer(_answer(answer, values), values)
        elif not await _offered(exchange):
            raise Mismatch(f"not expected: {line!r}")


def _answer(receives: dict[str, Any], values: Values) -> dict[str, Any]:
    left_out = ("Content-Length", "Transfer-Encoding")
    headers = {name: value for name, value in receives["headers"].items() if name not in left_out}
    body = {"json": receives["json"]} if "json" in receives else receives.get("body", "")
    return {"status": receives["status"], "headers": headers, "body": body}


def _check_request(
    kind: str,
    path: str,
    sent: Step,
    job: dict[str, Any],
    body: Any,
    exchange: Exchange,
    gateway: bool,
) -> None:
    request = exchange.request
    if request.start_line != f"{sent['method']} {path} HTTP/1.1":
        raise Mismatch(f"{path!r} was asked for as {request.start_line!r}")
    if kind == "status":
        return
    said = json.loads(base64.b64decode(request.header("livepeer") or "", validate=True))
    # A stream that this client started is stopped under the name that it was started by.
    if kind != "stop" and said["capability"] != job["capability"]:
        raise Mismatch(f"the capability is {said['capability']!r}, not {job['capability']!r}")
    got = json.loads(bytes(request.body))
    if kind == "start":
        if said["id"] != job["id"] or said["timeout_seconds"] != job["timeout_seconds"]:
            raise Mismatch(f"the Livepeer header says {said}")
        wanted = json.loads(job["parameters"])
        wanted.pop("orchestrators", None)
        if json.loads(said["parameters"]) != wanted:
            raise Mismatch(f"parameters are {said['parameters']}")
        if gateway:
            if _params(got["params"]) != _params(body.get("params")):
                raise Mismatch(f"params are {got['params']!r}")
        elif got != body:
            raise Mismatch(f"the body is {got!r}")
        return
    if not gateway and json.loads(said["request"]) != json.loads(job["request"]):
        raise Mismatch(f"the request is {said['request']!r}")
    if kind == "update" and got != body:
        raise Mismatch(f"the body is {got!r}")


def _check_result(
    kind: str, answer: dict[str, Any], result: Any, values: Values, gateway: bool
) -> None:
    status = answer["status"]
    if kind == "stop":
        if result is not None:
            raise Mismatch(f"stop gave {result!r}")
    elif not 200 <= status < 300:
        if not isinstance(result, LivepeerError) or result.status != status:
            raise Mismatch(f"{kind} was answered {status}, and the client made {result!r} of it")
    elif kind == "start" and gateway:
        told = answer.get("json") or json.loads(values.body(answer["body"]))
        if not isinstance(result, Live) or result.stream_id != values.expand(told)["stream_id"]:
            raise Mismatch(f"a start became {result!r}")
    elif kind == "start":
        for header, name in CHANNELS.items():
            url = answer["headers"].get(header)
            if getattr(result, name, None) != (values.text(url) if url else None):
                raise Mismatch(f"{header} is {url!r}, and the client made {result!r} of it")
    else:
        raw = (
            compact_json(values.expand(answer["json"]))
            if "json" in answer
            else values.body(answer.get("body"))
        )
        try:
            wanted = json.loads(raw)
        except ValueError:
            wanted = raw.decode() or None
        if result != wanted:
            raise Mismatch(f"{kind} gave {result!r}, not {wanted!r}")
