"""The commands that this package brings to `livepeer`. Importing this imports none of them."""

from __future__ import annotations

from livepeer.trickle.cli.host import Command

__all__ = ["commands"]

commands = (
    Command("run", "Call a capability and print its result.", f"{__name__}.run:app", "Call"),
    Command("stream", "Call a capability and print its events.", f"{__name__}.stream:app", "Call"),
    Command(
        "live",
        "Send a video through a live pipeline and keep what comes out.",
        f"{__name__}.live:app",
        "Call",
    ),
    Command(
        "discover",
        "Show who offers a capability, with free places and prices.",
        f"{__name__}.discover:app",
        "Call",
    ),
    Command(
        "mcp",
        "Capabilities of the network as tools for agents.",
        f"{__name__}.mcp:app",
        "Call",
        options=("--capability", "--orch"),
    ),
    Command(
        "trust",
        "Accept the certificate that a host shows now (for --tls pin).",
        f"{__name__}.trust:app",
        "Call",
    ),
)
