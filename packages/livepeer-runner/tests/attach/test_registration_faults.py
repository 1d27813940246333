"""Orchestrators that misbehave, over real sockets: each is outlived, and said what is wrong."""

import asyncio
import base64
import json
import re
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Self
from urllib.parse import quote

import pytest
from aiohttp import web

from livepeer.runner.devnet.certificate import server_context
from livepeer.runner.registration import Capability, OrchestratorState, Registration, Timing
from livepeer.trickle.testing.streams import StreamServer
from livepeer.trickle.tls.aiohttp_pin import Pin
from livepeer.trickle.tls.pins import PinStore

LIMIT = 60.0
QUICK = Timing(
    probe=0.03,
    renew=0.06,
    confirm=0.01,
    request=2.0,
    unregister=2.0,
    retry_first=0.01,
    retry_most=0.05,
)
CAPABILITY = Capability(name="echo", url="http://127.0.0.1:9", capacity=2)


@dataclass
class Request:
    line: str
    headers: dict[str, str]
    body: bytes


# Instead of an answer: nothing for ever, or a cut connection.
HANG, RESET = "hang", "reset"
# Within an answer: what follows goes out in a packet of its own.
BREAK = "<break>"
OK = "200 OK\r\nContent-Length: 2\r\n\r\nok"


def answer(status: str, body: str = "", *headers: str) -> str:
    return "\r\n".join([status, *headers, f"Content-Length: {len(body)}", "", body])


def token(available: int | None) -> str:
    field = "" if available is None else f'"available_capacity":{available},'
    return answer("200 OK", "{" + field + '"LastNonce":0}')


class Scripted:
    """A server that answers each path with the next of its script; the last one repeats."""

    def __init__(self, *, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        self.register = [OK]
        self.token = [token(2)]
        self.unregister = [OK]
        self.looks: asyncio.Queue[asyncio.Event] | None = None
        self._tls = tls
        self._server = StreamServer(self._serve, port=port, ssl=tls)

    async def __aenter__(self) -> Self:
        await self._server.start()
        self.port = self._server.port
        self.url = f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop()

    def asked(self, path: str) -> list[Request]:
        return [request for request in self.requests if path in request.line]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while await self._one(reader, writer):
            pass

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in head[1:] if line)
        body = await reader.readexactly(int(headers.get("Content-Length", 0)))
        self.requests.append(Request(head[0], headers, body))
        path = head[0].split()[1].rsplit("/", 1)[-1]
        script = {"register": self.register, "token": self.token}.get(path, self.unregister)
        step = script.pop(0) if len(script) > 1 else script[0]
        if path == "token" and self.looks is not None:
            go_on = asyncio.Event()
            self.looks.put_nowait(go_on)
            await go_on.wait()
        if step == HANG:
            await reader.read()
            return False
        if step == RESET:
            writer.transport.abort()
            return False
        for piece in f"HTTP/1.1 {step}".split(BREAK):
            writer.write(piece.encode())
            await writer.drain()
            await asyncio.sleep(0.02 if BREAK in step else 0)
        return True


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def registration(*orchestrators: Scripted, **options: object) -> Registration:
    given = {"capability": CAPABILITY, "timing": QUICK, **options}
    return Registration([each.url for each in orchestrators], "secret", **given)  # type: ignore[arg-type]


async def settled(kept: Registration) -> OrchestratorState:
    async with asyncio.timeout(LIMIT):
        return (await kept.settled())[0]


@pytest.fixture
async def orchestrator() -> AsyncIterator[Scripted]:
    async with Scripted() as server:
        yield server


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (answer("500 Internal Server Error", "oh no\n"), "500 oh no"),
        (answer("502 Bad Gateway"), "502"),
        (answer("429 Too Many Requests"), "429"),
        (HANG, "no answer within 2 s"),
        (RESET, "it closed the connection|reset"),
        (answer("nonsense"), "BadStatusLine|400"),
    ],
    ids=["500", "502", "429", "hang", "reset", "not HTTP"],
)
async def test_what_may_pass_is_tried_again(
    orchestrator: Scripted, failure: str, reason: str
) -> None:
    orchestrator.register = [failure, failure, OK]
    async with registration(orchestrator) as kept:
        await until(lambda: kept.state[0].status == "retrying")
        assert re.search(reason, kept.state[0].reason or "")
        assert (await settled(kept)).status == "registered"
    assert len(orchestrator.asked("register")) >= 3


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (answer("400 Bad Request", "invalid authorization\n"), "LIVEPEER_ORCH_SECRET"),
        (answer("400 Bad Request", "Error registering"), "refused the registration: 400 Error"),
        (answer("404 Not Found"), "LIVEPEER_ORCH_URL to its service address"),
        (answer("405 Method Not Allowed"), "LIVEPEER_ORCH_URL to its service address"),
        (answer("403 Forbidden"), "refused the registration: 403"),
        (
            answer("307 Temporary Redirect", "", "Location: http://127.0.0.1:1/x"),
            "redirects to http://127.0.0.1:1/x: set LIVEPEER_ORCH_URL",
        ),
        (
            answer("400 Bad Request", "Client sent an HTTP request to an HTTPS server.\n"),
            "it speaks https",
        ),
    ],
    ids=["secret", "400", "404", "405", "403", "redirect", "https"],
)
async def test_what_will_not_pass_stops_with_the_reason(
    orchestrator: Scripted, failure: str, reason: str
) -> None:
    orchestrator.register = [failure]
    async with registration(orchestrator) as kept:
        state = await settled(kept)
        assert state.status == "refused"
        assert reason in (state.reason or "")
        assert state.as_dict()["reason"] == state.reason
        await asyncio.sleep(QUICK.probe * 3)
    assert [request.line.split()[1] for request in orchestrator.requests] == [
        "/capability/register"
    ]


