"""Schemas of others: what they refuse, and that none of them keeps or breaks a caller."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livepeer.client import Gateway, InvalidInputError, Schema
from livepeer.client.files import decode, encode
from livepeer.client.schema import validation

Start = Callable[..., Any]

DRAFT7 = "http://json-schema.org/draft-07/schema#"


def chain(kind: str, last: Any, length: int = 60) -> dict[str, Any]:
    parts: dict[str, Any] = {
        f"a{i}": {kind: [{"$ref": f"#/$defs/a{i + 1}"}] * 2} for i in range(length)
    }
    return {"$defs": parts | {f"a{length}": last}, "$ref": "#/$defs/a0"}


def deep(length: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(length):
        schema = {"allOf": [schema]}
    return schema


AS = "a" * 40 + "b"
HOSTILE: dict[str, tuple[Any, Any]] = {
    "names": ({"patternProperties": {"^(a+)+$": {}}}, {AS: 1}),
    "other names": (
        {"patternProperties": {"^(a+)+$": {}}, "additionalProperties": False},
        {AS: 1},
    ),
    "unevaluated": (
        {"allOf": [{"patternProperties": {"^(a+)+$": {}}}], "unevaluatedProperties": False},
        {AS: 1},
    ),
    "doubled allOf": (chain("allOf", {}), {}),
    "doubled anyOf": (chain("anyOf", False), {}),
    "doubled oneOf": (chain("oneOf", {}), {}),
    "itself": ({"$ref": "#"}, {}),
    "itself twice": ({"allOf": [{"$ref": "#"}, {"$ref": "#"}]}, {}),
    "deep": (deep(2_000), {}),
    "file parts": ({"properties": {"a": chain("anyOf", {"format": "base64"})}}, {"a": AS}),
    "file itself": ({"properties": {"a": {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}}}, {"a": AS}),
    "each with each": (
        {"properties": {"a": {"uniqueItems": True}}},
        {"a": [[i] if i % 2 else i for i in range(20_000)]},
    ),
    "its own metaschema": (
        {"$schema": "http://json-schema.org/draft-04/schema#"}
        | {"enum": [[i] if i % 2 else i for i in range(20_000)]},
        {},
    ),
    "types": ({"type": [{"a": i} if i % 2 else i for i in range(20_000)]}, {}),
    "numbers": ({"properties": {"a": {"multipleOf": 0.1}}}, {"a": 10**400}),
    "no text": ({"$schema": []}, {}),
    "no URL": ({"$schema": "http://["}, {}),
    "true": ({"$schema": True}, {}),
    "long pattern": ({"properties": {"a": {"pattern": "(?:a?){900}" * 100}}}, {"a": AS}),
    "look ahead": ({"properties": {"a": {"pattern": "(?=(a+)+$)c"}}}, {"a": AS}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_schema_that_costs_too_much_refuses_nobody_within_a_second(name: str) -> None:
    schema, value = HOSTILE[name]
    before = time.process_time()
    sent = encode(value, schema)
    try:
        Schema({}, schema).check(sent, capability="x")
    except InvalidInputError:
        raise AssertionError("refused by a schema that cannot be followed") from None
    assert decode({"a": "x"}, schema) == {"a": "x"} or name.startswith("file")
    assert time.process_time() - before < 2.0


def test_a_schema_that_refers_to_itself_ends_no_process_whose_limit_of_recursion_is_raised() -> (
    None
):
    """Libraries raise it a hundredfold, such as the one that signs payments."""
    program = (
        "import sys\n"
        "from livepeer.client.schema import validation\n"
        "sys.setrecursionlimit(100_000)\n"
        "try: validation.errors({'$ref': '#'}, {}, lambda part: False)\n"
        "except validation.Unjudged as why: print(why)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, b"it is more than 200 levels deep\n"), done.stderr


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"pattern": "^(a+)+$"}}},
        {"properties": {"a": {"$schema": DRAFT7, "pattern": "^(a+)+$"}}},
        {"$schema": DRAFT7, "properties": {"a": {"$ref": "#/b"}}, "b": {"pattern": "^(a+)+$"}},
        {"properties": {"a": {"pattern": "^(a|a)*$"}}},
    ],
)
def test_a_pattern_that_re_never_ends_with_is_matched_at_once(schema: Any) -> None:
    Schema({}, schema).check({"a": "a" * 40}, capability="x")
    with pytest.raises(InvalidInputError, match="does not match"):
        Schema({}, schema).check({"a": AS}, capability="x")


def test_the_loop_turns_while_a_hostile_schema_is_judged() -> None:
    """In a process of its own: should the pattern get to `re`, that would never end."""
    script = f"""
