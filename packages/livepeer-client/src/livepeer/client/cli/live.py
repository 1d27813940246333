"""`livepeer live`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from livepeer.client.cli import options as opt
from livepeer.client.cli.values import read_inputs
from livepeer.client.exceptions import LivepeerError
from livepeer.trickle.cli.console import emit, note, progress, writable

if TYPE_CHECKING:
    from livepeer.client.gateway import Gateway
    from livepeer.client.sessions import LiveSession

app = typer.Typer(add_completion=False, rich_markup_mode="rich")

#: How long a pipeline whose input is over may take to end, in seconds.
END_LIMIT = 30.0
#: How long records and events may still come once the session is over, in seconds.
LAST_WORDS = 2.0
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
        if input is not None:
            _check(input)
        try:
            asyncio.run(_live(gw, capability, wanted, input, output, not fast, events, seconds))
        except asyncio.CancelledError:
            raise typer.Exit(128 + signal.SIGTERM) from None


def _check(source: Path) -> None:
    """Refuse a file that is no video before anything is started."""
    from livepeer.client.live_media import media

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
        if events:
            printing.append(asyncio.create_task(_print_events(session)))
        publication = session.publish_file(source, realtime=realtime) if source else None
        try:
            async with asyncio.timeout(seconds):
                if target:
                    await Recording(session, target).run()
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


class Recording:
    """What comes out of a session, encoded into a file on a thread."""

    def __init__(self, session: LiveSession, target: Path) -> None:
        self._session, self._target = session, target
        self._frames = session.subscribe(policy="all")
        self._loop = asyncio.get_running_loop()
        self._error: Exception | None = None
        self._count = 0
        self._began = self._first = self._last = time.monotonic()

    async def run(self) -> None:
        """Until the end; what came so far is kept, also where that was no good one."""
        from livepeer.trickle.media import encode

        container = FORMATS.get(self._target.suffix.lower(), "mpegts")
        with progress() as bar:
            line = bar.add_task(str(self._target), total=None, figures="")
            pulled = self._pulled(lambda: bar.update(line, figures=self.figures()))
            writing = asyncio.create_task(
                asyncio.to_thread(encode, pulled, self._target, format=container)
            )
            try:
                await asyncio.shield(writing)
            except ValueError:  # there was nothing to encode, or no such container
                if self._count:
                    raise
            finally:
                await self._frames.aclose()
                await asyncio.wait((writing,))
                writing.exception()  # of which nobody is told who has left
                if self._count:
                    note(f"{self.figures()} -> {self._target}")
        if self._error is not None:
            raise self._error
        if not self._count:
            note(f"nothing came out of the pipeline, so there is no {self._target}")

    def figures(self) -> str:
        """Pictures a second from the first to the last of them, whatever was before and after."""
        seconds = self._last - self._first
        rate = f", {(self._count - 1) / seconds:.1f} a second" if seconds > 0 else ""
        return f"{self._count} pictures{rate}, the first after {self._first - self._began:.2f} s"

    def _pulled(self, told: Callable[[], None]) -> Iterator[Any]:
        """The frames, for the thread that encodes them: the next is asked for when it is wanted."""
        while True:
            asking = asyncio.run_coroutine_threadsafe(anext(self._frames, None), self._loop)
            try:
                frame = asking.result()
            except LivepeerError as error:
                self._error = error
                return
            if frame is None:
                return
            if hasattr(frame, "planes"):
                self._count += 1
                self._last = time.monotonic()
                if self._count == 1:
                    self._first = self._last
                told()
            yield frame


async def _print_data(session: LiveSession) -> None:
    async for record in session.data():
        emit(record)


async def _print_events(session: LiveSession) -> None:
    async for event in session.events():
        note(json.dumps(event))
