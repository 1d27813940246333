"""Pictures on a GPU. What needs one is marked ``gpu``; the rest shows that nothing needs it."""

import logging
from collections.abc import Callable
from typing import Any

import av
import numpy as np
import pytest

from livepeer.trickle.media.codec import gpu
from livepeer.trickle.media.codec.decoder import StreamDecoder
from livepeer.trickle.media.codec.encoder import SegmentEncoder
from livepeer.trickle.media.file.decode import decode
from livepeer.trickle.media.frame import VideoFrame
from livepeer.trickle.media.frame.cuda import DevicePlane, synchronize
from livepeer.trickle.media.frame.tensors import Coefficients, nv12_picture, rgb_of_planes

needs_gpu = pytest.mark.skipif(not gpu.is_available(), reason="no GPU that decodes H.264 here")


def play(data: bytes, **options: Any) -> list[VideoFrame]:
    decoder = StreamDecoder(audio="drop", **options)
    out = [*decoder.feed(data), *decoder.end_segment(), *decoder.flush()]
    return [frame for frame in out if isinstance(frame, VideoFrame)]


@pytest.mark.skipif(gpu.is_available(), reason="this is about a machine without a GPU")
def test_without_a_gpu_the_same_calls_decode_on_the_cpu_and_say_so(
    clip: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    made = clip()
    with caplog.at_level(logging.WARNING):
        frames = play(made.data, device="cuda")
    assert [frame.pts for frame in frames] == made.times
    assert {frame.device for frame in frames} == {"cpu"}
    assert "decoded on the CPU" in caplog.text
    assert "NVIDIA driver" in caplog.text


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "", "CUDA"])
def test_a_device_that_is_misspelt_is_refused(clip: Callable[..., Any], device: str) -> None:
    with pytest.raises(ValueError, match="device has to be"):
        StreamDecoder(device=device)


@pytest.mark.parametrize("matrix", [1, 5, 6, 9, 2])
@pytest.mark.parametrize("span", [1, 2])
def test_the_arithmetic_of_tensors_is_that_of_swscale(matrix: int, span: int) -> None:
    colours = np.array(
        [[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255], [90, 120, 60]], np.uint8
    )
    for colour in colours:
        like = av.VideoFrame(16, 16, "yuv420p")
        like.colorspace, like.color_range = matrix, span
        flat = np.broadcast_to(colour, (16, 16, 3))
        frame = VideoFrame(like, pts=0).replace(flat)
        planes = [float(plane[4, 4]) for plane in frame.view()]
        numbers = Coefficients.of(like)
        assert np.allclose(numbers.to_yuv(*map(float, colour)), planes, atol=1.6)
        back = np.clip(numbers.to_rgb(*planes), 0, 255)
        assert np.allclose(back, colour, atol=4)


def test_a_plane_is_exported_whatever_the_consumer_asks_in_the_protocols_words(
    clip: Callable[..., Any],
) -> None:
    # Any plane of PyAV will do.
    frame = play(clip().data)[0]
    plane = DevicePlane(frame.to_av().planes[0])
    assert plane.__dlpack_device__() == (1, 0)
    assert plane.__dlpack__(stream=-1, max_version=(1, 0), dl_device=(1, 0)) is not None
    with pytest.raises(BufferError):
        plane.__dlpack__(stream=-1, copy=True)
    with pytest.raises(BufferError):
        plane.__dlpack__(stream=-1, dl_device=(2, 0))
    np.testing.assert_array_equal(np.from_dlpack(plane), frame.view()[0])


@pytest.mark.skipif(gpu.is_available(), reason="this is about a machine without a GPU")
def test_waiting_for_a_gpu_that_is_not_there_says_so() -> None:
    with pytest.raises(RuntimeError, match=r"driver|CUDA error"):
        synchronize(0)


@pytest.mark.torch
def test_tensors_of_a_cpu_frame_round_trip() -> None:
    torch = pytest.importorskip("torch")
    array = np.random.default_rng(1).integers(0, 256, (31, 47, 3), dtype=np.uint8)
    frame = VideoFrame.from_ndarray(array, time=2)
    np.testing.assert_array_equal(frame.to_tensor().numpy(), array)
    chw = frame.to_tensor(layout="chw")
    assert tuple(chw.shape) == (3, 31, 47)
    for tensor in (torch.from_numpy(array), chw, chw.permute(1, 2, 0)):
        other = frame.replace(tensor)
        assert other.time == 2
        np.testing.assert_array_equal(other.to_ndarray(), array)
    with pytest.raises(TypeError, match=r"0\.\.255"):
        frame.replace(chw.float())


@pytest.mark.torch
def test_planes_go_to_torch_and_back_without_a_copy(clip: Callable[..., Any]) -> None:
    torch = pytest.importorskip("torch")
    frame = play(clip().data)[0]
    for plane, array in zip(frame.dlpack_planes, frame.planes, strict=True):
        tensor = torch.from_dlpack(plane)
        assert tensor.data_ptr() == array.ctypes.data
        tensor += 1
        np.testing.assert_array_equal(tensor.numpy(), array)
    nv12 = VideoFrame.from_ndarray(np.arange(96 * 64, dtype=np.uint8).reshape(96, 64), "nv12")
    exported = [DevicePlane(plane) for plane in nv12.to_av().planes]
    y, uv = (torch.from_dlpack(plane) for plane in exported)
    assert (tuple(y.shape), tuple(uv.shape)) == ((64, 64), (32, 32, 2))
    np.testing.assert_array_equal(y.numpy(), nv12.view()[0])
    np.testing.assert_array_equal(uv.numpy()[:, :, 1], nv12.view()[2])


