"""Frames in, segments of MPEG-TS out: tracks, keyframes and cuts. Synchronous, one thread."""

from __future__ import annotations

from collections.abc import Collection
from fractions import Fraction

from livepeer.trickle.media.codec.encoder_audio import AudioEncoder
from livepeer.trickle.media.codec.encoder_video import AccessUnit, EncoderUnavailable, VideoEncoder
from livepeer.trickle.media.codec.outputs import AudioOutput, VideoOutput
from livepeer.trickle.media.frame import AudioFrame, Item, MediaPacket, VideoFrame
from livepeer.trickle.media.frame.clock import MPEG_TIME_BASE, rescale
from livepeer.trickle.media.ts.muxer import TransportStreamMuxer, TsTrack, delimited
from livepeer.trickle.media.ts.pieces import EncoderStats, Piece
from livepeer.trickle.media.ts.program import Kind, Program, ts_track

__all__ = ["EncoderStats", "EncoderUnavailable", "Piece", "SegmentEncoder"]

NEW_TIMELINE = 90_000
"""A frame this much older than the one before it (or more) begins a new timeline; less is late."""

PATIENCE = 45_000
"""Sound waits this long for the first picture, so that a segment begins with both."""


class SegmentEncoder:
    """Turns a stream of frames into MPEG-TS, cut into segments at keyframes.

    Takes `VideoFrame`, `AudioFrame` and undecoded `MediaPacket` in any mix of
    one video and one audio track. The bytes of a frame come out with the call that completes it:
    nothing is held back for the other track, so sound lands in the segment that is open when it is
    encoded. Every segment begins with PAT, PMT and a keyframe and can be decoded alone. Timestamps
    are the input's, to the tick of 1/90000 s.

    `video` or `audio` of `None` leaves that track out. Tables name the tracks that came so
    far and those in `expect` (see `expect`); another one begins with a segment of its own,
    for which pictures do not wait but its sound does, half a second at most.
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
        self._muxer = TransportStreamMuxer()
        self._program = Program(self._muxer, expect)
        self._video = VideoEncoder(video) if video else None
        self._audio = AudioEncoder(audio) if audio else None
        self._gop = round((video.gop_seconds if video else 1.0) * 90_000)
        self._last: dict[str, int] = {}
        self._broken: set[str] = set()
        self._begun: int | None = None
        self._last_key = 0
        # A new segment is wanted; and pictures that need an earlier one are of no use.
        self._cut = self._blocked = True
        self._asked = self._asked_lost = False
        self._due: Fraction | None = None
        self._early: list[tuple[AccessUnit, TsTrack]] = []
        self._audio_end = Fraction(0)

    def encode(self, item: Item, time: Fraction | None = None) -> list[Piece]:
        """What `item` brings out, in order; often one piece, sometimes none.

        `time`: seconds, for a frame that has none; else such a frame follows the one before it.

        Raises `TypeError` for anything else, `ValueError` for a packet that MPEG-TS cannot
        carry, `EncoderUnavailable` where a codec does not open.
        """
        self.stats.frames += 1
        self._take_requests()
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
        if codec is None or decoded:
            self._program.expect(kind, None)
        elif self._muxer.carries(codec):
            self._program.expect(kind, ts_track(kind, codec, channels))

    @property
    def tables(self) -> bytes:
        """PAT and PMT as they stand: 376 bytes that name every track so far."""
        return self._muxer.tables()

    def flush(self) -> list[Piece]:
        """What the encoders still hold. More may follow; it begins a new segment."""
        pieces: list[Piece] = []
        if self._video is not None:
            for unit in self._video.flush():
                pieces += self._put_video(unit, _H264)
        if self._audio is not None:
            for unit in self._audio.flush():
                pieces += self._put_audio(unit, self._audio_track())
        pieces += self._release_early()
        self._cut = True
        return pieces

    def cut(self, *, lost: bool = False) -> None:
        """End this segment: the next begins with the next frame, which becomes a keyframe.

        `lost`: some of it did not reach its readers; the next one tells their demuxers so.
        May be called from any thread.
        """
        # Only asked for here: what the encoder's thread is at must not undo it.
        self._asked_lost |= lost
        self._asked = True

    def _take_requests(self) -> None:
        if not self._asked:
            return
        self._asked = False
        self._cut = self._blocked = True
        if self._asked_lost:
            self._asked_lost = False
            self._broken |= {"video", "audio"}

    def _encode_video(self, frame: VideoFrame, time: Fraction | None) -> list[Piece]:
        if self._video is None:
            self.stats.skipped += 1
            return []
        last = self._last.get("video")
        if frame.pts is not None:
            pts = rescale(frame.pts, frame.time_base, MPEG_TIME_BASE)
        elif time is not None:
            pts = round(time * 90_000)
        else:
            pts = 0 if last is None else last + self._video.interval
        if not self._accept("video", pts) or self._is_above_rate(pts):
            return []
        self._cut |= self._is_due(pts, pts - (pts if last is None else last))
        opened = self._video.opened
        pieces = []
        for unit in self._video.encode(frame, pts, key=self._cut):
            # An encoder that opened anew has other parameters: they belong into a new segment.
            self._cut |= unit.key and opened != self._video.opened
            pieces += self._put_video(unit, _H264)
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
        pts, last = round(time * 90_000), self._last.get("audio")
        if not self._accept("audio", pts):
            return []
        self._audio_end = time + frame.duration
        pieces = []
        restarts = last is not None and pts <= last
        for unit in self._audio.encode(frame, time, restarts=restarts):
            # Of sound that begins at 0, the codec's run-in would lie before the clock's zero.
            if unit.pts >= 0:
                pieces += self._put_audio(unit, self._audio_track())
        return pieces

    def _pass_through(self, packet: MediaPacket) -> list[Piece]:
        if (self.video if packet.kind == "video" else self.audio) is None:
            self.stats.skipped += 1
            return []
        pts = rescale(packet.pts, packet.time_base, MPEG_TIME_BASE)
        dts = rescale(packet.dts, packet.time_base, MPEG_TIME_BASE)
        track = ts_track(packet.kind, packet.parameters.codec, packet.parameters.channels)
        self._muxer.check(track)
        if not self._accept(packet.kind, dts):
            return []
        unit = AccessUnit(packet.data, pts, dts, packet.is_keyframe)
        if packet.kind == "audio":
            return self._put_audio(unit, track)
        if packet.is_keyframe:
            self._cut |= self._is_due(dts, dts - self._last_key)
            self._last_key = dts
        elif self._blocked:
            self.stats.skipped += 1
            return []
        return self._put_video(unit._replace(data=delimited(unit.data, track.codec)), track)

    def _accept(self, kind: Kind, pts: int) -> bool:
        """Whether time goes on; a jump back of a second or more begins a new timeline."""
        last = self._last.get(kind)
        if last is not None and pts <= last:
            if last - pts < NEW_TIMELINE:
                self.stats.late += 1
                return False
            self._broken.add(kind)
            if kind == "video":
                self.stats.timelines += 1
                self._cut, self._blocked, self._due = True, True, None
        self._last[kind] = pts
        return True

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

    def _is_due(self, ticks: int, distance: int = 0) -> bool:
        """Whether a cut is due here, where cuts are possible every `distance` ticks."""
        return self._begun is None or ticks - self._begun >= self._gop - distance // 2

    def _audio_track(self) -> TsTrack:
        assert self._audio is not None
        return ts_track("audio", self._audio.codec, self._audio.channels)

    def _put_video(self, unit: AccessUnit, track: TsTrack) -> list[Piece]:
        if not (unit.key and self._cut):
            return [self._piece("video", unit, tables=self._muxer.announce(track))]
        for _, sound in self._early:
            self._muxer.announce(sound)
        if self.audio is not None and not self._early:
            self._program.update_sound(came="audio" in self._last, made=self._audio_track())
        self._muxer.announce(track)
        return [self._piece("video", unit, new=True), *self._release_early()]

    def _put_audio(self, unit: AccessUnit, track: TsTrack) -> list[Piece]:
        seen = self._last.get("video")
        self._program.sound = track
        # Pictures decide where a segment ends, as long as there are any.
        alone = self.video is None or (seen is not None and unit.pts - seen >= 2 * self._gop)
        if not alone and (self._begun is None or self._program.is_news(track)):
            self._early.append((unit, track))
            # With pictures, the news come with a segment of their own.
            self._cut |= seen is not None
            waited = unit.pts - self._early[0][0].pts
            return self._release_early() if waited >= PATIENCE else []
        alone |= seen is None
        new = self._begun is None or (alone and (self._cut or self._is_due(unit.pts)))
        news = (new or self._program.is_news(track)) and self._muxer.announce(track)
        return [self._piece("audio", unit, new=new, tables=news)]

    def _release_early(self) -> list[Piece]:
        """The sound that waited for a picture: behind it, or without it."""
        early, self._early = self._early, []
        pieces = []
        for unit, track in early:
            news = self._muxer.announce(track)
            pieces.append(self._piece("audio", unit, new=self._begun is None, tables=news))
        return pieces

    def _piece(
        self, kind: Kind, unit: AccessUnit, *, new: bool = False, tables: bool = False
    ) -> Piece:
        if new:
            self._begun = unit.dts
            # A picture that comes back into a segment of sound has to begin one of its own.
            self._cut = self._blocked = kind == "audio" and "video" in self._last
            self.stats.segments += 1
        data = self._muxer.access_unit(
            kind,
            unit.data,
            unit.pts,
            unit.dts,
            random_access=unit.key and (kind == "video" or new),
            discontinuity=kind in self._broken,
        )
        self._broken.discard(kind)
        self.stats.encoded += 1
        return Piece(self._muxer.tables() + data if new or tables else data, new)


_H264 = TsTrack("video", "h264")
