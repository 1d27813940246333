"""`livepeer-runner` serves; what only an author's machine needs is the extra `dev`, and said so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [pytest.mark.packaging, pytest.mark.timeout(900)]

Environments = Callable[[str], Any]
DEV = {"cryptography", "watchfiles", "httpx", "pytest", "pytest-asyncio", "uv"}
INSTALL = "pip install 'livepeer-runner[dev]'"

BATCH = """
import asyncio, json
from urllib.request import Request, urlopen
from livepeer.runner import Pipeline, local

class Echo(Pipeline):
    def predict(self, text: str) -> str:
        return text.upper()

def post(url):
    with urlopen(Request(url + "/predict", data=b'{"text": "ada"}'), timeout=60) as answer:
        return json.load(answer)

async def main():
    async with local.serve(Echo, http=True) as hosted:
        assert await asyncio.to_thread(post, hosted.url) == "ADA"

asyncio.run(main())
"""

LIVE = """
import asyncio
import numpy as np
from livepeer.runner import LivePipeline, VideoFrame, local

class Blank(LivePipeline):
    def generate(self):
        for _ in range(3):
            yield VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8))

async def main():
    async with local.serve(Blank, http=True) as hosted:
        result = await hosted.run_live()
        assert len(result.video) == 3, result

asyncio.run(main())
"""


def test_a_base_install_has_nothing_of_the_dev_extra(environment: Environments) -> None:
    assert not DEV & environment("livepeer-runner").installed()


@pytest.mark.parametrize("code", [BATCH, LIVE], ids=["batch", "live"])
def test_a_base_install_serves(environment: Environments, code: str) -> None:
    environment("livepeer-runner").check(code)


@pytest.mark.parametrize(
    ("arguments", "needs"),
    [
        (["dev"], "livepeer dev needs cryptography, watchfiles"),
        (["serve", "--port", "0", "--reload"], "livepeer serve --reload needs watchfiles"),
    ],
)
def test_a_command_that_needs_the_extra_says_so_in_one_line(
    environment: Environments, arguments: list[str], needs: str
) -> None:
    told = environment("livepeer-runner").check(
        "import subprocess, sys\n"
        "from pathlib import Path\n"
        "livepeer = Path(sys.executable).parent / 'livepeer'\n"
        f"done = subprocess.run([livepeer, *{arguments!r}], capture_output=True, text=True)\n"
        "assert done.returncode == 2, done\n"
        "print(done.stderr)\n"
    )
    assert told.strip() == f"Error: {needs}: {INSTALL}"


@pytest.mark.parametrize(
    "statement",
    [
        "from livepeer.runner.devnet import LocalOrchestrator",
        "from livepeer.runner.testing import client",
    ],
)
def test_an_import_that_needs_the_extra_says_so_in_one_line(
    environment: Environments, statement: str
) -> None:
    told = environment("livepeer-runner").check(
        f"try:\n    {statement}\nexcept ImportError as error:\n    print(error)\n"
    )
    assert told.strip().endswith(INSTALL)
    assert len(told.strip().splitlines()) == 1
