"""The routes of the container contract."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import re
import threading
from collections.abc import Iterator
from typing import Annotated, Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import Field

from livepeer.runner import Image, Pipeline, create_app
from livepeer.runner.environment import Secret
from livepeer.runner.settings import (
    Limits,
    OrchestratorAddress,
    RegistrationSettings,
    Settings,
)
from livepeer.runner.testing import client

Serve = Any
LIMIT = 60
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)


class Echo(Pipeline):
    """Say it again."""

    version = "1.2.3"
    capacity = 2

    def predict(self, text: Annotated[str, Field(max_length=100)], times: int = 1) -> str:
        """Repeat a text.

        Args:
            text: what to say
            times: how often
        """
        return text * times


class Mirror(Pipeline):
    def predict(self, image: Image) -> Image:
        return Image(image.data, image.media_type)


class Count(Pipeline):
    def predict(self, to: int) -> Iterator[int]:
        yield from range(to)


async def test_discovery_says_what_it_is_and_where_the_schema_is(served: Serve) -> None:
    async with served(Echo) as s:
        document = (await s.http.get("/")).json()
    assert document == {
        "id": "echo",
        "version": "1.2.3",
        "description": "Say it again.",
        "type": "batch",
        "protocol": "v1",
        "transports": ["http", "sse"],
        "capacity": 2,
        "schema_url": "/schema",
        "openapi_url": "/openapi.json",
        "docs_url": "/docs",
    }


async def test_health_goes_from_loading_to_idle_to_ok_and_back(served: Serve) -> None:
    setup, work = threading.Event(), threading.Event()

    class Slow(Pipeline):
        def setup(self) -> None:
            assert setup.wait(LIMIT)

        def predict(self) -> None:
            assert work.wait(LIMIT)

    async with served(Slow, wait=False) as s:

        async def look() -> tuple[int, str, int]:
            health, ready = await s.http.get("/health"), await s.http.get("/ready")
            return health.status_code, health.json()["status"], ready.status_code

        assert await look() == (200, "LOADING", 503)
        refused = await s.post()
        assert refused.status_code == 503
        assert refused.json()["error"]["type"] == "not_ready"
        assert refused.json()["error"]["retry_after"] == int(refused.headers["retry-after"]) == 5
        setup.set()
        await s.until(lambda: s.service.lifecycle.ready)
        assert await look() == (200, "IDLE", 200)
        call = asyncio.create_task(s.post())
        await s.until(lambda: s.slots_taken == 1)
        assert await look() == (200, "OK", 200)
        work.set()
        assert (await call).status_code == 200
        assert await look() == (200, "IDLE", 200)


async def test_health_and_schema_answer_while_setup_takes_its_time(served: Serve) -> None:
    release = threading.Event()

    class Slow(Pipeline):
        def setup(self) -> None:
            assert release.wait(LIMIT)

        def predict(self) -> str:
            return ""

    async with served(Slow, wait=False) as s:
        for path in ("/health", "/", "/openapi.json", "/docs", "/metrics"):
            assert (await s.http.get(path)).status_code == 200
        assert (await s.http.post("/schema")).status_code == 200
        release.set()


async def test_a_setup_that_raises_is_error_and_keeps_answering_and_its_text_is_for_the_log_only(
    served: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Pipeline):
        def setup(self) -> None:
            raise OSError("no weights at /models/x")

        def predict(self) -> str:
            return ""

    async with served(Broken) as s:
        health = await s.http.get("/health")
        assert health.status_code == 200
        assert health.json()["status"] == "ERROR"
        assert health.json()["reason"] == "setup raised OSError, the log says more"
        assert "no weights" not in health.text and "no weights at /models/x" in caplog.text
        assert (await s.http.get("/ready")).status_code == 503
        assert (await s.post()).status_code == 503


@pytest.mark.parametrize("kind", ["ends", "raises"])
async def test_a_setup_that_is_over_only_after_the_stop_was_asked_for_does_no_harm(
    served: Serve, kind: str
) -> None:
    begun, release = asyncio.Event(), asyncio.Event()
    torn_down = []

    class Late(Pipeline):
        async def setup(self) -> None:
            begun.set()
            await release.wait()
            if kind == "raises":
                raise OSError("late")

        async def predict(self) -> str:
            return ""

        def teardown(self) -> None:
            torn_down.append(kind)

    async with served(Late, wait=False) as s:
        await asyncio.wait_for(begun.wait(), LIMIT)
        s.service.lifecycle.drain()
        release.set()
        await asyncio.wait_for(s.service._loading, LIMIT)
        assert (await s.post()).status_code == 503
    assert torn_down == (["ends"] if kind == "ends" else [])


async def test_an_async_setup_that_exits_is_an_error_too(served: Serve) -> None:
    class Exits(Pipeline):
        async def setup(self) -> None:
            raise SystemExit(3)

        async def predict(self) -> str:
            return ""

    async with served(Exits) as s:
        assert (await s.http.get("/health")).json()["status"] == "ERROR"


@pytest.mark.parametrize("failure", [SystemExit(3), KeyboardInterrupt()])
async def test_a_setup_that_exits_is_an_error_too(served: Serve, failure: BaseException) -> None:
    class Exits(Pipeline):
        def setup(self) -> None:
            raise failure

        def predict(self) -> str:
            return ""

    async with served(Exits) as s:
        assert (await s.http.get("/health")).json()["status"] == "ERROR"


async def test_strict_health_is_503_until_it_is_ready(served: Serve) -> None:
    release = threading.Event()

    class Slow(Pipeline):
        def setup(self) -> None:
            assert release.wait(LIMIT)

        def predict(self) -> str:
            return ""

    async with served(Slow, wait=False, strict_health=True) as s:
        response = await s.http.get("/health")
        assert (response.status_code, response.json()["status"]) == (503, "LOADING")
        release.set()
        await s.until(lambda: s.service.lifecycle.ready)
        assert (await s.http.get("/health")).status_code == 200


async def test_async_hooks_run_on_the_loop(served: Serve) -> None:
    seen: list[str] = []

    class Hooks(Pipeline):
        async def setup(self) -> None:
            seen.append(threading.current_thread().name)

        async def predict(self) -> str:
            return ""

        async def teardown(self) -> None:
            seen.append("teardown")

    async with served(Hooks) as s:
        assert (await s.post()).status_code == 200
    assert seen == ["MainThread", "teardown"]


async def test_schema_takes_no_slot_and_is_the_same_by_get_and_post(served: Serve) -> None:
    async with served(Echo) as s:
        slots = [s.service.lifecycle.acquire() for _ in range(2)]
        by_post = (await s.http.post("/schema")).json()
        assert by_post == (await s.http.get("/schema")).json()
        assert by_post["input"]["properties"]["text"]["description"] == "what to say"
        assert by_post["id"] == "echo" and by_post["protocol"] == "v1"
        for slot in slots:
            slot.release()


async def test_openapi_shows_the_real_fields_and_an_example_that_works(served: Serve) -> None:
    async with served(Echo) as s:
        document = (await s.http.get("/openapi.json")).json()
        body = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
        name = body["schema"]["$ref"].rsplit("/", 1)[-1]
        model = document["components"]["schemas"][name]
        assert model["properties"]["text"]["maxLength"] == 100
        assert (await s.http.post("/predict", json=body["example"])).status_code == 200


async def test_a_path_that_is_none_is_404_in_the_error_shape_and_names_the_routes(
    served: Serve,
) -> None:
    async with served(Echo) as s:
        for path in ("/chat", "/predict/x", "/v1/predict", "/Predict"):
            response = await s.http.post(path, json={"text": "a"})
            assert response.status_code == 404
            assert response.json()["error"]["type"] == "not_found"
            assert "/predict" in response.json()["error"]["message"]


async def test_the_wrong_method_is_405_in_the_error_shape(served: Serve) -> None:
    async with served(Echo) as s:
        response = await s.http.get("/predict")
        assert (response.status_code, response.headers["allow"]) == (405, "POST")
        assert response.json()["error"]["type"] == "method_not_allowed"


@pytest.mark.parametrize("path", ["//predict", "/predict/"])
async def test_a_slash_too_many_before_or_after_the_route_does_no_harm(
    served: Serve, path: str
) -> None:
    async with served(Echo) as s:
        url = httpx.URL(f"http://127.0.0.1:{s.port}{path}")
        response = await s.http.post(url, json={"text": "a"})
        assert (response.status_code, response.json()) == (200, "a")


async def test_a_request_id_is_passed_through_or_made(served: Serve) -> None:
    async with served(Echo) as s:
        given = await s.http.get("/health", headers={"x-request-id": "abc-1"})
        assert given.headers["x-request-id"] == "abc-1"
        made = (await s.http.get("/health")).headers["x-request-id"]
        assert len(made) == 24
        bad = await s.http.get("/health", headers={"x-request-id": "x" * 200})
        assert len(bad.headers["x-request-id"]) == 24


async def test_the_request_id_is_the_job_id_in_logs(
    served: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    class Logs(Pipeline):
        def predict(self) -> str:
            self.log.warning("working")
            return ""

    async with served(Logs) as s:
        await s.http.post("/predict", json={}, headers={"x-request-id": "job-9"})
    record = next(record for record in caplog.records if record.message == "working")
    assert record.job_id == "job-9"  # type: ignore[attr-defined]


async def test_a_body_over_the_limit_is_413_with_and_without_a_length(served: Serve) -> None:
    async with served(Echo, limits=Limits(max_body=1000)) as s:

        async def chunks() -> Any:
            for _ in range(30):
                yield b"x" * 100

        for content in (b"x" * 2000, chunks()):
            response = await s.http.post("/predict", content=content)
            assert response.status_code == 413
            assert response.json()["error"]["type"] == "payload_too_large"
        assert s.slots_taken == 0


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b"null", b"\xff", b'{"text":1}', b'{"text":"a","other":1}']
)
async def test_a_bad_body_is_422_and_names_what_is_wrong(served: Serve, body: bytes) -> None:
    async with served(Echo) as s:
        response = await s.http.post("/predict", content=body)
        assert response.status_code == 422
        assert response.json()["error"]["fields"]
        assert s.slots_taken == 0


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded"])
async def test_json_is_read_whatever_type_the_caller_gave(served: Serve, content_type: str) -> None:
    async with served(Echo) as s:
        response = await s.http.post(
            "/predict", content=b'{"text":"a"}', headers={"content-type": content_type}
        )
        assert response.json() == "a"


async def test_a_form_is_read_as_the_same_fields(served: Serve) -> None:
    async with served(Echo) as s:
        response = await s.http.post("/predict", data={"text": "a", "times": "3"})
        assert response.json() == "aaa"


async def test_a_large_body_is_parsed_off_the_loop(served: Serve) -> None:
    class Length(Pipeline):
        def predict(self, text: str) -> int:
            return len(text)

    async with served(Length) as s:
        assert (await s.post(text="x" * 1_000_000)).json() == 1_000_000


async def test_a_file_comes_in_as_a_form_part_or_base64_and_leaves_as_itself(
    served: Serve,
) -> None:
    import base64

    async with served(Mirror) as s:
        part = await s.http.post("/predict", files={"image": ("a.png", PNG, "image/png")})
        text = await s.post(image=base64.b64encode(PNG).decode())
        for response in (part, text):
            assert response.status_code == 200, response.text
            assert response.headers["content-type"] == "image/png"
            assert response.content == PNG
        assert (await s.post(image="!")).status_code == 422


async def test_a_private_url_is_refused_as_the_callers_mistake(served: Serve) -> None:
    async with served(Mirror) as s:
        response = await s.post(image=f"http://127.0.0.1:{s.port}/docs")
        assert response.status_code == 422
        assert response.json()["error"]["fields"][0]["name"] == "image"
        assert s.slots_taken == 0


def registered(url: str) -> RegistrationSettings:
    return RegistrationSettings((OrchestratorAddress(url, Secret("s")),), capability_url=url)


async def test_a_registered_container_wants_the_token_that_it_gave_out(served: Serve) -> None:
    async with served(Echo, registration=registered("http://127.0.0.1:1")) as s:
        caller = next(iter(s.service.registration.callers))
        good = {"authorization": f"Bearer {caller.token.reveal()}"}
        for headers, status in [({}, 401), ({"authorization": "Bearer x"}, 401), (good, 200)]:
            for path in ("/predict", "/schema"):
                response = await s.http.post(path, json={"text": "a"}, headers=headers)
                assert response.status_code == status
        assert caller.started == 2 and caller.in_flight == 0
        for path in ("/", "/health", "/ready", "/docs", "/openapi.json", "/metrics", "/schema"):
            assert (await s.http.get(path)).status_code == 200
        health = (await s.http.get("/health")).json()
        assert health["status"] == "IDLE"
        assert health["registration"][0]["orchestrator"] == "http://127.0.0.1:1"
        assert caller.token.reveal() not in str(health)


def test_the_app_can_be_mounted_into_another_one() -> None:
    from contextlib import asynccontextmanager

    inner = create_app(Echo, Settings())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> Any:
        async with inner.router.lifespan_context(inner):
            yield

    outer = FastAPI(lifespan=lifespan)
    outer.mount("/echo", inner)
    from livepeer.runner.testing import LocalServer

    outer.state.service = inner.state.service
    with LocalServer(outer) as server, httpx.Client(base_url=server.url) as http:
        server.wait_settled(LIMIT)
        assert http.post("/echo/predict", json={"text": "a"}).json() == "a"


def test_the_environment_can_lower_or_raise_the_capacity() -> None:
    settings = dataclasses.replace(Settings(), capacity=7)
    with client(Echo, settings=settings) as echo:
        assert echo.get("/").json()["capacity"] == 7


def test_a_class_that_is_no_pipeline_is_refused() -> None:
    with pytest.raises(TypeError, match="is no Pipeline"):
        create_app(dict, Settings())  # type: ignore[arg-type]


async def test_the_docs_show_without_internet_and_run_no_script(served: Serve) -> None:
    class Marked(Pipeline):
        description = "<script>alert(1)</script>"

        def predict(self, text: Annotated[str, Field(description="A & <b>")], n: int = 5) -> str:
            return text

    async with served(Marked) as s:
        response = await s.http.get("/docs")
    page = response.text
    assert response.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert not re.search(r"<script|src=|https?://(?!localhost)|@import|url\(", page)
    for shown in ("POST", "/predict", "text", "A &amp; &lt;b&gt;", "required", "integer", "curl"):
        assert shown in page
    assert "&lt;script&gt;" in page


async def test_every_request_is_a_line_of_the_log_but_not_the_probes(
    served: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "livepeer.runner.access")
    async with served(Echo) as s:
        await s.http.post("/predict", json={"text": "a"}, headers={"x-request-id": "mine"})
        await s.http.get("/nothing")
        await s.http.get("/ready")
    lines = [one for one in caplog.records if one.name == "livepeer.runner.access"]
    assert [re.sub(r"[\d.]+ s$", "", one.getMessage()) for one in lines] == [
        "127.0.0.1 POST /predict 200 ",
        "127.0.0.1 GET /nothing 404 ",
    ]
    assert lines[0].job_id == "mine"  # type: ignore[attr-defined]
