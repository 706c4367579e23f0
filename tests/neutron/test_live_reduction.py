"""What the pipeline makes of times and counts by its settings: frames, products, and division by what was sent."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest
from publications_checker import Pulses

import eventide as ev
from eventide.apps.neutron.instruments import AMOR, DREAM, LOKI
from eventide.apps.neutron.pipeline import pipeline, reduce
from eventide.apps.neutron.products import longest, products
from eventide.apps.neutron.reduction.arrivals import Arrivals, Subframe, subframes_of
from eventide.apps.neutron.reduction.convert import energy, time_of_flight, wavelength
from eventide.apps.neutron.run_messages import RUNS
from eventide.apps.neutron.simulate import simulate
from eventide.errors import ConfigError, UsageError

SECOND, LEDGER = 10**9, ("binned", "below", "above", "unknown", "masked", "nan", "vetoed")
PERIOD = AMOR.period


def edges_of(table, name):
    from eventide.apps.neutron.plot import axis_edges
    from eventide.kernel.histogram.publication import read_metadata

    return axis_edges(read_metadata(table.schema)[name]["axes"][0])


def last(table, name):
    rows = table.filter(pa.compute.equal(table["product"], name))
    return {n: rows[n][-1].as_py() for n in rows.column_names if not pa.types.is_timestamp(rows[n].type)}


def adds_up(table):
    total = sum(np.array(table[n]) for n in LEDGER)
    return np.array_equal(total, np.array(table["events"]))


def charged(pulses, seed=5, *, none=0.1):
    """Give pulses proton charges: the same for all sources of a pulse, of some none."""
    rng = np.random.default_rng(seed)
    times = pulses["event_time"].cast(pa.int64()).to_numpy()
    known = {t: np.float32(rng.uniform(1e-4, 1e-3)) if rng.random() > none else None for t in np.unique(times).tolist()}
    values = pa.array([known[t] for t in times.tolist()], pa.float32())
    at = pulses.schema.get_field_index("proton_charge")
    return pulses.set_column(at, pulses.schema.field(at), values), known


def shuffled(pulses, seed):
    """Another order within the lateness of a second, and other batches."""
    rng = np.random.default_rng(seed)
    times = pulses["event_time"].cast(pa.int64()).to_numpy()
    order = np.argsort(times + rng.integers(0, 900_000_000, times.size), kind="stable")
    table = pulses.take(pa.array(order)).combine_chunks()
    cuts = np.unique([0, *rng.integers(0, len(table), 9), len(table)]).tolist()
    return pa.Table.from_batches([table.slice(a, b - a).to_batches()[0] for a, b in itertools.pairwise(cuts)])


class TestProducts:
    def test_energy_is_that_of_the_conversion(self):
        pulses = simulate("amor", seconds=2, rate=3000)
        live = reduce(ev.from_table(pulses), AMOR, chosen="energy=0.5-20,wavelength,image")
        table = ev.fetch(live.histograms)
        assert set(table["product"].to_pylist()) == {"energy", "wavelength", "image"} and adds_up(table)
        known = Pulses(pulses)
        banks = np.flatnonzero(known.is_bank)
        tof, pixel = (np.concatenate([part[i] for i in banks]) for part in (known.flights, known.pixels))
        path = AMOR.geometry().path[pixel - AMOR.first]
        for name, values in (("energy", energy(tof / 1000, path)), ("wavelength", wavelength(tof / 1000, path))):
            made = last(table, name)
            expected = np.histogram(values, edges_of(table, name))[0]
            # An event on an edge may be on either side of it: constants of the two ways differ in the last digits.
            assert np.abs(np.array(made["counts"]) - expected).sum() <= 2 and made["events"] == tof.size

    @pytest.mark.parametrize("one", [AMOR, DREAM], ids=lambda i: i.name)
    def test_all_of_them_of_any_instrument(self, one):
        every = products(one, chosen="time_of_flight=0-1e7,image,wavelength,d_spacing=0.5-2,q,energy", bins=40)
        assert list(every) == ["time_of_flight", "image", "wavelength", "d_spacing", "q", "energy"]

    def test_what_there_is_not(self):
        for wrong in ("wave", "q=low-high", "q=1", ""):
            with pytest.raises(ConfigError, match="products="):
                products(AMOR, chosen=wrong or ",")


class TestFrames:
    def test_arrivals_of_overlapping_pulses_are_the_times_of_flight(self):
        """What is recorded is the time after the newest pulse; unwrapped, counts are those of the times of flight."""
        pulses = simulate("loki", seconds=3, rate=4000, seed=2)
        flights = pulses["time_of_flight"].combine_chunks()
        assert int(pa.compute.max(flights.values).as_py()) > PERIOD
        at = pulses.schema.get_field_index("time_of_flight")
        recorded = pa.ListArray.from_arrays(flights.offsets, pa.array(np.array(flights.values) % PERIOD, pa.int32()))
        wrapped = pulses.set_column(at, pulses.schema.field(at), recorded)
        found, wanted = (
            reduce(ev.from_table(table), LOKI, bins=200, frames=frames, chosen="time_of_flight,wavelength,q")
            for table, frames in ((wrapped, "2.0"), (pulses, ""))
        )
        for kind in ("histograms", "monitors"):
            a, b = (ev.fetch(getattr(live, kind)) for live in (found, wanted))
            assert adds_up(a) and a.num_rows == b.num_rows
            assert a["events"].equals(b["events"])
            differ = [
                np.abs(np.array(x) - np.array(y)).sum()
                for x, y in zip(a["counts"].to_pylist(), b["counts"].to_pylist(), strict=True)
            ]
            # The period is not a whole number of us, so a time may come back within half a ns beside an edge.
            assert max(differ) <= 0.002 * max(b["events"].to_pylist())

    def test_subframes(self):
        """Neutrons of two subframes, each sent at its own time; those of neither are counted as such."""
        path, first = AMOR.geometry().path, AMOR.first
        text = "1000:2-4,9000:4-7"
        rng = np.random.default_rng(4)
        lam, pixel = rng.uniform(2.05, 6.95, 5000), rng.integers(0, AMOR.pixels, 5000) + first
        delay = np.where(lam < 4, 1000.0, 9000.0)
        arrival = time_of_flight(lam, path[pixel - first]) + delay
        gap = time_of_flight(4.0, path[0]) + 1000.0 + 2000.0 * rng.random(300)  # between the two, at the first pixel
        arrival, pixel = np.append(arrival, gap), np.append(pixel, np.full(300, first))
        ns = np.rint(arrival * 1000).astype(np.int64) % PERIOD
        row = {
            "event_time": ["2026-01-01"], "source": ["amor_detector"], "message_id": [1], "pulse": [0],
            "time_of_flight": [ns.tolist()], "pixel_id": [pixel.tolist()],
        }  # fmt: skip
        rest = {"period": [None], "running": [None], "proton_charge": [None]}
        schema = simulate("amor", seconds=1, rate=10).schema
        times = pa.array(row.pop("event_time")).cast("timestamp[ns]").cast(schema.field(0).type)
        table = pa.table([times, *(pa.array(v, schema.field(n).type) for n, v in (row | rest).items())], schema=schema)
        made = ev.fetch(reduce(ev.from_table(table), AMOR, frames=text, chosen="wavelength=0-13", bins=130).histograms)
        one = last(made, "wavelength")
        assert (one["events"], one["nan"], one["binned"]) == (5300, 300, 5000) and adds_up(made)
        expected = np.histogram(lam, np.linspace(0, 13, 131))[0]
        assert np.abs(np.array(one["counts"]) - expected).sum() <= 4

    def test_pixels_and_monitors_that_are_not_known(self):
        arrivals = Arrivals((Subframe(0, 1),), 1000.0, np.array([10.0]), 5, {"a": 2.0})
        batch = pa.record_batch({
            "source": ["a", "b"],
            "time_of_flight": pa.array([[1], [2, 3]], pa.list_(pa.int32())),
            "pixel_id": pa.nulls(2, pa.list_(pa.int32())),
        })  # fmt: skip
        found = arrivals(batch)["time_of_flight"].to_pylist()
        assert found[0][0] == pytest.approx(1_000_001) and np.isnan(found[1]).all()
        pixels = pa.record_batch({"time_of_flight": [7, 7], "pixel_id": [5, 6]})
        assert np.isnan(arrivals(pixels)["time_of_flight"].to_pylist()).tolist() == [False, True]

    def test_what_is_no_subframe(self):
        for wrong in ("x", "1:2-", "0:1-2-3"):
            with pytest.raises(ConfigError, match="no subframe"):
                subframes_of(wrong)
        for subframes in (
            (),
            (Subframe(0, 2, 1),),
            (Subframe(0, 1, 3), Subframe(5, 2, 4)),
            (Subframe(float("inf"), 1),),
        ):
            with pytest.raises(UsageError):
                Arrivals(subframes, 1.0, np.ones(1))


class TestNormalised:
    def test_by_charge(self):
        pulses, known = charged(simulate("loki", seconds=4, rate=4000, seed=8))
        chosen = {"chosen": "time_of_flight,wavelength", "bins": 50, "normalise": "charge", "least_charge": 2e-4}
        live = reduce(ev.from_table(pulses), LOKI, **chosen)
        table, counts = ev.fetch(live.normalised), ev.fetch(live.histograms)
        assert table.num_rows == counts.num_rows > 4 and "counts" not in table.column_names
        untils, names = table["until"].cast(pa.int64()).to_pylist(), table["product"].to_pylist()
        whole = {
            (u, n): np.array(c)
            for u, n, c in zip(
                counts["until"].cast(pa.int64()).to_pylist(),
                counts["product"].to_pylist(),
                counts["counts"].to_pylist(),
                strict=True,
            )
        }
        rows = zip(
            untils, names, table["divisor"], table["values"].to_pylist(), table["errors"].to_pylist(), strict=True
        )
        for until, name, divisor, values, errors in rows:
            charge = sum(float(c) for t, c in known.items() if t < until and c is not None and c >= np.float32(2e-4))
            assert divisor.as_py() == pytest.approx(charge, rel=1e-7)
            np.testing.assert_allclose(values, whole[until, name] / divisor.as_py(), rtol=1e-12)
            np.testing.assert_allclose(errors, np.sqrt(whole[until, name]) / divisor.as_py(), rtol=1e-12)
        again = ev.fetch(reduce(ev.from_table(shuffled(pulses, 3)), LOKI, **chosen).normalised)
        order = [("until", "ascending"), ("product", "ascending")]
        assert again.sort_by(order).equals(table.sort_by(order)), "the order of arrival changes something"

    def test_by_a_monitor(self):
        pulses = simulate("loki", seconds=3, rate=4000, seed=9)
        live = reduce(ev.from_table(pulses), LOKI, chosen="q", bins=80, normalise="loki_monitor2")
        table, monitors = ev.fetch(live.normalised), ev.fetch(live.monitors)
        mine = monitors.filter(pa.compute.equal(monitors["source"], "loki_monitor2"))
        known = dict(zip(mine["until"].cast(pa.int64()).to_pylist(), mine["binned"].to_pylist(), strict=True))
        assert table["divisor"].to_pylist() == [known[u] for u in table["until"].cast(pa.int64()).to_pylist()]
        counts = np.array(last(ev.fetch(live.histograms), "q")["counts"])
        one = last(table, "q")
        n = one["divisor"]
        np.testing.assert_allclose(one["values"], counts / n, rtol=1e-12)
        np.testing.assert_allclose(one["errors"], np.sqrt(counts / n**2 + counts.astype(float) ** 2 / n**3), rtol=1e-12)
        assert one["by"] == "loki_monitor2" and adds_up(table)
        assert np.array_equal(edges_of(table, "q"), edges_of(ev.fetch(live.histograms), "q"))

    @pytest.mark.parametrize("by", ["charge", "amor_monitor"])
    def test_of_each_run(self, by):
        pulses, known = charged(simulate("amor", seconds=4, rate=2000, seed=3), none=0)
        start = min(known)
        times = pa.array([start, start + 2 * SECOND, start + 2 * SECOND]).cast(RUNS.field("event_time").type)
        names = [[True, False, True], ["a", "a", "b"], ["a", "a", "b"], [None] * 3]
        columns = zip(names, [f.type for f in RUNS][1:], strict=True)
        told = pa.table([times, *(pa.array(values, kind) for values, kind in columns)], schema=RUNS)
        live = reduce(
            ev.from_table(pulses), AMOR, per="run", runs=ev.from_table(told), normalise=by, chosen="wavelength"
        )
        table = ev.fetch(live.normalised)
        final = dict(zip(table["run"].to_pylist(), table["divisor"].to_pylist(), strict=True))
        if by == "charge":
            sums = {
                "a": sum(float(c) for t, c in known.items() if t < start + 2 * SECOND),
                "b": sum(float(c) for t, c in known.items() if t >= start + 2 * SECOND),
            }
            assert {r: final[r] for r in sums} == pytest.approx(sums, rel=1e-7)
        else:
            monitors = ev.fetch(live.monitors)
            wanted = dict(zip(monitors["run"].to_pylist(), monitors["binned"].to_pylist(), strict=True))
            assert {r: final[r] for r in ("a", "b")} == {r: wanted[r] for r in ("a", "b")}

    def test_nothing_sent_is_no_number(self):
        pulses = simulate("amor", seconds=1, rate=1000)
        table = ev.fetch(reduce(ev.from_table(pulses), AMOR, normalise="charge", chosen="q").normalised)
        assert table["divisor"].null_count == table["values"].null_count == table.num_rows > 0

    def test_what_there_is_not(self):
        for wrong, more in (("amor", {}), ("charge", {"form": "events"})):
            with pytest.raises(ConfigError, match="cannot be divided by"):
                pipeline(instrument="amor", normalise=wrong, **more)


def test_by_the_settings_of_the_pipeline(tmp_path):
    log = str(tmp_path / "log")
    ev.run(ev.from_table(simulate("amor", seconds=2, rate=1000)).write("log://pulses", log=log))
    job = pipeline(instrument="amor", products="image,energy", frames="2", normalise="amor_monitor", log=log)
    ev.run(job)
    found = ev.fetch(ev.read("log://normalised", log=log, follow=False))
    assert set(found["product"].to_pylist()) == {"image", "energy"} and longest(AMOR) > PERIOD
