"""The local orchestrator as a process of its own: `python orchestrator.py --port 0`.

The secret comes from LIVEPEER_ORCH_SECRET. Prints one line, `{"url": ...}`, once it listens; ends
with status 0 on SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal

from livepeer.runner.devnet import LocalOrchestrator


async def main(port: int) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    secret = os.environ["LIVEPEER_ORCH_SECRET"]
    async with LocalOrchestrator(port=port, secret=secret) as orchestrator:
        print(json.dumps({"url": orchestrator.url}), flush=True)
        await stop.wait()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    options = argparse.ArgumentParser()
    options.add_argument("--port", type=int, default=0)
    asyncio.run(main(options.parse_args().port))
