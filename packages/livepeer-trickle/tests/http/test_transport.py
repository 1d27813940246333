import asyncio
from collections.abc import Awaitable, Callable

import pytest

from livepeer.trickle import (
    ChannelRefused,
    ProtocolError,
    Timeouts,
    Transport,
    TrickleConnectionError,
    TricklePublisher,
    TrickleSubscriber,
    TrickleTimeout,
)
from livepeer.trickle.testing import ScriptedServer


async def _ask(transport: Transport, server: ScriptedServer) -> None:
    asking = asyncio.create_task(transport.request("GET", server.url + "/x"))
    await (await server.request()).answer(200, body=b"y")
    assert (await asking).text == "y"


async def test_a_connection_is_used_again(scripted: ScriptedServer) -> None:
    async with Transport() as transport:
        for _ in range(5):
            await _ask(transport, scripted)
        assert scripted.connections == 1
        assert transport.connections == 1
    assert transport.connections == 0


async def test_a_pooled_connection_that_died_costs_a_second_one_and_nothing_else(
    scripted: ScriptedServer,
) -> None:
    async with Transport() as transport:
        await _ask(transport, scripted)
        asking = asyncio.create_task(transport.request("GET", scripted.url + "/x"))
        (await scripted.request()).cut()
        await (await scripted.request()).answer(200, body=b"z")
        assert (await asking).text == "z"
        assert scripted.connections == 2


async def test_a_request_waits_for_a_connection_that_was_begun_ahead(
    scripted: ScriptedServer,
) -> None:
    async with Transport() as transport:
        transport.open_ahead(scripted.url)
        await _ask(transport, scripted)
        assert scripted.connections == transport.connections == 1


async def test_connections_that_were_opened_ahead_are_used(scripted: ScriptedServer) -> None:
    async with Transport() as transport:
        transport.open_ahead(scripted.url, count=2)
        await scripted.quiet(0.1)
        for _ in range(3):
            await _ask(transport, scripted)
        assert scripted.connections == transport.connections == 2


async def test_one_opened_ahead_is_given_up_with_its_transport(scripted: ScriptedServer) -> None:
    before = asyncio.all_tasks()
    async with Transport() as transport:
        transport.open_ahead(scripted.url, count=3)
    assert transport.connections == 0
    assert asyncio.all_tasks() == before


async def test_one_opened_ahead_in_vain_fails_its_request_and_no_other(
    scripted: ScriptedServer,
) -> None:
    async with Transport() as transport:
        transport.open_ahead("http://127.0.0.1:1", count=2)
        with pytest.raises(TrickleConnectionError):
            await transport.request("GET", "http://127.0.0.1:1/x")
        with pytest.raises(ProtocolError):
            transport.open_ahead("nowhere")
        await _ask(transport, scripted)
        assert transport.connections == 1


async def test_a_new_connection_that_dies_is_an_error(scripted: ScriptedServer) -> None:
    async with Transport() as transport:
        asking = asyncio.create_task(transport.request("GET", scripted.url + "/x"))
        (await scripted.request()).cut()
        with pytest.raises(TrickleConnectionError):
            await asking
        await scripted.quiet(0.05)


async def test_a_connection_that_the_server_closes_after_its_answer_is_not_used_again(
    scripted: ScriptedServer,
) -> None:
    async with Transport() as transport:
        for _ in range(2):
            asking = asyncio.create_task(transport.request("GET", scripted.url + "/x"))
            await (await scripted.request()).answer(200, {"Connection": "close"}, b"y")
            await asking
        assert scripted.connections == 2


async def test_an_endless_answer_to_a_small_question_is_cut(scripted: ScriptedServer) -> None:
    async with Transport() as transport:
        asking = asyncio.create_task(transport.request("GET", scripted.url + "/x"))
        exchange = await scripted.request()
        await exchange.answer(200, body=None)
        for _ in range(3):
            await exchange.send(bytes(64 * 1024))
        assert len((await asking).text) <= 64 * 1024
        await exchange.gone()


async def test_what_is_not_http_is_told(scripted: ScriptedServer) -> None:
    async with Transport() as transport:
        asking = asyncio.create_task(transport.request("GET", scripted.url + "/x"))
        exchange = await scripted.request()
        exchange._writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
        with pytest.raises(ProtocolError, match="not HTTP"):
            await asking
        await exchange.gone()


