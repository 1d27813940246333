"""Where a gateway's settings come from: arguments over token over environment over nothing."""

from __future__ import annotations

import base64
import binascii
import os
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, cast, get_args
from urllib.parse import urlsplit

from livepeer.client.exceptions import ConfigurationError
from livepeer.client.http.deadline import seconds
from livepeer.client.http.retries import MAX_RETRIES, retries
from livepeer.client.types import TlsMode
from livepeer.client.untrusted import loads, shown_url

DEFAULT_TIMEOUT: Final = 120.0
URL_LENGTH: Final = 2_048
SIGNER: Final = "the signer"
"""The name of a source that is a remote signer, which has a path of its own for listings."""


@dataclass(frozen=True, slots=True)
class Token:
    """Settings that can be shared as one string: standard base64 of a JSON object (see `parse`).

    `signer_headers` and `discovery_headers` are secrets, sent to those two services alone.
    """

    orchestrators: tuple[str, ...] = ()
    signer: str | None = None
    signer_headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    discovery: str | None = None
    discovery_headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, text: str) -> Token:
        """The settings in `text`: standard base64 of `{"orchestrators": [], "signer": "",
        "signer_headers": {}, "discovery": "", "discovery_headers": {}}`.

        Unknown fields are ignored. Raises `ConfigurationError`, which never quotes the token.
        """
        try:
            raw = loads(base64.b64decode(text.strip(), validate=True))
        except (binascii.Error, ValueError):  # it holds what it could not read
            raise ConfigurationError(
                "the token is not base64 of a JSON object: was it copied whole?"
            ) from None
        if not isinstance(raw, dict):
            raise ConfigurationError("the token is not a JSON object")
        orchestrators = raw.get("orchestrators") or []
        if not isinstance(orchestrators, list) or not all(
            isinstance(url, str) for url in orchestrators
        ):
            raise ConfigurationError("the token's `orchestrators` is not a list of URLs")
        return cls(
            orchestrators=urls("the token's orchestrators", orchestrators),
            signer=_optional_url(raw, "signer"),
            signer_headers=_headers(raw, "signer_headers"),
            discovery=_optional_url(raw, "discovery"),
            discovery_headers=_headers(raw, "discovery_headers"),
        )


