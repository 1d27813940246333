"""Frames: ownership of pixels, timing, conversions."""

import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest

from livepeer.trickle.media.codec.decoder import StreamDecoder
from livepeer.trickle.media.frame import AudioFrame, AudioResampler, VideoFrame


def decoded(data: bytes) -> list[VideoFrame]:
    decoder = StreamDecoder(audio="drop")
    out = [*decoder.feed(data), *decoder.end_segment(), *decoder.flush()]
    return [frame for frame in out if isinstance(frame, VideoFrame)]


def rgb(height: int = 32, width: int = 48) -> np.ndarray[Any, np.dtype[np.uint8]]:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 5 % 256, y * 7 % 256, (x + y) % 256], axis=2).astype(np.uint8)


def test_importing_frames_loads_neither_av_nor_numpy() -> None:
    code = (
        "import sys\n"
        "import livepeer.trickle.media\n"
        "from livepeer.trickle.media.frame import VideoFrame, AudioFrame\n"
        "assert not {'av', 'numpy', 'torch'} & set(sys.modules), sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=200)


def test_every_item_of_a_stream_says_what_it_is(clip: Callable[..., Any]) -> None:
    made = clip(frames=5, audio="aac")
    for modes in ({}, {"video": "packets", "audio": "packets"}):
        decoder = StreamDecoder(**modes)
        items = [*decoder.feed(made.data), *decoder.flush()]
        assert {item.kind for item in items} == {"video", "audio"}
        for item in items:
            if not modes:
                assert isinstance(item, VideoFrame if item.kind == "video" else AudioFrame)
    with pytest.raises(AttributeError):
        AudioFrame.from_ndarray(np.zeros(8), rate=8_000).kind = "video"  # type: ignore[misc,assignment]


# --- who owns the pixels -----------------------------------------------------------------------


# Pictures that come out in decoding order are still references then; reordered ones are not.
@pytest.mark.parametrize(
    ("codec", "bframes"), [("libx264", 0), ("libx264", 2), ("libx265", 0), ("mpeg2video", 0)]
)
def test_writing_into_every_frame_of_a_long_gop_leaves_the_others_as_they_were(
    clip: Callable[..., Any], codec: str, bframes: int
) -> None:
    made = clip(codec=codec, frames=60, gop=60, bframes=bframes)
    untouched = [[p.copy() for p in f.view()] for f in decoded(made.data)]
    decoder = StreamDecoder()
    seen = 0

    def write(frames: list[Any]) -> None:
        nonlocal seen
        for frame in frames:
            assert isinstance(frame, VideoFrame)
            for ours, reference in zip(frame.view(), untouched[seen], strict=True):
                np.testing.assert_array_equal(ours, reference)
            for plane in frame.planes:
                plane[:] = 0
            seen += 1

    for at in range(0, len(made.data), 188):
        write(decoder.feed(made.data[at : at + 188]))
    write(decoder.flush())
    assert seen == 60


def test_writing_into_the_decoders_own_picture_would_damage_the_others(
    clip: Callable[..., Any],
) -> None:
    # The reason for the copy, so that the test above is known to be able to fail.
    made = clip(frames=60, gop=60)
    untouched = [f.view()[0].copy() for f in decoded(made.data)]
    decoder = StreamDecoder()
    damaged = 0
    for at in range(0, len(made.data), 188):
        for frame in decoder.feed(made.data[at : at + 188]):
            assert isinstance(frame, VideoFrame)
            index = (frame.pts - made.times[0]) // 3000  # type: ignore[operator]
            plane = frame.to_av().planes[0]
            array = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:, : plane.width]
            damaged += not np.array_equal(array, untouched[index])
            array[:] = 0
    assert damaged > 50


def test_the_first_access_to_planes_copies_and_the_next_ones_do_not(
    clip: Callable[..., Any],
) -> None:
    frame = decoded(clip().data)[0]
    view = frame.view()[0]
    before = view.copy()
    planes = frame.planes
    assert not np.shares_memory(view, planes[0])
    assert frame.planes[0] is planes[0]
    planes[0][:] = 7
    np.testing.assert_array_equal(view, before)
    assert (frame.view()[0] == 7).all()
    assert (frame.to_ndarray("gray") != before).any()


def test_a_view_copies_nothing_and_cannot_be_written(clip: Callable[..., Any]) -> None:
    frame = decoded(clip().data)[0]
    first, again = frame.view()[0], frame.view()[0]
    assert np.shares_memory(first, again)
    address = frame.to_av().planes[0].buffer_ptr
    assert first.ctypes.data == address
    with pytest.raises(ValueError, match="read-only"):
        first[0, 0] = 1


