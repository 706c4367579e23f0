"""From a `Join` node to the machine that runs it."""

from __future__ import annotations

import pyarrow as pa

from eventide.errors import UsageError
from eventide.kernel.joins.asof import AsofJoinMachine
from eventide.kernel.joins.interval import IntervalJoinMachine
from eventide.kernel.joins.side import Side
from eventide.kernel.joins.window import WindowJoinMachine
from eventide.model.graph import AsofJoin, IntervalJoin, Join, WindowJoin
from eventide.model.machine import Machine
from eventide.model.state import ALL_GROUPS

__all__ = ["join_machine"]


def join_machine(
    node: Join,
    *,
    schemas: tuple[pa.Schema, pa.Schema],
    keys: tuple[tuple[str, ...], tuple[str, ...]],
    event_times: tuple[str, str],
    groups: range = ALL_GROUPS,
) -> Machine:
    """Return the machine of a join for a range of key groups.

    Parameters
    ----------
    node
        The join.
    schemas, keys, event_times
        Schema, key columns and event-time column of the left and of the right input.
    groups
        The key groups that the machine owns; it passes over rows of others.

    Raises
    ------
    SchemaError
        Keys of different types, or columns whose names collide in the output.
    UsageError
        A join of a kind that is not known, or a kind of window that cannot be joined in.

    Examples
    --------
    >>> from eventide.model.graph import Read, Ref
    >>> from eventide.model.machine import Step
    >>> from eventide.model.time import EVENT_TIME, MAX_TIME
    >>> schema = pa.schema([("t", EVENT_TIME), ("id", pa.int64())])
    >>> node = Join(Ref(Read("log://a")), Ref(Read("log://b")), IntervalJoin(0, 10))
    >>> machine = join_machine(node, schemas=(schema, schema), keys=(("id",), ("id",)), event_times=("t", "t"))
    >>> def events(*times):
    ...     return pa.record_batch([pa.array(times, EVENT_TIME), pa.array([1] * len(times))], schema=schema)
    >>> machine.push(Step(0, 0, events(5, 90), 0))
    []
    >>> [emit] = machine.push(Step(1, 1, events(7, 20), 0))
    >>> emit.batch.column("t_right").view(pa.int64()).to_pylist()
    [7]
    """
    sides = (
        Side(0, schemas[0], tuple(keys[0]), event_times[0], groups),
        Side(1, schemas[1], tuple(keys[1]), event_times[1], groups),
    )
    if isinstance(node.spec, WindowJoin):
        return WindowJoinMachine(node, sides)
    if isinstance(node.spec, IntervalJoin):
        return IntervalJoinMachine(node, sides)
    if isinstance(node.spec, AsofJoin):
        return AsofJoinMachine(node, sides)
    msg = f"{type(node.spec).__name__} is not a kind of join"
    raise UsageError(msg, hint="use a window, an interval or an as-of join")
