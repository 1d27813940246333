"""The local network and the pipeline on it, from the start to Ctrl-C."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from typing import Any

import aiohttp

from livepeer.runner.cli.dev.call import ClientCall
from livepeer.runner.cli.dev.lines import PRICE, Network, calls, overview
from livepeer.runner.cli.dev.page_callers import PageCallers, Paying
from livepeer.runner.cli.dev.trust import kept, pinned
from livepeer.runner.cli.look import ENDED, LOOPBACK, Look
from livepeer.runner.cli.page import Page, opened
from livepeer.runner.cli.reload import Reloader, ReloadEvent, stopping
from livepeer.runner.devnet import LocalChain, LocalGateway, LocalOrchestrator, LocalSigner
from livepeer.runner.devnet.payments.chain import PAYER_KEY
from livepeer.runner.packaging.load import Reference
from livepeer.runner.playground.board import Board
from livepeer.runner.playground.network import OpenCaller
from livepeer.trickle.cli.console import note

NETWORK = "livepeer.runner.devnet"
REPEATED = ("local orchestrator listens", "local gateway listens")
"""Said by the overview already."""
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
    references: Sequence[Reference],
    ports: Ports,
    *,
    tls: bool,
    call: ClientCall | None,
    page: Page | None,
    paid: bool = False,
    opening: OpenCaller | None = None,
) -> int:
    """`livepeer dev`. The exit code: of the call, where there is one.

    `opening` brings the page's calls, where they are `paid`.
    """
    chain = LocalChain() if paid else None
    orchestrator = LocalOrchestrator(host=LOOPBACK, port=ports.orchestrator, tls=tls, chain=chain)
    with stopping() as stop, journal(), kept(orchestrator.secret) as secret_file:
        async with orchestrator, pinned(orchestrator.url):
            gateway = LocalGateway([orchestrator.url], host=LOOPBACK, port=ports.gateway)
            async with gateway, AsyncExitStack() as stack:
                signer = ""
                if chain is not None:
                    signer = (await stack.enter_async_context(LocalSigner(chain))).url
                board = Board()
                pipelines = []
                for key, each in enumerate(references):
                    board.add(str(key), each.name or each.module)
                    port = 0 if key else ports.pipeline
                    shown = partial(_show, board, str(key))
                    pipelines.append(
                        _pipeline(each, port, orchestrator, shown, watch=call is None, paid=paid)
                    )
                paying = Paying(opening, signer, "pin" if tls else "verify") if opening else None
                callers = await stack.enter_async_context(
                    PageCallers(orchestrator.url, board, paying)
                )
                # First of all, since nothing takes longer than the start of a pipeline's process.
                serving = [
                    asyncio.create_task(each.run(stop), name="pipeline") for each in pipelines
                ]
                watching: list[asyncio.Task[int]] = []
                try:
                    address = ""
                    if page is not None:
                        address = (await stack.enter_async_context(opened(board, page))).url
                        note(f"playground {address}")  # it also shows why nothing serves
                    doors = Doors(
                        orchestrator, gateway.url, secret_file, callers, board, address, signer
                    )
                    watching += [
                        asyncio.create_task(
                            _watch(Look(each, stop), str(key), doors, call), name="dev"
                        )
                        for key, each in enumerate(pipelines)
                    ]
                    await asyncio.wait((*serving, *watching), return_when=asyncio.FIRST_COMPLETED)
                    done = next((each for each in watching if each.done()), None)
                    return done.result() if done is not None else 0
                finally:
                    stop.set()
                    for task in watching:
                        task.cancel()
                    try:
                        if watching:
                            await asyncio.wait(watching)
                    finally:
                        await asyncio.gather(*serving)


@dataclass(frozen=True, slots=True)
class Doors:
    """The network that pipelines are on, and the page (at `playground`, if there is one) that
    shows them and calls them by `callers`."""

    orchestrator: LocalOrchestrator
    gateway: str
    secret_file: str
    callers: PageCallers
    board: Board
    playground: str
    signer: str
    """Where payments are signed; empty where nothing costs anything."""

    def runner(self, pipeline: str) -> tuple[str, str]:
        """The URL that the discovery has for the service at `pipeline`, and the app that it is: of
        its newest start; empty where there is none."""
        host = pipeline.partition("://")[2]
        found = [
            (each.listed_url(self.orchestrator.url), each.says.app)
            for each in self.orchestrator.runners
            if each.is_listed and each.says.url.host == host
        ]
        return found[-1] if found else ("", "")

    def network(self, pipeline: str, schema: dict[str, Any]) -> Network:
        """All that the printed lines name."""
        runner, app = self.runner(pipeline)
        return Network(
            self.orchestrator.url,
            self.gateway,
            pipeline,
            schema,
            runner,
            self.secret_file,
            self.playground,
            self.signer,
            PAYER_KEY if self.signer else "",
            app,
        )


FOLLOWS = "One line for each event follows; saving a file reloads; Ctrl-C ends it all."


def _show(board: Board, key: str, change: ReloadEvent) -> None:
    if change.kind == "reloads":
        board.reloads(key, change.reason)
    else:
        board.failed(key, change.reason, change.trace, serves=change.serves)


async def _watch(look: Look, key: str, doors: Doors, call: ClientCall | None) -> int:
    """Tell how each start ends; the overview after the first good one. With a call: make it."""
    shown = ""
    limit = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
    async with aiohttp.ClientSession(timeout=limit) as http:
        while True:
            reason = await look.served(http)
            if reason is not None:
                if reason is not ENDED:  # its own error is there already, and what to do
                    tell(f"the pipeline does not serve: {reason}")
                    doors.board.failed(key, reason, look.trace, serves=False)
                if call is not None:
                    return 1
                if reason is not ENDED:
                    note("Saving a file starts it again.")
                continue
            document = await look.schema(http)
            network = doors.network(look.url, document)
            called = await doors.callers.get(key, network.called, document)
            doors.board.serves(
                key,
                document,
                capacity=await look.capacity(http),
                caller=called.caller,
                lines=partial(calls, network),
                price=called.price,
            )
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
    reference: Reference,
    port: int,
    orchestrator: LocalOrchestrator,
    changed: Callable[[ReloadEvent], None],
    *,
    watch: bool,
    paid: bool,
) -> Reloader:
    """What keeps it served, and registered at the orchestrator."""

    prices = _prices() if paid else {"LIVEPEER_CURRENCY": "wei"}

    def environment(port: int) -> dict[str, str]:
        return {
            **dict.fromkeys((name for name in FOREIGN if name in os.environ), ""),
            "LIVEPEER_ORCH_URL": orchestrator.url,
            "LIVEPEER_ORCH_SECRET": orchestrator.secret,
            "LIVEPEER_CAPABILITY_URL": f"http://{LOOPBACK}:{port}",
            "LIVEPEER_REGISTRATION": "both",
            **prices,
            "LIVEPEER_TLS": "pin",
            "LIVEPEER_DEV": "1",
        }

    return Reloader(
        reference,
        LOOPBACK,
        port,
        environment=environment,
        tell=tell,
        changed=changed,
        watch=watch,
    )


def _prices() -> dict[str, str]:
    """A price for each registry: what is said, else that of an hour, told to both."""
    hour = os.environ.get("LIVEPEER_APP_PRICE") or PRICE
    found = {"LIVEPEER_APP_PRICE": hour}
    if os.environ.get("LIVEPEER_PRICE_PER_UNIT"):
        return {**found, "LIVEPEER_CURRENCY": os.environ.get("LIVEPEER_CURRENCY") or "wei"}
    by_hour = os.environ.get("LIVEPEER_APP_PRICE_UNIT", "hour") == "hour"
    try:
        second = Fraction(hour if by_hour else PRICE) / 3600
    except (ValueError, ZeroDivisionError):
        return found  # the pipeline says what is wrong with it
    return {
        **found,
        "LIVEPEER_PRICE_PER_UNIT": str(second.numerator),
        "LIVEPEER_PRICE_SCALING": str(second.denominator),
        "LIVEPEER_CURRENCY": "USD",
    }


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
