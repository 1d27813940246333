"""A transport stream without the packets that were sent twice (ISO/IEC 13818-1, 2.4.3.3)."""

from __future__ import annotations

from typing import BinaryIO

from livepeer.trickle.media.ts.units import PACKET_SIZE, SYNC_BYTE

_SYNC = bytes((SYNC_BYTE,))
_NULL = 0x1FFF


def is_transport_stream(head: bytes) -> bool:
    """Whether the first packets, five if there are as many, are those of a transport stream."""
    begins = head[: 5 * PACKET_SIZE : PACKET_SIZE]
    return len(begins) > 1 and begins == _SYNC * len(begins)


class WithoutRepeats:
    """A binary file to read from once: `head` and the rest of `file`, repeats left out.

    libavformat takes a repeat for damage, and with it the picture that it belongs to.
    """

    def __init__(self, head: bytes, file: BinaryIO) -> None:
        self._rest = head
        self._file = file
        self._ready = bytearray()
        self._last: dict[int, bytes] = {}

    def read(self, size: int) -> bytes:
        while len(self._ready) < size:
            chunk = self._file.read(max(size, 64 * 1024))
            if not chunk:
                self._ready += self._taken(self._rest)
                self._ready += self._rest
                self._rest = b""
                break
            self._ready += self._taken(self._rest + chunk)
        data = bytes(self._ready[:size])
        del self._ready[:size]
        return data

    def _taken(self, data: bytes) -> bytearray:
        """The whole packets of `data` but for repeats; what is left over waits."""
        out = bytearray()
        at, end = 0, len(data)
        while at + PACKET_SIZE <= end:
            if data[at] != SYNC_BYTE:
                # Out of step: libavformat finds back by itself.
                start = data.find(_SYNC, at)
                start = end if start < 0 else start
                out += data[at:start]
                at = start
                continue
            packet = data[at : at + PACKET_SIZE]
            at += PACKET_SIZE
            if not self._is_repeat(packet):
                out += packet
        self._rest = data[at:]
        return out

    def _is_repeat(self, packet: bytes) -> bool:
        pid = (packet[1] & 0x1F) << 8 | packet[2]
        if pid == _NULL or not packet[3] & 0x10:
            return False
        # The clock is the one thing in which a repeat may differ (2.4.3.3).
        if packet[3] & 0x20 and packet[4] >= 7 and packet[5] & 0x10:
            packet = packet[:6] + packet[12:]
        repeats = self._last.get(pid) == packet
        self._last[pid] = packet
        return repeats
