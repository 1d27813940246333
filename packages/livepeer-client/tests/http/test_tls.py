"""Certificates: verified, pinned, or not looked at, and what is said where they do not fit."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from livepeer.client import CertificateChangedError, CertificateError, Gateway, LivepeerError
from livepeer.client.http import tls
from livepeer.client.testing import reply
from livepeer.trickle.tls.pins import pins_path

Start = Callable[..., Any]


async def failure(gw: Gateway) -> LivepeerError:
    with pytest.raises(LivepeerError) as caught:
        await gw.run_async("echo")
    return caught.value


async def test_a_self_signed_certificate_is_refused_with_the_way_out(
    start: Start, certificate: Callable[[], ssl.SSLContext], caplog: pytest.LogCaptureFixture
) -> None:
    orch = await start(ssl_context=certificate())
    async with Gateway(orch_url=orch.url) as gw:
        error = await failure(gw)
    assert type(error) is CertificateError and "tls='pin'" in str(error)
    assert not orch.tokens and not orch.jobs
    caplog.clear()
    tls._warn_once.cache_clear()
    for _ in range(3):
        async with Gateway(orch_url=orch.url, tls="insecure") as gw:
            assert await gw.run_async("echo") == {"ok": True}
    assert caplog.text.count("certificates are not checked") == 1


async def test_http_where_https_is_served_says_so(
    start: Start, certificate: Callable[[], ssl.SSLContext]
) -> None:
    secure = await start(ssl_context=certificate())
    async with Gateway(orch_url=secure.url.replace("https", "http")) as gw:
        assert "its address begins with https://" in str(await failure(gw))
    # what Go's server answers, by either road
    said = reply("Client sent an HTTP request to an HTTPS server.\n", 400, "text/plain")
    orch = await start(token=said, job=said)
    async with Gateway(orch_url=orch.url) as gw:
        assert "it speaks TLS: write https://" in str(await failure(gw))
    async with Gateway(gateway_url=orch.url) as gw:
        assert "it speaks TLS: write https://" in str(await failure(gw))


async def test_pins_that_cannot_be_kept_are_the_error_and_nothing_is_sent(
    start: Start,
    certificate: Callable[[], ssl.SSLContext],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LIVEPEER_PINS", str(tmp_path / "file" / "pins.json"))
    orch = await start(ssl_context=certificate())
    async with Gateway(orch_url=orch.url, tls="pin") as gw:
        error = await failure(gw)
    assert type(error) is CertificateError and "the pins can't be kept" in str(error)
    assert not orch.tokens


async def test_a_changed_certificate_is_refused_before_a_header_leaves_until_it_is_trusted(
    start: Start, certificate: Callable[[], ssl.SSLContext]
) -> None:
    orch = await start(ssl_context=certificate())
    async with Gateway(orch_url=orch.url, tls="pin") as gw:
        assert await gw.run_async("echo") == {"ok": True}
    assert pins_path().stat().st_mode & 0o777 == 0o600
    await orch.stop()
    again = await start(port=orch.port, ssl_context=certificate())
    async with Gateway(orch_url=orch.url, tls="pin") as gw:
        error = await failure(gw)
        assert type(error) is CertificateChangedError
        assert f"livepeer trust 127.0.0.1:{orch.port}" in str(error)
        assert not again.tokens and not again.jobs and not error.may_have_run
        assert tls.forget(f"127.0.0.1:{orch.port}")
        assert await gw.run_async("echo") == {"ok": True}
        assert not tls.forget("nobody:1")
