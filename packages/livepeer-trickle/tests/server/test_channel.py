"""The channel without HTTP: a model next to it, and any order of what clients may do."""

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from livepeer.trickle.http.buffer import PIECE
from livepeer.trickle.server.channel import Channel
from livepeer.trickle.server.limits import LimitExceeded, SegmentTaken, ServerLimits
from livepeer.trickle.server.registry import Registry
from livepeer.trickle.server.segment import BLOCK, Cursor, Segment
from livepeer.trickle.server.turn import ReadTurn, WriteTurn

NUMBERS = st.integers(0, 12)
DATA = st.binary(min_size=1, max_size=12)


@dataclass(eq=False)
class ModelSegment:
    seq: int
    data: bytes = b""
    closed: bool = False
    owner: "ModelWriter | None" = None


@dataclass(eq=False)
class ModelWriter:
    segment: ModelSegment
    turn: WriteTurn
    wrote: bool = False
    lost: bool = False


@dataclass(eq=False)
class ModelReader:
    segment: ModelSegment
    turn: ReadTurn
    got: bytes = b""


@dataclass
class Model:
    """The rules in words of a dictionary: slot → segment."""

    next: int = 0
    slots: dict[int, ModelSegment] = field(default_factory=dict)

    def find(self, seq: int) -> ModelSegment | None:
        segment = self.slots.get(seq % 5)
        return segment if segment is not None and segment.seq == seq else None

    def place(self, seq: int) -> ModelSegment:
        if (found := self.find(seq)) is not None:
            return found
        if (old := self.slots.get(seq % 5)) is not None:
            old.closed = True
        self.slots[seq % 5] = new = ModelSegment(seq)
        return new


class ChannelAgainstModel(RuleBasedStateMachine):
    """Everything that clients may do to a channel, in any order."""

    writers = Bundle("writers")
    readers = Bundle("readers")

    def __init__(self) -> None:
        super().__init__()
        self.channel = Channel("camera")
        self.model = Model()

    @rule(target=writers, seq=st.one_of(NUMBERS, st.just(-1)), reset=st.booleans())
    def open_write(self, seq: int, reset: bool) -> ModelWriter:
        segment = self.model.place(self.model.next if seq == -1 else seq)
        if reset:
            for other in self.model.slots.values():
                other.closed = other.closed or other.seq < segment.seq
        turn = self.channel.open_write(seq, reset=reset)
        assert turn.seq == segment.seq
        return ModelWriter(segment, turn)

    @rule(writer=writers, data=DATA)
    def write(self, writer: ModelWriter, data: bytes) -> None:
        segment = writer.segment
        if segment.owner is not writer:
            newer = segment.owner is not None and segment.owner.turn.number > writer.turn.number
            if writer.wrote or newer:
                with pytest.raises(SegmentTaken):
                    writer.turn.write(data)
                return
            segment.owner = writer
            writer.wrote = True
            if not segment.closed:
                self.model.next = segment.seq + 1
        writer.turn.write(data)
        if not segment.closed:
            segment.data += data

    @rule(writer=consumes(writers))
    def finish(self, writer: ModelWriter) -> None:
        segment = writer.segment
        if segment.owner is not writer and writer.wrote:
            with pytest.raises(SegmentTaken):
                writer.turn.finish()
            return
        writer.turn.finish()
        if segment.owner is writer:
            segment.closed = True
            segment.owner = None
        elif segment.owner is None and not segment.closed:
            segment.closed = True
            self.model.next = segment.seq + 1

    @rule(writer=consumes(writers))
    def drop(self, writer: ModelWriter) -> None:
        writer.turn.leave()
        if writer.segment.owner is writer:
            writer.segment.owner = None

    @rule(target=readers, seq=st.one_of(NUMBERS, st.sampled_from([-1, -2])))
    def open_read(self, seq: int) -> ModelReader | None:
        model = self.model
        wanted = {-1: model.next, -2: max(model.next - 1, 0)}.get(seq, seq)
        segment = model.find(wanted)
        if segment is None and (wanted == model.next or (wanted, model.next) == (1, 0)):
            segment = model.place(wanted)
        turn = self.channel.open_read(seq)
        assert (turn is None) == (segment is None)
        if turn is None or segment is None:
            return None
        assert (turn.segment.seq, turn.latest) == (wanted, model.next)
        return ModelReader(segment, turn)

    @rule(reader=readers)
    def take(self, reader: ModelReader | None) -> None:
        if reader is None:
            return
        while data := reader.turn.take():
            reader.got += data
        assert reader.got == reader.segment.data
        assert reader.turn.at_end == reader.segment.closed

    @rule(reader=consumes(readers))
    def leave(self, reader: ModelReader | None) -> None:
        if reader is not None:
            reader.turn.close()

    @rule(seq=NUMBERS)
    def delete_segment(self, seq: int) -> None:
        segment = self.model.find(seq)
        assert self.channel.delete_segment(seq) == (segment is not None)
        if segment is not None:
            segment.closed = True

    @invariant()
    def the_next_write_is_the_same(self) -> None:
        assert self.channel.next_seq == self.model.next

    @invariant()
    def the_slots_are_the_same(self) -> None:
        for slot in range(5):
            expected = self.model.slots.get(slot)
            got = None if expected is None else self.channel.get(expected.seq)
            if expected is not None:
                assert got is not None
                assert (got.closed, b"".join(got.chunks)) == (expected.closed, expected.data)

    @invariant()
    def the_size_is_what_is_held(self) -> None:
        ring = [segment for segment in self.channel._ring.slots if segment is not None]
        held = sum(segment.size for segment in [*ring, *self.channel._ring.retired])
        assert self.channel.size == self.channel._ring.stock.size == held


