"""Lines of the log: no secret, no line that a stranger made, no end without a word."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from livepeer.runner import logs, redaction
from livepeer.runner.environment import Environment
from livepeer.runner.exceptions import SettingsError
from livepeer.runner.redaction import without_userinfo
from livepeer.runner.registration import Capability
from livepeer.runner.secret import Secret

Logged = tuple[logging.Logger, io.StringIO]


@pytest.fixture(params=["plain", "json"])
def logged(request: pytest.FixtureRequest) -> Iterator[Logged]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    plain = request.param == "plain"
    handler.setFormatter(logs.PlainFormatter() if plain else logs.JSONFormatter())
    handler.addFilter(logs.JobFilter())
    logger = logging.getLogger("livepeer.runner.test_logs")
    logger.addHandler(handler)
    yield logger, stream
    logger.removeHandler(handler)


def test_what_a_stranger_named_is_escaped_and_cut(logged: Logged) -> None:
    logger, stream = logged
    logger.warning("stream %s has started", "a\n12:00:00 INFO forged\x1b[2J\u2028" + "b" * 70_000)
    (line,) = stream.getvalue().splitlines()
    assert "\x1b" not in line and "\u2028" not in line
    assert len(line) < 1000


def test_an_authors_own_lines_are_left_as_they_are(logged: Logged) -> None:
    logger, stream = logged
    logger.name = "livepeer.pipeline.mine"
    try:
        logger.warning("%s", "two\nlines")
    finally:
        logger.name = "livepeer.runner.test_logs"
    assert "two\nlines" in stream.getvalue() or "two\\nlines" in stream.getvalue()


@pytest.mark.parametrize("form", ["{}", "Bearer {}", "{!r}"])
def test_a_known_secret_is_in_no_line_whoever_logs_it(logged: Logged, form: str) -> None:
    logger, stream = logged
    secret = 'the/"secret" of this test'
    redaction.everywhere.add(Secret(secret))
    try:
        raise OSError(form.format(secret))
    except OSError:
        logger.exception("cannot go on with %s", form.format(secret))
    line = stream.getvalue()
    assert secret not in line and json.dumps(secret)[1:-1] not in line
    assert "***" in line


@pytest.mark.parametrize(
    "url",
    [
        "http//user:pass-word@host",
        "https:/user:pass-word@host:99999",
        "ftp://user:pass-word@host",
        "user:pass-word@host",
        "https://user:pass-word@host:port",
        "https://user:pass-word/@#@host",
        "https://user:pass-word@host?query",
    ],
)
def test_a_password_in_a_malformed_url_is_in_no_error(url: str) -> None:
    env = Environment({"LIVEPEER_ORCH_URL": url})
    env.urls("LIVEPEER_ORCH_URL")
    with pytest.raises(SettingsError) as caught:
        env.raise_problems()
    assert "pass-word" not in str(caught.value)
    assert "pass-word" not in without_userinfo(url)
    try:
        Capability(name="a", url=url)
    except ValueError as error:
        assert "pass-word" not in str(error)


def test_a_url_without_a_password_is_shown_as_it_is() -> None:
    for url in ("https://host:8935/path", "http//host", "not a url"):
        assert without_userinfo(url) == url
