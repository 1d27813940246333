"""The real model: fluent English, and no claim about what it knows."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from types import ModuleType

import pytest

from livepeer.runner.testing import CallFailed, PipelineClient, client

SEA = [{"role": "user", "content": "Write one sentence about the sea."}]


@pytest.fixture(scope="module")
def chat(pipeline: ModuleType) -> Iterator[PipelineClient]:
    with client(pipeline.LlmChat, timeout=60) as served:
        yield served


def test_it_answers_what_it_was_asked(chat: PipelineClient) -> None:
    answer = "".join(event["token"] for event in chat.predict(messages=SEA, temperature=0))
    assert "sea" in answer.lower()
    assert answer.strip().endswith(".")
    assert 8 <= len(answer.split()) <= 60


def test_its_words_come_as_they_are_made(chat: PipelineClient) -> None:
    messages = [{"role": "user", "content": "Tell me a long story about a ship."}]
    events = chat.events(messages=messages, max_tokens=1024)
    assert "".join(event["token"] for event in itertools.islice(events, 5)).strip()
    assert chat.get("/health").json()["status"] == "OK"  # still at work on the rest
    events.close()  # a caller who leaves ends it
    deadline = time.monotonic() + 20
    while chat.get("/health").json()["status"] != "IDLE":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert chat.predict(messages=SEA, max_tokens=1)


def test_max_tokens_is_the_most_that_comes(chat: PipelineClient) -> None:
    assert 1 <= len(chat.predict(messages=SEA, max_tokens=5)) <= 5


def test_the_conversation_so_far_is_taken_into_account(chat: PipelineClient) -> None:
    more = {"role": "user", "content": "Say it again in other words."}
    alone = chat.predict(messages=[more], temperature=0)
    first = {"role": "assistant", "content": "The sea is deep, blue and full of fish."}
    after = chat.predict(messages=[*SEA, first, more], temperature=0)
    assert after != alone
    assert "sea" in "".join(event["token"] for event in after).lower()


@pytest.mark.parametrize("messages", [[], [{"role": "robot", "content": "hello"}]])
def test_a_conversation_that_is_none_is_refused(
    chat: PipelineClient, messages: list[dict[str, str]]
) -> None:
    with pytest.raises(CallFailed) as refused:
        chat.predict(messages=messages)
    assert refused.value.status == 422
