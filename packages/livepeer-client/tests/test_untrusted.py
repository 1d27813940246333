"""Whatever a peer sends is a right value or one error of ours, and moves no terminal."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import json
import logging
import time
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livepeer.client import (
    ConfigurationError,
    Gateway,
    InvalidInputError,
    LivepeerError,
    NoOrchestratorError,
    PipelineError,
    ProtocolError,
    Token,
)
from livepeer.client.config import Config
from livepeer.client.network import directory
from livepeer.client.protocol.wire import capacity_in, error_body, price_in, wait_in
from livepeer.client.testing import ScriptedOrchestrator, events, reply
from livepeer.client.untrusted import LARGE, loads, redacted, secrets_in, shown_url
from livepeer.trickle.text import printable

Start = Callable[..., Any]

DEEP = "[" * 100_000
HUGE = 10**400
#: JSON, and the texts and numbers that have broken readers before.
odd = st.sampled_from(
    [
        "1e999999999",
        "\x1b[2J",
        "9" * 5000,
        HUGE,
        -HUGE,
        1e308,
        float("inf"),
        float("nan"),
        2**63,
        "\ud800",
        "data:;a=b;base64,",
        "data:image/png;base64,%",
        "",
        True,
        None,
    ]
)
names = st.sampled_from(
    """available_capacity price pricePerUnit pixelsPerUnit orchestrators address capabilities
    runners app error detail fields message type retry_after loc msg name input output $ref
    properties items anyOf allOf format contentMediaType required pattern enum $defs a""".split()
) | st.text(max_size=3)
any_json = st.recursive(
    odd | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=5),
    max_leaves=12,
)


def told(value: Any) -> bytes:
    return json.dumps(value).encode()


@given(any_json)
def test_any_json_is_a_price_a_capacity_a_wait_and_an_error_or_a_value_error(value: Any) -> None:
    body = error_body(told(value))
    assert body.message.isprintable() and len(body.message) <= 2_001
    assert len(body.fields) <= 20
    assert all(str(each).isprintable() and len(str(each)) <= 650 for each in body.fields)
    assert body.retry_after is None or 0 <= body.retry_after <= 86_400
    assert wait_in(value) is None or 0 <= wait_in(value) <= 86_400  # type: ignore[operator]
    for read in (price_in, capacity_in):
        try:
            number = read(value if isinstance(value, dict) else {"price": value})
            assert float(number) is not None  # it can be shown
        except ValueError:
            pass


@pytest.mark.parametrize(
    "price",
    [
        "1e999999999",
        {"pricePerUnit": "1e999999999", "pixelsPerUnit": 1},
        {"pricePerUnit": 1, "pixelsPerUnit": "1e-999999999"},
        {"pricePerUnit": HUGE},
        {"pricePerUnit": -1},
        {"pricePerUnit": True},
        {"pricePerUnit": [1]},
        {"pricePerUnit": 1, "pixelsPerUnit": 1e-320},
        [],
    ],
)
async def test_a_price_that_is_none_costs_nothing_but_that_orchestrator(
    start: Start, price: Any
) -> None:
    odd, good = await start(price=price), await start()
    async with Gateway(orch_url=[odd.url, good.url]) as gw:
        async with asyncio.timeout(20):
            assert await gw.run_async("echo") == {"ok": True}
    assert (len(odd.tokens), len(odd.jobs), len(good.jobs)) == (1, 0, 1)
    async with Gateway(orch_url=odd.url) as gw:
        with pytest.raises(ProtocolError, match="its price is none"):
            await gw.run_async("echo")


def test_prices_of_go_livepeer_are_read_as_numbers_and_as_text() -> None:
    assert price_in({}) == price_in({"price": {"pixelsPerUnit": 1}}) == 0
    assert price_in({"price": {"pricePerUnit": 30, "pixelsPerUnit": 2}}) == 15
    assert price_in({"price": {"pricePerUnit": "30", "pixelsPerUnit": "4"}}) == Fraction(15, 2)
    assert price_in({"price": {"pricePerUnit": 0.5}}) == Fraction(1, 2)


@given(any_json)
@settings(max_examples=40)
async def test_any_json_for_a_token_is_one_error_or_an_offer(value: Any) -> None:
    async with ScriptedOrchestrator(token=reply(told(value))) as orch:
        async with Gateway(orch_url=orch.url, max_retries=0) as gw:
            try:
                assert await gw.run_async("echo", timeout=10) == {"ok": True}
            except LivepeerError as error:
                assert str(error).isprintable()
            (info,) = await gw.capabilities_async(["echo"])
            assert info.available in (True, False) and repr(info)


@given(any_json)
@settings(max_examples=40)
async def test_any_json_for_a_listing_is_one_error_or_orchestrators(value: Any) -> None:
    async with ScriptedOrchestrator(other=lambda request: reply(told(value))) as service:
        async with Gateway(discovery_url=service.url, max_retries=0) as gw:
            with pytest.raises(LivepeerError) as caught:
                await gw.run_async("echo", timeout=10)
            assert str(caught.value).isprintable()
            for info in await gw.capabilities_async(timeout=10):
                assert info.name.isprintable()


@given(any_json)
@settings(max_examples=40)
async def test_any_json_for_a_schema_refuses_or_lets_through(value: Any) -> None:
    async with ScriptedOrchestrator(schema={"input": value, "output": value}) as orch:
        async with Gateway(orch_url=orch.url) as gw:
            try:
                sent = {"a": "x", "items": [1, {"b": b"x"}]}
                assert await gw.run_async("echo", input=sent, model="m", timeout=10) == {"ok": True}
            except InvalidInputError as error:
                assert str(error).isprintable()


@given(any_json, st.sampled_from([200, 202, 307, 400, 402, 422, 429, 500, 503, 504]))
@settings(max_examples=60)
async def test_any_json_for_an_answer_is_one_error_or_its_value(value: Any, status: int) -> None:
    answers = {
        "body": reply(told(value), status),
        "text": reply(told(value), status, "text/plain"),
        "stream": events(
            b"data: " + told(value) + b"\n\nevent: error\ndata: " + told(value) + b"\n\n"
        ),
    }
    for answer in answers.values():
        async with ScriptedOrchestrator(job=answer) as orch:
            async with Gateway(orch_url=orch.url, max_retries=0) as gw:
                try:
                    await gw.run_async("echo", timeout=10)
                except LivepeerError as error:
                    assert str(error).isprintable() and len(str(error)) <= 4_001


@pytest.mark.parametrize("body", [DEEP, '{"a":' * 100_000, "[" * 300 + "]" * 300])
async def test_what_is_nested_without_end_is_one_error_wherever_it_comes(
    start: Start, body: str
) -> None:
    good = await start()
    orch = await start(token=reply(body))
    async with Gateway(orch_url=[orch.url, good.url]) as gw:
        assert await gw.run_async("echo") == {"ok": True}
    orch = await start(job=reply(body))
    service = await start(other=lambda request: reply(body))
    async with Gateway(orch_url=orch.url) as gw:
        with pytest.raises(ProtocolError, match=r"deep|JSON"):
            await gw.run_async("echo")
        orch.job = reply(body, 400, "text/plain")
        with pytest.raises(InvalidInputError):
            await gw.run_async("echo")
        orch.job = events(f"data: {body}\n\ndata: [DONE]\n\n")
        async with gw.stream_async("echo") as stream:
            async for event in stream:
                with contextlib.suppress(ValueError):  # and no RecursionError
                    event.json()
    async with Gateway(discovery_url=service.url) as gw:
        with pytest.raises(LivepeerError):
            await gw.run_async("echo")


@given(any_json)
def test_large_json_is_read_as_small_json_is(value: Any) -> None:
    body = json.dumps([value, "x" * LARGE])
    assert repr(loads(body)) == repr(json.loads(body))


def test_more_elements_than_memory_is_for_are_refused_before_they_are_made() -> None:
    small = "[" + "[]," * 3_000_000 + "1]"
    before = time.process_time()
    with pytest.raises(ValueError, match="elements"):
        loads(small)
    assert time.process_time() - before < 1.0
    assert len(loads("[" + "1," * 1_000_000 + "1]")) == 1_000_001


async def test_a_bomb_of_gzip_is_refused_unread(start: Start) -> None:
    bomb = gzip.compress(b"[" + b" " * 50_000_000 + b"]")
    orch = await start(job=reply(bomb, Content_Encoding="gzip"))
    async with Gateway(orch_url=orch.url) as gw:
        with pytest.raises(ProtocolError, match="coding 'gzip'"):
            await gw.run_async("echo")
        assert orch.jobs[0].headers["accept-encoding"] == "identity"


async def test_an_answer_that_says_it_is_too_long_is_refused_unread(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n"
    )
    orch = await start(job=[head, 0.01])
    async with Gateway(orch_url=orch.url) as gw:
        with pytest.raises(ProtocolError, match="is over"):
            await gw.run_async("echo", timeout=20)


async def test_a_large_answer_is_read_beside_the_loop(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    where: list[Any] = []
    from livepeer.client import calls

    value_of = calls.value_of
    monkeypatch.setattr(
        calls, "value_of", lambda *a, **k: where.append(_loop_or_none()) or value_of(*a, **k)
    )
    orch = await start(job=lambda request: reply({"text": "x" * request.json()["n"]}))
    async with Gateway(orch_url=orch.url) as gw:
        await gw.run_async("echo", input={"n": 10})
        await gw.run_async("echo", input={"n": LARGE})
    assert where[0] is not None and where[1] is None


def _loop_or_none() -> Any:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def test_forty_thousand_addresses_are_a_thousand_and_are_asked_a_few_at_a_time(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 0
    asked: list[str] = []
    now = 0
    from livepeer.client.network.byoc import Byoc
    from livepeer.client.network.offers import AT_ONCE

    async def probe(self: Any, http: Any, orchestrator: str, *rest: Any) -> Any:
        nonlocal most, now
        now += 1
        most = max(most, now)
        asked.append(orchestrator)
        await asyncio.sleep(0)
        now -= 1
        raise NoOrchestratorError("nobody", orchestrator=orchestrator)

    monkeypatch.setattr(Byoc, "offer", probe)
    listing = [f"http://127.0.0.1:{1 + i % 60_000}" for i in range(40_000)]
    service = await start(other=lambda request: reply(listing))
    async with Gateway(discovery_url=service.url) as gw:
        with pytest.raises(NoOrchestratorError, match="and 990 more") as caught:
            await gw.run_async("echo", timeout=60)
    assert most == AT_ONCE and len(asked) == directory.ORCHESTRATORS
    assert len(caught.value.rejections) <= directory.ORCHESTRATORS


# -- secrets and control characters ----------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "https://user:hunter22@orch:8935",
        "https://user:hunter/22@orch",
        "user:hunter22@orch:8935",
        "https://user:hunter22@[::1",
        "https://user:hunter22@orch:99999999",
        "ftp://user:hunter22@orch",
        "https//user:hunter22@orch",
        "https://orch:x/list?key=hunter22",
        "https://user:hunter22\u2100@orch",
    ],
)
@pytest.mark.parametrize("name", ["orch_url", "gateway_url", "discovery_url", "signer_url"])
def test_no_error_about_a_url_shows_its_password(name: str, text: str) -> None:
    import traceback

    with pytest.raises(ConfigurationError) as caught:
        Config.resolve(**{name: text}, environ={})  # type: ignore[arg-type]
    shown = "".join(traceback.format_exception(caught.value))
    said = shown.split("Traceback")[-1].rsplit("ConfigurationError", 1)[-1]
    assert "hunter" not in said and "hunter" not in str(caught.value)
    assert caught.value.__cause__ is None and "hunter" not in repr(caught.value)


def test_a_broken_token_is_not_quoted() -> None:
    for raw in (b'{"signer_headers": {"A": "hunter22"}', b"\xffhunter22", b'["hunter22"]'):
        with pytest.raises(ConfigurationError) as caught:
            Token.parse(base64.b64encode(raw).decode())
        assert "hunter" not in str(caught.value) and caught.value.__cause__ is None


async def test_what_we_sent_is_in_no_error_and_no_log_that_repeats_it(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("eth_account")
    caplog.set_level(logging.DEBUG, "livepeer.client")

    def repeat(request: Any) -> str:
        fields = json.loads(base64.b64decode(request.headers["livepeer"]))
        sent.update({fields["sig"], request.headers["livepeer"]})
        return f"no: Livepeer: {request.headers['livepeer']} {fields['sig']}"

    sent: set[str] = set()
    orch = await start(job=lambda request: reply(repeat(request), 400, "text/plain"))
    async with Gateway(orch_url=orch.url, eth_key="0x" + "11" * 32) as gw:
        with pytest.raises(InvalidInputError) as caught:
            await gw.run_async("echo")
        errors = [str(caught.value)]
        orch.job = lambda request: reply({"error": {"message": repeat(request)}}, 500)
        with pytest.raises(PipelineError) as failed:
            await gw.run_async("echo")
        errors.append(str(failed.value))
        orch.job = lambda request: events(
            "event: error\ndata: " + json.dumps({"error": repeat(request)}) + "\n\n"
        )
        with pytest.raises(PipelineError) as failed:
            await gw.run_async("echo")
        errors.append(str(failed.value))
    assert sent and all("[redacted]" in each for each in errors)
    for secret in sent:
        assert not any(secret in each for each in (*errors, caplog.text))


async def test_an_identity_that_a_token_answer_repeats_is_in_no_error(start: Start) -> None:
    pytest.importorskip("eth_account")
    orch = await start(token=reply("x", 400))
    async with Gateway(orch_url=orch.url, eth_key="0x" + "11" * 32) as gw:
        with pytest.raises(LivepeerError):
            await gw.run_async("echo")
        sent = orch.tokens[0].headers["livepeer-eth-address"]
        signature = json.loads(base64.b64decode(sent))["sig"]
        # cut in the middle of it, no part is left either
        orch.token = reply("y" * 150 + sent + signature, 400)
        with pytest.raises(LivepeerError) as caught:
            await gw.run_async("echo")
    assert sent[:12] not in str(caught.value) and signature[:12] not in str(caught.value)


def test_secrets_are_found_in_headers_and_taken_out_longest_first() -> None:
    secrets = secrets_in({"Authorization": "Bearer abcdefgh12", "Content-Type": "application/json"})
    assert secrets == ("Bearer abcdefgh12", "abcdefgh12")
    assert redacted("a Bearer abcdefgh12 b abcdefgh12", secrets) == "a [redacted] b [redacted]"
    assert redacted("ab\\/cdefghi", ("ab/cdefghi",)) == "[redacted]"


@pytest.mark.parametrize("text", ["\x1b[31mred", "a\nb\rc", "\u202eabc", "\x00\x07", "\ud800"])
async def test_control_characters_of_others_are_escaped_in_every_error(
    start: Start, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "livepeer.client")
    assert printable(text).isprintable()
    body = {"error": {"message": text + "x", "type": text, "fields": [{"name": text}, text]}}
    orch = await start(job=reply(body, 422))
    async with Gateway(orch_url=orch.url) as gw:
        with pytest.raises(InvalidInputError) as caught:
            await gw.run_async("echo")
        assert str(caught.value).isprintable() and str(caught.value.rejections[0]).isprintable()
        assert all(str(field).isprintable() for field in caught.value.fields)
        orch.token = reply(text.encode("utf-8", "surrogatepass") + b"x", 500)
        with pytest.raises(LivepeerError) as other:
            await gw.run_async("other")
        assert str(other.value).isprintable()
    assert all(record.getMessage().isprintable() for record in caplog.records)


def test_a_url_is_shown_without_what_may_be_secret() -> None:
    assert shown_url("https://orch:8935/x") == "https://orch:8935/x"
    assert shown_url("https://a:b@orch/x?k=v") == "https://***@orch/x?***"
    assert shown_url("a:b@orch") == "***@orch"
