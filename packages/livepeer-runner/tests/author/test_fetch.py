"""Files by URL: fetched before predict, from nowhere that a stranger should send us to."""

import asyncio
import gzip
import ipaddress
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from pydantic import BaseModel, TypeAdapter

from livepeer.runner.author.fetch import resolve
from livepeer.runner.author.files import File, Image
from livepeer.runner.author.signature import PredictSignature
from livepeer.runner.exceptions import FetchError
from livepeer.runner.http import public_http

LIMIT = 60.0
SPELLINGS = [
    f"{part}{dot}"
    for dot in ("", ".")
    for part in (
        *("127.0.0.1", "127.1", "127.0.1", "127.255.255.254", "2130706433", "0", "0.0.0.0", "00"),
        *("0177.0.0.1", "0177.1", "017700000001", "0x7f.1", "0x7f000001", "0X7F000001", "0x7f.0.1"),
        *("0x7f.0x0.0x0.0x1", "127.0x1", "0000000000177.1", "0x0", "0.0", "127.000.000.001"),
        *("localhost", "LOCALHOST", "LocalHost"),
    )
] + [
    *("127。0。0。1", "①②⑦.⓪.⓪.①", "１２７.1", "ⓛocalhost"),
    *("::1", "::", "0:0:0:0:0:0:0:1", "::ffff:127.0.0.1", "::ffff:7f00:1", "::127.0.0.1"),
    *("::ffff:0:127.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b:1::7f00:1", "2002:7f00:1::1"),
    *("fe80::1%lo", "fe80::1", "::ffff:0.0.0.0", "::1%1"),
]
GIF = b"GIF89a" + bytes(100)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Site:
    """A web server on an address of this machine; `asked` is what reached it."""

    url: str = ""
    asked: list[web.Request] = field(default_factory=list)
    answer: Handler | None = None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        assert self.answer is not None
        return await self.answer(request)


async def started(host: str, stack: list[web.AppRunner]) -> Site:
    site = Site()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", site.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    stack.append(runner)
    await web.TCPSite(runner, host, 0).start()
    site.url = f"http://{host}:{runner.addresses[0][1]}"
    return site


@pytest.fixture
async def sites() -> AsyncIterator[Callable[[str], Awaitable[Site]]]:
    stack: list[web.AppRunner] = []

    async def make(host: str = "127.0.0.1") -> Site:
        return await started(host, stack)

    yield make
    for runner in stack:
        await runner.cleanup()


@pytest.fixture
async def site(sites: Callable[[], Awaitable[Site]]) -> Site:
    found = await sites()

    async def gif(request: web.Request) -> web.Response:
        return web.Response(body=GIF, content_type="image/gif")

    found.answer = gif
    return found


def file(url: str, kind: type[File] = File) -> File:
    found: File = TypeAdapter(kind).validate_python(url)
    return found


async def fetched(value: Any, **options: Any) -> Any:
    async with asyncio.timeout(LIMIT):
        await resolve(
            value, **{"max_bytes": 10_000, "timeout": LIMIT, "allow_private": True, **options}
        )
    return value


async def leads_here(host: str, port: int) -> bool:
    try:
        async with asyncio.timeout(LIMIT):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, UnicodeError):
        return False
    writer.close()
    await writer.wait_closed()
    return True


async def failure(value: Any, **options: Any) -> FetchError:
    with pytest.raises(FetchError) as caught:
        await fetched(value, **options)
    return caught.value


