"""Misspelt live parameters: refused before anything is sent, where the schema is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from livepeer.client import Gateway, InvalidInputError
from livepeer.client.schema.params import check
from livepeer.client.schema.schema import Schema
from livepeer.client.testing import reply

from .scripts import answers, asked

Start = Callable[..., Any]


def document(**properties: Any) -> dict[str, Any]:
    params = {"type": "object", "properties": properties, "additionalProperties": False}
    return {"type": "live", "id": "tint", "params": params}


TINT = document(u={"type": "integer"}, strength={"type": "number"})


async def test_a_known_schema_refuses_what_there_is_not_and_says_what_was_meant(
    start: Start,
) -> None:
    orch = await start(schema=TINT, other=answers())
    async with Gateway(orch_url=orch.url) as gw:
        schema = await gw.schema_async("tint")
        assert schema is not None and schema.input == TINT["params"]
        with pytest.raises(InvalidInputError, match="did you mean 'strength'") as caught:
            await gw.live("tint", params={"strenght": 1, "u": 1}).__aenter__()
        (field,) = caught.value.fields
        assert (field.field, caught.value.may_have_run) == ("strenght", False)
        async with gw.live("tint", params={"u": 9}):
            pass
    assert len(asked(orch, "start")) == 1


async def test_by_a_gateway_too_which_tells_nobody_that_a_start_was_refused(start: Start) -> None:
    started = answers(start=reply({"stream_id": "s"}), stop=reply("{}"))
    gateway = await start(schema=TINT, other=started)
    async with Gateway(gateway_url=gateway.url) as gw:
        assert await gw.schema_async("tint") is not None
        with pytest.raises(InvalidInputError, match="no such parameter: there are strength, u"):
            await gw.live("tint", params={"hue": 1}).__aenter__()
    assert not asked(gateway, "start")


async def test_a_schema_that_has_aged_is_asked_for_once_more_before_it_refuses(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("livepeer.client.network.schemas.FRESH_SECONDS", 0.0)
    orch = await start(schema=TINT, other=answers())
    async with Gateway(orch_url=orch.url) as gw:
        await gw.schema_async("tint")
        orch.schema = document(hue={"type": "integer"})
        async with gw.live("tint", params={"hue": 1}) as session:
            assert session.stream_id
    assert (orch.schemas, len(asked(orch, "start"))) == (2, 1)


async def test_a_live_pipeline_that_is_run_is_told_how_it_is_called(start: Start) -> None:
    orch = await start(schema=TINT)
    async with Gateway(orch_url=orch.url) as gw:
        with pytest.raises(InvalidInputError, match=r"live pipeline: call it with live\(\)"):
            await gw.run_async("tint", input={"u": 1})
    assert not orch.jobs


async def test_without_a_known_schema_none_is_asked_for(start: Start) -> None:
    orch = await start(schema=TINT, other=answers())
    async with Gateway(orch_url=orch.url) as gw, gw.live("tint", params={"strenght": 1}):
        pass
    assert orch.schemas == 0


@pytest.mark.parametrize(
    ("schema", "params", "fields"),
    [
        ({"properties": {"u": {}}}, {"x": 1}, []),
        ({"properties": {}, "additionalProperties": False}, {"x": 1}, ["x"]),
        (
            {
                "properties": {"box": {"anyOf": [{"$ref": "#/$defs/Box"}, {"type": "null"}]}},
                "$defs": {"Box": {"properties": {"x": {}}, "additionalProperties": False}},
            },
            {"box": {"x": 1, "z": 2}},
            ["box.z"],
        ),
        ({"$ref": "#"}, {"x": 1}, []),
        ({"properties": 3, "additionalProperties": False}, {"x": 1}, []),
        ({"properties": {}, "additionalProperties": False}, {str(i): 1 for i in range(99)}, None),
    ],
)
def test_names_are_looked_for_wherever_the_schema_leaves_no_room(
    schema: dict[str, Any], params: dict[str, Any], fields: list[str] | None
) -> None:
    known = Schema.read({"type": "live", "params": schema})
    assert known is not None
    found: list[str] = []
    try:
        check(known, params, capability="t")
    except InvalidInputError as error:
        found = [field.field for field in error.fields]
    assert found == fields if fields is not None else len(found) == 20
