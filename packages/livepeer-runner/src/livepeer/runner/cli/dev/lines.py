"""The lines that call a pipeline on the local network: they work when they are pasted."""

from __future__ import annotations

import base64
import json
import shlex
from dataclasses import dataclass
from typing import Any

CLIP = "in.mp4"
SERVICE = "http://127.0.0.1:9000"
SECONDS = 10
"""Of a stream that would generate for ever."""


@dataclass(frozen=True, slots=True)
class Network:
    """Where its parts listen, and the document that describes the pipeline.

    `runner`: the URL that the discovery has for it as a live runner, empty where it is none. It is
    new at each start. `secret_file`: who has what is in it may register at the orchestrator.
    """

    orchestrator: str
    gateway: str
    pipeline: str
    schema: dict[str, Any]
    runner: str
    secret_file: str

    @property
    def id(self) -> str:
        return str(self.schema["id"])

    @property
    def is_live(self) -> bool:
        return bool(self.schema["type"] == "live")

    @property
    def takes_input(self) -> bool:
        """A live class that generates has none."""
        return not self.schema.get("generates")

    @property
    def verb(self) -> str:
        if self.is_live:
            return "live"
        return "stream" if self.schema.get("streaming") else "run"

    @property
    def tls(self) -> str | None:
        """Its certificate is pinned for this user's clients as long as it runs."""
        return "pin" if self.orchestrator.startswith("https:") else None

    @property
    def where(self) -> list[str]:
        """The options of the client's commands."""
        return ["--orch", self.orchestrator, *(("--tls", self.tls) if self.tls else ())]


def overview(network: Network) -> str:
    """What runs where, and how to call it: through BYOC, and as a live runner."""
    parts = {
        "pipeline": f"{network.pipeline} (what it takes: {network.pipeline}/docs)",
        "orchestrator": network.orchestrator,
        "gateway": network.gateway,
    }
    runs = "\n".join(f"  {name:<13}{text}" for name, text in parts.items())
    blocks = {
        "The shell (pip install livepeer-client)": shell(network),
        "Python (pip install livepeer-client)": python(network),
        "curl": curl(network),
        **({"curl, as a live runner": runner_curl(network)} if network.runner else {}),
        "A service of yours, as a live runner": attaching(network),
    }
    calls = "\n\n".join(f"{title}:\n\n{text}" for title, text in blocks.items())
    return f"{network.id} runs on a local network:\n{runs}\n\n{calls}\n"


def shell(network: Network) -> str:
    """One command."""
    words = ["livepeer", network.verb, network.id]
    if network.is_live:
        words += ["-i", CLIP] if network.takes_input else ["--seconds", str(SECONDS)]
        words += ["-o", "out.mp4"]
        for name, value in _params(network).items():
            words += ["-p", _field(name, value)]
    else:
        for name, value in _input(network).items():
            words += ["-i", _field(name, value)]
    return shlex.join([*words, *network.where])


def python(network: Network) -> str:
    """A program."""
    tls = f', tls="{network.tls}"' if network.tls else ""
    gateway = f'gw = Gateway(orch_url="{network.orchestrator}"{tls})'
    match network.verb:
        case "run":
            lines = [
                "from livepeer.client import Gateway",
                "",
                gateway,
                f"print(gw.run({network.id!r}, input={_input(network)!r}))",
            ]
        case "stream":
            lines = [
                "from livepeer.client import Gateway",
                "",
                gateway,
                f"with gw.stream({network.id!r}, input={_input(network)!r}) as events:",
                "    for event in events:",
                "        print(event.json())",
            ]
        case _:
            options = f"params={_params(network)!r}" + (
                "" if network.takes_input else ", publish=False"
            )
            lines = [
                "import asyncio",
                "",
                "from livepeer.client import Gateway",
                "",
                "",
                "async def main():",
                f"    {gateway}",
                f"    async with gw, gw.live({network.id!r}, {options}) as session:",
                *([f'        session.publish_file("{CLIP}")'] if network.takes_input else ()),
                "        async for frame in session.subscribe():",
                "            print(frame)",
                "",
                "",
                "asyncio.run(main())",
            ]
    return "\n".join(lines)


