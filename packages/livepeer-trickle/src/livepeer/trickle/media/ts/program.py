"""Which tracks the tables of a stream name, and whether news of them can wait."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from livepeer.trickle.media.ts.muxer import TransportStreamMuxer, TsTrack

Kind = Literal["video", "audio"]


class Program:
    """The tracks that came, and those that are expected, in the tables of a muxer."""

    def __init__(self, muxer: TransportStreamMuxer, expect: Collection[Kind]) -> None:
        self._muxer = muxer
        self._expected: dict[Kind, TsTrack | None] = {}
        for kind in expect:
            self.expect(kind, None)
        self.sound: TsTrack | None = None
        """The sound that came last."""

    def expect(self, kind: Kind, track: TsTrack | None) -> None:
        """A track will come; `None`: the one that is encoded here."""
        if kind not in ("video", "audio"):
            raise ValueError(f"expect {kind!r}: name 'video' or 'audio', or both in a collection")
        self._expected[kind] = track

    def is_news(self, track: TsTrack) -> bool:
        """Whether a segment with tables as they are cannot hold `track`."""
        for told in self._muxer.tracks:
            if told.kind == track.kind and told.codec == track.codec:
                # Packets of Opus say themselves whether they are mono, whatever was told (RFC
                # 7845, 5.1), so the next segment that begins anyway is early enough.
                return told != track and max(told.channels, track.channels) > 2
        return True

    def update_sound(self, *, came: bool, made: TsTrack) -> None:
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


def ts_track(kind: Kind, codec: str, channels: int) -> TsTrack:
    """Channels are told in the tables for Opus alone: for others a change of them is no news."""
    return TsTrack(kind, codec, channels) if codec == "opus" and channels else TsTrack(kind, codec)
