"""Classic live-video-to-video: `gw.live("live-video-to-video/MODEL")`, free and paid."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from livepeer.client import (
    ConfigurationError,
    Gateway,
    InvalidInputError,
    LivepeerError,
    NoCapacityError,
    PaymentRequiredError,
    ProtocolError,
)
from livepeer.client.payments import pace
from livepeer.client.payments.local_key import LocalKey
from livepeer.client.payments.tickets import Terms
from livepeer.client.protocol.orchestrator import offer_request
from livepeer.trickle.media import VideoFrame

from .classic import ClassicOrchestrator, ticket_params
from .live import LIMIT, endless, pictures, take

FIXTURES = Path(__file__).parents[2] / "specs" / "fixtures" / "payments"
VECTORS = json.loads((FIXTURES / "vectors.json").read_text())
SIGNER = json.loads((FIXTURES / "signer.json").read_text())
KEY = VECTORS["keys"]["caller"]["private_key"]
PARAMS = ticket_params(SIGNER["values"]["shared_payment_params_1"]["recorded"])
PRICE = {"pricePerUnit": 303, "pixelsPerUnit": 1000}
MODEL = "live-video-to-video/noop"


@pytest.fixture(autouse=True)
def own_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LIVEPEER_PINS", str(tmp_path / "pins.json"))
    monkeypatch.setenv("LIVEPEER_STATE", str(tmp_path))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Payments come ten times as often."""
    monkeypatch.setattr(pace, "PACE", pace.Pace(interval=0.3, again=0.1))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT):
        while not condition():  # noqa: ASYNC110 — what is looked at has no event
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lv2v", offer_request("noop", bytes(0), bytes(0))),
        ("unsigned", offer_request("noop", bytes(20), b"")),
    ],
)
def test_an_offer_is_asked_for_as_by_go_livepeer(name: str, message: bytes) -> None:
    scenarios = json.loads((FIXTURES / "lv2v.json").read_text())["scenarios"]
    step = next(one for one in scenarios if one["name"] == "off_ask_capacity")["steps"][0]
    recorded = base64.b64decode(step["grpc"]["message"]["recorded"])
    assert recorded.endswith(message[-20:])
    if name == "unsigned":
        assert message == recorded


async def test_a_free_stream_goes_in_and_out_and_the_end_of_the_input_ends_it() -> None:
    orchestrator = ClassicOrchestrator(None, {})
    async with orchestrator.running() as url, Gateway(orch_url=url, tls="pin") as gw:
        async with gw.live(MODEL, params={"prompt": "x"}) as session:
            session.publish(pictures(40))
            frames = await take(session.subscribe(policy="all"))
            assert len([f for f in frames if isinstance(f, VideoFrame)]) == 40
            with pytest.raises(ConfigurationError, match="no data channel"):
                session.data()
        assert gw.spent() == 0
    start = orchestrator.starts[0]
    assert start["model_id"] == "noop" and start["params"] == {"prompt": "x"}
    assert orchestrator.payments == []


async def test_parameters_go_over_control_and_leaving_ends_it() -> None:
    orchestrator = ClassicOrchestrator(None, {})
    async with orchestrator.running() as url, Gateway(orch_url=url, tls="pin") as gw:
        async with gw.live(MODEL) as session:
            session.publish(endless())
            await take(session.subscribe(), 3)
            assert await session.update({"prompt": "y"}) is None
            await until(lambda: bool(orchestrator.controls))
        assert orchestrator.controls == [{"prompt": "y"}]
        await until(lambda: orchestrator.trickle.get("mid1") is None)


async def test_a_paid_stream_is_paid_first_and_on_by_its_own_name(quick: None) -> None:
    orchestrator = ClassicOrchestrator(PRICE, PARAMS)
    async with (
        orchestrator.running() as url,
        Gateway(orch_url=url, tls="pin", eth_key=KEY, max_spend=10**12) as gw,
    ):
        async with gw.live(MODEL) as session:
            session.publish(endless())
            await take(session.subscribe(), 3)
            await until(lambda: len(orchestrator.payments) == 2)
        count = len(orchestrator.payments)
        await asyncio.sleep(0.7)  # two payments' time
        assert len(orchestrator.payments) == count, "nothing is paid after the end"
        assert orchestrator.payments[0] == ("", 1)
        assert {name for name, _ in orchestrator.payments[1:]} == {"mid1"}
        tickets = sum(tickets for _, tickets in orchestrator.payments)
        assert gw.spent() >= tickets * 8 * 10**9
    signed = orchestrator.asked[0]
    assert signed["address"].hex() == "b14753db595566161491b8aa57e90fe70d1e7a4a"
    assert len(signed["sig"]) == 65


