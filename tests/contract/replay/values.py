"""Variables, bodies and headers of a scenario: what to send, and whether what came is right."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from .transcript import Mismatch

_VARIABLE = re.compile(r"\$\{([A-Za-z0-9_-]+)\}")
#: Headers that transcripts leave out, and one in which implementations may differ.
UNLISTED = frozenset({"host", "date", "lp-trickle-latest", "x-content-type-options"})
#: `${length}` is not a variable: the right length, or `Transfer-Encoding: chunked` above this.
LENGTH = "${length}"
LARGEST_WITH_LENGTH = 2048


class Values:
    """The variables of one run of one scenario: known addresses first, the rest as they come."""

    def __init__(self, known: Mapping[str, str], patterns: Mapping[str, str] | None = None) -> None:
        self.known = dict(known)
        self.patterns = dict(patterns or {})

    # -- what we send ---------------------------------------------------------------------------

    def text(self, value: str) -> str:
        """`value` with its variables filled in; one without a value yet is an error."""

        def fill(match: re.Match[str]) -> str:
            try:
                return self.known[match[1]]
            except KeyError:
                raise Mismatch(f"${{{match[1]}}} has no value yet in {value[:200]!r}") from None

        return _VARIABLE.sub(fill, value)

    def expand(self, value: Any) -> Any:
        """Any JSON value with the variables of its texts and keys filled in."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.expand(item) for item in value]
        if isinstance(value, dict):
            return {self.text(key): self.expand(item) for key, item in value.items()}
        return value

    def body(self, body: Any) -> bytes:
        """The bytes of a body as the transcripts write it."""
        if body is None:
            return b""
        if isinstance(body, str):
            return self.text(body).encode()
        if isinstance(body, list):
            return b"".join(self.body(part) for part in body)
        if "base64" in body:
            return base64.b64decode(body["base64"])
        if "fill" in body:
            return body["fill"].encode() * body["count"]
        if "json" in body:
            return compact_json(self.expand(body["json"]))
        raise ValueError(f"not a body: {body!r}")

    def header(self, value: Any) -> str:
        """The text of a header value, which may be base64 of JSON or filled up."""
        if isinstance(value, str):
            return self.text(value)
        if "b64json" in value:
            return base64.b64encode(compact_json(self._joined(value["b64json"]))).decode()
        return self.body(value).decode("latin-1")

    def headers(self, headers: Mapping[str, Any]) -> list[tuple[str, str]]:
        return [(self.text(name), self.header(value)) for name, value in headers.items()]

    def _joined(self, value: Any) -> Any:
        """JSON to send, where a text may be written in pieces (`["a", {"fill": ...}, "b"]`)."""
        if isinstance(value, dict) and "fill" not in value:
            return {self.text(key): self._joined(item) for key, item in value.items()}
        if isinstance(value, list) and any(isinstance(i, dict) and "fill" in i for i in value):
            return self.body(value).decode()
        return self.expand(value)

    # -- what we get ----------------------------------------------------------------------------

    def check_text(self, expected: str, actual: str, what: str) -> None:
        """Compares, and learns the variables that have no value yet."""
        pattern, names = self._pattern(expected)
        match = re.fullmatch(pattern, actual, re.DOTALL)
        if match is None:
            raise Mismatch(f"{what}: expected {expected[:300]!r}, got {actual[:300]!r}")
        self.known.update({name: match[f"v{i}"] for i, name in enumerate(names)})

    def check_json(self, expected: Any, actual: Any, what: str) -> None:
        if isinstance(expected, str) and isinstance(actual, str):
            self.check_text(expected, actual, what)
        elif isinstance(expected, dict) and isinstance(actual, dict):
            keys = {self.text(key): key for key in expected}
            if keys.keys() != actual.keys():
                raise Mismatch(f"{what}: expected keys {sorted(keys)}, got {sorted(actual)}")
            for key, name in keys.items():
                self.check_json(expected[name], actual[key], f"{what}.{key}")
        elif isinstance(expected, list) and isinstance(actual, list):
            if len(expected) != len(actual):
                raise Mismatch(f"{what}: expected {len(expected)} items, got {len(actual)}")
            for i, (one, other) in enumerate(zip(expected, actual, strict=True)):
                self.check_json(one, other, f"{what}[{i}]")
        elif isinstance(expected, bool) is not isinstance(actual, bool) or expected != actual:
            raise Mismatch(f"{what}: expected {expected!r}, got {actual!r}")

    def check_body(self, step: Mapping[str, Any], actual: bytes, what: str = "body") -> None:
        """Compares with the `body` or the `json` of a step."""
        if "json" in step:
            try:
                parsed = json.loads(actual)
            except ValueError as error:
                raise Mismatch(f"{what}: not JSON: {actual[:300]!r}") from error
            self.check_json(step["json"], parsed, what)
        else:
            self.check_bytes(step.get("body"), actual, what)

    def check_bytes(self, expected: Any, actual: bytes, what: str) -> None:
        if isinstance(expected, str) and self._pattern(expected)[1]:
            self.check_text(expected, actual.decode("utf-8", "replace"), what)
        elif (wanted := self.body(expected)) != actual:
            raise Mismatch(
                f"{what}: expected {len(wanted)} bytes {_brief(wanted)}, "
                f"got {len(actual)} bytes {_brief(actual)}"
            )

    def body_length(self, step: Mapping[str, Any]) -> int | None:
        """How many bytes a step's `body` has, None where only its arrival will tell."""
        body = step.get("body")
        if "json" in step or (isinstance(body, str) and self._pattern(body)[1]):
            return None
        return len(self.body(body))

    def check_headers(
        self,
        expected: Mapping[str, Any],
        actual: Iterable[tuple[str, str]],
        body_length: int | None = None,
        unlisted: frozenset[str] = UNLISTED,
    ) -> None:
        """Compares without order and letter case; what is not listed must be absent."""
        wanted = {self.text(name).lower(): value for name, value in expected.items()}
        wanted = {name: value for name, value in wanted.items() if name not in unlisted}
        got: dict[str, str] = {}
        for name, value in actual:
            if name.lower() in got:
                raise Mismatch(f"header {name} came twice")
            if name.lower() not in unlisted:
                got[name.lower()] = value
        if wanted.get("content-length") == LENGTH:
            del wanted["content-length"]
            if "content-length" in got:
                self._check_length(got.pop("content-length"), body_length)
            elif (body_length or 0) <= LARGEST_WITH_LENGTH or "transfer-encoding" not in got:
                raise Mismatch("neither Content-Length nor a reason to go without")
            else:
                del got["transfer-encoding"]
        if wanted.keys() != got.keys():
            missing, more = sorted(wanted.keys() - got.keys()), sorted(got.keys() - wanted.keys())
            raise Mismatch(f"headers: missing {missing}, not expected {more}")
        for name, value in wanted.items():
            if isinstance(value, dict) and "b64json" in value:
                self._check_base64_json(value["b64json"], got[name], f"header {name}")
            else:
                self.check_text(
                    value if isinstance(value, str) else self.header(value),
                    got[name],
                    f"header {name}",
                )

    def _check_base64_json(self, expected: Any, actual: str, what: str) -> None:
        try:
            parsed = json.loads(base64.b64decode(actual, validate=True))
        except ValueError as error:
            raise Mismatch(f"{what}: not base64 of JSON: {actual[:200]!r}") from error
        self.check_json(expected, parsed, what)

    @staticmethod
    def _check_length(actual: str, body_length: int | None) -> None:
        if body_length is not None and actual != str(body_length):
            raise Mismatch(f"Content-Length is {actual}, the body has {body_length} bytes")

    def _pattern(self, expected: str) -> tuple[str, list[str]]:
        names: list[str] = []
        pattern, at = "", 0
        for match in _VARIABLE.finditer(expected):
            pattern += re.escape(expected[at : match.start()])
            name = match[1]
            if name in self.known:
                pattern += re.escape(self.known[name])
            elif name in names:
                pattern += f"(?P=v{names.index(name)})"
            else:
                pattern += f"(?P<v{len(names)}>{self.patterns.get(name, '[A-Za-z0-9_-]+')})"
                names.append(name)
            at = match.end()
        return pattern + re.escape(expected[at:]), names


def compact_json(value: Any) -> bytes:
    """JSON as the recorder sent it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _brief(data: bytes) -> str:
    return repr(data if len(data) <= 300 else data[:150] + b" ... " + data[-150:])
