"""`livepeer discover`."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any

import typer

from livepeer.client.cli import options as opt
from livepeer.client.types import SECONDS, CapabilityInfo, RunnerInfo
from livepeer.trickle.cli.console import emit, is_terminal, note
from livepeer.trickle.text import printable

app = typer.Typer(add_completion=False, rich_markup_mode="rich")


@app.command(epilog=opt.EPILOG)
def discover(
    capabilities: Annotated[
        list[str] | None,
        typer.Argument(help="Names; without any: all that is listed.", show_default=False),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="JSON also on a terminal, with all that is known.")
    ] = False,
    timeout: opt.Timeout = None,
    orch: opt.Orch = None,
    discovery: opt.DiscoveryUrl = None,
    signer: opt.SignerUrl = None,
    token: opt.TokenText = None,
    tls: opt.Tls = None,
) -> None:
    """Show who offers a capability, with free places and prices.

    livepeer discover --orch https://orch:8935 --tls pin

    livepeer discover sentiment org/app

    Images and versions are what operators say, and not verified. `livepeer run
    byoc/REPOSITORY@DIGEST` calls only who says that image; `livepeer inspect IMAGE --key KEY`
    verifies who signed it.

    Live runners are listed by their orchestrators, each in a line of its own. BYOC capabilities are
    listed by discovery services alone: elsewhere, ask for them by name.
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
        note("Nothing is listed. BYOC capabilities are asked for by name: livepeer discover NAME")
    if is_terminal() and not json:
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
                "price_wei_per_second": float(offer.price) if offer.unit == SECONDS else None,
                "price_wei": float(offer.price),
                "price_unit": offer.unit,
                "latency_s": round(offer.latency, 4),
                "runners": [
                    {
                        "mode": each.mode,
                        "capacity": each.capacity,
                        "price_wei": float(each.price),
                        "price_unit": each.unit or None,
                        "gpu": each.gpu,
                        "vram_mb": each.vram_mb,
                        "version": each.version,
                        "image": each.image,
                        "image_verified": False,
                        "schema_sha256": each.schema_sha256,
                        "sdk": each.sdk,
                    }
                    for each in offer.runners
                ],
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

    table = Table("Capability", "Orchestrator", "Mode", "Free", "Price (wei)", "GPU", "What it is")
    for info in found:
        for offer in sorted(info.offers, key=lambda each: -each.capacity):
            for runner in offer.runners:
                table.add_row(
                    told(info.name),
                    told(offer.orchestrator),
                    runner.mode,
                    str(runner.capacity or "none"),
                    told(_price(runner.price, runner.unit)),
                    told(_gpu(runner)),
                    told(_what(runner)),
                )
            if not offer.runners:
                free = str(offer.capacity) if offer.capacity > 0 else "none, or unknown there"
                price = told(_price(offer.price, "second"))
                table.add_row(
                    told(info.name), told(offer.orchestrator), "BYOC", free, price, "", ""
                )
        for each in info.rejections:
            reason = told(each.reason, "red")
            table.add_row(told(info.name), told(each.orchestrator), "", "", "", "", reason)
    Console().print(table)
    if any(runner.image for info in found for offer in info.offers for runner in offer.runners):
        note("Images are what operators say: not verified (livepeer discover --help)")


def _price(price: Fraction, unit: str) -> str:
    return "free" if price == 0 else f"{float(price):g} / {unit.removesuffix('s') or 'unit'}"


def _gpu(runner: RunnerInfo) -> str:
    memory = f" ({runner.vram_mb / 1024:.0f} GB)" if runner.vram_mb else ""
    return f"{runner.gpu or ''}{memory}"


def _what(runner: RunnerInfo) -> str:
    """Its version, and the digests that tell one from another: of its image, or of its schema."""
    digest = (runner.image or "").partition("@")[2] or runner.schema_sha256 or ""
    short = digest.removeprefix("sha256:")[:12]
    return " ".join(each for each in (runner.version, short) if each)
