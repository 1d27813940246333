"""Streams that are wrong on purpose: nothing grows or sticks, the next whole picture counts."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest

from livepeer.trickle.exceptions import PictureTooLarge
from livepeer.trickle.media import AudioFrame, MediaPacket, StreamDecoder, VideoFrame
from livepeer.trickle.media.codec.decoder_video import VideoDecoder
from livepeer.trickle.media.frame.interleave import Interleaver
from livepeer.trickle.media.ts.audio_headers import adts
from livepeer.trickle.media.ts.audio_units import AudioFrames
from livepeer.trickle.media.ts.demux import Demuxer
from livepeer.trickle.media.ts.muxer import TransportStreamMuxer, track_of
from livepeer.trickle.media.ts.pictures import Pictures
from livepeer.trickle.media.ts.start_codes import H264
from livepeer.trickle.media.ts.units import AccessUnit, ElementaryPacket, Track

VIDEO = Track(0x100, "video", "h264")
#: A picture for the framer: a delimiter, then the first slice of an IDR picture.
IDR = b"\0\0\0\1\x09\xf0\0\0\1\x65\x88"


def muxer() -> TransportStreamMuxer:
    made = TransportStreamMuxer()
    made.announce(track_of("video", "h264"))
    return made


def packet(data: bytes) -> ElementaryPacket:
    return ElementaryPacket(VIDEO, data, None, None, False, False, False)


def test_after_a_loss_in_mid_packet_the_next_packet_is_whole_and_not_damaged() -> None:
    """Whatever the lost one claimed to be (its length, its damage) is not said of the next."""
    ts, demuxer = muxer(), Demuxer()
    long = ts.access_unit("video", IDR + bytes(2_000), 90_000)
    demuxer.feed(ts.tables() + long[: 4 * 188])
    demuxer.discontinuity()
    whole = IDR + bytes(range(256)) * 20
    (came,) = demuxer.feed(ts.access_unit("video", whole, 93_000))
    assert came.data == whole
    assert came.lost
    assert not came.damaged


def test_a_damaged_packet_that_is_then_lost_does_not_damage_the_next() -> None:
    ts, demuxer = muxer(), Demuxer()
    parts = ts.access_unit("video", IDR + bytes(2_000), 90_000)
    demuxer.feed(ts.tables() + parts[: 3 * 188] + parts[5 * 188 : 6 * 188])
    demuxer.discontinuity()
    (came,) = demuxer.feed(ts.access_unit("video", IDR + bytes(50), 93_000))
    assert came.lost
    assert not came.damaged


def test_feeding_after_a_flush_begins_with_nothing_of_the_old_stream() -> None:
    ts, demuxer = muxer(), Demuxer()
    demuxer.feed(ts.tables() + ts.access_unit("video", IDR + bytes(2_000), 90_000)[: 4 * 188])
    assert demuxer.flush() == []
    fresh = muxer()
    (came,) = demuxer.feed(fresh.tables() + fresh.access_unit("video", IDR + b"new", 93_000))
    assert came.data == IDR + b"new"


def test_a_program_table_on_the_pid_of_an_old_track_is_read(clip: Callable[..., Any]) -> None:
    """Muxers number as they like: the next publisher's table may be where a picture track was."""
    made = clip()
    other = clip(mux={"mpegts_pmt_start_pid": "256", "mpegts_start_pid": "257"}, frames=20)
    decoder = StreamDecoder(audio="drop")
    items = [*decoder.feed(made.data), *decoder.end_segment()]
    items += [*decoder.feed(other.data), *decoder.flush()]
    assert len(items) == 50


