"""Names that a class's parameters do not have are refused, wherever they come in."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import (
    AliasChoices,
    AliasPath,
    BaseModel,
    ConfigDict,
    Field,
    RootModel,
    model_validator,
)
from pydantic.alias_generators import to_camel

from livepeer.runner import LivePipeline, VideoFrame
from livepeer.runner.errors import InvalidInput
from livepeer.runner.live.params import DEEPEST, LARGEST, ParamsType
from livepeer.runner.live.unknown import MOST_TOLD
from livepeer.runner.testing import run_live


class Edge(BaseModel):
    width: int = 1


class Tinted(BaseModel):
    strength: float = 0.5
    colour: str = "red"
    edge: Edge = Edge()
    edges: list[Edge] = []
    named: dict[str, Edge] = {}


class Tint(LivePipeline):
    params: Tinted

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        return frame


@pytest.mark.parametrize(
    ("given", "name", "meant"),
    [
        ({"strenght": 1}, "strenght", "did you mean 'strength'?"),
        ({"edge": {"widht": 2}}, "edge.widht", "did you mean 'width'?"),
        ({"edges": [{}, {"widht": 2}]}, "edges.1.widht", "did you mean 'width'?"),
        ({"named": {"a": {"x": 2}}}, "named.a.x", "there is width"),
        ({"zzz": 1}, "zzz", "there are colour, edge, edges, named, strength"),
    ],
)
def test_a_misspelt_parameter_is_named_with_the_one_that_was_meant(
    given: dict[str, Any], name: str, meant: str
) -> None:
    parameters = ParamsType.of(Tint)
    for refuse in (
        lambda: parameters.first(given),
        lambda: parameters.merged(parameters.first(None), given),
    ):
        with pytest.raises(InvalidInput) as caught:
            refuse()
        (field,) = caught.value.fields
        assert (field.name, field.type) == (name, "extra_forbidden")
        assert field.message == f"there is no such parameter: {meant}"
        assert name in caught.value.message


def test_a_required_one_that_is_missing_is_told_beside_what_it_was_misspelt_as() -> None:
    class Needs(BaseModel):
        prompt: str

    with pytest.raises(InvalidInput) as caught:
        ParamsType(Needs).first({"promt": "a cat"})
    assert [field.name for field in caught.value.fields] == ["promt", "prompt"]
    assert "did you mean 'prompt'?" in caught.value.message


class Forbids(BaseModel):
    model_config = ConfigDict(extra="forbid")
    strength: float = 0.5


def test_a_model_that_forbids_by_itself_has_the_hint_once() -> None:
    with pytest.raises(InvalidInput) as caught:
        ParamsType(Forbids).first({"strenght": 1})
    (field,) = caught.value.fields
    assert "did you mean 'strength'?" in field.message


class Allows(BaseModel):
    model_config = ConfigDict(extra="allow")
    strength: float = 0.5


class Ignores(BaseModel):
    model_config = ConfigDict(extra="ignore")


class RenamesBefore(BaseModel):
    colour: str = "red"

    @model_validator(mode="before")
    @classmethod
    def american(cls, values: dict[str, Any]) -> dict[str, Any]:
        return {"colour": values.get("color", "red")}


class ByPath(BaseModel):
    first: int = Field(0, validation_alias=AliasChoices("first", AliasPath("all", 0)))


class Camel(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)
    edge_width: int = 1


class Anything(RootModel[dict[str, int]]):
    pass


@pytest.mark.parametrize(
    ("model", "given"),
    [
        (Allows, {"extra": 1}),
        (Ignores, {"whatever": 1}),
        (RenamesBefore, {"color": "blue"}),
        (ByPath, {"all": [7]}),
        (ByPath, {"first": 7}),
        (Camel, {"edgeWidth": 2}),
        (Camel, {"edge_width": 2}),
        (Anything, {"a": 1}),
    ],
)
def test_what_an_author_takes_is_taken(model: type[BaseModel], given: dict[str, Any]) -> None:
    parameters = ParamsType(model)
    first = parameters.first(given)
    assert parameters.merged(first, {}).value == first.value


def test_extra_ones_that_a_model_allows_are_kept() -> None:
    first = ParamsType(Allows).first({"extra": 1})
    assert ParamsType(Allows).merged(first, {"more": 2}).value.model_extra == {
        "extra": 1,
        "more": 2,
    }


def test_the_schema_says_that_others_are_refused_where_it_is_so() -> None:
    schema = ParamsType.of(Tint).schema()
    assert schema["additionalProperties"] is False
    assert schema["$defs"]["Edge"]["additionalProperties"] is False
    for model in (Ignores, RenamesBefore, ByPath, Camel):
        assert "additionalProperties" not in ParamsType(model).schema()
    assert ParamsType(Allows).schema()["additionalProperties"] is True


async def test_a_misspelt_one_is_refused_by_start_update_control_and_run_live(
    stage: Any, make_clip: Any
) -> None:
    async with stage(Tint) as it:
        refused = await it.start(params={"strenght": 1})
        assert refused.status_code == 422
        assert refused.json()["error"]["fields"][0]["name"] == "strenght"
        assert it.free == 1
        assert (await it.post("start", "t", {"params": {}, "newer": 1})).status_code == 200
        await it.post("stop", "t")

        assert (await it.start("u")).status_code == 200
        refused = await it.post("params", "u", {"strenght": 1})
        assert refused.status_code == 422
        assert "did you mean 'strength'?" in refused.json()["error"]["message"]
        async with it.control("u") as control:
            await control.write({"colr": "blue"})
            event = await it.event(
                "u", lambda one: one["type"] == "error" and "colr" in one["error"]["message"]
            )
        assert event["error"]["fields"][0]["name"] == "colr"
        assert it.server.service.work.sessions["u"].params == Tinted()
    with pytest.raises(InvalidInput, match="did you mean 'strength'"):
        await run_live(Tint, make_clip(2), params={"strenght": 1})


# --- what a hostile caller sends -----------------------------------------------------------------


def deep(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


class Untyped(LivePipeline):
    pass


def test_of_thousands_of_unknown_names_twenty_are_told_each_cut() -> None:
    given = {f"strength{number}" * 20: 1 for number in range(3000)}
    with pytest.raises(InvalidInput) as caught:
        ParamsType.of(Tint).first(given)
    assert len(caught.value.fields) == MOST_TOLD
    assert len(caught.value.message) < 2000


@pytest.mark.parametrize("cls", [Untyped, Tint])
def test_parameters_without_end_are_refused(cls: type[LivePipeline]) -> None:
    parameters = ParamsType.of(cls)
    with pytest.raises(InvalidInput, match=f"nested over {DEEPEST} deep"):
        parameters.first({"colour": deep(900)})
    with pytest.raises(InvalidInput, match=f"the limit is {LARGEST}"):
        parameters.first({"colour": "x" * LARGEST})
    with pytest.raises(InvalidInput, match="JSON object"):
        parameters.first("[" * 200_000)


def test_updates_cannot_make_them_grow_for_ever() -> None:
    parameters = ParamsType.of(Untyped)
    values = parameters.first(None)
    with pytest.raises(InvalidInput, match="the limit is"):
        for number in range(100):
            values = parameters.merged(values, {f"key{number}": "x" * 60_000})
    assert len(values.value) <= LARGEST // 60_000
