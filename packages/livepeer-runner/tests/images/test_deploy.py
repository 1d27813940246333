"""What an operator pastes is what Kubernetes, compose and the container itself take."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from livepeer.runner.devnet.live_runners.runners_file import static_entries
from livepeer.runner.packaging.deploy import MOST, Deployment
from livepeer.runner.settings import Settings

from .deploy_schemas import COMPOSE, DEPLOYMENT

TOLD = "me/app@sha256:" + "a" * 64
PINNED = f"ghcr.io/{TOLD}"
SECRET = "LIVEPEER_ORCH_SECRET"

EACH = [
    Deployment(PINNED, "sentiment", gpu, replicas) for gpu in (False, True) for replicas in (1, 4)
]


def registered(environment: dict[str, str]) -> Any:
    """As the container reads it, with a secret in place of its file."""
    values = {name: value for name, value in environment.items() if not name.startswith(SECRET)}
    found = Settings.from_env(values | {SECRET: "s"}).registration
    assert found is not None
    return found


@pytest.mark.parametrize("deployment", EACH, ids=str)
def test_the_manifest_is_a_deployment_in_which_each_pod_tells_its_own_address(
    deployment: Deployment,
) -> None:
    content = yaml.safe_load(deployment.text("kubernetes"))
    jsonschema.validate(content, DEPLOYMENT)
    spec = content["spec"]
    assert spec["replicas"] == deployment.replicas
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["terminationGracePeriodSeconds"] > Settings().limits.drain_timeout
    assert container["readinessProbe"]["httpGet"]["path"] == "/ready"
    assert container["livenessProbe"]["httpGet"]["path"] == "/health"
    assert {each["name"] for each in container["volumeMounts"]} == {
        each["name"] for each in pod["volumes"]
    }
    names = [each["name"] for each in container["env"]]
    assert names.index("POD_IP") < names.index("LIVEPEER_CAPABILITY_URL"), "used before it is set"
    values = {each["name"]: each.get("value", "10.0.0.7") for each in container["env"]}
    url = values["LIVEPEER_CAPABILITY_URL"].replace("$(POD_IP)", values.pop("POD_IP"))
    found = registered(values | {"LIVEPEER_CAPABILITY_URL": url})
    assert (found.kind, found.app) == ("live-runner", "OWNER/sentiment")
    assert found.capability_url == "http://10.0.0.7:8000"
    assert found.image == TOLD
    assert ("resources" in container) == ("strategy" in spec) == deployment.gpu


@pytest.mark.parametrize("deployment", EACH, ids=str)
def test_the_compose_file_has_a_container_with_a_port_and_a_gpu_of_its_own_for_each(
    deployment: Deployment,
) -> None:
    content = yaml.safe_load(deployment.text("compose"))
    jsonschema.validate(content, COMPOSE)
    services = list(content["services"].values())
    assert len(services) == deployment.replicas
    ports = [service["ports"][0].split(":")[0] for service in services]
    assert len(set(ports)) == deployment.replicas
    for service, port in zip(services, ports, strict=True):
        found = registered(service["environment"])
        assert (found.kind, found.capability_url) == ("live-runner", f"http://THIS-HOST:{port}")
        assert found.image == TOLD
        assert set(service["secrets"]) == set(content["secrets"])
        assert ("deploy" in service) == deployment.gpu
    if deployment.gpu and deployment.replicas > 1:
        devices = [
            service["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"]
            for service in services
        ]
        assert devices == [["0"], ["1"], ["2"], ["3"]]


@pytest.mark.parametrize("deployment", EACH, ids=str)
def test_docker_gets_a_command_for_each(deployment: Deployment) -> None:
    commands = deployment.text("docker").split("\n\n")
    assert len(commands) == deployment.replicas
    for command in commands:
        variables = dict(re.findall(r"-e (\S+)=(\S+)", command))
        (port,) = re.findall(r"-p (\d+):8000", command)
        found = registered(variables)
        assert (found.capability_url, found.image) == (f"http://THIS-HOST:{port}", TOLD)
        assert command.rstrip().endswith(PINNED)


@pytest.mark.parametrize("deployment", EACH, ids=str)
@pytest.mark.parametrize("live", [False, True])
def test_an_orchestrator_takes_the_entries_of_those_that_are_listed_by_hand(
    deployment: Deployment, live: bool
) -> None:
    listed = replace(deployment, live=live, version="1.2.0", capacity=3).text("runners.json")
    entries = static_entries(listed.encode(), check_prices=False)
    assert len(entries) == deployment.replicas
    for number, entry in enumerate(entries):
        assert entry.health_url == f"http://THIS-HOST:{8000 + number}/ready"
        says = entry.says
        assert (says.app, says.version, says.capacity) == ("OWNER/sentiment", "1.2.0", 3)
        assert says.mode == ("persistent" if live else "single-shot")
        assert json.loads(says.metadata) == {"image": TOLD}


@pytest.mark.parametrize("form", ["compose", "kubernetes"])
def test_a_field_with_a_mistake_in_its_name_is_one_that_nobody_takes(form: Any) -> None:
    text = EACH[-1].text(form)
    schema = COMPOSE if form == "compose" else DEPLOYMENT
    validator = jsonschema.validators.validator_for(schema)(schema)
    for field in re.findall(r"^ +-? ?([a-z]\w+):", text, re.M):
        if field in ("sentiment", "app", "orch_secret"):  # names of ours
            continue
        broken = re.sub(rf"\b{field}:", f"{field}x:", text)
        with pytest.raises(jsonschema.ValidationError):
            validator.validate(yaml.safe_load(broken))


@pytest.mark.parametrize("replicas", [0, -1, MOST + 1])
def test_as_many_as_have_a_port(replicas: int) -> None:
    with pytest.raises(ValueError, match=f"1 to {MOST}"):
        Deployment(PINNED, "sentiment", replicas=replicas)


def test_the_operators_page_shows_what_the_command_prints() -> None:
    page = (Path(__file__).parents[4] / "docs" / "operators.md").read_text()
    image = "ghcr.io/OWNER/hello-world@sha256:DIGEST"
    for form, replicas in (("compose", 2), ("kubernetes", 4)):
        text = Deployment(image, "hello-world", gpu=True, replicas=replicas).text(form)  # type: ignore[arg-type]
        assert f"```yaml\n{text}```" in page, f"write it in anew: {form}"
