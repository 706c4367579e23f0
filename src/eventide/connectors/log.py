"""``log://topic``: source and sink of the embedded log.

The log's folder is the option ``log``, else the environment variable ``EVENTIDE_LOG``, else ``.eventide/log``.

The sink is exactly once: what is written between two checkpoints is one transaction, prepared with the
checkpoint and committed after it; readers see it from then on. In a run that keeps no checkpoints, what is
written is committed after each item of input. With ``visible="at once"`` every batch is
appended as it comes, readers see it within milliseconds, and what was written after the checkpoint resumed
from is there twice (at least once).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eventide.connectors._log_sink import LogSink
from eventide.connectors._log_source import LogSource
from eventide.errors import UsageError, near_names
from eventide.model.protocols import Options
from eventide.model.time import instant

__all__ = ["sink", "source"]

_VISIBLE = ("commit", "at once")


def _root(given: Options) -> Path:
    return Path(given.take("log") or os.environ.get("EVENTIDE_LOG") or Path(".eventide", "log"))


def _topic(uri: str) -> str:
    name = uri.partition("://")[2]
    if not name:
        msg = f"{uri} names no topic"
        raise UsageError(msg, hint="write it as log://readings")
    return name


def _one_of(name: str, value: Any, allowed: tuple[Any, ...]) -> Any:
    if value not in allowed:
        msg = f"log:// option {name}={value!r}"
        raise UsageError(msg, hint=near_names(str(value), [str(a) for a in allowed]))
    return value


def _until(value: Any) -> tuple[int | None, int | None]:
    """Return the offset or the event time (ns) before which a read ends."""
    if value is None or value == "":
        return None, None
    if isinstance(value, int) or (isinstance(value, str) and value.isdigit()):
        return int(value), None
    return None, instant(value, what="log:// option until (beside an offset)")


def source(uri: str, options: Mapping[str, Any]) -> LogSource:
    """Return a source of the events of a topic.

    Parameters
    ----------
    uri
        ``log://topic``.
    options
        ``log``: folder of the log. ``start``: ``"earliest"`` (default), ``"latest"``, or an event time in ISO 8601:
        then reading begins where events of that time or later may lie. ``offsets``: ``{partition: offset}`` to
        begin at instead. ``partitions``: which ones (all). ``follow``: whether to go on with what is appended
        later (true), or to end at what is visible when the source is opened. ``until``: read only what lies before
        this offset of every partition (a number), or before this event time, and end there. ``clock``:
        ``"recorded"`` gives every batch the processing time at which it was appended, for triggers in processing
        time. ``verify``: check every checksum while reading (false).

    Raises
    ------
    UsageError
        An option is unknown or wrong. That there is no such log or topic is found when its schema is asked for.

    Examples
    --------
    >>> import pyarrow as pa, tempfile
    >>> from eventide.log import Log
    >>> folder = tempfile.mkdtemp()
    >>> with Log(folder) as log:
    ...     _ = log.create_topic("a", pa.schema([("x", pa.int64())]))
    ...     _ = log.append("a", pa.record_batch({"x": [1, 2, 3]}))
    >>> reader = source("log://a", {"log": folder, "follow": False}).open({"0": {"offset": 1}})
    >>> [c.batch["x"].to_pylist() for c in reader.read(max_rows=10, timeout=0)], reader.finished
    ([[2, 3]], True)
    >>> reader.close()
    """
    given = Options(options, where="log://")
    made = LogSource(
        _root(given),
        _topic(uri),
        start=given.take("start", "earliest"),
        offsets=given.take("offsets"),
        partitions=given.take("partitions"),
        until=_until(given.take("until")),
        follow=_one_of("follow", given.take("follow", True), (True, False)),
        recorded_clock=_one_of("clock", given.take("clock"), (None, "recorded")) is not None,
        verify=_one_of("verify", given.take("verify", False), (True, False)),
    )
    given.finish()
    return made


def sink(uri: str, options: Mapping[str, Any]) -> LogSink:
    """Return a sink that appends to a topic, which is made when it is not there.

    Parameters
    ----------
    uri
        ``log://topic``.
    options
        ``log``: folder of the log. ``key``: column whose hash chooses the partition. ``partition``: the one to
        write to, where there is no key (0). ``partitions``: how many a new topic gets (1). ``event_time``:
        event-time column of a new topic (the first column of that type). ``visible``: ``"commit"`` or ``"at
        once"``. ``fsync``: ``"each"``, ``"group"`` or ``"os"`` (for ``"at once"``; commits are always durable).
        ``name``: under which prepared transactions are found after a crash (pipeline and node; without an engine
        the topic and the partition); no two sinks of one log may have the same. ``evolve``: add columns
        that the topic does not have yet, and widen its types where need be (false).

    Raises
    ------
    UsageError
        An option is unknown or wrong.

    Examples
    --------
    >>> import pyarrow as pa, tempfile
    >>> out = sink("log://b", {"log": tempfile.mkdtemp()})
    >>> out.open(pa.schema([("x", pa.int64())]), None)
    >>> out.write(pa.record_batch({"x": [1]}))
    >>> out.commit(1, out.prepare(1))
    >>> out.close()
    """
    given = Options(options, where="log://")
    topic = _topic(uri)
    key, partition = given.take("key"), given.take("partition", 0)
    made = LogSink(
        _root(given),
        topic,
        key=key,
        partition=partition,
        partitions=given.take("partitions"),
        event_time=given.take("event_time"),
        at_once=_one_of("visible", given.take("visible", "commit"), _VISIBLE) == "at once",
        fsync=_one_of("fsync", given.take("fsync", "each"), ("each", "group", "os")),
        name=given.take("name") or "",
        evolve=_one_of("evolve", given.take("evolve", False), (True, False)),
    )
    given.finish()
    return made
