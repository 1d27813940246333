"""Files as values: what callers write, what pipelines see, how they leave."""

import base64
import gc
import json
import socket
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from livepeer.runner.author.file_content import content_of, sniff
from livepeer.runner.author.files import Audio, File, Image, Video
from livepeer.runner.exceptions import FileError

PIXELS = np.arange(20 * 30 * 3, dtype=np.uint8).reshape(20, 30, 3)
PNG = Image.from_ndarray(PIXELS).data


def parsed(kind: type[File], text: str) -> File:
    return TypeAdapter(kind).validate_json(json.dumps(text))


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


class TestText:
    def test_base64_is_the_content_and_its_first_bytes_tell_the_type(self) -> None:
        image = parsed(Image, b64(PNG))
        assert type(image) is Image
        assert image.data == PNG
        assert image.media_type == "image/png"
        assert image.size == len(PNG)

    @pytest.mark.parametrize(
        ("text", "data", "media_type"),
        [
            ("data:text/csv;base64,YSxi", b"a,b", "text/csv"),
            ("data:text/csv;charset=utf-8;base64,YSxi", b"a,b", "text/csv"),
            ("data:text/csv,a%2Cb%20c", b"a,b c", "text/csv"),
            ("data:,hello", b"hello", "application/octet-stream"),
            (f"data:;base64,{b64(PNG)}", PNG, "image/png"),
            (f"data:application/octet-stream;base64,{b64(PNG)}", PNG, "image/png"),
            ("", b"", "application/octet-stream"),
        ],
    )
    def test_a_data_uri_brings_its_type(self, text: str, data: bytes, media_type: str) -> None:
        file = parsed(File, text)
        assert (file.data, file.media_type) == (data, media_type)

    def test_a_url_is_kept_until_it_is_fetched(self) -> None:
        file = parsed(Video, "https://example.org/a/clip.mp4?x=1")
        assert (file.url, file.name) == ("https://example.org/a/clip.mp4?x=1", "clip.mp4")
        assert not file.is_fetched
        with pytest.raises(FileError, match="not fetched"):
            _ = file.data

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("not base64!", "not base64"),
            ("YWJ", "not base64"),
            ("YW Jj", "not base64"),
            ("data:image/png;base64,%%%", "not base64"),
            ("data:image/png", "a data: URI is written"),
            ("http://", "not a URL"),
            ("http://[x", "not a URL"),
            ("https://a b", "not a URL"),
            ("file:///etc/passwd", "not base64"),
            ("ftp://example.org/x", "not base64"),
            (f"data:audio/wav;base64,{b64(PNG)}", "the file is audio/wav, not an image"),
            (b64(b"fLaC1234"), "the file is audio/flac, not an image"),
        ],
    )
    def test_anything_else_is_the_callers_error(self, text: str, says: str) -> None:
        with pytest.raises(ValidationError, match=says):
            parsed(Image, text)

    @pytest.mark.parametrize("value", ["5", "null", "[]", "{}", "true"])
    def test_only_text_is_a_file(self, value: str) -> None:
        with pytest.raises(ValidationError):
            TypeAdapter(Image).validate_json(value)

    def test_the_pattern_of_the_schema_says_what_is_taken(self) -> None:
        import re

        schema = TypeAdapter(File).json_schema()
        assert schema["format"] == "file"
        pattern = re.compile(schema["pattern"])
        for text in ("", "YWJj", "YWI=", "data:,x", "data:a/b;base64,YQ==", "https://a/b c"[:11]):
            assert pattern.search(text), text
            parsed(File, text)
        for text in ("YWJ", "a b", "ftp://x", "http://", "data:nothing", "YWJj\n"):
            assert not pattern.search(text) or text.endswith("\n"), text
            with pytest.raises(ValidationError):
                parsed(File, text)


class TestTypes:
    @pytest.mark.parametrize(
        ("kind", "media_type"),
        [
            (Image, "image/*"),
            (Audio, "audio/*"),
            (Video, "video/*"),
            (File, "application/octet-stream"),
        ],
    )
    def test_the_schema_carries_the_media_type(self, kind: type[File], media_type: str) -> None:
        assert TypeAdapter(kind).json_schema()["contentMediaType"] == media_type
        assert TypeAdapter(kind).json_schema(mode="serialization")["contentMediaType"] == media_type

    def test_a_container_for_both_may_be_either(self) -> None:
        assert Audio(b"x", "video/webm").media_type == "video/webm"
        assert Video(b"x", "application/ogg").media_type == "application/ogg"
        assert Audio(b"\0\0\0\x18ftypisom").media_type == "video/mp4"
        with pytest.raises(FileError, match="image/png, not a video"):
            Video(PNG)

    def test_what_is_not_known_is_taken_at_its_word(self) -> None:
        assert Image(b"????").media_type == "application/octet-stream"
        assert Image(b"????", "image/x-new; q=1").media_type == "image/x-new"

    @pytest.mark.parametrize(
        ("head", "media_type"),
        [
            (PNG, "image/png"),
            (b"\xff\xd8\xff\xe0", "image/jpeg"),
            (b"GIF89a", "image/gif"),
            (b"RIFF\0\0\0\0WEBP", "image/webp"),
            (b"RIFF\0\0\0\0WAVE", "audio/wav"),
            (b"RIFF\0\0\0\0????", None),
            (b"\xff\xfb\x90", "audio/mpeg"),
            (b"OggS", "audio/ogg"),
            (b"\0\0\0\x20ftypavif", "image/avif"),
            (b"\0\0\0\x20ftypM4A ", "audio/mp4"),
            (b"G" + bytes(187) + b"G", "video/mp2t"),
            (b"Good morning", None),
            (b"BMW is a car maker", None),
            (b"BM" + bytes(12), "image/bmp"),
            (b"", None),
        ],
    )
    def test_the_first_bytes_tell(self, head: bytes, media_type: str | None) -> None:
        assert sniff(head) == media_type


