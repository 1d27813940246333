"""PAT and PMT as other muxers write them: long ones, several in a packet, programs side by side."""

from __future__ import annotations

from livepeer.trickle.media.ts.demux import Demuxer
from livepeer.trickle.media.ts.muxer import TransportStreamMuxer, track_of
from livepeer.trickle.media.ts.tables import make_section

H264, AAC, MP2 = 0x1B, 0x0F, 0x03


def pat(*programs: tuple[int, int]) -> bytes:
    body = b"".join(n.to_bytes(2, "big") + (0xE000 | pid).to_bytes(2, "big") for n, pid in programs)
    return make_section(0x00, 1, 0, body)[1:]


def pmt(
    *tracks: tuple[int, int],
    program: int = 1,
    version: int = 0,
    text: bytes = b"",
    current: int = 1,
) -> bytes:
    body = bytes((0xE0 | tracks[0][1] >> 8, tracks[0][1] & 0xFF))
    descriptors = b"".join(bytes((0x42, len(t), *t)) for t in split(text))
    body += (0xF000 | len(descriptors)).to_bytes(2, "big") + descriptors
    for kind, pid in tracks:
        body += bytes((kind, 0xE0 | pid >> 8, pid & 0xFF, 0xF0, 0))
    section = make_section(0x02, program, version, body)[1:]
    if current:
        return section
    later = bytearray(make_section(0x02, program, version, body)[1:-4])
    later[5] &= 0xFE
    return bytes(later) + checksum(bytes(later))


def checksum(section: bytes) -> bytes:
    crc = 0xFFFFFFFF
    for byte in section:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ 0x04C11DB7 if crc & 0x80000000 else crc << 1) & 0xFFFFFFFF
    return crc.to_bytes(4, "big")


def split(text: bytes) -> list[bytes]:
    return [text[at : at + 250] for at in range(0, len(text), 250)]


def packets(pid: int, *parts: tuple[bytes, int | None]) -> bytes:
    """One packet for each part: its payload, and where in it a section begins (None: nowhere)."""
    out = b""
    for counter, (payload, begin) in enumerate(parts):
        head = bytes((0x47, 0x40 * (begin is not None) | pid >> 8, pid & 0xFF, 0x10 | counter))
        body = payload if begin is None else bytes((begin,)) + payload
        assert len(body) <= 184
        out += head + body.ljust(184, b"\xff")
    return out


def kinds(demuxer: Demuxer) -> list[str]:
    return [track.codec for track in demuxer.tracks]


def test_a_table_that_begins_behind_the_end_of_another_and_goes_on_is_read() -> None:
    long = pmt((H264, 0x200), (AAC, 0x201), text=b"x" * 510)
    short = pmt((H264, 0x300), version=1)
    first, middle, end = long[:183], long[183:367], long[367:]
    cut = 183 - len(end)
    assert 0 < cut < len(short), "the end of the long table, and the beginning of the next one"
    demuxer = Demuxer()
    demuxer.feed(packets(0, (pat((1, 0x100)), 0)))
    demuxer.feed(packets(0x100, (first, 0), (middle, None)))
    assert kinds(demuxer) == []
    demuxer.feed(packets(0x100, (end + short[:cut], len(end))))
    assert kinds(demuxer) == ["h264", "aac"]
    demuxer.feed(packets(0x100, (short[cut:], None)))
    assert [track.pid for track in demuxer.tracks] == [0x300]


def test_several_tables_in_one_packet_are_all_read() -> None:
    demuxer = Demuxer()
    demuxer.feed(packets(0, (pat((1, 0x100)), 0)))
    both = pmt((H264, 0x200), version=0) + pmt((H264, 0x200), (AAC, 0x201), version=1)
    demuxer.feed(packets(0x100, (both, 0)))
    assert kinds(demuxer) == ["h264", "aac"]


def test_programs_that_share_a_pid_for_their_tables_do_not_take_turns() -> None:
    demuxer = Demuxer()
    demuxer.feed(packets(0, (pat((0, 0x10), (7, 0x100), (8, 0x100)), 0)))
    seen = set()
    for _ in range(3):
        for program, audio in ((8, MP2), (7, AAC)):
            demuxer.feed(packets(0x100, (pmt((audio, 0x200), program=program), 0)))
            seen.add(tuple(kinds(demuxer)))
    assert seen == {(), ("aac",)}


def test_a_table_that_is_not_in_force_yet_is_passed_over() -> None:
    demuxer = Demuxer()
    demuxer.feed(packets(0, (pat((1, 0x100)), 0)))
    demuxer.feed(packets(0x100, (pmt((H264, 0x200)), 0)))
    demuxer.feed(packets(0x100, (pmt((AAC, 0x201), version=1, current=0), 0)))
    assert kinds(demuxer) == ["h264"]


def test_a_damaged_table_is_passed_over_and_the_next_one_read() -> None:
    demuxer = Demuxer()
    demuxer.feed(packets(0, (pat((1, 0x100)), 0)))
    broken = bytearray(pmt((H264, 0x200)))
    broken[-1] ^= 1
    demuxer.feed(packets(0x100, (bytes(broken) + pmt((AAC, 0x201)), 0)))
    assert kinds(demuxer) == []
    demuxer.feed(packets(0x100, (pmt((AAC, 0x201)), 0)))
    assert kinds(demuxer) == ["aac"]


def test_our_own_tables_are_read_from_their_first_packets() -> None:
    muxer = TransportStreamMuxer()
    muxer.announce(track_of("video", "h264"))
    muxer.announce(track_of("audio", "opus", 2))
    demuxer = Demuxer()
    demuxer.feed(muxer.tables())
    assert kinds(demuxer) == ["h264", "opus"]
