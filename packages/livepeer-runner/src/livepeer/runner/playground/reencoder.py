"""A result for a page whose decoder keeps pictures back: encoded anew, without a reason to.

Hardware decoders hold pictures back where a stream does not say that they come in order
(`bitstream_restriction` of H.264), which a pipeline that passes pictures on does not control.
"""

from __future__ import annotations

from livepeer.trickle.media import SegmentEncoder, StreamDecoder, VideoFrame, VideoOutput
from livepeer.trickle.media.frame import Item


class Reencoder:
    """MPEG-TS in, packets out, as `StreamDecoder(video="packets")` gives them. Sound is passed on.

    Its calls take milliseconds for each picture: they belong on a thread. Not thread-safe.
    """

    def __init__(self) -> None:
        self._decoder = StreamDecoder(video="decode", audio="packets")
        self._encoder = SegmentEncoder(VideoOutput(codec="libx264"), None)
        self._packets = StreamDecoder(video="packets", audio="drop")

    def feed(self, data: bytes | bytearray | memoryview) -> list[Item]:
        return self._encoded(self._decoder.feed(data))

    def end_segment(self) -> list[Item]:
        return self._encoded(self._decoder.end_segment())

    def discontinuity(self) -> list[Item]:
        return self._encoded(self._decoder.discontinuity())

    def flush(self) -> list[Item]:
        return [*self._encoded(self._decoder.flush()), *self._packets.flush()]

    def _encoded(self, items: list[Item]) -> list[Item]:
        found: list[Item] = []
        for item in items:
            if not isinstance(item, VideoFrame):
                found.append(item)
                continue
            for piece in self._encoder.encode(item):
                if piece.new_segment:
                    found += self._packets.end_segment()
                found += self._packets.feed(piece.data)
        return found
