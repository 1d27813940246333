"""Encoded frames to segments of MPEG-TS: where one ends, which tracks its tables name."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal, NamedTuple

from livepeer.trickle.media.frame.packets import Kind
from livepeer.trickle.media.ts.muxer import TransportStreamMuxer, track_of
from livepeer.trickle.media.ts.units import EncodedFrame, Track

NEW_TIMELINE = 90_000
"""A frame this much older than the one before it (or more) begins a new timeline; less is late."""

PATIENCE = 45_000
"""Sound waits this long for the first picture, so that a segment begins with both."""


class Piece(NamedTuple):
    """Bytes to be sent now. `new_segment`: they are the first ones of the next segment."""

    data: bytes
    new_segment: bool


@dataclass(slots=True)
class EncoderStats:
    """Counts since the encoder was made."""

    frames: int = 0
    """Frames and packets taken in."""
    encoded: int = 0
    """Encoded frames put out, passed-through packets included."""
    segments: int = 0
    late: int = 0
    """Left out: not later than the one before it of its track."""
    skipped: int = 0
    """Left out: above the frame rate asked for, of a track that is off, or before a keyframe."""
    timelines: int = 0
    """Times that the clock of the input jumped back."""
    reopened: int = 0
    """Times that the video encoder was opened anew because the input changed."""


class Segmenter:
    """Puts the encoded frames of one video and one audio track into segments.

    Each begins with PAT, PMT and a keyframe; without pictures, with sound. Nothing is held back
    but sound for its first picture, `PATIENCE` at most. All times are ticks of 1/90000 s.
    """

    def __init__(
        self,
        stats: EncoderStats,
        *,
        gop: int,
        pictures: bool,
        made_sound: Callable[[], Track] | None,
        expect: Collection[Kind] = (),
    ) -> None:
        """`gop`: how long a segment is, at least. `pictures`: there may be some.

        `made_sound` tells the track of sound that is encoded here; `None` where there is none.
        """
        self._stats = stats
        self._gop = gop
        self._pictures = pictures
        self._made_sound = made_sound
        self._muxer = TransportStreamMuxer()
        self._program = Program(self._muxer)
        for kind in expect:
            self._program.expect(kind, None)
        self._last: dict[Kind, int] = {}
        """The time of the newest frame of each track."""
        self._broken: set[Kind] = set()
        """Tracks whose next frame has to say that something is missing before it."""
        self._begun: int | None = None
        self._cut = self._blocked = True
        self._asked = self._asked_lost = False
        self._early: list[tuple[EncodedFrame, Track]] = []

    @property
    def cut_wanted(self) -> bool:
        """The next picture begins a segment, if it is a keyframe."""
        return self._cut

    @property
    def blocked(self) -> bool:
        """Pictures that need an earlier one are of no use: that one went into no segment."""
        return self._blocked

    @property
    def tables(self) -> bytes:
        """PAT and PMT as they stand."""
        return self._muxer.tables()

    def last(self, kind: Kind) -> int | None:
        """The time of the newest frame of a track."""
        return self._last.get(kind)

    def check(self, track: Track) -> None:
        """Raise `ValueError` for a codec that MPEG-TS has no place for."""
        self._muxer.check(track)

    def expect(self, kind: Kind, codec: str | None, channels: int) -> None:
        """A track will come; without a codec, the one that is encoded here."""
        if codec is None:
            self._program.expect(kind, None)
        elif self._muxer.carries(codec):
            self._program.expect(kind, track_of(kind, codec, channels))

    def ask_for_cut(self, *, lost: bool) -> None:
        """From any thread: cut before the next frame. `lost`: some did not reach its readers."""
        # Only asked for here: what the encoder's thread is at must not undo it.
        self._asked_lost |= lost
        self._asked = True

    def take_requests(self) -> None:
        """A frame comes: do what was asked for."""
        if not self._asked:
            return
        self._asked = False
        self._cut = self._blocked = True
        if self._asked_lost:
            self._asked_lost = False
            self._broken |= {"video", "audio"}

    def accept(self, kind: Kind, ticks: int) -> Literal["next", "late", "restart"]:
        """Where a frame of this time stands; a jump back of a second begins a new timeline."""
        last = self._last.get(kind)
        if last is not None and ticks <= last:
            if last - ticks < NEW_TIMELINE:
                self._stats.late += 1
                return "late"
            self._broken.add(kind)
            if kind == "video":
                self._stats.timelines += 1
                self._cut = self._blocked = True
        self._last[kind] = ticks
        return "next" if last is None or ticks > last else "restart"

    def cut(self) -> None:
        """Begin a segment with the next keyframe."""
        self._cut = True

    def cut_if_due(self, ticks: int, distance: int) -> None:
        """The same where a segment is long enough; cuts are possible every `distance` ticks."""
        self._cut |= self._is_due(ticks, distance)

    def put_video(self, frame: EncodedFrame, track: Track) -> list[Piece]:
        """A picture, and the sound that waited for it."""
        if not (frame.key and self._cut):
            return [self._piece(frame, track, tables=self._muxer.announce(track))]
        for _, sound in self._early:
            self._muxer.announce(sound)
        if self._made_sound is not None and not self._early:
            self._program.update_sound(came="audio" in self._last, made=self._made_sound())
        self._muxer.announce(track)
        return [self._piece(frame, track, new=True), *self._release_early()]

    def put_audio(self, frame: EncodedFrame, track: Track) -> list[Piece]:
        """Sound; none while it waits for a picture, which gives it out."""
        seen = self._last.get("video")
        self._program.sound = track
        # Pictures decide where a segment ends, as long as there are any.
        alone = not self._pictures or (seen is not None and frame.pts - seen >= 2 * self._gop)
        if not alone and (self._begun is None or self._program.is_news(track)):
            self._early.append((frame, track))
            # With pictures, the news come with a segment of their own.
            self._cut |= seen is not None
            waited = frame.pts - self._early[0][0].pts
            return self._release_early() if waited >= PATIENCE else []
        alone |= seen is None
        new = self._begun is None or (alone and (self._cut or self._is_due(frame.pts)))
        news = (new or self._program.is_news(track)) and self._muxer.announce(track)
        return [self._piece(frame, track, new=new, tables=news)]

    def flush(self) -> list[Piece]:
        """The sound that still waits; what follows begins a new segment."""
        pieces = self._release_early()
        self._cut = True
        return pieces

    def _is_due(self, ticks: int, distance: int = 0) -> bool:
        return self._begun is None or ticks - self._begun >= self._gop - distance // 2

    def _release_early(self) -> list[Piece]:
        """The sound that waited for a picture: behind it, or without it."""
        early, self._early = self._early, []
        pieces = []
        for frame, track in early:
            news = self._muxer.announce(track)
            pieces.append(self._piece(frame, track, new=self._begun is None, tables=news))
        return pieces

    def _piece(
        self, frame: EncodedFrame, track: Track, *, new: bool = False, tables: bool = False
    ) -> Piece:
        kind = track.kind
        if new:
            self._begun = frame.dts
            # A picture that comes back into a segment of sound has to begin one of its own.
            self._cut = self._blocked = kind == "audio" and "video" in self._last
            self._stats.segments += 1
        data = self._muxer.access_unit(
            kind,
            frame.data,
            frame.pts,
            frame.dts,
            random_access=frame.key and (kind == "video" or new),
            discontinuity=kind in self._broken,
        )
        self._broken.discard(kind)
        self._stats.encoded += 1
        return Piece(self._muxer.tables() + data if new or tables else data, new)


class Program:
    """The tracks that came, and those that are expected, in the tables of a muxer."""

    def __init__(self, muxer: TransportStreamMuxer) -> None:
        self._muxer = muxer
        self._expected: dict[Kind, Track | None] = {}
        self.sound: Track | None = None
        """The sound that came last."""

    def expect(self, kind: Kind, track: Track | None) -> None:
        """A track will come; `None`: the one that is encoded here."""
        if kind not in ("video", "audio"):
            raise ValueError(f"expect {kind!r}: name 'video' or 'audio', or both in a collection")
        self._expected[kind] = track

    def is_news(self, track: Track) -> bool:
        """Whether a segment with tables as they are cannot hold `track`."""
        for told in self._muxer.tracks:
            if told.kind == track.kind and told.codec == track.codec:
                # Packets of Opus say themselves whether they are mono, whatever was told (RFC
                # 7845, 5.1), so the next segment that begins anyway is early enough.
                return told != track and max(told.channels, track.channels) > 2
        return True

    def update_sound(self, *, came: bool, made: Track) -> None:
        """A segment begins with a picture: name its sound, if there is any.

        `came`: there was sound before. `made`: the track that is encoded here.
        """
        if any(track.kind == "audio" for track in self._muxer.tracks):
            if not came:
                self._expected.pop("audio", None)
                self._muxer.withdraw("audio")
            elif self.sound is not None:
                self._muxer.announce(self.sound)
        elif came or "audio" in self._expected:
            self._muxer.announce(self._expected.get("audio") or made)
