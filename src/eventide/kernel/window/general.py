"""The machine of every window that the fast path does not take.

Sessions, count and global windows; tumbling and sliding ones with a trigger of one's own, an allowed
lateness, or an event time of results other than the window's start. What it does is written down in
``docs/explanation/panes.md``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from eventide.kernel.aggregates.build import Accumulators
from eventide.kernel.keys import KeyIndex
from eventide.kernel.window.general_aligned import AlignedRows, Arrivals, earliest_start, horizon
from eventide.kernel.window.general_counts import CountWindows
from eventide.kernel.window.general_entries import Entries
from eventide.kernel.window.general_firing import Firing
from eventide.kernel.window.general_state import clock_table, load_standing, load_windows, save_standing, save_windows
from eventide.kernel.window.panes import PaneWriter
from eventide.kernel.window.sessions import SessionRows
from eventide.kernel.window.triggers import Program
from eventide.model.batch import WATERMARK_COLUMN, concat, event_times, visible
from eventide.model.graph import Window
from eventide.model.machine import LATE, MAIN, Emit, Step
from eventide.model.schema import window_schema
from eventide.model.state import ALL_GROUPS, State
from eventide.model.time import MAX_TIME, MIN_TIME
from eventide.model.window import CountWindow, GlobalWindow, Session, Sliding, Tumbling

__all__ = ["GeneralWindowMachine", "TimeWindows"]


class GeneralWindowMachine:
    """A machine for any `Window` node.

    Parameters
    ----------
    node
        The window, its trigger and its aggregates.
    schema
        Schema of the events.
    keys
        Key columns; none: one key.
    event_time
        The event-time column.
    groups
        The key groups that the machine owns.

    Raises
    ------
    UsageError
        A count window with a trigger: it fires when it is full and has no panes.

    Examples
    --------
    >>> from eventide.model.aggregate import count
    >>> from eventide.model.graph import Read, Ref
    >>> from eventide.model.time import EVENT_TIME
    >>> from eventide.model.window import session
    >>> node = Window(Ref(Read("log://a")), session("5ns"), (("n", count()),))
    >>> schema = pa.schema([("t", EVENT_TIME)])
    >>> machine = GeneralWindowMachine(node, schema=schema, keys=(), event_time="t")
    >>> events = pa.record_batch({"t": pa.array([1, 4, 30], EVENT_TIME)}, schema=schema)
    >>> machine.push(Step(0, 0, events, watermark=20))[0].batch.column("n").to_pylist()
    [2]
    """

    def __init__(
        self, node: Window, *, schema: pa.Schema, keys: Sequence[str], event_time: str, groups: range = ALL_GROUPS
    ) -> None:
        schema = visible(schema)
        kind = CountWindows if isinstance(node.window, CountWindow) else TimeWindows
        self._machine: TimeWindows | CountWindows = kind(
            node, schema=schema, keys=keys, event_time=event_time, groups=groups
        )

    @property
    def taken(self) -> int:
        """How many events were taken in, for the ledger."""
        return self._machine.taken

    @property
    def watermark(self) -> int:
        """Watermark of the output, ns: no later pane, late ones included, has an event time before it."""
        return self._machine.watermark

    def push(self, step: Step) -> list[Emit]:
        """Take one step and return panes and late events."""
        return self._machine.push(step)

    def snapshot(self) -> State:
        """Return the open windows as Arrow tables."""
        return self._machine.snapshot()

    def restore(self, state: State) -> None:
        """Take over a state, in place of what is held."""
        self._machine.restore(state)


class TimeWindows:
    """The machine of tumbling, sliding, session and global windows; parameters as of `GeneralWindowMachine`."""

    def __init__(self, node: Window, *, schema: pa.Schema, keys: Sequence[str], event_time: str, groups: range) -> None:
        assert not isinstance(node.window, CountWindow)
        self._node = node
        self._window = node.window
        self._schema = schema
        self._key_names = tuple(keys)
        self._event_time = event_time
        self._groups = groups
        self._program = Program(node.trigger)
        self._out_schema = window_schema(node, schema, self._key_names)
        self.taken = 0
        self._clear()

    def _clear(self) -> None:
        node, window = self._node, self._window
        self._keys = KeyIndex(self._schema, self._key_names, self._groups)
        self._accumulators = Accumulators(node.aggregates, self._schema, self._event_time)
        right = isinstance(window, Tumbling | Sliding) and window.closed == "right"
        panes = PaneWriter(
            node, self._out_schema, keys=self._keys, accumulators=self._accumulators, right=right
        )  # fmt: skip
        self._firing = Firing(
            Entries(self._program),
            self._program,
            accumulators=self._accumulators,
            panes=panes,
            lateness=node.allowed_lateness,
            stamp=node.timestamp if node.timestamp in ("earliest", "latest") else "",
        )
        self._rows: SessionRows | AlignedRows
        if isinstance(window, Session):
            self._rows = SessionRows(window.gap, self._firing)
        else:
            self._rows = AlignedRows(window, self._firing)

    @property
    def watermark(self) -> int:
        """Watermark of the output, ns."""
        mark, window = self._firing.watermark, self._window
        if mark in (MIN_TIME, MAX_TIME):
            return mark
        low = int(horizon(np.array([mark]), self._node.allowed_lateness)[0])
        if low == MIN_TIME:
            return low
        if self._node.timestamp == "end":
            # A session that grew takes back panes of when it ended earlier.
            return min(low, self._firing.panes.earliest()) if isinstance(window, Session) else low
        if isinstance(window, GlobalWindow):
            return MIN_TIME
        if isinstance(window, Session):
            entries = self._firing.entries
            slots = entries.slots()
            starts = entries.start[slots[~entries.finished[slots]]]
            newest = max(low, MIN_TIME + window.gap) - window.gap + 1
            return min(newest, int(starts.min())) if starts.size else newest
        assert isinstance(window, Tumbling | Sliding)
        return earliest_start(window, low)

    def push(self, step: Step) -> list[Emit]:
        """Take one step: the tick of the clock, then the rows, then the watermark."""
        firing = self._firing
        firing.tick(step.clock)
        late = None
        if step.batch is not None and step.batch.num_rows:
            late = self._take(step.batch, max(step.watermark, firing.watermark))
        firing.advance(MAX_TIME if step.end else step.watermark)
        self._release()
        out = [Emit(MAIN, concat(panes))] if (panes := firing.panes.collect()) else []
        if late is not None:
            out.append(Emit(LATE, late))
        return out

    def _take(self, batch: pa.RecordBatch, watermark: int) -> pa.RecordBatch | None:
        """Put a batch into its windows and return the events that came too late, as they were."""
        firing = self._firing
        times = event_times(batch, self._event_time)
        mark = batch.schema.get_field_index(WATERMARK_COLUMN)
        if mark < 0:
            verdict = met = np.full(times.size, firing.watermark)
        else:
            verdict = np.maximum(batch.column(mark).to_numpy(zero_copy_only=False), firing.watermark)
            # Rows were judged at the source; windows here close only as this machine's watermark does.
            met = np.minimum(np.maximum.accumulate(verdict), watermark)
        keys = self._keys.slots(batch)
        mine = np.flatnonzero(keys >= 0)
        if mine.size == 0:
            return None
        rows = Arrivals(mine, keys[mine].astype(np.int64), times[mine], verdict[mine], met[mine])
        firing.begin(batch, times)
        refused = self._rows.take(rows)
        firing.end()
        self.taken += mine.size - refused.size
        if refused.size == 0:
            return None
        firing.gone.append(keys[refused].astype(np.int64))
        return batch.select(self._schema.names).take(pa.array(np.sort(refused)))

    def _release(self) -> None:
        """Forget keys that have no window any more."""
        firing = self._firing
        if firing.gone:
            keys = firing.entries.unused(np.unique(np.concatenate(firing.gone)))
            firing.gone.clear()
            if keys.size:
                self._keys.release(keys.astype(np.int32))

    def snapshot(self) -> State:
        """Return the open windows, the panes that stand and the clocks."""
        firing = self._firing
        state = {
            **save_windows(firing.entries, self._keys, self._accumulators),
            "time": clock_table(firing.watermark, firing.clock),
        }
        if self._node.accumulation == "retracting" and "retraction" in self._out_schema.names:
            state["standing"] = save_standing(firing, self._keys)
        return state

    def restore(self, state: State) -> None:
        """Take over a state, in place of what is held."""
        self._clear()
        firing = self._firing
        firing.watermark = state["time"].column("watermark")[0].as_py()
        firing.clock = state["time"].column("clock")[0].as_py()
        load_windows(state, firing, self._keys)
        if "standing" in state:
            load_standing(state["standing"], firing, self._keys)