class TestFetching:
    async def test_the_content_and_its_type_arrive(self, site: Site) -> None:
        image = await fetched(file(f"{site.url}/a.gif", Image))
        assert (image.data, image.media_type, image.name) == (GIF, "image/gif", "a.gif")

    async def test_files_are_found_wherever_they_are(self, site: Site) -> None:
        class Inner(BaseModel):
            one: File | None = None
            many: dict[str, list[File]] = {}

        def predict(inner: Inner, json: File, text: str = "") -> str: ...

        signature = PredictSignature.of(predict)
        url = f'"{site.url}/x"'
        body = f'{{"inner": {{"one": {url}, "many": {{"a": [{url}, "YWJj"]}}}}, "json": {url}}}'
        validated = signature.validate_json(body)
        await fetched(validated)
        given = signature.bind(validated)[1]
        assert given["inner"].one.data == given["json"].data == GIF
        assert [each.data for each in given["inner"].many["a"]] == [GIF, b"abc"]
        assert len(site.asked) == 3

    async def test_without_urls_nothing_happens(self) -> None:
        await resolve({"a": File(b"x"), "b": 5}, max_bytes=0, timeout=0)

    async def test_nothing_of_ours_goes_along(self, site: Site) -> None:
        await fetched(file(site.url + "/x"))
        headers = {name.lower() for name in site.asked[0].headers}
        assert headers <= {"host", "accept", "accept-encoding", "user-agent", "connection"}

    async def test_redirects_are_followed_but_not_for_ever(self, site: Site) -> None:
        async def answer(request: web.Request) -> web.Response:
            if request.path == "/end":
                return web.Response(body=GIF)
            target = "/end" if request.path == "/start" else "/again"
            return web.Response(status=302, headers={"Location": target})

        site.answer = answer
        assert (await fetched(file(site.url + "/start"))).data == GIF
        assert "redirects more than 5 times" in str(await failure(file(site.url + "/loop")))

    async def test_a_redirect_to_something_else_than_http_is_refused(self, site: Site) -> None:
        async def answer(request: web.Request) -> web.Response:
            return web.Response(status=302, headers={"Location": "file:///etc/passwd"})

        site.answer = answer
        assert "not an http(s) URL" in str(await failure(file(site.url + "/x")))


