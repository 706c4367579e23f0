"""A small mutator: the same seed and number always give the same input."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence

__all__ = ["mutant"]

_LENGTHS = (0, 1, 2, 7, 8, 127, 128, 255, 256, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_LONG = (0, 1, -1, 0x7FFFFFFFFFFFFFFF, -0x8000000000000000, 1 << 40, -(1 << 40), 0x100000000, 0xFFFFFFFF)
_MOST = 1 << 18


def mutant(seeds: Sequence[bytes], words: Sequence[bytes], *, seed: int, number: int) -> bytes:
    """Return one input: one of the seeds, changed in one to eight places.

    Parameters
    ----------
    seeds
        Inputs that are right.
    words
        Pieces that mean something in this format.
    seed, number
        Which input.
    """
    rng = random.Random(f"{seed}/{number}")
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4, 8))):
        rng.choice(_CHANGES)(data, rng, (seeds, words))
        if len(data) > _MOST:
            del data[_MOST:]
    return bytes(data)


Corpus = tuple[Sequence[bytes], Sequence[bytes]]


def _at(data: bytearray, rng: random.Random, size: int = 1) -> int:
    return rng.randrange(max(1, len(data) - size + 1))


def _span(data: bytearray, rng: random.Random) -> tuple[int, int]:
    begin = _at(data, rng)
    return begin, min(len(data), begin + rng.choice((1, 2, 4, 8, 16, 64, 512)))


def _flip_bit(data: bytearray, rng: random.Random, corpus: Corpus) -> None:
    if data:
        data[_at(data, rng)] ^= 1 << rng.randrange(8)


def _set_byte(data: bytearray, rng: random.Random, corpus: Corpus) -> None:
    if data:
        data[_at(data, rng)] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def _set_length(data: bytearray, rng: random.Random, corpus: Corpus) -> None:
    """Let a field that may be a length lie."""
    at = _at(data, rng, 4)
    if rng.random() < 0.5:
        at = at // 4 * 4
    data[at : at + 4] = struct.pack(rng.choice(("<I", ">I")), rng.choice(_LENGTHS))


def _set_long(data: bytearray, rng: random.Random, corpus: Corpus) -> None:
    at = _at(data, rng, 8) // 8 * 8
    data[at : at + 8] = struct.pack(rng.choice(("<q", ">q")), rng.choice(_LONG))


def _add_little(data: bytearray, rng: random.Random, corpus: Corpus) -> None:
    if len(data) >= 4:
        at = _at(data, rng, 4)
        value = (int.from_bytes(data[at : at + 4], "little") + rng.randint(-16, 16)) % (1 << 32)
        data[at : at + 4] = value.to_bytes(4, "little")


def _remove(data: bytearray, rng: random.Random, corpus: Corpus) -> None:
    begin, end = _span(data, rng)
    del data[begin:end]


def _cut(data: bytearray, rng: random.Random, corpus: Corpus) -> None:
    del data[_at(data, rng) :]


def _repeat(data: bytearray, rng: random.Random, corpus: Corpus) -> None:
    begin, end = _span(data, rng)
    data[begin:begin] = data[begin:end] * rng.choice((1, 1, 2, 50))


def _move(data: bytearray, rng: random.Random, corpus: Corpus) -> None:
    begin, end = _span(data, rng)
    piece = data[begin:end]
    del data[begin:end]
    at = _at(data, rng)
    data[at:at] = piece


def _insert(data: bytearray, rng: random.Random, corpus: Corpus) -> None:
    at = _at(data, rng)
    data[at:at] = rng.randbytes(rng.choice((1, 2, 8, 64)))


def _word(data: bytearray, rng: random.Random, corpus: Corpus) -> None:
    at = _at(data, rng)
    word = rng.choice(corpus[1])
    data[at : at + (len(word) if rng.random() < 0.5 else 0)] = word


def _splice(data: bytearray, rng: random.Random, corpus: Corpus) -> None:
    """Go on as another seed, from the same place or another one."""
    other = rng.choice(corpus[0])
    at = _at(data, rng)
    data[at:] = other[at if rng.random() < 0.5 else rng.randrange(len(other) + 1) :]


def _zero(data: bytearray, rng: random.Random, corpus: Corpus) -> None:
    begin, end = _span(data, rng)
    data[begin:end] = bytes(end - begin)


_CHANGES: tuple[Callable[[bytearray, random.Random, Corpus], None], ...] = (
    _flip_bit, _flip_bit, _set_byte, _set_byte, _set_length, _set_length, _set_long, _add_little, _remove, _cut,
    _repeat, _move, _insert, _word, _word, _splice, _zero,
)  # fmt: skip