TestChannelAgainstModel = ChannelAgainstModel.TestCase
TestChannelAgainstModel.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)

SMALL = ServerLimits(segment_bytes=30, channel_bytes=60, readers=5, writers=4)


class ChannelInLittleMemory(RuleBasedStateMachine):
    """The same with limits that are always in the way: no more is held, and no reader gets bytes
    that were not written to its segment in that order."""

    writers = Bundle("writers")
    readers = Bundle("readers")

    def __init__(self) -> None:
        super().__init__()
        self.channel = Channel("camera", limits=SMALL)
        self.written: dict[Segment, bytes] = {}

    @rule(target=writers, seq=NUMBERS)
    def open_write(self, seq: int) -> WriteTurn | None:
        try:
            return self.channel.open_write(seq)
        except LimitExceeded as error:
            assert error.status == 429
            return None

    @rule(writer=writers, data=DATA)
    def write(self, writer: WriteTurn | None, data: bytes) -> None:
        if writer is None:
            return
        closed = writer.segment.closed
        try:
            writer.write(data)
        except SegmentTaken:
            return
        except LimitExceeded as error:
            assert error.status == 413
            assert writer.segment.closed
            return
        if not closed:
            self.written[writer.segment] = self.written.get(writer.segment, b"") + data

    @rule(writer=consumes(writers))
    def finish(self, writer: WriteTurn | None) -> None:
        if writer is not None:
            try:
                writer.finish()
            except SegmentTaken:
                assert writer.wrote

    @rule(target=readers, seq=st.one_of(NUMBERS, st.just(-1)))
    def open_read(self, seq: int) -> ModelReader | None:
        try:
            turn = self.channel.open_read(seq)
        except LimitExceeded as error:
            assert error.status == 429
            return None
        return ModelReader(ModelSegment(seq), turn) if turn is not None else None

    @rule(reader=readers)
    def take(self, reader: ModelReader | None) -> None:
        if reader is None:
            return
        while data := reader.turn.take():
            reader.got += data
        written = self.written.get(reader.turn.segment, b"")
        assert written.startswith(reader.got)
        assert reader.turn.segment.discarded or reader.got == written

    @rule(reader=consumes(readers))
    def leave(self, reader: ModelReader | None) -> None:
        if reader is not None:
            reader.turn.close()

    @rule(data=DATA)
    def put(self, data: bytes) -> None:
        try:
            seq = self.channel.put(data)
        except LimitExceeded as error:
            assert error.status in (413, 429)
            return
        segment = self.channel.get(seq)
        assert segment is not None
        self.written[segment] = self.written.get(segment, b"") + data

    @invariant()
    def no_more_is_held_than_allowed(self) -> None:
        ring = [segment for segment in self.channel._ring.slots if segment is not None]
        held = sum(len(chunk) for s in [*ring, *self.channel._ring.retired] for chunk in s.chunks)
        assert held == self.channel.size == self.channel._ring.stock.size <= SMALL.channel_bytes


