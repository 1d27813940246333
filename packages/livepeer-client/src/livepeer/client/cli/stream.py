"""`livepeer stream`."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from livepeer.client.cli import options as opt
from livepeer.client.cli.values import read_inputs
from livepeer.client.types import StreamEvent
from livepeer.trickle.cli.console import emit_text, note

app = typer.Typer(add_completion=False, rich_markup_mode="rich")


@app.command(epilog=opt.EPILOG)
def stream(
    capability: opt.CapabilityName,
    input: opt.InputFields = None,
    field: Annotated[
        str | None,
        typer.Option("--field", help="Print only this field of each value, without line ends."),
    ] = None,
    all_events: Annotated[
        bool, typer.Option("--all", help="Progress too, each event as {event, id, data}.")
    ] = False,
    model: opt.Model = None,
    timeout: opt.Timeout = None,
    max_price: opt.MaxPrice = None,
    max_spend: opt.MaxSpend = None,
    yes: opt.Yes = False,
    max_retries: opt.MaxRetries = None,
    route: opt.Route = "predict",
    orch: opt.Orch = None,
    gateway: opt.ViaGateway = None,
    discovery: opt.DiscoveryUrl = None,
    signer: opt.SignerUrl = None,
    token: opt.TokenText = None,
    tls: opt.Tls = None,
) -> None:
    """Call a capability and print its values as they come, one on each line.

    Its progress goes to standard error.

    livepeer stream llm -i prompt="Tell me a joke" --field token
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
        with gw.stream(capability, input=value, model=model, route=route) as events:
            for event in events.all():
                _print(event, field, all_events)
            if field:
                print()
        opt.paid(gw)


def _print(event: StreamEvent, field: str | None, all_events: bool) -> None:
    data: Any = event.data
    try:
        data = event.json()
    except ValueError:
        pass
    if all_events:
        print(json.dumps({"event": event.event, "id": event.id, "data": data}), flush=True)
    elif event.event == "progress":
        note(f"progress: {event.data}")
    elif field:
        emit_text(str(data.get(field, "") if isinstance(data, dict) else data), end="")
    else:
        emit_text(event.data.replace("\n", ""))
