"""What the environment says: where a pipeline runs, as `Settings.from_env()` reads it.

Every variable of the runner is read here and nowhere else. Where a variable has an older name
(`ORCH_URL`, `CAPABILITY_NAME`, ... as hand-made BYOC containers use them), the `LIVEPEER_` one
wins. A variable that is empty counts as not set.

| Variable | Older name | Default | Meaning |
| --- | --- | --- | --- |
| `HOST`, `PORT` | | `0.0.0.0`, `8000` | where the container listens |
| `LIVEPEER_CAPACITY` | `CAPABILITY_CAPACITY` | the class | jobs and streams at once |
| `LIVEPEER_QUEUE_TIMEOUT` | | the class | seconds that a call may wait for a slot; 0: none |
| `LIVEPEER_QUEUE_SIZE` | | the class | calls that may wait at once |
| `LIVEPEER_MODEL_DIR` | | `/models`, else the user's cache | where weights live |
| `PREPARE_MODELS` | | `0` | `1`: run `prepare_models()` and exit |
| `LIVEPEER_HEALTH` | | `always-200` | `strict`: `/health` is 503 while LOADING |
| `LIVEPEER_LOG_FORMAT` | | `plain` | or `json` |
| `LIVEPEER_LOG_LEVEL` | | `info` | `debug`, `info`, `warning`, `error` |
| `LIVEPEER_MAX_BODY_MB` | | `128` | largest request body |
| `LIVEPEER_MAX_FILE_MB` | | `128` | largest file fetched from a URL |
| `LIVEPEER_FETCH_TIMEOUT` | | `30` | seconds for one file, redirects included |
| `LIVEPEER_ALLOW_PRIVATE_URLS` | | `0` | `1`: fetch files from private addresses too |
| `LIVEPEER_DRAIN_TIMEOUT` | | `30` | seconds that running jobs get after SIGTERM |
| `LIVEPEER_TLS` | | `pin` | `verify`, `pin`, `insecure`: towards orchestrators |
| `LIVEPEER_TRICKLE_HOSTS` | | | further hosts (comma-separated) streams may use |
| `LIVEPEER_ORCH_URL` | `ORCH_URL` | | orchestrators, comma-separated; none: just serve |
| `LIVEPEER_ORCH_SECRET` | `ORCH_SECRET`, `ORCH_TOKEN` | | their secret |
| `LIVEPEER_ORCH_SECRET_FILE` | `ORCH_SECRET_FILE` | | the same in a file; a line for each URL |
| `LIVEPEER_CAPABILITY_NAME` | `CAPABILITY_NAME` | the pipeline's id | name at the orchestrators |
| `LIVEPEER_CAPABILITY_URL` | `CAPABILITY_URL` | guessed | where orchestrators reach us |
| `LIVEPEER_PRICE_PER_UNIT` | `CAPABILITY_PRICE_PER_UNIT` | `0` | whole number; 0 is free |
| `LIVEPEER_PRICE_SCALING` | `CAPABILITY_PRICE_SCALING` | `1` | the price is divided by it |
| `LIVEPEER_CURRENCY` | `CAPABILITY_CURRENCY` | `wei` | per second of compute |
| `LIVEPEER_REGISTRATION` | | `byoc` | or `live-runner`, or `both`: go-livepeer's registry |
| `LIVEPEER_APP` | | the capability's name | what callers of live runners ask for: `org/name` |
| `LIVEPEER_APP_PRICE` | | `0` | USD for each unit; on a chain above 0 |
| `LIVEPEER_APP_PRICE_UNIT` | | `hour` | or `720p`, `fixed` (a request) |
| `LIVEPEER_IMAGE` | | | `repository@sha256:...`, which live runners tell the public |
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

from livepeer.runner.environment import Environment
from livepeer.runner.secret import Secret

__all__ = [
    "Limits",
    "OrchestratorAddress",
    "RegistrationSettings",
    "Secret",
    "Settings",
    "TLSMode",
]

TLSMode = Literal["verify", "pin", "insecure"]
RegistrationKind = Literal["byoc", "live-runner", "both"]
PriceUnit = Literal["hour", "720p", "fixed"]
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what one caller can ask for. Sizes in bytes, times in seconds."""

    max_body: int = 128 * MIB
    max_file: int = 128 * MIB
    fetch_timeout: float = 30.0
    drain_timeout: float = 30.0


@dataclass(frozen=True, slots=True)
class OrchestratorAddress:
    """One orchestrator: `url` without a slash at its end, and the secret it was started with."""

    url: str
    secret: Secret


