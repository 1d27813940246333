"""Pictures as callers send them: upright, whole, the first of many, never more than allowed."""

from __future__ import annotations

import io
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from livepeer.runner import Pipeline
from livepeer.runner.author.file_content import sniff
from livepeer.runner.author.files import Audio, File, Image, Video
from livepeer.runner.exceptions import FileError
from livepeer.runner.testing import client

CASES = Path(__file__).parent / "cases"


def corners(pixels: Any) -> str:
    """The colours of the four quarters, in reading order."""
    names = {(1, 0, 0): "R", (0, 1, 0): "G", (0, 0, 1): "B", (1, 1, 1): "W"}
    height, width = pixels.shape[:2]
    spots = [pixels[y * height // 4, x * width // 4] > 128 for y in (1, 3) for x in (1, 3)]
    return "".join(names[tuple(int(value) for value in spot)] for spot in spots)


def quarters() -> PIL.Image.Image:
    """64×48: red, green; blue, white."""
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:24, :32, 0] = pixels[:24, 32:, 1] = pixels[24:, :32, 2] = 255
    pixels[24:, 32:] = 255
    return PIL.Image.fromarray(pixels)


def saved(picture: PIL.Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format=format, **options)
    return buffer.getvalue()


def turned(format: str, orientation: int) -> bytes:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if format == "WEBP" else {}
    return saved(quarters(), format, exif=exif, **options)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
@pytest.mark.parametrize(
    ("orientation", "seen"),
    list(enumerate("RGBW GRWB WBGR BWRG RBGW BRWG WGBR GWRB".split(), 1)),
)
def test_a_picture_comes_upright_however_the_camera_was_held(
    format: str, orientation: int, seen: str
) -> None:
    image = Image(turned(format, orientation))
    shape = (48, 64, 3) if orientation < 5 else (64, 48, 3)
    assert image.to_ndarray().shape == shape
    assert corners(image.to_ndarray()) == seen
    assert image.to_pil().size == (shape[1], shape[0])
    again = Image.from_pil(PIL.Image.open(io.BytesIO(image.data)))
    assert corners(again.to_ndarray()) == seen


def test_a_phones_jpeg_is_upright() -> None:
    assert Image(CASES / "exif6.jpg").to_ndarray().shape == (128, 96, 3)


def test_a_tiff_of_jpeg_tiles_is_no_black_picture() -> None:
    pixels = Image(CASES / "jpeg_in.tiff").to_ndarray()
    assert pixels.shape == (96, 128, 3)
    assert pixels.std() > 10


def test_the_tiles_of_a_heic_are_one_picture() -> None:
    pytest.importorskip("pillow_heif")
    image = Image(CASES / "grid.heic")
    assert image.media_type == "image/heic"
    pixels = image.to_ndarray()
    assert pixels.shape == (192, 256, 3)
    tiles = [pixels[y : y + 96, x : x + 128].mean() for y in (0, 96) for x in (0, 128)]
    assert len({round(float(mean)) for mean in tiles}) > 1
    assert image.to_pil().size == (256, 192)


@pytest.mark.parametrize("brand", [b"heix", b"hevc", b"mif1"])
def test_a_heic_of_any_brand_is_decoded(brand: bytes) -> None:
    heif = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    heif.from_pillow(quarters()).save(buffer, quality=90)
    data = bytearray(buffer.getvalue())
    data[8:12] = brand
    image = Image(bytes(data))
    assert image.media_type.startswith("image/hei")
    assert corners(image.to_ndarray()) == "RGBW"


@pytest.mark.parametrize(("turn", "seen"), [(0, "RGBW"), (1, "GWRB"), (2, "WBGR"), (3, "BRWG")])
def test_the_turn_of_a_heic_is_applied_once(turn: int, seen: str) -> None:
    """`irot` counts quarters against the clock."""
    heif = pytest.importorskip("pillow_heif")
    orientation = {0: 1, 1: 8, 2: 3, 3: 6}[turn]
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    heif.from_pillow(quarters()).save(buffer, quality=90, exif=exif.tobytes())
    assert corners(Image(buffer.getvalue()).to_ndarray()) == seen


def test_without_the_extra_a_heic_names_it_and_no_tile_comes_out() -> None:
    code = f"""
    import sys
    sys.modules["pillow_heif"] = None
    from livepeer.runner import Image
    from livepeer.runner.exceptions import FileError
    for call in (Image.to_ndarray, Image.to_pil):
        try:
            print(call(Image({str(CASES / "grid.heic")!r})))
        except FileError as error:
            print(error)
    """
    assert victim(code)[0].count("pip install 'livepeer-runner[heif]'") == 2


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "AVIF", "TIFF"])
def test_an_animation_gives_its_first_picture(format: str) -> None:
    black = PIL.Image.new("RGB", (64, 48))
    data = saved(quarters(), format, save_all=True, append_images=[black, black])
    assert corners(Image(data).to_ndarray()) == "RGBW"


