"""The hash functions by which engines place servers, over whole columns at once.

Each was written from its definition; tests/live shows that the real proxies place servers where these say.
"""

from __future__ import annotations

import zlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

Words32 = NDArray[np.uint32]
Words64 = NDArray[np.uint64]
Bytes = NDArray[np.uint8]

# The five primes of XXH64 (github.com/Cyan4973/xxHash, doc/xxhash_spec.md).
_P1: Final = 0x9E3779B185EBCA87
_P2: Final = 0xC2B2AE3D27D4EB4F
_P3: Final = 0x165667B19E3779F9
_P4: Final = 0x85EBCA77C2B2AE63
_P5: Final = 0x27D4EB2F165667C5
_MASK: Final = 2**64 - 1


def avalanche32(values: Words32) -> Words32:
    """HAProxy's full_hash: Bob Jenkins' integer hash (burtleburtle.net/bob/hash/integer.html) times a large prime."""
    with np.errstate(over="ignore"):
        a = values + np.uint32(0x7ED55D16) + (values << np.uint32(12))
        a = (a ^ np.uint32(0xC761C23C)) ^ (a >> np.uint32(19))
        a = (a + np.uint32(0x165667B1)) + (a << np.uint32(5))
        a = (a + np.uint32(0xD3A2646C)) ^ (a << np.uint32(9))
        a = (a + np.uint32(0xFD7046C5)) + (a << np.uint32(3))
        a = (a ^ np.uint32(0xB55A4F09)) ^ (a >> np.uint32(16))
        return a * np.uint32(3221225473)


def ketama(host: str, port: str, count: int) -> Words32:
    """The points of one server on nginx's ring: CRC-32 of host, a zero byte, port and the point before it."""
    base = zlib.crc32(f"{host}\0{port}".encode())
    points = np.empty(count, dtype=np.uint32)
    point = 0
    for i in range(count):
        point = zlib.crc32(point.to_bytes(4, "little"), base)
        points[i] = point
    return points


def xxh64_texts(texts: list[str], seed: int = 0) -> Words64:
    """XXH64 of each text, in their order; texts of the same length are hashed together."""
    found = np.zeros(len(texts), dtype=np.uint64)
    encoded = [text.encode() for text in texts]
    lengths = np.asarray([len(text) for text in encoded])
    for length in np.unique(lengths).tolist():
        rows = np.flatnonzero(lengths == length)
        block = np.frombuffer(b"".join(encoded[i] for i in rows.tolist()), dtype=np.uint8)
        found[rows] = xxh64(block.reshape(len(rows), length), seed)
    return found


def xxh64(rows: Bytes, seed: int = 0) -> Words64:
    """XXH64 of each row of bytes."""
    count, length = rows.shape
    at = 0
    with np.errstate(over="ignore"):
        if length >= 32:
            lanes = [_word(count, seed + start) for start in (_P1 + _P2, _P2, 0, -_P1)]
            while at + 32 <= length:
                for k in range(4):
                    lanes[k] = _round(lanes[k], _read(rows, at + 8 * k, 8))
                at += 32
            total = _turned(lanes[0], 1) + _turned(lanes[1], 7) + _turned(lanes[2], 12) + _turned(lanes[3], 18)
            for lane in lanes:
                total = (total ^ _round(_word(count, 0), lane)) * np.uint64(_P1) + np.uint64(_P4)
        else:
            total = _word(count, seed + _P5)
        total = total + np.uint64(length)
        while at + 8 <= length:
            total = total ^ _round(_word(count, 0), _read(rows, at, 8))
            total = _turned(total, 27) * np.uint64(_P1) + np.uint64(_P4)
            at += 8
        if at + 4 <= length:
            total = total ^ (_read(rows, at, 4) * np.uint64(_P1))
            total = _turned(total, 23) * np.uint64(_P2) + np.uint64(_P3)
            at += 4
        for i in range(at, length):
            total = total ^ (rows[:, i].astype(np.uint64) * np.uint64(_P5))
            total = _turned(total, 11) * np.uint64(_P1)
        total = (total ^ (total >> np.uint64(33))) * np.uint64(_P2)
        total = (total ^ (total >> np.uint64(29))) * np.uint64(_P3)
        return total ^ (total >> np.uint64(32))


def _word(count: int, value: int) -> Words64:
    return np.full(count, value & _MASK, dtype=np.uint64)


def _read(rows: Bytes, at: int, width: int) -> Words64:
    """Little-endian numbers of `width` bytes."""
    total = _word(len(rows), 0)
    for k in range(width):
        total |= rows[:, at + k].astype(np.uint64) << np.uint64(8 * k)
    return total


def _round(lane: Words64, word: Words64) -> Words64:
    return _turned(lane + word * np.uint64(_P2), 31) * np.uint64(_P1)


def _turned(word: Words64, by: int) -> Words64:
    return (word << np.uint64(by)) | (word >> np.uint64(64 - by))
