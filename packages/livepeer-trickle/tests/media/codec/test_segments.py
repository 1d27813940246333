"""Each segment alone: tables first, a keyframe, its sound, decodable by whoever opens it."""

from __future__ import annotations

import io
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest

from livepeer.trickle.media import (
    AudioFrame,
    CodecParameters,
    MediaPacket,
    SegmentEncoder,
    StreamDecoder,
    VideoFrame,
)
from livepeer.trickle.media.codec.outputs import AudioOutput, VideoOutput
from livepeer.trickle.media.ts.demux import Demuxer
from livepeer.trickle.media.ts.segments import Piece
from livepeer.trickle.media.ts.units import Track

TICK = Fraction(1, 90_000)


def picture(index: int, size: tuple[int, int] = (96, 160)) -> VideoFrame:
    y, x = np.mgrid[0 : size[0], 0 : size[1]]
    red = 128 + 100 * np.sin((x + 4 * index) / 20)
    green = 128 + 100 * np.cos((y - 2 * index) / 15)
    array = np.stack([red, green, red], -1).astype(np.uint8)
    return VideoFrame.from_ndarray(array)


def timed(frame: Any, time: Fraction) -> Any:
    frame.time = time
    return frame


def tone(start: Fraction, samples: int = 960, rate: int = 48_000) -> AudioFrame:
    at = float(start) + np.arange(samples) / rate
    wave = (0.5 * np.sin(2 * np.pi * 440 * at)).astype(np.float32)
    return AudioFrame.from_ndarray(np.stack([wave, wave]), rate=rate, time=start)


def encoded(
    encoder: SegmentEncoder,
    *,
    seconds: float = 3,
    fps: int = 30,
    start: Fraction = Fraction(1),
    audio_from: float | None = 0,
    mono: bool = False,
) -> list[bytes]:
    """The segments of a clip whose sound, in frames of 20 ms, is written as it falls due."""
    pieces: list[Piece] = []
    heard = start + Fraction(audio_from or 0)
    for i in range(round(seconds * fps)):
        time = start + Fraction(i, fps)
        pieces += encoder.encode(timed(picture(i), time))
        while audio_from is not None and heard <= time:
            sound = tone(heard)
            pieces += encoder.encode(sound.resample(layout="mono") if mono else sound)
            heard += Fraction(1, 50)
    return segments([*pieces, *encoder.flush()])


def segments(pieces: list[Piece]) -> list[bytes]:
    out: list[bytearray] = []
    for piece in pieces:
        if piece.new_segment:
            out.append(bytearray())
        out[-1] += piece.data
    return [bytes(segment) for segment in out]


def pids(segment: bytes) -> list[int]:
    heads = zip(segment[1::188], segment[2::188], strict=True)
    return [(high & 0x1F) << 8 | low for high, low in heads]


def test_a_segment_begins_with_its_tables_and_a_keyframe_that_can_be_entered() -> None:
    for segment in encoded(SegmentEncoder(), seconds=2):
        assert pids(segment)[:3] == [0, 0x1000, 0x100]
        first = segment[2 * 188 : 3 * 188]
        assert first[3] & 0x20, "an adaptation field"
        assert first[5] & 0x50 == 0x50, "random access and a clock reference"


@pytest.mark.parametrize("codec", ["aac", "libopus"])
def test_each_segment_alone_is_decoded_by_plain_pyav_with_all_its_frames(codec: Any) -> None:
    encoder = SegmentEncoder(audio=AudioOutput(codec=codec), expect=["audio"])
    parts = encoded(encoder)
    assert len(parts) == 3
    for number, segment in enumerate(parts):
        with av.open(io.BytesIO(segment)) as container:
            assert [s.type for s in container.streams] == ["video", "audio"]
            frames = list(container.decode(video=0))
        assert [f.pts for f in frames] == [90_000 * (number + 1) + 3000 * i for i in range(30)]
        assert frames[0].key_frame
        assert not any(f.is_corrupt for f in frames)
        with av.open(io.BytesIO(segment)) as container:
            heard = [f.pts / 90_000 for f in container.decode(audio=0)]
        assert number + 0.9 < heard[0] < number + 1.05
        assert number + 1.85 < heard[-1] < number + 2.05


def test_segments_joined_in_one_stream_have_no_gap_in_any_counter() -> None:
    data = b"".join(encoded(SegmentEncoder()))
    last: dict[int, int] = {}
    for i, pid in enumerate(pids(data)):
        counter = data[i * 188 + 3] & 15
        assert counter == (last.get(pid, counter - 1) + 1) & 15
        last[pid] = counter


