"""What the start codes of video say: where a picture begins, and where a decoder can start.

Rec. ITU-T H.264 §7.4.1.2.3, H.265 §7.4.2.4.4, H.262 (MPEG-2) §6.2, ISO/IEC 14496-2 (MPEG-4) §6.2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

START_CODE = re.compile(b"\0\0\1")
_EXTENDED = 48
"""Where the extension of an MPEG-2 picture ends at the latest, in bytes from its start code on."""
_SEQUENCE = b"\0\0\1\xb3"
"""Starts the sequence header of MPEG-1 and MPEG-2, which says the size."""

TO_THE_END = 1 << 30
"""All bytes up to the next start code."""


class Role:
    """What a start code is. Plain numbers: every one of every picture is compared with them."""

    NONE = 0
    DELIMITS = 1
    """The first of what belongs to a picture, always."""
    OPENS = 2
    """Stands before a picture and belongs to it: parameter sets, a header of a group."""
    OPENS_KEY = 3
    """The same, and a decoder can start at that picture."""
    FIRST = 4
    """The first part of a picture."""
    FIRST_KEY = 5
    MORE = 6
    """Another part of the same picture."""


class Syntax:
    """What the start codes of one codec say. This one knows none: other codecs derive from it."""

    zero_byte = False
    """A zero before a start code belongs to it. In MPEG-2 it may be the end of what is before."""

    def role(self, data: bytes | bytearray, at: int) -> int:
        """What the start code at `at` is, all of them in the order of the stream."""
        return Role.NONE

    def look(self, kind: int) -> int:
        """Bytes from a start code of `kind`, its fourth byte, that `role` has to see."""
        return 4

    def reset(self) -> None:
        """Something is missing from here on."""

    @staticmethod
    def parameter_sets(data: bytes) -> bytes:
        """The bytes of a keyframe that say the picture's size, to see whether they changed."""
        at = data.find(_SEQUENCE)
        return data[at : at + 12] if at >= 0 else b""

    @staticmethod
    def stands_alone(data: bytes) -> bool:
        """Whether a keyframe brings all that a decoder has to know before it."""
        return _SEQUENCE in data

    @staticmethod
    def size(data: bytes) -> tuple[int, int]:
        """Width and height of a keyframe in pixels; 0 where its decoder remembers them itself."""
        return 0, 0

    @staticmethod
    def delimited(data: bytes) -> bytes:
        """A picture with the delimiter before it that MPEG-TS asks for, if it asks for one."""
        return data


class H264(Syntax):
    zero_byte = True

    def role(self, data: bytes | bytearray, at: int) -> int:
        if at + 4 >= len(data):
            return Role.NONE
        kind = data[at + 3] & 0x1F
        if kind in (1, 2, 5):
            if not data[at + 4] & 0x80:
                return Role.MORE
            return Role.FIRST_KEY if kind == 5 else Role.FIRST
        if kind == 6:
            return Role.OPENS_KEY if _is_recovery_point(data, at + 4) else Role.OPENS
        if kind == 9:
            return Role.DELIMITS
        return Role.OPENS if kind in (7, 8) else Role.NONE

    def look(self, kind: int) -> int:
        return TO_THE_END if kind & 0x1F == 6 else 5

    @staticmethod
    def parameter_sets(data: bytes) -> bytes:
        return _unit(data, 0x1F, 7)

    @staticmethod
    def stands_alone(data: bytes) -> bool:
        return {7, 8} <= {head & 0x1F for head in _heads(data)}

    @staticmethod
    def delimited(data: bytes) -> bytes:
        return _delimited(data, 0x1F, 9, b"\x09\xf0")


class Hevc(Syntax):
    zero_byte = True

    def role(self, data: bytes | bytearray, at: int) -> int:
        if at + 4 >= len(data):
            return Role.NONE
        kind = data[at + 3] >> 1 & 0x3F
        if kind < 32:
            if at + 5 >= len(data) or not data[at + 5] & 0x80:
                return Role.MORE
            return Role.FIRST_KEY if 16 <= kind <= 21 else Role.FIRST
        if kind == 35:
            return Role.DELIMITS
        return Role.OPENS if 32 <= kind <= 34 or kind == 39 else Role.NONE

    def look(self, kind: int) -> int:
        return 6

    @staticmethod
    def parameter_sets(data: bytes) -> bytes:
        return _unit(data, 0x7E, 33 << 1)

    @staticmethod
    def stands_alone(data: bytes) -> bool:
        return {32, 33, 34} <= {head >> 1 & 0x3F for head in _heads(data)}

    @staticmethod
    def delimited(data: bytes) -> bytes:
        return _delimited(data, 0x7E, 0x46, b"\x46\1\x50")