async def test_nobody_listens_and_then_somebody_does() -> None:
    async with Scripted() as gone:
        pass
    async with registration(gone) as kept:
        await until(lambda: kept.state[0].attempts >= 2)
        assert "cannot connect" in (kept.state[0].reason or "")
        async with Scripted(port=gone.port):
            assert (await settled(kept)).status == "registered"


async def test_a_name_that_cannot_be_resolved_is_tried_again() -> None:
    kept = Registration("https://nowhere.invalid:8935", "s", capability=CAPABILITY, timing=QUICK)
    async with kept:
        await until(lambda: kept.state[0].status == "retrying")
        assert "cannot connect" in (kept.state[0].reason or "")


async def test_a_job_that_comes_and_goes_while_it_looks_makes_what_it_saw_worthless(
    orchestrator: Scripted,
) -> None:
    """An absent capacity may be the place of that very job."""
    orchestrator.token = [token(None)]
    orchestrator.looks = asyncio.Queue()
    async with registration(orchestrator) as kept, asyncio.timeout(LIMIT):
        await settled(kept)
        (caller,) = kept.callers
        for _ in range(4):
            go_on = await orchestrator.looks.get()
            with caller.working():
                pass
            go_on.set()
        await orchestrator.looks.get()
        assert len(orchestrator.asked("register")) == 1


async def test_one_absent_capacity_is_only_a_doubt(orchestrator: Scripted) -> None:
    orchestrator.token = [token(None), token(2), token(None), token(2)]
    async with registration(orchestrator) as kept:
        await settled(kept)
        await until(lambda: len(orchestrator.asked("token")) >= 5)
        assert len(orchestrator.asked("register")) == 1


async def test_an_answer_in_several_packets_is_read_whole(orchestrator: Scripted) -> None:
    body = token(2).replace(":2", f":{BREAK}2").replace("Nonce", f"{BREAK}Nonce")
    orchestrator.token = [body, token(2)]
    async with registration(orchestrator) as kept:
        await settled(kept)
        await until(lambda: len(orchestrator.asked("token")) >= 3)
        assert len(orchestrator.asked("register")) == 1
        assert orchestrator.connections == 1


async def test_an_endless_answer_is_not_read_to_the_end(orchestrator: Scripted) -> None:
    orchestrator.register = [answer("500 Internal Server Error", "x" * 1_000_000), OK]
    async with registration(orchestrator) as kept:
        await until(lambda: kept.state[0].status == "retrying")
        assert len(kept.state[0].reason or "") < 300
        assert (await settled(kept)).status == "registered"


async def test_one_that_shows_no_token_is_renewed_from_time_to_time(
    orchestrator: Scripted,
) -> None:
    """An on-chain orchestrator wants a signed address for its tokens."""
    orchestrator.token = [answer("400 Bad Request", "Invalid eth address header \n")]
    async with registration(orchestrator) as kept:
        await settled(kept)
        await until(lambda: len(orchestrator.asked("register")) >= 3)
        assert kept.state[0].status == "registered"


async def test_the_secret_goes_out_for_registration_only(orchestrator: Scripted) -> None:
    async with registration(orchestrator) as kept:
        await settled(kept)
        await until(lambda: bool(orchestrator.asked("token")))
    for request in orchestrator.requests:
        sent = request.headers.get("Authorization")
        assert sent == (None if "token" in request.line else "secret")


async def test_leaving_waits_no_longer_than_its_limit(orchestrator: Scripted) -> None:
    orchestrator.unregister = [HANG]
    async with asyncio.timeout(LIMIT), registration(orchestrator) as kept:
        await settled(kept)
    assert kept.state[0].status == "unregistered"


async def test_leaving_unregisters_what_may_have_been_registered(orchestrator: Scripted) -> None:
    """No answer to a registration does not mean that it was not taken."""
    orchestrator.register = [HANG]
    async with registration(orchestrator):
        await until(lambda: bool(orchestrator.asked("register")))
    assert [request.body for request in orchestrator.asked("unregister")] == [b"echo"]


