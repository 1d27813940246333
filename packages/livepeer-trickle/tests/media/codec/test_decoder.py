"""Streams of MPEG-TS to frames: whole, broken, and changing on the way."""

import io
import struct
import zlib
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from av.video.frame import PictureType

from livepeer.trickle.media.codec.decoder import StreamDecoder
from livepeer.trickle.media.file.decode import decode
from livepeer.trickle.media.frame import AudioFrame, MediaPacket, VideoFrame
from livepeer.trickle.media.frame.clock import MPEG_WRAP

Item = VideoFrame | AudioFrame | MediaPacket


def run(data: bytes, *, chunk: int = 4096, **options: Any) -> tuple[list[Item], StreamDecoder]:
    """Feed one segment and end the stream."""
    decoder = StreamDecoder(**options)
    out: list[Item] = []
    for at in range(0, len(data), chunk):
        out += decoder.feed(data[at : at + chunk])
    out += decoder.end_segment()
    out += decoder.flush()
    return out, decoder


def video(items: Iterable[Item]) -> list[VideoFrame]:
    return [item for item in items if isinstance(item, VideoFrame)]


def audio(items: Iterable[Item]) -> list[AudioFrame]:
    return [item for item in items if isinstance(item, AudioFrame)]


def packets(items: Iterable[Item]) -> list[MediaPacket]:
    return [item for item in items if isinstance(item, MediaPacket)]


def gops(data: bytes) -> list[bytes]:
    """Cut a clip of our fixtures before each random access point of its video."""
    starts = [
        at
        for at in range(0, len(data), 188)
        if data[at + 1] & 0x40 and data[at + 3] & 0x20 and data[at + 4] and data[at + 5] & 0x40
        if (data[at + 1] & 0x1F) << 8 | data[at + 2] == 0x100
    ]
    ends = [*starts[1:], len(data)]
    return [data[: 3 * 188] + data[a:b] for a, b in zip(starts, ends, strict=True)]


# --- round trips ---------------------------------------------------------------------------------

_VIDEO = [
    pytest.param({"options": {"profile": "baseline"}}, id="baseline"),
    pytest.param({"options": {"profile": "main", "preset": "fast"}}, id="main"),
    pytest.param({"options": {"profile": "main"}, "bframes": 2}, id="main with b-frames"),
    pytest.param({"options": {"profile": "high", "preset": "fast"}}, id="high"),
    pytest.param({"options": {"profile": "high", "preset": "fast"}, "bframes": 3}, id="high, b"),
    pytest.param({"options": {"x264-params": "b-pyramid=normal"}, "bframes": 5}, id="b-pyramid"),
    pytest.param({"options": {"x264-params": "open-gop=1"}, "bframes": 3}, id="open gop"),
    pytest.param({"options": {"tune": "zerolatency"}}, id="sliced"),
    pytest.param({"options": {"x264-params": "interlaced=1"}}, id="interlaced"),
    pytest.param({"codec": "libx265"}, id="hevc"),
    pytest.param({"codec": "libx265", "bframes": 3}, id="hevc with b-frames"),
    pytest.param({"codec": "mpeg2video"}, id="mpeg-2"),
    pytest.param({"width": 161, "height": 97, "pix_fmt": "yuv444p"}, id="odd size"),
    pytest.param({"width": 161, "height": 97, "codec": "mpeg2video"}, id="odd size in 4:2:0"),
    pytest.param({"width": 160, "height": 97, "pix_fmt": "yuv422p"}, id="odd height in 4:2:2"),
    pytest.param({"width": 98, "height": 50}, id="cropped"),
    pytest.param({"pix_fmt": "yuv422p"}, id="4:2:2"),
    pytest.param({"pix_fmt": "yuv420p10le"}, id="10 bit"),
    pytest.param({"pix_fmt": "yuv422p10le"}, id="4:2:2 10 bit"),
    pytest.param({"fps": 1, "frames": 5}, id="1 fps"),
    pytest.param({"fps": 60, "frames": 60}, id="60 fps"),
    pytest.param({"fps": Fraction(30_000, 1001)}, id="29.97 fps"),
]