class TestObjects:
    def test_bytes_paths_and_other_files_will_do_in_python(self, tmp_path: Path) -> None:
        path = tmp_path / "a.png"
        path.write_bytes(PNG)
        adapter: TypeAdapter[Any] = TypeAdapter(Image)
        for value in (PNG, bytearray(PNG), path, File(PNG), Image(PNG), b64(PNG)):
            assert adapter.validate_python(value).data == PNG
        assert Image(path).name == "a.png"
        with pytest.raises(ValidationError, match="No such file"):
            adapter.validate_python(tmp_path / "none")
        with pytest.raises(ValidationError, match="given as base64"):
            adapter.validate_python(5)

    def test_it_is_a_file_to_read_and_a_path(self) -> None:
        file = File(PNG, name="x.png")
        with file.open() as opened:
            assert opened.read() == PNG
        path = file.path()
        assert path == file.path()
        assert path.suffix == ".png"
        assert path.read_bytes() == PNG
        del file
        gc.collect()
        assert not path.exists()

    @pytest.mark.parametrize(
        ("name", "media_type", "suffix"),
        [
            ("../../x.sh/..", "audio/wav", ".wav"),
            ("a.verylongsuffix", "video/mp2t", ".ts"),
            (None, "image/jpeg", ".jpg"),
            ("clip.MOV", "video/mp4", ".MOV"),
            ("x.p/y", None, ".bin"),
        ],
    )
    def test_a_callers_name_only_lends_its_ending(
        self, name: str | None, media_type: str | None, suffix: str
    ) -> None:
        file = File(b"x", media_type, name=name)
        path = file.path()
        assert path.suffix == suffix
        assert path.name.startswith("livepeer-")

    def test_within_a_model_it_leaves_as_a_data_uri_and_comes_back(self) -> None:
        class Reply(BaseModel):
            image: Image
            more: list[File] = []

        reply = Reply(image=Image(PNG), more=[File(b"x", "text/csv")])
        text = reply.model_dump_json()
        assert json.loads(text)["more"] == ["data:text/csv;base64,eA=="]
        assert Reply.model_validate_json(text) == reply

    def test_its_repr_is_short(self) -> None:
        assert repr(Image(PNG)) == f"Image({len(PNG)} bytes, image/png)"
        assert repr(parsed(File, "https://a/b")) == "File(https://a/b)"