import asyncio, time
from livepeer.client import Gateway
from livepeer.client.testing import ScriptedOrchestrator

schema = {{"input": {chain("allOf", {})!r}}}

async def main():
    longest, last = 0.0, time.monotonic()
    async def turn():
        nonlocal longest, last
        while True:
            await asyncio.sleep(0.005)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
    async with ScriptedOrchestrator(schema=schema) as orch, Gateway(orch_url=orch.url) as gw:
        await gw.run_async("warm", validate=False)
        turning = asyncio.create_task(turn())
        assert await gw.run_async("echo", input={{"a": {AS!r}}}) == {{"ok": True}}
        turning.cancel()
    print(longest)

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 2.0, "the loop stood still"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    """$ref $defs $schema $id $anchor $dynamicRef type enum const pattern minLength
                maxLength minItems maxItems uniqueItems items prefixItems contains properties
                patternProperties additionalProperties unevaluatedProperties required allOf anyOf
                oneOf not if then else multipleOf minimum maximum format dependentSchemas""".split()
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=15,
    ),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    ),
)
@settings(max_examples=150)
def test_any_schema_and_any_value_end_as_a_refusal_or_not_at_all(schema: Any, value: Any) -> None:
    try:
        Schema({}, schema).check(value, capability="x")
    except InvalidInputError as error:
        assert error.fields and len(error.fields) <= 20 and str(error).isprintable()
    decode(value, schema)
    encode(value, schema)


def test_what_is_wrong_is_found_though_the_rest_costs_too_much() -> None:
    schema = {
        "properties": {"n": {"maximum": 4}, "a": {"uniqueItems": True}},
        "required": ["n"],
    }
    many = {"n": 9, "a": list(range(validation.UNIQUE_ITEMS + 1))}
    with pytest.raises(InvalidInputError, match="9 is greater than the maximum of 4"):
        Schema({}, schema).check(many, capability="x")


IMAGE = {
    "type": "string",
    "format": "file",
    "contentEncoding": "base64",
    "contentMediaType": "image/*",
    "pattern": "^(?:https?://[^\\s/]\\S*|data:[^,]*,[\\s\\S]*|(?:[A-Za-z0-9+/]{4})*)$",
}


@pytest.mark.parametrize("image", [IMAGE, {"anyOf": [{"$ref": "#/$defs/I"}, {"type": "null"}]}])
def test_a_name_in_place_of_a_file_is_told_to_be_a_path(image: Any) -> None:
    schema = {"$defs": {"I": IMAGE}, "properties": {"image": image}}
    with pytest.raises(InvalidInputError, match=r"image: .*Path\('cat\.png'\)") as caught:
        Schema({}, schema).check({"image": "cat.png"}, capability="x")
    assert "https?" not in str(caught.value)
    picture = encode({"image": b"\x89PNG\r\n\x1a\n" + bytes(100_000)}, schema)
    Schema({}, schema).check(picture, capability="x")


def test_a_text_that_is_too_long_is_told_by_its_length_and_the_limit() -> None:
    schema = {"properties": {"t": {"maxLength": 10}, "l": {"minItems": 2}, "e": {"enum": ["a"]}}}
    with pytest.raises(InvalidInputError) as caught:
        Schema({}, schema).check({"t": "x" * 3_000, "l": [], "e": "y" * 3_000}, capability="x")
    told = {field.field: field.message for field in caught.value.fields}
    assert told["t"] == "has 3,000 characters, and at most 10 are taken"
    assert told["l"] == "has 0 items, and at least 2 are taken"
    assert len(told["e"]) < 250 and told["e"].endswith("is not one of ['a']")


# -- which schema, and for how long ---------------------------------------------------------------

OLD = {"input": {"properties": {"n": {"maximum": 4}}}}
NEW = {"input": {"properties": {"n": {"maximum": 9}}}}


