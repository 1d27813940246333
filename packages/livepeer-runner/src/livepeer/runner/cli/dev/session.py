"""The local network and the pipeline on it, from the start to Ctrl-C."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import aiohttp

from livepeer.runner.cli.dev.call import ClientCall
from livepeer.runner.cli.dev.lines import Network, overview
from livepeer.runner.cli.dev.trust import kept, pinned
from livepeer.runner.cli.reload import Reloader, stopping
from livepeer.runner.devnet import LocalGateway, LocalOrchestrator
from livepeer.runner.packaging.load import Reference
from livepeer.trickle.cli.console import note

LOOPBACK = "127.0.0.1"
NETWORK = "livepeer.runner.devnet"
REPEATED = ("local orchestrator listens", "local gateway listens")
"""Said by the overview already."""
LOOK_SECONDS = 0.1
ANSWER_SECONDS = 5.0
# Another network's settings would lead the pipeline astray.
FOREIGN = (
    "ORCH_URL",
    "ORCH_SECRET",
    "ORCH_SECRET_FILE",
    "ORCH_TOKEN",
    "CAPABILITY_URL",
    "LIVEPEER_ORCH_SECRET_FILE",
    "PREPARE_MODELS",
)


@dataclass(frozen=True, slots=True)
class Ports:
    """0 takes a free one. `pipeline` is the first one's; the others take free ones."""

    pipeline: int
    orchestrator: int
    gateway: int


async def run(
    references: Sequence[Reference], ports: Ports, *, tls: bool, call: ClientCall | None
) -> int:
    """`livepeer dev`. The exit code: of the call, where there is one."""
    orchestrator = LocalOrchestrator(host=LOOPBACK, port=ports.orchestrator, tls=tls)
    with stopping() as stop, journal(), kept(orchestrator.secret) as secret_file:
        async with orchestrator, pinned(orchestrator.url):
            gateway = LocalGateway([orchestrator.url], host=LOOPBACK, port=ports.gateway)
            async with gateway:
                pipelines = [
                    _pipeline(
                        each, 0 if index else ports.pipeline, orchestrator, watch=call is None
                    )
                    for index, each in enumerate(references)
                ]
                serving = [
                    asyncio.create_task(each.run(stop), name="pipeline") for each in pipelines
                ]
                doors = Doors(orchestrator, gateway.url, secret_file)
                watching = [
                    asyncio.create_task(_watch(Look(each, stop), doors, call), name="dev")
                    for each in pipelines
                ]
                try:
                    await asyncio.wait((*serving, *watching), return_when=asyncio.FIRST_COMPLETED)
                    done = next((each for each in watching if each.done()), None)
                    return done.result() if done is not None else 0
                finally:
                    stop.set()
                    for task in watching:
                        task.cancel()
                    await asyncio.wait(watching)
                    await asyncio.gather(*serving)


@dataclass(frozen=True, slots=True)
class Doors:
    """The network that pipelines are on."""

    orchestrator: LocalOrchestrator
    gateway: str
    secret_file: str

    def runner(self, pipeline: str) -> str:
        """The URL that the discovery has for the service at `pipeline`: of its newest start."""
        host = pipeline.partition("://")[2]
        found = [
            each.listed_url(self.orchestrator.url)
            for each in self.orchestrator.runners
            if each.is_listed and each.says.url.host == host
        ]
        return found[-1] if found else ""

    def network(self, pipeline: str, schema: dict[str, Any]) -> Network:
        """All that the printed lines name."""
        return Network(
            self.orchestrator.url,
            self.gateway,
            pipeline,
            schema,
            self.runner(pipeline),
            self.secret_file,
        )


