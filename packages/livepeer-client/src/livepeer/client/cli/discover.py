"""`livepeer discover`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from livepeer.client.cli import options as opt
from livepeer.client.types import CapabilityInfo
from livepeer.trickle.cli.console import emit, is_terminal, note
from livepeer.trickle.text import printable

app = typer.Typer(add_completion=False, rich_markup_mode="rich")


@app.command(epilog=opt.EPILOG)
def discover(
    capabilities: Annotated[
        list[str] | None, typer.Argument(help="Names; without any: what discovery lists.")
    ] = None,
    timeout: opt.Timeout = None,
    orch: opt.Orch = None,
    discovery: opt.DiscoveryUrl = None,
    signer: opt.SignerUrl = None,
    token: opt.TokenText = None,
    tls: opt.Tls = None,
) -> None:
    """Show who offers a capability, with free places and prices.

    Orchestrators list their BYOC capabilities nowhere, so each is asked for by name.
    """
    with opt.gateway(
        orch_url=orch,
        discovery_url=discovery,
        signer_url=signer,
        token=token,
        tls=tls,
        timeout=timeout,
    ) as gw:
        found = gw.capabilities(capabilities or None)
    if not found:
        note("Nothing is listed. Name the capabilities: livepeer discover NAME ...")
    if is_terminal():
        _table(found)
    else:
        emit([_plain(each) for each in found])
    if found and not any(each.available for each in found):
        raise typer.Exit(3)


def _plain(info: CapabilityInfo) -> dict[str, Any]:
    return {
        "capability": info.name,
        "available": info.available,
        "offers": [
            {
                "orchestrator": offer.orchestrator,
                "mode": offer.mode,
                "capacity": offer.capacity,
                "price_wei_per_second": float(offer.price),
                "latency_s": round(offer.latency, 4),
            }
            for offer in info.offers
        ],
        "rejections": [
            {"orchestrator": each.orchestrator, "reason": each.reason, "phase": each.phase}
            for each in info.rejections
        ],
    }


def _table(found: list[CapabilityInfo]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    def told(text: str, style: str = "") -> Text:
        return Text(printable(text, lines=True), style=style)  # no markup of others either

    table = Table("Capability", "Orchestrator", "Mode", "Free places", "Price (wei/s)", "Latency")
    for info in found:
        for offer in sorted(info.offers, key=lambda each: -each.capacity):
            table.add_row(
                told(info.name),
                told(offer.orchestrator),
                offer.mode or "BYOC",
                str(offer.capacity) if offer.capacity > 0 else "none, or unknown there",
                "free" if offer.free else f"{float(offer.price):g}",
                f"{offer.latency * 1000:.0f} ms",
            )
        for each in info.rejections:
            table.add_row(
                told(info.name), told(each.orchestrator), "", told(each.reason, "red"), "", ""
            )
    Console().print(table)
