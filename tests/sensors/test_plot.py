"""Plots: a picture, and a page that needs nothing from anywhere."""

from __future__ import annotations

import builtins
import re

import numpy as np
import pyarrow as pa
import pytest

from eventide.apps.sensors.plot import draw
from eventide.apps.sensors.schema import INCIDENTS, SCORED
from eventide.errors import DataError, MissingDependencyError
from eventide.model.time import EVENT_TIME


def tables(rows: int = 50) -> tuple[pa.Table, pa.Table]:
    times = pa.array(np.arange(rows) * 10**10, pa.int64()).cast(EVENT_TIME)
    wave = np.sin(np.arange(rows) / 5)
    columns = {
        "timestamp": times,
        "node_id": pa.array(["n"] * rows),
        "stream": pa.array(["TSYS01_temperature"] * rows),
        "value": pa.array(wave),
        "prediction": pa.array(wave * 0.9),
        "low": pa.array(wave - 1),
        "high": pa.array(wave + 1),
        "score": pa.array(np.abs(wave)),
        "detector": pa.array(["band"] * rows),
        "flag": pa.array(np.arange(rows) == 30),
    }
    scored = pa.table([columns[name] for name in SCORED.names], schema=SCORED)
    run = {
        "stream": "TSYS01_temperature",
        "start": times[30].as_py(),
        "end": times[31].as_py(),
        "n": 2,
        "peak_score": 1.5,
    }
    return scored, pa.Table.from_pylist([run], schema=INCIDENTS)


@pytest.fixture(autouse=True)
def _matplotlib():
    pytest.importorskip("matplotlib")


def test_picture(tmp_path):
    path = draw(*tables(), tmp_path / "new" / "day.png", title="A day")
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_page_asks_nothing_of_any_other_place(tmp_path):
    page = draw(*tables(), tmp_path / "day.html", title="A <day>").read_text()
    assert "A &lt;day&gt;" in page
    assert "<svg" in page
    assert "TSYS01_temperature" in page
    assert "1.50" in page
    # Names of XML vocabularies look like addresses but are never fetched.
    assert not re.search(r'(src|href)="(?!#)[^"]*(//|\.css|\.js)', re.sub(r'xlink:href="#[^"]*"', "", page))
    assert "<script" not in page
    assert "@import" not in page


def test_streams_can_be_chosen_and_no_incident_is_needed(tmp_path):
    scored, incidents = tables()
    draw(scored, incidents.slice(0, 0), tmp_path / "quiet.svg")
    with pytest.raises(DataError, match="nothing to draw"):
        draw(scored, incidents, tmp_path / "none.png", streams=["unknown"])


def test_without_matplotlib_the_error_says_what_to_install(tmp_path, monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingDependencyError, match=r"pip install eventide\[plot\]"):
        draw(*tables(), tmp_path / "day.png")
