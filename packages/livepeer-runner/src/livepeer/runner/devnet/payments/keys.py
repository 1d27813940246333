"""Keccak-256 and signatures on secp256k1, as Ethereum and go-livepeer make them. No I/O.

Python integers: slow, and not safe against anybody who measures it. For test keys alone.
"""

from __future__ import annotations

import hashlib
import hmac

_MASK = (1 << 64) - 1
_P = 2**256 - 2**32 - 977
_N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_G = (
    0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
    0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
)
_RATE = 136
_ROTATIONS = (
    (0, 36, 3, 41, 18),
    (1, 44, 10, 45, 2),
    (62, 6, 43, 15, 61),
    (28, 55, 25, 21, 56),
    (27, 20, 39, 8, 14),
)

Point = tuple[int, int]
Jacobian = tuple[int, int, int]


def _round_constants() -> list[int]:
    found, state = [], 1
    for _ in range(24):
        constant = 0
        for bit in range(7):
            if state & 1:
                constant |= 1 << (1 << bit) - 1
            state = state << 1 ^ (0x171 if state >> 7 else 0)
        found.append(constant)
    return found


_CONSTANTS = _round_constants()


def _turned(value: int, by: int) -> int:
    return (value << by | value >> 64 - by) & _MASK


def _permuted(lanes: list[list[int]]) -> list[list[int]]:
    for constant in _CONSTANTS:
        parity = [a ^ b ^ c ^ d ^ e for a, b, c, d, e in lanes]
        mixed = [parity[x - 1] ^ _turned(parity[(x + 1) % 5], 1) for x in range(5)]
        lanes = [[lane ^ mixed[x] for lane in lanes[x]] for x in range(5)]
        moved = [[0] * 5 for _ in range(5)]
        for x in range(5):
            for y in range(5):
                moved[y][(2 * x + 3 * y) % 5] = _turned(lanes[x][y], _ROTATIONS[x][y])
        lanes = [
            [moved[x][y] ^ (~moved[(x + 1) % 5][y] & moved[(x + 2) % 5][y]) for y in range(5)]
            for x in range(5)
        ]
        lanes[0][0] ^= constant
    return lanes


