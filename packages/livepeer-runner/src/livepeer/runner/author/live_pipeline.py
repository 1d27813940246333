"""`LivePipeline`: the class that an author writes for live video and audio."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from livepeer.runner.author.definition import check, is_count, is_number
from livepeer.runner.author.pipeline import PipelineBase

if TYPE_CHECKING:
    from livepeer.trickle.media import AudioOutput, VideoFrame, VideoOutput

OWN_TYPES = ("status", "stream_ended")
"""A gateway takes the last `status` for the stream's; a client takes `stream_ended` for its end."""
SDK_TYPES = (*OWN_TYPES, "error", "warning")
"""Types of the events that the SDK sends; an author may send the last two as well."""

Post = Callable[[dict[str, Any]], None]
"""Queues a record, from any thread, without waiting. Raises `ValueError` if it is not JSON."""


@dataclass(slots=True)
class BatchItem:
    """One stream's picture in `process_video_batch`."""

    frame: VideoFrame
    params: Any
    """The stream's parameters, of the type that `params: MyParams` names."""
    stream_id: str


class LivePipeline(PipelineBase):
    """A real-time capability: write the hooks that you need, each sync or async.

    | Hook | When |
    | --- | --- |
    | `setup(self)` | once, at the container's start |
    | `warm_up(self)` | once, after it: run the model, so that no first frame is the slowest |
    | `on_stream_start(self, params)` | a stream begins |
    | `process_video(self, frame)` | a picture |
    | `process_audio(self, frame)` | a piece of sound |
    | `process_video_batch(self, items)` | pictures of several streams, on the shared instance |
    | `generate(self)` | a stream without input: an iterator of frames, paced by the SDK |
    | `on_params_update(self, params)` | the caller changed its parameters |
    | `on_control(self, message)` | the caller sent a control message, a dict |
    | `on_stream_stop(self)` | the stream is over, whatever ended it |
    | `teardown(self)` | once, at a graceful stop |

    A processing hook returns a frame, an iterable of frames, or None for no output. A frame is
    taken as it is when the hook returns or yields it: the same one may be drawn on and returned
    again. A track without a hook passes through undecoded, in sync; `passthrough = False` leaves it
    out. A class without a processing hook relays its input byte for byte.

    **Every stream has its own copy of the instance.** Attributes that `setup` assigned are shared;
    those that a hook assigns belong to its stream. Make a stream's own lists and buffers in
    `on_stream_start`. Hooks of one stream never overlap. Hooks of two streams overlap only if they
    are async, or if the class says `thread_safe = True`. A sync hook that runs longer than
    `hook_timeout` ends its stream, and its thread is given up; until then it delays the other
    streams of a class that is not thread-safe.

    `params: MyParams` (a pydantic model) makes the parameters typed: `self.params` is always a
    valid model with the newest values. Without a hint it is a dict.
    """

    description: ClassVar[str] = ""  # this docstring describes no author's class
    realtime: ClassVar[bool] = True
    """Whether pictures are dropped when the hooks are slower than the input; False holds the input
    back instead, and drops none."""
    passthrough: ClassVar[bool] = True
    """Whether tracks without a hook are passed on."""
    output: ClassVar[VideoOutput | None] = None
    """How pictures are encoded; None: the defaults of `VideoOutput`."""
    audio_output: ClassVar[AudioOutput | None] = None
    """How sound is encoded; None: the defaults of `AudioOutput`."""
    hook_timeout: ClassVar[float] = 10.0
    """Seconds that one call of a hook may run."""
    on_error: ClassVar[Literal["pass", "drop"]] = "pass"
    """What happens to a frame whose hook raised: it is passed on as received, or dropped."""
    max_errors: ClassVar[int] = 30
    """Errors of one hook in a row that end the stream."""
    idle_timeout: ClassVar[float] = 60.0
    """Seconds without input and without a keepalive after which the caller has gone; before the
    first of either, 20 at most."""
    max_batch_size: ClassVar[int] = 8
    """Pictures in one call of `process_video_batch`, at most."""
    max_batch_wait_ms: ClassVar[float] = 5.0
    """Milliseconds that a picture may wait for others to fill its batch."""

    params: Any = {}  # noqa: RUF012 — replaced for every stream, never written
    _stream: StreamHandle | None = None

    @classmethod
    def _check_metadata(cls) -> None:
        super()._check_metadata()
        for name in ("hook_timeout", "idle_timeout"):
            check(cls, name, is_number(getattr(cls, name)), "seconds above 0")
        check(cls, "max_errors", is_count(cls.max_errors), "a whole number, 1 or more")
        check(cls, "max_batch_size", is_count(cls.max_batch_size), "a whole number, 1 or more")
        wait = cls.max_batch_wait_ms
        check(cls, "max_batch_wait_ms", is_number(wait, zero=True), "milliseconds, 0 or more")
        check(cls, "on_error", cls.on_error in ("pass", "drop"), "'pass' or 'drop'")

    def warm_up(self) -> Any:
        """Run the model once, after `setup` and before the first stream."""

    @property
    def stream_id(self) -> str:
        """The running stream's id; empty on the shared instance."""
        return self._stream.id if self._stream is not None else ""

    def emit_data(self, record: Mapping[str, Any]) -> Awaitable[None]:
        """Send a JSON record to the caller, on the stream's data channel.

        Works from sync and async hooks alike, awaited or not; a frame never waits for it. If the
        network is slower than the records, the oldest that wait are dropped and counted. Values of
        numpy are sent as numbers and lists; of a `frame.time`, which is exact, write
        `float(frame.time)`. Raises `ValueError`, with the key, for a record that is not JSON, or
        over 64 KiB.
        """
        return self._handle("emit_data").emit_data(dict(record))

    def emit_event(self, event: Mapping[str, Any]) -> Awaitable[None]:
        """Send an event to the caller; `event["type"]` names it. Otherwise like `emit_data`."""
        return self._handle("emit_event").emit_event(dict(event))

    def _handle(self, name: str) -> StreamHandle:
        if self._stream is None:
            raise RuntimeError(f"{name} belongs to a stream: call it from a stream's hook")
        return self._stream


class StreamHandle:
    """What a stream's copy of the pipeline emits through."""

    def __init__(self, id: str, *, post_event: Post, post_data: Post) -> None:
        self.id = id
        self._post_event = post_event
        self._post_data = post_data

    def emit_data(self, record: dict[str, Any]) -> Awaitable[None]:
        self._post_data(record)
        return Done()

    def emit_event(self, event: dict[str, Any]) -> Awaitable[None]:
        if not isinstance(event.get("type"), str) or not event["type"]:
            raise ValueError("an event has a 'type', a text such as 'detection'")
        if event["type"] in OWN_TYPES:
            raise ValueError(
                f"events of type {event['type']!r} are the SDK's own: name it otherwise"
            )
        self._post_event(event)
        return Done()


class Done:
    """Awaitable that is done already: an emit may be awaited or not."""

    def __await__(self) -> Generator[None, None, None]:
        return
        yield


Shared = TypeVar("Shared", bound=LivePipeline)


def copy_for(shared: Shared, stream: StreamHandle, params: Any) -> Shared:
    """A stream's own object: the attributes of `shared`, and its own for what it assigns."""
    copy = object.__new__(type(shared))
    copy.__dict__.update(shared.__dict__)
    copy._stream = stream
    copy.params = params
    return copy
