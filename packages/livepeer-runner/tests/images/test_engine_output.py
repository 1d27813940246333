"""What engines print is understood, each in its own way; the real ones are in tests/container."""

from __future__ import annotations

import pytest

from livepeer.runner.packaging.engine_output import PUSHING, TAIL, StepLog, is_step, push_refusal


@pytest.mark.parametrize(
    ("lines", "steps", "reused", "step"),
    [
        pytest.param(
            ["STEP 1/3: FROM base", "STEP 2/3: RUN one", "--> Using cache 12", "STEP 3/3: RUN two"],
            3,
            1,
            "RUN two",
            id="buildah",
        ),
        pytest.param(
            ["Step 1/2 : FROM base", " ---> 12", "Step 2/2 : RUN two", " ---> Using cache"],
            2,
            1,
            "RUN two",
            id="docker",
        ),
        pytest.param(
            ["#4 [1/2] FROM base", "#4 CACHED", "#5 [stage 2/2] RUN two", "#5 0.1 hello"],
            2,
            1,
            "RUN two",
            id="buildkit",
        ),
        pytest.param(
            ["#2 [internal] load metadata for me/nothing:1"], 0, 0, "FROM me/nothing:1", id="base"
        ),
    ],
)
def test_steps_are_counted_and_the_present_one_is_known(
    lines: list[str], steps: int, reused: int, step: str
) -> None:
    log = StepLog()
    for line in lines:
        assert log.read(f"\x1b[1m{line}\x1b[0m\n") == line
    assert (log.steps, log.reused, log.step) == (steps, reused, step)


def test_the_last_lines_are_those_of_the_step_that_failed_without_itself() -> None:
    log = StepLog()
    log.read("of another step")
    log.read("STEP 2/2: RUN make")
    for number in range(2 * TAIL):
        log.read(f"line {number}")
    log.read('Error: building at STEP "RUN make": exit status 1')
    told = log.tail.splitlines()
    assert told[-1] == f"line {2 * TAIL - 1}" and len(told) < 2 * TAIL
    assert "another" not in log.tail


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("unauthorized: authentication required", "docker login ghcr.io"),
        ("no basic auth credentials", "docker login ghcr.io"),
        ("denied: not yours", "docker login ghcr.io"),
        ("write: no space left on device", "the disk is full"),
        ("dial tcp: connection refused", "ghcr.io cannot be reached"),
        ("Patch: EOF", "ghcr.io cannot be reached"),
        ("name invalid: geofence", "the push of ghcr.io/me/app failed: name invalid: geofence"),
        ("", "without a word"),
    ],
)
def test_why_a_push_failed_is_one_sentence(said: str, told: str) -> None:
    assert told in push_refusal("ghcr.io/me/app", f"Getting image\n{said}\n" if said else "")


def test_what_a_step_is_and_what_it_says_are_told_apart() -> None:
    assert is_step("STEP 2/3: RUN one") and is_step("#5 [stage 2/2] RUN two") and is_step(PUSHING)
    assert not is_step("Collecting numpy") and not is_step("#5 0.1 hello")
