"""docs/operators.md says what is true: names, messages, files and commands are tried."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from livepeer.runner.settings import Settings
from livepeer.runner.settings import __doc__ as variables

from .network import EXAMPLES, Network

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operators.md").read_text()
RUNNER = ROOT / "packages" / "livepeer-runner" / "src" / "livepeer" / "runner"
LIMIT = 120.0


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.S | re.M)


def command(words: str) -> str:
    """The one on the page that has these words."""
    lines = "\n".join(blocks("sh")).replace("\\\n", " ").splitlines()
    (found,) = (line for line in lines if words in line)
    return found


def known() -> set[str]:
    """The runner's variables, from the table of its settings."""
    return set(re.findall(r"`([A-Z][A-Z_]+)`", variables or ""))


def test_every_variable_on_the_page_is_one_that_the_runner_reads() -> None:
    named = set(re.findall(r"\b((?:LIVEPEER|ORCH|CAPABILITY)_[A-Z_]+|PREPARE_MODELS)\b", PAGE))
    assert named <= known(), f"unknown: {named - known()}"
    older = dict(
        re.findall(r"^\| `((?:ORCH|CAPABILITY)_\w+)`[^|]*\| `(LIVEPEER_\w+)` \|$", PAGE, re.M)
    )
    assert len(older) >= 8
    for old, new in older.items():
        line = next(
            line for line in (variables or "").splitlines() if line.startswith(f"| `{new}`")
        )
        assert f"`{old}`" in line


def test_every_older_name_of_the_runner_is_on_the_page() -> None:
    older = {name for name in known() if name.startswith(("ORCH_", "CAPABILITY_"))}
    assert older <= set(re.findall(r"`(\w+)`", PAGE))


def test_the_messages_of_the_table_are_those_that_are_printed() -> None:
    table = PAGE.partition("## When it does not work")[2].partition("## ")[0]
    quoted = [
        text
        for line in table.splitlines()
        if line.startswith("| ")
        for text in re.findall(r"`([^`]+ [^`]+)`", line.split(" | ")[0])
    ]
    assert len(quoted) > 10
    source = " ".join(path.read_text() for path in RUNNER.rglob("*.py"))
    source = re.sub(r'"\s*\n\s*f?"', "", source)  # literals that run over several lines
    for text in quoted:
        pattern = re.escape(text).replace("4", "[^ ]+").replace(r"\{host\}", "[^ ]+")
        missing = text.startswith("LIVEPEER_ORCH_SECRET is")  # said of whichever variable it is
        assert missing or re.search(pattern, source), f"nothing says {text!r}"


def compose() -> dict[str, Any]:
    """The one beside go-livepeer; the others are what `livepeer push` prints, and tested there."""
    found: dict[str, Any] = yaml.safe_load(blocks("yaml")[0])
    return found


def test_the_compose_file_is_one_and_its_parts_fit_together(tmp_path: Path) -> None:
    services = compose()["services"]
    container, orchestrator = services["hello-world"], services["orchestrator"]
    environment = container["environment"]
    assert set(environment) <= known()
    flags = shlex.split(orchestrator["command"])
    address = flags[flags.index("-serviceAddr") + 1]
    assert environment["LIVEPEER_ORCH_URL"] == f"https://{address}"
    assert orchestrator["ports"] == [f"{address.split(':')[1]}:{address.split(':')[1]}"]
    assert environment["LIVEPEER_CAPABILITY_URL"] == "http://hello-world:8000"
    (secret,) = compose()["secrets"]
    assert container["secrets"] == orchestrator["secrets"] == [secret]
    assert flags[flags.index("-orchSecret") + 1] == f"/run/secrets/{secret}"
    assert environment["LIVEPEER_ORCH_SECRET_FILE"] == f"/run/secrets/{secret}"
    assert int(container["stop_grace_period"].removesuffix("s")) > Settings().limits.drain_timeout
    (tmp_path / secret).write_text("s3cret\n")
    settings = Settings.from_env(
        environment | {"LIVEPEER_ORCH_SECRET_FILE": str(tmp_path / secret)}
    )
    assert settings.registration is not None
    (joined,) = settings.registration.orchestrators
    assert (joined.url, joined.secret.reveal()) == (f"https://{address}", "s3cret")
    assert settings.port == 8000 and settings.capacity == 4


