"""Check every checksum of a partition."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

from eventide.errors import LogCorruptError
from eventide.log.head import Head
from eventide.log.layout import segment_offsets
from eventide.log.segment import SegmentView, frames, tail_is_empty

__all__ = ["VerifyReport", "verify_partition"]


@dataclass(slots=True)
class VerifyReport:
    """What `Log.verify` found.

    Parameters
    ----------
    partitions, segments, frames, rows, bytes
        How much was checked.
    problems
        Damage, one line each: file, byte, offset, what; empty when all is well.

    Examples
    --------
    >>> VerifyReport().ok
    True
    """

    partitions: int = 0
    segments: int = 0
    frames: int = 0
    rows: int = 0
    bytes: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is damaged."""
        return not self.problems


def verify_partition(folder: Path, report: VerifyReport) -> None:
    """Check the segments of a partition and add to a report what was found.

    Only what readers may see is checked, so that a partition may be written meanwhile.
    """
    report.partitions += 1
    try:
        head = Head(folder)
        end = head.end if head.trusted else head.promised
    except FileNotFoundError:
        report.problems.append(f"{folder}: the head is missing; opening the partition for writing makes it again")
        end = 0
    offsets = segment_offsets(folder)
    for base, following in zip_longest(offsets, offsets[1:]):
        report.segments += 1
        try:
            view = SegmentView(folder, base)
        except LogCorruptError as error:
            report.problems.append(error.message)
            continue
        except FileNotFoundError:  # retention took it meanwhile
            continue
        reached, at = base, view.first
        for position, header in frames(view.fd, view.first, base, check_from=0):
            reached, at = header.end_offset, position + header.size
            report.frames += 1
            report.rows += header.rows
        report.bytes += at
        wanted = end if following is None else following
        if following is None and reached >= end:
            wanted = reached
        if reached != wanted:
            what = "the file ends" if tail_is_empty(view.fd, at) else "damaged"
            report.problems.append(f"{view.path}: {what} at byte {at} (offset {reached}), should reach offset {wanted}")
        view.close()
