"""Configurations of streams and ctapipe: the table names every step, what is written runs, hostile files are told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import eventide as ev
from eventide.apps.gamma.commands import app
from eventide.apps.gamma.images import parametrise
from eventide.apps.gamma.migration.chain import Chain, chain, converted, threshold_of
from eventide.apps.gamma.migration.convert import convert, pipeline_text
from eventide.apps.gamma.migration.ctapipe_config import read_ctapipe
from eventide.apps.gamma.migration.steps import as_table
from eventide.apps.gamma.migration.streams import read_streams
from eventide.apps.gamma.migration.xml import parse_xml
from eventide.apps.gamma.simulate import Night
from eventide.apps.gamma.site import camera_of, made
from eventide.cli.target import load_target
from eventide.errors import ConfigError, DataError, EventideError, UsageError

# The shape of streams-cta's experiments/performance/total_eventrate.xml.
PROCESS = """<application>
  <property name="copies" value="2"/>
  <stream id="data" class="streams.cta.io.LoopStream" copies="${copies}" limit="30000">
    <stream id="images" class="streams.cta.io.ImageStream" url="classpath:/images.json.gz"/>
  </stream>
  <service id="regressor" class="streams.cta.PredictionService" url="classpath:/regressor.pmml"/>
  <process input="data" copies="${copies}">
    <streams.cta.SplitByTelescope key="@telescopes"/>
    <ForEach key="@telescopes">
      <streams.cta.cleaning.TailCut/>
      <streams.cta.features.Moments/>
      <streams.cta.TelescopePredictions regressor="regressor" local="true"/>
    </ForEach>
    <streams.cta.MergeByTelescope key="@telescopes"/>
    <streams.cta.SummarizePredictions/>
    <streams.cta.stereo.Stereo/>
    <RemoveKeys keys="@datarate,*telescope*"/>
    <streams.DataRate every="2000" logmemory="true"/>
    <If condition="%{data.@datarate} != null}"><Enqueue queue="perf"/></If>
  </process>
  <process input="perf"><streams.cta.io.CSVWriter url="file:./rate_${copies}.csv" keys="@datarate,@freememory"/></process>
</application>"""

TABLE = """<application>
  <process input="rows">
    <Skip condition="%{data.shower:number_of_pixel} &lt; 5"/>
    <streams.cta.cleaning.TailCut levels="12, 6"/>
    <streams.cta.stereo.Stereo/>
    <streams.cta.io.CSVWriter url="file:out.csv" keys="event_id, stereo:*, mc:*"/>
    <org.example.Unknown a="1"/>
  </process>
