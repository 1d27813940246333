"""The frames of one stream: from its input through its hooks to its output."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from livepeer.runner.errors import JobError, PipelineError
from livepeer.runner.live.failures import Silence, StreamFailed, described, first_error
from livepeer.runner.live.frame_hooks import END, FrameHook, Generated
from livepeer.runner.live.hooks import HookHung, Hooks, as_it_is, is_async
from livepeer.runner.live.passage import Passage, timed
from livepeer.runner.live.stream import Sink, Stream, check_frame
from livepeer.trickle import TrickleError
from livepeer.trickle.media import AudioFrame, VideoFrame
from livepeer.trickle.media.stream.handover import Undecoded

if TYPE_CHECKING:
    from livepeer.trickle.media import MediaPacket, MediaSubscriber

    Frame = VideoFrame | AudioFrame

Before = Callable[[Any], Awaitable[None]]
"""Called with a frame of the input, before its hook is."""

SLOW = 8
"""Calls in a row that take their time, after which a hook is not a quick one."""


class Flow:
    """Runs until the input ends, `stop` is called, or the stream fails.

    `source` is the input (None: the stream has none), `sink` is where frames go. `batched` calls
    `process_video_batch`, which other streams share. `before` is called with each frame.
    `spare`: a worker thread is free for each stream, so that codecs may run in it too. `many`:
    other streams have the other cores, so that two threads for this one gain nothing.
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
        spare: bool = False,
        many: bool = False,
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
        self._passes = (  # whether pictures may go their whole way in one thread
            spare
            and "process_video" in hooks
            and not is_async(self._copy.process_video)  # type: ignore[attr-defined]
            and not hooks.generates
            and before is None
        )
        self._many = self._passes and many
        self._slow = 0
        """How often in a row the hook took its time in a passage: on a busy machine a quick one
        does now and then."""
        self._silence: Silence | None = None
        if stream.request.urls.publish_url:  # without an output nobody expects frames
            self._silence = Silence(stream.status, stream.events.put, lambda: stream.emitted)
        self._stopping: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._has_video = False
        self._writing: asyncio.Task[None] | None = None

    def stop(self) -> None:
        if not self._stopping.done():
            self._stopping.set_result(None)
            if self._source is not None:
                from livepeer.trickle.media.subscriber import end_taking  # PyAV, loaded by now

                end_taking(self._source)

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
        from livepeer.trickle.media.subscriber import take_early  # it needs PyAV

        try:
            async with aclosing(source):
                while not self._stopping.done():
                    item = await take_early(source, self._may_pass)
                    if item is None or self._stopping.done():
                        break
                    if isinstance(item, Undecoded):
                        await self._pass(item)
                        continue
                    if self._status.input.count == 0:
                        self._expect_sound(source)
                    elif self._many and self._slow < SLOW and isinstance(item, VideoFrame):
                        await self._pass(Undecoded(partial(_itself, item)))
                        continue
                    self._came(item)
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

    def _came(self, item: Frame | MediaPacket) -> None:
        self._has_video |= item.kind == "video"
        # Rates are those of the pictures; of the sound in a stream without pictures.
        if item.kind == "video" or not self._has_video:
            self._status.input.add()

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
            await self._hung(name, error)
        except Exception as error:  # noqa: BLE001 — an author's code; counted and told
            await self._failed(name, error)
            made = list[Any](original)
            good = False
        else:
            self._gave(name, bool(made))
        # What it made is encoded while the next frame is in its hook, one at a time and in order.
        await self._written()
        self._writing = asyncio.create_task(self._give(name, made, item, came, good))

    def _may_pass(self) -> bool:
        """Whether a picture that comes now may go its whole way in one thread.

        Where another one is still in its hook or in the encoder, two threads get more done.
        """
        idle = self._writing is None or self._writing.done()
        return self._passes and idle and self._status.input.count > 0

    async def _pass(self, undecoded: Undecoded) -> None:
        came = time.monotonic()
        await self._written()
        name, keep = "process_video", self._copy.on_error == "pass"
        hook = self._copy.process_video  # type: ignore[attr-defined]
        passage = Passage(undecoded, hook, self._sink.lend(), keep=keep)
        good = True
        try:
            try:
                await self._caller.in_thread(passage.run, name)
            finally:
                if passage.frame is not None:
                    self._slow = 0 if passage.quick else self._slow + 1
                    self._came(passage.frame)
            if passage.frame is None:
                return
            made = passage.made
            if not isinstance(made, list):  # sync by its look: a decorator over an async hook
                made = await self._caller.collected(made, name)
        except HookHung as error:
            await self._hung(name, error)
        except Exception as error:  # noqa: BLE001 — an author's code; counted and told
            await self._failed(name, error)
            made, good = passage.original, False
        else:
            self._gave(name, bool(made))
        if passage.frame is None:
            return
        if passage.encoded is None:
            await self._give(name, made, passage.frame, came, good)
            return
        passage.send()
        for value, refused in zip(made, passage.encoded, strict=True):
            if refused is None:
                self._passed(value, came)
            else:
                self._refused(name, refused)
                good = False
        if good:
            self._budget.succeeded(name)

    async def _hung(self, name: str, error: HookHung) -> NoReturn:
        await self._written()
        self._budget.report(name, error)
        raise StreamFailed(str(error)) from error

    async def _failed(self, name: str, error: Exception) -> None:
        await self._written()  # what came before is out, and counted, should this be the end
        self._budget.failed(name, error)

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
            await self._sink.write(frame if origin is None else timed(frame, origin))
        except StreamFailed:
            raise
        except Exception as error:  # noqa: BLE001 — a frame that cannot be encoded
            self._refused(where, error)
            return False
        return True

    def _refused(self, where: str, error: Exception) -> None:
        if not isinstance(error, JobError):
            refused = PipelineError(f"its frame cannot be encoded: {error}")
            refused.__cause__ = error
            error = refused
        self._budget.failed(where, error)

    def _passed(self, item: Frame | MediaPacket, came: float) -> None:
        if item.kind == "video" or not self._has_video:
            self._status.passed(time.monotonic() - came)


async def _done(future: asyncio.Future[None]) -> None:
    await future


def _itself(frame: VideoFrame) -> VideoFrame:
    return frame
