"""What happens on the local network, as one line for each event."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from livepeer.trickle.cli.console import note

NETWORK = "livepeer.runner.devnet"
REPEATED = ("local orchestrator listens", "local gateway listens")
"""Said by the overview already."""


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
