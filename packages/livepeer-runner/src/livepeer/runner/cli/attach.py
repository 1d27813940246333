"""`livepeer attach`."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from livepeer.trickle.cli.console import fail, note

if TYPE_CHECKING:
    from collections.abc import Callable

    from livepeer.runner.registration import Capability, Registration
    from livepeer.runner.settings import Settings

app = typer.Typer(add_completion=False, rich_markup_mode="rich")

EPILOG = """Examples:

LIVEPEER_ORCH_URL=https://orch:8935 LIVEPEER_ORCH_SECRET_FILE=secret \\
livepeer attach --url http://10.0.0.5:9000 --app acme/upscale --capacity 4

livepeer attach --url http://10.0.0.5:9000 --app acme/chat --mode persistent

livepeer attach --url http://10.0.0.5:8000 --app acme/upscale --print runners.json"""

LOOK_SECONDS = 5.0
"""Between two looks whether the service is there."""
LOOK_LIMIT_SECONDS = 3.0
MISSED = 3
"""Looks in a row that find nobody, after which the service is taken back."""


@app.command(epilog=EPILOG)
def attach(
    url: Annotated[
        str, typer.Option(help="Where orchestrators reach the service, such as http://host:9000.")
    ],
    app_name: Annotated[
        str | None,
        typer.Option("--app", metavar="ORG/NAME", help="What callers ask for; default: its host."),
    ] = None,
    capacity: Annotated[int, typer.Option(min=1, help="Requests or sessions at once.")] = 1,
    mode: Annotated[
        str, typer.Option(help="single-shot (request by request) or persistent (in sessions).")
    ] = "single-shot",
    kind: Annotated[
        str,
        typer.Option(
            "--registration",
            envvar="LIVEPEER_REGISTRATION",
            show_envvar=False,
            help="live-runner, byoc or both. A BYOC service gets POST only.",
        ),
    ] = "live-runner",
    health: Annotated[
        str, typer.Option(help="A path that answers 200 when the service is ready.")
    ] = "",
    static: Annotated[
        str | None,
        typer.Option(
            "--print",
            metavar="FILE",
            help="Write the entry for an orchestrator's -liveRunnerConfig (- prints it), and end.",
        ),
    ] = None,
) -> None:
    """Keep any HTTP service attached to the network, whatever it is written in, until Ctrl-C.

    The environment names the orchestrators and the price, as for `livepeer serve`. The service has
    to let in whoever its network lets reach it: put it where only the orchestrator does.

    Requests go from the orchestrator to the service, past this process: a session that its caller
    leaves open is seen by the service alone, and holds its place until the service ends it.
    """
    from livepeer.runner.cli import options
    from livepeer.runner.registration import Capability
    from livepeer.runner.settings import RegistrationSettings, Settings

    with options.explained():
        settings = Settings.from_env()
    wanted = settings.registration or RegistrationSettings(())
    name = app_name or wanted.app or urlsplit(url).hostname or ""
    choices: dict[str, Any] = {"mode": mode}
    try:
        capability = Capability(
            name=wanted.capability_name or name,
            url=url,
            capacity=settings.capacity or capacity,
            price_per_unit=wanted.price_per_unit,
            price_scaling=wanted.price_scaling,
            currency=wanted.currency,
            app=name,
            price_usd=wanted.app_price,
            price_unit=wanted.app_price_unit,
            **choices,
        )
        if static is not None:
            _write(static, capability, health or "/ready")
            return
        if settings.registration is None:
            fail(
                "no orchestrator is named",
                hint="Set LIVEPEER_ORCH_URL and LIVEPEER_ORCH_SECRET (or ..._FILE).",
                code=2,
            )
        make = _maker(settings, capability, kind)
        make()  # what is wrong is said before anything begins
    except ValueError as error:
        fail(error, code=2)
    if mode == "persistent" and kind != "byoc":
        note(
            "requests go past this process: a session whose caller sends none any more holds its "
            "place, so end it yourself (docs/operators.md)"
        )
    from livepeer.runner import logs

    logs.configure(settings.log_format, settings.log_level)
    asyncio.run(_until_stopped(make, url, health, settings.limits.drain_timeout))


def _maker(settings: Settings, capability: Capability, kind: Any) -> Callable[[], Registration]:
    from livepeer.runner.registration import Registration

    wanted = settings.registration
    assert wanted is not None

    def make() -> Registration:
        return Registration(
            [address.url for address in wanted.orchestrators],
            [address.secret for address in wanted.orchestrators],
            capability=capability,
            tls=settings.tls,
            kind=kind,
        )

    return make


async def _until_stopped(
    make: Callable[[], Registration], url: str, health: str, drain_seconds: float
) -> None:
    """Attached as long as the service is there: one that is gone is not to be sent anybody."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):  # Windows, where Ctrl-C ends it at once
            loop.add_signal_handler(number, stop.set)
    while not stop.is_set():
        waited = False
        while not await _is_there(url, health):
            if not waited:
                note(f"waiting for the service at {url}{health}")
                waited = True
            if await _within(stop, 1.0):
                return
        async with make() as registration:
            missed = 0
            while missed < MISSED and not await _within(stop, LOOK_SECONDS):
                missed = 0 if await _is_there(url, health) else missed + 1
            if stop.is_set():
                note("taking leave: no new work, what runs may finish")
                await _drained(registration, drain_seconds)
            else:
                note(f"the service at {url} is gone: it is taken back until it returns")


async def _drained(registration: Registration, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await registration.drain()
            while any(  # noqa: ASYNC110 — a state is a value, it tells nobody
                state.status == "registered" for state in registration.state
            ):
                await asyncio.sleep(0.1)


async def _within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


async def _is_there(url: str, health: str) -> bool:
    """Whether its health answers 200, or somebody listens at all where no health was named."""
    import aiohttp

    parts = urlsplit(url)
    try:
        async with asyncio.timeout(LOOK_LIMIT_SECONDS):
            if not health:
                port = parts.port or (443 if parts.scheme == "https" else 80)
                _, writer = await asyncio.open_connection(parts.hostname, port)
                writer.close()
                return True
            async with (
                aiohttp.ClientSession() as session,
                session.get(url.rstrip("/") + health, allow_redirects=False) as response,
            ):
                return response.status == 200
    except (OSError, TimeoutError, aiohttp.ClientError):
        return False


def _write(target: str, capability: Capability, health: str) -> None:
    """The entry as go-livepeer's `-liveRunnerConfig` has it."""
    import json
    from pathlib import Path

    from livepeer.runner.attach.live_runner.record import static_entry

    entry = static_entry(capability, capability.app or capability.name, health=health)
    text = json.dumps({"runners": [entry]}, indent=2)
    if target == "-":
        print(text)
        return
    try:
        Path(target).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        fail(f"cannot write {target}: {error.strerror}")
    note(f"{target} is for -liveRunnerConfig, or POST it to the orchestrator's registerLiveRunners")