def test_a_view_outlives_its_frame_and_its_decoder(clip: Callable[..., Any]) -> None:
    made = clip()
    views = [frame.view()[0] for frame in decoded(made.data)]
    for view, picture in zip(views, made.pictures, strict=True):
        assert np.mean(np.abs(view.astype(int) - picture[0])) < 2


def test_what_is_written_into_planes_is_what_an_encoder_gets() -> None:
    frame = VideoFrame.from_ndarray(rgb(), time=1)
    y, u, v = frame.planes
    y[:], u[:], v[:] = 10, 20, 30
    picture = frame.to_av("yuv420p")
    for plane, value in zip(picture.planes, (10, 20, 30), strict=True):
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        assert (rows[:, : plane.width] == value).all()


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (15, 17), (97, 161), (96, 160), (720, 1281)])
def test_planes_of_any_size_are_right(size: tuple[int, int]) -> None:
    height, width = size
    frame = VideoFrame.from_ndarray(np.full((height, width, 3), 200, np.uint8))
    y, u, v = frame.planes
    assert y.shape == (height, width)
    assert u.shape == v.shape == ((height + 1) // 2, (width + 1) // 2)
    for plane in (y, u, v):
        assert plane.flags.writeable
        assert plane.dtype == np.uint8
        plane[:] = 128
    assert frame.to_ndarray().shape == (height, width, 3)


@pytest.mark.parametrize("pix_fmt", ["yuv422p", "yuv444p", "yuv420p10le"])
def test_planes_are_8_bit_420_whatever_the_source(
    clip: Callable[..., Any], quality: Callable[..., float], pix_fmt: str
) -> None:
    made = clip(pix_fmt=pix_fmt, frames=5)
    for frame, picture in zip(decoded(made.data), made.pictures, strict=True):
        assert frame.format == pix_fmt
        for plane, source in zip(frame.view(), picture, strict=True):
            assert plane.shape == source.shape
            assert quality(plane, source) > 38
        for plane, source in zip(frame.planes, picture, strict=True):
            assert quality(plane, source) > 38


def test_a_view_does_not_cost_the_frame_its_depth(clip: Callable[..., Any]) -> None:
    frame = decoded(clip(pix_fmt="yuv420p10le", frames=5).data)[0]
    frame.view()
    assert frame.format == "yuv420p10le"


# --- time ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "time", [0, 7, Fraction(1, 30), Fraction(1001, 30_000), Fraction(1, 44_100), -Fraction(1, 7)]
)
def test_a_time_that_is_given_comes_back_exactly(time: Fraction | int) -> None:
    video = VideoFrame.from_ndarray(rgb(), time=time)
    audio = AudioFrame.from_ndarray(np.zeros((1, 10), np.float32), rate=48_000, time=time)
    assert video.time == audio.time == time


def test_a_generated_frame_says_that_it_has_no_time() -> None:
    frame = VideoFrame.from_ndarray(rgb())
    assert frame.pts is None
    with pytest.raises(ValueError, match="no time yet"):
        _ = frame.time
    frame.time = Fraction(1, 3)
    assert frame.time == Fraction(1, 3)


def test_timing_survives_every_transform() -> None:
    frame = VideoFrame.from_ndarray(rgb(), time=Fraction(1, 3))
    frame.key_frame = True
    half = frame.replace(rgb()[::2, ::2])
    assert (half.time, half.key_frame, half.width) == (Fraction(1, 3), True, 24)
    _ = half.planes
    assert half.to_av("yuv420p").pts == half.pts
    sound = AudioFrame.from_ndarray(
        np.zeros((2, 441), np.float32), rate=44_100, time=Fraction(5, 44_100)
    )
    assert sound.duration == Fraction(1, 100)
    for other, rate in (
        (sound.resample(rate=16_000, layout="mono"), 16_000),
        (sound.replace(np.zeros((1, 7), np.float32)), 44_100),
    ):
        assert (other.time, other.rate) == (Fraction(5, 44_100), rate)


def test_a_picture_for_an_encoder_does_not_force_its_type(clip: Callable[..., Any]) -> None:
    for frame in decoded(clip().data):
        assert frame.to_av().pict_type == 0