@pytest.mark.torch
@pytest.mark.parametrize("matrix", [1, 5, 9, 2])
@pytest.mark.parametrize("span", [1, 2])
@pytest.mark.parametrize("layout", ["hwc", "chw"])
def test_the_conversions_of_the_gpu_are_those_of_swscale_when_torch_runs_them_here(
    clip: Callable[..., Any], quality: Callable[..., float], matrix: int, span: int, layout: str
) -> None:
    torch = pytest.importorskip("torch")
    frame = play(clip(width=322, height=192).data)[3]
    like = frame.to_av()
    like.colorspace, like.color_range = matrix, span
    reference = frame.to_ndarray()
    planes = (torch.from_numpy(plane.copy()) for plane in frame.view())
    tensor = rgb_of_planes(torch, *planes, Coefficients.of(like), layout)
    made = tensor if layout == "hwc" else tensor.permute(1, 2, 0)
    assert quality(made.numpy(), reference) > 35

    picture = nv12_picture(torch, torch.from_numpy(reference), like)
    assert (picture.format.name, picture.width, picture.height) == ("nv12", 322, 192)
    assert (picture.colorspace, picture.color_range) == (matrix, span)
    swscales = frame.replace(reference).view()
    for plane, wanted in zip(VideoFrame(picture).view(), swscales, strict=True):
        assert quality(plane, wanted) > 38
    y, uv = picture.planes
    assert uv.buffer_ptr - y.buffer_ptr == 192 * y.line_size


@pytest.mark.torch
def test_a_device_without_its_driver_is_refused_by_torch_and_a_wrong_layout_by_us() -> None:
    torch = pytest.importorskip("torch")
    frame = VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8))
    with pytest.raises(ValueError, match="'hwc' or 'chw'"):
        frame.to_tensor(layout="nhwc")  # type: ignore[arg-type]
    assert frame.to_tensor("meta", "chw").shape == (3, 16, 16)
    if not torch.cuda.is_available():
        with pytest.raises((RuntimeError, AssertionError), match=r"NVIDIA|CUDA"):
            frame.to_tensor("cuda")


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize(
    "options", [{}, {"bframes": 2}, {"codec": "libx265"}, {"width": 161, "height": 97}], ids=repr
)
def test_pictures_stay_on_the_gpu_and_are_the_ones_of_the_cpu(
    clip: Callable[..., Any], quality: Callable[..., float], options: dict[str, Any]
) -> None:
    made = clip(**({"width": 320, "height": 192} | options))
    frames, reference = play(made.data, device="cuda"), play(made.data)
    assert [frame.pts for frame in frames] == made.times
    for frame, other in zip(frames, reference, strict=True):
        assert frame.device == "cuda:0"
        assert frame.format == "cuda"
        for plane, wanted in zip(frame.view(), other.view(), strict=True):
            assert quality(plane, wanted) > 45
        frame.planes[0][:] = 0
        assert frame.device == "cpu"


@pytest.mark.gpu
@needs_gpu
def test_many_frames_may_be_held_at_once(clip: Callable[..., Any]) -> None:
    assert len(play(clip(width=320, height=192, frames=20).data, device="cuda")) == 20


@pytest.mark.gpu
@needs_gpu
def test_a_tensor_is_made_and_replaced_on_the_gpu(
    clip: Callable[..., Any], quality: Callable[..., float]
) -> None:
    torch = pytest.importorskip("torch")
    made = clip(width=320, height=192)
    for frame, other in zip(play(made.data, device="cuda"), play(made.data), strict=True):
        y, uv = (torch.from_dlpack(plane) for plane in frame.dlpack_planes)
        assert y.is_cuda
        assert (tuple(y.shape), tuple(uv.shape)) == ((192, 320), (96, 160, 2))
        tensor = frame.to_tensor()
        assert tensor.is_cuda
        assert quality(tensor.cpu().numpy(), other.to_ndarray()) > 35
        assert other.to_tensor(device="cuda").is_cuda
        new = frame.replace(tensor)
        assert (new.device, new.time) == ("cuda:0", frame.time)
        assert quality(new.view()[0], frame.view()[0]) > 40


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("replaced", [False, True], ids=["decoded", "replaced"])
def test_pictures_on_the_gpu_are_encoded_by_what_the_machine_has(
    clip: Callable[..., Any], quality: Callable[..., float], replaced: bool
) -> None:
    if replaced:
        pytest.importorskip("torch")
    made = clip(width=322, height=192)
    encoder = SegmentEncoder(audio=None)
    data = b""
    for frame in play(made.data, device="cuda"):
        picture = frame.replace(frame.to_tensor()) if replaced else frame
        data += b"".join(piece.data for piece in encoder.encode(picture))
    data += b"".join(piece.data for piece in encoder.flush())
    again, reference = play(data), play(made.data)
    assert [frame.pts for frame in again] == made.times
    for frame, other in zip(again, reference, strict=True):
        for plane, wanted in zip(frame.view(), other.view(), strict=True):
            assert quality(plane, wanted) > 28


@pytest.mark.gpu
@needs_gpu
def test_files_are_not_affected_by_the_gpu(clip: Callable[..., Any]) -> None:
    assert len(list(decode(clip().data))) == 30