async def test_what_it_asks_is_renewed_where_tickets_are_too_old(quick: None) -> None:
    orchestrator = ClassicOrchestrator({"pricePerUnit": 3030, "pixelsPerUnit": 1}, PARAMS)
    orchestrator.old = 1
    async with (
        orchestrator.running() as url,
        Gateway(orch_url=url, tls="pin", eth_key=KEY) as gw,
    ):
        # 3,030 wei a pixel: 60 s take more tickets than an orchestrator takes at once.
        with pytest.raises(PaymentRequiredError, match="-ticketEV is too low"):
            async with gw.live(MODEL):
                pass
    orchestrator = ClassicOrchestrator(PRICE, PARAMS)
    orchestrator.old = 1
    async with (
        orchestrator.running() as url,
        Gateway(orch_url=url, tls="pin", eth_key=KEY) as gw,
        gw.live(MODEL) as session,
    ):
        session.publish(endless())
        await until(lambda: len(orchestrator.payments) == 2)
        assert len(orchestrator.asked) == 2
        assert session.ended is None


async def test_a_stream_whose_payment_is_refused_ends_and_nothing_more_is_paid(quick: None) -> None:
    orchestrator = ClassicOrchestrator(PRICE, PARAMS)
    orchestrator.old = 2  # the second payment, and the one that is made for what is asked anew
    async with (
        orchestrator.running() as url,
        Gateway(orch_url=url, tls="pin", eth_key=KEY) as gw,
    ):
        async with gw.live(MODEL) as session:
            session.publish(endless())
            why = await asyncio.wait_for(session.wait(), LIMIT)
            assert "cannot be paid for" in why and "ticket expired" in why
            spent, asked = gw.spent(), len(orchestrator.asked)
            await asyncio.sleep(0.7)  # two payments' time
            assert (gw.spent(), len(orchestrator.asked)) == (spent, asked)
            assert session.spent == spent
        await until(lambda: orchestrator.trickle.get("mid1") is None)
        assert len(orchestrator.payments) == 1


async def test_a_clock_that_is_half_an_hour_ahead_is_told_and_nothing_is_paid() -> None:
    orchestrator = ClassicOrchestrator(PRICE, PARAMS)
    async with (
        orchestrator.running() as url,
        Gateway(orch_url=url, tls="pin", eth_key=KEY, max_retries=0) as gw,
    ):
        gw._engine.wallet.signer = LocalKey(KEY, clock=lambda: time.time() + 1800)
        with pytest.raises(LivepeerError, match="is a clock wrong"):
            await gw.live(MODEL).__aenter__()
        assert gw.spent() == 0 and orchestrator.starts == []


async def test_a_start_whose_answer_is_lost_is_paid_once_and_no_more(quick: None) -> None:
    orchestrator = ClassicOrchestrator(PRICE, PARAMS)
    orchestrator.lost = True
    async with (
        orchestrator.running() as url,
        Gateway(orch_url=url, tls="pin", eth_key=KEY) as gw,
    ):
        with pytest.raises(LivepeerError, match=r"wei were paid.*cannot be ended from here"):
            await gw.live(MODEL).__aenter__()
        assert len(orchestrator.starts) == len(orchestrator.payments) == 1
        spent = gw.spent()
        await asyncio.sleep(0.7)  # two payments' time
        assert len(orchestrator.payments) == 1 and gw.spent() == spent > 0


ELSEWHERE = "https://elsewhere.test/ai/trickle/mid1"


@pytest.mark.parametrize("paid", [False, True], ids=["free", "paid"])
@pytest.mark.parametrize(
    ("says", "told"),
    [
        ({"control_url": ELSEWHERE}, "its control_url is at elsewhere.test"),
        ({"publish_url": ELSEWHERE}, "its publish_url is at elsewhere.test"),
        ({"events_url": ""}, "without events_url"),
    ],
)
async def test_a_stream_with_channels_that_are_refused_is_ended_at_the_orchestrator_alone(
    quick: None, says: dict[str, str], told: str, paid: bool
) -> None:
    orchestrator = ClassicOrchestrator(PRICE if paid else None, PARAMS if paid else {})
    orchestrator.says = says
    async with (
        orchestrator.running() as url,
        Gateway(orch_url=url, tls="pin", eth_key=KEY if paid else None) as gw,
    ):
        with pytest.raises(ProtocolError, match=told):
            await gw.live(MODEL).__aenter__()
        # Its input is closed, which ends all of it; what is elsewhere is not asked for anything.
        await until(lambda: orchestrator.trickle.get("mid1-out") is None)
        assert len(orchestrator.starts) == 1
        assert len(orchestrator.payments) == int(paid)
        assert (gw.spent() > 0) == paid


async def test_a_stream_whose_answer_names_nothing_of_its_own_is_left_and_no_more_is_paid(
    quick: None,
) -> None:
    orchestrator = ClassicOrchestrator(PRICE, PARAMS)
    orchestrator.says = {"publish_url": ELSEWHERE, "manifest_id": "../mid1"}
    async with (
        orchestrator.running() as url,
        Gateway(orch_url=url, tls="pin", eth_key=KEY) as gw,
    ):
        with pytest.raises(ProtocolError, match=r"elsewhere\.test.*wei were paid.*cannot be ended"):
            await gw.live(MODEL).__aenter__()
        assert orchestrator.trickle.get("mid1") is not None
        spent = gw.spent()
        await asyncio.sleep(0.7)  # two payments' time
        assert len(orchestrator.payments) == 1 and gw.spent() == spent