def curl(network: Network) -> str:
    """A request; for a stream the one that starts it, whose answer has its channels in headers,
    and the one that ends it."""
    header = f"Livepeer: {_envelope(network)}"
    if not network.is_live:
        body = json.dumps(_input(network), ensure_ascii=False)
        # By the gateway: after a stream an orchestrator sends blank lines until the time is over.
        url = f"{network.gateway}/process/request/predict"
        return shlex.join(["curl", "-sN", url, "-H", header, "-d", body])
    trust = ["-k"] if network.tls else []
    body = json.dumps({"params": _params(network)}, ensure_ascii=False)
    start = ["curl", "-si", *trust, f"{network.orchestrator}/ai/stream/start"]
    stop = ["curl", "-s", *trust, f"{network.orchestrator}/ai/stream/stop"]
    return "\n".join(
        (
            shlex.join([*start, "-H", header, "-d", body]),
            shlex.join([*stop, "-H", header, "-d", "{}"]),
        )
    )


def runner_curl(network: Network) -> str:
    """The requests of a caller that goes by the discovery: one to find the runner, then for a
    batch class the call itself, for a live one those that open, start and end a session."""
    curl = ["curl", "-sk"] if network.tls else ["curl", "-s"]
    lines = [shlex.join([*curl, f"{network.orchestrator}/discovery"])]
    if not network.is_live:
        body = json.dumps(_input(network), ensure_ascii=False)
        lines.append(shlex.join([*curl, "-N", f"{network.runner}/predict", "-d", body]))
        return "\n".join(lines)
    open_session = shlex.join([*curl, "-X", "POST", network.runner])
    body = shlex.quote(json.dumps({"params": _params(network)}, ensure_ascii=False))
    plain = shlex.join(curl)
    lines += [
        rf"""app=$({open_session} | sed 's/.*"app_url":"\([^"]*\)".*/\1/')""",
        f'{plain} "$app/stream/start" -d {body}',
        f'{plain} -X POST "${{app%/app}}/stop"',
    ]
    return "\n".join(lines)


def attaching(network: Network) -> str:
    """The command that makes any HTTP service, in any language, a live runner of this network."""
    environment = {
        "LIVEPEER_ORCH_URL": network.orchestrator,
        "LIVEPEER_ORCH_SECRET_FILE": network.secret_file,
        **({"LIVEPEER_TLS": network.tls} if network.tls else {}),
    }
    named = [f"{name}={shlex.quote(value)}" for name, value in environment.items()]
    return " ".join((*named, f"livepeer attach --url {SERVICE} --app my/app"))


def _envelope(network: Network) -> str:
    """The job as go-livepeer's `Livepeer` header describes it: base64 of JSON that holds JSON."""
    parameters = {
        "enable_video_ingress": network.takes_input,
        "enable_video_egress": True,
        "enable_data_output": True,
    }
    capability = network.id
    job = {
        "id": f"{capability}-1",
        "request": json.dumps({"stream_id": f"{capability}-1"}),
        "parameters": json.dumps(parameters),
        "capability": capability,
        "sender": "0x0000000000000000000000000000000000000000",
        "sig": "",
        "timeout_seconds": 60,
    }
    return base64.b64encode(json.dumps(job, separators=(",", ":")).encode()).decode()


def _input(network: Network) -> dict[str, Any]:
    example = network.schema.get("example")
    return example if isinstance(example, dict) else {}


def _params(network: Network) -> dict[str, Any]:
    """One of the parameters, to show how they are written."""
    properties = (network.schema.get("params") or {}).get("properties", {})
    for name, field in properties.items():
        if field.get("default") is not None:
            return {name: field["default"]}
    return {}


def _field(name: str, value: Any) -> str:
    """`K=V` as the client's commands read it: what looks like JSON is JSON, all else is text."""
    if not isinstance(value, str):
        return f"{name}={json.dumps(value, ensure_ascii=False)}"
    try:
        json.loads(value)
    except ValueError:
        return f"{name}={value}" if not value.startswith("@") else f"{name}={json.dumps(value)}"
    return f"{name}={json.dumps(value)}"