def test_a_counter_that_an_empty_packet_resets_is_no_loss() -> None:
    ts, demuxer = muxer(), Demuxer()
    demuxer.feed(ts.tables() + ts.access_unit("video", IDR + b"one", 90_000))
    # Adaptation field alone, with its discontinuity indicator.
    reset = bytes((0x47, 0x01, 0x00, 0x20, 183, 0x80)) + b"\xff" * 182
    for _ in range(5):
        ts.access_unit("video", IDR, 91_000)
    (came,) = demuxer.feed(reset + ts.access_unit("video", IDR + b"two", 93_000))
    assert came.data == IDR + b"two"
    assert not came.lost
    assert demuxer.stats.lost_packets == 0


def test_a_packet_without_an_end_is_given_up() -> None:
    ts, demuxer = muxer(), Demuxer()
    demuxer.feed(ts.tables())
    piece = ts.access_unit("video", IDR + bytes(184 * 16 * 600), 90_000)
    # It never starts again, and its counters go on for ever.
    endless = piece[188 : 188 * (1 + 16 * 500)]
    assert len(endless) == 188 * 16 * 500
    demuxer.feed(piece)
    for _ in range(40):
        assert demuxer.feed(endless) == []
    (assembler,) = demuxer._assemblers.values()
    assert len(assembler._data) == 0
    (came,) = demuxer.feed(ts.access_unit("video", IDR + b"after", 93_000))
    assert came.data == IDR + b"after"


def test_a_picture_that_goes_on_and_on_is_joined_in_linear_time_and_given_up() -> None:
    pictures = Pictures(H264)
    # A muxer that cuts pictures: the first packet begins in the middle of one.
    assert pictures.split(packet(b"\x55" * 100 + IDR)) == []
    begun = time.thread_time()
    more = b"\x55" * 1_000
    for _ in range(40_000):
        assert pictures.split(packet(more)) == []
    assert time.thread_time() - begun < 20
    assert pictures._joiner is not None
    assert len(pictures._joiner._data) < 32 << 20
    assert pictures.split(packet(IDR)) == []
    (after,) = pictures.flush()
    assert after.lost


def test_a_cut_picture_is_joined_in_order() -> None:
    pictures = Pictures(H264)
    pictures.split(packet(b"\x55" * 100))
    pictures.split(packet(IDR + b"one"))
    pictures.split(packet(b"two"))
    (unit,) = pictures.split(packet(b"three" + IDR))
    assert isinstance(unit, AccessUnit)
    assert unit.data == IDR + b"one" + b"two" + b"three"


def test_pictures_that_all_claim_one_time_are_not_held_for_ever() -> None:
    order = Interleaver(Fraction(1))
    array = np.zeros((1, 10), np.float32)
    picture = VideoFrame.from_ndarray(np.zeros((2, 2, 3), np.uint8), time=1)
    order.add([AudioFrame.from_ndarray(array, rate=48_000, time=1), picture], tracks=2)
    given = sum(len(order.add([picture], tracks=2)) for _ in range(500))
    assert given > 430


def test_a_megabyte_of_no_sound_is_passed_over_quickly() -> None:
    frames = AudioFrames(adts)
    track = Track(0x101, "audio", "aac")
    begun = time.thread_time()
    noise = bytes(1 << 20)
    assert frames.split(ElementaryPacket(track, noise, 0, 0, False, False, False)) == []
    assert time.thread_time() - begun < 5


def test_a_stream_that_told_its_parameters_once_resyncs_at_a_keyframe_without_them(
    clip: Callable[..., Any],
) -> None:
    made, ts, reader = clip(frames=40), muxer(), StreamDecoder(video="packets")
    data = ts.tables()
    for number, item in enumerate([*reader.feed(made.data), *reader.flush()]):
        assert isinstance(item, MediaPacket)
        units = item.data.split(b"\0\0\1")
        kept = [unit for unit in units if number == 0 or not unit or unit[0] & 0x1F not in (7, 8)]
        assert len(units) - len(kept) == 2 * (item.is_keyframe and number > 0)
        piece = ts.access_unit(
            "video", b"\0\0\1".join(kept), item.pts, random_access=item.is_keyframe
        )
        # One picture is lost.
        data += b"" if number == 12 else piece
    decoder = StreamDecoder()
    frames = [*decoder.feed(data), *decoder.flush()]
    assert [round(frame.time * 90_000) for frame in frames] == made.times[:12] + made.times[20:]
    assert decoder.stats.resyncs == 1


