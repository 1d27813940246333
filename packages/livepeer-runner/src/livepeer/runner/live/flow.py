"""The frames of one stream: from its input through its hooks to its output."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING, Any

from livepeer.runner.errors import JobError, PipelineError
from livepeer.runner.live.failures import Silence, StreamFailed, described, first_error
from livepeer.runner.live.frame_hooks import END, FrameHook, Generated, until
from livepeer.runner.live.hooks import HookHung, Hooks, as_it_is
from livepeer.runner.live.stream import Sink, Stream, check_frame
from livepeer.trickle import TrickleError
from livepeer.trickle.media import AudioFrame, VideoFrame

if TYPE_CHECKING:
    from livepeer.trickle.media import MediaPacket, MediaSubscriber

    Frame = VideoFrame | AudioFrame

Before = Callable[[Any], Awaitable[None]]
"""Called with a frame of the input, before its hook is."""


class Flow:
    """Runs until the input ends, `stop` is called, or the stream fails.

    `source` is the input (None: the stream has none), `sink` is where frames go. `batched` calls
    `process_video_batch`, which other streams share. `before` is called with each frame.
    """

    def __init__(
        self,
        stream: Stream,
        hooks: Hooks,
        *,
        source: MediaSubscriber | None,
        sink: Sink,
        batched: FrameHook | None = None,
        before: Before | None = None,
    ) -> None:
        self._copy = stream.copy
        self._hooks = hooks
        self._caller = stream.caller
        self._budget = stream.budget
        self._status = stream.status
        self._source = source
        self._sink = sink
        self._batched = batched
        self._before = before
        self._silence: Silence | None = None
        if stream.request.urls.publish_url:  # without an output nobody expects frames
            self._silence = Silence(stream.status, stream.events.put, lambda: stream.emitted)
        self._stopping: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._has_video = False
        self._writing: asyncio.Task[None] | None = None

    def stop(self) -> None:
        if not self._stopping.done():
            self._stopping.set_result(None)

    @property
    def bytes_in(self) -> int:
        return self._source.stats.transport.bytes if self._source is not None else 0

    @property
    def segments_in(self) -> int:
        return self._source.stats.transport.segments if self._source is not None else 0

    def refresh(self) -> None:
        if self._source is not None:
            stats = self._source.stats
            self._status.update_input(
                dropped=stats.dropped + self._sink.dropped, restarts=stats.transport.reconnects
            )

    async def run(self) -> None:
        async with AsyncExitStack() as stack:
            if self._source is not None:
                # It is asked for while the output is opened, which may be far away.
                await self._source.__aenter__()
                stack.push_async_callback(self._source.aclose)
            await stack.enter_async_context(self._sink)
            try:
                async with asyncio.TaskGroup() as tasks:
                    if self._source is not None:
                        tasks.create_task(self._process(self._source))
                    if self._hooks.generates:
                        tasks.create_task(self._generate())
                    elif self._source is None:
                        tasks.create_task(_done(self._stopping))
            except BaseExceptionGroup as group:
                failed = group.subgroup(StreamFailed)
                if failed is None:
                    raise
                raise first_error(failed) from None
        self.refresh()

    async def _process(self, source: MediaSubscriber) -> None:
        try:
            async with aclosing(source):
                while not self._stopping.done():
                    item = await until(self._stopping, anext(source, END))
                    if item is END:
                        break
                    kind = item.kind
                    if self._status.input.count == 0:
                        self._expect_sound(source)
                    self._has_video |= kind == "video"
                    # Rates are those of the pictures; of the sound in a stream without pictures.
                    if kind == "video" or not self._has_video:
                        self._status.input.add()
                    if self._before is not None:
                        await self._before(item)
                    await self._one(item)
            await self._written()
        except TrickleError as error:
            raise StreamFailed(f"the input channel is lost: {error.message}") from error
        finally:
            writing, self._writing = self._writing, None
            if writing is not None:
                writing.cancel()
                await asyncio.wait((writing,))
        self.stop()  # what is generated beside an input ends with it

    def _expect_sound(self, source: MediaSubscriber) -> None:
        """Let the first segment of the output name its sound, if the input has sound."""
        for track in source.tracks:
            if track.kind == "audio" and (self._hooks.audio or self._copy.passthrough):
                self._sink.expect_sound(track.codec, track.channels, decoded=self._hooks.audio)

    async def _generate(self) -> None:
        generate = self._copy.generate  # type: ignore[attr-defined]
        frames = Generated(generate, self._caller, self._stopping)
        try:
            while (value := await frames.next()) is not END:
                made_at = time.monotonic()
                self._gave("generate", value is not None)
                if value is not None and await self._write("generate", value, None):
                    self._has_video |= value.kind == "video"
                    self._passed(value, made_at)
        except StreamFailed:
            raise
        except HookHung as error:
            self._budget.report("generate", error)
            raise StreamFailed(str(error)) from error
        except Exception as error:
            self._budget.report("generate", error)
            raise StreamFailed(described("generate", error)) from error
        finally:
            await frames.aclose()

    async def _one(self, item: Frame | MediaPacket) -> None:
        came = time.monotonic()
        hook = self._hook_for(item)
        if hook is None:
            await self._written()
            if await self._write("passthrough", item, None):
                self._passed(item, came)
            return
        name, call = hook
        # As it was received, should the hook write into it and then raise.
        original = [as_it_is(item)] if self._copy.on_error == "pass" else []
        good = True
        try:
            made = await call(item)
        except HookHung as error:
            await self._written()
            self._budget.report(name, error)
            raise StreamFailed(str(error)) from error
        except Exception as error:  # noqa: BLE001 — an author's code; counted and told
            await self._written()  # what came before is out, and counted, should this be the end
            self._budget.failed(name, error)
            made = list[Any](original)
            good = False
        else:
            self._gave(name, bool(made))
        # What it made is encoded while the next frame is in its hook, one at a time and in order.
        await self._written()
        self._writing = asyncio.create_task(self._give(name, made, item, came, good))

    async def _written(self) -> None:
        """Wait until what the last hook made is out. Raises what that raised."""
        if self._writing is not None:
            await self._writing
            self._writing = None

    async def _give(
        self, name: str, made: list[Any], item: Frame | MediaPacket, came: float, good: bool
    ) -> None:
        for value in made:
            if await self._write(name, value, item):
                self._passed(value, came)
            else:
                good = False
        if good:
            self._budget.succeeded(name)

    def _gave(self, name: str, frames: bool) -> None:
        if self._silence is not None:
            self._silence.gave(name, frames)

    def _hook_for(self, item: Frame | MediaPacket) -> tuple[str, FrameHook] | None:
        if isinstance(item, VideoFrame) and self._hooks.video:
            if self._batched is not None:
                return "process_video_batch", self._batched
            return "process_video", self._call("process_video")
        if isinstance(item, AudioFrame) and self._hooks.audio:
            return "process_audio", self._call("process_audio")
        return None

    def _call(self, name: str) -> FrameHook:
        hook = getattr(self._copy, name)
        return lambda frame: self._caller.call(hook, frame, name=name)

    async def _write(self, where: str, value: Any, origin: Frame | MediaPacket | None) -> bool:
        """False for a value that is no frame, or that cannot be encoded: counted and told."""
        try:
            frame = value if where == "passthrough" else check_frame(value)
            if origin is not None and frame.pts is None:
                frame.time = origin.time  # made anew, from the frame that came in
            await self._sink.write(frame)
        except StreamFailed:
            raise
        except JobError as error:
            self._budget.failed(where, error)
            return False
        except Exception as error:  # noqa: BLE001 — a frame that cannot be encoded
            refused = PipelineError(f"its frame cannot be encoded: {error}")
            refused.__cause__ = error
            self._budget.failed(where, refused)
            return False
        return True

    def _passed(self, item: Frame | MediaPacket, came: float) -> None:
        if item.kind == "video" or not self._has_video:
            self._status.passed(time.monotonic() - came)


async def _done(future: asyncio.Future[None]) -> None:
    await future
