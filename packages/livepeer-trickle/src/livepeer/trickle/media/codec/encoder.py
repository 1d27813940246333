"""Frames in, segments of MPEG-TS out. Synchronous, one thread."""

from __future__ import annotations

from collections.abc import Collection
from fractions import Fraction

from livepeer.trickle.media.codec.encoder_audio import AudioEncoder
from livepeer.trickle.media.codec.encoder_video import VideoEncoder
from livepeer.trickle.media.codec.outputs import AudioOutput, VideoOutput
from livepeer.trickle.media.frame import AudioFrame, Item, Kind, MediaPacket, VideoFrame
from livepeer.trickle.media.frame.clock import MPEG_TIME_BASE, rescale
from livepeer.trickle.media.ts.codecs import CODECS
from livepeer.trickle.media.ts.muxer import track_of
from livepeer.trickle.media.ts.segments import EncoderStats, Piece, Segmenter
from livepeer.trickle.media.ts.units import EncodedFrame, Track

_H264 = track_of("video", "h264")


class SegmentEncoder:
    """Turns a stream of frames into MPEG-TS, cut into segments at keyframes.

    Takes `VideoFrame`, `AudioFrame` and undecoded `MediaPacket` in any mix of
    one video and one audio track. The bytes of a frame come out with the call that completes it:
    nothing is held back for the other track, so sound lands in the segment that is open when it is
    encoded. Every segment begins with PAT, PMT and a keyframe and can be decoded alone. Timestamps
    are the input's, to the tick of 1/90000 s.

    `video` or `audio` of `None` leaves that track out. Tables name the tracks so far and those
    in `expect`. A track that begins later begins a segment: pictures do not wait for it, sound
    waits for the next picture, half a second at most.
    Not thread-safe.
    """

    def __init__(
        self,
        video: VideoOutput | None = VideoOutput(),  # noqa: B008 — frozen
        audio: AudioOutput | None = AudioOutput(),  # noqa: B008 — frozen
        *,
        expect: Collection[Kind] = (),
    ) -> None:
        for what, output, wanted in (
            ("pictures", video, VideoOutput),
            ("sound", audio, AudioOutput),
        ):
            if output is not None and not isinstance(output, wanted):
                raise TypeError(
                    f"the output of {what} has to be {wanted.__name__}(...) or None, "
                    f"not {type(output).__name__}"
                )
        if video is None and audio is None:
            raise ValueError("nothing to encode: give a VideoOutput, an AudioOutput or both")
        self.video, self.audio = video, audio
        self.stats = EncoderStats()
        self._video = VideoEncoder(video) if video else None
        self._audio = AudioEncoder(audio) if audio else None
        self._segments = Segmenter(
            self.stats,
            gop=round((video.gop_seconds if video else 1.0) * 90_000),
            pictures=video is not None,
            made_sound=self._audio_track if audio else None,
            expect=expect,
        )
        self._last_key = 0
        self._due: Fraction | None = None
        """When the next frame is due that `VideoOutput.fps` allows."""
        self._audio_end = Fraction(0)

    def encode(self, item: Item, time: Fraction | None = None) -> list[Piece]:
        """The bytes that `item` completes, in order; often one piece, sometimes none.

        `time`: seconds, for a frame that has none; else such a frame follows the one before it.

        Raises `TypeError` for anything else, `ValueError` for a packet that MPEG-TS cannot
        carry, `EncoderUnavailable` where a codec does not open.
        """
        self.stats.frames += 1
        self._segments.take_requests()
        if isinstance(item, VideoFrame):
            return self._encode_video(item, time)
        if isinstance(item, AudioFrame):
            return self._encode_audio(item, time)
        if isinstance(item, MediaPacket):
            return self._pass_through(item)
        raise TypeError(
            f"expected a VideoFrame, an AudioFrame or a MediaPacket, not {type(item).__name__}"
        )

    def expect(
        self, kind: Kind, codec: str | None = None, *, channels: int = 0, decoded: bool = False
    ) -> None:
        """Say that a track will come: the next segment names it in its tables.

        Told before the first frame, this keeps the first segment from being cut short as soon as
        there is sound, and spares readers that look for tracks only at the beginning. What has not
        come by the end of that segment is not named any longer, and is news when it comes.
        `codec`: FFmpeg's name, for packets that pass through; else it is what this encoder makes.
        `channels`: of Opus, where they are known. `decoded`: not packets will come, but frames
        that were decoded from `codec`; to be told before the first of them.
        """
        if decoded and self._audio is not None and kind == "audio":
            self._audio.follow(codec, channels)
        self._segments.expect(kind, None if decoded else codec, channels)

    @property
    def tables(self) -> bytes:
        """PAT and PMT as they stand: 376 bytes that name every track so far."""
        return self._segments.tables

    def flush(self) -> list[Piece]:
        """The bytes that the encoders still hold. The next frame begins a new segment."""
        pieces: list[Piece] = []
        if self._video is not None:
            for frame in self._video.flush():
                pieces += self._segments.put_video(frame, _H264)
        if self._audio is not None:
            for frame in self._audio.flush():
                pieces += self._segments.put_audio(frame, self._audio_track())
        return pieces + self._segments.flush()

    def cut(self, *, lost: bool = False) -> None:
        """End this segment: the next begins with the next frame, which becomes a keyframe.

        `lost`: some of it did not reach its readers; the next one tells their demuxers so.
        May be called from any thread.
        """
        self._segments.ask_for_cut(lost=lost)

    def _encode_video(self, frame: VideoFrame, time: Fraction | None) -> list[Piece]:
        if self._video is None:
            self.stats.skipped += 1
            return []
        segments = self._segments
        last = segments.last("video")
        if frame.pts is not None:
            pts = rescale(frame.pts, frame.time_base, MPEG_TIME_BASE)
        elif time is not None:
            pts = round(time * 90_000)
        else:
            pts = 0 if last is None else last + self._video.interval
        if not self._accept("video", pts) or self._is_above_rate(pts):
            return []
        segments.cut_if_due(pts, pts - (pts if last is None else last))
        opened = self._video.opened
        pieces = []
        for unit in self._video.encode(frame, pts, key=segments.cut_wanted):
            if unit.key and opened != self._video.opened:
                # An encoder that opened anew has other parameters: they belong into a new segment.
                segments.cut()
            pieces += segments.put_video(unit, _H264)
        self.stats.reopened = max(0, self._video.opened - 1)
        return pieces

    def _encode_audio(self, frame: AudioFrame, time: Fraction | None) -> list[Piece]:
        if self._audio is None:
            self.stats.skipped += 1
            return []
        if frame.pts is not None:
            time = frame.time
        elif time is None:
            time = self._audio_end
        came = self._segments.accept("audio", round(time * 90_000))
        if came == "late":
            return []
        self._audio_end = time + frame.duration
        pieces = []
        for unit in self._audio.encode(frame, time, restarts=came == "restart"):
            # Of sound that begins at 0, the codec's run-in would lie before the clock's zero.
            if unit.pts >= 0:
                pieces += self._segments.put_audio(unit, self._audio_track())
        return pieces

    def _pass_through(self, packet: MediaPacket) -> list[Piece]:
        if (self.video if packet.kind == "video" else self.audio) is None:
            self.stats.skipped += 1
            return []
        segments, parameters = self._segments, packet.parameters
        pts = rescale(packet.pts, packet.time_base, MPEG_TIME_BASE)
        dts = rescale(packet.dts, packet.time_base, MPEG_TIME_BASE)
        track = track_of(packet.kind, parameters.codec, parameters.channels)
        segments.check(track)
        if not self._accept(packet.kind, dts):
            return []
        if packet.kind == "audio":
            unit = EncodedFrame(packet.data, pts, dts, packet.is_keyframe)
            return segments.put_audio(unit, track)
        if packet.is_keyframe:
            segments.cut_if_due(dts, dts - self._last_key)
            self._last_key = dts
        elif segments.blocked:
            self.stats.skipped += 1
            return []
        data = CODECS[track.codec].syntax.delimited(packet.data)
        return segments.put_video(EncodedFrame(data, pts, dts, packet.is_keyframe), track)

    def _accept(self, kind: Kind, ticks: int) -> bool:
        """Whether a frame of this time goes on, on this timeline or a new one."""
        came = self._segments.accept(kind, ticks)
        if came == "restart" and kind == "video":
            self._due = None
        return came != "late"

    def _is_above_rate(self, pts: int) -> bool:
        """Whether this frame is one too many for `VideoOutput.fps`."""
        if self.video is None or self.video.fps is None:
            return False
        interval = Fraction(90_000) / Fraction(self.video.fps)
        if self._due is None:
            self._due = Fraction(pts)
        if pts < self._due - interval / 8:
            self.stats.skipped += 1
            return True
        self._due = max(self._due + interval, pts + interval / 2)
        return False

    def _audio_track(self) -> Track:
        assert self._audio is not None
        return track_of("audio", self._audio.codec, self._audio.channels)
