"""A snapshot stays what it was, and neither frame is copied before one of them is written into."""

import numpy as np
import pytest

from livepeer.trickle.media.frame import AudioFrame, VideoFrame


def black() -> VideoFrame:
    return VideoFrame.from_ndarray(np.zeros((48, 64), np.uint8), "yuv420p", time=1)


@pytest.mark.parametrize("written", ["the frame", "its snapshot"])
def test_a_frame_and_its_snapshot_do_not_see_each_other(written: str) -> None:
    frame = black()
    frame.planes[0][:] = 50
    taken = frame.snapshot()
    assert np.shares_memory(frame.view()[0], taken.view()[0])
    one, other = (frame, taken) if written == "the frame" else (taken, frame)
    one.planes[0][:] = 200
    one.time = 2
    assert (other.view()[0] == 50).all()
    assert (one.view()[0] == 200).all()
    assert other.time == 1


def test_arrays_from_before_a_snapshot_become_read_only() -> None:
    frame = black()
    luma = frame.planes[0]
    frame.snapshot()
    with pytest.raises(ValueError, match="read-only"):
        luma[:] = 1


def test_a_snapshot_of_sound_keeps_its_samples() -> None:
    samples = np.zeros((2, 480), np.float32)
    frame = AudioFrame.from_ndarray(samples, rate=48_000, time=1)
    taken = frame.snapshot()
    samples[:] = 0.5
    assert (taken.samples == 0).all()
    assert (taken.time, taken.rate, taken.layout) == (1, 48_000, "stereo")
