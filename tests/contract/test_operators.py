"""Every built-in operator passes the suite that ships with eventide; the references are plain loops over rows."""

from __future__ import annotations

import itertools

import polars as pl
import pyarrow as pa

import eventide as ev
from eventide.model.time import EVENT_TIME
from eventide.testing.operators import OperatorSuite
from eventide.testing.strategies import SECOND, duplicates, events
from operators.histogram_truth import PRODUCTS, as_table, publications


def rows(table, schema=None):
    """Return rows as dicts with times in ns, in the order in which operators take them."""
    plain = table.set_column(0, "time", table["time"].cast(pa.int64()))
    found = plain.to_pylist()
    return sorted(found, key=lambda r: tuple((v is not None, v) for v in r.values()))


def table_of(made, schema):
    columns = {f.name: pa.array([r[f.name] for r in made], f.type) for f in schema}
    return pa.table(columns, schema=schema)


def per_key(table):
    found = {}
    for row in rows(table):
        found.setdefault(row["key"], []).append(row)
    return found


class TestDedup(OperatorSuite):
    plugin = "dedup"

    def events(self):
        return events(max_rows=25).flatmap(duplicates)

    def apply(self, stream):
        kept = stream.pipe(ev.op.dedup, by=["key", "n"], within="15s")
        return {"main": kept, "duplicates": kept.side("duplicates")}

    def reference(self, table):
        passed, ways = {}, {"main": [], "duplicates": []}
        for row in rows(table):
            last = passed.get((row["key"], row["n"]))
            new = last is None or row["time"] - last > 15 * SECOND
            if new:
                passed[row["key"], row["n"]] = row["time"]
            ways["main" if new else "duplicates"].append(row)
        return {name: table_of(found, table.schema) for name, found in ways.items()}


class TestSuppress(OperatorSuite):
    plugin = "suppress"
    forgets = False  # alarms held back are counted until the next alarm of their key says how many

    def apply(self, stream):
        passed = stream.pipe(ev.op.suppress, hold="12s", when=pl.col("value") > 0)
        return {"main": passed, "suppressed": passed.side("suppressed")}

    def reference(self, table):
        main, held = [], []
        for mine in per_key(table).values():
            until, count = None, 0
            for row in mine:
                if row["value"] is None or row["value"] <= 0:
                    main.append(row | {"suppressed": 0})
                elif until is None or row["time"] >= until:
                    main.append(row | {"suppressed": count})
                    until, count = row["time"] + 12 * SECOND, 0
                else:
                    held.append(row)
                    count += 1
        schema = table.schema.append(pa.field("suppressed", pa.int64()))
        return {"main": table_of(main, schema), "suppressed": table_of(held, table.schema)}


class TestRollingOverTime(OperatorSuite):
    plugin = "rolling"

    def apply(self, stream):
        return stream.pipe(
            ev.op.rolling, over="10s", c=ev.count("value"), s=ev.sum("n"), lo=ev.min("value"), hi=ev.max("n")
        )

    def reference(self, table):
        made = []
        for mine in per_key(table).values():
            for row in mine:
                seen = [r for r in mine if row["time"] - 10 * SECOND < r["time"] <= row["time"]]
                made.append(row | aggregated(seen))
        return table_of(made, self.schema(table))

    def schema(self, table):
        more = [("c", pa.int64()), ("s", pa.int64()), ("lo", pa.float64()), ("hi", pa.int64())]
        return pa.schema([*table.schema, *(pa.field(n, t) for n, t in more)])


class TestRollingOverRows(TestRollingOverTime):
    forgets = False  # the last three events of every key are kept, that is what is asked for

    def apply(self, stream):
        return stream.pipe(
            ev.op.rolling, rows=3, c=ev.count("value"), s=ev.sum("n"), lo=ev.min("value"), hi=ev.max("n")
        )

    def reference(self, table):
        made = []
        for mine in per_key(table).values():
            made += [row | aggregated(mine[max(0, i - 2) : i + 1]) for i, row in enumerate(mine)]
        return table_of(made, self.schema(table))


def aggregated(seen):
    values = [r["value"] for r in seen if r["value"] is not None]
    numbers = [r["n"] for r in seen if r["n"] is not None]
    return {
        "c": len(values),
        "s": sum(numbers),
        "lo": min(values, default=None),
        "hi": max(numbers, default=None),
    }