class Mpeg2(Syntax):
    """MPEG-1 and MPEG-2; two fields are one picture here, as they are for their decoder."""

    def __init__(self) -> None:
        self._half = False

    def role(self, data: bytes | bytearray, at: int) -> int:
        if at + 3 >= len(data):
            return Role.NONE
        kind = data[at + 3]
        if kind == 0x00:
            return self._picture(data, at)
        if kind == 0xB3:
            return Role.OPENS_KEY
        if kind == 0xB8:
            return Role.OPENS
        return Role.MORE if kind <= 0xAF else Role.NONE

    def _picture(self, data: bytes | bytearray, at: int) -> int:
        extension = data.find(b"\0\0\1\xb5", at + 8, at + _EXTENDED)
        frame = True
        if 0 <= extension < len(data) - 6 and data[extension + 4] >> 4 == 8:
            frame = data[extension + 6] & 0x03 in (0, 3)
        if not frame and self._half:
            self._half = False
            return Role.MORE
        self._half = not frame
        return Role.FIRST

    def look(self, kind: int) -> int:
        return 4 if kind else _EXTENDED

    def reset(self) -> None:
        self._half = False

    @staticmethod
    def size(data: bytes) -> tuple[int, int]:
        at = data.find(_SEQUENCE)
        if not 0 <= at < len(data) - 7:
            return 0, 0
        return data[at + 4] << 4 | data[at + 5] >> 4, (data[at + 5] & 0x0F) << 8 | data[at + 6]


class Mpeg4(Syntax):
    def role(self, data: bytes | bytearray, at: int) -> int:
        if at + 4 >= len(data):
            return Role.NONE
        kind = data[at + 3]
        if kind == 0xB6:
            return Role.FIRST if data[at + 4] >> 6 else Role.FIRST_KEY
        return Role.OPENS if kind < 0x30 or kind in (0xB0, 0xB3, 0xB5) else Role.NONE

    def look(self, kind: int) -> int:
        return 5

    @staticmethod
    def stands_alone(data: bytes) -> bool:
        return any(0x20 <= head < 0x30 for head in _heads(data))


@dataclass(slots=True)
class Found:
    """Where pictures start in some data, what stands before them included, and what is around."""

    starts: list[int]
    keys: list[bool]
    tail: int | None
    """What stands before the next picture begins here, behind the last one."""
    from_start: bool
    """The data begins with a start, but for zeros that fill."""

    @property
    def whole(self) -> bool:
        """One picture or several, and nothing else."""
        return bool(self.starts) and self.from_start and self.tail is None


def find_pictures(syntax: Syntax, data: bytes) -> Found:
    starts: list[int] = []
    keys: list[bool] = []
    front: int | None = None
    key = False
    # Every byte of every picture is looked at here; this is twice as fast as bytes.find().
    for code in START_CODE.finditer(data, 0, max(0, len(data) - 1)):
        at = code.start()
        role = syntax.role(data, at)
        if role == Role.NONE:
            continue
        begin = beginning(syntax, data, at)
        if role <= Role.OPENS_KEY:
            key |= role == Role.OPENS_KEY
            if front is None:
                front = begin
            continue
        if role != Role.MORE:
            starts.append(begin if front is None else front)
            keys.append(key or role == Role.FIRST_KEY)
            key = False
        elif front is not None and not starts:
            # Parameter sets, then the middle of a picture: its first part was lost.
            starts.append(front)
            keys.append(False)
        front = None
    first = starts[0] if starts else front
    from_start = first is not None and not data[:first].strip(b"\0")
    return Found(starts, keys, front, from_start)


def beginning(syntax: Syntax, data: bytes | bytearray, at: int) -> int:
    """Where the start code at `at` begins, with the zero that may stand before it."""
    return at - 1 if syntax.zero_byte and at and data[at - 1] == 0 else at


def _is_recovery_point(data: bytes | bytearray, at: int) -> bool:
    """Whether the SEI messages at `at` have one of type 6 (Rec. ITU-T H.264 §D.1)."""
    for _ in range(8):
        if at + 1 >= len(data) or data[at] == 0x80:
            return False
        kind, size = data[at], data[at + 1]
        if kind == 6:
            return True
        if 0xFF in (kind, size):
            return False
        at += 2 + size
    return False


def _heads(data: bytes) -> set[int]:
    """The bytes that follow start codes."""
    return {data[code.end()] for code in START_CODE.finditer(data, 0, max(0, len(data) - 1))}


def _unit(data: bytes, mask: int, wanted: int) -> bytes:
    """The first unit whose head under `mask` is `wanted`, from its start code to the next one."""
    at = data.find(b"\0\0\1")
    while at >= 0 and at + 3 < len(data):
        after = data.find(b"\0\0\1", at + 3)
        if data[at + 3] & mask == wanted:
            return data[at : after if after >= 0 else len(data)]
        at = after
    return b""


def _delimited(data: bytes, mask: int, present: int, delimiter: bytes) -> bytes:
    """An Annex B picture with its access unit delimiter (ISO/IEC 13818-1 §2.14.1)."""
    start = 4 if data[:4] == b"\0\0\0\1" else 3
    if data[start : start + 1] and data[start] & mask == present:
        return data
    return b"\0\0\0\1" + delimiter + data
