"""An independent checker: recomputes published histograms from the pulses of a log, with numpy alone.

What a publication says it includes (the event times before `until`, of one source where it has one) is taken from the
log, each message once; counts, ledger and the least and greatest of times and message numbers must be the same.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa


class Pulses:
    """The pulses of a topic, each message once, as flat arrays; and the events of those that came again."""

    def __init__(self, table: pa.Table) -> None:
        times = table["event_time"].cast(pa.int64()).to_pylist()
        names, numbers = table["source"].to_pylist(), table["message_id"].to_pylist()
        flights, pixels = table["time_of_flight"].to_pylist(), table["pixel_id"].to_pylist()
        seen, self.again, rows = set(), [], []
        for at, identity in enumerate(zip(names, numbers, times, strict=True)):
            if identity in seen:
                self.again.append((times[at], names[at], len(flights[at])))
            else:
                seen.add(identity)
                rows.append(at)
        self.times = np.array([times[at] for at in rows], np.int64)
        self.numbers = np.array([numbers[at] for at in rows], np.int64)
        self.sources = np.array([names[at] for at in rows])
        self.is_bank = np.array([pixels[at] is not None for at in rows])
        self.flights = [np.array(flights[at], np.int64) for at in rows]
        self.pixels = [np.array([] if pixels[at] is None else pixels[at], np.int64) for at in rows]


def check(publications: pa.Table, pulses: Pulses, instrument, products) -> int:
    """Recompute every publication of a topic; return how many there were.

    `products` are those that the pipeline was asked for: of each the axes, with their edges.
    """
    columns = {}
    for name in publications.column_names:
        column = publications[name].combine_chunks()
        column = column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
        is_list = pa.types.is_list(column.type)
        columns[name] = [v.values.to_numpy() for v in column] if is_list else column.to_pylist()
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    for row in rows:
        _check(row, pulses, instrument, products[row["product"]])
    return len(rows)


def _check(row, pulses, instrument, product):
    mine = pulses.times < row["until"]
    mine &= pulses.sources == row["source"] if "source" in row else pulses.is_bank
    at = np.flatnonzero(mine)
    flights = np.concatenate([pulses.flights[i] for i in at])
    pixels = np.concatenate([pulses.pixels[i] for i in at])
    assert row["events"] == flights.size
    assert (row["first"], row["last"]) == (pulses.times[at].min(), pulses.times[at].max())
    told = pulses.numbers[[i for i in at if pulses.flights[i].size]]  # of pulses that have events
    assert (row["message_id_first"], row["message_id_last"]) == (told.min(), told.max())
    again = [n for t, s, n in pulses.again if t < row["until"] and _belongs(s, row, pulses)]
    assert (row["duplicate"], row["late"]) == (sum(again), 0)
    shape, place, good = [], np.zeros(flights.size, np.int64), np.ones(flights.size, bool)
    for axis in product:
        codes, count = _codes(axis, flights, pixels, instrument)
        good &= (codes >= 0) & (codes < count)
        place = place * count + codes
        shape.append(count)
    counts = np.bincount(place[good], minlength=int(np.prod(shape)))
    if "bins" in row:
        full = np.zeros(counts.size, np.int64)
        full[row["bins"]] = row["counts"]
        assert np.array_equal(full, counts)
    else:
        assert np.array_equal(row["counts"], counts)
    assert row["binned"] == counts.sum()
    assert row["events"] == sum(row[n] for n in ("binned", "below", "above", "unknown", "masked", "nan", "vetoed"))


def _belongs(source, row, pulses):
    if "source" in row:
        return source == row["source"]
    return bool(pulses.is_bank[pulses.sources == source][0])


def _codes(axis, flights, pixels, instrument):
    kind, edges = axis
    if kind == "pixel":
        return pixels - instrument.first, instrument.pixels
    if kind == "time":
        values = flights
    else:
        geometry = instrument.geometry()
        constant = geometry.wavelength() if kind == "wavelength" else geometry.momentum()
        constant = constant[pixels - instrument.first]
        with np.errstate(divide="ignore", invalid="ignore"):
            values = constant * flights if kind == "wavelength" else constant / flights
    codes = np.searchsorted(edges, values, side="right") - 1
    codes[np.isnan(np.asarray(values, float))] = -1
    return codes, len(edges) - 1
