"""What a builder gets wrong in the first days is refused at once, with what would be right."""

import asyncio
import io
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import pytest

from livepeer.trickle import TrickleServer
from livepeer.trickle.media import (
    AudioFrame,
    AudioOutput,
    AudioResampler,
    MediaPublisher,
    MediaSubscriber,
    SegmentEncoder,
    StreamDecoder,
    VideoFrame,
    VideoOutput,
    decode,
    encode,
)

LIMIT = 120


def picture(width: int = 160, height: int = 96) -> VideoFrame:
    return VideoFrame.from_ndarray(np.zeros((height, width, 3), np.uint8))


def sound() -> AudioFrame:
    return AudioFrame.from_ndarray(np.zeros((1, 4800), np.float32), rate=48_000)


# --- frames ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("array", "format", "error", "says"),
    [
        (np.zeros((9, 16, 3), np.uint8), "rgb", ValueError, "'rgb'.*Formats are rgb24, bgr24"),
        (np.zeros((9, 16, 3), np.uint8), "yuv420p", ValueError, r"'yuv420p'.*\(9, 16, 3\).*even"),
        (np.zeros((9, 15), np.uint8), "nv12", ValueError, r"'nv12'.*\(9, 15\)"),
        (np.zeros((9, 16, 3), np.float32), "rgb24", TypeError, "uint8, not float32"),
        (None, "rgb24", TypeError, "an array, not NoneType"),
        ("picture.png", "rgb24", TypeError, "an array, not str"),
    ],
)
def test_what_is_no_picture_is_refused_with_what_would_be_one(
    array: Any, format: str, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        VideoFrame.from_ndarray(array, format)
    with pytest.raises(error, match=says):
        picture().replace(array, format)


@pytest.mark.parametrize("format", ["rgb", "bgr", "yuv410p", ""])
def test_an_array_of_a_format_that_is_none_is_refused_with_those_there_are(format: str) -> None:
    with pytest.raises(ValueError, match=f"no array of format '{format}'.*rgb24, bgr24"):
        picture().to_ndarray(format)


def test_a_frame_is_no_picture_for_another_one() -> None:
    with pytest.raises(TypeError, match="an array, not VideoFrame"):
        picture().replace(picture())


@pytest.mark.parametrize("number", [np.float32(1.5), np.float64(1.5), np.array(1.5)])
def test_a_time_may_be_any_number(number: Any) -> None:
    assert VideoFrame.from_ndarray(np.zeros((2, 2), np.uint8), "gray", time=number).time == 1.5


@pytest.mark.parametrize(
    ("time", "error"), [("now", ValueError), (np.float32("nan"), ValueError), ([1], TypeError)]
)
def test_a_time_that_is_none_is_refused(time: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"a time has to be a (finite )?number of seconds"):
        picture().time = time


@pytest.mark.parametrize("time", [1_764_104_000_000_000_000, 1e18, -(2**70)])
def test_nanoseconds_are_no_time(time: float) -> None:
    with pytest.raises(ValueError, match=r"a time is in seconds.* were nanoseconds meant"):
        picture().time = time


def test_the_volume_is_changed_in_place() -> None:
    frame = AudioFrame.from_ndarray(np.ones((2, 480), np.float32), rate=48_000, time=1)
    frame.samples *= 0.5
    assert (frame.samples == 0.5).all()
    frame.samples = np.full((2, 480), 16_384, np.int16)
    assert frame.samples.dtype == np.float32
    assert (frame.samples == 0.5).all()
    assert frame.time == 1


def test_samples_of_other_channels_are_not_assigned() -> None:
    frame = AudioFrame.from_ndarray(np.ones((2, 480), np.float32), rate=48_000)
    with pytest.raises(ValueError, match=r"stereo has 2 channels, the array has 1.*replace"):
        frame.samples = np.ones(480, np.float32)


@pytest.mark.parametrize(
    ("rate", "error"), [(44_100.0, TypeError), ("48k", TypeError), (0, ValueError)]
)
def test_a_rate_that_is_none_is_refused_wherever_one_is_given(
    rate: Any, error: type[Exception]
) -> None:
    samples = np.zeros(480, np.float32)
    frame = AudioFrame.from_ndarray(samples, rate=48_000)
    with pytest.raises(error, match=r"rate.*samples per second"):
        AudioFrame.from_ndarray(samples, rate=rate)
    with pytest.raises(error, match=r"rate.*samples per second"):
        frame.replace(samples, rate=rate)
    with pytest.raises(error, match=r"rate.*samples per second"):
        frame.resample(rate=rate)
    with pytest.raises(error, match=r"rate.*samples per second"):
        AudioResampler(rate=rate)


def test_a_rate_may_be_an_integer_of_numpy() -> None:
    rate: Any = np.int64(48_000)
    frame = AudioFrame.from_ndarray(np.zeros(48_000, np.float32), rate=rate)
    first = next(decode(encode([frame]) or b"", video=False))
    assert isinstance(first, AudioFrame)
    assert first.rate == 48_000


def test_a_layout_that_does_not_exist_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match=r"layout 'surround': expected 'mono', 'stereo'"):
        AudioFrame.from_ndarray(np.zeros(480, np.float32), rate=48_000, layout="surround")
    with pytest.raises(ValueError, match="layout 'surround'"):
        AudioResampler(rate=16_000, layout="surround")


