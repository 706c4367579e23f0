"""Frame unwrapping, normalisation, vetoes and periods."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import eventide as ev
from eventide.apps.neutron.reduction.convert import time_of_flight
from eventide.apps.neutron.reduction.frames import ESS_PERIOD, Frames, frames_of, unwrap, unwrapped
from eventide.apps.neutron.reduction.normalise import Measured, counted, per
from eventide.apps.neutron.reduction.pulses import veto
from eventide.errors import EventideError, SchemaError, UsageError
from eventide.kernel.histogram.axes import uniform

finite = st.floats(-1e6, 1e6)


class TestFrames:
    @given(finite, finite, st.floats(1e-2, 1e6))
    def test_the_time_lies_in_the_frame_and_differs_by_whole_periods(self, time, earliest, period):
        found = float(unwrap(time, earliest, period))
        slack = 1e-9 * max(abs(time), abs(earliest), period)
        assert earliest - slack <= found <= earliest + period + slack
        periods = (Fraction(found) - Fraction(time)) / Fraction(period)
        assert abs(periods - round(periods)) * Fraction(period) <= Fraction(slack)

    def test_edges_of_the_frame(self):
        assert unwrap([50.0, 121.0, 120.99999, -21.0], 50.0, 71.0).tolist() == [50.0, 50.0, 120.99999, 50.0]
        assert np.isnan(unwrap([1.0, np.nan, np.inf], [np.nan, 0.0, 0.0], 71.0)).all()
        for period in (0.0, -1.0, np.nan, np.inf):
            with pytest.raises(UsageError):
                unwrap(1.0, 0.0, period)
        with pytest.raises(UsageError):
            frames_of([1.0], shortest=-1.0)

    def test_wavelengths_come_back_at_ess(self):
        random = np.random.default_rng(4)
        path = random.uniform(20, 160, 500)  # to BIFROST and beyond: up to the third frame
        frames = frames_of(path, shortest=2.0, first=100)
        pixel = random.integers(0, 500, 20_000)
        width = ESS_PERIOD / time_of_flight(1.0, path[pixel])  # Angstrom in a period, at each pixel
        true = time_of_flight(2.0 + random.random(pixel.size) * width * 0.999, path[pixel])
        recorded = true % ESS_PERIOD
        assert (recorded != true).mean() > 0.5
        assert np.abs(frames.times(pixel + 100, recorded) - true).max() < 1e-6
        assert np.isnan(frames.times([99, 600], [1.0, 1.0])).all()

    @pytest.mark.parametrize("large", [False, True])
    def test_pulses_in_a_pipeline(self, large):
        kind = (pa.large_list if large else pa.list_)(pa.int32())
        table = pa.table(
            {
                "t": pa.array([0, 1, 2], pa.timestamp("us", "UTC")),
                "pixel_id": pa.array([[0, 1], [], [7]], kind),
                "time_of_flight": pa.array([[10_000, 60_000], [], [1]], kind),
            }
        )
        frames = Frames(np.array([50.0, 150.0]), 71.0)
        made = ev.fetch(ev.from_table(table).event_time("t").pipe(unwrapped, frames, delay=1.0))
        first, empty, unknown = made["time_of_flight"].to_pylist()
        assert (np.round(first, 6).tolist(), empty) == ([80_000.0, 201_000.0], [])
        assert np.isnan(unknown).all()
        axis = uniform("time_of_flight", 0, 300_000, 3)
        row = ev.fetch(
            ev.from_table(table).event_time("t").pipe(unwrapped, frames).pipe(ev.op.histogram, products={"t": axis})
        ).to_pylist()[0]
        assert (row["counts"], row["nan"], row["events"]) == ([1, 0, 1], 1, 3)

    def test_columns_that_do_not_belong_together(self):
        table = {"pixel_id": [1], "time_of_flight": [[1]]}
        with pytest.raises(SchemaError, match="lists"):
            ev.fetch(ev.from_table(table).pipe(unwrapped, Frames(np.zeros(2))))
        with pytest.raises(EventideError, match="pixel_id"):
            ev.fetch(ev.from_table({"time_of_flight": [1]}).pipe(unwrapped, Frames(np.zeros(2))))


class TestNormalise:
    def test_errors_against_many_experiments(self):
        random = np.random.default_rng(5)
        counts, monitor = random.poisson(400, 200_000), random.poisson(900, 200_000)
        ratios = counts / monitor
        said = per([400], monitor=900).errors[0]
        assert abs(ratios.std() / said - 1) < 0.01

    def test_a_reduction(self):
        sample = per([100, 50, 0], charge=2.0)
        background = per([10, 0, 0], charge=1.0)
        vanadium = per([400, 400, 0], charge=4.0)
        made = (sample - background) / vanadium
        assert made.values.tolist()[:2] == [0.4, 0.25]
        assert np.isnan(made.values[2])
        assert np.isnan(made.errors[2])
        assert made.variances[0] == pytest.approx((25 + 10 + 0.16 * 25) / 1e4, rel=1e-15)
        assert (sample + background).values.tolist() == [60.0, 25.0, 0.0]

    @pytest.mark.parametrize(
        "arguments",
        [{}, {"monitor": 1, "charge": 1}, {"monitor": -1, "charge": 1}, {"charge": np.nan}, {"charge": np.inf}],
    )
    def test_nothing_to_divide_by(self, arguments):
        with pytest.raises(UsageError):
            per([1], **arguments)

    def test_hostile(self):
        with pytest.raises(UsageError):
            counted([-1])
        with pytest.raises(UsageError):
            Measured(np.zeros(2), np.zeros(3))


class TestVetoes:
    def test_nulls_and_nan_veto(self):
        frame = pl.DataFrame({"r": [True, None, True, True, True], "c": [1.0, 1.0, None, float("nan"), 0.5]})
        found = frame.select(v=veto(running="r", charge="c", least_charge=0.5))["v"].to_list()
        assert found == [False, True, True, True, False]

    def test_intervals_are_half_open(self):
        times = pl.Series("t", [0, 1000, 2000, None]).cast(pl.Datetime("ns", "UTC"))
        between = [("1970-01-01T00:00:00.000001Z", "1970-01-01T00:00:00.000002Z")]
        assert pl.DataFrame([times]).select(v=veto(time="t", between=between))["v"].to_list() == [
            False,
            True,
            False,
            False,
        ]
        with pytest.raises(UsageError):
            veto(time="t", between=[between[0][::-1]])
        with pytest.raises(UsageError):
            veto(between=between)
        with pytest.raises(UsageError):
            veto()

    def test_periods_are_kept_apart_and_the_ledger_adds_up(self):
        pulses = ev.from_table(
            {
                "t": ["2026-01-01T00:00:00", "2026-01-01T00:00:01", "2026-01-01T00:00:02"],
                "period": [1, 2, 1],
                "running": [True, True, False],
                "proton_charge": [0.5, 0.25, 0.5],
                "tof": [[10, 20], [30], [40, 50, 60]],
            }
        ).event_time("t")
        known = pulses.with_columns(veto=veto(running="running"))
        axis = uniform("tof", 0, 100, 2)
        made = ev.fetch(known.key_by("period").pipe(ev.op.histogram, products={"tof": axis}, vetoed="veto"))
        rows = {r["period"]: r for r in made.to_pylist()}
        assert (rows[1]["counts"], rows[1]["vetoed"], rows[1]["events"]) == ([2, 0], 3, 5)
        assert (rows[2]["counts"], rows[2]["vetoed"]) == ([1, 0], 0)
        sums = (
            known.filter(~pl.col("veto"))
            .key_by("period")
            .window(ev.global_window())
            .aggregate(c=ev.sum("proton_charge"))
        )
        assert {r["period"]: r["c"] for r in ev.fetch(sums).select(["period", "c"]).to_pylist()} == {1: 0.5, 2: 0.25}