class TestMedia:
    def test_pixels_survive_png(self) -> None:
        image = Image.from_ndarray(PIXELS)
        assert image.media_type == "image/png"
        assert np.array_equal(image.to_ndarray(), PIXELS)
        assert np.array_equal(image.to_ndarray("bgr24"), PIXELS[..., ::-1])

    def test_pixels_nearly_survive_jpeg(self) -> None:
        flat = np.full((32, 48, 3), (200, 100, 50), np.uint8)
        image = Image.from_ndarray(flat, media_type="image/jpeg")
        assert image.media_type == "image/jpeg"
        assert image.to_ndarray().shape == (32, 48, 3)
        assert np.abs(image.to_ndarray().astype(int) - flat).max() <= 8

    def test_pillow_goes_both_ways(self) -> None:
        picture = Image(PNG).to_pil()
        assert picture.size == (30, 20)
        assert np.array_equal(np.asarray(Image.from_pil(picture).to_pil()), PIXELS)
        assert Image.from_pil(picture, "image/webp").media_type == "image/webp"

    def test_views_and_grey_are_encoded_too(self) -> None:
        assert np.array_equal(Image.from_ndarray(PIXELS[::2, ::-1]).to_ndarray(), PIXELS[::2, ::-1])

    @pytest.mark.parametrize("data", [b"", b"nothing", PNG[:40], b"\xff\xd8\xff\xe0" * 9])
    def test_what_is_no_picture_is_a_file_error(self, data: bytes) -> None:
        with pytest.raises(FileError, match="cannot be decoded"):
            Image(data).to_ndarray()
        with pytest.raises(FileError, match="cannot be decoded"):
            Image(data).to_pil()

    def test_an_unknown_encoding_is_named(self) -> None:
        with pytest.raises(ValueError, match="write one of image/png, image/jpeg"):
            Image.from_ndarray(PIXELS, media_type="image/x")

    def test_samples_survive_wav(self) -> None:
        import wave

        wanted = np.stack([np.linspace(-1, 1, 800), np.linspace(1, -1, 800)]).astype(np.float32)
        audio = Audio.from_ndarray(wanted, 16_000)
        assert audio.media_type == "audio/wav"
        with wave.open(audio.open()) as file:
            assert (file.getnchannels(), file.getframerate(), file.getnframes()) == (2, 16_000, 800)
            got = np.frombuffer(file.readframes(800), "<i2").reshape(-1, 2).T / 32767
        assert np.abs(got - wanted).max() < 1e-3

    def test_integers_are_taken_as_they_are_and_others_refused(self) -> None:
        samples = np.array([1, -2, 3], np.int16)
        assert Audio.from_ndarray(samples, 8000).data[-6:] == samples.tobytes()
        with pytest.raises(ValueError, match="or int16"):
            Audio.from_ndarray(np.array([1, 2], np.int32), 8000)

    def test_a_sound_is_decoded_to_samples(self) -> None:
        tone = (0.5 * np.sin(np.arange(4800) * 0.05)).astype(np.float32)
        samples, rate = Audio.from_ndarray(np.stack([tone, -tone]), 48_000).to_ndarray()
        assert (samples.shape, samples.dtype, rate) == ((2, 4800), np.float32, 48_000)
        assert np.abs(samples[0] - tone).max() < 1e-3
        assert np.abs(samples[1] + tone).max() < 1e-3

    def test_a_clip_is_decoded_to_frames(self) -> None:
        from livepeer.trickle.media import VideoFrame, encode

        pictures = [np.full((64, 96, 3), level, np.uint8) for level in (40, 120, 200)]
        frames = [
            VideoFrame.from_ndarray(picture, format="rgb24", time=Fraction(number, 25))
            for number, picture in enumerate(pictures)
        ]
        clip = Video(encode(frames, None) or b"")
        assert clip.media_type == "video/mp2t"
        found = [frame.to_ndarray("rgb24") for frame in clip.frames()]
        assert [round(picture.mean(), -1) for picture in found] == [40, 120, 200]

    @pytest.mark.parametrize("data", [b"", b"nothing of the kind", bytes(4000)])
    def test_what_is_no_clip_is_a_file_error(self, data: bytes) -> None:
        with pytest.raises(FileError, match="cannot be decoded"):
            list(Video(data).frames())
        with pytest.raises(FileError, match="cannot be decoded"):
            Audio(data).to_ndarray()

    @pytest.mark.parametrize("kind", [Image, Video, Audio])
    @pytest.mark.parametrize(
        "playlist",
        [
            "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{url}\n#EXT-X-ENDLIST\n",
            "ffconcat version 1.0\nfile '{url}'\n",
        ],
        ids=["hls", "concat"],
    )
    def test_a_playlist_opens_nothing(
        self, kind: type[Image | Video | Audio], playlist: str, tmp_path: Path
    ) -> None:
        """A caller's file must not make the decoder read files and URLs that it names."""
        clip = tmp_path / "secret.wav"
        clip.write_bytes(Audio.from_ndarray(np.zeros(800, np.int16), 8000).data)
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.settimeout(0)
            for url in (str(clip), f"http://127.0.0.1:{server.getsockname()[1]}/x.wav"):
                file = kind(playlist.replace("{url}", url).encode(), f"{kind.family}/x-test")
                with pytest.raises(FileError, match=r"cannot be decoded|holds no"):
                    file.to_ndarray() if not isinstance(file, Video) else list(file.frames())
            with pytest.raises(BlockingIOError):
                server.accept()


def test_a_file_within_an_answer_is_taken_back_as_it_came() -> None:
    made = Image.from_ndarray(np.zeros((2, 3, 3), np.uint8))
    assert Image(made.data_uri()) == made
    text = File(b"a,b", "text/csv")
    assert File(text.data_uri()).media_type == "text/csv" and File(text.data_uri()).data == b"a,b"
    with pytest.raises(FileError):
        Image(text.data_uri())
    with pytest.raises(FileError, match="data: URI is written"):
        File("data:image/png;base64")


def test_the_name_of_a_file_in_place_of_the_file_is_told_as_it_has_to_be_written() -> None:
    for given in ("cat.png", "@cat.png"):
        with pytest.raises(FileError, match=r"Path\('cat.png'\), on a command line NAME=@cat.png"):
            content_of(given)
