"""What we send and how we read answers, against what the real orchestrator took and gave.

The transcripts are `specs/fixtures/byoc/registration.json`, recorded from go-livepeer.
"""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from livepeer.runner.attach.byoc.client import (
    NOBODY,
    OrchestratorClient,
    available_capacity,
    registration_failure,
)
from livepeer.runner.attach.client import RegistryAnswer
from livepeer.runner.devnet import LocalOrchestrator
from livepeer.runner.registration import Callers, Capability
from livepeer.runner.settings import OrchestratorAddress, Secret

FIXTURES = Path(__file__).parents[4] / "specs" / "fixtures" / "byoc"
SCENARIOS: list[dict[str, Any]] = json.loads((FIXTURES / "registration.json").read_text())[
    "scenarios"
]


def exchanges(scenario: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Each request of a caller with what then arrived."""
    found, sent = [], None
    for step in scenario["steps"]:
        if "send" in step:
            sent = step["send"]
        elif "caller" in step and "receives" in step and sent is not None:
            found.append((sent, step["receives"]))
            sent = None
    return found


def every(path: str) -> list[Any]:
    return [
        pytest.param(sent, received, id=f"{scenario['name']}-{number}")
        for scenario in SCENARIOS
        for number, (sent, received) in enumerate(exchanges(scenario))
        if sent["path"].split("?")[0] == path and "status" in received
    ]


@pytest.mark.parametrize(("sent", "received"), every("/capability/register"))
def test_the_answer_to_a_registration_is_understood(
    sent: dict[str, Any], received: dict[str, Any]
) -> None:
    """200 is taken; everything that the reference refuses is the operator's to change."""
    failure = registration_failure(RegistryAnswer(received["status"], received.get("body", "")))
    if received["status"] == 200:
        assert failure is None
        return
    assert failure is not None
    reason, final = failure
    assert final
    wrong_secret = sent["headers"].get("Authorization") != "orch-secret"
    assert ("LIVEPEER_ORCH_SECRET" in reason) == wrong_secret


@pytest.mark.parametrize(("sent", "received"), every("/process/token"))
def test_a_token_shows_the_free_places(sent: dict[str, Any], received: dict[str, Any]) -> None:
    text = received.get("body") or json.dumps(received.get("json", {}))
    places = available_capacity(RegistryAnswer(received["status"], text))
    if received["status"] != 200:
        assert places is None
    elif "json" in received:
        assert places == received["json"].get("available_capacity", 0)
    else:
        assert isinstance(places, int)


def taken() -> list[dict[str, Any]]:
    """The registrations that the reference took, as their senders wrote them."""
    return [
        sent["body"]["json"]
        for scenario in SCENARIOS
        if not scenario.get("reference_bug")
        for sent, received in exchanges(scenario)
        if sent["path"] == "/capability/register"
        and received.get("status") == 200
        and isinstance(sent.get("body"), dict)
        and isinstance(sent["body"].get("json"), dict)
    ]


def test_our_registration_has_only_fields_and_types_that_the_reference_took() -> None:
    (caller,) = Callers(["https://orch"])
    ours = Capability(name="echo", capacity=2).body(url="http://10.0.0.5:1/", token=caller.token)
    known: dict[str, set[type]] = {}
    for body in taken():
        for name, value in body.items():
            known.setdefault(name, set()).add(type(value))
    assert ours.pop("protocol") == "v1"  # the reference ignores what it does not know:
    assert any("version" in body for body in taken())
    for name, value in ours.items():
        assert type(value) in known[name], name
    assert set(taken()[0]) <= set(ours)
    assert ours["url"] == "http://10.0.0.5:1"


@pytest.mark.parametrize("body", taken(), ids=lambda body: str(body.get("name")))
def test_what_the_reference_took_we_can_say(body: dict[str, Any]) -> None:
    """With the exceptions that would never be chosen, or never reached."""
    fields = {key: body[key] for key in Capability.__dataclass_fields__ if key in body}
    fields["url"] = (
        fields.get("url", "").replace("${container}", "h:1").replace("${container2}", "h:2")
    )
    pointless = (
        fields.get("capacity", 1) < 1
        or fields.get("price_scaling", 1) < 1
        or "?" in fields["url"]
        or "://" not in fields["url"]
        or not fields.get("name")
    )
    if pointless:
        with pytest.raises(ValueError, match=r"write|can have no"):
            Capability(**fields).body(url="x", token=Secret("t"))
        return
    ours = Capability(**fields).body(url=fields["url"], token=Secret(body.get("token", "")))
    for name, value in fields.items():
        assert ours[name] == (value.rstrip("/") if name == "url" else value)


def test_an_orchestrator_takes_the_address_that_we_look_with() -> None:
    addresses = [
        (sent["headers"].get("Livepeer-Eth-Address"), received["status"])
        for scenario in SCENARIOS
        for sent, received in exchanges(scenario)
        if sent["path"] == "/process/token" and "status" in received
    ]
    ours = json.loads(base64.b64decode(NOBODY))
    assert ({"b64json": ours}, 200) in addresses


async def test_we_unregister_as_recorded() -> None:
    (scenario,) = [each for each in SCENARIOS if each["name"] == "unregister_ok"]
    recorded = exchanges(scenario)[-1][0]
    assert recorded["body"] == "cap-unregister-ok"
    async with LocalOrchestrator(secret="orch-secret") as orchestrator:
        orchestrator.capabilities.register(b'{"name": "cap-unregister-ok", "capacity": 2}')
        address = OrchestratorAddress(orchestrator.url, Secret("orch-secret"))
        async with OrchestratorClient(address, tls=False, timeout=5) as client:
            assert available_capacity(await client.token("cap-unregister-ok")) == 2
            assert (await client.unregister("cap-unregister-ok")).text == "ok"
            assert available_capacity(await client.token("cap-unregister-ok")) == 0
