"""A target while it is measured: found at its URL, or started and ended by us."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial

import aiohttp

from livepeer.runner.targets.class_process import class_instance
from livepeer.runner.targets.image_container import TargetImage, image_instance, image_target
from livepeer.runner.targets.instance import Launch, TargetInstance, TargetProcess
from livepeer.runner.targets.reference import TargetError, TargetReference

READY_SECONDS = 300.0
"""What it gets for its setup: models are fetched and loaded."""
LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class TargetStart:
    """Seconds from the start of its process: to its first answer, and to the end of its setup.

    Of an image also: what making the container took, before that.
    """

    answers: float
    ready: float
    create: float | None = None


@dataclass(frozen=True, slots=True)
class OpenTarget:
    """A target that answers. Where we started it, `process` may be signalled, `launch` starts it
    once more, `host` is the address of this machine that it can call, and `start` tells how it came
    up; `image` is there where it is one."""

    url: str
    process: TargetProcess | None = None
    launch: Launch | None = None
    host: str | None = None
    image: TargetImage | None = None
    start: TargetStart | None = None


@asynccontextmanager
async def opened(
    target: TargetReference,
    *,
    ready_seconds: float = READY_SECONDS,
    engine: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> AsyncIterator[OpenTarget]:
    """The target, running. A class is served by a process of its own, an image by a container of
    `engine` (default: docker or podman, what there is); they end with this, and also where this
    process is killed. `environ` is added to its environment. Raises `TargetError` where it does
    not come up."""
    given = environ or {}
    match target.kind:
        case "url":
            yield OpenTarget(target.text)
        case "class":
            launch: Launch = partial(class_instance, target.text)
            async with _running(launch, None, given, ready_seconds) as there:
                yield there
        case "image":
            image = await image_target(target.text, engine)
            async with AsyncExitStack() as stack:
                try:
                    there = await stack.enter_async_context(_run(image, given, ready_seconds))
                except TargetError as error:
                    # It may want to write where operators do not let it: that is worth knowing.
                    image = image.writable(str(error))
                    there = await stack.enter_async_context(_run(image, given, ready_seconds))
                yield there


def _run(
    image: TargetImage, environ: Mapping[str, str], seconds: float
) -> AbstractAsyncContextManager[OpenTarget]:
    return _running(partial(image_instance, image), image, environ, seconds)


@asynccontextmanager
async def _running(
    launch: Launch, image: TargetImage | None, environ: Mapping[str, str], seconds: float
) -> AsyncIterator[OpenTarget]:
    began = time.monotonic()
    async with launch(environ) as instance:
        made = time.monotonic()
        # A process starts at once; what an engine does before that is no part of the start.
        at = began if image is None else made
        answered, ready = await until_ready(instance, seconds)
        start = TargetStart(answered - at, ready - at, None if image is None else made - began)
        yield OpenTarget(instance.url, instance.process, launch, instance.host, image, start)


async def until_ready(instance: TargetInstance, seconds: float) -> tuple[float, float]:
    """Until it takes jobs: `/ready` is 200, or `/health` where there is no `/ready`. The moments of
    its first answer and of that one, on the clock of `time.monotonic`. Raises `TargetError`."""
    answered: list[float] = []
    limit = aiohttp.ClientTimeout(total=5)
    try:
        async with asyncio.timeout(seconds), aiohttp.ClientSession(timeout=limit) as session:
            # In a thread: an engine may be asked.
            while await asyncio.to_thread(lambda: instance.process.returncode) is None:
                with suppress(aiohttp.ClientError, OSError, TimeoutError, ValueError):
                    if await _is_ready(session, instance, answered):
                        return answered[0], time.monotonic()
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        raise TargetError(f"it was not ready within {seconds:g} s{instance.tail()}") from None
    raise TargetError(f"it cannot be served{instance.tail()}")


async def _is_ready(
    session: aiohttp.ClientSession, instance: TargetInstance, answered: list[float]
) -> bool:
    async with session.get(f"{instance.url}/ready") as answer:
        answered.append(time.monotonic())
        if answer.status == 200:
            return True
        absent = answer.status in (404, 405)
    async with session.get(f"{instance.url}/health") as answer:
        content = await answer.json() if answer.status == 200 else {}
        found = answer.status
    state = content.get("status") if isinstance(content, dict) else None
    if state == "ERROR":
        raise TargetError(f"its setup failed: {content.get('reason')}{instance.tail()}")
    # A container of others may have neither: that it answers is all that can be waited for.
    return absent and state != "LOADING" and (state is not None or found in (200, 404, 405))