@pytest.fixture
def aging(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Makes every schema that was met so much older, in seconds."""
    from livepeer.client.network import schemas

    passed = 0.0
    monotonic = time.monotonic
    clock = type("clock", (), {"monotonic": staticmethod(lambda: monotonic() + passed)})
    monkeypatch.setattr(schemas, "time", clock)

    def age(seconds: float) -> None:
        nonlocal passed
        passed += seconds

    return age


async def test_a_redeployed_capability_is_asked_once_more_before_its_old_schema_refuses(
    start: Start, aging: Callable[[float], None]
) -> None:
    orch = await start(schema=OLD)
    async with Gateway(orch_url=orch.url) as gw:
        await gw.run_async("echo", input={"n": 4})
        orch.schema = NEW
        aging(6.0)
        assert await gw.run_async("echo", input={"n": 9}) == {"ok": True}
        assert orch.schemas == 2
        with pytest.raises(InvalidInputError, match="maximum of 9"):
            await gw.run_async("echo", input={"n": 10})
        assert orch.schemas == 2 and len(orch.jobs) == 2  # it was fresh


async def test_a_schema_is_forgotten_with_time_and_when_the_pipeline_refuses(
    start: Start, aging: Callable[[float], None]
) -> None:
    from livepeer.client.testing import reply

    orch = await start(schema=OLD)
    async with Gateway(orch_url=orch.url) as gw:
        await gw.run_async("echo")
        aging(301.0)
        await gw.run_async("echo")
        assert orch.schemas == 2
        orch.job = reply("no", 422)
        aging(6.0)
        with pytest.raises(InvalidInputError):
            await gw.run_async("echo")
        with pytest.raises(InvalidInputError):
            await gw.run_async("echo")
        assert orch.schemas == 3


async def test_one_orchestrators_schema_is_not_every_orchestrators(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("livepeer.client.network.offers.OFFER_SECONDS", 0.0)
    narrow, wide = await start(schema=OLD), await start(schema=NEW)
    async with Gateway(orch_url=[narrow.url, wide.url]) as gw:
        narrow.capacity, wide.capacity = 1, 0
        with pytest.raises(InvalidInputError, match="maximum of 4"):
            await gw.run_async("echo", input={"n": 9})
        narrow.capacity, wide.capacity = 0, 1
        assert await gw.run_async("echo", input={"n": 9}) == {"ok": True}
    assert (len(narrow.jobs), len(wide.jobs)) == (0, 1)


async def test_a_schema_that_could_not_be_had_is_not_taken_for_none(
    start: Start, aging: Callable[[float], None]
) -> None:
    from livepeer.client import PipelineError
    from livepeer.client.testing import reply

    orch = await start(schema=OLD)
    script = orch.script
    broken = True
    orch.script = lambda request: (
        reply("boom", 500) if broken and request.path.endswith("/schema") else script(request)
    )
    async with Gateway(orch_url=orch.url) as gw:
        assert await gw.run_async("echo", input={"n": 9}) == {"ok": True}  # the pipeline decides
        with pytest.raises(PipelineError):
            await gw.schema_async("echo")
        broken = False
        aging(16.0)
        with pytest.raises(InvalidInputError, match="maximum of 4"):
            await gw.run_async("echo", input={"n": 9})


async def test_schemas_are_kept_in_a_bounded_number(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("livepeer.client.network.schemas.SCHEMAS", 3)
    orch = await start(schema=OLD)
    async with Gateway(orch_url=orch.url) as gw:
        for i in (*range(10), 9, 8, 7):
            await gw.run_async(f"echo-{i}")
        assert orch.schemas == 10
        await gw.run_async("echo-6")
        assert orch.schemas == 11


async def test_reading_a_file_for_a_call_does_not_hold_the_loop(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from livepeer.client import calls

    seen: list[bool] = []

    def looked(value: Any, schema: Any) -> Any:
        try:
            asyncio.get_running_loop()
            seen.append(True)
        except RuntimeError:
            seen.append(False)
        return encode(value, schema)

    monkeypatch.setattr(calls, "encode", looked)
    (tmp_path / "a.bin").write_bytes(b"x")
    orch = await start()
    async with Gateway(orch_url=orch.url) as gw:
        await gw.run_async("echo", input={"a": [1, "b"]})
        await gw.run_async("echo", input={"a": tmp_path / "a.bin"})
        await gw.run_async("echo", input={"a": "b" * 2_000_000})
    assert seen == [False, False]  # what is small and plain goes as it is
