"""Signatures: of a local key, of a remote signer, and whom their secrets reach."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from livepeer.client import (
    ConfigurationError,
    Gateway,
    LivepeerError,
    NoOrchestratorError,
    Token,
)
from livepeer.client.testing import reply

Start = Callable[..., Any]

FIXTURES = Path(__file__).parents[3] / "specs" / "fixtures" / "byoc"
KEY = "0x" + "11" * 32


@pytest.mark.slow
def test_a_local_key_leaves_the_recursion_limit_as_it_was() -> None:
    pytest.importorskip("eth_account")
    script = (
        "import json, sys\n"
        "before = sys.getrecursionlimit()\n"
        "from livepeer.client.payments.local_key import LocalKey\n"
        f"LocalKey({KEY!r})\n"
        "assert sys.getrecursionlimit() == before\n"
        "try: json.loads('[' * 100_000)\n"
        "except RecursionError: print('refused')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=200
    )
    assert done.stdout == "refused\n", done


def recovered(text: str, signature: str) -> str:
    """Who signed the 32 bytes of keccak256(text) as a personal message."""
    from eth_account import Account
    from eth_account.messages import encode_defunct
    from eth_utils.crypto import keccak

    message = encode_defunct(primitive=keccak(text=text))
    return str(Account.recover_message(message, signature=signature))


def test_the_recorded_signatures_of_go_livepeer_are_understood_as_it_makes_them() -> None:
    pytest.importorskip("eth_account")
    examples = json.loads((FIXTURES / "gateway.json").read_text())["signature_examples"]
    for example in examples.values():
        assert recovered(example["message"], example["sig"]) == example["address"]


async def test_a_local_key_signs_tokens_and_jobs_like_go_livepeer(start: Start) -> None:
    pytest.importorskip("eth_account")
    orch = await start()
    async with Gateway(orch_url=orch.url, eth_key=KEY) as gw:
        assert KEY[2:] not in repr(gw)
        await gw.run_async("echo", model="small")
    said = json.loads(base64.b64decode(orch.tokens[0].headers["livepeer-eth-address"]))
    assert recovered(said["addr"], said["sig"]) == said["addr"]
    job = orch.jobs[0].job
    assert job["request"] == '{"model":"small"}'
    assert (
        job["sender"] == said["addr"] == recovered(job["request"] + job["parameters"], job["sig"])
    )


def signer(status: int = 200) -> Callable[[Any], list[Any]]:
    def other(request: Any) -> list[Any]:
        if request.path == "/sign-orchestrator-info":
            return reply({"address": "0xAbC", "signature": "0x01"})
        if request.path == "/sign-byoc-job" and status == 200:
            return reply({"sender": "0xAbC", "signature": "0x" + request.json()["id"][:8]})
        return reply("no\n", 404 if request.path != "/sign-byoc-job" else status, "text/plain")

    return other


async def test_a_remote_signer_signs_and_its_headers_reach_nobody_else(start: Start) -> None:
    orch, remote = await start(), await start(other=signer())
    token = Token((orch.url,), remote.url, {"Authorization": "Bearer signer-secret"})
    async with Gateway(token=token) as gw:
        await gw.run_async("echo", timeout=9)
        await gw.run_async("echo", timeout=9)
    asked = {request.path for request in remote.others}
    assert asked == {"/sign-orchestrator-info", "/sign-byoc-job"}
    assert all(each.headers["authorization"] == "Bearer signer-secret" for each in remote.others)
    assert "signer-secret" not in repr([*orch.tokens, *orch.jobs])
    job = orch.jobs[-1].job
    assert (job["sender"], job["sig"]) == ("0xAbC", "0x" + job["id"][:8])
    signed = [each.json() for each in remote.others if each.path == "/sign-byoc-job"]
    assert {"id", "capability", "request", "parameters", "timeout_seconds"} == set(signed[-1])


async def test_a_signer_without_byoc_signing_leaves_jobs_unsigned_and_says_so_once(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    orch, remote = await start(), await start(other=signer(404))
    async with Gateway(orch_url=orch.url, signer_url=remote.url) as gw:
        await gw.run_async("echo")
        await gw.run_async("echo")
    assert (orch.jobs[1].job["sender"], orch.jobs[1].job["sig"]) == ("0xAbC", "")
    assert caplog.text.count("no /sign-byoc-job") == 1


async def test_a_signer_that_refuses_is_named_and_nothing_is_sent(start: Start) -> None:
    orch, remote = await start(), await start(other=signer(403))
    async with Gateway(orch_url=orch.url, signer_url=remote.url) as gw:
        with pytest.raises(LivepeerError, match=r"sign-byoc-job: 403 \(are its headers right"):
            await gw.run_async("echo", validate=False)
    assert not orch.jobs


async def test_a_signer_finds_orchestrators_where_nothing_else_does(start: Start) -> None:
    orch = await start()
    entries = [{"address": orch.url, "score": 1, "capabilities": ["other"], "runners": []}]

    def other(request: Any) -> list[Any]:
        if request.path.startswith("/discover-orchestrators"):
            return reply([] if "caps" in request.path else entries)
        return signer()(request)

    remote = await start(other=other)
    async with Gateway(signer_url=remote.url) as gw:
        assert await gw.run_async("echo") == {"ok": True}
        assert [info.name for info in await gw.capabilities_async()] == ["other"]


async def test_discovery_headers_reach_discovery_alone_and_its_failures_are_told(
    start: Start,
) -> None:
    orch = await start()
    listing = await start(other=lambda _: reply([orch.url]))
    token = Token(discovery=listing.url + "/list", discovery_headers={"X-Key": "d-secret"})
    async with Gateway(token=token) as gw:
        assert await gw.run_async("echo") == {"ok": True}
    assert listing.others[0].path == "/list?caps=echo"
    assert listing.others[0].headers["x-key"] == "d-secret"
    assert "d-secret" not in repr([*orch.tokens, *orch.jobs])
    for answer, told in (
        (reply("x", 503), "knows nobody yet"),
        (reply("x", 500), "answered 500"),
        (reply("[]"), "names no orchestrator"),
        (reply("no json"), "did not answer with JSON"),
    ):
        listing.other = lambda _, answer=answer: answer
        async with Gateway(token=token) as gw:
            with pytest.raises(NoOrchestratorError, match=told) as caught:
                await gw.run_async("echo")
        assert caught.value.rejections[0].phase == "discovery"


async def test_a_model_narrows_to_the_orchestrators_that_offer_it(start: Start) -> None:
    small, large = await start(capacity=9), await start()
    entries = [
        {"address": small.url, "capabilities": ["llm/small"]},
        {"address": large.url, "capabilities": ["llm/large"]},
    ]

    def other(request: Any) -> list[Any]:
        return reply([] if "caps" in request.path else entries)

    listing = await start(other=other)
    async with Gateway(discovery_url=listing.url) as gw:
        await gw.run_async("llm", model="large")
    assert (len(small.jobs), len(large.jobs)) == (0, 1)
    assert json.loads(large.jobs[0].job["request"]) == {"model": "large"}


def test_a_key_without_the_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "eth_account", None)
    with pytest.raises(ConfigurationError, match=r"livepeer-client\[eth\]"):
        Gateway(orch_url="https://o:1", eth_key=KEY)
