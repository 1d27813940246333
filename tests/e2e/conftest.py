"""Processes for the tests: an orchestrator over TLS, served pipelines, and a client in this one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import pytest

from livepeer.client import Gateway

from .media import sine, write_clip
from .network import Network

_open: list[Network] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What the processes said goes with a failure."""
    report = yield
    if report.failed:
        for network in _open:
            for process in network.processes:
                report.sections.append((f"{process.name}'s output", process.log[-8000:]))
    return report


@pytest.fixture(autouse=True)
def own_pins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The client trusts what it met in this test, whatever this user's other programs met."""
    monkeypatch.setenv("LIVEPEER_PINS", str(tmp_path / "pins.json"))


def _network() -> Iterator[Network]:
    network = Network()
    _open.append(network)
    try:
        network.orchestrator()
        yield network
        network.close()
    finally:
        _open.remove(network)
        for process in network.processes:
            process.kill()


#: One for a whole file, for tests that leave it as they found it.
shared = pytest.fixture(scope="module", name="shared")(_network)
#: One that a test may break.
network = pytest.fixture(name="network")(_network)


@pytest.fixture
async def gw(request: pytest.FixtureRequest) -> AsyncIterator[Gateway]:
    """The client of an app, at the orchestrator of the test."""
    own = "network" in request.fixturenames
    orchestrator: Network = request.getfixturevalue("network" if own else "shared")
    async with Gateway(orch_url=orchestrator.url, tls="pin", timeout=60) as gateway:
        yield gateway


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of a red picture that gets brighter, and a tone of 440 Hz."""
    path = tmp_path_factory.mktemp("clip") / "in.mp4"
    write_clip(path, seconds=2.0, tone=sine(440.0, 2.0))
    return path