def test_what_follows_a_keyframe_that_is_none_is_not_kept_for_ever(
    clip: Callable[..., Any],
) -> None:
    """FFmpeg gives no picture before it has a real one; until then all might be decoded again."""
    ts, decoder, reader = muxer(), StreamDecoder(), StreamDecoder(video="packets")
    made = clip(frames=200, gop=200, width=32, height=32)
    first, *rest = (
        item for item in [*reader.feed(made.data), *reader.flush()] if isinstance(item, MediaPacket)
    )
    parameters = first.data[: first.data.index(b"\0\0\1\x65")]
    data = ts.tables()
    for number, item in enumerate(rest):
        picture = item.data if number else parameters + item.data[item.data.index(b"\0\0\1\x41") :]
        data += ts.access_unit("video", picture, item.pts, random_access=not number)
    assert decoder.feed(data) == []
    (track,) = decoder._decoders.values()
    assert isinstance(track, VideoDecoder)
    assert not track._waiting
    assert len(track._since_key) <= 64


def test_tables_that_change_in_every_packet_cost_no_memory(clip: Callable[..., Any]) -> None:
    decoder = StreamDecoder()
    a, b = muxer(), TransportStreamMuxer()
    b.announce(track_of("video", "hevc"))
    b.announce(track_of("audio", "aac"))
    for _ in range(500):
        decoder.feed(a.tables() + b.tables())
    assert len(decoder._demuxer._assemblers) <= 2
    made = clip()
    assert len([*decoder.feed(made.data), *decoder.flush()]) == 30


def test_a_picture_that_is_let_go_is_free_at_once(clip: Callable[..., Any]) -> None:
    """Not only when Python looks for cycles, which takes many megabytes of pictures."""
    made, decoder = clip(frames=40), StreamDecoder()
    gc.collect()
    gc.disable()
    try:
        pictures = [*decoder.feed(made.data), *decoder.flush()]
        assert len(pictures) == 40
        pictures.clear()
        assert not [kept for kept in gc.get_objects() if isinstance(kept, av.VideoFrame)]
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "codec", [{}, {"codec": "libx265"}, {"codec": "mpeg2video"}], ids=["h264", "hevc", "mpeg2"]
)
def test_pictures_over_the_limit_are_refused_by_their_size_and_never_decoded(
    clip: Callable[..., Any], codec: dict[str, Any]
) -> None:
    made = clip(**codec)
    for limit in (160 * 96 - 1, 1):
        decoder = StreamDecoder(max_pixels=limit)
        with pytest.raises(PictureTooLarge, match=f"160x96, and max_pixels is {limit}"):
            decoder.feed(made.data)
        assert decoder.stats.video_frames == 0
    exact = StreamDecoder(max_pixels=160 * 96)
    assert len([*exact.feed(made.data), *exact.flush()]) == 30
    passing = StreamDecoder(video="packets", max_pixels=1)
    assert len([*passing.feed(made.data), *passing.flush()]) == 30


def test_of_large_pictures_few_wait_for_sound_that_does_not_come() -> None:
    order = Interleaver(Fraction(1))
    sound = AudioFrame.from_ndarray(np.zeros((1, 10), np.float32), rate=48_000, time=0)
    order.add([sound], tracks=2)
    large = VideoFrame.from_ndarray(np.zeros((2304, 4096), np.uint8), "gray", time=0)
    out, held = 0, 0
    for n in range(60):
        frame = large.snapshot()
        frame.time = Fraction(n, 60)
        held += 1
        out = len(order.add([frame], tracks=2))
        held -= out
    assert held <= 15