class TestAlpha:
    GLASS = PIL.Image.new("RGBA", (8, 6), (200, 100, 50, 128))

    @pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF"])
    def test_it_is_kept_or_refused(self, format: str) -> None:
        image = Image(saved(self.GLASS, format))
        assert image.to_pil().getpixel((0, 0))[3] == 128  # type: ignore[index]
        assert image.to_ndarray("rgba")[0, 0, 3] == 128
        assert image.to_ndarray("bgra").shape == (6, 8, 4)
        for name in ("rgb24", "bgr24", "gray", "yuv420p"):
            with pytest.raises(FileError, match="transparent in part"):
                image.to_ndarray(name)

    def test_that_of_a_palette_too(self) -> None:
        picture = PIL.Image.new("P", (8, 6), 1)
        picture.putpalette([0, 0, 0, 255, 0, 0])
        image = Image(saved(picture, "PNG", transparency=1))
        with pytest.raises(FileError, match="transparent in part"):
            image.to_ndarray()
        assert image.to_ndarray("rgba")[0, 0].tolist() == [255, 0, 0, 0]

    def test_where_all_is_opaque_nothing_is_lost(self) -> None:
        opaque = PIL.Image.new("RGBA", (8, 6), (200, 100, 50, 255))
        assert Image(saved(opaque, "PNG")).to_ndarray()[0, 0].tolist() == [200, 100, 50]
        assert Image(saved(opaque, "PNG")).to_ndarray("bgr24")[0, 0].tolist() == [50, 100, 200]

    def test_a_jpeg_holds_none(self) -> None:
        with pytest.raises(ValueError, match="a JPEG holds no alpha"):
            Image.from_pil(self.GLASS, "image/jpeg")
        with pytest.raises(ValueError, match="write one of image/png"):
            Image.from_pil(self.GLASS, "image/x-none")


def test_grey_of_sixteen_bits_keeps_its_tones() -> None:
    ramp = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(1, 64).repeat(48, 0)
    data = saved(PIL.Image.fromarray(ramp), "PNG")
    expected = (ramp >> 8).astype(np.uint8)
    assert np.array_equal(Image(data).to_ndarray("gray"), expected)
    assert np.array_equal(Image(data).to_ndarray()[:, :, 0], expected)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "HSV", "LA", "I;16"])
def test_what_pillow_gives_is_taken_in_any_mode(mode: str) -> None:
    image = Image.from_pil(quarters().convert(mode))
    assert sniff(image.data) == "image/png"
    assert image.to_ndarray().shape == (48, 64, 3)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nothing",
        saved(quarters(), "PNG")[:60],
        saved(quarters(), "JPEG")[:200],
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"\x00\x00\x00\x18ftypheic" + bytes(40),
    ],
)
def test_what_is_broken_is_one_error(data: bytes) -> None:
    for call in (Image.to_ndarray, Image.to_pil):
        with pytest.raises(FileError, match="cannot be decoded"):
            call(Image(data))  # type: ignore[arg-type]


class Portrait(Pipeline):
    def predict(self, size: int) -> Image:
        return PIL.Image.new("RGB", (size, size), "red")  # type: ignore[return-value]


class Pair(BaseModel):
    left: Image


class Inside(Pipeline):
    def predict(self) -> Pair:
        return Pair(left=quarters())  # type: ignore[arg-type]


def test_a_picture_of_pillows_is_what_an_image_pipeline_may_return() -> None:
    with client(Portrait) as http:
        answer = http.post("/predict", json={"size": 16})
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
        assert Image(answer.content).to_ndarray().shape == (16, 16, 3)
    with client(Inside) as http:
        left = http.post("/predict", json={}).json()["left"]
        assert left.startswith("data:image/png;base64,")


def test_a_file_name_in_place_of_a_file_is_told_what_to_pass() -> None:
    for text in ("cat.png", "/home/me/my cat.jpeg"):
        with pytest.raises(ValidationError, match="pass Path") as caught:
            TypeAdapter(Image).validate_python(text)
        assert f"@{text}" in str(caught.value)
    with pytest.raises(ValidationError, match="not base64"):
        TypeAdapter(File).validate_python("no.base64 at all!")


