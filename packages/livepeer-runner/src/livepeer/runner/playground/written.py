"""A call as code, and its input: JSON values in which a file of the page's user stands by its name.

The page sends no content of a file to have a line made of it: where one was chosen, the input has
`{"$file": "photo.png"}`, and the line reads the file from where it is run.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

FILE = "$file"
CLIP = "in.mp4"
SECONDS = 10
"""Of a stream that would generate for ever."""
MOST_DEPTH = 32
NOT_BY_CURL = "# Not by curl: who serves it has to be found and paid, which livepeer-client does."
_MARK = re.compile(r'\{"\$file": ("(?:[^"\\]|\\.)*")\}')


def file_name(value: object) -> str | None:
    """The name, where `value` stands for a file."""
    if isinstance(value, dict) and value.keys() == {FILE} and isinstance(value[FILE], str):
        return os.path.basename(value[FILE].replace("\\", "/")) or "file"
    return None


def names_in(value: object, depth: int = 0) -> Iterator[str]:
    """The files in a value, at any depth. Raises `ValueError` for one that is nested too deep."""
    if depth > MOST_DEPTH:
        raise ValueError(f"the input is nested over {MOST_DEPTH} deep")
    if (name := file_name(value)) is not None:
        yield name
    elif isinstance(value, dict):
        for each in value.values():
            yield from names_in(each, depth + 1)
    elif isinstance(value, list):
        for each in value:
            yield from names_in(each, depth + 1)


def python_value(value: object) -> str:
    """The expression; a file is `Path("photo.png")`, which the client encodes."""
    if (name := file_name(value)) is not None:
        return f"Path({name!r})"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key!r}: {python_value(each)}' for key, each in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(python_value, value))}]"
    return repr(value)


def posting(curl: Sequence[str], value: object) -> str:
    """The shell line that posts a value by `curl`; files go in by a pipe, of any size."""
    text = json.dumps(value, ensure_ascii=False)
    if not any(True for _ in names_in(value)):
        return shlex.join([*curl, "-d", text])
    parts = _MARK.split(text)
    pieces = []
    for i, part in enumerate(parts):
        if i % 2:
            name = file_name({FILE: json.loads(part)}) or "file"
            pieces.append(f"base64 < {shlex.quote(name)} | tr -d '\\n'")
        else:
            around = ('"' if i else "") + part + ('"' if i + 1 < len(parts) else "")
            pieces.append(f"printf %s {shlex.quote(around)}")
    return f"{{ {'; '.join(pieces)}; }} | {shlex.join([*curl, '-d', '@-'])}"


def field(name: str, value: Any) -> str:
    """`K=V` as the commands read it: what looks like JSON is JSON, all else is text."""
    if (file := file_name(value)) is not None:
        return f"{name}=@{file}"
    if not isinstance(value, str):
        return f"{name}={json.dumps(value, ensure_ascii=False)}"
    try:
        json.loads(value)
    except ValueError:
        return f"{name}={value}" if not value.startswith("@") else f"{name}={json.dumps(value)}"
    return f"{name}={json.dumps(value)}"


def fields(values: dict[str, Any], option: str) -> list[str]:
    """The options for all of them. Raises `ValueError` for what a command cannot be told."""
    words: list[str] = []
    for name, value in values.items():
        if file_name(value) is None and any(True for _ in names_in(value)):
            raise ValueError(f"a file within {name} cannot be written as an option: use Python")
        words += [option, field(name, value)]
    return words


@dataclass(frozen=True, slots=True)
class WrittenCall:
    """A call of the pipeline that `document` describes; `given` is the input of a request, or the
    live parameters of a stream."""

    capability: str
    document: Mapping[str, Any]
    given: dict[str, Any]

    @classmethod
    def of(cls, capability: str, document: Mapping[str, Any], content: Mapping[str, Any]) -> Self:
        """A page's call: `content` has its `input` or its `params`. Raises `ValueError` for what
        is neither."""
        value, params = content.get("input", {}), content.get("params", {})
        if not isinstance(value, dict) or not isinstance(params, dict):
            raise ValueError("an input is an object")
        return cls(capability, document, params if document.get("type") == "live" else value)

    @property
    def is_live(self) -> bool:
        return self.document.get("type") == "live"

    @property
    def sends(self) -> bool:
        """A live class that generates takes no input."""
        return not self.document.get("generates")

    @property
    def verb(self) -> str:
        """By which the client calls it."""
        if self.is_live:
            return "live"
        return "stream" if self.document.get("streaming") else "run"

    def shell(self, command: Sequence[str], where: Sequence[str] = ()) -> str:
        """The line that makes it, or a comment that says why there is none."""
        try:
            words = fields(self.given, "-p" if self.is_live else "-i")
        except ValueError as error:
            return f"# {error}"
        if self.is_live:
            takes = ["-i", CLIP] if self.sends else ["--seconds", str(SECONDS)]
            words = [*takes, "-o", "out.mp4", *words]
        return shlex.join([*command, *words, *where])

    def python(self, gateway: str) -> str:
        """The program that makes it by livepeer-client; `gateway` are the arguments of `Gateway`.

        Raises `ValueError` for an input that is nested too deep.
        """
        path = ["from pathlib import Path", ""] if any(True for _ in names_in(self.given)) else []
        client = [*path, "from livepeer.client import Gateway", ""]
        gateway = f"gw = Gateway({gateway})"
        value = f"{self.capability!r}, input={python_value(self.given)}"
        match self.verb:
            case "run":
                lines = [*client, gateway, f"print(gw.run({value}))"]
            case "stream":
                lines = [
                    *client,
                    gateway,
                    f"with gw.stream({value}) as events:",
                    "    for event in events:",
                    "        print(event.json())",
                ]
            case _:
                options = f"params={self.given!r}" + ("" if self.sends else ", publish=False")
                lines = [
                    "import asyncio",
                    "",
                    "from livepeer.client import Gateway",
                    "",
                    "",
                    "async def main():",
                    f"    {gateway}",
                    f"    async with gw, gw.live({self.capability!r}, {options}) as session:",
                    *([f'        session.publish_file("{CLIP}")'] if self.sends else ()),
                    "        async for frame in session.subscribe():",
                    "            print(frame)",
                    "",
                    "",
                    "asyncio.run(main())",
                ]
        return "\n".join(lines)
