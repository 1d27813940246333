"""The pipelines of the browser's tests, each for one kind of view."""

# ruff: noqa: B006, B008 (defaults as an author writes them: they are only read)

import time
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Base64Bytes, BaseModel, Field

from livepeer.runner import File, Image, LivePipeline, Pipeline, VideoFrame
from livepeer.runner.errors import InvalidInput


class Look(BaseModel):
    mirror: bool = False
    strength: float = Field(1.0, ge=0, le=1)


class TintParams(BaseModel):
    u: int = Field(128, ge=0, le=255, description="0 is yellow, 255 blue.")
    v: int = Field(128, ge=0, le=255)
    name: str = "tint"
    mode: Literal["both", "none"] = "both"
    look: Look = Look()


class Tint(LivePipeline):
    """One colour over a live video."""

    params: TintParams
    capacity = 2
    thread_safe = True

    def on_stream_start(self, params: TintParams) -> None:
        self.count = 0
        self.emit_event({"type": "tinting", "u": params.u})

    def process_video(self, frame: VideoFrame) -> VideoFrame:
        self.count += 1
        if self.count % 30 == 1:
            self.emit_data({"picture": self.count, "name": self.params.name})
        if self.params.mode == "both":
            _, u, v = frame.planes
            u[:], v[:] = self.params.u, self.params.v
        return frame


class Circle(BaseModel):
    kind: Literal["circle"] = "circle"
    radius: float = Field(1, ge=0, le=10)


class Square(BaseModel):
    kind: Literal["square"] = "square"
    side: int = 1


class Style(BaseModel):
    bold: bool = False
    width: int = Field(2, ge=1, le=20)


class Told(BaseModel):
    given: str
    picture: Image | None
    rows: list[Style]


class Forms(Pipeline):
    """Say what was given."""

    def predict(
        self,
        text: Annotated[str, Field(max_length=400)] = "a text",
        line: Annotated[str, Field(max_length=40)] = "a line",
        secret: Annotated[str, Field(json_schema_extra={"format": "password"})] = "",
        number: int = 7,
        share: Annotated[float, Field(ge=0, le=1)] = 0.5,
        on: bool = True,
        few: Literal["one", "two"] = "one",
        many: Literal["a", "b", "c", "d", "e", "f"] = "a",
        shape: Circle | Square = Circle(),
        style: Style = Style(),
        tags: list[str] = ["x"],
        scores: dict[str, int] = {"a": 1},
        seed: int | None = None,
        image: Image | None = None,
        raw: Base64Bytes | None = None,
    ) -> Told:
        if text == "bad":
            raise InvalidInput("there is no bad text", field="text")
        given = {
            "text": text,
            "line": line,
            "secret": secret,
            "number": number,
            "share": share,
            "on": on,
            "few": few,
            "many": many,
            "shape": shape.model_dump(),
            "style": style.model_dump(),
            "tags": tags,
            "scores": scores,
            "seed": seed,
            "image": None if image is None else len(image.data),
            "raw": None if raw is None else raw.decode(),
        }
        return Told(given=repr(given), picture=image, rows=[style, style])


class Spell(Pipeline):
    """A word, letter by letter."""

    def predict(self, word: str = "hello") -> Iterator[str]:
        for i, letter in enumerate(word):
            self.progress(i / len(word), f"letter {i}")
            time.sleep(0.02)
            yield letter


class Hum(Pipeline):
    """A file of sound."""

    def predict(self, seconds: Annotated[float, Field(ge=0.1, le=2)] = 0.2) -> File:
        head = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x80\x3e\0\0\2\0\x10\0data"
        count = int(8000 * seconds) * 2
        return File(head + count.to_bytes(4, "little") + bytes(count), media_type="audio/wav")
