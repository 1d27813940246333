"""A stream of MPEG-TS segments to frames: synchronous, without waiting, one thread at a time."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Literal

from livepeer.trickle.media.codec import gpu
from livepeer.trickle.media.codec.decoder_audio import AudioDecoder
from livepeer.trickle.media.codec.decoder_packets import PacketTrack
from livepeer.trickle.media.codec.decoder_video import VideoDecoder
from livepeer.trickle.media.codec.track_decoder import DecoderStats, TrackDecoder
from livepeer.trickle.media.frame import Item
from livepeer.trickle.media.frame.clock import Time, exact
from livepeer.trickle.media.frame.interleave import Interleaver
from livepeer.trickle.media.ts.demux import Demuxer
from livepeer.trickle.media.ts.timeline import Timeline
from livepeer.trickle.media.ts.units import ElementaryPacket, Track

Mode = Literal["decode", "packets", "drop"]


class StreamDecoder:
    """Feed the bytes of consecutive segments; each call returns the frames that became ready.

    `video`, `audio`: `decode` gives `VideoFrame` and `AudioFrame`; `packets`
    gives `MediaPacket`, undecoded, on the same timeline; `drop` leaves the track out.
    `device`: `"cuda"` or `"cuda:N"` decodes on that GPU, where the pictures stay; what the GPU
    cannot decode is decoded on the CPU. `None` and `"cpu"` mean the CPU.
    `threads`: slice threads for video; by default four, or one where there is one core.
    `max_pixels`: width times height of the largest picture that is decoded, by default 4096×2304;
    larger ones are left out.
    `max_hold`: seconds of media that a frame may be held back to put the tracks into one order of
    presentation. The default is 0: each track is in order, and tracks come as they were muxed.
    No frame is held for a track that has not begun.

    Broken input raises nothing: it is counted in `stats`, and decoding goes on at the next
    keyframe. A stream of larger pictures than `max_pixels` raises
    `livepeer.trickle.exceptions.PictureTooLarge`.
    Calls never block. Not thread-safe: one owner, on any thread.
    """

    def __init__(
        self,
        *,
        video: Mode = "decode",
        audio: Mode = "decode",
        device: str | None = None,
        threads: int | None = None,
        max_pixels: int | None = None,
        max_hold: Time = 0,
    ) -> None:
        for kind, mode in (("video", video), ("audio", audio)):
            if mode not in ("decode", "packets", "drop"):
                raise ValueError(f"{kind} {mode!r}: expected 'decode', 'packets' or 'drop'")
        if threads is not None and threads < 1:
            raise ValueError(f"threads {threads!r}: expected 1 or more")
        if max_pixels is not None and max_pixels < 1:
            raise ValueError(f"max_pixels {max_pixels!r}: expected 1 or more")
        if device == "cpu":
            device = None
        elif device is not None:
            gpu.device_index(device)
        self._modes: dict[str, Mode] = {"video": video, "audio": audio}
        self._device = device
        self._max_pixels = max_pixels
        self._threads = _threads() if threads is None else threads
        self._demuxer = Demuxer()
        self._timeline = Timeline()
        self._decoders: dict[str, TrackDecoder] = {}
        hold = exact(max_hold)
        if hold < 0:
            raise ValueError(f"max_hold {max_hold!r}: expected seconds from 0")
        self._interleaver = Interleaver(hold) if hold > 0 else None
        self._stats = DecoderStats()

    @property
    def stats(self) -> DecoderStats:
        """Live counters of this stream."""
        stats, demuxed = self._stats, self._demuxer.stats
        stats.bytes = demuxed.bytes
        stats.lost_packets = demuxed.lost_packets
        stats.clock_restarts = self._timeline.restarts
        return stats

    @property
    def tracks(self) -> tuple[Track, ...]:
        """The tracks that the stream has announced; empty before its first bytes."""
        return self._demuxer.tracks

    @property
    def too_large(self) -> tuple[int, int] | None:
        """Width and height of the pictures that come now, where `max_pixels` refuses them."""
        decoder = self._decoders.get("video")
        return decoder.too_large if isinstance(decoder, VideoDecoder) else None

    def feed(self, data: bytes | bytearray | memoryview) -> list[Item]:
        """Bytes of the current segment, cut anywhere."""
        return self._ordered(self._packets(self._demuxer.feed(data)))

    def end_segment(self) -> list[Item]:
        """The segment is over: what it ends is complete."""
        return self._ordered(self._packets(self._demuxer.end_segment()))

    def discontinuity(self) -> list[Item]:
        """Bytes or segments were lost here: give what is whole, and resync at a keyframe."""
        self._stats.discontinuities += 1
        self._demuxer.discontinuity()
        out: list[Item] = []
        for decoder in self._decoders.values():
            out += decoder.lose()
        return self._ordered(out)

    def flush(self) -> list[Item]:
        """The stream is over: everything that is still inside. Feeding may go on afterwards."""
        out = self._packets(self._demuxer.flush())
        for decoder in self._decoders.values():
            out += decoder.flush()
        self._decoders.clear()
        out = self._ordered(out)
        if self._interleaver is not None:
            out += self._interleaver.flush()
        return out

    def _packets(self, packets: Iterable[ElementaryPacket]) -> list[Item]:
        out: list[Item] = []
        for packet in packets:
            kind = packet.track.kind
            if self._modes[kind] == "drop":
                continue
            decoder = self._decoders.get(kind)
            if decoder is None or decoder.track is not packet.track:
                if decoder is not None:
                    self._stats.track_changes += 1
                    out += decoder.flush()
                decoder = self._decoders[kind] = self._open(packet.track)
            out += decoder.push(packet)
        return out

    def _open(self, track: Track) -> TrackDecoder:
        if self._modes[track.kind] == "packets":
            return PacketTrack(track, self._timeline, self._stats)
        if track.kind == "audio":
            return AudioDecoder(track, self._timeline, self._stats)
        return VideoDecoder(
            track,
            self._timeline,
            self._stats,
            device=self._device,
            threads=self._threads,
            max_pixels=self._max_pixels,
        )

    def _ordered(self, items: list[Item]) -> list[Item]:
        if self._interleaver is None:
            return items
        return self._interleaver.add(items, tracks=len(self._decoders))


def _threads() -> int:
    # More than two cores could use: of two, the second often begins only when the first is done,
    # of four seldom (`benchmarks/RESULTS.md`, e2e).
    return 1 if os.cpu_count() == 1 else 4
