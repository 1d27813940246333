"""Who is asked, in which order, and when the next one may be."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepeer.client.exceptions import (
    CallTimeoutError,
    CertificateChangedError,
    ConnectionFailedError,
    InsufficientBalanceError,
    InvalidInputError,
    LivepeerError,
    NoCapacityError,
    NoOrchestratorError,
    PaymentRequiredError,
    PipelineError,
    ProtocolError,
    StreamInterruptedError,
)
from livepeer.client.network.selection import Attempt, FailureMemory, gather, may_try_next, rank
from livepeer.client.types import Offer


def offer(name: str, capacity: int = 1, price: int = 0, latency: float = 0.01) -> Offer:
    return Offer(name, "cap", capacity, Fraction(price), latency)


def order(*offers: Offer, **settings: object) -> list[str]:
    return [each.orchestrator for each in rank(offers, **settings)[0]]  # type: ignore[arg-type]


def test_the_cheaper_the_nearer_and_the_emptier_come_first_in_that_order() -> None:
    assert order(offer("dear", price=2), offer("cheap", price=1), can_pay=True) == ["cheap", "dear"]
    assert order(offer("far", latency=0.9), offer("near")) == ["near", "far"]
    assert order(offer("busy", 1), offer("empty", 9)) == ["empty", "busy"]
    # a difference that is noise does not outweigh capacity
    assert order(offer("a", 1, latency=0.010), offer("b", 2, latency=0.040)) == ["b", "a"]


def test_past_failures_come_before_all_that_and_fade() -> None:
    now = 0.0
    memory = FailureMemory(lambda: now)
    memory.failed("cheap")
    offers = (offer("cheap", price=1), offer("dear", price=2))
    assert order(*offers, can_pay=True, failures=memory.weights()) == ["dear", "cheap"]
    now = 31.0
    assert order(*offers, can_pay=True, failures=memory.weights()) == ["cheap", "dear"]
    memory.failed("cheap")
    memory.succeeded("cheap")
    assert memory.weights() == {}


def test_what_does_not_fit_is_left_out_with_its_reason() -> None:
    fit, others = rank(
        [offer("full", 0), offer("dear", price=9), offer("priced", price=1), offer("free")],
        max_price=Fraction(5),
    )
    assert [each.orchestrator for each in fit] == ["free"]
    assert [(type(each.error), each.phase) for each in others] == [
        (NoCapacityError, "token"),
        (NoOrchestratorError, "token"),
        (PaymentRequiredError, "payment"),
    ]
    assert [each.rejection.orchestrator for each in others] == ["full", "dear", "priced"]


@given(
    st.lists(
        st.builds(
            offer,
            st.sampled_from("abcdef"),
            st.integers(-1, 3),
            st.integers(0, 3),
            st.floats(0, 2),
        ),
        max_size=8,
    )
)
def test_every_offer_is_either_ranked_or_has_a_reason(offers: list[Offer]) -> None:
    fit, others = rank(offers, can_pay=True, max_price=Fraction(2))
    assert len(fit) + len(others) == len(offers)
    assert all(each.capacity > 0 and each.price <= 2 for each in fit)


@pytest.mark.parametrize(
    ("error", "once", "idempotent"),
    [
        (ConnectionFailedError("refused"), True, True),
        (ConnectionFailedError("cut", may_have_run=True), False, True),
        (CertificateChangedError("changed"), True, True),
        (NoCapacityError("busy", status=503), True, True),
        (PaymentRequiredError("pay", status=402), True, True),
        (InsufficientBalanceError("spent", may_have_run=True), False, False),
        (PipelineError("boom", status=500, may_have_run=True), False, True),
        (PipelineError("no route", status=404), False, False),
        (InvalidInputError("bad", status=422), False, False),
        (CallTimeoutError("late", may_have_run=True), False, False),
        (CallTimeoutError("late", phase="connect"), False, False),
        (ProtocolError("odd", may_have_run=True), False, False),
    ],
)
def test_the_next_one_is_tried_only_where_nothing_ran_or_twice_does_no_harm(
    error: LivepeerError, once: bool, idempotent: bool
) -> None:
    assert may_try_next(error, idempotent=False) is once
    assert may_try_next(error, idempotent=True) is idempotent


def attempt(error: LivepeerError, phase: str = "token") -> Attempt:
    error.orchestrator = error.orchestrator or "o"
    return Attempt(error, phase)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("attempts", "kind"),
    [
        ([], NoOrchestratorError),
        ([attempt(ConnectionFailedError("x"), "connect")], ConnectionFailedError),
        ([attempt(ConnectionFailedError("x"), "connect")] * 2, ConnectionFailedError),
        ([attempt(CertificateChangedError("x"), "connect")] * 2, CertificateChangedError),
        ([attempt(PaymentRequiredError("x"), "payment")] * 2, PaymentRequiredError),
        (
            [attempt(ConnectionFailedError("x"), "connect"), attempt(NoCapacityError("full"))],
            NoCapacityError,
        ),
        (
            [attempt(ConnectionFailedError("x"), "connect"), attempt(ProtocolError("odd"))],
            NoOrchestratorError,
        ),
        (
            [
                attempt(NoCapacityError("full")),
                attempt(PipelineError("boom", status=500), "response"),
            ],
            PipelineError,
        ),
    ],
)
def test_the_error_that_says_most_is_raised_with_every_attempt_on_it(
    attempts: list[Attempt], kind: type[LivepeerError]
) -> None:
    error = gather("cap", attempts)
    assert type(error) is kind and len(error.rejections) == len(attempts)
    assert error.capability == "cap"


def test_the_shortest_wait_of_all_is_told() -> None:
    error = gather(
        "cap",
        [
            attempt(NoCapacityError("a", retry_after=9)),
            attempt(NoCapacityError("b", retry_after=3)),
        ],
    )
    assert isinstance(error, NoCapacityError) and error.retry_after == 3


def test_an_interrupted_stream_is_a_connection_that_failed() -> None:
    assert issubclass(StreamInterruptedError, ConnectionFailedError)
