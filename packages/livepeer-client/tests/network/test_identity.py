"""A name may ask for a version, or for exactly one image: nothing else is called then."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from livepeer.client import Gateway, NoOrchestratorError
from livepeer.client.protocol.discovery import RunnerEntry
from livepeer.client.protocol.identity import Identity, image_of
from livepeer.client.testing import Request, reply

Start = Callable[..., Any]
ONE, TWO = (f"sha256:{letter * 64}" for letter in "12")
PINNED = f"byoc/me/app@{ONE}"


def runner(app: str, version: str = "", image: str = "") -> dict[str, Any]:
    return {
        "url": "http://orch/apps/r0/app",
        "app": app,
        "mode": "single-shot",
        "capacity_available": 1,
        "version": version,
        "metadata": json.dumps({"sdk": "livepeer-runner/0.1.0", "image": image} if image else {}),
    }


def entry(told: dict[str, Any]) -> RunnerEntry:
    return RunnerEntry(told["app"], "single-shot", "/apps/r0/app", 1, told=told)


@pytest.mark.parametrize(
    ("name", "told", "fits"),
    [
        ("me/app", runner("me/app", "3.0.0"), True),
        ("me/app", runner("me/other"), False),
        ("me/app:2", runner("me/app", "2.4.1"), True),
        ("me/app:v2.4", runner("me/app", "v2.4.1"), True),
        ("me/app:2.4.1", runner("me/app", "2.4.1"), True),
        ("me/app:2", runner("me/app", "20.0.0"), False),
        ("me/app:2", runner("me/app"), False),
        ("me/app:2", runner("me/app:2", "9"), True),  # registered under that very name
        (PINNED, runner("anything", image=f"me/app@{ONE}"), True),
        (PINNED, runner("me/app", image=f"docker.io/me/app:2@{ONE}"), True),
        (PINNED, runner("me/app", image=f"me/app@{TWO}"), False),
        (PINNED, runner("me/app", image=f"you/app@{ONE}"), False),
        (PINNED, runner("me/app"), False),
        (PINNED, runner(PINNED), True),
        (PINNED, runner(PINNED, image=f"me/app@{TWO}"), False),  # it says itself that it is not
        ("me/app@sha256:12", runner("me/app@sha256:12"), True),  # no digest: a name like any
        ("localhost:5000/app", runner("localhost:5000/app"), True),
    ],
)
def test_what_a_name_asks_for(name: str, told: dict[str, Any], fits: bool) -> None:
    assert Identity.of(name).fits(entry(told)) is fits


@pytest.mark.parametrize("image", [7, "latest", "app@sha256:zz", "a b@" + ONE, "x" * 900])
def test_an_image_that_is_none_is_told_as_none(image: object) -> None:
    told = runner("me/app") | {"metadata": json.dumps({"image": image})}
    assert image_of(entry(told)) == ""


def serving(*runners: dict[str, Any]) -> Callable[[Request], list[Any]]:
    def other(request: Request) -> list[Any]:
        if request.path == "/discovery":
            return reply([{"address": "http://orch", "runners": list(runners)}])
        return reply({"label": "positive"})

    return other


async def test_the_orchestrator_that_has_the_image_is_the_one_that_is_called(start: Start) -> None:
    wrong = await start(other=serving(runner("me/app", image=f"me/app@{TWO}")), capacity=0)
    right = await start(other=serving(runner("me/app", image=f"me/app@{ONE}")), capacity=0)
    async with Gateway(orch_url=[wrong.url, right.url]) as gw:
        await gw.run_async(PINNED, validate=False)
    assert [each.path for each in right.others] == ["/discovery", "/apps/r0/app/predict"]
    assert {each.path for each in wrong.others} == {"/discovery"}


@pytest.mark.parametrize(
    ("name", "told", "says"),
    [
        (PINNED, runner("me/app", image=f"me/app@{TWO}"), f"there as me/app@{TWO} only"),
        ("me/app:2", runner("me/app", "1.9.0"), "there as version 1.9.0 only"),
    ],
)
async def test_another_image_or_version_is_an_error_that_names_it(
    start: Start, name: str, told: dict[str, Any], says: str
) -> None:
    orch = await start(other=serving(told), capacity=0)
    async with Gateway(orch_url=orch.url) as gw:
        with pytest.raises(NoOrchestratorError) as caught:
            await gw.run_async(name, validate=False, timeout=10)
    assert says in str(caught.value)
    assert {each.path for each in orch.others} == {"/discovery"}