def victim(code: str, *arguments: str) -> tuple[str, float]:
    """What the code prints in a process of its own, and how many MB that had at its largest."""
    # Not getrusage: its figure is the parent's until it is exceeded.
    grown = """
[peak] = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
print("peak", int(peak.split()[1]) // 1024)
"""
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))\n"
    done = subprocess.run(
        [sys.executable, "-c", limit + textwrap.dedent(code) + grown, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    out, _, peak = done.stdout.rpartition("peak")
    return out, float(peak)


def png_of(width: int, height: int) -> bytes:
    """A few hundred kilobytes, whatever the size: black, by hand."""
    squeeze = zlib.compressobj(9)
    row = bytes(1 + width * 3)
    rows = b"".join(squeeze.compress(row) for _ in range(height)) + squeeze.flush()

    def chunk(kind: bytes, body: bytes) -> bytes:
        checksum = zlib.crc32(kind + body).to_bytes(4, "big")
        return len(body).to_bytes(4, "big") + kind + body + checksum

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes((8, 2, 0, 0, 0))
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", rows), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


class TestBombs:
    def test_a_small_file_of_a_huge_picture_is_refused_before_it_is_decoded(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "bomb.png"
        path.write_bytes(png_of(9_000, 9_000))
        assert path.stat().st_size < 300_000
        code = """
        import sys
        from livepeer.runner import Image
        from livepeer.runner.exceptions import FileError
        for call in (Image.to_ndarray, Image.to_pil):
            try:
                call(Image(sys.argv[1]))
            except FileError as error:
                print(error)
        """
        printed, peak = victim(code, str(path))
        assert printed.count("the image is 9000x9000, and max_pixels is 67108864") == 2
        assert peak < 200

    def test_more_is_decoded_where_it_is_asked_for(self) -> None:
        image = Image(png_of(300, 200))
        with pytest.raises(FileError, match="300x200, and max_pixels is 1000"):
            image.to_ndarray(max_pixels=1_000)
        assert image.to_ndarray(max_pixels=60_000).shape == (200, 300, 3)

    def test_a_small_file_of_a_long_sound_is_refused_while_it_is_decoded(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "bomb.flac"
        code = """
        import sys
        import av, numpy as np
        from livepeer.runner import Audio
        from livepeer.runner.exceptions import FileError
        with av.open(sys.argv[1], "w") as container:
            stream = container.add_stream("flac", rate=48_000)
            silence = np.zeros((1, 2 * 4_800_000), np.int16)
            for _ in range(10):
                frame = av.AudioFrame.from_ndarray(silence, "s16", "stereo")
                frame.sample_rate = 48_000
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        del silence, frame
        try:
            Audio(sys.argv[1]).to_ndarray(max_samples=10_000_000)
        except FileError as error:
            print(error)
        """
        printed, peak = victim(code, str(path))
        assert "more than max_samples (10000000) in 2 channels at 48000 Hz: send at most 104 s" in (
            printed
        )
        assert path.stat().st_size < 700_000
        assert peak < 350

    def test_the_caller_is_answered_with_the_limit(self) -> None:
        class Small(Pipeline):
            def predict(self, image: Image) -> int:
                return int(image.to_ndarray(max_pixels=100).size)

        class Short(Pipeline):
            def predict(self, sound: Audio) -> int:
                return int(sound.to_ndarray(max_samples=100)[0].size)

        class Low(Pipeline):
            def predict(self, clip: Video) -> int:
                return len(list(clip.frames(max_pixels=100)))

        def clip() -> bytes:
            from livepeer.trickle.media import VideoFrame, encode

            data = encode([VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), time=0)])
            assert data is not None
            return data

        for cls, field, data, named in (
            (Small, "image", saved(quarters(), "PNG"), "max_pixels"),
            (Short, "sound", Audio.from_ndarray(np.zeros(4_800), 48_000).data, "max_samples"),
            (Low, "clip", clip(), "max_pixels"),
        ):
            with client(cls) as http:
                answer = http.post("/predict", files={field: data})
                assert answer.status_code == 422, answer.text
                assert named in answer.json()["error"]["message"]


class TestSound:
    def test_eight_channels_come_out(self) -> None:
        code = """
        import sys
        from livepeer.runner import Audio
        print(Audio(sys.argv[1]).to_ndarray()[0].shape[0])
        """
        assert victim(code, str(CASES / "sound71.m4a"))[0].strip() == "8"

    def test_what_changes_on_the_way_comes_as_it_began(self) -> None:
        from livepeer.trickle.media import AudioFrame, encode

        def part(rate: int, channels: int, begin: float) -> bytes:
            sound = AudioFrame.from_ndarray(
                np.full((channels, rate), 0.25, np.float32), rate=rate, time=begin
            )
            data = encode([sound])
            assert data is not None
            return data

        data = part(48_000, 2, 1) + part(44_100, 1, 2.2)
        samples, rate = Audio(data).to_ndarray()
        assert rate == 48_000
        assert samples.shape[0] == 2
        assert 1.9 < samples.shape[1] / rate < 2.2
