"""Decodes mutated transport streams in a process of its own: a crash of libav is seen as one.

Run by test_fuzz.py: ``python fuzz_worker.py CLIP SEED COUNT GOP_TICKS``. Prints one JSON object.
"""

from __future__ import annotations

import json
import random
import resource
import sys
import time
from collections.abc import Callable

import numpy as np

from livepeer.trickle.media.codec.decoder import StreamDecoder
from livepeer.trickle.media.frame import VideoFrame

Packets = list[bytes]


def flip_bits(packets: Packets, at: int, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 8)):
        packet = bytearray(packets[at])
        if packet:
            packet[rng.randrange(len(packet))] ^= 1 << rng.randrange(8)
        packets[at] = bytes(packet)


def overwrite(packets: Packets, at: int, rng: random.Random) -> None:
    start = rng.randrange(188)
    noise = rng.randbytes(rng.randint(1, 188 - start))
    packets[at] = packets[at][:start] + noise + packets[at][start + len(noise) :]


def drop(packets: Packets, at: int, rng: random.Random) -> None:
    for n in range(at, min(len(packets), at + rng.randint(1, 4))):
        packets[n] = b""


def double(packets: Packets, at: int, rng: random.Random) -> None:
    packets[at] *= rng.randint(2, 3)


def swap(packets: Packets, at: int, rng: random.Random) -> None:
    other = min(len(packets) - 1, at + rng.randint(1, 5))
    packets[at], packets[other] = packets[other], packets[at]


def cut(packets: Packets, at: int, rng: random.Random) -> None:
    packets[at] = packets[at][: rng.randrange(188)]


def insert(packets: Packets, at: int, rng: random.Random) -> None:
    packets[at] += rng.randbytes(rng.randint(1, 400))


MUTATIONS: list[Callable[[Packets, int, random.Random], None]] = [
    flip_bits,
    overwrite,
    drop,
    double,
    swap,
    cut,
    insert,
]


def gop_of(packets: Packets) -> list[int]:
    """To which GOP of the video each packet belongs, by where it stands."""
    gop, out = -1, []
    for p in packets:
        is_video = (p[1] & 0x1F) << 8 | p[2] == 0x100
        gop += bool(is_video and p[1] & 0x40 and p[3] & 0x20 and p[4] and p[5] & 0x40)
        out.append(max(gop, 0))
    return out


def is_touched(ticks: int, gop_ticks: int, touched: set[int]) -> bool:
    gop, within = divmod(ticks, gop_ticks)
    # Where the last picture of a GOP ends may be known by what follows it alone.
    return gop in touched or (within + 3000 == gop_ticks and gop + 1 in touched)


def main(path: str, seed: int, count: int, gop_ticks: int) -> None:
    with open(path, "rb") as file:
        data = file.read()
    clean = [data[n : n + 188] for n in range(0, len(data), 188)]
    gops = gop_of(clean)
    wanted = {f.pts: f for f in play(data, random.Random(0)) if f.pts is not None}
    first = next(iter(wanted))
    slowest, lost, early = 0.0, [], 0
    for n in range(count):
        rng = random.Random(f"{seed}/{n}")
        packets = list(clean)
        touched: set[int] = set()
        # Mutations stay within one or two GOPs, so that there are untouched ones to look for.
        targets = rng.sample(range(max(gops) + 1), rng.randint(1, 2))
        for _ in range(rng.randint(1, 12)):
            at = rng.choice([i for i, gop in enumerate(gops) if gop in targets])
            rng.choice(MUTATIONS)(packets, at, rng)
            touched |= {gops[min(len(gops) - 1, at + reach)] for reach in range(-1, 7)}
        begun = time.process_time()
        got = {f.pts: f for f in play(b"".join(packets), rng)}
        slowest = max(slowest, time.process_time() - begun)
        missing = [
            t
            for t, frame in wanted.items()
            if not is_touched((t - first), gop_ticks, touched)
            and (t not in got or not is_same(got[t], frame))
        ]
        if missing:
            lost.append([n, missing])
        if n == count // 4:
            early = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - early
    print(json.dumps({"done": count, "slowest": slowest, "lost": lost[:5], "grown_kb": grown}))


def is_same(got: VideoFrame, wanted: VideoFrame) -> bool:
    """Not only at its time, but to the last pixel."""
    return all(map(np.array_equal, got.view(), wanted.view()))


def play(data: bytes, rng: random.Random) -> list[VideoFrame]:
    decoder = StreamDecoder(threads=1)
    out, at = [], 0
    while at < len(data):
        size = rng.choice((188, 1000, 1316, 8192))
        out += decoder.feed(data[at : at + size])
        at += size
    out += decoder.end_segment()
    out += decoder.flush()
    return [item for item in out if isinstance(item, VideoFrame)]


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
