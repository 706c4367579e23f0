"""From a window node to the machine that runs it."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from eventide.kernel.window.aligned import AlignedWindowMachine, is_aligned
from eventide.model.graph import Window
from eventide.model.machine import Machine
from eventide.model.state import ALL_GROUPS

__all__ = ["window_machine"]


def window_machine(
    node: Window, schema: pa.Schema, keys: Sequence[str], *, event_time: str, groups: range = ALL_GROUPS
) -> Machine:
    """Return the machine of a window: the fast one where it can do the work, else the general one.

    Parameters
    ----------
    node
        The window.
    schema
        Schema of the events.
    keys
        Key columns.
    event_time
        The event-time column.
    groups
        The key groups that the machine owns.

    Examples
    --------
    >>> from eventide.model.graph import Read, Ref
    >>> from eventide.model.time import EVENT_TIME
    >>> from eventide.model.window import tumbling
    >>> node = Window(Ref(Read("log://a")), tumbling("10s"), ())
    >>> type(window_machine(node, pa.schema([("t", EVENT_TIME)]), (), event_time="t")).__name__
    'AlignedWindowMachine'
    """
    if is_aligned(node):
        return AlignedWindowMachine(node, schema=schema, keys=keys, event_time=event_time, groups=groups)
    from eventide.kernel.window.general import GeneralWindowMachine

    return GeneralWindowMachine(node, schema=schema, keys=keys, event_time=event_time, groups=groups)