class TestSessionize(OperatorSuite):
    plugin = "sessionize"

    def apply(self, stream):
        # The id is a hash that nothing else knows; that it tells sessions apart is what start and key say.
        return stream.pipe(ev.op.sessionize, gap="8s").select("time", "key", "session_start", "session_event")

    def reference(self, table):
        made = []
        for mine in per_key(table).values():
            start = last = number = None
            for row in mine:
                if last is None or row["time"] - last >= 8 * SECOND:
                    start, number = row["time"], -1
                last, number = row["time"], number + 1
                made.append(row | {"session_start": start, "session_event": number})
        kinds = [
            ("time", EVENT_TIME),
            ("key", pa.string()),
            ("session_start", EVENT_TIME),
            ("session_event", pa.int64()),
        ]
        return table_of(made, pa.schema(kinds))


class TestResample(OperatorSuite):
    plugin = "resample"

    def apply(self, stream):
        return stream.pipe(ev.op.resample, every="4s", max_gap="12s", columns=["n"])

    def reference(self, table):
        made = []
        for key, mine in per_key(table).items():
            newest = {r["time"]: r["n"] for r in mine}
            for time, after in itertools.pairwise([*newest, None]):
                value = newest[time]
                end = time + 12 * SECOND if after is None else min(after - 1, time + 12 * SECOND)
                points = range(-(-time // (4 * SECOND)) * 4 * SECOND, end + 1, 4 * SECOND)
                made += [{"key": key, "time": point, "n": value} for point in points]
        return table_of(made, pa.schema([("key", pa.string()), ("time", EVENT_TIME), ("n", pa.float64())]))


class TestSplit(OperatorSuite):
    plugin = "split"

    def apply(self, stream):
        return stream.pipe(ev.op.split, low=pl.col("value") < 0, odd=pl.col("n") % 2 == 1)

    def reference(self, table):
        ways = {"low": [], "odd": [], "rest": []}
        for row in rows(table):
            low = row["value"] is not None and row["value"] < 0
            odd = row["n"] is not None and row["n"] % 2 == 1
            ways["low" if low else "odd" if odd else "rest"].append(row)
        return {name: table_of(found, table.schema) for name, found in ways.items()}


NODES = pa.table({"key": ["a", "c"], "height": [1.5, None]})


class TestEnrich(OperatorSuite):
    plugin = "enrich"

    def apply(self, stream):
        return stream.pipe(ev.op.enrich, NODES.rename_columns(["key", "n"]), on="key")

    def reference(self, table):
        heights = {"a": 1.5}
        schema = table.schema.append(pa.field("n_right", pa.float64()))
        return table_of([r | {"n_right": heights.get(r["key"])} for r in rows(table)], schema)


class TestFlatMap(OperatorSuite):
    plugin = "flat_map"

    def apply(self, stream):
        return stream.pipe(ev.op.flat_map, twice_if_even, schema=pa.schema([("m", pa.int64())]))

    def reference(self, table):
        schema = pa.schema([("time", EVENT_TIME), ("key", pa.string()), ("m", pa.int64())])
        even = [r for r in rows(table) if r["n"] is not None and r["n"] % 2 == 0]
        return table_of([r | {"m": r["n"] + i} for r in even for i in range(2)], schema)


def twice_if_even(batch):
    numbers = batch["n"].to_pylist()
    parents = [i for i, n in enumerate(numbers) if n is not None and n % 2 == 0 for _ in range(2)]
    return parents, pa.record_batch({"m": pa.array([numbers[p] + i % 2 for i, p in enumerate(parents)], pa.int64())})


class Joined(OperatorSuite):
    inputs = 2
    how = "inner"

    def schema(self, left, right):
        others = [f.with_name(f"{f.name}_right") for f in right.schema if f.name != "key"]
        return pa.schema([left.schema.field("key"), *(f for f in left.schema if f.name != "key"), *others])

    def pairs(self, left, right, near):
        made = []
        for row in rows(left):
            found = [r for r in rows(right) if r["key"] == row["key"] and near(row["time"], r["time"])]
            if not found and self.how == "left":
                found = [dict.fromkeys(row)]
            made += [row | {f"{n}_right": v for n, v in r.items() if n != "key"} for r in found]
        return made


class TestIntervalJoin(Joined):
    plugin = "interval_join"

    def apply(self, left, right):
        return left.pipe(ev.op.interval_join, right, lower="-5s", upper="3s", how=self.how)

    def reference(self, left, right):
        made = self.pairs(left, right, lambda a, b: -5 * SECOND <= b - a <= 3 * SECOND)
        return table_of(made, self.schema(left, right))


class TestIntervalJoinLeft(TestIntervalJoin):
    how = "left"


class TestWindowJoin(Joined):
    plugin = "window_join"

    def apply(self, left, right):
        return left.pipe(ev.op.window_join, right, window=ev.tumbling("10s"), how=self.how)

    def reference(self, left, right):
        size = 10 * SECOND
        made = self.pairs(left, right, lambda a, b: a // size == b // size)
        for row in made:
            row["window_start"] = row["time"] // size * size
            row["window_end"] = row["window_start"] + size
        plain = self.schema(left, right)
        return table_of(made, pa.schema([*plain, ("window_start", EVENT_TIME), ("window_end", EVENT_TIME)]))


class TestAsofJoin(Joined):
    plugin = "asof_join"

    def events(self):
        # One event a key and time: which of equals is the partner is not of interest here.
        return events(max_rows=25).map(one_a_time)

    def apply(self, left, right):
        return left.pipe(ev.op.asof_join, right, tolerance="9s")

    def reference(self, left, right):
        made = []
        for row in rows(left):
            found = [r for r in rows(right) if r["key"] == row["key"] and 0 <= row["time"] - r["time"] <= 9 * SECOND]
            partner = found[-1] if found else dict.fromkeys(row)
            made.append(row | {f"{n}_right": v for n, v in partner.items() if n != "key"})
        return table_of(made, self.schema(left, right))


def one_a_time(table):
    seen, keep = set(), []
    for row in table.select(["time", "key"]).to_pylist():
        keep.append(tuple(row.values()) not in seen)
        seen.add(tuple(row.values()))
    return table.filter(pa.array(keep, pa.bool_())) if len(keep) else table


class TestHistogram(OperatorSuite):
    plugin = "histogram"
    forgets = False  # all events are counted for good

    def apply(self, stream):
        return stream.pipe(ev.op.histogram, products=PRODUCTS, every="10s")

    def reference(self, table):
        return as_table(publications(table, every=10 * SECOND, key="key"), key="key")


class TestHistogramDeltas(OperatorSuite):
    plugin = "histogram"

    def apply(self, stream):
        return stream.pipe(ev.op.histogram, products=PRODUCTS, every="7s", reset="7s", sparse=True)

    def reference(self, table):
        found = publications(table, every=7 * SECOND, reset=7 * SECOND, key="key", sparse=True)
        return as_table(found, key="key", sparse=True)


class TestHistogramWindows(OperatorSuite):
    plugin = "histogram"
    keys = ()

    def apply(self, stream):
        return stream.pipe(ev.op.histogram, products=PRODUCTS, every="10s", reset="40s")

    def reference(self, table):
        return as_table(publications(table, every=10 * SECOND, reset=40 * SECOND))


class TestWindowedAggregate(OperatorSuite):
    """Windows are methods of streams, not operators; the suite holds for them alike."""

    plugin = "window"

    def apply(self, stream):
        return stream.window(ev.tumbling("10s")).aggregate(n=ev.count(), total=ev.sum("value"), top=ev.max("n"))

    def reference(self, table):
        made = {}
        for row in rows(table):
            made.setdefault((row["key"], row["time"] // (10 * SECOND) * 10 * SECOND), []).append(row)
        out = []
        for (key, start), mine in made.items():
            values = [r["value"] for r in mine if r["value"] is not None]
            numbers = [r["n"] for r in mine if r["n"] is not None]
            out.append(
                {
                    "key": key,
                    "window_start": start,
                    "window_end": start + 10 * SECOND,
                    "n": len(mine),
                    "total": sum(values, start=0.0),
                    "top": max(numbers, default=None),
                }
            )
        kinds = [("window_start", EVENT_TIME), ("window_end", EVENT_TIME), ("n", pa.int64()), ("total", pa.float64())]
        return table_of(out, pa.schema([("key", pa.string()), *kinds, ("top", pa.int64())]))
