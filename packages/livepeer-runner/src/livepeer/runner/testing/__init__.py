"""Testing a pipeline over real HTTP and real trickle, with nothing to configure.

    from livepeer.runner.testing import client

    def test_it_greets():
        with client(Greeter) as greeter:
            assert greeter.predict(name="Ada") == "Hello, Ada"

The app is the real one, served by the real server on a free port of the loopback. `client` needs
the extra `dev`; `run_live`, for live classes, needs nothing more.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from livepeer.runner.bench.report import BenchReport
    from livepeer.runner.doctor.diagnosis import Diagnosis
    from livepeer.runner.local.live import run_live
    from livepeer.runner.local.stream import LiveResult
    from livepeer.runner.testing.bench import bench
    from livepeer.runner.testing.doctor import doctor
    from livepeer.runner.testing.http import CallFailed, LocalServer, PipelineClient, client

_HOMES = {
    "BenchReport": "livepeer.runner.bench.report",
    "CallFailed": "livepeer.runner.testing.http",
    "Diagnosis": "livepeer.runner.doctor.diagnosis",
    "LiveResult": "livepeer.runner.local.stream",
    "LocalServer": "livepeer.runner.testing.http",
    "PipelineClient": "livepeer.runner.testing.http",
    "bench": "livepeer.runner.testing.bench",
    "client": "livepeer.runner.testing.http",
    "doctor": "livepeer.runner.testing.doctor",
    "run_live": "livepeer.runner.local.live",
}

__all__ = [
    "BenchReport",
    "CallFailed",
    "Diagnosis",
    "LiveResult",
    "LocalServer",
    "PipelineClient",
    "bench",
    "client",
    "doctor",
    "run_live",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(_HOMES[name])
    except ModuleNotFoundError as error:
        if error.name != "httpx":
            raise
        raise ImportError(
            f"livepeer.runner.testing.{name} needs httpx: pip install 'livepeer-runner[dev]'"
        ) from error
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
