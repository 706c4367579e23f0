"""Forests trained on the toy: files that the pipeline loads, and a change of models at a time of events."""

from __future__ import annotations

import builtins
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import eventide as ev
from eventide.apps.gamma.commands import app
from eventide.apps.gamma.models.files import load
from eventide.apps.gamma.models.forest import Tree, forest_of
from eventide.apps.gamma.models.schedule import Schedule
from eventide.apps.gamma.pipeline import Analysis, analyse, pipeline
from eventide.apps.gamma.science.regions import OnOff
from eventide.apps.gamma.simulate import Night
from eventide.apps.gamma.site import made
from eventide.apps.gamma.training.toy import toy_table
from eventide.apps.gamma.training.train import area_under_curve, train
from eventide.connectors.memory import MemorySink, MemorySource
from eventide.errors import DataError, MissingDependencyError, UsageError
from eventide.model.time import format_time

SITE = made(4)
CRAB = OnOff(83.63308, 22.0145, radius=0.17)


@pytest.fixture(scope="module")
def tables():
    return [toy_table(SITE, gammas=g, seconds=15, rate=40.0 if g else 120.0, seed=7 + g) for g in (True, False)]


def test_the_toy_knows_the_truth(tables):
    night = Night(SITE, seed=8, singles=0.0, gammas=40.0, hadrons=0.0)
    truth = pa.concat_tables([night.truth(n) for n in range(15)])
    assert set(truth["is_gamma"].to_pylist()) == {True}
    assert set(tables[0]["true_energy"].drop_null().to_pylist()) <= set(truth["true_energy"].to_pylist())
    assert tables[0]["true_energy"].null_count == 0
    # More light, more energy.
    light, energy = (np.log(tables[0][n].fill_null(np.nan).to_numpy()) for n in ("hillas_intensity", "true_energy"))
    known = np.isfinite(light)
    assert np.corrcoef(light[known], energy[known])[0, 1] > 0.5


def test_area_under_the_curve_is_that_of_pairs():
    random = np.random.default_rng(1)
    said, true = random.integers(0, 6, 80) / 5.0, random.random(80) < 0.4
    pairs = [(a > b) + 0.5 * (a == b) for a in said[true] for b in said[~true]]
    assert area_under_curve(said, true) == pytest.approx(np.mean(pairs))
    assert np.isnan(area_under_curve(said, np.ones(80, bool)))


def test_forests_tell_gamma_rays_apart_and_are_loaded_by_the_pipeline(tables, tmp_path):
    pytest.importorskip("sklearn")
    for name, table in zip(("gammas", "background"), tables, strict=True):
        pq.write_table(table, tmp_path / f"{name}.parquet")
    words = ["train", str(tmp_path / "models"), "--trees", "10", "--depth", "8"]
    words += [w for n in ("gammas", "background") for w in (f"--{n}", str(tmp_path / f"{n}.parquet"))]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    figures = json.loads(done.output.splitlines()[-1])
    assert figures["ok"] and figures["auc"] > 0.85 and figures["auc"] >= figures["auc_image"] - 0.02
    assert 0 < figures["energy_resolution"] < 0.6 and abs(figures["energy_bias"]) < 0.3
    assert figures["deviation"] <= 1e-6
    models = {n: str(tmp_path / "models" / f"{n}.npz") for n in ("gammaness", "energy")}
    assert [load(p).name for p in models.values()] == ["gammaness", "energy"]
    images = Night(SITE, seed=99, singles=0.0, gammas=40.0, hadrons=0.0).table(3)
    log = str(tmp_path / "log")
    ev.run(ev.read(MemorySource(images)).write("log://images", log=log))
    ev.run(pipeline(array="made-4", log=log, **models))
    events = ev.fetch(ev.read("log://events", log=log, follow=False))
    said = events["gammaness"].drop_null().to_numpy()
    assert said.size > 20 and np.median(said) > 0.7
    assert np.isfinite(events["energy"].drop_null().to_numpy()).all()


def leaf(value):
    tree = Tree(np.array([-1]), np.array([0.0]), np.array([0]), np.array([0]), np.array([value]))
    return forest_of([tree], ["hillas_width"], name="gammaness")


@pytest.mark.parametrize("options", [{}, {"batch_rows": 11}, {"lanes": 2, "batch_rows": 64}])
def test_models_change_at_a_time_of_events(options):
    night = Night(SITE, seed=3, hadrons=150.0)
    change = night.start + 2_000_000_000
    schedule = Schedule({"2000-01-01": leaf(0.25), format_time(change): leaf(0.75)})
    how = Analysis(SITE, CRAB, gammaness=schedule)
    found = analyse(ev.read(MemorySource(night.table(4))), how)
    sinks = {n: MemorySink() for n in ("events", "parameters")}
    ev.run(*(getattr(found, n).write(s) for n, s in sinks.items()), **options)
    for name, sink in sinks.items():
        rows = sink.table()
        time, said = rows["event_time"].cast(pa.int64()).to_numpy(), rows["gammaness"].fill_null(np.nan).to_numpy()
        known = np.isfinite(said)
        assert known.sum() > 20, name
        assert said[known] == pytest.approx(np.where(time[known] < change, 0.25, 0.75)), name


def test_what_cannot_be_trained_is_refused(tables, monkeypatch):
    pytest.importorskip("sklearn")
    with pytest.raises(UsageError, match="no column 'hillas_wide'"):
        train(*tables, features=["hillas_wide"])
    with pytest.raises(DataError, match="of background"):
        train(tables[0], tables[1].slice(0, 10))
    with pytest.raises(UsageError, match="0 trees"):
        train(*tables, trees=0)
    with pytest.raises(DataError, match="true energy"):
        none = tables[0].set_column(
            tables[0].num_columns - 1, "true_energy", pa.nulls(tables[0].num_rows, pa.float64())
        )
        train(none, tables[1], trees=2)
    assert train(tables[0].drop(["true_energy"]), tables[1], trees=2).energy is None


def test_without_scikit_learn(tables, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("sklearn"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingDependencyError, match="scikit-learn"):
        train(*tables)
