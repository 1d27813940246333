"""docs/paying.md says what is true: its program runs, its messages are those that are raised."""

from __future__ import annotations

import asyncio
import contextlib
import io
import re
from pathlib import Path

import pytest

from livepeer.client.payments.challenge import KINDS

from .paying import TICKET, paying

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "paying.md").read_text()
CLIENT = ROOT / "packages" / "livepeer-client" / "src"


async def test_its_program_pays_and_says_what_it_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    async with paying() as net:
        await net.serve(app="org/sentiment")
        here = (
            program.replace("https://orch:8935", net.orchestrator.url)
            .replace("https://signer:8081", net.signer.url)
            .replace('tls="pin"', 'tls="insecure"')
            .replace('input={"text": "hello"}', 'input={"text": "hello"}, route="json"')
        )
        told = io.StringIO()

        def run() -> None:
            with contextlib.redirect_stdout(told):
                exec(here, {})

        await asyncio.to_thread(run)
    assert "'body': {'text': 'hello'}" in told.getvalue()
    assert told.getvalue().endswith(f"{3 * TICKET:g} wei\n")


def test_the_messages_of_its_table_are_those_that_are_raised() -> None:
    source = " ".join(path.read_text() for path in CLIENT.rglob("*.py"))
    source = re.sub(r'"\s*\n\s*f?"', "", source)
    table = PAGE.partition("## What can go wrong")[2].partition("An error after")[0]
    quoted = re.findall(r"\.\.\. `([^`]+)`", table)
    assert len(quoted) >= 6
    assert [text for text in quoted if text not in source] == []


def test_it_names_every_unit_and_option() -> None:
    for unit in KINDS:
        assert f"`{unit}`" in PAGE
    for option in ("--yes", "--max-spend", "--max-price", "--paid"):
        assert option in PAGE
