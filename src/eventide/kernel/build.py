"""From a stateful node of the graph to the machine that runs it, for any engine."""

from __future__ import annotations

import pyarrow as pa

from eventide.model.graph import Join, Process, Ref, Window, inputs
from eventide.model.machine import Machine
from eventide.model.schema import keys_of
from eventide.model.state import ALL_GROUPS
from eventide.model.stream import time_column

__all__ = ["build_machine"]


def build_machine(
    node: Window | Join | Process, schemas: tuple[pa.Schema, ...], *, groups: range = ALL_GROUPS
) -> Machine:
    """Return the machine of a node for a range of key groups.

    Parameters
    ----------
    node
        A stateful node.
    schemas
        The schema of each input, as `eventide.model.schema.infer` found it.
    groups
        The key groups that the machine owns.
    """
    refs: tuple[Ref, ...] = inputs(node)
    keys = tuple(keys_of(r) for r in refs)
    times = tuple(time_column(r) for r in refs)
    if isinstance(node, Window):
        from eventide.kernel.window.build import window_machine

        machine: Machine = window_machine(node, schemas[0], keys[0], event_time=times[0], groups=groups)
        return machine
    if isinstance(node, Join):
        from eventide.kernel.joins.build import join_machine

        machine = join_machine(
            node,
            schemas=(schemas[0], schemas[1]),
            keys=(keys[0], keys[1]),
            event_times=(times[0], times[1]),
            groups=groups,
        )
        return machine
    from eventide.kernel.process import process_machine

    machine = process_machine(node, schemas=schemas, keys=keys[0], event_time=times[0], groups=groups)
    return machine