async def ran(command: str) -> str:
    beside = os.path.dirname(sys.executable)  # `python` and `livepeer` are those of the tests
    process = await asyncio.create_subprocess_shell(
        command,
        env={**os.environ, "PATH": f"{beside}:{os.environ['PATH']}"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(process.communicate(), LIMIT)
    assert process.returncode == 0, said.decode()
    return said.decode()


async def test_the_build_step_of_the_dockerfile_prepares_models(tmp_path: Path) -> None:
    (dockerfile,) = blocks("dockerfile")
    (step,) = re.findall(r"^RUN (.*pipeline\.py)$", dockerfile, re.M)
    models = tmp_path / "models"
    await ran(f"cd {EXAMPLES / 'hello_world'} && LIVEPEER_MODEL_DIR={models} {step}")
    assert models.is_dir()


@pytest.mark.skipif(shutil.which("curl") is None, reason="the page calls curl")
@pytest.mark.parametrize("how", ["as compose starts it", "by the older names"])
@pytest.mark.slow
async def test_the_container_joins_shows_it_and_answers_as_the_page_says(
    network: Network, tmp_path: Path, how: str
) -> None:
    environment = {
        key: value
        for key, value in compose()["services"]["hello-world"]["environment"].items()
        if key != "LIVEPEER_CAPABILITY_URL"
    }
    secret = tmp_path / "secret"
    secret.write_text(network.secret + "\n")
    environment |= {
        "LIVEPEER_ORCH_URL": network.url,
        "LIVEPEER_ORCH_SECRET": "",
        "LIVEPEER_ORCH_SECRET_FILE": str(secret),
        "LIVEPEER_LOG_FORMAT": "plain",
    }
    if how == "by the older names":
        environment = {
            "LIVEPEER_ORCH_URL": "",
            "LIVEPEER_ORCH_SECRET": "",
            "ORCH_URL": network.url,
            "ORCH_TOKEN": network.secret,
            "CAPABILITY_CAPACITY": "4",
            "CAPABILITY_PRICE_PER_UNIT": "0",
        }
    app = None if how == "by the older names" else environment["LIVEPEER_APP"]
    hello = network.serve(EXAMPLES / "hello_world" / "pipeline.py", env=environment, app=app)
    probe = shlex.split(command("compose exec hello-world"))[4:]
    health = json.loads(await ran(shlex.join(probe).replace("http://127.0.0.1:8000", hello.url)))
    (shown,) = (json.loads(text) for text in blocks("json"))
    assert set(health) == set(shown)
    assert set(health["registration"][0]) == set(shown["registration"][0])
    assert health["capacity"] == shown["capacity"]
    assert health["registration"][0]["status"] == "registered"

    def here(text: str) -> str:
        return text.replace("https://localhost:8935", network.url)

    (entry,) = json.loads(await ran(here(command("/discovery"))))
    assert [runner["app"] for runner in entry.get("runners", [])] == [app] * bool(app)
    assert json.loads(await ran(here(command("/process/token"))))["available_capacity"] == 4
    check = compose()["services"]["hello-world"]["healthcheck"]["test"]
    assert check.pop(0) == "CMD"
    await ran(shlex.join(check).replace("http://127.0.0.1:8000", hello.url))
    assert "Hello, Ada!" in await ran(here(command("livepeer run hello-world")))
    if app:
        assert "Hello, Ada!" in await ran(here(command("livepeer run example/hello-world")))
        (code,) = blocks("python")
        assert (await ran(f"python -c {shlex.quote(here(code))}")).strip() == "Hello, Ada!"