def test_a_resampler_refuses_a_picture() -> None:
    with pytest.raises(TypeError, match="takes an AudioFrame, not VideoFrame"):
        AudioResampler(rate=16_000).resample(picture())  # type: ignore[arg-type]


@pytest.mark.parametrize("codec", ["aac", "libopus"])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, 1e30])
def test_sound_that_is_no_number_is_refused_and_the_stream_goes_on(
    codec: Literal["aac", "libopus"], wrong: float
) -> None:
    def second(at: int, value: float) -> AudioFrame:
        samples = np.full((2, 48_000), value, np.float32)
        return AudioFrame.from_ndarray(samples, rate=48_000, time=at)

    encoder = SegmentEncoder(audio=AudioOutput(codec=codec))
    data = [piece.data for piece in encoder.encode(second(0, 0.1))]
    with pytest.raises(ValueError, match="have to be finite, nominally within -1 and 1"):
        encoder.encode(second(1, wrong))
    data += [piece.data for piece in [*encoder.encode(second(2, 0.1)), *encoder.flush()]]
    last = list(decode(b"".join(data), video=False))[-1]
    assert isinstance(last, AudioFrame)
    assert last.time + last.duration >= 3


# --- subscribers and publishers ----------------------------------------------------------------


async def test_a_second_task_that_iterates_is_refused_and_the_first_goes_on() -> None:
    async with TrickleServer() as server:
        server.create("in")
        url = server.channel_url("in")
        async with MediaSubscriber(url, start=0) as frames:
            first = asyncio.create_task(anext(frames))
            await asyncio.sleep(0)  # it runs up to where it waits
            with pytest.raises(RuntimeError, match="another task is waiting"):
                await anext(frames)
            async with MediaPublisher(url) as publisher:
                await publisher.write(picture())
                await publisher.write(picture())
                async with asyncio.timeout(LIMIT):
                    assert isinstance(await first, VideoFrame)


async def test_a_task_may_take_over_from_one_that_was_cancelled() -> None:
    async with TrickleServer() as server:
        server.create("in")
        url = server.channel_url("in")
        async with MediaSubscriber(url, start=0) as frames:
            first = asyncio.create_task(anext(frames))
            await asyncio.sleep(0)
            first.cancel()
            await asyncio.wait((first,))
            async with MediaPublisher(url) as publisher:
                await publisher.write(picture())
                await publisher.write(picture())
                async with asyncio.timeout(LIMIT):
                    assert isinstance(await anext(frames), VideoFrame)


@pytest.mark.parametrize("codec", [None, 264, "h265"])
def test_a_codec_that_is_none_is_refused_with_those_there_are(codec: Any) -> None:
    with pytest.raises(ValueError, match="'auto', 'libx264' or a hardware encoder"):
        VideoOutput(codec=codec)


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        (
            {"output": "libx264"},
            TypeError,
            r"pictures has to be VideoOutput\(...\) or None, not str",
        ),
        ({"output": AudioOutput()}, TypeError, "or None, not AudioOutput"),
        ({"audio": VideoOutput()}, TypeError, r"sound has to be AudioOutput\(...\) or None"),
        ({"output": None, "audio": None}, ValueError, "nothing to encode"),
        ({"expect": ["vidoe"]}, ValueError, "expect 'vidoe': name 'video' or 'audio'"),
        ({"expect": "video"}, ValueError, "both in a collection"),
        ({"on_stall": "block"}, ValueError, "expected 'wait' or 'drop'"),
        ({"drain_timeout": -1}, ValueError, "drain_timeout -1: expected seconds from 0"),
    ],
)
def test_a_wrong_option_of_a_publisher_is_refused_when_it_is_made(
    wrong: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        MediaPublisher("http://127.0.0.1/out", **wrong)


@pytest.mark.parametrize("mixed", [True, False])
async def test_frames_with_and_without_a_time_in_one_stream_are_told_once(
    mixed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with TrickleServer() as server:
        server.create("out")
        async with MediaPublisher(server.channel_url("out")) as publisher:
            for i in range(3):
                frame = sound()
                if mixed:
                    frame.time = i
                await publisher.write(frame)
                await publisher.write(picture())
    told = [r.getMessage() for r in caplog.records if "frames without one" in r.getMessage()]
    assert len(told) == mixed
    assert all("frame.replace" in one and server.channel_url("out") in one for one in told)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"video": False}, "video False: expected 'decode', 'packets' or 'drop'"),
        ({"audio": "none"}, "audio 'none': expected 'decode', 'packets' or 'drop'"),
        ({"threads": 0}, "threads 0: expected 1 or more"),
        ({"device": "gpu"}, "'cpu', 'cuda' or 'cuda:N', not 'gpu'"),
    ],
)
def test_a_wrong_option_of_a_reader_is_refused_when_it_is_made(
    wrong: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        StreamDecoder(**wrong)
    with pytest.raises(ValueError, match=says):
        MediaSubscriber("http://127.0.0.1/in", **wrong)


def test_a_negative_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="max_hold -1: expected seconds from 0"):
        StreamDecoder(max_hold=-1)