</application>"""

CONFIG = {
    "DataWriter": {"write_dl2": True, "Contact": {"name": "A"}},
    "EventSource": {"allowed_tels": [1, 2, 3, 4], "max_events": 10},
    "CameraCalibrator": {"image_extractor_type": [["type", "*", "NeighborPeakWindowSum"]]},
    "ImageProcessor": {
        "image_cleaner_type": "TailcutsImageCleaner",
        "TailcutsImageCleaner": {
            "picture_threshold_pe": [["type", "*", 9.0], ["type", "large*", 8.0], ["id", 2, 7.5]],
            "boundary_threshold_pe": 4.0,
            "min_picture_neighbors": 1,
        },
        "MARSImageCleaner": {"x": 1},
        "ImageQualityQuery": {"quality_criteria": [["a", "np.count_nonzero(image) > 2"], ["b", "image.sum() > 60"]]},
    },
    "ShowerProcessor": {
        "reconstructor_types": ["HillasReconstructor"],
        "HillasReconstructor": {
            "StereoQualityQuery": {
                "quality_criteria": [
                    ["c", "parameters.hillas.width.value > 0"],
                    ["d", "parameters.leakage.intensity_width_2 < 0.5"],
                    ["e", "__import__('os').system('true') or parameters.hillas.intensity > 1"],
                ]
            }
        },
    },
    "MuonProcessor": {"RingQuery": {"quality_criteria": [["r", "True"]]}},
}


def states(draft):
    return {s.theirs.rsplit(".", 1)[-1] if s.place.startswith("line") else s.place: s.state for s in draft.steps}


def test_every_element_of_a_process_is_a_step():
    draft = read_streams(PROCESS.encode())
    root = parse_xml(PROCESS.encode())
    assert len(draft.steps) == len(list(root.walk())) - 1 == 19
    found = states(draft)
    assert found["TailCut"] == found["Moments"] == found["Stereo"] == found["MergeByTelescope"] == "mapped"
    assert found["TelescopePredictions"] == found["LoopStream"] == "partly"
    assert "unmapped" not in found.values()
    assert draft.chain() == Chain("compat", {"levels": [10.0, 8.0, 4.5]})
    assert draft.source == "images.json.gz"
    assert as_table(draft.steps).splitlines()[-1].startswith("19 steps: ")


def test_conditions_levels_and_columns():
    draft = read_streams(TABLE.encode())
    assert draft.chain() == Chain(
        "compat", {"levels": [12.0, 6.0]}, (("morphology_n_pixels", ">=", 5.0),),
        columns=("event_id", "event_time", "alt*", "az*", "core_*", "is_valid"),
    )  # fmt: skip
    assert draft.sink == "file://out.csv"
    assert states(draft)["CSVWriter"] == "partly"  # mc: is not in a stream
    assert states(draft)["Unknown"] == "unmapped"


def test_every_setting_of_a_configuration_is_a_step():
    draft = read_ctapipe(json.dumps(CONFIG).encode(), form="json")
    found = {s.place: s for s in draft.steps}
    assert len(found) == len(draft.steps) == 14
    assert found["ImageProcessor.TailcutsImageCleaner.picture_threshold_pe"].state == "mapped"
    assert found["ImageProcessor.MARSImageCleaner.x"].state == "unmapped"
    assert found["MuonProcessor.RingQuery.quality_criteria"].state == "unmapped"
    stereo = found["ShowerProcessor.HillasReconstructor.StereoQualityQuery.quality_criteria"]
    assert stereo.state == "partly" and "system" in stereo.ours
    assert draft.chain().cuts == (
        ("morphology_n_pixels", ">", 2.0), ("hillas_intensity", ">", 60.0), ("hillas_width", ">", 0.0),
        ("leakage_intensity_width_2", "<", 0.5),
    )  # fmt: skip
    assert draft.telescopes == [1, 2, 3, 4]
    options = draft.chain().options
    assert options == {
        "picture": CONFIG["ImageProcessor"]["TailcutsImageCleaner"]["picture_threshold_pe"],
        "boundary": 4.0,
        "min_number_picture_neighbors": 1,
    }


def test_json_toml_and_yaml_are_the_same(tmp_path):
    yaml = pytest.importorskip("yaml")
    (tmp_path / "a.json").write_text(json.dumps(CONFIG))
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(CONFIG))
    toml = [
        "[ImageProcessor]", 'image_cleaner_type = "TailcutsImageCleaner"', "[ImageProcessor.TailcutsImageCleaner]",
        "picture_threshold_pe = 8", "boundary_threshold_pe = 4.0",
    ]  # fmt: skip
    (tmp_path / "a.toml").write_text("\n".join(toml))
    one, other = (convert(tmp_path / f"a.{end}") for end in ("json", "yaml"))
    assert sorted(one.steps) == sorted(other.steps)
    assert one.chain() == other.chain()
    assert convert(tmp_path / "a.toml").chain().options == {"picture": 8, "boundary": 4.0}


def test_what_is_written_runs(tmp_path):
    """From the command to rows, and rows as they are without the command."""
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    done = CliRunner().invoke(app, ["convert", str(tmp_path / "config.json"), "--out", str(tmp_path / "made.py")])
    assert done.exit_code == 0, done.output
    assert "unmapped  MuonProcessor" in done.output
    assert "14 steps:" in done.output
    images = Night(made(6), seed=2, hadrons=20.0, gammas=20.0).table(3)
    log = str(tmp_path / "log")
    ev.run(ev.from_table(images).write("log://images", log=log))
    sink = tmp_path / "showers.csv"
    job = load_target(str(tmp_path / "made.py"), {"array": "made-6", "sink": f"file://{sink}", "log": log})
    result = ev.run(job)
    rows = pl.read_csv(sink)
    assert result.rows_out == rows.height > 20
    assert rows["is_valid"].sum() > 10
    direct = ev.fetch(
        chain(ev.from_table(images), made(6), read_ctapipe(json.dumps(CONFIG).encode(), form="json").chain()).showers
    )
    assert rows["alt"].drop_nulls().sort().to_list() == pytest.approx(
        sorted(direct["alt"].drop_null().to_pylist()), abs=1e-9
    )


def test_the_paper_runs_on_its_images(data_dir, tmp_path):
    folder = data_dir / "gamma" / "prod3"
    (tmp_path / "total.xml").write_text(PROCESS)
    done = CliRunner().invoke(app, ["convert", str(tmp_path / "total.xml"), "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.output)
    assert told["mapped"] + told["partly"] == 19 and told["unmapped"] == 0
    array = f"{folder / 'array_101_telescopes.csv'},{folder / 'cta_camera_definitions.json.gz'}"
    params = {"source": str(folder / "images.json.gz"), "array": array, "sink": f"file://{tmp_path / 'showers.csv'}"}
    ev.run(load_target(told["file"], params))
    rows = pl.read_csv(tmp_path / "showers.csv")
    assert rows.height == 50
    assert 30 <= rows["is_valid"].sum() <= 50


def test_thresholds_are_those_of_their_telescopes():
    """Against a cleaning of one telescope after the other, with the numbers that the configuration has for it."""
    how = read_ctapipe(json.dumps(CONFIG).encode(), form="json").chain()
    site = made(6)
    images = Night(site, seed=2, hadrons=20.0, gammas=20.0).table(2)
    found = ev.fetch(chain(ev.from_table(images), site, how).parameters)
    assert set(found["tel_id"].to_pylist()) == {1, 2, 3, 4}
    lists = {
        (r["tel_id"], r["tel_event_id"]): r["image"]
        for r in images.select(["tel_id", "tel_event_id", "image"]).to_pylist()
    }
    for row in found.select(["tel_id", "tel_event_id", "hillas_intensity", "morphology_n_pixels"]).to_pylist()[:60]:
        kind = site.kind(next(t.kind for t in site.telescopes if t.tel_id == row["tel_id"]))
        options = {"picture": 7.5 if row["tel_id"] == 2 else 8.0, "boundary": 4.0, "min_number_picture_neighbors": 1}
        image = np.float32([lists[row["tel_id"], row["tel_event_id"]]])
        own = parametrise(camera_of(kind), image, options=options)
        assert row["morphology_n_pixels"] == own["morphology_n_pixels"][0]
        assert row["hillas_intensity"] == pytest.approx(own["hillas_intensity"][0], nan_ok=True)


def test_rules_of_ctapipe():
    rules = [["type", "*", 1], ["id", 4, 2], ["type", "LST*", 3]]
    assert threshold_of(rules, 4, ("LST_LSTCam",)) == 3
    assert threshold_of(rules, 4, ("MST",)) == 2
    assert threshold_of([["id", 9, 2]], 4, ("MST",)) is None
    assert threshold_of([1.0, 2.0], 4, ()) == [1.0, 2.0]
    with pytest.raises(ConfigError, match="no cut"):
        chain(ev.from_table(Night(made(4)).table(1)), made(4), Chain(cuts=(("hillas_widht", ">", 1.0),)))


HOSTILE = {
    "entities": '<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;">]><application>&y;</application>',
    "files": '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><application>&x;</application>',
    "a document type": '<!DOCTYPE application SYSTEM "http://example.org/a.dtd"><application/>',
    "depth": "<a>" * 100_000,
    "number": "<application>" + "<a/>" * 20_000 + "</application>",
    "size": "<application>" + " " * 2_000_000 + "</application>",
    "an entity": "<application>&unknown;</application>",
    "not closed": "<application>",
    "nothing": "",
    "other": "<html/>",
    "encoding": '<?xml version="1.0" encoding="nonsense"?><application/>',
    "zero": "<application>\0</application>",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_xml_is_told(name):
    with pytest.raises(DataError):
        read_streams(HOSTILE[name].encode())


def test_values_do_not_grow():
    doubled = "".join(f'<property name="p{n + 1}" value="${{p{n}}}${{p{n}}}"/>' for n in range(60))
    data = f'<application><property name="p0" value="aa"/>{doubled}<process input="${{p60}}"/></application>'
    assert len(read_streams(data.encode()).steps) == 62


@pytest.mark.parametrize(
    ("form", "data"),
    [
        ("yaml", "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"),
        ("yaml", "a: !!python/object/apply:os.system ['true']\n"),
        ("yaml", "{" * 200_000),
        ("yaml", "- " * 100_000),
        ("yaml", "? " * 100_000),
        ("json", "[" * 100_000),
        ("json", "[1, 2]"),
        ("json", json.dumps({str(n): n for n in range(6000)})),
        ("json", '{"a":' * 50 + "1" + "}" * 50),
        ("json", '"' + "a" * 2_000_000 + '"'),
        ("toml", "a = "),
        ("toml", b"\xff\xfe"),
    ],
)
def test_hostile_configurations_are_told(form, data):
    if form == "yaml":
        pytest.importorskip("yaml")
    with pytest.raises(DataError):
        read_ctapipe(data if isinstance(data, bytes) else data.encode(), form=form)


@given(st.text(max_size=60), st.text(max_size=60))
def test_text_of_others_does_not_become_code(one, other):
    from xml.sax.saxutils import quoteattr

    plain = "".join(c for c in one if c.isprintable())
    data = f"<application><stream class={quoteattr(plain)} url='x'/><streams.cta.io.CSVWriter url={quoteattr(other)}/></application>"
    try:
        draft = read_streams(data.encode())
    except DataError:  # characters that XML does not have
        return
    text = pipeline_text(draft, name='"""' + one + "\\")
    names: dict = {}
    exec(compile(text, "made.py", "exec"), names)
    assert set(names) - {"__builtins__", "__doc__"} == {"Chain", "converted", "Pipeline", "HOW", "pipeline"}


def test_files_that_are_not_converted(tmp_path):
    with pytest.raises(UsageError, match="neither XML"):
        convert(tmp_path / "a.txt")
    with pytest.raises(DataError, match="cannot be read"):
        convert(tmp_path / "a.xml")
    (tmp_path / "a.xml").write_text(PROCESS)
    (tmp_path / "a.py").write_text("mine")
    done = CliRunner().invoke(app, ["convert", str(tmp_path / "a.xml")])
    assert isinstance(done.exception, EventideError)
    assert Path(tmp_path / "a.py").read_text() == "mine"
    with pytest.raises(ConfigError):
        converted(Chain(), source="log://a", array="nowhere", sink="log://x")