@dataclass(frozen=True, slots=True)
class RegistrationSettings:
    """How to attach; None for what the pipeline decides (its name) or the SDK guesses (its URL)."""

    orchestrators: tuple[OrchestratorAddress, ...]
    kind: RegistrationKind = "byoc"
    capability_name: str | None = None
    capability_url: str | None = None
    price_per_unit: int = 0
    price_scaling: int = 1
    currency: str = "wei"
    app: str | None = None
    app_price: float = 0.0
    app_price_unit: PriceUnit = "hour"
    image: str | None = None
    identity: Secret | None = None
    """What makes processes that serve in turn the same one to their callers."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that the environment decides; the class decides the rest.

    `capacity`, `queue_timeout` and `queue_size` are None where the class decides. `registration` is
    None where no orchestrator is named. `allow_private_urls`: file inputs may be fetched from
    loopback and private addresses.
    """

    host: str = "0.0.0.0"
    port: int = 8000
    capacity: int | None = None
    queue_timeout: float | None = None
    queue_size: int | None = None
    model_dir: Path = field(default_factory=lambda: _default_model_dir())
    prepare_models: bool = False
    strict_health: bool = False
    log_format: Literal["plain", "json"] = "plain"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    limits: Limits = Limits()
    allow_private_urls: bool = False
    tls: TLSMode = "pin"
    trickle_hosts: tuple[str, ...] = ()
    registration: RegistrationSettings | None = None

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read `environ` (default: the process's own).

        Raises `SettingsError` that lists every variable that is wrong and what to write instead.
        """
        env = Environment(os.environ if environ is None else environ)
        settings = cls(
            host=env.text("HOST") or "0.0.0.0",
            port=env.whole("PORT", default=8000, low=0, high=65535),
            capacity=env.optional_whole("LIVEPEER_CAPACITY", "CAPABILITY_CAPACITY", low=1),
            queue_timeout=env.optional_seconds("LIVEPEER_QUEUE_TIMEOUT"),
            queue_size=env.optional_whole("LIVEPEER_QUEUE_SIZE", low=0),
            model_dir=env.path("LIVEPEER_MODEL_DIR") or _default_model_dir(),
            prepare_models=env.flag("PREPARE_MODELS"),
            strict_health=env.choice("LIVEPEER_HEALTH", "always-200", "strict") == "strict",
            log_format=cast(
                'Literal["plain", "json"]', env.choice("LIVEPEER_LOG_FORMAT", "plain", "json")
            ),
            log_level=cast(
                'Literal["debug", "info", "warning", "error"]',
                env.choice("LIVEPEER_LOG_LEVEL", "info", "debug", "warning", "error"),
            ),
            limits=Limits(
                max_body=env.whole("LIVEPEER_MAX_BODY_MB", default=128, low=1) * MIB,
                max_file=env.whole("LIVEPEER_MAX_FILE_MB", default=128, low=1) * MIB,
                fetch_timeout=env.seconds("LIVEPEER_FETCH_TIMEOUT", default=30.0),
                drain_timeout=env.seconds("LIVEPEER_DRAIN_TIMEOUT", default=30.0),
            ),
            allow_private_urls=env.flag("LIVEPEER_ALLOW_PRIVATE_URLS"),
            tls=cast(TLSMode, env.choice("LIVEPEER_TLS", "pin", "verify", "insecure")),
            trickle_hosts=env.listed("LIVEPEER_TRICKLE_HOSTS"),
            registration=_registration(env),
        )
        env.raise_problems()
        return settings


def _registration(env: Environment) -> RegistrationSettings | None:
    urls = env.urls("LIVEPEER_ORCH_URL", "ORCH_URL")
    if not urls:
        return None
    secrets = _secrets(env, len(urls))
    return RegistrationSettings(
        orchestrators=tuple(
            OrchestratorAddress(url, secret) for url, secret in zip(urls, secrets, strict=False)
        ),
        kind=cast(
            RegistrationKind,
            env.choice("LIVEPEER_REGISTRATION", "byoc", "live-runner", "both"),
        ),
        capability_name=env.text("LIVEPEER_CAPABILITY_NAME", "CAPABILITY_NAME"),
        capability_url=env.url("LIVEPEER_CAPABILITY_URL", "CAPABILITY_URL"),
        price_per_unit=env.whole(
            "LIVEPEER_PRICE_PER_UNIT", "CAPABILITY_PRICE_PER_UNIT", default=0, low=0
        ),
        price_scaling=env.whole(
            "LIVEPEER_PRICE_SCALING", "CAPABILITY_PRICE_SCALING", default=1, low=1
        ),
        currency=env.text("LIVEPEER_CURRENCY", "CAPABILITY_CURRENCY") or "wei",
        app=env.text("LIVEPEER_APP"),
        app_price=env.optional_number("LIVEPEER_APP_PRICE") or 0.0,
        app_price_unit=cast(
            PriceUnit, env.choice("LIVEPEER_APP_PRICE_UNIT", "hour", "720p", "fixed")
        ),
        image=_image(env),
    )


def _image(env: Environment) -> str | None:
    image = env.text("LIVEPEER_IMAGE")
    if image is not None and re.fullmatch(r"[^@\s]+@sha256:[0-9a-f]{64}", image) is None:
        env.problem("LIVEPEER_IMAGE", "is no repository@sha256:..., as livepeer push prints it")
        return None
    return image


def _secrets(env: Environment, urls: int) -> list[Secret]:
    """One secret for all orchestrators, or a file with a line for each."""
    if (value := env.text("LIVEPEER_ORCH_SECRET")) is not None:
        return [Secret(value)] * urls
    name, lines = env.file_lines("LIVEPEER_ORCH_SECRET_FILE", "ORCH_SECRET_FILE")
    if name is not None and name.startswith("LIVEPEER_"):
        return env.one_for_each(name, lines, urls)
    if (value := env.text("ORCH_SECRET", "ORCH_TOKEN")) is not None:
        return [Secret(value)] * urls
    if name is not None:
        return env.one_for_each(name, lines, urls)
    env.problem(
        "LIVEPEER_ORCH_SECRET",
        "is missing: set it to the secret that the orchestrator was started with (-orchSecret), "
        "or LIVEPEER_ORCH_SECRET_FILE to a file that holds it",
    )
    return []


def _default_model_dir() -> Path:
    """`/models` where there is one (an image made by `livepeer build`), else the user's cache."""
    image_dir = Path("/models")
    if image_dir.is_dir():
        return image_dir
    from platformdirs import user_cache_path

    return user_cache_path("livepeer") / "models"