class Look:
    """Looks at the pipeline's `/health` until one of its starts has come to something."""

    def __init__(self, reloader: Reloader, stop: asyncio.Event) -> None:
        self.url = f"http://{LOOPBACK}:{reloader.port}"
        self._reloader = reloader
        self.stop = stop
        self._seen = 0

    async def registered(self, http: aiohttp.ClientSession) -> str | None:
        """Until the next start of the pipeline is registered; None, or why it will not be."""
        while True:
            await self._reloader.started.wait()
            self._reloader.started.clear()
            self._seen = self._reloader.starts
            reason = await self._settled(http)
            if reason is not STARTED_AGAIN:
                return reason

    async def _settled(self, http: aiohttp.ClientSession) -> str | None:
        while self._reloader.starts == self._seen:
            if self._reloader.exit_status is not None:
                return ENDED
            health = await self._health(http)
            if health.get("status") == "ERROR":
                return str(health.get("reason", "setup failed"))
            states = health.get("registration", ())
            for state in states:
                if state.get("status") == "refused":
                    return f"the orchestrator refused it: {state.get('reason')}"
            if states and all(state.get("status") == "registered" for state in states):
                return None
            await asyncio.sleep(LOOK_SECONDS)
        return STARTED_AGAIN

    async def _health(self, http: aiohttp.ClientSession) -> dict[str, Any]:
        try:
            async with http.get(f"{self.url}/health") as answer:
                found: dict[str, Any] = await answer.json()
                return found
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return {}

    async def schema(self, http: aiohttp.ClientSession) -> dict[str, Any]:
        async with http.get(f"{self.url}/schema") as answer:
            document: dict[str, Any] = await answer.json()
            return document


FOLLOWS = "One line for each event follows; saving a file reloads; Ctrl-C ends it all."
STARTED_AGAIN = "it was started again"
ENDED = "its process ended"


async def _watch(look: Look, doors: Doors, call: ClientCall | None) -> int:
    """Tell how each start ends; the overview after the first good one. With a call: make it."""
    shown = ""
    limit = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
    async with aiohttp.ClientSession(timeout=limit) as http:
        while True:
            reason = await look.registered(http)
            if reason is not None:
                if reason is not ENDED:  # its own error is there already, and what to do
                    tell(f"the pipeline does not serve: {reason}")
                if call is not None:
                    return 1
                if reason is not ENDED:
                    note("Saving a file starts it again.")
                continue
            network = doors.network(look.url, await look.schema(http))
            if call is not None:
                return await call.run(network, look.stop)
            same = overview(replace(network, runner=""))
            if same == shown:
                at = f", as a live runner at {network.runner}" if network.runner else ""
                tell(f"{network.id} serves again{at}")
            else:
                print(f"\n{overview(network)}\n{FOLLOWS}", flush=True)
            shown = same


def _pipeline(
    reference: Reference, port: int, orchestrator: LocalOrchestrator, *, watch: bool
) -> Reloader:
    """What keeps it served, and registered at the orchestrator."""

    def environment(port: int) -> dict[str, str]:
        return {
            **dict.fromkeys((name for name in FOREIGN if name in os.environ), ""),
            "LIVEPEER_ORCH_URL": orchestrator.url,
            "LIVEPEER_ORCH_SECRET": orchestrator.secret,
            "LIVEPEER_CAPABILITY_URL": f"http://{LOOPBACK}:{port}",
            "LIVEPEER_REGISTRATION": "both",
            "LIVEPEER_CURRENCY": "wei",
            "LIVEPEER_TLS": "pin",
            "LIVEPEER_DEV": "1",
        }

    return Reloader(reference, LOOPBACK, port, environment=environment, tell=tell, watch=watch)


def tell(message: str) -> None:
    """One event: the time in UTC, as the pipeline's own log has it, and what happened."""
    note(f"{time.strftime('%H:%M:%S', time.gmtime())} {message}")


class _Journal(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if not message.startswith(REPEATED):
            tell(message)


@contextmanager
def journal() -> Iterator[None]:
    """Prints what the network's parts log, as long as the block lasts."""
    logger, handler = logging.getLogger(NETWORK), _Journal()
    # A gateway passes on what an orchestrator does: only its failures are news.
    levels = {NETWORK: logging.INFO, f"{NETWORK}.gateway": logging.WARNING}
    before = {name: logging.getLogger(name).level for name in levels}
    propagated = logger.propagate
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagated
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
