"""SegmentEncoder, frame by frame: what comes out at once, what is followed, what is refused."""

from __future__ import annotations

import io
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from livepeer.trickle.media import AudioFrame, CodecParameters, MediaPacket, VideoFrame
from livepeer.trickle.media.codec import encoder_video
from livepeer.trickle.media.codec.decoder import StreamDecoder
from livepeer.trickle.media.codec.encoder import SegmentEncoder
from livepeer.trickle.media.codec.encoder_picture import Fitter, output_size
from livepeer.trickle.media.codec.outputs import AudioOutput, EncoderUnavailable, VideoOutput
from livepeer.trickle.media.ts.demux import Demuxer
from livepeer.trickle.media.ts.pictures import Pictures
from livepeer.trickle.media.ts.segments import Piece
from livepeer.trickle.media.ts.start_codes import H264


def image(index: int, width: int = 160, height: int = 96) -> NDArray[np.uint8]:
    y, x = np.mgrid[0:height, 0:width]
    red = 128 + 100 * np.sin((x + 4 * index) / 20)
    green = 128 + 100 * np.cos((y - 2 * index) / 15)
    blue = 128 + 60 * np.sin((x + y + index) / 25)
    return np.stack([red, green, blue], -1).astype(np.uint8)


def frame(index: int, time: Fraction | None, width: int = 160, height: int = 96) -> VideoFrame:
    return VideoFrame.from_ndarray(image(index, width, height), time=time)


def joined(pieces: Iterable[Piece]) -> bytes:
    return b"".join(piece.data for piece in pieces)


def pictures(data: bytes) -> list[Any]:
    with av.open(io.BytesIO(data), format="mpegts") as container:
        return list(container.decode(video=0))


def psnr(a: NDArray[Any], b: NDArray[Any]) -> float:
    error = float(np.mean((a.astype(float) - b.astype(float)) ** 2))
    return 99.0 if not error else float(10 * np.log10(255**2 / error))


def test_the_bytes_of_a_frame_come_out_with_the_call_that_brings_it() -> None:
    encoder = SegmentEncoder(audio=None)
    data = b""
    for i in range(5):
        pieces = encoder.encode(frame(i, Fraction(i, 30)))
        assert len(pieces) == 1
        data += joined(pieces)
        # Decodable without another byte: all of this frame's packets are there.
        assert len(pictures(data)) == i + 1
    assert encoder.flush() == []


def test_everything_that_comes_out_is_whole_packets() -> None:
    encoder = SegmentEncoder()
    for i in range(10):
        sound = np.zeros((2, 1600), np.float32)
        pieces = encoder.encode(frame(i, Fraction(i, 30)))
        pieces += encoder.encode(AudioFrame.from_ndarray(sound, rate=48_000, time=Fraction(i, 30)))
        for piece in pieces:
            assert len(piece.data) % 188 == 0
            assert set(piece.data[::188]) == {0x47}


def test_a_frame_is_not_changed_by_being_encoded() -> None:
    encoder = SegmentEncoder(audio=None)
    planes = VideoFrame.from_ndarray(np.full((144, 160), 90, np.uint8), "yuv420p", time=2)
    planes.key_frame = True
    before = [plane.copy() for plane in planes.view()]
    encoder.encode(planes)
    assert (planes.time, planes.key_frame, planes.format) == (2, True, "yuv420p")
    for plane, kept in zip(planes.view(), before, strict=True):
        np.testing.assert_array_equal(plane, kept)


def test_one_frame_may_go_to_two_encoders_of_different_pace() -> None:
    slow, fast = (SegmentEncoder(VideoOutput(gop_seconds=g), None) for g in (10, 0.1))
    outputs: list[list[Piece]] = [[], []]
    for i in range(30):
        shared = frame(i, Fraction(i, 30))
        for encoder, out in zip((slow, fast), outputs, strict=True):
            out += encoder.encode(shared)
    assert (slow.stats.segments, fast.stats.segments) == (1, 10)
    for out in outputs:
        assert [round(p.time * 30) for p in pictures(joined(out))] == list(range(30))