def test_the_cpu_is_a_device() -> None:
    data = encode([picture() for _ in range(3)]) or b""
    decoder = StreamDecoder(device="cpu")
    frames = [*decoder.feed(data), *decoder.flush()]
    assert [frame.device for frame in frames if isinstance(frame, VideoFrame)] == ["cpu"] * 3


# --- files -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "container"),
    [
        ("clip.mp4", "mp4"),
        ("CLIP.MOV", "mov"),
        ("clip.mkv", "matroska"),
        ("clip.ts", "mpegts"),
        ("clip", "mpegts"),
    ],
)
def test_a_file_is_of_the_container_that_its_name_says(
    name: str, container: str, tmp_path: Path
) -> None:
    encode([picture() for _ in range(20)], tmp_path / name)
    with av.open(str(tmp_path / name)) as file:
        assert container in file.format.name.split(",")


def test_a_format_that_is_named_outweighs_the_name_of_the_file(tmp_path: Path) -> None:
    encode([picture() for _ in range(20)], tmp_path / "clip.mp4", format="mpegts")
    with av.open(str(tmp_path / "clip.mp4")) as file:
        assert file.format.name == "mpegts"


@pytest.mark.parametrize("name", ["clip.ts", "clip.mp4"])
def test_a_file_can_be_made_from_itself(name: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(1)
    shown = (noise.integers(0, 255, (96, 160, 3), np.uint8) for _ in range(40))
    path = tmp_path / name
    encode(map(VideoFrame.from_ndarray, shown), path, video=VideoOutput(bitrate=8_000_000))
    assert path.stat().st_size > 2 * 64 * 1024, "more than is read at a time"
    path.chmod(0o600)
    encode(decode(path), path)
    assert len(list(decode(path))) == 40
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["clip.ts", "clip.mp4"])
def test_two_who_write_one_file_at_once_do_not_write_into_each_other(
    name: str, tmp_path: Path
) -> None:
    path = tmp_path / name

    def frames() -> Iterator[VideoFrame]:
        for n in range(40):
            if n == 20:
                encode([picture() for _ in range(10)], path)
                assert len(list(decode(path))) == 10
            yield picture()

    encode(frames(), path)
    assert len(list(decode(path))) == 40
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["clip.ts", "clip.mp4", "clip.wav"])
def test_what_can_not_be_encoded_leaves_the_file_as_it_was(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(b"precious")
    broken: list[Any] = [picture(), picture(), "no frame"]
    with pytest.raises((TypeError, ValueError)):
        encode(broken, path, format="wav" if name.endswith("wav") else None)
    with pytest.raises(ValueError, match="nothing to encode"):
        encode([], path)
    assert path.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [path]


def test_what_can_not_be_replaced_is_written_into(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as other:
        reading = other.submit(pipe.read_bytes)
        encode([picture() for _ in range(5)], pipe)
        assert len(list(decode(reading.result(LIMIT)))) == 5


@pytest.mark.parametrize(
    ("name", "format"), [("clip.webm", None), ("clip.ogg", "ogg"), (None, "webm"), (None, "ogg")]
)
def test_a_container_that_cannot_hold_the_codecs_is_refused_by_name(
    name: str | None, format: str | None, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"(webm|ogg) cannot hold these tracks"):
        encode([sound()], tmp_path / name if name else None, format=format)


@pytest.mark.parametrize("target", [None, io.BytesIO()])
def test_a_format_of_many_files_leaves_none_where_no_path_was_given(
    target: io.BytesIO | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="'hls' writes files of its own: give a path"):
        encode([picture()], target, format="hls")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("source", "kind"), [(None, "NoneType"), (5, "int"), (io.StringIO("text"), "StringIO")]
)
def test_what_is_no_source_of_frames_is_refused_by_its_kind(source: Any, kind: str) -> None:
    with pytest.raises(TypeError, match=f"opened with 'rb', not {kind}"):
        next(decode(source))


def test_bytes_that_were_gathered_are_a_source() -> None:
    data = encode([picture()]) or b""
    assert len(list(decode(bytearray(data)))) == len(list(decode(memoryview(data)))) == 1


def test_what_is_no_media_is_refused_in_plain_words() -> None:
    with pytest.raises(ValueError, match=r"^this data is not a media file .*: Invalid data found"):
        next(decode(b"no media"))


def test_decoding_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="video and audio are both left out"):
        next(decode(b"", video=False, audio=False))