@pytest.mark.parametrize(("fps", "gop"), [(1, 1.0), (5, 1.0), (24, 1.0), (30, 2.0), (60, 0.5)])
def test_segments_are_as_long_as_asked_for(fps: int, gop: float) -> None:
    encoder = SegmentEncoder(VideoOutput(gop_seconds=gop), None)
    parts = encoded(encoder, seconds=4, fps=fps, audio_from=None)
    assert len(parts) == 4 / gop


def test_jittering_times_do_not_stretch_a_segment_by_a_frame() -> None:
    encoder = SegmentEncoder(audio=None)
    rng = np.random.default_rng(3)
    pieces: list[Piece] = []
    for i in range(150):
        ticks = 90_000 + 3000 * i + int(rng.integers(-300, 300))
        pieces += encoder.encode(timed(picture(i), ticks * TICK))
    assert [sum(1 for _ in decoded(s)) for s in segments(pieces)] == [30] * 5


def decoded(segment: bytes) -> list[VideoFrame]:
    decoder = StreamDecoder(audio="drop")
    frames = [*decoder.feed(segment), *decoder.end_segment(), *decoder.flush()]
    return [frame for frame in frames if isinstance(frame, VideoFrame)]


def test_sound_before_the_first_picture_waits_for_it_and_is_not_lost() -> None:
    encoder = SegmentEncoder()
    pieces: list[Piece] = []
    for i in range(10):
        pieces += encoder.encode(tone(1 + Fraction(i, 50)))
    assert pieces == []
    pieces = encoder.encode(timed(picture(0), Fraction(12, 10)))
    assert pieces[0].new_segment
    assert sum(piece.new_segment for piece in pieces) == 1
    with av.open(io.BytesIO(b"".join(p.data for p in pieces))) as container:
        assert [s.type for s in container.streams] == ["video", "audio"]
        assert len(list(container.decode(audio=0))) >= 8


def test_sound_that_begins_late_gets_into_the_tables_with_a_segment_of_its_own() -> None:
    encoder = SegmentEncoder()
    parts = encoded(encoder, seconds=3, audio_from=1.4)
    announced = []
    for part in parts:
        with av.open(io.BytesIO(part)) as container:
            announced.append([s.type for s in container.streams])
        versions = {part[i * 188 + 10] for i, pid in enumerate(pids(part)) if pid == 0x1000}
        assert len(versions) == 1, "tables change only where a segment begins"
    assert announced[0] == ["video"]
    assert announced[-1] == ["video", "audio"]
    assert sum(len(decoded(part)) for part in parts) == 90


def test_expected_sound_is_in_the_first_tables() -> None:
    encoder = SegmentEncoder(audio=AudioOutput("libopus"), expect={"video", "audio"})
    (piece,) = encoder.encode(timed(picture(0), Fraction(1)))
    with av.open(io.BytesIO(piece.data), options={"probesize": "10000"}) as container:
        assert [s.type for s in container.streams] == ["video", "audio"]


def tables(segment: bytes) -> tuple[Track, ...]:
    demuxer = Demuxer()
    demuxer.feed(segment[: 2 * 188])
    return demuxer.tracks


@pytest.mark.parametrize("codec", ["aac", "libopus"])
def test_a_first_segment_whose_sound_is_expected_is_as_long_as_any_and_has_it(codec: Any) -> None:
    encoder = SegmentEncoder(audio=AudioOutput(codec=codec))
    encoder.expect("audio")
    parts = encoded(encoder, audio_from=0.2)
    assert [len(decoded(part)) for part in parts] == [30, 30, 30]
    for part in parts:
        assert [track.kind for track in tables(part)] == ["video", "audio"]
        with av.open(io.BytesIO(part)) as container:
            assert sum(frame.samples for frame in container.decode(audio=0)) > 35_000


@pytest.mark.parametrize(
    ("output", "source", "made"),
    [
        (AudioOutput(), "opus", "opus"),
        (AudioOutput(), "aac", "aac"),
        (AudioOutput(), "mp2", "aac"),
        (AudioOutput(rate=16_000), "opus", "opus"),
        (AudioOutput(rate=44_100), "opus", "aac"),
        (AudioOutput("aac"), "opus", "aac"),
        (AudioOutput("opus"), "aac", "opus"),
    ],
)
def test_sound_is_encoded_as_it_came_unless_a_codec_is_named(
    output: AudioOutput, source: str, made: str
) -> None:
    encoder = SegmentEncoder(audio=output)
    encoder.expect("audio", source, decoded=True)
    parts = encoded(encoder)
    assert [len(decoded(part)) for part in parts] == [30, 30, 30]
    for part in parts:
        assert [track.codec for track in tables(part)] == ["h264", made]
        with av.open(io.BytesIO(part)) as container:
            assert container.streams.audio[0].codec_context.name in (made, f"lib{made}")
            assert sum(frame.samples for frame in container.decode(audio=0)) > 0.8 * (
                output.rate or 48_000
            ) * (1 if made == "aac" else 48_000 / (output.rate or 48_000))


