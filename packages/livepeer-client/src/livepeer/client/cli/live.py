"""`livepeer live`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import queue
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from livepeer.client.cli import options as opt
from livepeer.client.cli.values import read_inputs
from livepeer.trickle.cli.console import emit, note, progress, writable

if TYPE_CHECKING:
    from livepeer.client.gateway import Gateway
    from livepeer.client.sessions import LiveSession

app = typer.Typer(add_completion=False, rich_markup_mode="rich")

#: Containers by the ending of the output's name; any other is MPEG-TS.
FORMATS = {".mp4": "mp4", ".mkv": "matroska", ".webm": "webm", ".mov": "mov"}


@app.command(epilog=opt.EPILOG)
def live(
    capability: Annotated[str, typer.Argument(help="The name of the capability.")],
    input: Annotated[
        Path | None,
        typer.Option("-i", "--input", exists=True, dir_okay=False, help="The video to send."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", callback=writable, help="Where to keep what comes out."),
    ] = None,
    params: Annotated[
        list[str] | None,
        typer.Option("-p", "--param", metavar="K=V", help="A live parameter, as with -i of run."),
    ] = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="Send as fast as it can, not as fast as it is shown.")
    ] = False,
    events: Annotated[bool, typer.Option("--events", help="Print events too.")] = False,
    seconds: Annotated[
        float | None, typer.Option("--seconds", help="End after so long.", min=0)
    ] = None,
    model: opt.Model = None,
    timeout: opt.Timeout = None,
    max_price: opt.MaxPrice = None,
    orch: opt.Orch = None,
    gateway: opt.ViaGateway = None,
    discovery: opt.DiscoveryUrl = None,
    signer: opt.SignerUrl = None,
    token: opt.TokenText = None,
    tls: opt.Tls = None,
) -> None:
    """Send a video through a live pipeline and keep what comes out.

    livepeer live live-tint -i in.mp4 -o out.mp4 -p u=90

    Records of the pipeline are printed, one line of JSON each.
    """
    settings = {
        "orch_url": orch,
        "gateway_url": gateway,
        "discovery_url": discovery,
        "signer_url": signer,
        "token": token,
        "tls": tls,
        "max_price": max_price,
    }
    wanted: dict[str, Any] = {
        "params": read_inputs(params) or None,
        "model": model,
        "timeout": timeout,
        "publish": input is not None,
        "subscribe": output is not None,
    }
    with opt.gateway(**settings) as gw:
        asyncio.run(_live(gw, capability, wanted, input, output, not fast, events, seconds))


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
    async with gw, gw.live(capability, **wanted) as session:
        note(f"stream {session.stream_id} at {session.orchestrator}")
        for name, url in session.urls.items():
            note(f"{name}: {url}")
        printing = [asyncio.create_task(_print_data(session))]
        if events:
            printing.append(asyncio.create_task(_print_events(session)))
        publication = session.publish_file(source, realtime=realtime) if source else None
        try:
            async with asyncio.timeout(seconds):
                if target:
                    await _keep(session, target)
                elif publication:
                    await publication
                else:
                    await session.wait()
        except TimeoutError:
            note(f"ended after {seconds:g} s")
        finally:
            for task in printing:
                task.cancel()
            await asyncio.gather(*printing, return_exceptions=True)


async def _keep(session: LiveSession, target: Path) -> None:
    """Encode the frames that come out into a file, on a thread."""
    from livepeer.trickle.media import encode

    waiting: queue.Queue[Any] = queue.Queue(maxsize=64)
    container = FORMATS.get(target.suffix.lower(), "mpegts")

    def frames() -> Iterator[Any]:
        while (frame := waiting.get()) is not None:
            yield frame

    writing = asyncio.create_task(asyncio.to_thread(encode, frames(), target, format=container))
    count = 0
    try:
        with progress() as bar:
            line = bar.add_task(str(target), total=None, figures="")
            async for frame in session.subscribe(policy="all"):
                count += hasattr(frame, "planes")
                bar.update(line, figures=f"{count} pictures")
                while not writing.done():
                    with contextlib.suppress(queue.Full):
                        waiting.put_nowait(frame)
                        break
                    await asyncio.sleep(0.005)
    finally:
        while not writing.done():
            with contextlib.suppress(queue.Full):
                waiting.put_nowait(None)
                break
            await asyncio.sleep(0.005)
        await asyncio.wait((writing,))
    writing.result()
    note(f"{count} pictures -> {target}")


async def _print_data(session: LiveSession) -> None:
    async for record in session.data():
        emit(record)


async def _print_events(session: LiveSession) -> None:
    async for event in session.events():
        note(json.dumps(event))
