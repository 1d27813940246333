"""Capabilities of the network as tools of the Model Context Protocol: one tool for each."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp_types import (
    CallToolRequestParams,
    CallToolResult,
    ContentBlock,
    ListToolsResult,
    PaginatedRequestParams,
    Tool,
    ToolAnnotations,
)

from livepeer.client.cli.capability_answers import answer, failed, link, pictures, shown
from livepeer.client.cli.recording import SessionRecording
from livepeer.client.exceptions import InvalidInputError, LivepeerError
from livepeer.client.files import FileOutput
from livepeer.client.gateway import Gateway
from livepeer.client.schema.parts import SchemaParts, is_file
from livepeer.client.schema.schema import Schema
from livepeer.client.types import CapabilityInfo
from livepeer.trickle.cli.host import versions
from livepeer.trickle.text import printable

MOST_TOOLS: Final = 64
MOST_RECORDS: Final = 50
LIVE_SECONDS: Final = 60.0
"""Seconds of a live stream, where the caller does not say."""
UNKNOWN: Final[Mapping[str, Any]] = {"type": "object", "additionalProperties": True}
LIVE_INPUT: Final[Mapping[str, Any]] = {
    "clip": {"type": "string", "description": "A video within the root to send."},
    "seconds": {
        "type": "number",
        "exclusiveMinimum": 0,
        "maximum": 600,
        "description": f"End it after so long; default: the clip's end, else {LIVE_SECONDS:g} s.",
    },
}


@dataclass(frozen=True, slots=True)
class CapabilityTool:
    """One capability, as a client is told of it."""

    info: CapabilityInfo
    schema: Schema | None
    max_price: float

    @property
    def live(self) -> bool:
        return self.schema is not None and self.schema.document.get("type") == "live"

    def tool(self, name: str) -> Tool:
        return Tool(
            name=name,
            title=printable(self.info.name),
            description=self._description(),
            input_schema=self._input(),
            annotations=ToolAnnotations(open_world_hint=True, destructive_hint=False),
        )

    def _input(self) -> dict[str, Any]:
        if self.schema is None or self.schema.input.get("type") != "object":
            return dict(UNKNOWN)
        if not self.live:
            return dict(self.schema.input)
        params = dict(self.schema.input)
        shared = params.pop("$defs", None)  # what its references name is at the root
        found: dict[str, Any] = {
            "type": "object",
            "properties": {"params": params, **LIVE_INPUT},
            "additionalProperties": False,
        }
        return found if shared is None else {**found, "$defs": shared}

    def _description(self) -> str:
        told = str((self.schema.document.get("description") if self.schema else None) or "")
        parts = [printable(told, 2_000) or f"The capability {self.info.name} of the network."]
        if self.live:
            parts.append("Live: it takes a video and gives one.")
        parts.append('A file is named as "@path".')
        return " ".join([*parts, self.price()])

    def price(self) -> str:
        price = self.info.price
        if price is None:
            return "Nobody has room for it now."
        if price == 0:
            return "It is free."
        told = f"It costs {float(price):g} wei a second."
        if price > self.max_price:
            told += f" It is not called: start livepeer mcp with --max-price {float(price):g}."
        return told


class CapabilityTools:
    """The tools of one server. `names`: which capabilities; None: all that are listed."""

    def __init__(
        self, gateway: Gateway, names: Sequence[str] | None, root: Path, max_price: float
    ) -> None:
        self._gateway = gateway
        self._names = names
        self._root = root.resolve()
        self._max_price = max_price
        self._found: dict[str, CapabilityTool] = {}
        self._looking = asyncio.Lock()

    def server(self) -> Server[Any]:
        return Server(
            "livepeer-capabilities",
            version=versions()["livepeer-client"] or "0",
            title="Livepeer capabilities",
            instructions="Each tool is a capability of the Livepeer network. Files that come out "
            f"are kept in {self._root / 'livepeer-out'}.",
            on_list_tools=self._list,
            on_call_tool=self._call,
        )

    async def look(self) -> dict[str, CapabilityTool]:
        """What there is, asked anew. Raises what the gateway raises."""
        async with self._looking:
            infos = await self._gateway.capabilities_async(self._names)
            found: dict[str, CapabilityTool] = {}
            for info in infos[:MOST_TOOLS]:
                tool = CapabilityTool(info, await self._schema(info), self._max_price)
                found[_tool_name(info.name, found)] = tool
            self._found = found
            return found

    async def _schema(self, info: CapabilityInfo) -> Schema | None:
        """Asked where that costs no more than is allowed: it is a job, and paid for as one."""
        if info.price is None or info.price > self._max_price:
            return None
        try:
            return await self._gateway.schema_async(info.name, timeout=20)
        except LivepeerError:
            return None  # the tool is there all the same, and its pipeline judges the input

    async def _list(
        self, ctx: ServerRequestContext[Any], params: PaginatedRequestParams | None
    ) -> ListToolsResult:
        found = await self.look()
        return ListToolsResult(tools=[each.tool(name) for name, each in found.items()])

    async def _call(
        self, ctx: ServerRequestContext[Any], params: CallToolRequestParams
    ) -> CallToolResult:
        try:
            found = (self._found or await self.look()).get(params.name)
            if found is None:
                return failed(f"there is no tool {params.name!r} here\nNext: list the tools anew")
            arguments = params.arguments or {}
            if found.live:
                return await self._live(ctx, found, arguments)
            return await self._stream(ctx, found, arguments)
        except InvalidInputError as error:
            return failed(f"{error}\nNext: call it with an input that fits its schema")
        except LivepeerError as error:
            return failed(f"{error}\nNext: try again later, or tell the person what it says")
        except (ValueError, OSError) as error:
            return failed(f"{error}\nNext: name a file within {self._root}")

    async def _stream(
        self, ctx: ServerRequestContext[Any], found: CapabilityTool, arguments: dict[str, Any]
    ) -> CallToolResult:
        given = self._with_files(found, arguments)
        if found.schema is None or not found.schema.document.get("streaming"):
            value = await self._gateway.run_async(found.info.name, input=given)
            return await asyncio.to_thread(self._result, value)
        values: list[Any] = []
        async with self._gateway.stream_async(found.info.name, input=given) as events:
            async for event in events.all():
                if event.event == "progress":
                    told = event.json()
                    share, message = told.get("progress", 0), str(told.get("message") or "")
                    await ctx.session.report_progress(float(share), 1.0, printable(message, 200))
                    continue
                try:
                    values.append(event.json())
                except ValueError:
                    values.append(event.data)
                await ctx.session.report_progress(len(values), None, printable(event.data, 200))
        return await asyncio.to_thread(self._result, values)

    async def _live(
        self, ctx: ServerRequestContext[Any], found: CapabilityTool, arguments: dict[str, Any]
    ) -> CallToolResult:
        clip = arguments.get("clip")
        source = self._path(str(clip)) if clip is not None else None
        target = self._place(".mp4")
        seconds = arguments.get("seconds")
        limit = float(seconds) if seconds is not None else None if source else LIVE_SECONDS
        records: list[Any] = []
        live = self._gateway.live(
            found.info.name, params=arguments.get("params") or None, publish=source is not None
        )
        async with live as session:

            async def collect() -> None:
                async for record in session.data():
                    if len(records) < MOST_RECORDS:
                        records.append(record)

            async def tell() -> None:
                at = 0
                while True:
                    await asyncio.sleep(1)
                    at += 1
                    await ctx.session.report_progress(at, limit, recording.figures())

            recording = SessionRecording(session, target)
            tasks = [asyncio.create_task(collect()), asyncio.create_task(tell())]
            if source is not None:
                session.publish_file(source, realtime=True)
            try:
                async with asyncio.timeout(limit):
                    await recording.run()
            except TimeoutError:
                pass
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        figures = recording.figures() if recording.came else "nothing came out"
        document = {"figures": figures, "data": records}
        blocks: list[ContentBlock] = []
        if target.exists():
            document["video"] = str(target)
            blocks = [*pictures(target), link(target, "video/mp4")]
        return answer(document, blocks)

    def _with_files(self, found: CapabilityTool, arguments: dict[str, Any]) -> dict[str, Any]:
        """The input, with a path for each file that is named as `@path`."""
        schema = found.schema.input if found.schema else {}
        parts = SchemaParts(schema)
        given: dict[str, Any] = {}
        for name, value in arguments.items():
            file = is_file(parts.of(parts.property(parts.of(schema), name)))
            named = file and isinstance(value, str) and value.startswith("@")
            given[name] = self._path(value) if named else value
        return given

    def _path(self, given: str) -> Path:
        path = (self._root / given.removeprefix("@")).resolve()
        if self._root not in path.parents or not path.is_file():
            raise ValueError(f"{given} is no file within {self._root}")
        return path

    def _result(self, value: Any) -> CallToolResult:
        blocks: list[ContentBlock] = []
        return answer({"result": self._kept(value, blocks)}, blocks)

    def _kept(self, value: Any, blocks: list[ContentBlock]) -> Any:
        """`value` with each file's path in its place: shown where it can be, kept in any case."""
        if isinstance(value, FileOutput):
            data, kind = value.data, value.media_type
            path = value.save(self._place(value.suffix))
            blocks += [*shown(data, kind), link(path, kind)]
            return str(path)
        if isinstance(value, dict):
            return {key: self._kept(item, blocks) for key, item in value.items()}
        return [self._kept(item, blocks) for item in value] if isinstance(value, list) else value

    def _place(self, suffix: str) -> Path:
        folder = self._root / "livepeer-out"
        folder.mkdir(exist_ok=True)
        if folder.resolve() != folder:
            raise ValueError(f"{folder} is a link to another place")
        return folder / f"{secrets.token_hex(4)}{suffix}"


def _tool_name(capability: str, taken: Mapping[str, Any]) -> str:
    """As clients may have it: letters, digits, `_` and `-`, 64 at most, each once."""
    name = re.sub(r"[^A-Za-z0-9_-]", "_", capability)[:60] or "capability"
    return next(each for at in range(len(taken) + 2) if (each := name + "_" * at) not in taken)