def keccak256(data: bytes) -> bytes:
    """Ethereum's hash: Keccak before NIST changed its padding."""
    padded = bytearray(data) + b"\x01" + b"\x00" * (-(len(data) + 1) % _RATE)
    padded[-1] |= 0x80
    lanes = [[0] * 5 for _ in range(5)]
    for at in range(0, len(padded), _RATE):
        for index in range(_RATE // 8):
            word = int.from_bytes(padded[at + 8 * index : at + 8 * index + 8], "little")
            lanes[index % 5][index // 5] ^= word
        lanes = _permuted(lanes)
    return b"".join(lanes[index % 5][index // 5].to_bytes(8, "little") for index in range(4))


def _double(point: Jacobian) -> Jacobian:
    x, y, z = point
    if not y:
        return (0, 0, 0)
    square = y * y % _P
    s, m = 4 * x * square % _P, 3 * x * x % _P
    a = (m * m - 2 * s) % _P
    return (a, (m * (s - a) - 8 * square * square) % _P, 2 * y * z % _P)


def _add(one: Jacobian, other: Jacobian) -> Jacobian:
    if not one[2]:
        return other
    if not other[2]:
        return one
    (x1, y1, z1), (x2, y2, z2) = one, other
    q1, q2 = z1 * z1 % _P, z2 * z2 % _P
    u1, u2 = x1 * q2 % _P, x2 * q1 % _P
    s1, s2 = y1 * q2 * z2 % _P, y2 * q1 * z1 % _P
    if u1 == u2:
        return _double(one) if s1 == s2 else (0, 0, 0)
    h, r = u2 - u1, s2 - s1
    h2 = h * h % _P
    h3, v = h * h2 % _P, u1 * h2 % _P
    x = (r * r - h3 - 2 * v) % _P
    return (x, (r * (v - x) - s1 * h3) % _P, h * z1 * z2 % _P)


def _times(point: Point, by: int) -> Jacobian:
    found: Jacobian = (0, 0, 0)
    step: Jacobian = (*point, 1)
    while by:
        if by & 1:
            found = _add(found, step)
        step = _double(step)
        by >>= 1
    return found


def _doubled(point: Point) -> list[Jacobian]:
    found: list[Jacobian] = [(*point, 1)]
    for _ in range(255):
        found.append(_double(found[-1]))
    return found


_G_DOUBLED = _doubled(_G)


def _times_g(by: int) -> Jacobian:
    """`_times(_G, by)`, in a third of the time."""
    found: Jacobian = (0, 0, 0)
    for step in _G_DOUBLED:
        if by & 1:
            found = _add(found, step)
        by >>= 1
    return found


def _flat(point: Jacobian) -> Point:
    inverse = pow(point[2], -1, _P)
    square = inverse * inverse % _P
    return (point[0] * square % _P, point[1] * square * inverse % _P)


def _address(public: Point) -> bytes:
    return keccak256(public[0].to_bytes(32) + public[1].to_bytes(32))[12:]


def personal_hash(digest: bytes) -> bytes:
    """What is signed for 32 bytes: go-livepeer signs everything as a personal message."""
    return keccak256(b"\x19Ethereum Signed Message:\n32" + digest)


def checksummed(address: bytes) -> str:
    """An address as people write it (EIP-55)."""
    text = address.hex()
    marks = keccak256(text.encode()).hex()
    return "0x" + "".join(
        letter.upper() if int(mark, 16) > 7 else letter
        for letter, mark in zip(text, marks, strict=False)
    )


class Key:
    """A private key of a test network."""

    def __init__(self, secret: str) -> None:
        self._secret = int(secret.removeprefix("0x"), 16)
        self.address = _address(_flat(_times_g(self._secret)))
        self.name = checksummed(self.address)

    def __repr__(self) -> str:
        return f"Key({self.name})"

    def sign(self, digest: bytes) -> bytes:
        """The personal message of 32 bytes, signed: r, s, v (27 or 28). Deterministic (RFC 6979),
        s low."""
        message = personal_hash(digest)
        number = int.from_bytes(message)
        for nonce in self._nonces(message):
            x, y = _flat(_times_g(nonce))
            r = x % _N
            s = pow(nonce, -1, _N) * (number + r * self._secret) % _N
            if r and s:
                odd = y & 1
                if s > _N // 2:
                    s, odd = _N - s, odd ^ 1
                return r.to_bytes(32) + s.to_bytes(32) + bytes((27 + odd,))
        raise AssertionError

    def _nonces(self, message: bytes) -> list[int]:
        seed = self._secret.to_bytes(32) + (int.from_bytes(message) % _N).to_bytes(32)
        v, k = b"\x01" * 32, b"\x00" * 32
        for mark in (b"\x00", b"\x01"):
            k = hmac.digest(k, v + mark + seed, hashlib.sha256)
            v = hmac.digest(k, v, hashlib.sha256)
        found: list[int] = []
        while not found:
            v = hmac.digest(k, v, hashlib.sha256)
            if 0 < int.from_bytes(v) < _N:
                found.append(int.from_bytes(v))
            k = hmac.digest(k, v + b"\x00", hashlib.sha256)
            v = hmac.digest(k, v, hashlib.sha256)
        return found


def signer_of(digest: bytes, signature: bytes) -> bytes | None:
    """Whose signature of 32 bytes it is, as go-livepeer looks at it; None for one it refuses."""
    if len(signature) != 65 or signature[64] not in (27, 28):
        return None
    r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:64])
    if not 0 < r < _N or not 0 < s <= _N // 2:
        return None
    square = (pow(r, 3, _P) + 7) % _P
    y = pow(square, (_P + 1) // 4, _P)
    if y * y % _P != square:
        return None
    if y & 1 != signature[64] - 27:
        y = _P - y
    number, inverse = int.from_bytes(personal_hash(digest)), pow(r, -1, _N)
    point = _add(_times((r, y), s * inverse % _N), _times_g(-number * inverse % _N))
    return _address(_flat(point)) if point[2] else None
