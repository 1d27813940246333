"""Where settings come from, and what of them is never shown."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from livepeer.client import ConfigurationError, Gateway, Token
from livepeer.client.config import Config


def token_of(**fields: Any) -> str:
    return base64.b64encode(json.dumps(fields).encode()).decode()


FULL = token_of(
    orchestrators=["https://token-orch:1/"],
    signer="https://token-signer",
    signer_headers={"Authorization": "Bearer signer-secret"},
    discovery="https://token-discovery/list",
    discovery_headers={"X-Key": "discovery-secret"},
    something_new=True,
)


def places(config: Config) -> list[Any]:
    return [source.service or list(source.orchestrators) for source in config.sources]


def test_arguments_win_over_the_token_and_the_token_over_the_environment() -> None:
    environ = {"LIVEPEER_ORCH_URL": "https://env:1, https://env:2", "LIVEPEER_TOKEN": FULL}
    only_env = Config.resolve(environ={"LIVEPEER_ORCH_URL": environ["LIVEPEER_ORCH_URL"]})
    assert places(only_env) == [["https://env:1", "https://env:2"]]
    with_token = Config.resolve(environ=environ)
    signers = "https://token-signer"
    assert places(with_token) == [
        ["https://token-orch:1"],
        "https://token-discovery/list",
        signers,
    ]
    explicit = Config.resolve(orch_url="https://mine:1", environ=environ)
    assert places(explicit) == [["https://mine:1"], signers]
    both = Config.resolve(discovery_url="https://d", token=FULL, environ={})
    assert places(both) == [
        "https://d",
        ["https://token-orch:1"],
        "https://token-discovery/list",
        signers,
    ]


def test_a_gateway_of_the_environment_is_hidden_by_an_explicit_orchestrator() -> None:
    environ = {"LIVEPEER_GATEWAY_URL": "http://gw:8935"}
    assert Config.resolve(environ=environ).gateway == "http://gw:8935"
    config = Config.resolve(orch_url="https://mine:1", environ=environ)
    assert config.gateway is None and places(config) == [["https://mine:1"]]
    config = Config.resolve(gateway_url="http://mine", token=FULL, environ={})
    assert config.gateway == "http://mine" and config.sources == ()


def test_headers_go_with_the_address_they_came_with_and_with_no_other() -> None:
    config = Config.resolve(token=FULL, environ={})
    assert config.signer_headers == {"Authorization": "Bearer signer-secret"}
    other = Config.resolve(token=FULL, signer_url="https://other-signer", environ={})
    assert other.signer == "https://other-signer" and other.signer_headers == {}
    found = Config.resolve(token=FULL, discovery_url="https://other", environ={})
    assert found.sources[0].headers == {}


def test_secrets_are_in_no_repr() -> None:
    config = Config.resolve(token=FULL, eth_key="0x" + "ab" * 32, environ={})
    shown = repr(config) + repr(Token.parse(FULL)) + repr(Gateway(token=FULL))
    assert "secret" not in shown and "abab" not in shown and FULL not in shown


def test_a_secret_may_be_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(FULL + "\n")
    assert Config.resolve(environ={"LIVEPEER_TOKEN_FILE": str(path)}).signer
    with pytest.raises(ConfigurationError, match="LIVEPEER_TOKEN_FILE"):
        Config.resolve(environ={"LIVEPEER_TOKEN_FILE": str(tmp_path / "none")})


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"orch_url": "orch:8935"}, "needs its scheme: 'https://orch:8935'"),
        ({"orch_url": "ftp://orch"}, "not an http"),
        ({"orch_url": "https://user:pw@orch"}, "user or a password"),
        ({"orch_url": "https://orch:99999999"}, "not a URL"),
        ({"orch_url": ["https://or\x1b[2Jch"]}, "not a URL"),
        ({"orch_url": ["https://or\nch"]}, "not a URL"),
        ({"orch_url": "https://" + "a" * 3000}, "3,008 letters"),
        ({"gateway_url": ""}, "needs its scheme"),
        ({"orch_url": "https://a", "gateway_url": "http://b"}, "two different roads"),
        ({"tls": "maybe"}, "'verify', 'pin' or 'insecure'"),
        ({"token": "%%%"}, "not base64"),
        ({"token": base64.b64encode(b"[]").decode()}, "not a JSON object"),
        ({"token": token_of(orchestrators="x")}, "not a list"),
        ({"token": token_of(signer=7)}, "`signer` is not a URL"),
        ({"token": token_of(signer_headers=["x"])}, "not an object of strings"),
        ({"max_price": -1}, "max_price"),
        ({"max_price": "cheap"}, "max_price"),
        ({"orch_url": 7}, "orch_url is a URL or a list of URLs, not 7"),
        ({"orch_url": ["https://a", None]}, "not None"),
        ({"tls": 3}, "'verify', 'pin' or 'insecure', not 3"),
        ({"timeout": "3"}, "timeout has to be a positive number of seconds, not '3'"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": 10**400}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"eth_key": "not-a-key"}, "eth_key is not a private key"),
    ],
)
def test_a_wrong_setting_is_named_and_secrets_are_not_quoted(
    settings: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigurationError, match=told) as caught:
        Gateway(**settings)
    assert isinstance(caught.value, ValueError)
    assert "pw" not in str(caught.value) and "not-a-key" not in str(caught.value)


async def test_nothing_set_says_what_to_set() -> None:
    with pytest.raises(ConfigurationError, match=r"--orch.*LIVEPEER_ORCH_URL.*livepeer dev"):
        await Gateway().run_async("echo")
    with pytest.raises(ConfigurationError, match=r"^http://127.0.0.1:8000 is an address"):
        await Gateway().run_async("http://127.0.0.1:8000")
