"""Publications through a real broker: read back by our reader and by the reference library, each once."""

from __future__ import annotations

import importlib
import json

import numpy as np
import pytest
from typer.testing import CliRunner

import eventide as ev
from eventide.apps.neutron.commands import app
from eventide.apps.neutron.pipeline import pipeline
from eventide.apps.neutron.publish import publish_pipeline
from eventide.apps.neutron.simulate import simulate
from eventide.errors import SchemaError, UnknownNameError, UsageError
from eventide.formats import da00, hs00, hs01
from servers.kafka import consume, new_topic

READERS = {"hs00": hs00.read_histogram, "hs01": hs01.read_histogram, "da00": da00.read_histogram}


@pytest.fixture
def log(tmp_path):
    place = str(tmp_path / "log")
    ev.run(ev.from_table(simulate("amor", seconds=3, rate=2000)).write("log://pulses", log=place))
    ev.run(pipeline(instrument="amor", bins="20", log=place))
    return place


@pytest.mark.parametrize("form", ["hs00", "hs01", "da00"])
def test_what_was_published_is_what_is_read(kafka, log, tmp_path, form):
    topic = new_topic(kafka)
    command = ["publish", f"kafka://{kafka.address}/{topic}", "--form", form, "--log", log, "--source", "amor"]
    for _ in range(2):  # begun again it sends nothing twice
        done = CliRunner().invoke(app, [*command, "--checkpoint", str(tmp_path / "state")])
        assert done.exit_code == 0, done.output
    table = ev.fetch(ev.read("log://histograms", log=log, follow=False))
    sent = consume(kafka, topic)
    assert len(sent) == table.num_rows
    counts = table["counts"].to_pylist()
    for at, message in enumerate(sent):
        made = READERS[form](message.value())
        info = json.loads(made.info)
        assert np.array_equal(np.asarray(made.data).ravel(), counts[at])
        assert (made.source, info["product"], info["events"]) == (
            "amor",
            table["product"][at].as_py(),
            table["events"][at].as_py(),
        )
        assert info["until"] == made.timestamp == table["until"][at].value
        assert message.timestamp()[1] == made.timestamp // 10**6
        assert made.axes[0].edges is not None and len(made.axes[0].edges) == made.data.shape[0] + 1


def test_the_reference_library_reads_it(log):
    peer = pytest.importorskip("streaming_data_types")
    ev.run(publish_pipeline("volumes", "log://messages", follow=False, log=log))
    (value,) = ev.fetch(ev.read("log://messages", log=log, follow=False))["value"].to_pylist()
    read = importlib.import_module("streaming_data_types.histogram_hs01").deserialise_hs01
    made, ours = read(value), hs01.read_histogram(value)
    assert peer is not None and made["source"] == "eventide"
    assert np.array_equal(made["data"], ours.data) and made["data"].sum() > 1000
    table = ev.fetch(ev.read("log://volumes", log=log, follow=False))
    assert np.count_nonzero(made["data"]) == len(table["bins"][0].as_py())


def test_what_is_asked_for(log):
    with pytest.raises(UsageError, match="hs02"):
        publish_pipeline("histograms", "log://messages", form="hs02", log=log)
    with pytest.raises(UnknownNameError):
        publish_pipeline("nothing", "log://messages", log=log)
    with pytest.raises(SchemaError):
        publish_pipeline("pulses", "log://messages", log=log)
