"""`livepeer run`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from livepeer.client.cli import options as opt
from livepeer.client.cli.values import read_inputs, show, show_document
from livepeer.trickle.cli.console import progress, writable

app = typer.Typer(add_completion=False, rich_markup_mode="rich")


@app.command(epilog=opt.EPILOG)
def run(
    capability: opt.CapabilityName,
    input: opt.InputFields = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", callback=writable, help="Write the result to this file."),
    ] = None,
    model: opt.Model = None,
    timeout: opt.Timeout = None,
    max_price: opt.MaxPrice = None,
    max_spend: opt.MaxSpend = None,
    yes: opt.Yes = False,
    max_retries: opt.MaxRetries = None,
    route: opt.Route = "predict",
    idempotent: Annotated[
        bool, typer.Option("--idempotent", help="Running it twice does no harm: try others.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One document, for machines: its kind, and the result.")
    ] = False,
    orch: opt.Orch = None,
    gateway: opt.ViaGateway = None,
    discovery: opt.DiscoveryUrl = None,
    signer: opt.SignerUrl = None,
    token: opt.TokenText = None,
    tls: opt.Tls = None,
) -> None:
    """Call a capability and print its result.

    livepeer run sentiment -i text="I like it" --orch https://orch:8935 --tls pin

    livepeer run upscale -i image=@cat.png -o big.png
    """
    value = read_inputs(input)
    settings = {
        "orch_url": orch,
        "gateway_url": gateway,
        "discovery_url": discovery,
        "signer_url": signer,
        "token": token,
        "tls": tls,
        "max_price": max_price,
        "max_spend": max_spend,
        "timeout": timeout,
        "max_retries": max_retries,
    }
    with opt.gateway(**settings) as gw:
        opt.agreed(gw, settings, capability, yes=yes)
        with progress() as bar:
            bar.add_task(capability, total=None, figures="")
            result = gw.run(
                capability, input=value, model=model, route=route, idempotent=idempotent
            )
        if as_json:
            show_document(result, output)
        else:
            show(result, output)
        opt.paid(gw)
