"""What holds for every test of the workspace."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, settings

# The same examples each time, however busy the machine: what fails here fails everywhere.
settings.register_profile(
    "suite",
    max_examples=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
# To look for new ones, in thirty times as many: `scripts/test --hypothesis-profile search`.
settings.register_profile(
    "search", max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("suite")

#: Tests import eth-account themselves, which raises it a hundredfold for all that come after, while
#: they are collected or while they run: what is nested deeply would end the process then.
RECURSION_LIMIT = sys.getrecursionlimit()

# Collecting makes nothing but what stays; see `pytest_collection_finish`.
gc.disable()

# A shell's background job ignores Ctrl-C, and so would the processes that tests start to interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

#: What has to keep up with live pictures, or with the limits of time of a recording. `scripts/test`
#: runs it last, with the machine to itself.
REALTIME = (
    "packages/livepeer-runner/tests/live",
    "packages/livepeer-runner/tests/playground",
    "packages/livepeer-trickle/tests/media/test_publisher.py",
    "packages/livepeer-trickle/tests/media/test_subscriber.py",
    "tests/contract/test_gateway_transcripts.py",
    "tests/contract/test_live_reconnection.py",
    "tests/contract/test_live_session.py",
    "tests/contract/test_lv2v.py",
    "tests/contract/test_orchestrator_transcripts.py",
    "tests/contract/test_paid_calls.py",
    "tests/contract/test_payment_faults.py",
    "tests/contract/test_unpaid.py",
    "tests/e2e",
)


@pytest.fixture(autouse=True)
def recursion_limit() -> None:
    sys.setrecursionlimit(RECURSION_LIMIT)


@pytest.fixture
def unused_tcp_port() -> int:
    """For a process that has to be told its port, or come back to it. It is below those that the
    system gives out by itself, which other tests take all the time."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ...]]:
    """What a `livepeer` command starts with that need not import by itself, and gets no signal."""
    program = str(Path(__file__).parent / "tests" / "commands.py")
    path = str(tmp_path_factory.mktemp("commands") / "socket")
    with subprocess.Popen(
        [sys.executable, "-P", program, "serve", path],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as server:
        assert server.stdout is not None
        assert server.stdout.readline(), "the commands could not be imported"
        yield (sys.executable, "-I", "-S", program, "run", path)
        os.killpg(server.pid, signal.SIGKILL)


@types.coroutine
def _cancelled_at(
    work: Coroutine[Any, Any, object], wanted: set[int], waits: list[object]
) -> Generator[Any, Any, None]:
    """Run `work`, and cancel it at each of its waits that is `wanted`. `waits` gets all."""
    task = asyncio.current_task()
    assert task is not None
    step = partial(work.send, None)
    while True:
        try:
            waiting = step()
        except StopIteration:
            return
        waits.append(waiting)
        if len(waits) in wanted:
            task.cancel()
        try:
            yield waiting
            step = partial(work.send, None)
        except BaseException as error:  # noqa: BLE001 — all of it goes on to `work`
            step = partial(work.throw, error)


def _held() -> set[str]:
    """What somebody has to give back: tasks of the sources, sockets and pipes of this event loop,
    processes, the shared pool."""
    from livepeer.trickle.http.transport import _shared_by

    loop: Any = asyncio.get_running_loop()
    found = {repr(task) for task in asyncio.all_tasks() if _is_ours(task)}
    descriptors = set(loop._selector.get_map())
    descriptors |= {each for each, of in loop._transports.items() if not of.is_closing()}
    for descriptor in descriptors:
        with contextlib.suppress(OSError):  # it is closed
            found.add(os.readlink(f"/proc/self/fd/{descriptor}"))
    found |= {f"process {each.pid}" for each in psutil.Process().children()}
    transport = _shared_by(loop)
    return found if transport is None else found | {f"pool with {transport._users} users"}


def _is_ours(task: asyncio.Task[Any]) -> bool:
    code = getattr(task.get_coro(), "cr_code", None)
    return code is not None and "/src/livepeer/" in code.co_filename


@pytest.fixture
def elsewhere() -> Iterator[Callable[[AbstractAsyncContextManager[Any]], Any]]:
    """`elsewhere(manager)` enters it on another event loop, until the end of the test: what it has
    there is nobody's here."""
    loop, stack = asyncio.new_event_loop(), contextlib.AsyncExitStack()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def there(work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(60)

    yield lambda manager: there(stack.enter_async_context(manager))
    there(stack.aclose())
    loop.call_soon_threadsafe(loop.stop)
    thread.join(60)
    loop.close()


AtEachWait = Callable[..., Coroutine[Any, Any, int]]


@pytest.fixture
def cancelled_at_each_wait() -> AtEachWait:
    """`await cancelled_at_each_wait(use)` runs the coroutine that `use()` makes once for each of
    its waits, cancelled at it (and at the `again`th after that), and asserts each time that it
    leaves no task of the sources, no socket, no process and no user of the shared pool. `after` is
    called after each run with its place, and `allowed` are errors that it may raise instead.

    Returns the count of waits. What it meets has to be there before, on another event loop.
    """

    async def each_wait(
        use: Callable[[], Coroutine[Any, Any, object]],
        *,
        again: int = 0,
        allowed: tuple[type[BaseException], ...] = (),
        after: Callable[[str], object] = lambda where: None,
    ) -> int:
        await use()  # as it is, and so that what is made once is there
        after("not cancelled")
        before = _held()
        for wanted in range(1, 1000):
            waits: list[object] = []
            task = asyncio.ensure_future(
                _as_coroutine(_cancelled_at(use(), {wanted, wanted + again}, waits))
            )
            await asyncio.wait((task,), timeout=30)
            where = f"cancelled at wait {wanted} of {use.__name__}"
            assert task.done(), f"{where}, it goes on: {task!r}"
            error = None if task.cancelled() else task.exception()
            if error is not None and not isinstance(error, allowed):
                raise error
            await _gone(before, where)
            after(where)
            if len(waits) < wanted:
                return len(waits)
        raise AssertionError(f"{use.__name__} does not end")

    return each_wait


async def _as_coroutine(waiting: Any) -> None:
    await waiting


async def _gone(before: set[str], where: str) -> None:
    # What is on its way out needs some turns of this loop; sockets and processes also the system's.
    for pause in (*[0] * 10, *[0.001] * 20, *[0.05] * 100):
        left = _held() - before
        if not left:
            return
        if pause and any(each.startswith(("<Task", "pool")) for each in left):
            break
        await asyncio.sleep(pause)
    raise AssertionError(f"{where}, it leaves {left}")


def is_realtime(path: Path) -> bool:
    inside = os.path.relpath(path, Path(__file__).parent)
    return inside in REALTIME or inside.startswith(tuple(f"{each}/" for each in REALTIME))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--half",
        choices=("realtime", "rest"),
        help="Collect only what is listed as `realtime`, or only all else.",
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """What the other half has is not even imported: it would be by each of the workers."""
    half = config.getoption("half")
    if half is None or collection_path.is_dir():
        return None
    return True if is_realtime(collection_path) is not (half == "realtime") else None


@pytest.hookimpl(tryfirst=True)  # before `-m` selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    realtime = {path: is_realtime(path) for path in {item.path for item in items}}
    for item in items:
        if realtime[item.path]:
            item.add_marker(pytest.mark.realtime)


def pytest_collection_finish() -> None:
    """Thousands of tests and all that they import stay to the end: no collection of garbage looks
    at them, neither here nor, to find what one test has left behind, in the tests."""
    gc.freeze()
    gc.enable()
