"""`livepeer live`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from livepeer.client.cli import options as opt
from livepeer.client.cli.recording import SessionRecording, load, media_file
from livepeer.client.cli.values import read_inputs
from livepeer.trickle.cli.console import emit, note

if TYPE_CHECKING:
    from livepeer.client.gateway import Gateway
    from livepeer.client.live.session import LiveSession

app = typer.Typer(add_completion=False, rich_markup_mode="rich")

END_LIMIT = 30.0
"""How long a pipeline whose input is over may take to end, in seconds."""
LAST_WORDS = 2.0
"""How long records and events may still come once the session is over, in seconds."""
REPORTS = frozenset({"status", "error", "stream_ended"})
"""Events that say how a stream is, and are no part of what it makes."""


@app.command(epilog=opt.EPILOG)
def live(
    capability: opt.CapabilityName,
    input: Annotated[
        Path | None,
        typer.Option("-i", "--input", exists=True, dir_okay=False, help="Video or sound to send."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", callback=media_file, help="Where to keep what comes out."),
    ] = None,
    params: Annotated[
        list[str] | None,
        typer.Option("-p", "--param", metavar="K=V", help="A live parameter, as with -i of run."),
    ] = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="Send as fast as it can, not as fast as it is shown.")
    ] = False,
    events: Annotated[bool, typer.Option("--events", help="Print its reports too.")] = False,
    seconds: Annotated[
        float | None, typer.Option("--seconds", help="End after so long.", min=0)
    ] = None,
    model: opt.Model = None,
    timeout: opt.Timeout = None,
    max_price: opt.MaxPrice = None,
    max_spend: opt.MaxSpend = None,
    yes: opt.Yes = False,
    orch: opt.Orch = None,
    gateway: opt.ViaGateway = None,
    discovery: opt.DiscoveryUrl = None,
    signer: opt.SignerUrl = None,
    token: opt.TokenText = None,
    tls: opt.Tls = None,
) -> None:
    """Send video or sound through a live pipeline and keep what comes out.

    livepeer live live-tint -i in.mp4 -o out.mp4 -p u=90

    livepeer live radio -o out.wav --seconds 10

    Without -i it is a pipeline that makes its own. Records of the pipeline are printed, one line of
    JSON each, its own events beside them on standard error.
    """
    settings = {
        "orch_url": orch,
        "gateway_url": gateway,
        "discovery_url": discovery,
        "signer_url": signer,
        "token": token,
        "tls": tls,
        "max_price": max_price,
        "max_spend": max_spend,
    }
    wanted: dict[str, Any] = {
        "params": read_inputs(params) or None,
        "model": model,
        "timeout": timeout,
        "publish": input is not None,
        "subscribe": output is not None,
    }
    with opt.gateway(**settings) as gw:
        if input is not None:
            _check(input)
        if output is not None:
            load()
        opt.agreed(gw, settings, capability, yes=yes)
        try:
            asyncio.run(_live(gw, capability, wanted, input, output, not fast, events, seconds))
            opt.paid(gw)
        except asyncio.CancelledError:
            raise typer.Exit(128 + signal.SIGTERM) from None


def _check(source: Path) -> None:
    """Refuse a file that is no video before anything is started."""
    from livepeer.client.live.media import media

    try:
        frames = media().decode(source)
        try:
            next(frames)
        finally:
            frames.close()
    except (ValueError, StopIteration) as error:
        told = str(error) or f"{source} has neither pictures nor sound"
        raise typer.BadParameter(told, param_hint="-i") from error


async def _live(
    gw: Gateway,
    capability: str,
    wanted: dict[str, Any],
    source: Path | None,
    target: Path | None,
    realtime: bool,
    events: bool,
    seconds: float | None,
) -> None:
    # Whoever is told to end tells the orchestrator first, or the stream would keep its place.
    if (task := asyncio.current_task()) is not None and sys.platform != "win32":
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with gw, gw.live(capability, **wanted) as session:
        note(f"stream {session.stream_id} at {session.orchestrator}")
        for name, url in session.urls.items():
            note(f"{name}: {url}")
        printing = [asyncio.create_task(_print_data(session))]
        if not session.urls:  # a gateway keeps the events to itself
            printing.append(asyncio.create_task(_print_events(session, reports=events)))
        publication = session.publish_file(source, realtime=realtime) if source else None
        try:
            async with asyncio.timeout(seconds):
                if target:
                    await SessionRecording(session, target).run()
                elif publication:
                    await publication
                    note(f"{source} is sent")
                # All is sent and received: what is left are the pipeline's last records.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(END_LIMIT if source or target else None):
                        await session.wait()
                await asyncio.wait(printing, timeout=LAST_WORDS)
        except TimeoutError:
            note(f"ended after {seconds:g} s")
        finally:
            for task in printing:
                task.cancel()
            await asyncio.gather(*printing, return_exceptions=True)


async def _print_data(session: LiveSession) -> None:
    async for record in session.data():
        emit(record)


async def _print_events(session: LiveSession, *, reports: bool) -> None:
    async for event in session.events():
        if reports or event.get("type") not in REPORTS:
            note(json.dumps(event))
