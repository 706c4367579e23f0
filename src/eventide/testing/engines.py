"""What an engine must do: subclass `EngineSuite`, name the engine, and pytest proves it.

Small pipelines run from files to files, and the results are compared with tables written here by hand. An engine
that cannot do something yet says so in ``gaps``; such tests are strict expected failures.

::

    class TestFlink(EngineSuite):
        engine = "flink"
        gaps = {"test_retracting_panes": "Flink's sinks take no retractions here yet"}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pyarrow as pa

import eventide as ev
from eventide import registry
from eventide.engines.local import savepoints
from eventide.errors import EventideError
from eventide.formats import arrow
from eventide.model.pipeline import Pipeline, pipeline
from eventide.model.stream import Stream, read
from eventide.model.time import EVENT_TIME
from eventide.testing._compare import rows_of
from eventide.testing._engine_cases import (
    IN,
    SILENCES,
    TOLD,
    FailsOnce,
    LastTwo,
    Silence,
    TellLater,
    drop_odd,
    events_of,
    in_seconds,
)
from eventide.testing._engine_endless import Endless
from eventide.testing._libraries import pytest
from eventide.testing._suite import Suite
from eventide.testing.clock import ClockedSource, ManualClock
from eventide.testing.strategies import SECOND

__all__ = ["EngineSuite"]

Rows = Sequence[tuple[Any, ...]]
_RISING = "a1:1 a2:2 b3:3 a11:4 b12:5 a25:6"


class EngineSuite(Suite):
    """The contract of an engine: the eleven kinds of node mean the same everywhere.

    Attributes
    ----------
    engine
        Its name.
    options
        What its ``run`` is given.
    """

    engine: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = {}

    # -- how it is run; an engine with other files or another way to resume writes these anew

    def source(self, folder: Path, batch: pa.RecordBatch, name: str = "in") -> Stream:
        """Return a stream of events in order of arrival, all of one partition."""
        path = folder / f"{name}.arrow"
        path.write_bytes(arrow.encode(batch))
        return read(f"file://{path}", name=name)

    def run(self, folder: Path, streams: Mapping[str, Stream], **more: Any) -> dict[str, pa.Table]:
        """Run streams as one pipeline to its end and return the results of each."""
        writes = [s.write(f"file://{folder}/{n}-out.arrow", name=n) for n, s in streams.items()]
        registry.resolve("engine", self.engine).run(pipeline(*writes, name="suite"), **{**self.options, **more})
        return self.results(folder, streams)

    def results(self, folder: Path, streams: Mapping[str, Stream]) -> dict[str, pa.Table]:
        """Return what a finished run wrote."""
        found = {}
        for name in streams:
            batch = arrow.decode((folder / f"{name}-out.arrow").read_bytes()).batch
            found[name] = pa.Table.from_batches([batch])
        return found

    def resuming(self, folder: Path) -> Mapping[str, Any]:
        """Return the options of a run that goes on from its checkpoints, of which it takes one as often as it can."""
        return {"checkpoint": str(folder / "checkpoints"), "checkpoint_interval": "0s", "batch_rows": 1}

    def savepoint(self, made: Pipeline, folder: Path, name: str) -> Callable[[], object]:
        """Ask for a savepoint of a running pipeline, and return what tells whether it is there."""
        return savepoints.create(made, folder / "checkpoints", name)

    def clocked(self, arrivals: Sequence[tuple[float, str]]) -> tuple[Stream, Mapping[str, Any]]:
        """Return events that arrive at seconds of processing time, and the options under which a run has that time."""
        source = ClockedSource([(at, events_of(text)) for at, text in arrivals])
        return read(source).event_time("time").key_by("key"), {"clock": ManualClock()}

    # -- helpers

    def _fed(self, folder: Path, text: str, *, lateness: str = "0s", name: str = "in") -> Stream:
        return self.source(folder, events_of(text), name).event_time("time", lateness=lateness).key_by("key")

    def _gives(self, folder: Path, stream: Stream, rows: Rows, **more: Any) -> None:
        """Assert that a stream brings some rows, in any order; times are in seconds."""
        found = in_seconds(self.run(folder, {"main": stream}, **more)["main"])
        assert Counter(map(repr, found)) == Counter(repr(tuple(r)) for r in rows)

    # -- nodes

    def test_read_and_write(self, tmp_path: Path) -> None:
        """Read, Write: what is read is written."""
        self._gives(tmp_path, self.source(tmp_path, events_of(_RISING)), in_seconds(_table(events_of(_RISING))))

    def test_filter(self, tmp_path: Path) -> None:
        """Filter: rows for which an expression is true; null is not."""
        stream = self.source(tmp_path, events_of("a1:1 a2:? b3:3")).filter(pl.col("value") > 1)
        self._gives(tmp_path, stream, [(3, "b", 3.0)])

    def test_select(self, tmp_path: Path) -> None:
        """Project: expressions that replace the columns."""
        stream = self.source(tmp_path, events_of("a1:1 b2:?")).select("key", double=pl.col("value") * 2)
        self._gives(tmp_path, stream, [("a", 2.0), ("b", None)])

    def test_with_columns(self, tmp_path: Path) -> None:
        """Project: expressions that add columns."""
        stream = self.source(tmp_path, events_of("a1:1 b2:?")).with_columns(known=pl.col("value").is_not_null())
        self._gives(tmp_path, stream, [(1, "a", 1.0, True), (2, "b", None, False)])

    def test_map_batches(self, tmp_path: Path) -> None:
        """MapBatches: a function that returns one batch, several or none."""
        stream = self.source(tmp_path, events_of("a1:1 a2:2 b3:3 b4:4")).map_batches(drop_odd, schema=IN)
        self._gives(tmp_path, stream, [(2, "a", 2.0), (4, "b", 4.0)])

    def test_event_time_from_text(self, tmp_path: Path) -> None:
        """AssignTime: ISO 8601 text becomes event time, row by row, with or without zone and digits."""
        texts = ["1970-01-01T00:00:02Z", "1970-01-01T00:00:01.5", "1970-01-01", "1970-01-01 01:00:03.25+01:00"]
        stream = self.source(tmp_path, pa.record_batch({"t": texts})).event_time("t", lateness="9s")
        self._gives(tmp_path, stream, [(2,), (1.5,), (0,), (3.25,)])

    def test_events_without_time_are_left_out(self, tmp_path: Path) -> None:
        """AssignTime: events without a time go to quarantine and hold nothing up."""
        stream = self._fed(tmp_path, "a1:1 a?:2 a3:3").window(ev.tumbling("10s")).aggregate(n=ev.count())
        self._gives(tmp_path, stream, [("a", 0, 10, 2)], **self._quarantine(tmp_path))

    def _quarantine(self, folder: Path) -> Mapping[str, Any]:
        return {"quarantine": str(folder / "quarantine")}

    def test_several_keys(self, tmp_path: Path) -> None:
        """KeyBy: several columns."""
        stream = self._fed(tmp_path, "a1:1 b2:1 a3:1 a4:2").key_by("key", "value")
        counted = stream.window(ev.tumbling("10s")).aggregate(n=ev.count())
        self._gives(tmp_path, counted, [("a", 1.0, 0, 10, 2), ("b", 1.0, 0, 10, 1), ("a", 2.0, 0, 10, 1)])

    def test_null_is_a_key(self, tmp_path: Path) -> None:
        """KeyBy: null is a key like any other."""
        stream = self._fed(tmp_path, "a1:1 ?2:1 ?3:1").window(ev.tumbling("10s")).aggregate(n=ev.count())
        self._gives(tmp_path, stream, [("a", 0, 10, 1), (None, 0, 10, 2)])

    def test_union(self, tmp_path: Path) -> None:
        """Union: the watermark is the lowest, so that no side makes the other late."""
        one, two = self._fed(tmp_path, "a1:1 a50:2", name="one"), self._fed(tmp_path, "a2:1 a3:1", name="two")
        stream = one.union(two).window(ev.tumbling("10s")).aggregate(n=ev.count())
        self._gives(tmp_path, stream, [("a", 0, 10, 3), ("a", 50, 60, 1)])

    def test_several_sinks(self, tmp_path: Path) -> None:
        """Several sinks share what is before them."""
        stream = self._fed(tmp_path, "a1:1 b2:2")
        ways = {"all": stream, "b": stream.filter(pl.col("key") == "b")}
        found = self.run(tmp_path, ways)
        assert in_seconds(found["all"]) == [(1, "a", 1.0), (2, "b", 2.0)]
        assert in_seconds(found["b"]) == [(2, "b", 2.0)]

    def test_empty_input(self, tmp_path: Path) -> None:
        """Streams without events end, with results that have a schema."""
        stream = self._fed(tmp_path, "").window(ev.tumbling("10s")).aggregate(n=ev.count())
        found = self.run(tmp_path, {"main": stream})["main"]
        assert found.num_rows == 0
        assert found.schema.names == ["key", "window_start", "window_end", "n"]

    def test_errors_are_told(self, tmp_path: Path) -> None:
        """A function that fails ends the run with an error of eventide, not with part of a result."""
        stream = self.source(tmp_path, events_of("a1:1")).map_batches(_broken, schema=IN)
        with pytest.raises(EventideError):
            self.run(tmp_path, {"main": stream})

    # -- windows

    @pytest.mark.parametrize(
        ("window", "rows"),
        [
            (ev.tumbling("10s"), ["a 0 10 2", "b 0 10 1", "a 10 20 1", "b 10 20 1", "a 20 30 1"]),
            (ev.tumbling("10s", offset="5s"), ["a -5 5 2", "b -5 5 1", "a 5 15 1", "b 5 15 1", "a 25 35 1"]),
            (ev.tumbling("2s", closed="right"), ["a 0 2 2", "b 2 4 1", "a 10 12 1", "b 10 12 1", "a 24 26 1"]),
            (
                ev.sliding("10s", "5s"),
                [
                    "a -5 5 2",
                    "a 0 10 2",
                    "b -5 5 1",
                    "b 0 10 1",
                    "a 5 15 1",
                    "a 10 20 1",
                    "b 5 15 1",
                    "b 10 20 1",
                    "a 20 30 1",
                    "a 25 35 1",
                ],
            ),
            (ev.session("5s"), ["a 1 7 2", "b 3 8 1", "a 11 16 1", "b 12 17 1", "a 25 30 1"]),
            (ev.session("9.5s"), ["a 1 20.5 3", "b 3 21.5 2", "a 25 34.5 1"]),
        ],
        ids=["tumbling", "offset", "closed on the right", "sliding", "session", "sessions that merge"],
    )
    def test_window(self, tmp_path: Path, window: Any, rows: list[str]) -> None:
        """Window: tumbling, sliding, session; with an offset, closed on the right."""
        stream = self._fed(tmp_path, _RISING).window(window).aggregate(n=ev.count())
        self._gives(tmp_path, stream, [_row(text) for text in rows])

    def test_count_window(self, tmp_path: Path) -> None:
        """Window: groups of events by their number, in event-time order."""
        stream = self._fed(tmp_path, "a1:1 a3:3 a2:2 b4:4 a5:5 a6:6", lateness="5s")
        counted = stream.window(ev.count_window(2)).aggregate(total=ev.sum("value"))
        found = self.run(tmp_path, {"main": counted})["main"]
        # The first and second of a by event time are 1 and 2, then 3 and 5; what is left is emitted at the end.
        sums = sorted(zip(found["key"].to_pylist(), found["total"].to_pylist(), strict=True))
        assert sums == [("a", 3.0), ("a", 6.0), ("a", 8.0), ("b", 4.0)]

    def test_global_window(self, tmp_path: Path) -> None:
        """Window: one for all of time, which closes at the end."""
        stream = self._fed(tmp_path, _RISING).window(ev.global_window()).aggregate(n=ev.count(), total=ev.sum("value"))
        found = self.run(tmp_path, {"main": stream})["main"].select(["key", "n", "total"])
        assert sorted(rows_of(found)) == [("a", 4, 13.0), ("b", 2, 8.0)]

    def test_window_without_keys(self, tmp_path: Path) -> None:
        """Window: of a stream without keys."""
        timed = self.source(tmp_path, events_of(_RISING)).event_time("time")
        stream = timed.window(ev.tumbling("20s")).aggregate(n=ev.count())
        self._gives(tmp_path, stream, [(0, 20, 5), (20, 40, 1)])

    def test_windows_before_1970(self, tmp_path: Path) -> None:
        """Window: times before 1970 lie in windows like any other."""
        stream = self._fed(tmp_path, "a-15:1 a-10:2 a-1:3").window(ev.tumbling("10s")).aggregate(n=ev.count())
        self._gives(tmp_path, stream, [("a", -20, -10, 1), ("a", -10, 0, 2)])

    @pytest.mark.parametrize(
        ("timestamp", "time"), [("end", 10 - 1e-9), ("earliest", 1), ("latest", 4)], ids=["end", "earliest", "latest"]
    )
    def test_event_time_of_results(self, tmp_path: Path, timestamp: Any, time: float) -> None:
        """Window: the event time of results is the window's end, or that of its earliest or latest event."""
        fed = self._fed(tmp_path, "a3:1 a1:1 a4:1", lateness="5s")
        stream = fed.window(ev.tumbling("10s"), timestamp=timestamp).aggregate(n=ev.count()).select("event_time", "n")
        self._gives(tmp_path, stream, [(time, 3)])

    def test_windows_of_windows(self, tmp_path: Path) -> None:
        """Window: of the results of windows."""
        small = self._fed(tmp_path, _RISING).window(ev.tumbling("5s")).aggregate(n=ev.count())
        stream = small.key_by("key").window(ev.tumbling("20s")).aggregate(windows=ev.count(), events=ev.sum("n"))
        self._gives(tmp_path, stream, [("a", 0, 20, 2, 3), ("b", 0, 20, 2, 2), ("a", 20, 40, 1, 1)])

    # -- aggregates

    @pytest.mark.parametrize(
        ("aggregate", "value"),
        [
            (ev.count(), 5),
            (ev.count("value"), 4),
            (ev.sum("value"), 10.0),
            (ev.mean("value"), 2.5),
            (ev.var("value", ddof=0), 1.25),
            (ev.std("value", ddof=0), 1.25**0.5),
            (ev.min("value"), 1.0),
            (ev.max("value"), 4.0),
            (ev.first("value"), 4.0),
            (ev.last("value"), 2.0),
            (ev.quantile("value", 0.5), 2.5),
            (ev.n_unique("value"), 4),
            (ev.collect("value"), [4.0, 1.0, 3.0, 2.0]),
            (ev.top_k("value", 2), [4.0, 3.0]),
            (ev.linear_fit("value", "value"), None),
            (pl.col("value").product(), 24.0),
        ],
        ids=lambda v: str(v) if hasattr(v, "kind") else "expression" if hasattr(v, "meta") else "",
    )
    def test_aggregate(self, tmp_path: Path, aggregate: Any, value: Any) -> None:
        """Aggregates: each of them; nulls are left out."""
        fed = self._fed(tmp_path, "a2:1 a1:4 a3:3 a4:? a5:2", lateness="9s")
        found = self.run(tmp_path, {"main": fed.window(ev.tumbling("10s")).aggregate(x=aggregate)})["main"]
        (got,) = found["x"].to_pylist()
        if value is None:
            assert got == pytest.approx({"slope": 1.0, "intercept": 0.0, "r2": 1.0}, abs=1e-12)
        else:
            assert got == (pytest.approx(value, rel=1e-15) if isinstance(value, float) else value)

    def test_sums_do_not_depend_on_order(self, tmp_path: Path) -> None:
        """Aggregates: sums and means are correctly rounded, so that no order shows."""
        source = np.random.default_rng(7)
        values = source.normal(1e6, 1, 5_000) * 10.0 ** source.integers(-12, 12, 5_000)
        totals = set()
        for number, order in enumerate((np.arange(5_000), source.permutation(5_000))):
            times = pa.array(np.zeros(5_000, np.int64), EVENT_TIME)
            batch = pa.record_batch({"time": times, "value": values[order]})
            folder = tmp_path / str(number)
            folder.mkdir()
            stream = self.source(folder, batch).event_time("time").window(ev.tumbling("1s"))
            (row,) = rows_of(
                self.run(folder, {"main": stream.aggregate(s=ev.sum("value"), m=ev.mean("value"))})["main"]
            )
            totals.add(repr(row[-2:]))
        assert len(totals) == 1

    def test_many_keys(self, tmp_path: Path) -> None:
        """Aggregates: of as many keys as there are."""
        source = np.random.default_rng(3)
        size = 20_000
        keys, seconds = source.integers(0, 5_000, size), np.sort(source.integers(0, 100, size))
        batch = pa.record_batch({"time": pa.array(seconds * SECOND, EVENT_TIME), "key": keys, "v": np.arange(size)})
        stream = self.source(tmp_path, batch).event_time("time").key_by("key")
        found = self.run(tmp_path, {"main": stream.window(ev.tumbling("50s")).aggregate(n=ev.count(), s=ev.sum("v"))})
        wanted: dict[tuple[int, int], list[int]] = {}
        for key, second, value in zip(keys.tolist(), seconds.tolist(), range(size), strict=True):
            wanted.setdefault((key, second // 50 * 50), []).append(value)
        got = {(k, start): (n, s) for k, start, _, n, s in in_seconds(found["main"])}
        assert got == {at: (len(v), sum(v)) for at, v in wanted.items()}

    # -- triggers and panes

    @pytest.mark.parametrize(
        ("accumulation", "rows"),
        [
            ("discarding", ["0 early 2", "1 early 2", "2 on_time 1"]),
            ("accumulating", ["0 early 2", "1 early 4", "2 on_time 5"]),
        ],
    )
    def test_early_panes(self, tmp_path: Path, accumulation: Any, rows: list[str]) -> None:
        """Triggers: early panes at every so many events, discarding or accumulating."""
        stream = self._paned(
            tmp_path, "a1:1 a2:1 a3:1 a4:1 a5:1 a30:1", ev.trigger.after_count(2), accumulation=accumulation
        )
        panes = [tuple(_row(text)) for text in rows]
        self._gives(tmp_path, stream.filter(pl.col("window_start").dt.timestamp() == 0).select(*_PANE), panes)

    def test_retracting_panes(self, tmp_path: Path) -> None:
        """Triggers: a later pane takes the one before back."""
        stream = self._paned(tmp_path, "a1:1 a2:1 a3:1 a30:1", ev.trigger.after_count(2), accumulation="retracting")
        first = stream.filter(pl.col("window_start").dt.timestamp() == 0).select("retraction", "n")
        self._gives(tmp_path, first, [(False, 2), (True, 2), (False, 3)])

    def _paned(self, folder: Path, text: str, early: Any, *, accumulation: Any) -> Stream:
        trigger = ev.trigger.at_watermark(early=ev.trigger.repeatedly(early))
        windows = self._fed(folder, text).window(ev.tumbling("10s"), trigger=trigger, accumulation=accumulation)
        return windows.aggregate(n=ev.count())

    def test_early_panes_by_predicate(self, tmp_path: Path) -> None:
        """Triggers: at an event for which an expression is true."""
        early = ev.trigger.after_predicate(pl.col("value") > 8)
        stream = self._paned(tmp_path, "a1:1 a2:9 a3:1 a4:10 a30:1", early, accumulation="accumulating")
        first = stream.filter(pl.col("window_start").dt.timestamp() == 0).select(*_PANE)
        self._gives(tmp_path, first, [(0, "early", 2), (1, "early", 4), (2, "on_time", 4)])

    def test_late_panes(self, tmp_path: Path) -> None:
        """Triggers: late events within the allowed lateness make late panes."""
        fed = self._fed(tmp_path, "a1:1 a2:1 a12:1 a3:1 a4:1 a40:1")
        stream = fed.window(ev.tumbling("10s"), allowed_lateness="15s").aggregate(n=ev.count())
        first = stream.filter(pl.col("window_start").dt.timestamp() == 0).select(*_PANE)
        self._gives(tmp_path, first, [(0, "on_time", 2), (1, "late", 3), (2, "late", 4)])

    @pytest.mark.parametrize(
        ("trigger", "counts"),
        [
            (ev.trigger.after_count(2), [2]),
            (ev.trigger.repeatedly(ev.trigger.after_count(2)), [2, 4, 5]),
            (ev.trigger.any_of(ev.trigger.after_count(3), ev.trigger.after_predicate(pl.col("value") == 2)), [2]),
            (ev.trigger.all_of(ev.trigger.after_count(3), ev.trigger.after_predicate(pl.col("value") == 2)), [3]),
            (
                ev.trigger.in_order(
                    ev.trigger.after_count(1), ev.trigger.repeatedly(ev.trigger.after_predicate(pl.col("value") > 3))
                ),
                [1, 4, 5],
            ),
        ],
        ids=["after_count", "repeatedly", "any_of", "all_of", "in_order"],
    )
    def test_trigger(self, tmp_path: Path, trigger: Any, counts: list[int]) -> None:
        """Triggers: once, repeatedly, any of, all of, in order."""
        fed = self._fed(tmp_path, "a1:1 a2:2 a3:3 a4:4 a5:5")
        stream = fed.window(ev.global_window(), trigger=trigger).aggregate(n=ev.count())
        self._gives(tmp_path, stream.select("n"), [(n,) for n in counts])

    def test_panes_by_processing_time(self, tmp_path: Path) -> None:
        """Triggers: after some processing time, as it was recorded."""
        stream, how = self.clocked([(0, "a1:1"), (4, "a2:1"), (12, "a3:1"), (15, "a4:1")])
        trigger = ev.trigger.at_watermark(early=ev.trigger.after_processing_time("10s"))
        paned = stream.window(ev.tumbling("100s"), trigger=trigger).aggregate(n=ev.count()).select(*_PANE)
        self._gives(tmp_path, paned, [(0, "early", 2), (1, "on_time", 4)], **how)

    # -- lateness

    def test_lateness(self, tmp_path: Path) -> None:
        """Lateness: events in disorder within it count as if they had come in order."""
        fed = self._fed(tmp_path, "a5:1 a12:1 a3:1 a21:1 a11:1", lateness="10s")
        stream = fed.window(ev.tumbling("10s")).aggregate(n=ev.count())
        self._gives(tmp_path, stream, [("a", 0, 10, 2), ("a", 10, 20, 2), ("a", 20, 30, 1)])

    def test_late_events_leave_by_the_side(self, tmp_path: Path) -> None:
        """Lateness: events behind it go to the side output late, as they were, and only they."""
        windows = self._fed(tmp_path, "a5:1 a12:2 a3:3 a25:4 b4:5").window(ev.tumbling("10s")).aggregate(n=ev.count())
        found = self.run(tmp_path, {"main": windows, "late": windows.side("late")})
        assert sorted(in_seconds(found["main"])) == [("a", 0, 10, 1), ("a", 10, 20, 1), ("a", 20, 30, 1)]
        assert sorted(in_seconds(found["late"])) == [(3, "a", 3.0), (4, "b", 5.0)]

    def test_lateness_is_judged_event_by_event(self, tmp_path: Path) -> None:
        """Lateness: what is late does not depend on how events were cut into batches."""
        text = "a5:1 a12:2 a3:3 a4:4 a13:5 a25:6 a14:7"
        seen = []
        for number, how in enumerate(({}, self.resuming(tmp_path))):
            folder = tmp_path / str(number)
            folder.mkdir()
            windows = self._fed(folder, text).window(ev.tumbling("10s")).aggregate(n=ev.count())
            found = self.run(folder, {"main": windows, "late": windows.side("late")}, **how)
            seen.append([sorted(in_seconds(t)) for t in found.values()])
        assert seen[0] == seen[1]
        assert seen[0][1] == [(3, "a", 3.0), (4, "a", 4.0), (14, "a", 7.0)]

    def test_max_jump(self, tmp_path: Path) -> None:
        """Lateness: an event that leaps too far ahead moves no watermark and goes to quarantine."""
        timed = self.source(tmp_path, events_of("a1:1 a9999999:1 a2:1 a3:1")).event_time("time", max_jump="1h")
        stream = timed.key_by("key").window(ev.tumbling("10s")).aggregate(n=ev.count())
        self._gives(tmp_path, stream, [("a", 0, 10, 3)], **self._quarantine(tmp_path))

    # -- joins

    @pytest.mark.parametrize("how", ["inner", "left"])
    @pytest.mark.parametrize(
        ("on", "pairs"),
        [
            (ev.tumbling("10s"), {1: [11, 12], 2: [13], 3: []}),
            (ev.interval("-1s", "2s"), {1: [11, 12], 2: [], 3: []}),
            (ev.asof("8s"), {1: [], 2: [12], 3: []}),
            (ev.asof("2s", direction="forward"), {1: [11], 2: [], 3: []}),
            (ev.asof("8s", direction="nearest"), {1: [11], 2: [13], 3: []}),
        ],
        ids=["window", "interval", "asof backward", "asof forward", "asof nearest"],
    )
    def test_join(self, tmp_path: Path, *, how: Any, on: Any, pairs: Mapping[int, list[int]]) -> None:
        """Join: by window, by interval, as of a time; inner and left."""
        left = self._fed(tmp_path, "a2:1 a11:2 b15:3", lateness="5s", name="left")
        right = self._fed(tmp_path, "a3:11 a4:12 a14:13 c15:14", lateness="5s", name="right")
        stream = left.join(right, on, how=how).select("value", "value_right")
        rows: list[tuple[float, float | None]] = [(float(a), float(b)) for a, some in pairs.items() for b in some]
        if how == "left":
            rows += [(float(a), None) for a, some in pairs.items() if not some]
        self._gives(tmp_path, stream, rows)

    # -- state and timers

    def test_state_and_event_timers(self, tmp_path: Path) -> None:
        """Process: a value per key and a timer in event time, whatever the order of arrival."""
        fed = self._fed(tmp_path, "a1:1 a9:1 b5:1 a3:1 a30:1 b31:1", lateness="8s")
        stream = fed.process(Silence(), schema=SILENCES)
        self._gives(tmp_path, stream, [(19, "a", 3), (15, "b", 1), (40, "a", 1), (41, "b", 1)])

    def test_rows_in_state_and_ports(self, tmp_path: Path) -> None:
        """Process: rows per key, and results on several ports."""
        fed = self._fed(tmp_path, "a1:1 b2:2 a4:4 a3:3 b5:5 a6:6", lateness="5s")
        stream = fed.process(LastTwo(), schema={"main": IN, "pairs": IN})
        found = self.run(tmp_path, {"main": stream, "pairs": stream.side("pairs")})
        assert found["main"].num_rows == 6
        assert sorted(in_seconds(found["pairs"])) == [(3, "a", 4.0), (5, "b", 7.0), (6, "a", 10.0)]

    def test_order_of_arrival(self, tmp_path: Path) -> None:
        """Process: events as they come, where that is asked for."""
        fed = self._fed(tmp_path, "a3:3 a1:1 a2:2 a4:4", lateness="5s")
        stream = fed.process(LastTwo(), schema={"main": IN, "pairs": IN}, order="arrival").side("pairs")
        self._gives(tmp_path, stream, [(1, "a", 4.0), (4, "a", 6.0)])

    def test_clock_timers(self, tmp_path: Path) -> None:
        """Process: a timer in processing time, as it was recorded."""
        stream, how = self.clocked([(0, "a1:1"), (4, "a2:1 b2:1"), (12, "c3:1"), (15, "c4:1")])
        told = stream.process(TellLater(), schema=TOLD, order="arrival")
        self._gives(tmp_path, told, [("a", 2), ("b", 1)], **how)

    # -- input without end

    def test_endless_input(self, tmp_path: Path) -> None:
        """Input without end: results come while it runs, it stops when it is told to, and the next run goes on."""
        how = {**self.options, **self.resuming(tmp_path)}
        with Endless(tmp_path, self.engine, how) as run:
            run.feed("a1:1 a2:1 a12:1")
            run.wait(1)
            run.feed("a25:1")
            run.wait(2)
        with Endless(tmp_path, self.engine, how) as run:
            run.feed("a31:1")
            run.wait(3)
        assert run.rows() == [("a", 0, 10, 2), ("a", 10, 20, 1), ("a", 20, 30, 1)]

    def test_savepoint(self, tmp_path: Path) -> None:
        """Savepoints: one of a running pipeline is where another run begins."""
        how = {**self.options, **self.resuming(tmp_path)}
        with Endless(tmp_path, self.engine, how) as run:
            run.feed("a1:1 a2:1 a12:1")
            run.wait(1)
            run.until(self.savepoint(run.pipeline, tmp_path, "here"), "savepoint")
            run.feed("a25:1")
            run.wait(2)
        with Endless(tmp_path, self.engine, {**how, "from_savepoint": "here"}) as run:
            run.wait(3)
        # What was written after the savepoint is written again.
        assert run.rows() == [("a", 0, 10, 2), ("a", 10, 20, 1), ("a", 10, 20, 1)]

    # -- failure

    @pytest.mark.parametrize("value", [1, 4, 9])
    def test_failure_and_resume(self, tmp_path: Path, value: int) -> None:
        """Checkpoints: a run that fails and goes on has every result once, windows, joins and state alike."""
        text = " ".join(f"{'ab'[i % 2]}{3 * i}:{i}" for i in range(10))
        fed = self._fed(tmp_path, text).map_batches(FailsOnce(str(tmp_path / "failed"), value), schema=IN)
        timed = fed.event_time("time").key_by("key")
        ways = {
            "windows": timed.window(ev.tumbling("10s")).aggregate(n=ev.count(), s=ev.sum("value")),
            "pairs": timed.process(LastTwo(), schema={"main": IN, "pairs": IN}).side("pairs"),
            "joined": timed.join(timed, ev.interval("1s", "6s")).select("value", "value_right"),
        }
        how = self.resuming(tmp_path)
        try:
            found = self.run(tmp_path, ways, **how)
        except (EventideError, OSError):
            assert (tmp_path / "failed").exists()
            found = self.run(tmp_path, ways, **how)
        assert (tmp_path / "failed").exists()
        assert sorted(in_seconds(found["windows"])) == _windows_of(10)
        assert sorted(v for _, _, v in in_seconds(found["pairs"])) == [2.0, 4.0, 10.0, 12.0]
        assert sorted(in_seconds(found["joined"])) == [(float(i), i + 2.0) for i in range(8)]


_PANE = ("pane_index", "pane_timing", "n")


def _row(text: str) -> tuple[Any, ...]:
    """Return the words of a row, numbers as numbers."""

    def value(word: str) -> Any:
        number = word.lstrip("-").replace(".", "", 1).isdigit()
        return (float(word) if "." in word else int(word)) if number else word

    return tuple(value(word) for word in text.split())


def _table(batch: pa.RecordBatch) -> pa.Table:
    return pa.Table.from_batches([batch])


def _broken(batch: pa.RecordBatch) -> pa.RecordBatch:
    if batch.num_rows:
        msg = "this failure is part of a test"
        raise ZeroDivisionError(msg)
    return batch


def _windows_of(count: int) -> list[tuple[Any, ...]]:
    """Return the windows of 10 s of events i at 3 i seconds with value i, of the keys a and b in turn."""
    made: dict[tuple[str, int], list[int]] = {}
    for i in range(count):
        made.setdefault(("ab"[i % 2], 3 * i // 10 * 10), []).append(i)
    return sorted((k, s, s + 10, len(v), float(sum(v))) for (k, s), v in made.items())