@pytest.mark.parametrize("size", [(161, 97), (160, 97), (161, 96), (33, 17), (1, 1), (3, 2)])
def test_an_odd_size_loses_its_last_column_or_row_and_is_not_scaled(size: tuple[int, int]) -> None:
    width, height = size
    encoder = SegmentEncoder(audio=None)
    original = frame(3, Fraction(1), width, height)
    (decoded,) = pictures(joined(encoder.encode(original)))
    assert (decoded.width, decoded.height) == (max(2, width & ~1), max(2, height & ~1))
    if width > 3:
        luma = decoded.to_ndarray(format="gray")
        expected = original.to_ndarray("gray")[: height & ~1, : width & ~1]
        assert psnr(luma, expected) > 35


def test_of_an_odd_size_every_other_pixel_stays_where_it_was() -> None:
    noise = np.random.default_rng(2).integers(0, 255, (97, 161, 3), np.uint8)
    source = av.VideoFrame.from_ndarray(noise, format="rgb24").reformat(format="yuv420p")
    fitted = Fitter(source, *output_size(VideoOutput(), 161, 97)).fit(source)
    assert (fitted.width, fitted.height) == (160, 96)
    for ours, whole in zip(VideoFrame(fitted).view(), VideoFrame(source).view(), strict=True):
        np.testing.assert_array_equal(ours, whole[: ours.shape[0], : ours.shape[1]])


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (VideoOutput(width=80, height=48), (80, 48)),
        (VideoOutput(width=80), (80, 48)),
        (VideoOutput(height=192), (320, 192)),
    ],
)
def test_a_picture_is_scaled_to_the_size_asked_for(
    output: VideoOutput, expected: tuple[int, int]
) -> None:
    encoder = SegmentEncoder(output, None)
    (decoded,) = pictures(joined(encoder.encode(frame(0, Fraction(1)))))
    assert (decoded.width, decoded.height) == expected


@pytest.mark.parametrize("name", ["yuv422p", "yuv444p", "yuv420p10le", "nv12", "gray", "rgba"])
def test_any_pixel_format_is_taken(name: str) -> None:
    source = av.VideoFrame.from_ndarray(image(0), format="rgb24").reformat(format=name)
    encoder = SegmentEncoder(audio=None)
    (decoded,) = pictures(joined(encoder.encode(VideoFrame(source, pts=0))))
    expected = source.to_ndarray(format="gray")
    assert psnr(decoded.to_ndarray(format="gray"), expected) > 35


def test_rgb_comes_back_in_its_colours() -> None:
    encoder = SegmentEncoder(audio=None)
    flat = np.zeros((96, 160, 3), np.uint8)
    flat[:] = (200, 40, 90)
    (decoded,) = pictures(joined(encoder.encode(VideoFrame.from_ndarray(flat, time=0))))
    np.testing.assert_allclose(decoded.to_ndarray(format="rgb24")[48, 80], (200, 40, 90), atol=6)


def test_full_range_and_matrix_of_the_source_are_kept() -> None:
    source = av.VideoFrame(160, 96, "yuv420p")
    source.color_range, source.colorspace = 2, 1
    for plane in source.planes:
        plane.update(bytes([77]) * plane.buffer_size)
    encoder = SegmentEncoder(audio=None)
    (decoded,) = pictures(joined(encoder.encode(VideoFrame(source, pts=0))))
    assert (decoded.color_range, decoded.colorspace) == (2, 1)
    assert abs(int(np.frombuffer(decoded.planes[0], np.uint8)[0]) - 77) <= 2


def test_a_change_of_size_begins_a_segment_with_a_keyframe_and_loses_nothing() -> None:
    encoder = SegmentEncoder(audio=None)
    pieces: list[Piece] = []
    for i in range(30):
        size = (160, 96) if i < 13 else (96, 160)
        pieces += encoder.encode(frame(i, Fraction(i, 30), *size))
    starts = [i for i, piece in enumerate(pieces) if piece.new_segment]
    assert starts == [0, 13]
    decoded = pictures(joined(pieces))
    assert [p.width for p in decoded] == [160] * 13 + [96] * 17
    assert encoder.stats.reopened == 1