def test_opus_in_one_channel_where_two_were_told_cuts_no_segment_short() -> None:
    encoder = SegmentEncoder(audio=AudioOutput("opus"), expect=["audio"])
    parts = encoded(encoder, mono=True)
    assert [len(decoded(part)) for part in parts] == [30, 30, 30]
    assert [tables(part)[1].channels for part in parts] == [2, 1, 1]
    for part in parts:
        with av.open(io.BytesIO(part)) as container:
            assert sum(frame.samples for frame in container.decode(audio=0)) > 40_000


@pytest.mark.parametrize("decoded_here", [True, False])
def test_opus_in_as_many_channels_as_were_told_is_told_from_the_beginning(
    decoded_here: bool,
) -> None:
    encoder = SegmentEncoder(audio=AudioOutput())
    encoder.expect("audio", "opus", channels=1, decoded=decoded_here)
    (piece,) = encoder.encode(timed(picture(0), Fraction(1)))
    sound = tables(piece.data)[1]
    assert (sound.codec, sound.channels) == ("opus", 1)


def test_sound_that_came_and_is_not_encoded_yet_is_in_the_first_tables() -> None:
    encoder = SegmentEncoder()
    assert encoder.encode(tone(Fraction(1), samples=400)) == []
    (piece,) = encoder.encode(timed(picture(0), Fraction(1)))
    assert [track.kind for track in tables(piece.data)] == ["video", "audio"]


def test_expected_sound_that_never_comes_is_withdrawn_from_the_next_segment_on() -> None:
    parts = encoded(SegmentEncoder(expect=["audio"]), audio_from=None)
    assert [len(decoded(part)) for part in parts] == [30, 30, 30]
    assert [len(tables(part)) for part in parts] == [2, 1, 1]


def test_expected_sound_that_is_very_late_is_news_with_a_segment_of_its_own() -> None:
    parts = encoded(SegmentEncoder(expect=["audio"]), seconds=4, audio_from=2.3)
    names = [[track.kind for track in tables(part)] for part in parts]
    assert names[0] == names[-1] == ["video", "audio"]
    assert names[1] == ["video"]
    assert sum(len(decoded(part)) for part in parts) == 120
    with av.open(io.BytesIO(parts[-1])) as container:
        assert sum(frame.samples for frame in container.decode(audio=0)) > 20_000


def test_sound_that_is_expected_to_pass_through_is_named_by_its_own_codec() -> None:
    encoder = SegmentEncoder()
    encoder.expect("audio", "mp2")
    (piece,) = encoder.encode(timed(picture(0), Fraction(1)))
    assert [track.codec for track in tables(piece.data)] == ["h264", "mp2"]
    encoder = SegmentEncoder()
    encoder.expect("audio", "vorbis")
    (piece,) = encoder.encode(timed(picture(0), Fraction(1)))
    assert [track.codec for track in tables(piece.data)] == ["h264"]


def test_sound_without_pictures_is_cut_by_time() -> None:
    for video in (None, VideoOutput()):
        encoder = SegmentEncoder(video, AudioOutput())
        pieces: list[Piece] = []
        for i in range(200):
            pieces += encoder.encode(tone(1 + Fraction(i, 50)))
        parts = segments([*pieces, *encoder.flush()])
        assert 4 <= len(parts) <= 5
        for part in parts:
            with av.open(io.BytesIO(part)) as container:
                assert sum(f.samples for f in container.decode(audio=0)) > 20_000 * (
                    part is not parts[-1]
                )


def test_pictures_that_pause_do_not_make_a_segment_endless_and_come_back_whole() -> None:
    encoder = SegmentEncoder()
    pieces: list[Piece] = []
    for i in range(400):
        time = 1 + Fraction(i, 50)
        pieces += encoder.encode(tone(time))
        if i < 60 or i >= 330:
            pieces += encoder.encode(timed(picture(i), time))
    parts = segments([*pieces, *encoder.flush()])
    lengths = [len(decoded(part)) for part in parts]
    assert len(parts) >= 6
    assert sum(lengths) == 130


def test_cut_begins_a_segment_with_the_next_frame() -> None:
    encoder = SegmentEncoder(audio=None)
    pieces: list[Piece] = []
    for i in range(12):
        if i == 7:
            encoder.cut()
        pieces += encoder.encode(timed(picture(i), Fraction(i, 30)))
    assert [i for i, piece in enumerate(pieces) if piece.new_segment] == [0, 7]
    assert [len(decoded(part)) for part in segments(pieces)] == [7, 5]


