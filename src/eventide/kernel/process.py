"""The machine of a `Process` node."""

from __future__ import annotations

from typing import cast

import pyarrow as pa

from eventide.kernel.keyed.machine import KeyedMachine
from eventide.model.graph import Process, ProcessContext
from eventide.model.keyed import KeyedProcess, port_schemas
from eventide.model.machine import Machine

__all__ = ["process_machine"]


def process_machine(
    node: Process, *, schemas: tuple[pa.Schema, ...], keys: tuple[str, ...], event_time: str, groups: range
) -> Machine:
    """Return the machine of a process: around a `KeyedProcess`, or what a factory of machines makes.

    Parameters
    ----------
    node
        The node.
    schemas
        The schema of the input.
    keys
        The key columns of the input.
    event_time
        The event-time column of the input.
    groups
        The key groups that the machine owns.

    Examples
    --------
    >>> import eventide as ev
    >>> from eventide.model.state import ALL_GROUPS
    >>> from eventide.model.time import EVENT_TIME
    >>> class Copy:
    ...     state = {}
    ...     def on_events(self, context, events):
    ...         return events.batch
    ...     def on_timers(self, context, timers):
    ...         return None
    >>> schema = pa.schema([("t", EVENT_TIME)])
    >>> node = ev.read("log://a").event_time("t").process(Copy(), schema=schema).ref.node
    >>> type(process_machine(node, schemas=(schema,), keys=(), event_time="t", groups=ALL_GROUPS)).__name__
    'KeyedMachine'
    """
    context = ProcessContext(schemas, keys, event_time, groups)
    bind = getattr(node.process, "bind", None)
    if bind is None and not hasattr(node.process, "on_events"):
        return node.process(context)
    process = cast("KeyedProcess", node.process if bind is None else bind(context))
    return KeyedMachine(
        process,
        context,
        order=node.order,
        schemas=port_schemas(node.schemas, schemas[0]),
        event_time=node.event_time,
        where=node.name or type(process).__name__,
    )