def test_the_encoder_follows_the_frame_rate_of_its_input() -> None:
    encoder = SegmentEncoder(VideoOutput(bitrate=400_000), None)
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 255, (30, 96, 160, 3), np.uint8)
    size = 0
    for i in range(120):
        data = joined(encoder.encode(VideoFrame.from_ndarray(noise[i % 30], time=Fraction(i, 10))))
        size += len(data) if i >= 60 else 0
    # Opened for 30 fps, it would spend a third of the bits that were asked for.
    assert encoder.stats.reopened == 1
    assert 0.7 < size * 8 / 6 / 400_000 < 1.5


@pytest.mark.parametrize(
    ("spacing", "expected"),
    [
        # A camera of 15 fps, of which a busy machine loses five pictures in one second.
        ([1] * 45 + [1, 1, 6] + [1] * 42, 1),
        # It makes half as many from some moment on.
        ([1] * 45 + [2] * 30, 2),
        # It leaves out every third: told by the second GOP that looks so.
        ([1] * 45 + [1, 2] * 30, 2),
    ],
    ids=["loss", "slower", "holes"],
)
def test_the_encoder_follows_a_new_rate_but_not_the_loss_of_a_moment(
    spacing: list[int], expected: int
) -> None:
    encoder = SegmentEncoder(audio=None)
    at = 0
    for step in spacing:
        encoder.encode(frame(at, Fraction(at, 15)))
        at += step
    assert encoder.stats.reopened == expected


@pytest.mark.parametrize(("fps", "limit", "expected"), [(30, 15, 30), (60, 25, 50), (24, 30, 48)])
def test_frames_above_the_rate_asked_for_are_left_out_and_none_is_invented(
    fps: int, limit: int, expected: int
) -> None:
    encoder = SegmentEncoder(VideoOutput(fps=limit), None)
    data = b""
    for i in range(2 * fps):
        data += joined(encoder.encode(frame(i, Fraction(i, fps))))
    assert abs(len(pictures(data)) - expected) <= 1
    assert encoder.stats.skipped + len(pictures(data)) == 2 * fps


def test_a_frame_that_is_not_newer_is_left_out_and_counted() -> None:
    encoder = SegmentEncoder(audio=None)
    data = b""
    for ticks in (9000, 12_000, 12_000, 11_999, 15_000):
        data += joined(encoder.encode(frame(0, Fraction(ticks, 90_000))))
    assert [p.pts for p in pictures(data)] == [9000, 12_000, 15_000]
    assert encoder.stats.late == 2


def test_a_clock_that_jumps_back_begins_a_new_segment_and_is_marked() -> None:
    encoder = SegmentEncoder(audio=None)
    encoder.encode(frame(0, Fraction(100)))
    (piece,) = encoder.encode(frame(1, Fraction(5)))
    assert piece.new_segment
    first_video = piece.data[2 * 188 :]
    assert first_video[5] & 0x80, "the discontinuity indicator"
    assert encoder.stats.timelines == 1


def test_frames_without_a_time_follow_one_another() -> None:
    encoder = SegmentEncoder(VideoOutput(fps=25))
    data = b""
    for i in range(25):
        data += joined(encoder.encode(frame(i, None)))
        sound = np.zeros((1, 1920), np.float32)
        data += joined(encoder.encode(AudioFrame.from_ndarray(sound, rate=48_000)))
    data += joined(encoder.flush())
    assert [p.pts for p in pictures(data)] == [3600 * i for i in range(25)]
    with av.open(io.BytesIO(data), format="mpegts") as container:
        times = [f.pts for f in container.decode(audio=0)]
    assert times[0] == 0
    assert set(np.diff(times)) == {1920}


@pytest.mark.parametrize("codec", ["h264_qsv", "h264_nosuch"])
def test_a_hardware_encoder_that_is_not_there_says_so_and_what_to_do(codec: str) -> None:
    encoder = SegmentEncoder(VideoOutput(codec=codec), None)
    with pytest.raises(EncoderUnavailable, match=rf"{codec} does not open.*VideoOutput\(codec="):
        encoder.encode(frame(0, Fraction(0)))


