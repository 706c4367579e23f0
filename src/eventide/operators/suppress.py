"""Let the first alarm through and hold the following ones back for a while."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eventide.errors import UsageError
from eventide.kernel.keyed.node import process_node, same, with_fields
from eventide.kernel.keyed.rank import rank
from eventide.model.keyed import Context, Events, StateSpec, Timers, TimerState, value_state
from eventide.model.time import duration

if TYPE_CHECKING:
    import polars as pl

    from eventide.model.stream import Stream

__all__ = ["Suppress", "suppress"]

COUNT = "suppressed"


@dataclass(frozen=True, slots=True)
class Suppress:
    """The process behind `suppress`; `hold` in ns."""

    hold: int
    when: pl.Expr | None = None

    @property
    def state(self) -> Mapping[str, StateSpec]:
        """Whether alarms are held back just now, and how many were since the one that was passed."""
        return {"quiet": value_state("bool"), "held": value_state("int64"), "over": TimerState(after=self.hold)}

    def on_events(self, context: Context, events: Events) -> Mapping[str, pa.RecordBatch]:
        """Pass the first alarm of a key that is not quiet, hold back the others."""
        alarm = self._alarms(events.batch)
        # A run of events spans less than `hold`, so at most its first alarm can be passed.
        slots = events.slots[alarm]
        quiet, held = context.value("quiet"), context.value("held")
        passes = ~quiet[slots] & (rank(slots) == 0)
        count = np.zeros(alarm.size, np.int64)
        passing = np.flatnonzero(alarm)[passes]
        count[passing] = held[slots[passes]]
        held[slots[passes]] = 0
        quiet[slots[passes]] = True
        context.set_timer("over", slots[passes], events.times[passing] + self.hold)
        np.add.at(held, slots[~passes], 1)
        main = ~alarm
        main[passing] = True
        counted = events.batch.append_column(pa.field(COUNT, pa.int64()), pa.array(count))
        return {"main": counted.filter(pa.array(main)), COUNT: events.batch.filter(pa.array(~main))}

    def _alarms(self, batch: pa.RecordBatch) -> npt.NDArray[np.bool_]:
        if self.when is None:
            return np.ones(batch.num_rows, np.bool_)
        import polars as pl

        frame = pl.from_arrow(batch)
        assert isinstance(frame, pl.DataFrame)
        return frame.select(self.when.cast(pl.Boolean).fill_null(value=False)).to_series().to_numpy()

    def on_timers(self, context: Context, timers: Timers) -> None:
        """Let the next alarm pass; keys with nothing held back are forgotten."""
        context.value("quiet")[timers.slots] = False
        context.forget(timers.slots[context.value("held")[timers.slots] == 0])


def suppress(
    stream: Stream, *, hold: str | timedelta, per: str | Sequence[str] | None = None, when: pl.Expr | None = None
) -> Stream:
    """Pass the first alarm and hold further ones back until `hold` after the one that was passed.

    The result has one more column, ``suppressed`` (int64): how many alarms were held back since the alarm
    passed before this one. Those held back go, as they were, to the side output ``suppressed``, where also
    the last ones are to be seen that no later alarm counts.

    Parameters
    ----------
    stream
        A stream with event time.
    hold
        How long after an alarm that was passed others are held back, in event time (the end not included).
    per
        Columns that say which alarms belong together; left out, the keys of the stream.
    when
        Which events are alarms, a Polars expression row by row; the others pass with ``suppressed`` 0.
        Left out, all are.

    Raises
    ------
    PipelineError
        The stream has no event time.
    SchemaError
        (when checked) The stream has a column ``suppressed`` already.

    Examples
    --------
    >>> import eventide as ev
    >>> times = ["2026-01-01T00:00", "2026-01-01T00:04", "2026-01-01T00:12"]
    >>> alarms = ev.from_table({"t": times, "node": ["a", "a", "a"]}).event_time("t")
    >>> ev.fetch(alarms.pipe(ev.op.suppress, per="node", hold="10m"))["suppressed"].to_pylist()
    [0, 1]
    """
    if when is not None and not hasattr(when, "meta"):
        msg = f"suppress() takes a Polars expression as when=, not {when!r}"
        raise UsageError(msg, hint="for example when=pl.col('score') > 1, with import polars as pl")
    keyed = stream if per is None else stream.key_by(*((per,) if isinstance(per, str) else per))
    process = Suppress(duration(hold, what="hold"), when)
    main = with_fields(pa.field(COUNT, pa.int64()), what="suppress()")
    return process_node(keyed, process, ports={"main": main, COUNT: same}, name="suppress")