TestChannelInLittleMemory = ChannelInLittleMemory.TestCase
TestChannelInLittleMemory.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None
)


def test_a_channel_that_ended_holds_only_what_is_still_read() -> None:
    channel = Channel("camera")
    channel.put(b"a" * 10)
    channel.put(b"b" * 20)
    reader = channel.open_read(1)
    assert reader is not None
    channel.close()
    assert channel._ring.stock.size == channel.size == 20
    assert reader.take() == b"b" * 20
    reader.close()
    assert channel._ring.stock.size == channel.size == 0


def test_the_change_feed_tells_all_where_the_server_is_full() -> None:
    registry = Registry(changefeed=True, limits=ServerLimits(total_bytes=10))
    registry.create("camera").put(b"x" * 10)
    registry.create("another")
    feed = registry.get("_changes")
    assert feed is not None
    assert feed.next_seq == 3


def test_many_small_writes_cost_their_bytes_and_not_an_object_each() -> None:
    segment = Segment(0)
    for _ in range(10_000):
        segment.append(b"record\n")
    assert len(segment.chunks) <= 2 * 70_000 // BLOCK + 1
    assert b"".join(segment.chunks) == b"record\n" * 10_000


def test_a_cursor_follows_writes_that_are_joined() -> None:
    segment = Segment(0)
    cursor = Cursor(segment)
    assert cursor.take() == b""
    segment.append(b"one")
    assert cursor.take() == b"one"
    segment.append(b"two")
    assert (cursor.take(), cursor.take()) == (b"two", b"")
    segment.append(b"x" * (PIECE + 1))
    assert [len(cursor.take()) for _ in range(3)] == [PIECE, 1, 0]
    assert not cursor.at_end
    segment.close()
    assert cursor.at_end


async def test_a_waiting_reader_takes_bytes_as_they_are_added_until_it_cannot() -> None:
    segment = Segment(0)
    cursor = Cursor(segment)
    pushed: list[bytes] = []

    def push() -> bool:
        if len(pushed) == 3:
            return False
        pushed.append(cursor.take())
        return not cursor.waiting

    waiting = asyncio.create_task(segment.changed(push))
    await asyncio.sleep(0)
    for data in (b"one", b"two", b"x" * PIECE, b"behind"):
        segment.append(data)
        assert cursor.take() == (b"behind" if data == b"behind" else b"")
    assert b"".join(pushed) == b"onetwo" + b"x" * PIECE
    await asyncio.wait_for(waiting, 5)
    # Pieces that came together are told of once; what is left is taken the other way.
    pushed.clear()
    waiting = asyncio.create_task(segment.changed(push))
    await asyncio.sleep(0)
    segment.append(b"y" * PIECE, b"z" * (PIECE + 1))
    await asyncio.wait_for(waiting, 5)
    assert pushed == [b"y" * PIECE]
    assert [len(cursor.take()) for _ in range(3)] == [PIECE, 1, 0]
    # And so does the end.
    waiting = asyncio.create_task(segment.changed(push))
    await asyncio.sleep(0)
    segment.close()
    await asyncio.wait_for(waiting, 5)
    assert cursor.at_end


async def test_a_cancelled_wait_leaves_no_waiter() -> None:
    segment = Segment(0)
    waiting = asyncio.create_task(segment.changed())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert segment._waiters == []


def test_every_byte_keeps_a_channel_from_the_sweep() -> None:
    now = 0.0
    registry = Registry(idle_timeout=10, clock=lambda: now)
    turn = registry.create("camera").open_write(0)
    registry.create("_own")
    turn.write(b"a")
    now = 9.0
    turn.write(b"b")
    now = 18.0
    assert registry.sweep() == []
    now = 19.5
    assert registry.sweep() == ["camera"]
    assert [channel.name for channel in registry] == ["_own"]
    assert turn.segment.closed


def test_the_change_feed_tells_of_each_channel_once() -> None:
    registry = Registry(changefeed=True)
    feed = registry.get("_changes")
    assert feed is not None
    registry.create("camera")
    registry.create("camera")
    registry.close("camera")
    registry.close("camera")
    entries = [b"".join(segment.chunks) for seq in range(3) if (segment := feed.get(seq))]
    assert entries == [
        b'{"added":["_changes"]}',
        b'{"added":["camera"]}',
        b'{"removed":["camera"]}',
    ]
    registry.close_all()
    assert len(registry) == 0