def test_after_a_loss_the_demuxer_is_told_not_to_wonder() -> None:
    encoder = SegmentEncoder(audio=None)
    parts: list[bytes] = []
    for i in range(9):
        if i == 6:
            encoder.cut(lost=True)
        (piece,) = encoder.encode(timed(picture(i), Fraction(i, 30)))
        parts.append(piece.data)
    with av.open(io.BytesIO(b"".join(parts[:4] + parts[6:]))) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    assert len(packets) == 7
    assert not any(packet.is_corrupt for packet in packets)


def source_packets(gop: float = 0.5, audio: bool = True) -> list[MediaPacket]:
    decoder = StreamDecoder(video="packets", audio="packets")
    out: list[Any] = []
    encoder = SegmentEncoder(
        VideoOutput(gop_seconds=gop), AudioOutput() if audio else None, expect=["audio"]
    )
    for part in encoded(encoder, audio_from=0 if audio else None):
        out += decoder.feed(part) + decoder.end_segment()
    return out + decoder.flush()


def test_packets_pass_through_undecoded_byte_for_byte_and_tick_for_tick() -> None:
    packets = source_packets()
    encoder = SegmentEncoder(expect=["audio"])
    pieces = [piece for packet in packets for piece in encoder.encode(packet)]
    parts = segments(pieces + encoder.flush())
    assert len(parts) == 3
    decoder = StreamDecoder(video="packets", audio="packets")
    again: list[Any] = []
    for part in parts:
        assert decoded(part)[0].key_frame
        again += decoder.feed(part) + decoder.end_segment()
    again += decoder.flush()
    for kind in ("video", "audio"):
        before = [(p.pts, p.dts, p.data) for p in packets if p.kind == kind]
        after = [(p.pts, p.dts, p.data) for p in again if p.kind == kind]
        assert after == before


def test_a_stream_entered_in_the_middle_passes_through_from_its_next_keyframe_on() -> None:
    packets = [p for p in source_packets(audio=False) if p.kind == "video"][4:]
    encoder = SegmentEncoder()
    pieces = [piece for packet in packets for piece in encoder.encode(packet)]
    assert encoder.stats.skipped == 11
    assert sum(len(decoded(part)) for part in segments(pieces)) == len(packets) - 11


def test_one_track_decoded_and_the_other_passed_through_stay_in_sync() -> None:
    decoder = StreamDecoder(video="decode", audio="packets")
    encoder = SegmentEncoder()
    pieces: list[Piece] = []
    given: dict[str, list[Fraction]] = {"video": [], "audio": []}
    for part in encoded(SegmentEncoder()):
        for item in decoder.feed(part) + decoder.end_segment():
            given["audio" if isinstance(item, MediaPacket) else "video"].append(item.time)
            pieces += encoder.encode(item)
    data = b"".join(segments(pieces))
    for kind in ("video", "audio"):
        with av.open(io.BytesIO(data)) as container:
            stream = container.streams.best(kind)
            times = [p.pts * TICK for p in container.demux(stream) if p.pts is not None]
        assert times == given[kind]


def test_a_picture_without_a_delimiter_is_given_one() -> None:
    parameters = CodecParameters("video", "h264", width=160, height=96)
    (piece,) = SegmentEncoder(audio=None).encode(timed(picture(0), Fraction(0)))
    with av.open(io.BytesIO(piece.data)) as container:
        bare = next(bytes(p) for p in container.demux(video=0) if p.size)
    assert bare.startswith(b"\0\0\0\1\x09")
    packet = MediaPacket(bare[6:], 0, 0, TICK, True, parameters)
    (again,) = SegmentEncoder(audio=None).encode(packet)
    assert b"\0\0\0\1\x09\xf0" + bare[6:10] in again.data
    assert len(decoded(again.data)) == 1


def test_a_large_keyframe_is_carried_whole() -> None:
    encoder = SegmentEncoder(VideoOutput(bitrate=50_000_000), None)
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (720, 1280, 3), np.uint8)
    (piece,) = encoder.encode(VideoFrame.from_ndarray(noise, time=1))
    assert len(piece.data) > 300_000
    with av.open(io.BytesIO(piece.data)) as container:
        assert len(list(container.decode(video=0))) == 1
    assert len(decoded(piece.data)) == 1


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg2video"])
def test_other_encoders_pictures_pass_through_reordered_ones_too(clip: Any, codec: str) -> None:
    source = clip(codec=codec, frames=40, gop=10, bframes=0 if codec == "mpeg2video" else 2)
    reader = StreamDecoder(video="packets", audio="packets")
    packets: list[Any] = [*reader.feed(source.data), *reader.end_segment(), *reader.flush()]
    encoder = SegmentEncoder()
    parts = segments([piece for packet in packets for piece in encoder.encode(packet)])
    times: list[Fraction] = []
    for part in parts:
        frames = decoded(part)
        assert frames[0].key_frame
        times += [frame.time for frame in frames]
    assert times == [t * TICK for t in source.times]