# --- arrays --------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["rgb24", "bgr24", "rgba", "bgra", "argb", "abgr", "gray"])
def test_an_array_goes_in_and_comes_out_the_same(format: str) -> None:
    shape = {"gray": (31, 47), "rgb24": (31, 47, 3), "bgr24": (31, 47, 3)}.get(format, (31, 47, 4))
    array = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    frame = VideoFrame.from_ndarray(array, format)
    np.testing.assert_array_equal(frame.to_ndarray(format), array)


def test_a_frame_is_a_copy_of_its_array_and_gives_copies() -> None:
    array = rgb()
    frame = VideoFrame.from_ndarray(array)
    array[:] = 0
    out = frame.to_ndarray()
    assert out.any()
    out[:] = 0
    assert frame.to_ndarray().any()


def test_arrays_with_strides_are_taken() -> None:
    array = rgb(64, 96)[::2, ::-2]
    np.testing.assert_array_equal(VideoFrame.from_ndarray(array).to_ndarray(), array)


def test_replace_takes_channels_first_grey_and_alpha() -> None:
    frame = VideoFrame.from_ndarray(rgb(), time=0)
    np.testing.assert_array_equal(frame.replace(rgb().transpose(2, 0, 1)).to_ndarray(), rgb())
    assert frame.replace(rgb()[:, :, 0]).format == "gray"
    assert frame.replace(rgb()[:, :, :1]).format == "gray"
    assert frame.replace(np.zeros((8, 8, 4), np.uint8)).format == "rgba"
    assert frame.replace(rgb(), format="bgr24").format == "bgr24"


@pytest.mark.parametrize(
    ("array", "error", "says"),
    [
        (np.zeros((8, 8, 3), np.float32), TypeError, "0..255"),
        (np.zeros((8, 8, 2), np.uint8), ValueError, "shape"),
        (np.zeros((8,), np.uint8), ValueError, "shape"),
        (np.zeros((0, 8, 3), np.uint8), ValueError, "empty"),
    ],
)
def test_a_bad_picture_is_refused_with_what_to_do(
    array: Any, error: type[Exception], says: str
) -> None:
    frame = VideoFrame.from_ndarray(rgb(), time=3)
    with pytest.raises(error, match=says):
        frame.replace(array)
    with pytest.raises(error, match=says):
        VideoFrame.from_ndarray(array)


def test_replaced_rgb_is_encoded_with_the_sources_matrix_and_range() -> None:
    red = np.zeros((32, 32, 3), np.uint8)
    red[:, :, 0] = 255
    for matrix, span, luma in ((1, 1, 63), (5, 1, 81), (1, 2, 54), (5, 2, 76)):
        picture = av.VideoFrame(32, 32, "yuv420p")
        picture.colorspace, picture.color_range = matrix, span
        frame = VideoFrame(picture, pts=0).replace(red)
        y = frame.view()[0]
        assert abs(int(y[0, 0]) - luma) <= 2
        converted = frame.to_av("yuv420p")
        assert (int(converted.colorspace), int(converted.color_range)) == (matrix, span)


def test_rgb_survives_the_way_through_planes(quality: Callable[..., float]) -> None:
    y, x = np.mgrid[0:96, 0:160]
    smooth = np.stack([x, y * 2, 255 - x], axis=2).clip(0, 255).astype(np.uint8)
    frame = VideoFrame.from_ndarray(smooth)
    _ = frame.planes
    assert quality(frame.to_ndarray(), smooth) > 35


def test_planes_go_out_through_dlpack_and_are_our_own(clip: Callable[..., Any]) -> None:
    frame = decoded(clip().data)[0]
    exported = frame.dlpack_planes
    assert [p.__dlpack_device__() for p in exported] == [(1, 0)] * 3
    arrays = [np.from_dlpack(plane) for plane in exported]
    assert [a.shape for a in arrays] == [(96, 160), (48, 80), (48, 80)]
    assert np.shares_memory(arrays[0], frame.planes[0])
    assert frame.device == "cpu"


def test_to_tensor_says_what_is_missing_without_torch() -> None:
    try:
        import torch  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        with pytest.raises(ImportError, match="torch"):
            VideoFrame.from_ndarray(rgb()).to_tensor()
    else:
        tensor = VideoFrame.from_ndarray(rgb()).to_tensor()
        assert tensor.dtype == torch.uint8
        np.testing.assert_array_equal(tensor.numpy(), rgb())


