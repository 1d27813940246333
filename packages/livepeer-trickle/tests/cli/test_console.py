"""What others sent is shown, and a terminal obeys none of it."""

from __future__ import annotations

import json
import logging

import pytest

from livepeer.trickle.cli import console
from livepeer.trickle.text import printable

HOSTILE = "\x1b]0;owned\x07\x9b2J\r\x00\x7f\u202edetsurt\u2066\u2028"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, größer, 日本語, 👍", "plain, größer, 日本語, 👍"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x9b31m \x07 \r \x00 \x7f", "\\x9b31m \\x07 \\r \\x00 \\x7f"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\udc80", "\\udc80"),
    ],
)
def test_control_characters_are_made_visible(text: str, shown: str) -> None:
    assert printable(text, lines=True) == shown
    shown.encode()


def _harmless(text: str) -> bool:
    return printable(text, lines=True) == text


@pytest.mark.parametrize("terminal", [False, True])
def test_a_result_is_json_without_control_characters(
    terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "is_terminal", lambda: terminal)
    console.emit({"text": HOSTILE, "[bold]": "[/red]"})
    printed = capsys.readouterr().out
    assert _harmless(printed)
    assert json.loads(printed) == {"text": HOSTILE, "[bold]": "[/red]"}


def test_notes_and_errors_are_without_control_characters(
    capsys: pytest.CaptureFixture[str],
) -> None:
    console.note(HOSTILE)
    with pytest.raises(console.typer.Exit):
        console.fail(HOSTILE, hint=HOSTILE)
    assert _harmless(capsys.readouterr().err)


def test_a_text_is_as_it_is_on_a_pipe_and_harmless_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    console.emit_text(HOSTILE, end="")
    assert capsys.readouterr().out == HOSTILE
    monkeypatch.setattr(console, "is_terminal", lambda: True)
    console.emit_text(HOSTILE)
    assert _harmless(capsys.readouterr().out)


def test_a_log_line_is_without_control_characters() -> None:
    record = logging.makeLogRecord({"msg": "the pipeline reports: %s", "args": (HOSTILE,)})
    assert _harmless(console.PrintableFormatter().format(record))


def test_long_work_says_each_new_thing_once_where_no_bar_is_seen(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with console.working("bench") as tell:
        for done in range(3):
            tell("4 calls a second", done, 3)
        tell(HOSTILE, 0, 0)
    told = capsys.readouterr()
    assert told.out == "" and _harmless(told.err)
    assert [line.partition(": ")[0] for line in told.err.splitlines()] == ["bench", "bench"]
    assert told.err.startswith("bench: 4 calls a second\n")
