"""What the calling commands have in common: their options, and what an error is for a script.

Exit codes: 0 done. 1 the pipeline failed. 2 wrong usage or settings. 3 nobody to ask, or no room.
4 payment. 5 the input was refused. 6 time is up. 7 no connection, or it broke. 130 interrupted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from livepeer.client.exceptions import (
    CallTimeoutError,
    ConfigurationError,
    ConnectionFailedError,
    InvalidInputError,
    LivepeerError,
    NoCapacityError,
    NoOrchestratorError,
    PaymentRequiredError,
)
from livepeer.trickle.cli.console import agree, fail, note

if TYPE_CHECKING:
    from livepeer.client.gateway import Gateway

PANEL: Final = "Where"

CapabilityName = Annotated[str, typer.Argument(help="The name of the capability.")]
Orch = Annotated[
    str | None,
    typer.Option(
        "--orch", metavar="URL", help="Orchestrators, separated by commas.", rich_help_panel=PANEL
    ),
]
ViaGateway = Annotated[
    str | None,
    typer.Option("--gateway", metavar="URL", help="A gateway instead.", rich_help_panel=PANEL),
]
DiscoveryUrl = Annotated[
    str | None,
    typer.Option(
        "--discovery", metavar="URL", help="A list of orchestrators.", rich_help_panel=PANEL
    ),
]
SignerUrl = Annotated[
    str | None,
    typer.Option("--signer", metavar="URL", help="A remote signer.", rich_help_panel=PANEL),
]
TokenText = Annotated[
    str | None,
    typer.Option(
        "--token",
        metavar="TOKEN",
        help="All of these in one (better as LIVEPEER_TOKEN: arguments are visible to others).",
        rich_help_panel=PANEL,
    ),
]
Tls = Annotated[
    str | None,
    typer.Option(
        "--tls", metavar="verify|pin|insecure", help="Whom to trust.", rich_help_panel=PANEL
    ),
]
Timeout = Annotated[
    float | None, typer.Option("--timeout", metavar="SECONDS", help="For the whole call.")
]
MaxRetries = Annotated[
    int | None,
    typer.Option(
        "--max-retries",
        metavar="N",
        help="Tries after the first one, where nobody has room or is ready (5).",
    ),
]
MaxPrice = Annotated[
    float | None,
    typer.Option("--max-price", metavar="WEI", help="The most, for each unit of an offer."),
]
MaxSpend = Annotated[
    float | None, typer.Option("--max-spend", metavar="WEI", help="The most, altogether.")
]
Yes = Annotated[
    bool, typer.Option("--yes", "-y", help="Pay what it costs without asking (for scripts).")
]
Model = Annotated[str | None, typer.Option("--model", help="Only where this model is offered.")]
Route = Annotated[str, typer.Option("--route", help="The path at the container.")]
InputFields = Annotated[
    list[str] | None,
    typer.Option(
        "-i",
        "--input",
        metavar="K=V",
        help="A field: K=TEXT, K=JSON, or K=@FILE. @FILE alone: all of it, as JSON (- is stdin).",
    ),
]
EPILOG: Final = (
    "Settings not given here come from LIVEPEER_ORCH_URL, LIVEPEER_GATEWAY_URL,"
    " LIVEPEER_DISCOVERY_URL, LIVEPEER_SIGNER_URL, LIVEPEER_TOKEN and LIVEPEER_TLS.\n\n"
    "Exit codes: 0 done, 1 the pipeline failed, 2 usage, 3 nobody to ask or no room, 4 payment,"
    " 5 input refused, 6 timeout, 7 connection, 130 interrupted."
)

_CODES: Final[tuple[tuple[type[LivepeerError], int], ...]] = (
    (ConfigurationError, 2),
    (NoOrchestratorError, 3),
    (PaymentRequiredError, 4),
    (InvalidInputError, 5),
    (CallTimeoutError, 6),
    (ConnectionFailedError, 7),
    (LivepeerError, 1),
)


@contextlib.contextmanager
def gateway(**settings: Any) -> Iterator[Gateway]:
    """A gateway for one command; an error ends the command with its message and exit code."""
    from livepeer.client.gateway import Gateway  # what `--help` has no need of

    try:
        with Gateway(**settings) as gw:
            yield gw
    except LivepeerError as error:
        if len(error.rejections) > 1:
            for rejection in error.rejections:
                note(f"  {rejection}")
        hint = None
        if isinstance(error, NoCapacityError) and error.retry_after and len(error.rejections) > 1:
            hint = f"Try again in {error.retry_after:g} s."
        fail(error, hint=hint, code=code_of(error))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def agreed(gw: Gateway, settings: Mapping[str, Any], capability: str, *, yes: bool) -> None:
    """Say what a call costs before it is made, and ask, unless `yes`.

    Only where these settings can pay. A script, which cannot be asked, is refused.
    """
    from livepeer.client.config import Config
    from livepeer.client.network.selection import told_offer

    config = Config.resolve(**settings)
    if config.gateway or not (config.signer or config.eth_key):
        return
    price = told_offer(gw.capabilities([capability]))
    if price:
        agree(f"{capability} costs {price}", yes=yes)


def paid(gw: Gateway) -> None:
    """Say what it cost, if anything."""
    if (spent := gw.spent()) > 0:
        note(f"{float(spent):g} wei were paid")


def code_of(error: LivepeerError) -> int:
    return next(code for kind, code in _CODES if isinstance(error, kind))