@pytest.mark.parametrize("options", _VIDEO)
def test_every_picture_comes_out_at_its_tick(
    clip: Callable[..., Any], quality: Callable[..., float], options: dict[str, Any]
) -> None:
    made = clip(**options)
    items, decoder = run(made.data)
    frames = video(items)
    assert [frame.pts for frame in frames] == made.times
    assert all(frame.time == Fraction(t, 90_000) for frame, t in zip(frames, made.times))  # noqa: B905
    assert frames[0].key_frame
    for frame, picture in zip(frames, made.pictures, strict=True):
        assert (frame.height, frame.width) == picture[0].shape
        for ours, drawn in zip(frame.view(), picture, strict=True):
            assert ours.shape == drawn.shape
            assert quality(ours, drawn) > 38
    assert decoder.stats.damaged == decoder.stats.skipped == decoder.stats.lost_packets == 0


@pytest.mark.parametrize(
    ("options", "profile", "kinds"),
    [
        ({"options": {"profile": "baseline"}}, "Constrained Baseline", "IP"),
        ({"options": {"profile": "main", "preset": "fast"}}, "Main", "IP"),
        ({"options": {"profile": "main"}, "bframes": 2}, "Main", "IPB"),
        ({"options": {"profile": "high", "preset": "fast"}}, "High", "IP"),
        ({"options": {"profile": "high", "preset": "fast"}, "bframes": 3}, "High", "IPB"),
        ({"codec": "libx265", "bframes": 3}, "Main", "IPB"),
    ],
)
def test_the_clips_above_are_what_they_are_called(
    clip: Callable[..., Any], options: dict[str, Any], profile: str, kinds: str
) -> None:
    with av.open(io.BytesIO(clip(**options).data)) as container:
        types = {picture.pict_type for picture in container.decode(video=0)}
        assert container.streams.video[0].codec_context.profile == profile
    assert types == {PictureType[kind] for kind in kinds}


def test_a_variable_rate_keeps_every_picture_and_its_time(
    clip: Callable[..., Any], quality: Callable[..., float]
) -> None:
    times = [Fraction(n * n, 500) for n in range(30)]
    made = clip(times=times, bframes=2)
    frames = video(run(made.data)[0])
    assert [frame.pts for frame in frames] == made.times
    for frame, picture in zip(frames, made.pictures, strict=True):
        assert quality(frame.view()[0], picture[0]) > 38


_AUDIO = [
    ("aac", 48_000, "stereo"),
    ("aac", 44_100, "mono"),
    ("aac", 48_000, "5.1"),
    ("libopus", 48_000, "stereo"),
    ("libopus", 48_000, "mono"),
    ("mp2", 48_000, "stereo"),
    ("mp2", 44_100, "mono"),
    ("ac3", 48_000, "stereo"),
    ("eac3", 44_100, "5.1"),
]


