"""Calls as code: whatever their input holds, the program and the line say exactly that."""

from __future__ import annotations

import ast
import shlex
from typing import Any

import pytest

from livepeer.runner.cli import play, served_page
from livepeer.runner.cli.dev import lines
from livepeer.runner.playground.written import MOST_DEPTH

NASTY = {"text": 'it\'s "so"\n$(touch x) `y` \\ {z}', "n": None, "many": [1, {"a": True}]}
RUN = {"id": "app", "type": "batch"}
STREAM = {**RUN, "streaming": True}
LIVE = {"id": "app", "type": "live"}
GENERATES = {**LIVE, "generates": True}


def by_dev(document: dict[str, Any], content: dict[str, Any]) -> dict[str, str]:
    signer = {"signer": "http://127.0.0.1:7", "eth_key": "0x11"}
    network = lines.Network("https://127.0.0.1:1", "http://g", "http://p", document, "", "s")
    paid = lines.Network("https://127.0.0.1:1", "http://g", "http://p", document, "", "s", **signer)
    assert lines.calls(paid, content)["curl"].startswith("# Not by curl")
    return lines.calls(network, content)


def by_play(document: dict[str, Any], content: dict[str, Any]) -> dict[str, str]:
    settings = {"orch_url": "https://127.0.0.1:1", "max_price": 3.0}
    return play.written_calls("app", document, settings, True, content)


def by_container(document: dict[str, Any], content: dict[str, Any]) -> dict[str, str]:
    return served_page.written_calls("http://127.0.0.1:8000", "pipeline.py:App", document, content)


def literals(program: str) -> list[Any]:
    nodes = ast.walk(ast.parse(program))
    return [ast.literal_eval(node) for node in nodes if isinstance(node, ast.Dict)]


@pytest.mark.parametrize("written", [by_dev, by_play, by_container])
@pytest.mark.parametrize("document", [RUN, STREAM, LIVE, GENERATES])
def test_a_program_and_a_line_have_the_input_as_it_is(written: Any, document: Any) -> None:
    live = document["type"] == "live"
    made = written(document, {"params" if live else "input": NASTY})
    assert set(made) == {"Python", "curl", "Shell"}
    assert NASTY in literals(made["Python"])
    assert ("publish_file" in made["Python"] or "MediaPublisher" in made["Python"]) == (
        document is LIVE
    )
    words = shlex.split(made["Shell"])
    assert words[0] == "livepeer" and f"text={NASTY['text']}" in words and "n=null" in words
    assert ("in.mp4" in words, "--seconds" in words) == (document is LIVE, document is GENERATES)


@pytest.mark.parametrize("written", [by_dev, by_play, by_container])
def test_what_is_no_call_is_refused_and_what_no_line_can_say_is_told(written: Any) -> None:
    for content in ({"input": []}, {"params": "x"}):
        with pytest.raises(ValueError, match="an input is an object"):
            written(RUN, content)
    deep: Any = "x"
    for _ in range(MOST_DEPTH + 2):
        deep = [deep]
    with pytest.raises(ValueError, match="nested"):
        written(RUN, {"input": {"x": deep}})
    made = written(RUN, {"input": {"a": {"b": {"$file": "../photo.png"}}}})
    assert made["Shell"].startswith("# a file within a")
    assert "Path('photo.png')" in made["Python"]
    assert "base64 < photo.png" in made["curl"] or made["curl"].startswith("# Not by curl")
