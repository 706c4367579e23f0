"""Holds: what somebody will still read, so that retention leaves it alone.

A pipeline holds the positions of its oldest checkpoint, a savepoint those it was taken at. A hold and the
deletion of segments are both made under the write lock of the database, one after the other: a hold
that was granted is kept, one that comes too late is refused.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from eventide.errors import LogError, UsageError
from eventide.log.layout import partition_path, segment_offsets
from eventide.log.meta import Meta
from eventide.log.topic import TopicInfo

__all__ = ["Hold", "drop_holds", "held", "list_holds", "put_hold"]

_BOUNDARIES = "/:@#"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """What one owner still needs of one topic.

    Parameters
    ----------
    owner
        Who: a pipeline, a savepoint, a person.
    topic
        The topic.
    positions
        For each partition the offset from which on everything is kept.
    updated
        When it was set last, ns since 1970.
    """

    owner: str
    topic: str
    positions: dict[int, int]
    updated: int


def put_hold(root: Path, topic: TopicInfo, *, meta: Meta, owner: str, positions: Mapping[int, int]) -> None:
    """Record a hold; in the partitions named it replaces the owner's last one.

    Raises
    ------
    LogError
        Retention deleted some of it before.
    UsageError
        There is no owner, no such partition, or a negative offset.
    """
    if not owner:
        msg = f"a hold of topic {topic.name!r} needs an owner"
        raise UsageError(msg, hint="name who needs the events; `unhold` takes the same name")
    for p, offset in positions.items():
        if not 0 <= p < topic.partitions or offset < 0:
            msg = f"topic {topic.name!r} has no offset {offset} in partition {p}"
            raise UsageError(msg, hint=f"it has {topic.partitions} partitions, numbered from 0, and offsets from 0 on")
    if not positions:
        return
    now = time.time_ns()
    with meta.commit() as db:
        for p, offset in positions.items():
            earliest = min(segment_offsets(partition_path(root, topic.name, p)), default=0)
            if offset < earliest:
                msg = f"offset {offset} of partition {p} of topic {topic.name!r} was deleted by retention"
                raise LogError(msg, hint=f"the earliest is {earliest}; hold events before they are old")
            db.execute("INSERT OR REPLACE INTO holds VALUES (?, ?, ?, ?, ?)", (owner, topic.name, p, offset, now))


def drop_holds(meta: Meta, owner_prefix: str) -> int:
    """Release the holds of an owner and of all whose names go on after it with one of ``/ : @ #``; return how many.

    Examples
    --------
    >>> import tempfile
    >>> meta = Meta(Path(tempfile.mkdtemp()) / "meta.sqlite")
    >>> drop_holds(meta, "nobody")
    0
    """
    if not owner_prefix:
        msg = "whose holds are to be released?"
        raise UsageError(msg, hint="name the owner; `eventide log holds` shows them")
    with meta.commit() as db:
        found = [row[0] for row in db.execute("SELECT DISTINCT owner FROM holds")]
        chosen = [o for o in found if _belongs(o, owner_prefix)]
        return sum(db.execute("DELETE FROM holds WHERE owner = ?", (owner,)).rowcount for owner in chosen)


def _belongs(owner: str, prefix: str) -> bool:
    if not owner.startswith(prefix):
        return False
    return owner == prefix or prefix[-1] in _BOUNDARIES or owner[len(prefix)] in _BOUNDARIES


def list_holds(meta: Meta, topic: str | None = None) -> list[Hold]:
    """Return all holds, or those of one topic, by topic and owner."""
    sql = "SELECT topic, owner, partition, offset, updated FROM holds ORDER BY topic, owner, partition"
    found: dict[tuple[str, str], Hold] = {}
    for name, owner, partition, offset, updated in meta.rows(sql):
        if topic in (None, name):
            before = found.get((name, owner))
            positions = {**(before.positions if before else {}), partition: offset}
            updated = max(updated, before.updated if before else 0)
            found[name, owner] = Hold(owner=owner, topic=name, positions=positions, updated=updated)
    return list(found.values())


def held(db: sqlite3.Connection, topic: str, partition: int) -> int | None:
    """Return the offset from which on a partition is held, as part of a commit; None: nothing is."""
    sql = "SELECT min(offset) FROM holds WHERE topic = ? AND partition = ?"
    offset: int | None = db.execute(sql, (topic, partition)).fetchone()[0]
    return offset
