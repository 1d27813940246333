"""The lines that call a pipeline on the local network: they work when they are pasted."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from livepeer.runner.playground.written import NOT_BY_CURL, WrittenCall, posting

SERVICE = "http://127.0.0.1:9000"
PRICE = "0.01728"
"""USD an hour, where calls cost test money and nothing else is said: 2.4e9 wei a second."""


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
    app: str = ""
    """Its name as a live runner, empty where it is none."""

    @property
    def id(self) -> str:
        return str(self.schema["id"])

    @property
    def called(self) -> str:
        """The name that calls use. A signer pays live runners alone: go-livepeer's signs no BYOC
        job."""
        return self.app if self.signer and self.app else self.id

    @property
    def example(self) -> WrittenCall:
        """A call with the pipeline's own example, or its first parameter: enough to show how."""
        call = WrittenCall(self.called, self.schema, {})
        return replace(call, given=_params(self.schema) if call.is_live else _input(self.schema))

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
        "The shell (pip install livepeer-client)": shell(network, network.example),
        "Python (pip install livepeer-client)": network.example.python(network.gateway_arguments),
        **(_by_key(network) if network.signer else _by_curl(network)),
        "A service of yours, as a live runner": attaching(network),
    }
    calls = "\n\n".join(f"{title}:\n\n{text}" for title, text in blocks.items())
    return f"{network.id} runs on a local network:\n{runs}\n\n{calls}\n"


def _by_curl(network: Network) -> dict[str, str]:
    """Which cannot pay."""
    found = {"curl": curl(network, network.example)}
    if network.runner:
        found["curl, as a live runner"] = runner_curl(network)
    return found


def _by_key(network: Network) -> dict[str, str]:
    """Which signs BYOC jobs too; go-livepeer's signer does not."""
    title = "A key in place of the signer (pip install 'livepeer-client[eth]')"
    command = shell(replace(network, signer=""), network.example)
    return {title: f"LIVEPEER_ETH_KEY={network.eth_key} {command} --yes"}


def shell(network: Network, call: WrittenCall) -> str:
    """One command."""
    return call.shell(["livepeer", call.verb, network.called], network.where)


def curl(network: Network, call: WrittenCall) -> str:
    """A request; for a stream the one that starts it, whose answer has its channels in headers,
    and the one that ends it."""
    header = f"Livepeer: {_envelope(call)}"
    if not call.is_live:
        # By the gateway: after a stream an orchestrator sends blank lines until the time is over.
        url = f"{network.gateway}/process/request/predict"
        return posting(["curl", "-sN", url, "-H", header], call.given)
    trust = ["-k"] if network.tls else []
    body = json.dumps({"params": call.given}, ensure_ascii=False)
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
    call = WrittenCall.of(network.called, network.schema, content)
    return {
        "Python": call.python(network.gateway_arguments),
        "curl": NOT_BY_CURL if network.signer else curl(network, call),
        "Shell": shell(network, call),
    }


def runner_curl(network: Network) -> str:
    """The requests of a caller that goes by the discovery: one to find the runner, then for a
    batch class the call itself, for a live one those that open, start and end a session."""
    call = network.example
    curl = ["curl", "-sk"] if network.tls else ["curl", "-s"]
    lines = [shlex.join([*curl, f"{network.orchestrator}/discovery"])]
    if not call.is_live:
        body = json.dumps(call.given, ensure_ascii=False)
        lines.append(shlex.join([*curl, "-N", f"{network.runner}/predict", "-d", body]))
        return "\n".join(lines)
    open_session = shlex.join([*curl, "-X", "POST", network.runner])
    body = shlex.quote(json.dumps({"params": call.given}, ensure_ascii=False))
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


def _envelope(call: WrittenCall) -> str:
    """The job as go-livepeer's `Livepeer` header describes it: base64 of JSON that holds JSON."""
    parameters = {
        "enable_video_ingress": call.sends,
        "enable_video_egress": True,
        "enable_data_output": True,
    }
    capability = call.capability
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


def _input(schema: Mapping[str, Any]) -> dict[str, Any]:
    example = schema.get("example")
    return example if isinstance(example, dict) else {}


def _params(schema: Mapping[str, Any]) -> dict[str, Any]:
    """One of the parameters, to show how they are written."""
    properties = (schema.get("params") or {}).get("properties", {})
    for name, declared in properties.items():
        if declared.get("default") is not None:
            return {name: declared["default"]}
    return {}
