"""The schemas in specs/ against what containers serve and what orchestrators send."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import jsonschema
import pytest
from pydantic import BaseModel

from livepeer.runner import Pipeline
from livepeer.runner.author.files import Image
from livepeer.runner.author.signature import PredictSignature
from livepeer.runner.registration import Callers, Capability, OrchestratorState

SPECS = Path(__file__).parents[4] / "specs"
NAMES = ["discovery", "error", "health", "registration", "schema", "stream-start"]
#: Of documents that no container answers: each is held where its document is made.
HELD_ELSEWHERE = ["bench", "check", "doctor", "livepeer-yaml"]


def validator(name: str) -> jsonschema.Draft202012Validator:
    schema = json.loads((SPECS / "schemas" / f"{name}.json").read_text())
    return jsonschema.Draft202012Validator(schema)


def check(name: str, document: Any) -> None:
    validator(name).validate(document)


class Reply(BaseModel):
    label: Literal["positive", "negative"]


class Sentiment(Pipeline):
    """Tell whether a text is positive."""

    def predict(self, text: str) -> Reply:
        if text == "broken":
            raise RuntimeError("the model is broken")
        return Reply(label="positive")


class Words(Pipeline):
    def predict(self, text: str) -> Iterator[str]:
        yield from text.split()


class Flip(Pipeline):
    def predict(self, image: Image) -> Image:
        return image


class Broken(Pipeline):
    def setup(self) -> None:
        raise RuntimeError("no weights")

    def predict(self) -> str:
        return ""


@pytest.mark.parametrize("name", NAMES)
def test_each_is_a_schema(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(validator(name).schema)
    there = {path.stem for path in (SPECS / "schemas").glob("*.json")}
    assert there == {*NAMES, *HELD_ELSEWHERE}


@pytest.mark.parametrize("cls", [Sentiment, Words, Flip])
async def test_a_served_pipeline_keeps_to_them(cls: type[Pipeline], served: Any) -> None:
    async with served(cls) as s:
        check("discovery", (await s.http.get("/")).json())
        health = (await s.http.get("/health")).json()
        check("health", health)
        assert health["status"] == "IDLE"
        document = (await s.http.post("/schema")).json()
        check("schema", document)
        jsonschema.validate(document["example"], document["input"])
        assert document["protocol"] == "v1"


async def test_errors_have_one_shape(served: Any) -> None:
    async with served(Sentiment) as s:
        for response, status in [
            (await s.post(), 422),
            (await s.post(text=5), 422),
            (await s.http.post("/predict", content=b"{"), 422),
            (await s.post(text="broken"), 500),
            (await s.http.get("/nowhere"), 404),
            (await s.http.get("/predict"), 405),
        ]:
            assert response.status_code == status
            check("error", response.json())
    async with served(Broken) as s:
        health = (await s.http.get("/health")).json()
        check("health", health)
        assert health["status"] == "ERROR"
        refused = await s.post()
        assert refused.status_code == 503
        check("error", refused.json())


def test_what_is_sent_to_an_orchestrator_is_a_registration() -> None:
    (caller,) = Callers(["https://orchestrator"])
    check("registration", Capability(name="echo").body(url="http://h:1/", token=caller.token))


def test_states_of_a_registration_fit_into_health() -> None:
    state = OrchestratorState("https://orchestrator")
    states = [state, state.becomes("registered"), state.becomes("retrying", "it is down")]
    states.append(state.becomes("refused", "the secret is wrong"))
    check("health", {"status": "OK", "registration": [each.as_dict() for each in states]})


def test_what_orchestrators_send_is_a_stream_start() -> None:
    bodies = [
        step["receives"]["json"]
        for scenario in json.loads((SPECS / "fixtures/byoc/stream.json").read_text())["scenarios"]
        if scenario["group"] == "start"
        for step in scenario["steps"]
        if "container" in step
        and (step.get("receives") or {}).get("path", "").endswith("/stream/start")
    ]
    assert len(bodies) >= 10
    for body in bodies:
        check("stream-start", json.loads(json.dumps(body).replace("${orch}", "orch:8935")))


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("health", {}),
        ("health", {"status": "READY"}),
        ("health", {"status": "ERROR"}),
        ("health", {"status": "IDLE", "in_flight": 1}),
        (
            "health",
            {
                "status": "OK",
                "registration": [
                    {"orchestrator": "https://a", "status": "refused", "since": 1, "attempts": 1}
                ],
            },
        ),
        ("error", {"error": "text"}),
        ("error", {"error": {"type": "x", "message": "", "fields": []}}),
        ("error", {"error": {"type": "x", "message": "m", "fields": [], "retry_after": 0}}),
        ("registration", {"name": "a", "url": "http://h/", "capacity": 1}),
        ("stream-start", {"gateway_request_id": "", "control_url": "x", "events_url": "x"}),
        ("discovery", {"id": "a", "version": "1", "type": "other", "protocol": "v1"}),
        ("schema", {"protocol": "v2"}),
        (
            "schema",
            PredictSignature.of(Sentiment).schema(id="a", version="1") | {"input": {"type": 5}},
        ),
    ],
)
def test_what_breaks_the_contract_is_noticed(name: str, document: Any) -> None:
    with pytest.raises(jsonschema.ValidationError):
        check(name, document)


@pytest.mark.parametrize("name", NAMES)
def test_fields_of_newer_peers_are_no_error(name: str) -> None:
    """`additionalProperties: false` would make every addition a breaking change."""

    def closed(node: Any) -> Iterator[Any]:
        if isinstance(node, dict):
            yield node.get("additionalProperties", True)
            yield node.get("unevaluatedProperties", True)
            for child in node.values():
                yield from closed(child)
        elif isinstance(node, list):
            for child in node:
                yield from closed(child)

    assert all(closed(validator(name).schema))
