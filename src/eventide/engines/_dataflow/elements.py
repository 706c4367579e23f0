"""What a distributed engine moves: opaque bytes, numbered."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Element", "Output"]


class Element(NamedTuple):
    """Input of a bucket.

    Parameters
    ----------
    bucket
        For which bucket: the engine's key.
    seq
        0, 1, 2 ... for each bucket, without gaps. A bucket puts its elements in this order by itself.
    data
        Events, watermark and end, packed.
    """

    bucket: int
    seq: int
    data: bytes


class Output(NamedTuple):
    """Results of a bucket, for the sinks.

    Parameters
    ----------
    bucket
        Of which bucket.
    seq
        0, 1, 2 ... for each bucket, without gaps: what an engine repeats after a failure has the number it had before.
    data
        Batches for the sinks, rejected input and counts, packed.
    """

    bucket: int
    seq: int
    data: bytes
