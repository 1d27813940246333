"""The commands that this package brings to `livepeer`. Importing this imports none of them."""

from __future__ import annotations

from livepeer.trickle.cli.host import Command

__all__ = ["commands"]

commands = (
    Command("init", "Begin a pipeline: a folder that runs.", f"{__name__}.init:app", "Author"),
    Command(
        "check",
        "Find mistakes in a pipeline, each with its line and fix.",
        f"{__name__}.check:app",
        "Author",
    ),
    Command(
        "predict", "Run a pipeline once, here, on your input.", f"{__name__}.predict:app", "Author"
    ),
    Command(
        "dev",
        "Run a local network with your pipeline on it.",
        f"{__name__}.dev:app",
        "Author",
    ),
    Command(
        "doctor",
        "Examine a container: is it what the network needs?",
        f"{__name__}.doctor:app",
        "Author",
    ),
    Command(
        "mcp",
        "Tools for coding agents: from a new folder to an image.",
        f"{__name__}.mcp:app",
        "Author",
    ),
    Command("skills", "What coding agents know of Livepeer.", f"{__name__}.skills:app", "Author"),
    Command("build", "Make a container image of a pipeline.", f"{__name__}.build:app", "Publish"),
    Command("push", "Publish a pipeline's image.", f"{__name__}.push:app", "Publish"),
    Command(
        "inspect", "Show what a registry says of an image.", f"{__name__}.inspect:app", "Publish"
    ),
    Command("bench", "Measure what a pipeline bears.", f"{__name__}.bench:app", "Author"),
    Command(
        "play",
        "Play with a capability of the network in your browser.",
        f"{__name__}.play:app",
        "Call",
    ),
    Command("schema", "Print what a pipeline takes and gives.", f"{__name__}.schema:app", "Author"),
    Command(
        "serve",
        "Serve a pipeline over HTTP.",
        f"{__name__}.serve:app",
        "Operate",
        plain=f"{__name__}.serve_plainly:run",
    ),
    Command(
        "attach", "Attach any HTTP service to the network.", f"{__name__}.attach:app", "Operate"
    ),
    Command("prepare", "Fetch a pipeline's model weights.", f"{__name__}.prepare:app", "Operate"),
)
