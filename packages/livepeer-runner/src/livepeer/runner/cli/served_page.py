"""`livepeer serve --playground`: a pipeline in a process of its own, and the page that shows it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import aiohttp

from livepeer.runner.cli.look import ENDED, LOOPBACK, Look
from livepeer.runner.cli.page import Page, opened
from livepeer.runner.cli.reload import Reloader, ReloadEvent, stopping
from livepeer.runner.packaging.load import Reference
from livepeer.runner.playground.board import Board
from livepeer.runner.playground.container import ContainerCaller
from livepeer.runner.playground.http_calls import HttpCalls
from livepeer.runner.playground.written import CLIP, WrittenCall, posting, python_value
from livepeer.trickle.cli.console import note
from livepeer.trickle.server import TrickleServer

KEY = "0"
ANSWER_SECONDS = 5.0


async def serve_with_page(
    reference: Reference, host: str, port: int, page: Page, *, watch: bool
) -> int:
    """Until Ctrl-C or SIGTERM. The exit status: 1 where it never served and is not watched."""
    board = Board()
    board.add(KEY, reference.name or reference.module)
    with stopping() as stop:
        reloader = Reloader(reference, host, port, changed=partial(_show, board), watch=watch)
        url = f"http://{LOOPBACK}:{reloader.port}"
        async with AsyncExitStack() as stack:
            server = await stack.enter_async_context(TrickleServer())
            calls = await stack.enter_async_context(HttpCalls(url))
            playground = await stack.enter_async_context(opened(board, page))
            print(f"playground: {playground.url}", flush=True)
            if not playground.door.is_loopback:
                note("whoever has this address may use it; without https there is no camera")
            caller = ContainerCaller(calls, server)
            serving = asyncio.create_task(reloader.run(stop), name="pipeline")
            watching = asyncio.create_task(
                _watch(Look(reloader, stop, registers=False), board, caller, reference, watch),
                name="look",
            )
            try:
                await asyncio.wait((serving, watching), return_when=asyncio.FIRST_COMPLETED)
                return 1 if watching.done() and not watching.cancelled() else 0
            finally:
                stop.set()
                watching.cancel()
                try:
                    await asyncio.wait((watching,))
                finally:
                    await serving


def _show(board: Board, change: ReloadEvent) -> None:
    if change.kind == "reloads":
        board.reloads(KEY, change.reason)
    else:
        board.failed(KEY, change.reason, change.trace, serves=change.serves)


async def _watch(
    look: Look, board: Board, caller: ContainerCaller, reference: Reference, watch: bool
) -> None:
    """Show how each start ends. It returns where nothing serves and nothing would start again."""
    limit = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
    async with aiohttp.ClientSession(timeout=limit) as http:
        while True:
            reason = await look.served(http)
            if reason is ENDED:
                if not watch:
                    return
                continue
            if reason is not None:
                note(f"the pipeline does not serve: {reason}")
                board.failed(KEY, reason, look.trace, serves=False)
                continue
            document = await look.schema(http)
            board.serves(
                KEY,
                document,
                capacity=await look.capacity(http),
                caller=caller,
                lines=partial(written_calls, look.url, str(reference), document),
            )


NO_CHANNELS = (
    "# Not by curl alone: a stream needs channels, which an orchestrator makes (livepeer dev), or a"
    " program of yours (Python)"
)


def written_calls(
    url: str, reference: str, document: Mapping[str, Any], content: Mapping[str, Any]
) -> dict[str, str]:
    """A call of this container as code. Raises `ValueError` for what is none."""
    call = WrittenCall.of(reference, document, content)
    if call.is_live:
        python, curl = _live_program(url, call), NO_CHANNELS
    else:
        python = _program(url, call.given)
        curl = posting(["curl", "-sN", f"{url}/predict"], call.given)
    return {"Python": python, "curl": curl, "Shell": call.shell(["livepeer", "predict", reference])}


def _program(url: str, value: dict[str, Any]) -> str:
    """With the standard library alone: there may be nothing else."""
    text = python_value(value)
    has_files = "Path(" in text
    lines = [
        *(("import base64",) if has_files else ()),
        "import json",
        *(("from pathlib import Path",) if has_files else ()),
        "from urllib.request import Request, urlopen",
        "",
        *(
            (
                "def encoded(file):",
                "    return base64.b64encode(file.read_bytes()).decode()",
                "",
            )
            if has_files
            else ()
        ),
        f"body = json.dumps({text}{', default=encoded' if has_files else ''}).encode()",
        f'request = Request("{url}/predict", body, {{"Content-Type": "application/json"}})',
        "with urlopen(request) as answer:",
        "    for line in answer:",
        '        print(line.decode(), end="")',
    ]
    return "\n".join(lines)


def _live_program(url: str, call: WrittenCall) -> str:
    """With what livepeer-trickle brings, in place of an orchestrator: the stream's channels. Its
    events say why it ended, and one that sends none for twice their interval is gone."""
    sends = call.sends
    channels = {**({"subscribe_url": "in"} if sends else {}), "publish_url": "out"}
    publishing = (
        "",
        "",
        "async def publish(url):",
        "    async with MediaPublisher(url) as publisher:",
        "        begun = time.monotonic()",
        f'        for frame in decode("{CLIP}"):',
        "            await asyncio.sleep(begun + float(frame.time) - time.monotonic())",
        "            await publisher.write(frame)",
    )
    media = ("MediaPublisher", "MediaSubscriber", "decode") if sends else ("MediaSubscriber",)
    lines = [
        "import asyncio",
        "import json",
        "import sys",
        *(("import time",) if sends else ()),
        "from contextlib import suppress",
        "from urllib.request import Request, urlopen",
        "",
        "from livepeer.trickle import JSONLSubscriber, TrickleServer",
        f"from livepeer.trickle.media import {', '.join(media)}",
        "",
        'HEADERS = {"Content-Type": "application/json", "X-Stream-Id": "call"}',
        "",
        "",
        "def post(path, **body):",
        f'    request = Request(f"{url}/stream/{{path}}", json.dumps(body).encode(), HEADERS)',
        "    urlopen(request).close()",
        *(publishing if sends else ()),
        "",
        "",
        "async def show(url):",
        "    async with MediaSubscriber(url) as frames:",
        "        async for frame in frames:",
        "            print(frame)",
        "",
        "",
        "async def ended(url):",
        "    async with JSONLSubscriber(url, start=0) as events:",
        "        while True:",
        "            try:",
        "                event = await asyncio.wait_for(anext(events), 20)",
        "            except TimeoutError:",
        '                return "it sent no event for 20 s: it is gone, or hangs"',
        '            if event["type"] == "stream_ended":',
        '                return event["reason"]',
        '            if event["type"] == "error":',
        "                print(event, file=sys.stderr)",
        "",
        "",
        "async def main():",
        "    async with TrickleServer() as server:",
        "        urls = {}",
        '        server.create("events", "application/json")',
        '        urls["events_url"] = server.channel_url("events")',
        f"        for field, name in {channels!r}.items():",
        '            server.create(name, "video/MP2T")',
        "            urls[field] = server.channel_url(name)",
        f"        params = {call.given!r}",
        '        await asyncio.to_thread(post, "start", gateway_request_id="call",'
        " params=params, **urls)",
        "        try:",
        "            async with asyncio.TaskGroup() as tasks:",
        *(
            ('                publishing = tasks.create_task(publish(urls["subscribe_url"]))',)
            if sends
            else ()
        ),
        '                showing = tasks.create_task(show(urls["publish_url"]))',
        '                reason = await ended(urls["events_url"])',
        "                await asyncio.wait([showing], timeout=5)",
        *(("                publishing.cancel()",) if sends else ()),
        "                showing.cancel()",
        "        finally:",
        "            with suppress(OSError):  # it may be gone",
        '                await asyncio.to_thread(post, "stop")',
        '    if reason != "the input ended":',
        '        raise SystemExit(f"the stream ended: {reason}")',
        "",
        "",
        "asyncio.run(main())",
    ]
    return "\n".join(lines)