async def test_cancelling_the_service_unregisters_too(orchestrator: Scripted) -> None:
    async def serve() -> None:
        async with registration(orchestrator):
            await asyncio.Event().wait()

    task = asyncio.create_task(serve())
    await until(lambda: bool(orchestrator.asked("register")))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert orchestrator.asked("unregister")


class TestTLS:
    async def test_verify_refuses_a_certificate_that_nobody_signed(self) -> None:
        async with Scripted(tls=server_context("127.0.0.1")) as server:
            async with registration(server, tls="verify") as kept:
                await until(lambda: kept.state[0].status == "retrying")
                assert "LIVEPEER_TLS=pin" in (kept.state[0].reason or "")
            assert server.requests == []

    @pytest.mark.parametrize("tls", ["pin", "insecure"])
    async def test_pin_and_insecure_take_it(self, tls: str) -> None:
        async with Scripted(tls=server_context("127.0.0.1")) as server:
            async with registration(server, tls=tls) as kept:
                assert (await settled(kept)).status == "registered"

    async def test_a_changed_certificate_elsewhere_is_refused_before_a_header_leaves(self) -> None:
        """`renew=False` is what holds for addresses that are not private."""
        pins = PinStore()
        async with Scripted(tls=server_context("127.0.0.1")) as server:
            pins.set("127.0.0.1", server.port, "AA:BB")
            async with registration(server, tls=Pin(pins)) as kept:
                await until(lambda: kept.state[0].status == "retrying")
                reason = kept.state[0].reason or ""
                assert "certificate" in reason
                assert "restart this container" in reason
            assert server.requests == []

    async def test_speaking_tls_to_a_plain_port_is_explained(self) -> None:
        runner = web.AppRunner(web.Application())
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"https://127.0.0.1:{runner.addresses[0][1]}"
        try:
            async with Registration(url, "s", capability=CAPABILITY, timing=QUICK) as kept:
                await until(lambda: kept.state[0].status == "retrying")
                assert "is it an http:// address?" in (kept.state[0].reason or "")
        finally:
            await runner.cleanup()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"name": ""}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": " a"}, "name"),
        ({"capacity": 0}, "capacity is 0"),
        ({"capacity": 2.0}, "capacity is 2.0: write a whole number"),
        ({"capacity": True}, "capacity is True"),
        ({"price_per_unit": 0.5}, "price_per_unit is 0.5"),
        ({"price_per_unit": -1}, "price_per_unit is -1"),
        ({"price_scaling": 0}, "price_scaling is 0"),
        ({"price_per_unit": 2**63}, "price_per_unit"),
        ({"url": "10.0.0.5:8000"}, "url is '10.0.0.5:8000'"),
        ({"url": "http://host/?a=b"}, "no query"),
    ],
)
def test_a_capability_that_would_not_work_is_refused_here(
    options: dict[str, object], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        Capability(**{"name": "echo", **options})  # type: ignore[arg-type]


def test_secrets_and_orchestrators_have_to_match() -> None:
    with pytest.raises(ValueError, match="1 secrets for 2 orchestrators"):
        Registration(["http://a", "http://b"], ["s"], capability=CAPABILITY)
    with pytest.raises(ValueError, match="Give the capability a url"):
        Registration("http://a", "s", capability=Capability(name="echo"))
    with pytest.raises(ValueError, match="write verify, pin or insecure"):
        Registration("http://a", "s", capability=CAPABILITY, tls="none")  # type: ignore[arg-type]


class Echoing(Scripted):
    """Answers every request with all that it got, in a body, a header, or a broken line."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = re.search(r"Content-Length: (\d+)", head)
        body = await reader.readexactly(int(length[1]) if length else 0)
        secret = next(line for line in head.split("\r\n") if line.startswith("Authorization"))
        told = f"{secret.split(': ', 1)[1]} {body.decode()}"
        if self.how == "encoded":
            told = base64.b64encode(told.split()[0].encode()).decode() + quote(told)
        said = {
            "location": answer("302 Found", "", f"Location: http://u:pass-word@x/{quote(told)}"),
            "broken": f"{told}\r\n\r\n",
        }.get(self.how, answer("500 Oh", told))
        writer.write((said if self.how == "broken" else f"HTTP/1.1 {said}").encode())
        await writer.drain()
        return False


@pytest.mark.parametrize("how", ["body", "encoded", "location", "broken"])
async def test_what_it_echoes_of_our_secrets_is_shown_nowhere(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "o/rch+secret 42"
    async with Echoing(how) as orchestrator:
        kept = Registration(orchestrator.url, secret, capability=CAPABILITY, timing=QUICK)
        async with kept:
            await until(lambda: kept.state[0].reason is not None)
            (caller,) = kept.callers
            shown = caplog.text + json.dumps(kept.state[0].as_dict())
            for known in (secret, caller.token.reveal()):
                assert known not in shown
                assert quote(known) not in shown
                assert base64.b64encode(known.encode()).decode().rstrip("=") not in shown
            assert "pass-word" not in shown
            assert "***" in shown
