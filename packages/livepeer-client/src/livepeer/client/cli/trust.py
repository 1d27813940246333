"""`livepeer trust`."""

from __future__ import annotations

import ssl
from typing import Annotated

import typer

from livepeer.client.exceptions import ConfigurationError
from livepeer.trickle.cli.console import fail, note

app = typer.Typer(add_completion=False, rich_markup_mode="rich")


@app.command()
def trust(
    host: Annotated[str, typer.Argument(metavar="HOST[:PORT]", help="As the error named it.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Accept the certificate that a host shows now, in place of the pinned one.

    go-livepeer makes a new certificate at each start. If you do not know that it was restarted,
    somebody may be in between: compare the fingerprint with its operator first.
    """
    from livepeer.client.http.tls import address, origin
    from livepeer.trickle.tls.pins import PinStore, fingerprint, pins_path

    try:
        name, port = address(host)
    except ConfigurationError as error:
        fail(error, code=2)
    try:
        shown = fingerprint(
            ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate((name, port), timeout=10))
        )
    except OSError as error:
        fail(f"no certificate from {origin(host)}: {error}", code=7)
    store = PinStore(pins_path())
    known = store.get(name, port)
    note(f"pinned: {known or 'nothing'}\nshown:  {shown}")
    if known != shown:
        if not yes:
            typer.confirm(f"Trust {origin(host)} with this certificate?", abort=True, err=True)
        store.set(name, port, shown)
    note(f"{origin(host)} is trusted with the certificate that it shows now.")