def by(price: int) -> dict[str, int]:
    return {"pricePerUnit": price, "pixelsPerUnit": 1000}


@pytest.mark.parametrize(("most", "paid"), [(None, False), (0.303, False), (0.304, True)])
async def test_a_price_that_rises_in_mid_stream_is_paid_within_max_price_and_no_further(
    quick: None, most: float | None, paid: bool
) -> None:
    orchestrator = ClassicOrchestrator(by(303), PARAMS)
    async with (
        orchestrator.running() as url,
        Gateway(orch_url=url, tls="pin", eth_key=KEY, max_price=most) as gw,
        gw.live(MODEL) as session,
    ):
        orchestrator.price, orchestrator.old = by(304), 1  # refused, so that it is asked anew
        if paid:
            await until(lambda: len(orchestrator.payments) >= 3)
            assert session.ended is None
            return
        why = await asyncio.wait_for(session.wait(), LIMIT)
        assert "rose from 0.303 to 0.304" in why
        assert ("over max_price 0.303" in why) == (most is not None)
        assert len(orchestrator.payments) == 1


async def test_another_recipient_in_mid_stream_is_not_paid(quick: None) -> None:
    orchestrator = ClassicOrchestrator(PRICE, PARAMS)
    async with (
        orchestrator.running() as url,
        Gateway(orch_url=url, tls="pin", eth_key=KEY) as gw,
        gw.live(MODEL) as session,
    ):
        orchestrator.ticket_params = PARAMS | {"recipient": b"\x09" * 20}
        orchestrator.old = 1
        why = await asyncio.wait_for(session.wait(), LIMIT)
        assert "another recipient" in why
        assert len(orchestrator.payments) == 1


async def test_two_streams_in_a_row_are_paid_by_offers_of_their_own(quick: None) -> None:
    """A signer numbers tickets from 1 for each: by one offer both would have the same."""
    orchestrator = ClassicOrchestrator(PRICE, PARAMS)
    async with (
        orchestrator.running() as url,
        Gateway(orch_url=url, tls="pin", eth_key=KEY) as gw,
    ):
        for _ in range(2):
            async with gw.live(MODEL):
                pass
        assert len(orchestrator.asked) == 2


@pytest.mark.parametrize("minutes", [-25, -10, 10])
async def test_a_clock_that_is_minutes_off_costs_nothing(minutes: int) -> None:
    orchestrator = ClassicOrchestrator(PRICE, PARAMS)
    async with (
        orchestrator.running() as url,
        Gateway(orch_url=url, tls="pin", eth_key=KEY, max_retries=0) as gw,
    ):
        gw._engine.wallet.signer = LocalKey(KEY, clock=lambda: time.time() + 60 * minutes)
        async with gw.live(MODEL) as session:
            assert session.ended is None
        ((_, tickets),) = orchestrator.payments
        assert gw.spent() == tickets * Terms.of(PARAMS).value


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"win_prob": b""}, "worth nothing"),
        ({"face_value": bytes([1]) * 33}, "256 bits"),
        ({"recipient": b"short"}, "not its own address"),
        ({"win_prob": bytes([0xFF]) * 32}, "absurd"),
    ],
)
async def test_an_offer_that_cannot_be_paid_is_refused_with_the_reason(
    wrong: dict[str, bytes], text: str
) -> None:
    orchestrator = ClassicOrchestrator(PRICE, PARAMS | wrong)
    async with (
        orchestrator.running() as url,
        Gateway(orch_url=url, tls="pin", eth_key=KEY, max_retries=0) as gw,
    ):
        with pytest.raises(LivepeerError, match=text):
            await gw.live(MODEL).__aenter__()
        assert gw.spent() == 0 and orchestrator.starts == []


async def test_each_refusal_is_one_precise_error() -> None:
    orchestrator = ClassicOrchestrator(None, {})
    async with orchestrator.running() as url:
        async with Gateway(orch_url=url, tls="pin", max_retries=0) as gw:
            with pytest.raises(InvalidInputError, match="live stream"):
                await gw.run_async(MODEL)
            orchestrator.full = True
            with pytest.raises(NoCapacityError):
                await gw.live(MODEL).__aenter__()
        orchestrator.full, orchestrator.price = False, PRICE
        orchestrator.ticket_params = PARAMS
        async with Gateway(orch_url=url, tls="pin", max_retries=0) as gw:
            with pytest.raises(PaymentRequiredError, match="no means to pay"):
                await gw.live(MODEL).__aenter__()
        async with Gateway(
            orch_url=url, tls="pin", max_retries=0, eth_key=KEY, max_price=0.1
        ) as gw:
            with pytest.raises(LivepeerError, match="max_price"):
                await gw.live(MODEL).__aenter__()
        async with Gateway(
            orch_url=url, tls="pin", max_retries=0, eth_key=KEY, max_spend=1000
        ) as gw:
            with pytest.raises(PaymentRequiredError, match="max_spend"):
                await gw.live(MODEL).__aenter__()
    assert orchestrator.payments == []
