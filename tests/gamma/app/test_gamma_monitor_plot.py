"""Lines of what telescopes do: one for each, broken where there is nothing, a colour for those that stand out."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from eventide.apps._page import new_figure
from eventide.apps.gamma.monitor_plot import MONITORED, health, lines
from eventide.apps.gamma.slow_control.monitors import MONITOR
from eventide.apps.gamma.views import VIEWS

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

STEP = 10 * 10**9


def monitors(values):
    """Return rows of a dictionary {telescope: {interval: rate}}; the dead pixels of telescope t are t."""
    rows = [
        {"start": n * STEP, "stop": (n + 1) * STEP, "tel_id": tel, "images": 10, "rate": rate, "dead_pixels": tel}
        for tel, rates in values.items()
        for n, rate in rates.items()
    ]
    return pa.Table.from_pylist(rows, schema=MONITOR)


def drawn(table, column):
    panel = new_figure(6, 3).subplots()
    lines(panel, table, column)
    named = {line.get_label(): line for line in panel.lines if not line.get_label().startswith("_")}
    return panel, {name: np.asarray(line.get_ydata(), float) for name, line in named.items()}


def test_a_line_for_each_telescope():
    table = monitors({3: {0: 1.0, 1: 2.0, 2: 3.0}, 1: {0: 4.0, 2: 5.0}})
    _, found = drawn(table, "rate")
    assert list(found) == ["1", "3"]
    assert found["3"].tolist() == [1.0, 2.0, 3.0]
    assert found["1"].tolist() == [4.0, 0.0, 5.0]  # no images are a rate of 0
    _, found = drawn(table, "dead_pixels")
    assert np.isnan(found["1"]).tolist() == [False, True, False]
    _, found = drawn(table, "night_sky")  # no image was looked at: there is nothing to draw
    assert np.isfinite(found["3"]).sum() == 0


def test_a_pause_breaks_lines():
    _, found = drawn(monitors({1: {0: 1.0, 1: 1.0, 7: 1.0}}), "rate")
    assert np.isnan(found["1"]).tolist() == [False, False, True, False]


def test_of_many_telescopes_those_have_a_colour_that_stand_out():
    rates = {tel: dict.fromkeys(range(5), 2.0) for tel in range(1, 31)}
    rates[17] = dict.fromkeys(range(5), 9.0)
    panel, found = drawn(monitors(rates), "rate")
    assert list(found) == ["median of 30", "17"]
    assert found["median of 30"].tolist() == [2.0] * 5
    assert len(panel.lines) == 31


def test_nothing_is_drawn_of_nothing():
    for column in MONITORED:
        panel, found = drawn(monitors({}), column)
        assert not found and not panel.lines
    assert health(monitors({})).rows == []


def test_every_line_is_a_declared_view():
    declared = {v.y.column: v for v in VIEWS if v.topic == "monitors" and v.kind == "timeseries"}
    assert set(declared) == set(MONITORED) == {v.name for v in declared.values()}
    assert {layer.by for view in declared.values() for layer in view.layers} == {"tel_id"}