@pytest.mark.parametrize(("codec", "rate", "layout"), _AUDIO)
def test_audio_comes_out_whole_gapless_and_in_sync(
    clip: Callable[..., Any], codec: str, rate: int, layout: str
) -> None:
    made = clip(audio=codec, audio_rate=rate, audio_layout=layout, audio_start=Fraction(0))
    frames = audio(run(made.data)[0])
    # AC-3 decodes 5.1 to its own name for it, "5.1(side)".
    assert {(frame.rate, frame.layout.split("(")[0]) for frame in frames} == {(rate, layout)}
    at = frames[0].time
    for frame in frames:
        assert frame.time == at
        at += frame.duration
    samples = np.concatenate([frame.samples for frame in frames], axis=1)[0]
    assert len(samples) >= made.audio_samples
    # The tone is sin(440 Hz) from the time 0 on: its phase tells where each sample belongs.
    start = Fraction(90_000, 90_000)
    times = float(frames[0].time - start) + np.arange(len(samples)) / rate
    body = slice(rate // 4, rate * 3 // 4)
    phase = np.angle(np.sum(samples[body] * np.exp(-2j * np.pi * 440 * times[body]))) + np.pi / 2
    offset = (phase + np.pi) % (2 * np.pi) - np.pi
    assert abs(offset / (2 * np.pi * 440)) < 0.0005


def test_chunk_borders_mean_nothing(clip: Callable[..., Any]) -> None:
    made = clip(audio="aac", bframes=2)
    whole = [(type(i), i.time) for i in run(made.data, chunk=1 << 20)[0]]
    for chunk in (1, 100, 188, 1000):
        assert [(type(i), i.time) for i in run(made.data, chunk=chunk)[0]] == whole


# --- delay ---------------------------------------------------------------------------------------


def frames_after(data: bytes, cuts: list[int]) -> list[int]:
    """How many pictures are out after the first ``cuts[n]`` bytes each."""
    decoder = StreamDecoder()
    out, at, counts = 0, 0, []
    for cut in cuts:
        out += len(video(decoder.feed(data[at:cut])))
        at = cut
        counts.append(out)
    return counts


def picture_ends(data: bytes) -> list[int]:
    """Where each video PES packet of our fixtures ends."""
    last, ends = None, []
    for at in range(0, len(data), 188):
        if (data[at + 1] & 0x1F) << 8 | data[at + 2] == 0x100:
            if data[at + 1] & 0x40 and last is not None:
                ends.append(last)
            last = at + 188
    assert last is not None
    return [*ends, last]


def test_with_lengths_every_picture_is_out_with_its_own_last_byte(
    clip: Callable[..., Any],
) -> None:
    data = clip(mux={"omit_video_pes_length": "0"}).data
    assert frames_after(data, picture_ends(data)) == list(range(1, 31))


def test_without_lengths_the_delay_of_one_picture_is_learnt_away(clip: Callable[..., Any]) -> None:
    data = clip(frames=60).data
    counts = frames_after(data, picture_ends(data))
    assert counts[0] == 0
    late = [n - count for n, count in enumerate(counts[10:], 11)]
    # A picture that fills its packets to the last byte is still known by the next one only.
    assert set(late) <= {0, 1}
    assert sum(late) <= 3


def test_the_end_of_a_segment_completes_its_last_picture(clip: Callable[..., Any]) -> None:
    decoder = StreamDecoder()
    made = clip()
    seen = 0
    for part in gops(made.data):
        seen += len(video(decoder.feed(part) + decoder.end_segment()))
        assert seen % 10 == 0
    assert seen == 30


# --- time ----------------------------------------------------------------------------------------


def test_times_go_on_across_the_33_bit_wrap(clip: Callable[..., Any]) -> None:
    made = clip(start=MPEG_WRAP - 45_000, audio="aac", bframes=2)
    items, _ = run(made.data)
    assert [frame.pts for frame in video(items)] == made.times
    assert made.times[-1] > MPEG_WRAP
    times = [frame.time for frame in audio(items)]
    assert times == sorted(times)
    assert abs(times[0] - Fraction(made.times[0], 90_000)) < Fraction(1, 20)


def test_a_publisher_that_starts_again_goes_on_in_time(clip: Callable[..., Any]) -> None:
    late, early = clip(start=90_000_000, audio="aac"), clip(start=90_000, audio="aac")
    decoder = StreamDecoder()
    items = [*decoder.feed(late.data), *decoder.end_segment()]
    items += [*decoder.feed(early.data), *decoder.end_segment(), *decoder.flush()]
    times = [frame.time for frame in video(items)]
    assert len(times) == 60
    assert times == sorted(times)
    assert times[30] - times[29] < 1
    assert decoder.stats.clock_restarts == 1


# --- broken input --------------------------------------------------------------------------------


def remove(data: bytes, pid: int, index: int, count: int = 1) -> bytes:
    """Without ``count`` transport packets of ``pid``, from its ``index``-th on."""
    kept, seen = [], 0
    for at in range(0, len(data), 188):
        if (data[at + 1] & 0x1F) << 8 | data[at + 2] == pid:
            seen += 1
            if index < seen <= index + count:
                continue
        kept.append(data[at : at + 188])
    return b"".join(kept)


@pytest.mark.parametrize("bframes", [0, 2])
def test_a_lost_packet_costs_the_rest_of_its_gop_and_nothing_else(
    clip: Callable[..., Any], quality: Callable[..., float], bframes: int
) -> None:
    made = clip(frames=40, bframes=bframes)
    broken = remove(made.data, 0x100, 60)
    items, decoder = run(broken)
    frames = video(items)
    times = [frame.pts for frame in frames]
    complete = [made.times[n : n + 10] for n in range(0, 40, 10)]
    whole = [gop for gop in complete if all(t in times for t in gop)]
    assert len(whole) == 3
    assert len(times) < 40
    for frame in frames:
        assert quality(frame.view()[0], made.pictures[made.times.index(frame.pts)][0]) > 38
    assert decoder.stats.lost_packets == 1
    assert decoder.stats.resyncs == 1
    # A picture of which the very start is lost is never seen, so it may be missing in the count.
    assert 40 - len(times) - decoder.stats.skipped - decoder.stats.damaged in (0, 1)


@pytest.mark.parametrize("bframes", [0, 2])
def test_wrong_bits_are_counted_and_leave_no_trace_in_the_gops_around_them(
    clip: Callable[..., Any], quality: Callable[..., float], bframes: int
) -> None:
    made = clip(frames=40, bframes=bframes)
    clean = {frame.pts: frame.view() for frame in video(run(made.data)[0])}
    parts = gops(made.data)
    second = range(len(parts[0]), len(parts[0]) + len(parts[1]) - 4 * 188, 188)
    # Packets full of a picture, which goes on in the next one.
    heads = {at: made.data[at + 1 : at + 3] + bytes((made.data[at + 3] & 0x30,)) for at in second}
    inner = [
        at
        for at in second
        if heads[at] == b"\x01\x00\x10" == heads.get(at + 188, b"")[:2] + b"\x10"
    ]
    assert len(inner) > 20
    counted = wrong = 0
    for at in inner:
        broken = bytearray(made.data)
        broken[at + 30 : at + 170] = np.random.default_rng(at).bytes(140)
        items, decoder = run(bytes(broken))
        frames = {frame.pts: frame.view() for frame in video(items)}
        assert decoder.stats.lost_packets == 0
        counted += decoder.stats.damaged > 0
        for time in made.times[:10] + made.times[20:]:
            for ours, whole in zip(frames[time], clean[time], strict=True):
                np.testing.assert_array_equal(ours, whole)
        second_gop = [time for time in made.times[10:20] if time in frames]
        wrong += sum(quality(frames[time][0], clean[time][0]) < 30 for time in second_gop)
    # Some bits mean something, if nothing good, and FFmpeg finds nothing wrong with them.
    assert counted > len(inner) * 0.75
    if not bframes:
        assert wrong < len(inner) * 0.4


def test_what_is_whole_comes_out_as_soon_as_a_loss_is_announced(clip: Callable[..., Any]) -> None:
    made = clip(frames=40, bframes=2)
    decoder = StreamDecoder()
    first, second = gops(made.data)[:2]
    items = [*decoder.feed(first), *decoder.end_segment()]
    assert len(video(items)) < 10
    items += decoder.discontinuity()
    assert [frame.pts for frame in video(items)] == made.times[:10]
    items += [*decoder.feed(second), *decoder.flush()]
    assert [frame.pts for frame in video(items)] == made.times[:20]


def test_a_stream_without_keyframes_resyncs_at_a_recovery_point(
    clip: Callable[..., Any], quality: Callable[..., float]
) -> None:
    made = clip(frames=90, gop=15, options={"x264-params": "intra-refresh=1:keyint=15"})
    assert [f.pts for f in video(run(made.data)[0])] == made.times
    frames = video(run(remove(made.data, 0x100, 60))[0])
    times = [frame.pts for frame in frames]
    assert 40 < len(times) < 90
    assert times[-20:] == made.times[-20:]
    for frame in frames:
        assert quality(frame.view()[0], made.pictures[made.times.index(frame.pts)][0]) > 30


def test_a_lost_segment_is_announced_counted_and_passed_over(clip: Callable[..., Any]) -> None:
    made = clip(frames=40, audio="aac")
    parts = gops(made.data)
    decoder = StreamDecoder()
    items = [*decoder.feed(parts[0]), *decoder.end_segment(), *decoder.discontinuity()]
    for part in parts[2:]:
        items += [*decoder.feed(part), *decoder.end_segment()]
    items += decoder.flush()
    assert [f.pts for f in video(items)] == made.times[:10] + made.times[20:]
    assert decoder.stats.discontinuities == 1
    times = [frame.time for frame in audio(items)]
    assert times == sorted(times)


def test_a_segment_cut_short_gives_what_was_whole(clip: Callable[..., Any]) -> None:
    made = clip(frames=30)
    parts = gops(made.data)
    decoder = StreamDecoder()
    items = [*decoder.feed(parts[0][: len(parts[0]) * 2 // 3]), *decoder.discontinuity()]
    before = len(video(items))
    assert 2 < before < 10
    items += [*decoder.feed(parts[1]), *decoder.end_segment(), *decoder.flush()]
    assert [f.pts for f in video(items)][before:] == made.times[10:20]


def test_a_cut_in_mid_picture_at_the_end_of_a_segment_is_unlearnt(
    clip: Callable[..., Any],
) -> None:
    made = clip(frames=60)
    size = 188 * 37
    decoder = StreamDecoder()
    items: list[Item] = []
    for at in range(0, len(made.data), size):
        items += [*decoder.feed(made.data[at : at + size]), *decoder.end_segment()]
    items += decoder.flush()
    # The first cut costs the GOP it falls into; after it the decoder waits for whole pictures.
    assert len(video(items)) >= 50


def test_joining_in_mid_gop_starts_at_the_next_keyframe(clip: Callable[..., Any]) -> None:
    made = clip(frames=30)
    tables, body = made.data[: 3 * 188], made.data[188 * 40 :]
    frames = video(run(tables + body)[0])
    assert frames[0].key_frame
    assert [frame.pts for frame in frames] == made.times[-len(frames) :]


def test_garbage_between_packets_is_skipped(clip: Callable[..., Any]) -> None:
    made = clip(frames=30)
    parts = gops(made.data)
    noise = bytes(np.random.default_rng(3).integers(0, 256, 10_001, dtype=np.uint8))
    items, decoder = run(noise.join(parts) + noise)
    assert len(video(items)) >= 28
    assert decoder.stats.bytes > 30_000


def test_nothing_but_garbage_gives_nothing() -> None:
    noise = bytes(np.random.default_rng(4).integers(0, 256, 200_000, dtype=np.uint8))
    assert run(noise)[0] == []
    assert run(b"")[0] == run(b"\x47" * 10_000)[0] == []


def test_a_packet_sent_twice_counts_once(clip: Callable[..., Any]) -> None:
    made = clip(frames=20)
    rows = [made.data[at : at + 188] for at in range(0, len(made.data), 188)]
    items, decoder = run(b"".join(row + row for row in rows))
    assert [f.pts for f in video(items)] == made.times
    assert decoder.stats.lost_packets == 0


def test_a_segment_whose_counters_start_again_is_no_loss(clip: Callable[..., Any]) -> None:
    first, second = clip(frames=13, gop=13), clip(frames=13, gop=13, start=90_000 + 13 * 3000)
    decoder = StreamDecoder()
    items = [*decoder.feed(first.data), *decoder.end_segment()]
    items += [*decoder.feed(second.data), *decoder.end_segment(), *decoder.flush()]
    assert [f.pts for f in video(items)] == first.times + second.times
    assert decoder.stats.lost_packets == decoder.stats.resyncs == 0


def test_one_picture_larger_than_the_limit_is_taken_for_damage(clip: Callable[..., Any]) -> None:
    decoder = StreamDecoder(max_pixels=400 * 300)
    assert len([*decoder.feed(clip().data), *decoder.flush()]) == 30
    large = clip(width=640, height=360, frames=5).data
    assert [*decoder.feed(large), *decoder.flush()] == []
    assert decoder.stats.damaged >= 1
    assert len([*decoder.feed(clip().data), *decoder.flush()]) == 30


# --- changes -------------------------------------------------------------------------------------


def chain(*clips: Any, **options: Any) -> tuple[list[Item], StreamDecoder]:
    decoder = StreamDecoder(**options)
    items: list[Item] = []
    for made in clips:
        items += [*decoder.feed(made.data), *decoder.end_segment()]
    items += decoder.flush()
    return items, decoder


def test_size_changes_are_followed_at_once(
    clip: Callable[..., Any], quality: Callable[..., float]
) -> None:
    a = clip(width=160, height=96)
    b = clip(width=320, height=180, start=180_000)
    c = clip(width=98, height=50, start=270_000)
    frames = video(chain(a, b, c)[0])
    sizes = [(f.width, f.height) for f in frames]
    assert sizes == [(160, 96)] * 30 + [(320, 180)] * 30 + [(98, 50)] * 30
    assert [f.pts for f in frames] == a.times + b.times + c.times
    for frame, picture in zip(frames, a.pictures + b.pictures + c.pictures, strict=True):
        assert quality(frame.view()[0], picture[0]) > 38


def test_codec_changes_are_followed_at_once(
    clip: Callable[..., Any], quality: Callable[..., float]
) -> None:
    a = clip(audio="aac", bframes=2)
    b = clip(codec="libx265", audio="libopus", start=180_000)
    c = clip(codec="mpeg2video", audio="mp2", start=270_000)
    items, decoder = chain(a, b, c)
    assert [f.pts for f in video(items)] == a.times + b.times + c.times
    for frame, picture in zip(video(items), a.pictures + b.pictures + c.pictures, strict=True):
        assert quality(frame.view()[0], picture[0]) > 38
    for second in (1, 2, 3):
        heard = sum(f.duration for f in audio(items) if second <= f.time < second + 1)
        assert heard > Fraction(95, 100)
    assert decoder.stats.track_changes == 4
    assert decoder.stats.damaged == 0


def test_a_frame_rate_change_is_just_other_times(clip: Callable[..., Any]) -> None:
    a, b = clip(fps=30), clip(fps=50, start=180_000)
    assert [f.pts for f in video(chain(a, b)[0])] == a.times + b.times


def test_a_change_of_the_audios_rate_and_channels_is_followed(clip: Callable[..., Any]) -> None:
    a = clip(audio="aac", audio_rate=48_000)
    b = clip(audio="aac", audio_rate=44_100, audio_layout="mono", start=270_000)
    frames = audio(chain(a, b)[0])
    assert {(f.rate, f.layout) for f in frames} == {(48_000, "stereo"), (44_100, "mono")}
    assert frames[-1].time > 3


def test_audio_that_comes_and_goes_leaves_the_video_alone(clip: Callable[..., Any]) -> None:
    clips = [
        clip(),
        clip(start=180_000, audio="aac"),
        clip(start=270_000),
        clip(start=360_000, audio="aac"),
    ]
    items, _ = chain(*clips)
    assert [f.pts for f in video(items)] == [t for made in clips for t in made.times]
    assert {int(f.time) for f in audio(items)} >= {2, 4}


@pytest.mark.parametrize("codec", ["aac", "libopus", "mp2"])
def test_audio_that_starts_late_is_in_sync_and_holds_no_picture_back(
    clip: Callable[..., Any], codec: str
) -> None:
    late = Fraction(7, 10)
    made = clip(audio=codec, audio_start=late, frames=60)
    decoder = StreamDecoder(max_hold=Fraction(1, 10))
    items: list[Item] = []
    for part in gops(made.data)[:2]:
        items += decoder.feed(part)
    # Two thirds of a second, of which a tenth may be held back.
    assert len(video(items)) >= 15
    assert not audio(items)
    for part in gops(made.data)[2:]:
        items += decoder.feed(part)
    items += decoder.flush()
    assert [f.pts for f in video(items)] == made.times
    assert [item.time for item in items] == sorted(item.time for item in items)
    sounds = audio(items)
    # What an encoder puts before the first sample is heard before it.
    assert abs(sounds[0].time - (1 + late)) < Fraction(1, 20)
    assert abs(misplaced(sounds, 1 + late)) < 0.0005


def misplaced(sounds: list[AudioFrame], begin: Fraction) -> float:
    """By how many seconds the tone of our clips, which begins at ``begin``, is not at its time."""
    rate = sounds[0].rate
    samples = np.concatenate([sound.samples[0] for sound in sounds])
    times = float(sounds[0].time - begin) + np.arange(len(samples)) / rate
    body = (times > 0.1) & (times < 0.6)
    phase = np.angle(np.sum(samples[body] * np.exp(-2j * np.pi * 440 * times[body]))) + np.pi / 2
    return float((phase + np.pi) % (2 * np.pi) - np.pi) / (2 * np.pi * 440)


@pytest.mark.parametrize("codec", ["aac", "libopus", "mp2"])
def test_after_a_loss_in_the_sound_the_rest_is_at_its_time(
    clip: Callable[..., Any], codec: str
) -> None:
    made = clip(audio=codec, frames=60)
    pids = [
        (made.data[at + 1] & 0x1F) << 8 | made.data[at + 2] for at in range(0, len(made.data), 188)
    ]
    whole = len(audio(run(made.data)[0]))
    for index in range(20, pids.count(0x101) - 20, 17):
        items, decoder = run(remove(made.data, 0x101, index, 2))
        assert decoder.stats.lost_packets >= 1
        sounds = audio(items)
        assert whole * 0.75 < len(sounds) < whole
        clear = 0
        for sound in sounds:
            times = float(sound.time - 1) + np.arange(len(sound)) / sound.rate
            heard = np.mean(sound.samples[0] * np.exp(-2j * np.pi * 440 * times)) * 2j
            # The first one after a loss is faded in, but where it is heard it is in its place.
            if abs(heard) > 0.25:
                clear += 1
                assert abs(np.angle(heard) / (2 * np.pi * 440)) < 0.0003
        assert clear > len(sounds) * 0.85


def test_an_announced_track_that_never_comes_holds_nothing_back(clip: Callable[..., Any]) -> None:
    data = clip(audio="aac").data
    silent = b"".join(
        data[at : at + 188]
        for at in range(0, len(data), 188)
        if (data[at + 1] & 0x1F) << 8 | data[at + 2] != 0x101
    )
    decoder = StreamDecoder(max_hold=1)
    assert len(video(decoder.feed(silent) + decoder.end_segment())) == 30
    assert [track.kind for track in decoder.tracks] == ["video", "audio"]


# --- order ---------------------------------------------------------------------------------------


def test_with_a_hold_all_tracks_come_in_one_order(clip: Callable[..., Any]) -> None:
    made = clip(audio="aac", bframes=2, frames=60)
    items, _ = run(made.data, max_hold=1)
    times = [item.time for item in items]
    assert times == sorted(times)
    assert len(video(items)) == 60
    unordered = [item.time for item in run(made.data)[0]]
    assert unordered != sorted(unordered)


def test_a_hold_is_bounded_when_a_track_stops(clip: Callable[..., Any]) -> None:
    decoder = StreamDecoder(max_hold=Fraction(1, 2))
    made = clip(audio="aac")
    seen = len(video(decoder.feed(made.data)))
    rest = clip(start=90_000 * 2, frames=60)
    tableless = rest.data[3 * 188 :]
    seen += len(video(decoder.feed(tableless)))
    assert 90 - seen <= 17


# --- tracks left alone ---------------------------------------------------------------------------


def test_a_dropped_track_is_not_there(clip: Callable[..., Any]) -> None:
    data = clip(audio="aac").data
    assert not audio(run(data, audio="drop")[0])
    assert not video(run(data, video="drop")[0])


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg2video"])
def test_undecoded_pictures_have_exact_times_and_decode_to_the_same(
    clip: Callable[..., Any], codec: str
) -> None:
    made = clip(codec=codec, bframes=0 if codec == "mpeg2video" else 2)
    decoder = StreamDecoder(video="packets")
    out = packets(decoder.feed(made.data) + decoder.end_segment() + decoder.flush())
    assert sorted(p.pts for p in out) == made.times
    assert [p.dts for p in out] == sorted({p.dts for p in out})
    assert all(p.dts <= p.pts for p in out)
    assert [p.pts for p in out if p.is_keyframe][:1] == made.times[:1]
    first = out[0].parameters
    assert (first.kind, first.width, first.height) == ("video", 160, 96)
    assert decoder.stats.packets == 30


@pytest.mark.parametrize(
    ("codec", "rate", "samples"), [("aac", 44_100, 1024), ("libopus", 48_000, 960)]
)
def test_undecoded_audio_is_one_packet_for_each_frame(
    clip: Callable[..., Any], codec: str, rate: int, samples: int
) -> None:
    made = clip(audio=codec, audio_rate=rate)
    items, _ = run(made.data, audio="packets")
    out = packets(items)
    decoded = audio(run(made.data)[0])
    assert len(out) >= len(decoded)
    assert abs(out[0].time - decoded[0].time) * 90_000 <= 1
    assert {p.duration for p in out} == {round(samples * 90_000 / rate)}
    assert (out[0].parameters.rate, out[0].parameters.channels) == (rate, 2)
    assert bool(out[0].parameters.extradata) == (codec == "libopus")
    assert len(video(items)) == 30


def test_undecoded_video_has_no_broken_picture_and_goes_on_at_a_keyframe(
    clip: Callable[..., Any],
) -> None:
    made = clip(frames=40)
    items, decoder = run(remove(made.data, 0x100, 60), video="packets")
    out = packets(items)
    lost = next(n for n, t in enumerate(made.times) if t not in [p.pts for p in out])
    after = [p for p in out if p.pts > made.times[lost]]
    assert after[0].is_keyframe
    assert decoder.stats.resyncs == 1
    sizes = {p.pts: len(p.data) for p in packets(run(made.data, video="packets")[0])}
    assert all(len(p.data) == sizes[p.pts] for p in out)


def test_the_size_of_undecoded_video_follows_the_stream(clip: Callable[..., Any]) -> None:
    items, _ = chain(clip(), clip(width=98, height=50, start=180_000), video="packets")
    sizes = [(p.parameters.width, p.parameters.height) for p in packets(items)]
    assert sizes == [(160, 96)] * 30 + [(98, 50)] * 30


# --- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("container", ["mpegts", "mp4", "matroska"])
def test_decode_gives_all_frames_of_a_file_in_order(
    clip: Callable[..., Any], tmp_path: Any, container: str
) -> None:
    made = clip(audio="aac", bframes=2, container_format=container)
    path = tmp_path / "clip"
    path.write_bytes(made.data)
    with path.open("rb") as file:
        for source in (made.data, path, str(path), file):
            frames = list(decode(source))
            times = [frame.time for frame in frames]
            assert times == sorted(times)
            shown = [f.time for f in frames if isinstance(f, VideoFrame)]
            assert len(shown) == 30
            assert shown[29] - shown[0] == pytest.approx(29 / 30, abs=0.001)
            assert sum(len(f) for f in frames if isinstance(f, AudioFrame)) >= 48_000
    assert all(isinstance(f, VideoFrame) for f in decode(made.data, audio=False))
    assert all(isinstance(f, AudioFrame) for f in decode(made.data, video=False))


def test_what_is_no_media_is_refused_with_its_name(tmp_path: Any) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a film")
    with pytest.raises(ValueError, match=r"notes\.txt is not a media file"):
        list(decode(path))
    with pytest.raises(FileNotFoundError):
        list(decode(tmp_path / "missing.mp4"))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        # FFmpeg knows what it is, and has no decoder for it.
        (
            "drawing.svg",
            b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9"/>',
        ),
        ("broken.png", b"\x89PNG\r\n\x1a\n" + bytes(100)),
        ("tables.ts", (b"\x47\x1f\xff\x10" + bytes(184)) * 3),
    ],
)
def test_a_file_of_which_nothing_can_be_decoded_is_refused(
    tmp_path: Any, name: str, data: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(ValueError, match=rf"{name} (holds no video|is not a media file)"):
        list(decode(path))


@pytest.mark.parametrize("container_format", ["mpegts", "matroska"])
def test_a_file_without_the_wanted_track_is_refused(
    clip: Callable[..., Any], container_format: str
) -> None:
    made = clip(container_format=container_format)
    with pytest.raises(ValueError, match="this data holds no audio"):
        list(decode(made.data, video=False))


def test_a_picture_larger_than_the_limit_is_refused_in_files_too() -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + zlib.crc32(kind + data).to_bytes(4)

    size = struct.pack(">IIBBBBB", 30_000, 20_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(bytes(9000)))
    with pytest.raises(ValueError, match="holds no video"):
        list(decode(bomb + chunk(b"IEND", b"")))


def test_a_playlist_reaches_neither_files_nor_the_network(
    clip: Callable[..., Any], tmp_path: Any
) -> None:
    target = tmp_path / "private.ts"
    target.write_bytes(clip().data)
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n"
    with pytest.raises(ValueError):
        list(decode(playlist.encode()))
