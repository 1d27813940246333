"""`livepeer trickle serve | publish | subscribe | inspect`: to debug a stream with."""

from __future__ import annotations

import asyncio
import signal
import ssl
import sys
from codecs import getincrementaldecoder
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, aclosing, suppress
from pathlib import Path
from time import monotonic
from typing import Annotated, Any, Literal, TypeVar

import typer

from livepeer import trickle  # lazily: `--help` needs none of it
from livepeer.trickle.cli import console
from livepeer.trickle.cli.pipes import input_pieces, input_records, write_all
from livepeer.trickle.protocol import wire

NOBODY = (
    "Nobody has made it yet, or it has ended: publish to it, and wait for that with --wait SECONDS."
)
Publisher = TypeVar("Publisher", "trickle.TricklePublisher", "trickle.JSONLPublisher")

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    help="Serve, publish, subscribe and inspect trickle channels.",
)

Url = Annotated[str, typer.Argument(help="URL of the channel, such as http://127.0.0.1:7935/cam.")]
SegmentLimit = Annotated[
    int | None, typer.Option("--segments", "-n", min=1, help="Stop after this many.")
]
Start = Annotated[
    str, typer.Option(help="Where to begin: current, next, or the number of a segment.")
]
Insecure = Annotated[
    bool, typer.Option("--insecure", help="Do not verify the server's TLS certificate.")
]


Wait = Annotated[
    float, typer.Option(min=0, help="Seconds to wait for a channel that nobody has made yet.")
]


def run(work: Coroutine[Any, Any, None], *, missing: str | None = None) -> None:
    """Run a command's coroutine; what trickle can't do is told in one line, never a traceback.

    `missing`: what to do where there is no such channel.
    """
    try:
        asyncio.run(work)
    except trickle.ChannelNotFound as error:
        console.fail(error, hint=missing)
    except trickle.TrickleError as error:
        console.fail(error)
    except ValueError as error:
        console.fail(error, code=2)
    except OSError as error:
        console.fail(error)


@app.command(epilog="Example: livepeer trickle serve --port 7935")
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 7935,
    base_path: Annotated[str, typer.Option(help="Where the channels are.")] = "/",
    autocreate: Annotated[bool, typer.Option(help="A POST makes a missing channel.")] = True,
    changefeed: Annotated[bool, typer.Option(help="Announce channels in _changes.")] = False,
    idle_timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds without a byte that end a channel.")
    ] = 300.0,
    certificate: Annotated[
        Path | None, typer.Option(help="Serve TLS with this PEM file (certificate chain).")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="Its private key, if in a file apart.")] = None,
) -> None:
    """Run a trickle server until Ctrl-C."""

    async def work() -> None:
        context = None
        if certificate is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(certificate, key)
        server = trickle.TrickleServer(
            host=host,
            port=port,
            base_path=base_path,
            autocreate=autocreate,
            changefeed=changefeed,
            idle_timeout=idle_timeout,
            ssl_context=context,
        )
        async with server:
            if console.is_terminal():
                console.note(f"serving trickle at {server.url} (Ctrl-C stops it)")
            else:
                console.emit({"url": server.url})
            stop = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
            await stop.wait()

    run(work())


@app.command(epilog="Example: livepeer trickle publish http://127.0.0.1:7935/cam < clip.ts")
def publish(
    url: Url,
    mime_type: Annotated[
        str, typer.Option(help="Content type, unless it is --jsonl.")
    ] = "video/MP2T",
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="The input is JSON records, one in each line.")
    ] = False,
    segment_seconds: Annotated[
        float, typer.Option(min=0.05, help="Begin a new segment after this time.")
    ] = 1.0,
    create: Annotated[
        bool | None,
        typer.Option(
            "--create/--no-create",
            help="Make the channel: first, or never.",
            show_default="where it is missing, and the server lets clients make channels",
        ),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the channel open at the end.")
    ] = False,
    insecure: Insecure = False,
) -> None:
    """Publish standard input, as it comes, until it ends."""

    async def opened(make: Callable[[bool], Publisher], stack: AsyncExitStack) -> Publisher:
        if create is None:
            with suppress(trickle.ChannelNotFound):
                return await stack.enter_async_context(make(False))
        return await stack.enter_async_context(make(create is not False))

    async def publish_bytes() -> None:
        def make(create: bool) -> trickle.TricklePublisher:
            return trickle.TricklePublisher(
                url,
                mime_type=mime_type,
                create=create,
                delete_on_close=not keep,
                tls=not insecure,
            )

        async with AsyncExitStack() as stack, aclosing(input_pieces()) as pieces:
            publisher = await opened(make, stack)
            piece = await anext(pieces, b"")
            while piece:
                ends = monotonic() + segment_seconds
                async with publisher.segment() as segment:
                    while piece and monotonic() < ends:
                        await segment.write(piece)
                        piece = await anext(pieces, b"")
        tell(publisher)

    async def publish_records() -> None:
        def make(create: bool) -> trickle.JSONLPublisher:
            return trickle.JSONLPublisher(
                url, create=create, delete_on_close=not keep, tls=not insecure
            )

        async with AsyncExitStack() as stack, aclosing(input_records()) as records:
            publisher = await opened(make, stack)
            async for number, record in records:
                if record is None:
                    console.note(f"line {number} is no JSON object: left out")
                else:
                    await publisher.write(record)
        tell(publisher.transport)

    def tell(publisher: trickle.TricklePublisher) -> None:
        stats = publisher.stats
        console.note(
            f"{stats.segments} segments, {stats.bytes} bytes, "
            f"{stats.uncertain} uncertain, {stats.reconnects} reconnects"
        )

    run(publish_records() if jsonl else publish_bytes())


