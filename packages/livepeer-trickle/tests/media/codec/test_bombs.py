"""Small files that ask for much memory, each in a process of its own with a bound."""

from __future__ import annotations

import io
import subprocess
import sys
import textwrap
from pathlib import Path

import av
import numpy as np
import pytest

from livepeer.trickle.media import VideoFrame, decode, encode

#: MB that the interpreter with av and numpy, and a decoder of small pictures, may have.
BOUND = 200


def victim(code: str, path: Path) -> tuple[str, float]:
    """What the code prints, and how many MB its process had at its largest."""
    # Not getrusage: its figure is the parent's until it is exceeded.
    code = f"""
import resource
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
{textwrap.dedent(code)}
[peak] = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
print("peak", int(peak.split()[1]) // 1024)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    out, _, peak = done.stdout.rpartition("peak")
    return out, float(peak)


@pytest.fixture(scope="module")
def huge(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Four grey pictures of 8192×4608, a few kilobytes each, as MPEG-TS and as MP4."""
    folder = tmp_path_factory.mktemp("huge")
    code = """
    import sys
    import av
    picture = av.VideoFrame(8192, 4608, "gray")
    paths = [f"{sys.argv[1]}/huge.{ending}" for ending in ("ts", "mp4")]
    for path in paths:
        with av.open(path, "w") as container:
            stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
            stream.width, stream.height, stream.pix_fmt = 8192, 4608, "yuv420p"
            stream.codec_context.thread_count = 1
            for n in range(4):
                container.mux(stream.encode(picture if n < 4 else None))
            container.mux(stream.encode())
    """
    victim(code, folder)
    return {ending: folder / f"huge.{ending}" for ending in ("ts", "mp4")}


@pytest.mark.parametrize("ending", ["ts", "mp4"])
def test_a_file_of_huge_pictures_is_refused_by_their_size(
    huge: dict[str, Path], ending: str
) -> None:
    code = """
    import sys
    from livepeer.trickle.media import decode
    try:
        list(decode(sys.argv[1]))
    except ValueError as error:
        print(error)
    """
    printed, peak = victim(code, huge[ending])
    assert "pictures are 8192x4608, and max_pixels is 9437184: give decode(" in printed
    assert peak < BOUND


def test_a_live_stream_of_huge_pictures_gives_none_and_says_so(huge: dict[str, Path]) -> None:
    code = """
    import logging, sys
    from livepeer.trickle.media import StreamDecoder
    logging.basicConfig(stream=sys.stdout)
    decoder = StreamDecoder()
    frames = decoder.feed(open(sys.argv[1], "rb").read()) + decoder.flush()
    print(len(frames), "frames", decoder.stats.damaged, "damaged")
    """
    printed, peak = victim(code, huge["ts"])
    assert "0 frames" in printed
    assert "8192x4608" in printed
    assert "max_pixels" in printed
    assert peak < BOUND


def test_larger_pictures_are_decoded_where_they_are_asked_for() -> None:
    small = encode(
        [VideoFrame.from_ndarray(np.zeros((96, 160, 3), np.uint8), time=n / 25) for n in range(3)],
        format="mp4",
    )
    assert small is not None
    with pytest.raises(ValueError, match="160x96, and max_pixels is 15359"):
        list(decode(small, max_pixels=160 * 96 - 1))
    assert len(list(decode(small, max_pixels=160 * 96))) == 3


def test_pictures_that_grow_on_the_way_are_refused_by_their_size() -> None:
    with pytest.raises(ValueError, match="640x480, and max_pixels is 15360"):
        list(decode(stream_of(160, 96) + stream_of(640, 480), max_pixels=160 * 96))


def test_what_becomes_small_again_goes_on() -> None:
    data = stream_of(160, 96) + stream_of(640, 480) + stream_of(160, 96)
    assert len(list(decode(data, max_pixels=160 * 96))) == 10


def stream_of(width: int, height: int) -> bytes:
    target = io.BytesIO()
    with av.open(target, "w", format="mpegts") as container:
        stream = container.add_stream("libx264", rate=25, options={"tune": "zerolatency"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame(width, height, "yuv420p")))
        container.mux(stream.encode())
    return target.getvalue()
