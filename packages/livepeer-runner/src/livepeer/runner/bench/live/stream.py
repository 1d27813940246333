"""One stream through a target: fed at its pace, watched until its end, and all of it noted."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from livepeer.runner.bench.live import marks
from livepeer.runner.bench.live.door import BenchChannels, StreamDoor, StreamRefused
from livepeer.runner.bench.live.records import EmittedRecords, SeenRecord, record_time
from livepeer.trickle import JSONLPublisher, JSONLSubscriber, TrickleError, TricklePublisher
from livepeer.trickle.text import printable

if TYPE_CHECKING:
    from livepeer.runner.bench.live.camera import Camera
    from livepeer.trickle.media import AudioFrame, VideoFrame

FIRST_SECONDS: Final = 30.0
"""How long the first picture may take: a gateway gives up on an output that stalls longer."""
LAST_SECONDS: Final = 2.0
"""How long pictures may still come once the input has ended."""
DRAIN_SECONDS: Final = 1.0
"""How long pictures may still come once the stream has said that it is over."""
KEEP_ALIVE_SECONDS: Final = 5.0
LEAD: Final = 0.02
"""Seconds from the moment that a stream can be fed to its first picture."""
END_SECONDS: Final = 5.0
"""How long a stream that gives records may take from the end of its input to its own."""
MOST_PICTURES: Final = 1_000_000
"""And records, pieces of sound, and bins of it: a quarter of an hour of sound, hours of pictures.
"""

clock = time.perf_counter


class SeenPicture(NamedTuple):
    """One that came out: when, its number where it can be read, and its time in the stream."""

    at: float
    number: int | None
    time: float


class HeardPiece(NamedTuple):
    """Sound that came out: when, and the time of its end in the stream."""

    at: float
    end: float


@dataclass(slots=True)
class StreamRecord:
    """What was seen of a stream. Moments are seconds on the clock of `time.perf_counter`."""

    asked: float
    answered: float = 0.0
    began: float = 0.0
    """The moment of the time 0 of what is fed."""
    late: list[float] = field(default_factory=list)
    """By picture that was fed, how late it was handed over: 0 is at its moment. Of sound alone: by
    piece of it."""
    pictures: list[SeenPicture] = field(default_factory=list)
    pieces: list[HeardPiece] = field(default_factory=list)
    heard: list[tuple[float, float]] = field(default_factory=list)
    """Time in the stream, and energy, of the sound that came out."""
    records: list[SeenRecord] = field(default_factory=list)
    emitted: EmittedRecords | None = None
    """What it said of them at its end; None where that was not heard."""
    missed: int = 0
    """Pictures that came and that this process was too slow to look at."""
    refused: bool = False
    ended: str = ""
    """Why it ended before its time; empty where it did not."""


async def run_stream(
    door: StreamDoor,
    camera: Camera | None,
    *,
    params: Mapping[str, Any],
    seconds: float,
    phase: float = 0.0,
) -> StreamRecord:
    """Start it, feed it for `seconds`, note what comes, and stop it. `phase`: seconds by which its
    pictures are later than a start would have them, so that those of many streams are spread.
    Without a camera it is one that makes its pictures itself.
    """
    id = f"bench-{secrets.token_hex(8)}"
    record = StreamRecord(asked=clock())
    try:
        channels = await door.start(id, params)
    except StreamRefused as error:
        record.refused, record.ended = True, str(error)
        return record
    except asyncio.CancelledError:
        await asyncio.shield(door.stop(id))
        raise
    record.answered = record.began = clock()
    tasks: list[asyncio.Task[Any]] = []
    stream = _BenchStream(record, channels)
    try:
        viewing = asyncio.create_task(stream.view(), name="bench view")
        tasks = [
            viewing,
            asyncio.create_task(stream.hear(), name="bench events"),
            asyncio.create_task(stream.read_records(), name="bench records"),
            asyncio.create_task(stream.keep_alive(), name="bench control"),
        ]
        feeding = asyncio.create_task(
            stream.feed(camera, seconds, phase) if camera is not None else asyncio.sleep(seconds),
            name="bench feed",
        )
        tasks.append(feeding)
        ending = asyncio.create_task(stream.ended.wait(), name="bench end")
        tasks.append(ending)
        await asyncio.wait((viewing, feeding, ending), return_when=asyncio.FIRST_COMPLETED)
        if feeding.done() and not ending.done() and not viewing.done():
            await stream.last(camera is not None)
        elif ending.done() and not viewing.done():
            await asyncio.wait((viewing,), timeout=DRAIN_SECONDS)
        for task in (viewing, feeding):
            lost = task.exception() if task.done() else None
            if lost is None:
                continue
            if not isinstance(lost, TrickleError):
                raise lost
            record.ended = record.ended or stream.reason or printable(str(lost), 300)
        if not feeding.done():
            record.ended = record.ended or stream.reason or "its output ended"
        if not record.ended:
            await stream.count_records()
    finally:
        for task in tasks:
            task.cancel()
        try:
            if tasks:
                await asyncio.wait(tasks)
        finally:
            await asyncio.shield(door.stop(id))
    return record


class _BenchStream:
    """The five things that go on in a stream."""

    def __init__(self, record: StreamRecord, channels: BenchChannels) -> None:
        self._record, self._channels = record, channels
        self._came = asyncio.Event()
        self.ended = asyncio.Event()
        """Its events said that it is over."""
        self.reason = ""
        """What its events said of an error, or of its end."""
        self._said: EmittedRecords | None = None
        """What its last status said."""

    async def feed(self, camera: Camera, seconds: float, phase: float) -> None:
        from livepeer.trickle.media import MediaPublisher, VideoOutput

        record, tracks = self._record, camera.shot
        carrier = TricklePublisher(
            self._channels.input, delete_on_close=False, linger=0, tls=self._channels.tls
        )
        async with MediaPublisher(
            self._channels.input,
            output=VideoOutput(threads=1) if tracks.pictures else None,
            expect=[
                *(["video"] if tracks.pictures else []),  # type: ignore[list-item]
                *(["audio"] if tracks.sound else []),  # type: ignore[list-item]
            ],
            publisher=carrier,
        ) as publisher:
            record.began = clock() + LEAD + phase
            for at, index, frame in camera.items():
                if at >= seconds:
                    break
                due = record.began + float(at)
                await asyncio.sleep(max(0.0, due - clock()))
                if index is not None or not tracks.pictures:
                    record.late.append(max(0.0, clock() - due))
                await publisher.write(frame)

    async def view(self) -> None:
        from livepeer.trickle.media import AudioFrame, MediaSubscriber, VideoFrame

        url, tls = self._channels.output, self._channels.tls
        async with MediaSubscriber(url, start=0, threads=1, tls=tls) as frames:
            async for frame in frames:
                if isinstance(frame, VideoFrame):
                    self._picture(frame)
                elif isinstance(frame, AudioFrame):
                    self._piece(frame)
                self._record.missed = frames.stats.dropped
                self._came.set()

    def _picture(self, frame: VideoFrame) -> None:
        at = clock()
        if len(self._record.pictures) < MOST_PICTURES:
            number = marks.read(frame.view()[0])
            self._record.pictures.append(SeenPicture(at, number, float(frame.time)))

    def _piece(self, frame: AudioFrame) -> None:
        at, begin = clock(), float(frame.time)
        if max(len(self._record.pieces), len(self._record.heard)) >= MOST_PICTURES:
            return
        self._record.pieces.append(HeardPiece(at, begin + float(frame.duration)))
        for place, each in enumerate(marks.energy(frame.samples, frame.rate)):
            self._record.heard.append((begin + place * marks.BIN, each))

    async def last(self, fed: bool) -> None:
        """Until what was fed has come, or no more comes."""
        record = self._record
        if not (record.pictures or record.pieces or record.records):
            with suppress(TimeoutError):
                async with asyncio.timeout(FIRST_SECONDS):
                    await self._came.wait()
        deadline = clock() + LAST_SECONDS
        while fed and clock() < deadline:
            if record.pictures and record.pictures[-1].number == len(record.late) - 1:
                return
            self._came.clear()
            try:
                async with asyncio.timeout(deadline - clock()):
                    await self._came.wait()
            except TimeoutError:
                return

    async def hear(self) -> None:
        url, tls = self._channels.events, self._channels.tls
        with suppress(TrickleError):
            async with JSONLSubscriber(url, start=0, tls=tls) as records:
                async for event in records:
                    kind = event.get("type")
                    if kind == "status":
                        self._said = EmittedRecords.of(event)
                    elif kind == "error":
                        error = event.get("error")
                        told = error.get("message") if isinstance(error, Mapping) else error
                        self.reason = printable(f"it said: {told}", 300)
                    elif kind == "stream_ended":
                        told = printable(f"it ended: {event.get('reason', '')}", 300)
                        self.reason = self.reason or told
                        self.ended.set()

    async def read_records(self) -> None:
        if (url := self._channels.data) is None:
            return
        with suppress(TrickleError):
            async with JSONLSubscriber(url, start=0, tls=self._channels.tls) as records:
                async for record in records:
                    if len(self._record.records) < MOST_PICTURES:
                        self._record.records.append(SeenRecord(clock(), record_time(record)))
                    self._came.set()

    async def count_records(self) -> None:
        """Of a stream that gives records: end its input, as a caller does whose camera is off, and
        hear from its last status how many there were."""
        record = self._record
        if not record.records and (self._said is None or not self._said.sent):
            return
        with suppress(TimeoutError, TrickleError):
            async with asyncio.timeout(END_SECONDS):
                async with TricklePublisher(
                    self._channels.input, delete_on_close=True, linger=0, tls=self._channels.tls
                ):
                    pass
                await self.ended.wait()
                record.emitted = said = self._said
                while said is not None and len(record.records) < said.sent:
                    self._came.clear()
                    await self._came.wait()

    async def keep_alive(self) -> None:
        """What a gateway writes to control."""
        with suppress(TrickleError):
            async with JSONLPublisher(
                self._channels.control,
                one_per_segment=True,
                fresh=True,
                delete_on_close=False,
                linger=0,
                tls=self._channels.tls,
            ) as control:
                while True:
                    await control.write({"keep": "alive"})
                    await asyncio.sleep(KEEP_ALIVE_SECONDS)