@app.command(epilog="Example: livepeer trickle subscribe http://127.0.0.1:7935/cam | ffplay -")
def subscribe(
    url: Url,
    start: Start = "current",
    segments: SegmentLimit = None,
    wait: Wait = 0.0,
    insecure: Insecure = False,
) -> None:
    """Write what a channel carries to standard output, as it comes, until the channel ends."""

    async def work() -> None:
        subscriber = trickle.TrickleSubscriber(url, start=start_of(start), tls=not insecure)
        await made(subscriber.url, wait, insecure)
        text = getincrementaldecoder("utf-8")("replace")

        def show(chunk: bytes) -> None:
            if console.is_terminal():
                console.emit_text(text.decode(chunk), end="")
            else:
                write_all(sys.stdout.buffer, chunk)

        async with subscriber:
            async for segment in subscriber:
                async for chunk in segment:
                    show(chunk)
                if subscriber.stats.segments == segments:
                    break
        stats = subscriber.stats
        console.note(
            f"{stats.segments} segments, {stats.bytes} bytes, "
            f"{stats.gaps} gaps, {stats.reconnects} reconnects"
        )

    run(work(), missing=NOBODY)


@app.command(epilog="Example: livepeer trickle inspect http://127.0.0.1:7935/cam -n 10")
def inspect(
    url: Url,
    start: Start = "current",
    segments: SegmentLimit = None,
    wait: Wait = 0.0,
    insecure: Insecure = False,
) -> None:
    """Follow a channel and print one line for each segment: number, size, duration, gaps."""

    async def work() -> None:
        subscriber = trickle.TrickleSubscriber(url, start=start_of(start), tls=not insecure)
        await made(subscriber.url, wait, insecure)
        async with subscriber:
            async for segment in subscriber:
                began, size, chunks = monotonic(), 0, 0
                async for chunk in segment:
                    size += len(chunk)
                    chunks += 1
                show(
                    {
                        "seq": segment.seq,
                        "bytes": size,
                        "chunks": chunks,
                        "seconds": round(monotonic() - began, 3),
                        "type": segment.mime_type,
                        "gaps": subscriber.stats.gaps,
                        "resyncs": subscriber.stats.resyncs,
                        "reconnects": subscriber.stats.reconnects,
                    }
                )
                if subscriber.stats.segments == segments:
                    break

    def show(line: dict[str, Any]) -> None:
        if console.is_terminal():
            console.emit_text("  ".join(f"{name} {value}" for name, value in line.items()))
        else:
            console.emit(line)

    run(work(), missing=NOBODY)


async def made(url: str, seconds: float, insecure: bool) -> None:
    """Wait until somebody has made the channel, and for its server, so long at most."""
    ends = monotonic() + seconds
    async with trickle.Transport() as transport:
        while (left := ends - monotonic()) > 0:
            try:
                reply = await transport.request(
                    "GET", wire.next_url(url), tls=not insecure, limit=left
                )
            except trickle.TrickleConnectionError:
                pass  # the subscriber tells, when the time is over
            else:
                if reply.answer is not wire.Answer.NOT_FOUND:
                    return
            await asyncio.sleep(min(0.2, left))


def start_of(text: str) -> Literal["current", "next"] | int:
    """`--start` as the subscriber takes it."""
    if text == "current":
        return "current"
    if text == "next":
        return "next"
    if text.isdecimal():
        return int(text)
    raise typer.BadParameter(
        f"{text!r} is neither current, next, nor a number", param_hint="--start"
    )
