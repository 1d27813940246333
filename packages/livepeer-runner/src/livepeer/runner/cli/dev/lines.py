"""The lines that call a pipeline on the local network: they work when they are pasted."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from livepeer.runner.playground.written import (
    NOT_BY_CURL,
    fields,
    names_in,
    posting,
    python_value,
)

CLIP = "in.mp4"
SERVICE = "http://127.0.0.1:9000"
PRICE = "0.01728"
"""USD an hour, where calls cost test money and nothing else is said: 2.4e9 wei a second."""
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
    playground: str = ""
    """The page's address, where there is one."""
    signer: str = ""
    """Where payments are signed, where calls cost something."""
    eth_key: str = field(default="", repr=False)
    """A test key that everybody knows, which can pay there as well."""

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
        found = ["--orch", self.orchestrator, *(("--tls", self.tls) if self.tls else ())]
        return found + (["--signer", self.signer, "--yes"] if self.signer else [])

    @property
    def gateway_arguments(self) -> str:
        """The arguments of the client's `Gateway`."""
        found = {"orch_url": self.orchestrator, "signer_url": self.signer, "tls": self.tls}
        return ", ".join(f'{name}="{value}"' for name, value in found.items() if value)


def overview(network: Network) -> str:
    """What runs where, and how to call it: through BYOC, and as a live runner; where it costs
    something, by a signer and by a key."""
    parts = {
        **({"playground": network.playground} if network.playground else {}),
        "pipeline": f"{network.pipeline} (what it takes: {network.pipeline}/docs)",
        "orchestrator": network.orchestrator,
        **(
            {"signer": f"{network.signer} (test money: {PRICE} USD an hour, unless you say else)"}
            if network.signer
            else {"gateway": network.gateway}
        ),
    }
    runs = "\n".join(f"  {name:<13}{text}" for name, text in parts.items())
    blocks = {
        "The shell (pip install livepeer-client)": shell(network),
        "Python (pip install livepeer-client)": python(network),
        **(_by_key(network) if network.signer else _by_curl(network)),
        "A service of yours, as a live runner": attaching(network),
    }
    calls = "\n\n".join(f"{title}:\n\n{text}" for title, text in blocks.items())
    return f"{network.id} runs on a local network:\n{runs}\n\n{calls}\n"


def _by_curl(network: Network) -> dict[str, str]:
    """Which cannot pay."""
    found = {"curl": curl(network)}
    if network.runner:
        found["curl, as a live runner"] = runner_curl(network)
    return found


def _by_key(network: Network) -> dict[str, str]:
    """Which signs BYOC jobs too; go-livepeer's signer does not."""
    title = "A key in place of the signer (pip install 'livepeer-client[eth]')"
    command = shell(replace(network, signer=""))
    return {title: f"LIVEPEER_ETH_KEY={network.eth_key} {command} --yes"}


@dataclass(frozen=True, slots=True)
class Given:
    """What a printed call is made with: the input of a request, or live parameters."""

    input: dict[str, Any]
    params: dict[str, Any]

    @classmethod
    def example(cls, network: Network) -> Given:
        """By the pipeline's own example, and its first parameter: enough to show how."""
        return cls(_input(network), _params(network))


def shell(network: Network, given: Given | None = None) -> str:
    """One command."""
    given = given or Given.example(network)
    words = ["livepeer", network.verb, network.id]
    if network.is_live:
        words += ["-i", CLIP] if network.takes_input else ["--seconds", str(SECONDS)]
        words += ["-o", "out.mp4"]
        words += fields(given.params, "-p")
    else:
        words += fields(given.input, "-i")
    return shlex.join([*words, *network.where])


def python(network: Network, given: Given | None = None) -> str:
    """A program."""
    given = given or Given.example(network)
    path = ["from pathlib import Path", ""] if any(True for _ in names_in(given.input)) else []
    values = python_value(given.input)
    gateway = f"gw = Gateway({network.gateway_arguments})"
    match network.verb:
        case "run":
            lines = [
                *path,
                "from livepeer.client import Gateway",
                "",
                gateway,
                f"print(gw.run({network.id!r}, input={values}))",
            ]
        case "stream":
            lines = [
                *path,
                "from livepeer.client import Gateway",
                "",
                gateway,
                f"with gw.stream({network.id!r}, input={values}) as events:",
                "    for event in events:",
                "        print(event.json())",
            ]
        case _:
            options = f"params={given.params!r}" + (
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


def curl(network: Network, given: Given | None = None) -> str:
    """A request; for a stream the one that starts it, whose answer has its channels in headers,
    and the one that ends it."""
    given = given or Given.example(network)
    header = f"Livepeer: {_envelope(network)}"
    if not network.is_live:
        # By the gateway: after a stream an orchestrator sends blank lines until the time is over.
        url = f"{network.gateway}/process/request/predict"
        return posting(["curl", "-sN", url, "-H", header], given.input)
    trust = ["-k"] if network.tls else []
    body = json.dumps({"params": given.params}, ensure_ascii=False)
    start = ["curl", "-si", *trust, f"{network.orchestrator}/ai/stream/start"]
    stop = ["curl", "-s", *trust, f"{network.orchestrator}/ai/stream/stop"]
    return "\n".join(
        (
            shlex.join([*start, "-H", header, "-d", body]),
            shlex.join([*stop, "-H", header, "-d", "{}"]),
        )
    )


def calls(network: Network, content: Mapping[str, Any]) -> dict[str, str]:
    """The call that a page makes, by the title of each way to make it.

    `content` has its `input` or its `params`. Raises `ValueError` for what is neither.
    """
    value, params = content.get("input", {}), content.get("params", {})
    if not isinstance(value, dict) or not isinstance(params, dict):
        raise ValueError("an input is an object")
    given = Given(value, params)
    made = {"Python": python(network, given)}
    made["curl"] = NOT_BY_CURL if network.signer else curl(network, given)
    try:
        return {**made, "Shell": shell(network, given)}
    except ValueError as error:
        return {**made, "Shell": f"# {error}"}


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
        **({"LIVEPEER_APP_PRICE": PRICE} if network.signer else {}),
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
    for name, declared in properties.items():
        if declared.get("default") is not None:
            return {name: declared["default"]}
    return {}