class TestFailures:
    async def test_the_error_names_the_field_and_the_url(self, site: Site) -> None:
        async def answer(request: web.Request) -> web.Response:
            raise web.HTTPNotFound

        site.answer = answer

        class Input(BaseModel):
            images: list[File]

        error = await failure(Input(images=[File(b"x"), file(site.url + "/gone")]))
        assert error.location == ("images", 1)
        assert str(error) == f"{site.url}/gone: the server answered 404"

    async def test_the_wrong_kind_of_file_is_said_so(self, site: Site) -> None:
        async def answer(request: web.Request) -> web.Response:
            return web.Response(text="<html>", content_type="text/html")

        site.answer = answer
        assert "text/html, not an image" in str(await failure(file(site.url + "/x", Image)))

    @pytest.mark.parametrize("announced", [True, False])
    async def test_the_limit_of_size_holds_for_all_files_together(
        self, site: Site, announced: bool
    ) -> None:
        async def answer(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            if announced:
                response.content_length = 600
            await response.prepare(request)
            await response.write(bytes(600))
            return response

        site.answer = answer
        await fetched([file(site.url + "/a")], max_bytes=600)
        error = await failure([file(site.url + "/a"), file(site.url + "/b")], max_bytes=1000)
        assert "over the limit of 1000 bytes" in str(error)

    async def test_an_announced_size_over_the_limit_is_not_waited_for(self, site: Site) -> None:
        async def answer(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            response.content_length = 1 << 40
            await response.prepare(request)
            await asyncio.Event().wait()
            return response

        site.answer = answer
        assert "over the limit" in str(await failure(file(site.url + "/x")))

    async def test_an_endless_body_is_cut_at_the_limit(self, site: Site) -> None:
        async def answer(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            while True:
                await response.write(bytes(1000))

        site.answer = answer
        assert "over the limit" in str(await failure(file(site.url + "/x"), max_bytes=100_000))

    async def test_what_a_compressed_body_becomes_counts(self, site: Site) -> None:
        async def answer(request: web.Request) -> web.Response:
            bomb = gzip.compress(bytes(5_000_000))
            assert len(bomb) < 10_000
            return web.Response(body=bomb, headers={"Content-Encoding": "gzip"})

        site.answer = answer
        assert "over the limit" in str(await failure(file(site.url + "/x")))

    async def test_a_server_that_never_answers_is_left_at_the_limit_of_time(
        self, site: Site
    ) -> None:
        async def answer(request: web.Request) -> web.Response:
            await asyncio.Event().wait()
            raise AssertionError

        site.answer = answer
        error = await failure([File(b"x"), file(site.url + "/x")], timeout=0.2)
        assert "took over 0.2 s" in str(error)
        assert error.location == (1,)

    async def test_a_failure_abandons_the_others(self, site: Site) -> None:
        async def answer(request: web.Request) -> web.Response:
            if request.path == "/bad":
                raise web.HTTPNotFound
            await asyncio.Event().wait()
            raise AssertionError

        site.answer = answer
        error = await failure([file(site.url + "/slow"), file(site.url + "/bad")])
        assert error.location == (1,)

    @pytest.mark.parametrize(
        ("url", "says"),
        [
            ("http://127.0.0.1:1/x", "cannot connect"),
            ("http://nowhere.invalid/x", "cannot connect"),
            ("http://user:pass@127.0.0.1:1/x", "user name or password"),
            ("http://h:99999/", "cannot be fetched|URL"),
        ],
    )
    async def test_what_leads_nowhere_is_the_callers_error(self, url: str, says: str) -> None:
        import re

        assert re.search(says, str(await failure(file(url))))

    async def test_a_connection_that_breaks_off_is_an_error(self, site: Site) -> None:
        async def answer(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            response.content_length = 500
            await response.prepare(request)
            await response.write(bytes(10))
            assert request.transport is not None
            request.transport.abort()
            return response

        site.answer = answer
        assert "cannot be fetched" in str(await failure(file(site.url + "/x")))

    async def test_cancelling_ends_it(self, site: Site) -> None:
        reached = asyncio.Event()

        async def answer(request: web.Request) -> web.Response:
            reached.set()
            await asyncio.Event().wait()
            raise AssertionError

        site.answer = answer
        task = asyncio.create_task(fetched(file(site.url + "/x")))
        async with asyncio.timeout(LIMIT):
            await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


class TestAddresses:
    @pytest.mark.parametrize(
        "address",
        [
            "127.0.0.1",
            "127.8.8.8",
            "0.0.0.0",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.2.1",
            "198.18.0.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fe80::1%eth0",
            "fc00::1",
            "fec0::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a00:1",
            "2002:7f00:1::1",
            "2002:a00:1::1",
            "2001:0:a00:1::1",
            "2001:db8::1",
            "nonsense",
            "",
        ],
    )
    def test_what_is_not_public_is_refused(self, address: str) -> None:
        assert not public_http.is_public(address)

    @pytest.mark.parametrize(
        "address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
    )
    def test_what_is_public_is_taken(self, address: str) -> None:
        assert public_http.is_public(address)

    def test_no_private_ipv4_address_passes_in_any_disguise(self) -> None:
        for network in ("10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "192.168.0.0/16"):
            inner = ipaddress.ip_network(network)[77]
            number = int(inner)
            for outer in (
                inner,
                ipaddress.IPv6Address(0xFFFF << 32 | number),
                ipaddress.IPv6Address((0x2002 << 112) | (number << 80) | 1),
                ipaddress.IPv6Address((0x64FF9B << 96) | number),
            ):
                assert not public_http.is_public(str(outer)), outer

    async def test_what_leads_here_by_any_spelling_is_never_connected_to(self, site: Site) -> None:
        """The judge is the machine itself: what its own `connect` takes to this port."""
        port = int(site.url.rsplit(":", 1)[1])
        asked = await asyncio.gather(*(leads_here(host, port) for host in SPELLINGS))
        reached = [host for host, here in zip(SPELLINGS, asked, strict=True) if here]
        assert {"2130706433", "127.1", "0", "0177.0.0.1", "0x7f.1", "localhost"} <= set(reached)
        shown = [f"[{host}]" if ":" in host else host for host in SPELLINGS]
        urls = [f"http://{host}:{port}/x" for host in shown]
        await asyncio.gather(*(failure(file(url), allow_private=False) for url in urls))
        assert site.asked == []

    async def test_a_redirect_to_another_spelling_of_this_machine_is_refused(
        self, sites: Callable[[str], Awaitable[Site]], site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        outside = await sites("127.0.0.2")
        port = site.url.rsplit(":", 1)[1]

        async def answer(request: web.Request) -> web.Response:
            location = f"http://{request.query['to']}:{port}/secret"
            return web.Response(status=302, headers={"Location": location})

        outside.answer = answer
        monkeypatch.setattr(public_http, "is_public", lambda address: address == "127.0.0.2")
        hosts = [host for host in SPELLINGS if ":" not in host and "%" not in host]
        urls = [f"{outside.url}/x?to={host}" for host in hosts]
        await asyncio.gather(*(failure(file(url), allow_private=False) for url in urls))
        assert len(outside.asked) == len(hosts)
        assert site.asked == []

    async def test_the_name_is_asked_for_at_the_address(self, site: Site) -> None:
        port = site.url.rsplit(":", 1)[1]
        await fetched(file(f"http://localhost:{port}/x"))
        assert site.asked[0].headers["Host"] == f"localhost:{port}"

    async def test_the_error_says_that_the_address_is_not_public(self, site: Site) -> None:
        error = await failure(file(site.url + "/x"), allow_private=False)
        assert "127.0.0.1 is not a public address" in str(error)


class TestTricks:
    """Loopback has many addresses: one plays the public internet here."""

    @pytest.fixture(autouse=True)
    def public(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(public_http, "is_public", lambda address: address == "127.0.0.2")

    async def test_a_redirect_to_a_private_address_is_refused(
        self, sites: Callable[[str], Awaitable[Site]], site: Site
    ) -> None:
        outside = await sites("127.0.0.2")

        async def answer(request: web.Request) -> web.Response:
            return web.Response(status=307, headers={"Location": site.url + "/secret"})

        outside.answer = answer
        error = await failure(file(outside.url + "/x"), allow_private=False)
        assert "127.0.0.1 is not a public address" in str(error)
        assert len(outside.asked) == 1
        assert site.asked == []

    async def test_a_name_that_is_rebound_between_two_look_ups_is_refused(
        self,
        sites: Callable[[str], Awaitable[Site]],
        site: Site,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """The first look-up is public, all later ones are private: only a public one is used."""
        outside = await sites("127.0.0.2")
        port = int(outside.url.rsplit(":", 1)[1])
        looked = []
        genuine = socket.getaddrinfo

        def rebound(host: Any, port_: Any, *args: Any, **kwargs: Any) -> Any:
            if host != "rebind.test":
                return genuine(host, port_, *args, **kwargs)
            looked.append(host)
            return genuine("127.0.0.2" if len(looked) == 1 else "127.0.0.1", port_, *args, **kwargs)

        async def answer(request: web.Request) -> web.Response:
            location = f"http://rebind.test:{site.url.rsplit(':', 1)[1]}/again"
            return web.Response(status=302, headers={"Location": location})

        outside.answer = answer
        monkeypatch.setattr(socket, "getaddrinfo", rebound)
        error = await failure(file(f"http://rebind.test:{port}/x"), allow_private=False)
        assert "rebind.test has no public address" in str(error)
        assert len(looked) == 2
        assert len(outside.asked) == 1
        assert site.asked == []

    async def test_of_several_addresses_only_public_ones_are_tried(
        self,
        sites: Callable[[str], Awaitable[Site]],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        outside = await sites("127.0.0.2")

        async def answer(request: web.Request) -> web.Response:
            return web.Response(body=GIF)

        outside.answer = answer
        port = outside.url.rsplit(":", 1)[1]
        genuine = socket.getaddrinfo

        def several(host: Any, port_: Any, *args: Any, **kwargs: Any) -> Any:
            if host != "several.test":
                return genuine(host, port_, *args, **kwargs)
            return [
                found
                for address in ("127.0.0.1", "127.0.0.2")
                for found in genuine(address, port_, *args, **kwargs)
            ]

        monkeypatch.setattr(socket, "getaddrinfo", several)
        got = await fetched(file(f"http://several.test:{port}/x"), allow_private=False)
        assert got.data == GIF
