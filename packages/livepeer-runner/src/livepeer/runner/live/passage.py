"""A picture's whole way in one worker thread: decoded, through its hook, encoded.

Where nothing else of a stream is under way, changing threads for each of these steps costs a small
picture as much as its hook and half its decoding, and many small streams a sixth of what they take.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from livepeer.runner.live.hooks import as_it_is, listed_unless_async
from livepeer.runner.live.stream import check_frame

if TYPE_CHECKING:
    from livepeer.trickle.media import VideoFrame
    from livepeer.trickle.media.publisher import LentEncoder
    from livepeer.trickle.media.stream.handover import Undecoded


QUICK_SECONDS = 0.005
"""A hook that takes less does not profit from another thread that encodes meanwhile."""


class Passage:
    """Bytes of the input that become one picture, or none yet, and what its hook makes of it.

    `encoder` encodes what the hook makes; None leaves that to the flow. `keep`: `original` is the
    picture as it came, should the hook write into it and then raise.
    """

    def __init__(
        self,
        undecoded: Undecoded,
        hook: Callable[[VideoFrame], Any],
        encoder: LentEncoder | None,
        *,
        keep: bool,
    ) -> None:
        self._undecoded = undecoded
        self._hook = hook
        self._encoder = encoder
        self._keep = keep
        self.frame: VideoFrame | None = None
        """The picture that came; None where the bytes complete none."""
        self.quick = False
        """Whether the hook took no time to speak of."""
        self.original: list[Any] = []
        self.made: Any = []
        """What the hook returned: a list, or what has to be awaited on the loop."""
        self.encoded: list[Exception | None] | None = None
        """For each that it made, what the encoder has against it; None if it was not asked."""

    def run(self) -> None:
        """In a worker thread. Raises what the hook raises."""
        frame = self.frame = self._undecoded.decode()
        if frame is None:
            return
        if self._keep:
            self.original = [as_it_is(frame)]
        begun = time.perf_counter()
        self.made = listed_unless_async(self._hook(frame))
        self.quick = time.perf_counter() - begun < QUICK_SECONDS
        if self._encoder is not None and isinstance(self.made, list):
            self.encoded = [self._encode(self._encoder, one, frame) for one in self.made]

    def send(self) -> None:
        """On the loop: what was encoded leaves."""
        if self._encoder is not None:
            self._encoder.send()

    def _encode(self, encoder: LentEncoder, value: Any, origin: VideoFrame) -> Exception | None:
        try:
            encoder.encode(timed(check_frame(value), origin))
        except Exception as error:  # noqa: BLE001 — counted and told by the flow
            return error
        return None


def timed(frame: Any, origin: Any) -> Any:
    """A frame that was made anew has the time of the one that came in."""
    if frame.pts is None:
        frame.time = origin.time
    return frame