@dataclass(frozen=True, slots=True)
class OrchestratorSource:
    """One place to learn orchestrators from: a fixed list, or a service that is asked for one."""

    name: str
    orchestrators: tuple[str, ...] = ()
    service: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Config:
    """A gateway's settings, resolved and checked. The repr shows no secret."""

    gateway: str | None = None
    sources: tuple[OrchestratorSource, ...] = ()
    """In the order in which they are asked; the first that names anyone is used."""
    signer: str | None = None
    signer_headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    eth_key: str | None = field(default=None, repr=False)
    tls: TlsMode | ssl.SSLContext = "verify"
    max_price: Fraction | None = None
    max_spend: Fraction | None = None
    timeout: float = DEFAULT_TIMEOUT
    trickle_hosts: frozenset[str] = frozenset()
    """`host` or `host:port` where channels of live streams may be beside the orchestrator's own."""
    max_retries: int = MAX_RETRIES

    @classmethod
    def resolve(
        cls,
        *,
        orch_url: str | Iterable[str] | None = None,
        gateway_url: str | None = None,
        discovery_url: str | None = None,
        signer_url: str | None = None,
        token: str | Token | None = None,
        eth_key: str | None = None,
        tls: TlsMode | ssl.SSLContext | None = None,
        max_price: float | Fraction | None = None,
        max_spend: float | Fraction | None = None,
        timeout: float | None = None,
        trickle_hosts: str | Iterable[str] | None = None,
        max_retries: int | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Config:
        env = os.environ if environ is None else environ
        given = token if token is not None else _env(env, "LIVEPEER_TOKEN")
        parsed = Token.parse(given) if isinstance(given, str) else given or Token()
        signer = url("signer_url", signer_url) if signer_url is not None else parsed.signer
        signer = signer or _env_url(env, "LIVEPEER_SIGNER_URL")
        # A header belongs to the address it came with: another signer never gets it.
        signer_headers = parsed.signer_headers if signer == parsed.signer else {}

        explicit = _road(
            "an argument",
            urls("orch_url", _split(orch_url)),
            url("gateway_url", gateway_url) if gateway_url is not None else None,
            url("discovery_url", discovery_url) if discovery_url is not None else None,
        )
        from_token = _token_sources(parsed)
        # A road that is named at one level hides those of the levels below: whoever passes
        # `orch_url` must not end up at a gateway that some environment variable names.
        gateway, sources = explicit
        if token is not None and not gateway:
            sources = sources + from_token
        if not (gateway or sources):
            sources = from_token
        if not (gateway or sources):
            gateway, sources = _road(
                "the environment",
                urls("LIVEPEER_ORCH_URL", _split(_env(env, "LIVEPEER_ORCH_URL"))),
                _env_url(env, "LIVEPEER_GATEWAY_URL"),
                _env_url(env, "LIVEPEER_DISCOVERY_URL"),
            )
        if signer and not gateway:
            asked = OrchestratorSource(SIGNER, service=signer, headers=signer_headers)
            sources = (*sources, asked)

        return cls(
            gateway=gateway,
            sources=sources,
            signer=signer,
            signer_headers=signer_headers,
            eth_key=eth_key or _env(env, "LIVEPEER_ETH_KEY"),
            tls=_tls(tls if tls is not None else _env(env, "LIVEPEER_TLS")),
            max_price=wei("max_price", max_price),
            max_spend=wei("max_spend", max_spend),
            timeout=seconds(DEFAULT_TIMEOUT if timeout is None else timeout),
            trickle_hosts=_hosts(
                _env(env, "LIVEPEER_TRICKLE_HOSTS") if trickle_hosts is None else trickle_hosts
            ),
            max_retries=MAX_RETRIES if max_retries is None else retries(max_retries),
        )


def url(name: str, value: str) -> str:
    """`value` as a base URL without a slash at its end, or a precise `ConfigurationError`."""
    text = value.strip()
    if "://" not in text:
        shown = shown_url(text)
        hint = f"https://{shown}" if text else "https://host:8935"
        raise ConfigurationError(f"{name} needs its scheme: {hint!r}, not {shown!r}")
    if not text.isprintable() or " " in text:  # urlsplit passes over some of them
        raise ConfigurationError(f"{name} is not a URL: {shown_url(text)!r}")
    if len(text) > URL_LENGTH:
        raise ConfigurationError(f"{name} is not a URL: it has {len(text):,} letters")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:  # it may quote a password
        raise ConfigurationError(f"{name} is not a URL: {shown_url(text)!r}") from None
    if parts.username or parts.password:
        raise ConfigurationError(f"{name} may not hold a user or a password")
    if parts.scheme not in ("http", "https") or not host or port == 0:
        raise ConfigurationError(f"{name} is not an http(s) URL: {shown_url(text)!r}")
    return text.rstrip("/")


def urls(name: str, values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(url(name, value) for value in values if value.strip()))


def _road(
    where: str, orchestrators: tuple[str, ...], gateway: str | None, discovery: str | None
) -> tuple[str | None, tuple[OrchestratorSource, ...]]:
    if gateway and (orchestrators or discovery):
        raise ConfigurationError(
            f"{where} names a gateway and orchestrators (or discovery) too, which are two different"
            " roads: set one of gateway_url and orch_url/discovery_url"
        )
    sources: tuple[OrchestratorSource, ...] = ()
    if orchestrators:
        sources += (OrchestratorSource("orch_url", orchestrators),)
    if discovery:
        sources += (OrchestratorSource("discovery_url", service=discovery),)
    return gateway, sources


def _token_sources(token: Token) -> tuple[OrchestratorSource, ...]:
    sources: tuple[OrchestratorSource, ...] = ()
    if token.orchestrators:
        sources += (OrchestratorSource("the token's orchestrators", token.orchestrators),)
    if token.discovery:
        headers = token.discovery_headers
        sources += (
            OrchestratorSource("the token's discovery", service=token.discovery, headers=headers),
        )
    return sources


def _hosts(value: object) -> frozenset[str]:
    names = _split(value, "trickle_hosts is a host or a list of hosts")
    for name in names:
        if "/" in name or "@" in name:
            raise ConfigurationError(
                f"trickle_hosts are `host` or `host:port`, not {shown_url(name)!r}"
            )
    return frozenset(name.lower() for name in names)


def _split(value: object, wanted: str = "orch_url is a URL or a list of URLs") -> list[str]:
    if value is None:
        return []
    if isinstance(value, str):
        return value.replace(",", " ").split()
    found: list[str] = []
    for each in value if isinstance(value, Iterable) else [value]:
        if not isinstance(each, str):
            raise ConfigurationError(f"{wanted}, not {shown_url(repr(each))}")
        found.append(each)
    return found


def _env(env: Mapping[str, str], name: str) -> str | None:
    if value := env.get(name, "").strip():
        return value
    if path := env.get(f"{name}_FILE", "").strip():
        try:
            return Path(path).read_text(encoding="utf-8").strip() or None
        except OSError as error:
            raise ConfigurationError(f"{name}_FILE cannot be read: {error}") from error
    return None


def _env_url(env: Mapping[str, str], name: str) -> str | None:
    value = _env(env, name)
    return url(name, value) if value is not None else None


def wei(name: str, value: float | Fraction | None) -> Fraction | None:
    """An amount, or a price, as it was given. Raises `ConfigurationError` for what is none."""
    try:
        # 0.303 is meant as it is written, and not as the binary number just below it.
        exact = float.__repr__(value) if isinstance(value, float) else value
        price = None if exact is None else Fraction(exact)
    except (TypeError, ValueError, OverflowError):
        price = Fraction(-1)
    if price is not None and price < 0:
        raise ConfigurationError(f"{name} has to be 0 or more (wei), not {value!r}")
    return price


def _tls(value: object) -> TlsMode | ssl.SSLContext:
    if value is None:
        return "verify"
    if isinstance(value, ssl.SSLContext):
        return value
    mode = value.lower() if isinstance(value, str) else ""
    if mode not in get_args(TlsMode):
        raise ConfigurationError(f"tls has to be 'verify', 'pin' or 'insecure', not {value!r}")
    return cast(TlsMode, mode)


def _optional_url(raw: Mapping[str, Any], key: str) -> str | None:
    value = raw.get(key)
    if not value:
        return None
    if not isinstance(value, str):
        raise ConfigurationError(f"the token's `{key}` is not a URL")
    return url(f"the token's `{key}`", value)


def _headers(raw: Mapping[str, Any], key: str) -> dict[str, str]:
    value = raw.get(key) or {}
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise ConfigurationError(f"the token's `{key}` is not an object of strings")
    return dict(value)
