"""`livepeer play`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from livepeer.trickle.cli.console import agree, fail, note

if TYPE_CHECKING:
    from livepeer.runner.cli.page import Page
    from livepeer.runner.playground.network import OpenCaller

app = typer.Typer(add_completion=False, rich_markup_mode="rich")

EPILOG = """Examples:

livepeer play live-tint --orch https://orch:8935 --tls pin

livepeer play sentiment --max-price 1000

The environment names what the options do not, as for `livepeer run`. Where a call costs something,
that is told and asked first (--yes: not asked, for scripts); the page shows what was spent, and a
stream that plays costs as long as it does. Exit codes: 0 after Ctrl-C, 1 where the capability
cannot be had, 2 usage, 4 where nobody said yes to its price."""

STREAMS = 4
"""Streams at once that the page offers: how many there are, the network says."""
PANEL = "Where"


@app.command(epilog=EPILOG)
def play(
    capability: Annotated[str, typer.Argument(help="The name of the capability.")],
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="The page's; default: 8940, ...")
    ] = None,
    open_page: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in your browser.")
    ] = True,
    max_price: Annotated[
        float | None,
        typer.Option("--max-price", metavar="WEI", help="The most, for each unit of an offer."),
    ] = None,
    max_spend: Annotated[
        float | None, typer.Option("--max-spend", metavar="WEI", help="The most, altogether.")
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Pay what it costs without asking (for scripts).")
    ] = False,
    orch: Annotated[
        str | None,
        typer.Option("--orch", metavar="URL", help="Orchestrators.", rich_help_panel=PANEL),
    ] = None,
    discovery: Annotated[
        str | None,
        typer.Option(
            "--discovery", metavar="URL", help="A list of orchestrators.", rich_help_panel=PANEL
        ),
    ] = None,
    signer: Annotated[
        str | None,
        typer.Option("--signer", metavar="URL", help="A remote signer.", rich_help_panel=PANEL),
    ] = None,
    tls: Annotated[
        str | None,
        typer.Option(
            "--tls", metavar="verify|pin|insecure", help="Whom to trust.", rich_help_panel=PANEL
        ),
    ] = None,
) -> None:
    """Play with a capability of the network on a page in your browser, until Ctrl-C.

    The page is served on this machine and opens for you alone.
    """
    from livepeer.runner.cli import options
    from livepeer.runner.cli.page import PORT, Page, can_open
    from livepeer.runner.playground.network import find_caller

    opening = find_caller()
    if opening is None:
        fail(
            "a call needs livepeer-client, which is not installed",
            hint="pip install 'livepeer-client[media]'",
            code=2,
        )
    given = {
        "orch_url": orch,
        "discovery_url": discovery,
        "signer_url": signer,
        "tls": tls,
        "max_price": max_price,
        "max_spend": max_spend,
    }
    settings = {name: value for name, value in given.items() if value is not None}
    page = Page(port=options.port(port, PORT, "--port"), opens=open_page and can_open())
    price = asyncio.run(_price(opening, capability, settings))
    if price:
        agree(f"{capability} costs {price}", yes=yes)
    raise typer.Exit(asyncio.run(_play(opening, capability, settings, page, costs=bool(price))))


async def _price(opening: OpenCaller, capability: str, settings: Mapping[str, Any]) -> str:
    with _explained():
        async with opening(capability, settings, {}) as brought:
            return brought.price


@contextmanager
def _explained() -> Iterator[None]:
    """An error of whoever brings the caller ends the command with its message."""
    try:
        yield
    except Exception as error:
        # Its package is not imported here: its errors are those that carry a code.
        if not isinstance(getattr(error, "code", None), str):
            raise
        fail(error, code=1)


async def _play(
    opening: OpenCaller, capability: str, settings: Mapping[str, Any], page: Page, *, costs: bool
) -> int:
    from livepeer.runner.cli.page import opened
    from livepeer.runner.cli.reload import stopping
    from livepeer.runner.playground.board import Board
    from livepeer.runner.playground.network import AdaptedCaller

    board = Board()
    board.add("0", capability)
    with stopping() as stop:
        async with AsyncExitStack() as stack:
            with _explained():
                brought = await stack.enter_async_context(opening(capability, settings))
            brought.on_spent(partial(board.spent, "0"))
            board.serves(
                "0",
                brought.document,
                capacity=STREAMS,
                caller=AdaptedCaller(brought),
                lines=partial(written_calls, capability, brought.document, settings, costs),
                price=brought.price,
            )
            playground = await stack.enter_async_context(opened(board, page))
            print(f"playground: {playground.url}", flush=True)
            note("Ctrl-C ends it.")
            await stop.wait()
    return 0


def written_calls(
    capability: str,
    document: Mapping[str, Any],
    settings: Mapping[str, Any],
    costs: bool,
    content: Mapping[str, Any],
) -> dict[str, str]:
    """A call by the network as code; by curl there is none, and that says why.

    Raises `ValueError` for what is none.
    """
    from livepeer.runner.playground.written import NOT_BY_CURL, WrittenCall

    call = WrittenCall.of(capability, document, content)
    options = {"orch_url": "--orch", "discovery_url": "--discovery", "signer_url": "--signer"}
    options |= {"tls": "--tls", "max_price": "--max-price", "max_spend": "--max-spend"}
    where = [word for name, each in settings.items() for word in (options[name], str(each))]
    where += ["--yes"] if costs else []
    return {
        "Python": call.python(", ".join(f"{name}={each!r}" for name, each in settings.items())),
        "curl": NOT_BY_CURL,
        "Shell": call.shell(["livepeer", call.verb, capability], where),
    }
