"""The commands of the application, its plots, and the golden answers of stereo."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from eventide.apps.gamma.commands import app
from eventide.apps.gamma.demo import POSITION, run_demo
from eventide.apps.gamma.plot import draw
from eventide.apps.gamma.schema import DL2_EVENT
from eventide.apps.gamma.site import made
from eventide.apps.gamma.verify_stereo import verify_stereo
from eventide.errors import ConfigError, DataError


def called(*words):
    return CliRunner().invoke(app, list(words))


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    pytest.importorskip("matplotlib")
    out = tmp_path_factory.mktemp("demo")
    said = []
    return run_demo(out, array="made-8", seconds=100, seed=2026, say=said.append), out, said


def test_the_demonstration_ends_with_an_alert_and_a_page(shown):
    summary, out, said = shown
    assert summary["ok"], summary
    assert summary["alerts"] >= 1
    assert 0 <= summary["alert_after_onset"] <= 25
    assert any("sigma" in line for line in said)
    page = (out / "gamma.html").read_text("utf-8")
    assert "<svg" in page and "Crab-" in page
    assert "<h2>Telescopes</h2>" in page and "last seen (UTC)" in page
    assert "http" not in page.replace("http://www.w3.org", "").replace("https://matplotlib.org", "").replace(
        "http://purl.org", ""
    ).replace("http://creativecommons.org", "")
    assert json.loads((out / "alert.json").read_text("utf-8"))["alert_tense"] == "test"


def test_plot_draws_the_topics_again(shown, tmp_path):
    _, out, _ = shown
    done = called("plot", str(tmp_path / "again.png"), "--array", "made-8", "--log", str(out / "gamma-log"))
    assert done.exit_code == 0, done.output
    assert (tmp_path / "again.png").stat().st_size > 10_000


def test_nothing_to_draw_is_said(tmp_path):
    with pytest.raises(DataError, match="nothing to draw"):
        draw({"events": DL2_EVENT.empty_table()}, made(4), tmp_path / "x.png", position=POSITION)


def test_simulate_writes_files_and_topics(tmp_path):
    file = tmp_path / "images.parquet"
    done = called("simulate", str(file), "--array", "made-4", "--seconds", "2", "--flare", "0,1,20")
    assert done.exit_code == 0, done.output
    assert file.stat().st_size > 0
    done = called("simulate", "log://images", "--array", "made-4", "--seconds", "2", "--log", str(tmp_path / "log"))
    assert done.exit_code == 0, done.output
    assert {p.name for p in (tmp_path / "log").rglob("*") if p.is_dir()} >= {"images", "pointings"}
    assert isinstance(called("simulate", str(file), "--flare", "1,2").exception, ConfigError)


def test_false_alarms_are_rare():
    done = called("false-alarm", "--hours", "100")
    assert done.exit_code == 0, done.output
    assert json.loads(done.output.splitlines()[-1])["ok"]


def test_commands_need_data(monkeypatch):
    monkeypatch.delenv("EVENTIDE_DATA", raising=False)
    for command in ("verify", "crab"):
        assert isinstance(called(command).exception, ConfigError)


def test_stereo_is_that_of_ctapipe(data_dir):
    found = verify_stereo(data_dir)
    assert found["ok"], found
    assert found["events"] == 5


@pytest.mark.skipif(
    importlib.util.find_spec("eventio") is None, reason="eventio is not installed: eventide[gamma-simtel]"
)
@pytest.mark.filterwarnings("ignore:File seems to be truncated")
def test_verify_compares_everything(data_dir: Path):
    done = called("verify", "--golden", "--data", str(data_dir))
    assert done.exit_code == 0, done.output
    assert json.loads(done.output.splitlines()[-1])["rows"] == 651


def test_stereo_without_its_data(tmp_path):
    with pytest.raises(DataError, match="EVENTIDE_DATA"):
        verify_stereo(tmp_path)
