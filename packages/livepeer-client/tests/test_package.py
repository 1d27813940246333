"""The package as a whole: what it exports, and what importing it costs."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import pytest

import livepeer.client
from livepeer.client import exceptions

PUBLIC = [
    "AppChannel",
    "AppOpening",
    "AppResponse",
    "AppSession",
    "AppStream",
    "AppWebSocket",
    "AsyncStreamResponse",
    "CallTimeoutError",
    "CapabilityInfo",
    "CertificateChangedError",
    "CertificateError",
    "ConfigurationError",
    "ConnectionFailedError",
    "FieldError",
    "FileOutput",
    "Gateway",
    "InsufficientBalanceError",
    "InvalidInputError",
    "LiveSession",
    "LiveStats",
    "LivepeerError",
    "NoCapacityError",
    "NoOrchestratorError",
    "Offer",
    "PaymentRequiredError",
    "PipelineError",
    "ProtocolError",
    "Rejection",
    "RunnerInfo",
    "Schema",
    "SessionEndedError",
    "StreamEvent",
    "StreamInterruptedError",
    "StreamResponse",
    "SyncAppSession",
    "SyncAppStream",
    "SyncAppWebSocket",
    "Token",
]


def test_the_public_names_are_these_and_each_exists() -> None:
    assert livepeer.client.__all__ == PUBLIC == dir(livepeer.client)
    for name in PUBLIC:
        assert getattr(livepeer.client, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'gateways'"):
        livepeer.client.gateways  # noqa: B018 — looking is the test


def test_the_error_tree_is_the_one_in_the_docstring() -> None:
    tree = exceptions.__doc__ or ""
    for name in exceptions.__all__:
        kind = getattr(exceptions, name)
        line = next(line for line in tree.splitlines() if f"{name} " in f"{line} ")
        depth = line.index(name) // 4
        parents = [each for each in kind.__mro__ if issubclass(each, exceptions.LivepeerError)]
        assert depth == len(parents), line


@pytest.mark.parametrize("name", exceptions.__all__)
def test_errors_can_be_pickled_and_copied_whole(name: str) -> None:
    error = getattr(exceptions, name)("told", capability="c", orchestrator="o", status=500)
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert (type(again), str(again), again.status) == (type(error), "told", 500)


def run(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=200, check=True
    )
    return done.stdout.strip()


def test_importing_the_root_imports_nothing_heavy() -> None:
    heavy = "{'aiohttp', 'pydantic', 'jsonschema', 'numpy', 'av', 'asyncio', 'typer'}"
    assert run(f"import sys, livepeer.client; print({heavy} & set(sys.modules))") == "set()"


def test_the_gateway_brings_neither_pydantic_nor_aiohttp_nor_a_codec() -> None:
    heavy = "{'aiohttp', 'yarl', 'pydantic', 'jsonschema', 'numpy', 'av', 'eth_account', 'rich'}"
    program = f"import sys; from livepeer.client import Gateway; print({heavy} & set(sys.modules))"
    assert run(program) == "set()"


def test_what_a_started_session_needs_is_not_imported_before_its_start_is_sent() -> None:
    later = "{'livepeer.client.live.started', 'livepeer.trickle.http.upload', 'importlib.metadata'}"
    program = f"""
import sys
from livepeer.client import Gateway
gw = Gateway(orch_url="https://127.0.0.1:9", tls="pin")
gw.live("tint")
print({later} & set(sys.modules))
import livepeer.client.live.started
print("importlib.metadata" in sys.modules)  # 15 ms, for the version in a User-Agent
"""
    assert run(program).split("\n") == ["set()", "False"]


def test_the_commands_are_described_without_being_imported() -> None:
    program = (
        "import sys; from livepeer.client.cli import commands;"
        "print([c.name for c in commands], 'typer' in sys.modules, 'aiohttp' in sys.modules)"
    )
    assert run(program) == "['run', 'stream', 'live', 'discover', 'mcp', 'trust'] False False"


@pytest.mark.parametrize("name", ["run", "stream", "live", "discover", "trust"])
@pytest.mark.slow
def test_the_help_of_a_command_imports_nothing_heavy(name: str) -> None:
    program = f"""
import sys
from livepeer.trickle.cli import main
try:
    main(["{name}", "--help"])
except SystemExit:
    print({{"aiohttp", "av", "numpy", "cryptography"}} & set(sys.modules))
"""
    assert run(program).splitlines()[-1] == "set()"
