"""What there is: live runners one by one, BYOC beside them, and answers that are hostile."""

import json
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest

from livepeer.client import ConfigurationError, ConnectionFailedError, Gateway, LivepeerError
from livepeer.client.network.directory import NAMES
from livepeer.client.testing import Request, reply

Start = Callable[..., Any]


def runner(app: str, **more: Any) -> dict[str, Any]:
    usual = {"url": "https://o/apps/a/app", "app": app, "mode": "single-shot"}
    return usual | {"capacity": 3, "capacity_available": 2} | more


FULL = runner(
    "org/detect",
    version="1.2.0",
    gpu={"id": "0", "name": "NVIDIA H100", "vram_mb": 81559},
    price_info={"price": 12, "currency": "wei", "unit": "720p-pixel-seconds"},
    metadata=json.dumps(
        {"sdk": "livepeer-runner/0.1.0", "image": "r/x@sha256:abc", "schema_sha256": "def"}
    ),
)


def discovery(*runners: Any) -> list[Any]:
    return reply([{"address": "https://o", "runners": list(runners)}])


async def test_runners_are_told_one_by_one_and_byoc_beside_them(start: Start) -> None:
    told = discovery(FULL, runner("org/detect", mode="persistent"), runner("plain"))
    orch = await start(other=lambda _: told, capacity=4)
    async with Gateway(orch_url=orch.url) as gw:
        found = {each.name: each for each in await gw.capabilities_async()}
        assert sorted(found) == ["org/detect", "plain"]
        live, byoc = found["org/detect"].offers
        # What is free is the offer, of one app with and without a price.
        assert (live.mode, live.capacity, live.price) == ("persistent", 2, 0)
        assert [each.mode for each in live.runners] == ["single-shot", "persistent"]
        assert (byoc.mode, byoc.capacity, byoc.runners) == (None, 4, ())
        (other,) = await gw.capabilities_async(["only-byoc"])
        assert [(each.mode, each.capacity) for each in other.offers] == [(None, 4)]
    orch.capacity = 0  # a token that tells nothing is no row beside a runner
    async with Gateway(orch_url=orch.url) as gw:
        (named,) = await gw.capabilities_async("plain")
        assert [each.mode for each in named.offers] == ["single-shot"]


async def test_a_runner_tells_its_card_its_price_and_what_it_is(start: Start) -> None:
    orch = await start(other=lambda _: discovery(FULL), capacity=0)
    async with Gateway(orch_url=orch.url) as gw:
        ((offer,),) = [each.offers for each in await gw.capabilities_async()]
    (info,) = offer.runners
    assert (info.mode, info.capacity, info.version) == ("single-shot", 2, "1.2.0")
    assert (info.price, info.unit) == (Fraction(12), "720p-pixel-seconds")
    assert (info.gpu, info.vram_mb) == ("NVIDIA H100", 81559)
    assert (info.image, info.schema_sha256) == ("r/x@sha256:abc", "def")


HOSTILE = [
    {"gpu": {"name": "x" * 10_000, "vram_mb": 1 << 80}, "version": "a\x1b[31m\n" * 999},
    {"gpu": 7, "version": {"x": 1}, "metadata": "{" * 1024},
    {"metadata": "x" * 2_000_00},
    {"metadata": '{"image":["x"],"schema_sha256":{"y":1},"sdk":7}'},
    {"metadata": "[1,2]"},
    {"price_info": {"price": 0, "unit": "x" * 10_000}},
]


@pytest.mark.parametrize("bad", HOSTILE)
async def test_what_a_runner_says_of_itself_is_bounded(start: Start, bad: dict[str, Any]) -> None:
    orch = await start(other=lambda _: discovery(runner("x", **bad)), capacity=0)
    async with Gateway(orch_url=orch.url) as gw:
        ((offer,),) = [each.offers for each in await gw.capabilities_async()]
    (info,) = offer.runners
    assert len(repr(info)) < 1_500 and repr(info).isprintable()
    assert info.vram_mb is None and info.image is None


@pytest.mark.parametrize(
    "answer",
    [
        reply(b"[" * 100_000),
        reply(b'[{"runners": ' + b"[" * 900_000),
        reply(b"x" * (2 << 20)),
        reply([{"runners": [runner(f"app{n}") for n in range(1_500)]}]),
        reply("no", 500),
        reply(b"\xff\xfe"),
        [b"garbage\r\n\r\n"],
    ],
)
async def test_a_hostile_discovery_is_bounded_and_keeps_nobody_from_byoc(
    start: Start, answer: list[Any]
) -> None:
    orch = await start(other=lambda _: answer)
    async with Gateway(orch_url=orch.url) as gw:
        assert await gw.run_async("byoc-one", validate=False) == {"ok": True}
        assert len(await gw.capabilities_async(timeout=5)) <= NAMES


async def test_a_signers_list_names_runners_by_their_exact_app(start: Start) -> None:
    def other(request: Request) -> list[Any]:
        asked.append(request.path)
        if request.path.startswith("/discovery"):
            return discovery(runner("org/detect"))
        return reply([{"address": orch.url, "runners": [runner("org/detect")]}])

    asked: list[str] = []
    orch = await start(other=other, capacity=0)
    async with Gateway(signer_url=orch.url) as gw:
        assert await gw.run_async("org/detect", validate=False) is not None
        assert asked[0] == "/discover-orchestrators?caps=org/detect"
        (info,) = await gw.capabilities_async()
        assert (info.name, info.offers[0].orchestrator) == ("org/detect", orch.url)


async def test_who_can_tell_nothing_says_what_to_set() -> None:
    for settings in ({"gateway_url": "http://g"}, {}):
        with pytest.raises(ConfigurationError, match="orch_url"):
            await Gateway(**settings).capabilities_async()  # type: ignore[arg-type]
    with pytest.raises(LivepeerError):
        await Gateway(signer_url="http://127.0.0.1:1").capabilities_async()


async def test_a_list_of_nobody_who_could_be_reached_is_an_error(
    start: Start, unused_tcp_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    nobody = f"http://127.0.0.1:{unused_tcp_port}"
    async with Gateway(orch_url=nobody) as gw:
        with pytest.raises(ConnectionFailedError, match="refused") as failed:
            await gw.capabilities_async()
    assert [each.phase for each in failed.value.rejections] == ["connect"]
    orch = await start(other=lambda _: discovery(FULL))
    async with Gateway(orch_url=[nobody, orch.url]) as gw:
        assert [each.name for each in await gw.capabilities_async()] == ["org/detect"]
    assert "refused" in caplog.text, "beside what others list it is told"