async def test_no_answer_is_told_after_its_limit_and_the_connection_dropped(
    scripted: ScriptedServer,
) -> None:
    async with Transport() as transport:
        with pytest.raises(TrickleTimeout, match="within 1 s"):
            await transport.request("GET", scripted.url + "/x", limit=1.0)
        await (await scripted.request()).gone()
        assert transport.connections == 0


async def test_a_connection_that_is_not_made_in_time_is_told_and_dropped(
    scripted: ScriptedServer,
) -> None:
    async with Transport() as transport:
        url = scripted.url.replace("http", "https")  # it waits for a request, we for its handshake
        with pytest.raises(TrickleTimeout, match=r"no connection within 0\.2 s"):
            await transport.request("GET", f"{url}/x", tls=False, connect=0.2)
        assert transport.connections == 0
    assert len(asyncio.all_tasks()) == 1 + len(scripted._server.tasks)


async def test_a_host_that_is_not_there_is_told() -> None:
    async with Transport() as transport:
        with pytest.raises(TrickleConnectionError) as caught:
            await transport.request("GET", "http://127.0.0.1:9/x")
        assert caught.value.url == "http://127.0.0.1:9/x"


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\nb", "a\0b"])
async def test_a_header_that_would_become_two_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="can't be sent"):
        Transport(headers={"X-Test": value})


async def test_headers_of_the_transport_go_with_every_request(scripted: ScriptedServer) -> None:
    async with Transport(headers={"X-Test": "1"}) as transport:
        asking = asyncio.create_task(transport.request("POST", scripted.url + "/x"))
        exchange = await scripted.request("POST", "/x")
        assert exchange.headers["x-test"] == "1"
        assert exchange.headers["content-length"] == "0"
        assert exchange.headers["host"] == scripted.url.removeprefix("http://")
        await exchange.answer()
        await asking


async def test_a_request_that_is_cancelled_while_it_connects_leaves_nothing() -> None:
    async with Transport() as transport:
        for _ in range(20):
            # Reserved for documentation: nobody answers.
            asking = asyncio.create_task(transport.request("GET", "http://192.0.2.1/x"))
            await asyncio.sleep(0)
            asking.cancel()
            await asyncio.wait((asking,))
    await asyncio.sleep(0.01)
    assert len(asyncio.all_tasks()) == 1


async def test_credentials_in_a_url_go_to_the_server_and_into_no_message(
    scripted: ScriptedServer,
) -> None:
    url = scripted.url.replace("//", "//user:secret@")
    publisher = TricklePublisher(url + "/cam", timeouts=Timeouts(outage=0.1), linger=0)
    assert "secret" not in repr(publisher)
    assert "secret" not in repr(TrickleSubscriber(url + "/cam"))
    opening = asyncio.create_task(publisher.__aenter__())
    exchange = await scripted.request("GET", "/cam/next")
    assert exchange.headers["authorization"] == "Basic dXNlcjpzZWNyZXQ="
    await exchange.answer(401)
    with pytest.raises(ChannelRefused) as caught:
        await opening
    assert "secret" not in f"{caught.value} {caught.value!r} {caught.value.url}"
    with pytest.raises(ValueError, match="names no channel") as refused:
        TricklePublisher(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["http://a..b/x", f"http://{'a' * 300}/x"])
async def test_a_name_that_no_host_can_have_is_told_and_leaves_nobody_waiting(url: str) -> None:
    async with Transport() as transport, asyncio.timeout(10):
        with pytest.raises((TrickleConnectionError, ProtocolError)):
            await transport.request("GET", url)


async def test_idle_connections_that_the_server_closed_are_forgotten(
    scripted: ScriptedServer, eventually: Callable[[Callable[[], object]], Awaitable[None]]
) -> None:
    async with Transport() as transport:
        asking = asyncio.create_task(transport.request("GET", scripted.url + "/x"))
        exchange = await scripted.request()
        await exchange.answer(200)
        await asking
        assert transport._pool._idle
        exchange.cut()
        await eventually(lambda: not transport._pool._idle)
        assert transport.connections == 0