# --- audio ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "full"), [(np.int16, 32767), (np.int32, 2**31 - 1), (np.uint8, 255), (np.float64, 1)]
)
def test_samples_of_any_type_become_floats_within_one(dtype: Any, full: int) -> None:
    frame = AudioFrame.from_ndarray(np.full((2, 8), full, dtype), rate=8000)
    assert frame.samples.dtype == np.float32
    np.testing.assert_allclose(frame.samples, 1, atol=0.01)
    assert (frame.layout, frame.rate, len(frame), frame.channels) == ("stereo", 8000, 8, 2)


@pytest.mark.parametrize(
    ("array", "options", "error"),
    [
        (np.zeros((100, 100, 2), np.float32), {}, ValueError),
        (np.zeros((2, 8), np.complex64), {}, TypeError),
        (np.zeros((2, 8), np.float32), {"layout": "mono"}, ValueError),
        (np.zeros((2, 8), np.float32), {"rate": 0}, ValueError),
    ],
)
def test_bad_samples_are_refused(
    array: Any, options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        AudioFrame.from_ndarray(array, **({"rate": 48_000} | options))


def tone(rate: int, count: int, at: int = 0) -> np.ndarray[Any, Any]:
    return np.sin(2 * np.pi * 440 * (at + np.arange(count)) / rate).astype(np.float32)[np.newaxis]


def test_resample_keeps_the_duration_of_one_frame() -> None:
    frame = AudioFrame.from_ndarray(tone(48_000, 960), rate=48_000, time=Fraction(1, 50))
    out = frame.resample(rate=16_000)
    assert (len(out), out.rate, out.time) == (320, 16_000, Fraction(1, 50))
    stereo = frame.resample(layout="stereo")
    assert stereo.samples.shape == (2, 960)
    assert len(frame.samples[0]) == 960


@pytest.mark.parametrize("rate", [16_000, 44_100, 96_000])
def test_one_resampled_frame_is_the_same_sound_to_its_last_sample(rate: int) -> None:
    frame = AudioFrame.from_ndarray(tone(48_000, 4800), rate=48_000, time=0)
    out = frame.resample(rate=rate).samples[0]
    inner = slice(rate // 1000, -rate // 1000)
    np.testing.assert_allclose(out[inner], tone(rate, rate // 10)[0][inner], atol=0.02)
    # The filter's run-out is in it: the last millisecond is sound too.
    assert np.abs(out[-rate // 1000 :]).max() > 0.1


@pytest.mark.parametrize("codec", ["aac", "libopus", "mp2"])
def test_what_is_written_into_decoded_samples_is_what_an_encoder_gets(
    clip: Callable[..., Any], codec: str
) -> None:
    decoder = StreamDecoder(video="drop")
    made = clip(audio=codec)
    sounds = [*decoder.feed(made.data), *decoder.flush()]
    heard = [sound.samples.copy() for sound in sounds if isinstance(sound, AudioFrame)]
    decoder = StreamDecoder(video="drop")
    again = [*decoder.feed(made.data), *decoder.flush()]
    assert len(again) == len(heard) > 40
    for sound, samples in zip(again, heard, strict=True):
        assert isinstance(sound, AudioFrame)
        np.testing.assert_array_equal(sound.samples, samples)
        sound.samples[:] = 0.25
        assert (sound.to_av().to_ndarray() == 0.25).all()
        assert sound.to_av().pts == sound.pts


def test_a_resampler_has_no_seams_and_exact_times() -> None:
    resampler = AudioResampler(rate=16_000, layout="mono")
    out = []
    for n in range(50):
        frame = AudioFrame.from_ndarray(
            tone(44_100, 1024, n * 1024), rate=44_100, time=1 + Fraction(n * 1024, 44_100)
        )
        out += resampler.resample(frame)
    out += resampler.flush()
    at = Fraction(1)
    for frame in out:
        assert frame.time == at
        at += frame.duration
    joined = np.concatenate([f.samples for f in out], axis=1)[0]
    assert abs(len(joined) - 50 * 1024 * 16_000 / 44_100) < 20
    wanted = tone(16_000, len(joined))[0]
    np.testing.assert_allclose(joined[100:-100], wanted[100:-100], atol=0.02)


def test_a_resampler_starts_again_after_a_gap() -> None:
    resampler = AudioResampler(rate=16_000)
    frames = []
    for time in (Fraction(0), Fraction(5)):
        frames += resampler.resample(
            AudioFrame.from_ndarray(tone(48_000, 4800), rate=48_000, time=time)
        )
    frames += resampler.flush()
    assert frames[0].time == 0
    assert 5 in [frame.time for frame in frames]