def test_auto_falls_back_where_the_hardware_refuses_this_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(encoder_video, "resolve_codec", lambda codec: "h264_qsv")
    encoder = SegmentEncoder(audio=None)
    (decoded,) = pictures(joined(encoder.encode(frame(0, Fraction(0)))))
    assert decoded.width == 160


def test_auto_means_x264_where_there_is_no_nvenc() -> None:
    encoder = SegmentEncoder(audio=None)
    assert encoder.encode(frame(0, Fraction(0)))
    assert encoder._video is not None
    assert encoder._video.codec in ("libx264", "h264_nvenc")


def test_what_is_no_frame_is_refused_and_changes_nothing() -> None:
    encoder = SegmentEncoder()
    with pytest.raises(TypeError, match="not ndarray"):
        encoder.encode(image(0))  # type: ignore[arg-type]
    vp8 = CodecParameters("video", "vp8", width=160, height=96)
    packet = MediaPacket(b"\0" * 50, 0, 0, Fraction(1, 90_000), True, vp8)
    with pytest.raises(ValueError, match="vp8 has no place in MPEG-TS"):
        encoder.encode(packet)
    (piece,) = encoder.encode(frame(0, Fraction(0)))
    assert piece.new_segment


def test_an_encoder_without_any_track_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing to encode"):
        SegmentEncoder(None, None)


def test_a_track_that_is_off_is_left_out_and_counted() -> None:
    encoder = SegmentEncoder(audio=None)
    sound = AudioFrame.from_ndarray(np.zeros((1, 960), np.float32), rate=48_000, time=0)
    assert encoder.encode(sound) == []
    assert encoder.stats.skipped == 1
    encoder = SegmentEncoder(None, AudioOutput())
    assert encoder.encode(frame(0, Fraction(0))) == []


def test_noise_is_held_below_the_ceiling_from_its_second_segment_on() -> None:
    encoder = SegmentEncoder(audio=None)
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (8, 288, 512, 3), np.uint8)
    sizes: list[int] = []
    for i in range(90):
        time = Fraction(i, 30)
        for piece in encoder.encode(VideoFrame.from_ndarray(noise[i % 8], time=time)):
            if piece.new_segment:
                sizes.append(0)
            sizes[-1] += len(piece.data)
    ceiling = 0.3 * 512 * 288 * 30
    assert sizes[0] * 8 > 2 * ceiling
    assert (sizes[1] + sizes[2]) * 8 / 2 < 1.4 * ceiling
    assert encoder.stats.reopened == 1


@pytest.mark.parametrize("threads, slices", [(1, 1), (2, 4), (3, 3), (4, 4)])
def test_a_picture_has_slices_that_any_number_of_threads_decodes_alike(
    threads: int, slices: int
) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (360, 640, 3), np.uint8)
    encoder = SegmentEncoder(VideoOutput(codec="libx264", threads=threads), audio=None)
    pieces = [
        piece
        for i in range(3)
        for piece in encoder.encode(VideoFrame.from_ndarray(noise, time=Fraction(i, 30)))
    ]
    data = joined(pieces)
    units = [unit for packet in Demuxer().feed(data) for unit in Pictures(H264).split(packet)]
    for unit in units:
        heads = [nal[0] & 0x1F for nal in unit.data.split(b"\0\0\1") if nal]
        assert sum(head in (1, 5) for head in heads) == slices
    reference = [picture.to_ndarray(format="yuv420p") for picture in pictures(data)]
    assert len(reference) == len(units) == 3
    for count in (1, 2, 4):
        decoder = StreamDecoder(threads=count)
        for seen, expected in zip(decoder.feed(data), reference, strict=True):
            assert isinstance(seen, VideoFrame)
            assert np.array_equal(seen.to_ndarray("yuv420p"), expected)
        assert decoder.stats.damaged == 0
