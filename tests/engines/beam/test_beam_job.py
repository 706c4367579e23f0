"""What a job on Beam does when it is killed, stopped, run again, or gets its events in any order and any bundles."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

import eventide as ev
from eventide.connectors.memory import MemorySink
from eventide.engines._dataflow import Dataflow, Element
from eventide.errors import ConfigError, EventideError, RunError
from eventide.model.pipeline import Pipeline, pipeline
from eventide.model.stream import Stream
from eventide.testing._compare import rows_of
from eventide.testing.crash.bursts import BURSTS, Bursts

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("apache_beam") is None, reason="Beam has an environment of its own: `make test-beam`"
)


def streams() -> list[Stream]:
    events = ev.read("generator://events", rows=4000, keys=9, rate=100, disorder="2s", seed=5)
    timed = events.event_time("timestamp", lateness="2s").key_by("key")
    renamed = timed.select("timestamp", "value", sensor=pl.col("key"), id=pl.col("key")).key_by("sensor")
    return [
        timed.window(ev.sliding("4s", "1s")).aggregate(n=ev.count(), mean=ev.mean("value")),
        renamed.process(Bursts(200_000_000), schema=BURSTS),
    ]


def together() -> tuple[Pipeline, list[MemorySink]]:
    sinks = [MemorySink(), MemorySink()]
    return pipeline(
        *(s.write(k, name=f"out-{i}") for i, (s, k) in enumerate(zip(streams(), sinks, strict=True)))
    ), sinks


def counted(sinks: list[MemorySink]) -> list[Counter[str]]:
    return [Counter(map(repr, rows_of(s.table()))) for s in sinks]


@pytest.fixture(scope="module")
def wanted() -> list[Counter[str]]:
    made, sinks = together()
    ev.run(made)
    assert all(s.table().num_rows > 100 for s in sinks)
    return counted(sinks)


def test_counts_and_ledger(wanted: list[Counter[str]]) -> None:
    made, sinks = together()
    result = ev.run(made, engine="beam", batch_rows=300)
    assert counted(sinks) == wanted
    assert result.rows_in == 4000
    assert result.rows_out == sum(s.table().num_rows for s in sinks)
    assert result.ledger_balanced


@pytest.mark.parametrize("seed", [1, 2])
def test_any_order_any_bundles(seed: int, wanted: list[Counter[str]], tmp_path: Path) -> None:
    """Elements in disorder, some twice, each in a bundle of its own: state goes through its bytes every time."""
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.direct.direct_runner import BundleBasedDirectRunner
    from apache_beam.testing.test_stream import TestStream

    from eventide.engines._dataflow import Output
    from eventide.engines.beam.spool import each_output
    from eventide.engines.beam.steps import BucketFn, Numbered, SpoolFn

    made, sinks = together()
    flow = Dataflow(made, buckets=2, batch_rows=700)
    head, elements = flow.head(), list[Element]()
    while not head.finished:
        elements += head.read()
    rng = np.random.default_rng(seed)
    elements += [elements[i] for i in rng.integers(0, len(elements), 5)]
    stream = TestStream()
    for i in rng.permutation(len(elements)):
        bucket, number, data = elements[i]
        stream.add_elements([(bucket, (number, data))])
    with beam.Pipeline(runner=BundleBasedDirectRunner(), options=PipelineOptions(streaming=True)) as job:
        _ = (
            job
            | stream.advance_watermark_to_infinity()
            | beam.Map(lambda e: e).with_output_types(Numbered)
            | beam.ParDo(BucketFn(flow)).with_output_types(Output)
            | beam.ParDo(SpoolFn(str(tmp_path)))
        )
    outlet = flow.outlet(tmp_path / "notes")
    outlet.write(each_output(str(tmp_path)))
    assert outlet.ended
    outlet.commit(0)
    outlet.close()
    assert counted(sinks) == wanted


def test_a_state_that_became_bytes_is_used_no_more() -> None:
    """A bundle that fails after one that was committed leaves what was committed as it was."""
    from eventide.engines.beam.steps import Kept, KeptCoder

    made, _ = together()
    flow = Dataflow(made, buckets=1, batch_rows=700)
    elements = flow.head().read()
    kept = Kept(None, flow.bucket(0))
    kept.bucket.push(elements[0])
    data = KeptCoder().encode(kept)
    assert kept.bucket is None
    assert KeptCoder().encode(KeptCoder().decode(data)) == data == KeptCoder().encode(kept)


def test_stopped_before_the_end_writes_nothing() -> None:
    made, sinks = together()
    stop = threading.Event()
    stop.set()
    result = ev.run(made, engine="beam", stop=stop)
    assert result.stopped
    assert not any(s.table().num_rows for s in sinks)


# A run of its own process, which may be killed at a place. Sinks: a topic, a file, a table.
RUN = """
import os, signal, sys
from pathlib import Path
import eventide as ev
from eventide.engines.beam import job
from eventide.engines._dataflow import outlet
sys.path.insert(0, {tests!r})
from test_beam_job import BURSTS, streams

folder, where = Path(sys.argv[1]), sys.argv[2]

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def dying(batch):
    if where == "job":
        die()
    return batch

def after_three(folder, own=job.each_output):
    for number, output in enumerate(own(folder)):
        if number == 3:
            die()
        yield output

if where == "write":
    job.each_output = after_three
if where == "prepared":  # all sinks have prepared, nothing is noted
    outlet.write_file = die
if where == "noted":  # it is noted, no sink has committed
    outlet.sync_folder = die

panes, bursts = streams()
bursts = bursts.map_batches(dying, schema=BURSTS)
made = ev.pipeline(
    panes.write("log://panes", log=str(folder / "log"), partitions=1),
    panes.write(f"file://{{folder}}/panes.parquet", name="file"),
    bursts.write(f"sqlite://{{folder}}/t.sqlite?table=bursts", times="ns"),
    name="killed",
)
result = ev.run(made, engine="beam", checkpoint=str(folder / "checkpoints"), batch_rows=300)
if where == "ended":
    die()
print(result.rows_in)
"""


def started(folder: Path, where: str) -> subprocess.CompletedProcess[str]:
    code = RUN.format(tests=str(Path(__file__).parent))
    return subprocess.run(
        [sys.executable, "-c", code, str(folder), where], capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.slow
@pytest.mark.parametrize("where", ["job", "write", "prepared", "noted", "ended"])
def test_killed_and_run_again_has_every_row_once(where: str, wanted: list[Counter[str]], tmp_path: Path) -> None:
    killed = started(tmp_path, where)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    again = started(tmp_path, "nowhere")
    assert again.returncode == 0, again.stderr
    # What was noted is completed, without a second job.
    assert int(again.stdout) == (0 if where in ("noted", "ended") else 4000)
    for read in (
        ev.read("log://panes", log=str(tmp_path / "log"), follow=False),
        ev.read(f"file://{tmp_path}/panes.parquet"),
    ):
        assert Counter(map(repr, rows_of(ev.fetch(read)))) == wanted[0]
    bursts = ev.fetch(ev.read(f"sqlite://{tmp_path}/t.sqlite?table=bursts"))
    assert bursts.num_rows == sum(wanted[1].values())
    assert Counter(bursts["total"].to_pylist()) == Counter(eval(row)[-1] for row in wanted[1].elements())


def test_begins_anew_where_that_is_asked_for(tmp_path: Path) -> None:
    how = {"engine": "beam", "checkpoint": str(tmp_path)}
    made = ev.read("generator://events", rows=50, seed=1).write(f"file://{tmp_path}/out.csv")
    assert [ev.run(made, **how, **more).rows_in for more in ({}, {}, {"resume": False})] == [50, 0, 50]


def test_what_another_runner_needs_is_told_at_once() -> None:
    made, _ = together()
    with pytest.raises(ConfigError, match="need a folder that it shares"):
        ev.run(made, engine="beam", runner="DataflowRunner")
    with pytest.raises(ConfigError, match="no savepoints"):
        ev.run(made, engine="beam", from_savepoint="a/b")


def test_an_error_of_a_user_is_told_as_what_it_is() -> None:
    def fails(batch: object) -> None:
        msg = 'a "quoted"\nreason {with} braces'
        raise ValueError(msg)

    made = ev.from_table({"a": [1]}).map_batches(fails, schema=pa.schema([("a", pa.int64())]))
    with pytest.raises(EventideError) as raised:
        ev.run(made.write("memory://nothing"), engine="beam")
    assert isinstance(raised.value, RunError)
    assert 'ValueError: a "quoted"' in raised.value.message


def test_code_of_a_file_travels_with_the_job(tmp_path: Path) -> None:
    """A worker elsewhere has no file that the command line loaded."""
    from apache_beam.internal import pickler

    from eventide.cli.target import load_target
    from eventide.engines.beam.job import with_its_code
    from eventide.engines.beam.steps import HeadFn

    (tmp_path / "doubles.py").write_text(
        "import eventide as ev\nimport pyarrow as pa\nimport pyarrow.compute as pc\n\n"
        "SCHEMA = pa.schema([('twice', pa.int64())])\n\n"
        "def twice(batch):\n    return pa.record_batch([pc.multiply(batch['a'], 2)], schema=SCHEMA)\n\n"
        "pipeline = ev.from_table({'a': [1, 2]}).map_batches(twice, schema=SCHEMA).write('memory://twice')\n"
    )
    flow = Dataflow(with_its_code(load_target(str(tmp_path / "doubles.py"), {})), buckets=1)
    sent = pickler.dumps(HeadFn(flow, ""))
    code = (
        "import sys\nfrom apache_beam.internal import pickler\n"
        "step = pickler.loads(sys.stdin.buffer.read())\nprint(len(list(step.process(b''))))"
    )
    done = subprocess.run([sys.executable, "-c", code], input=sent, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert int(done.stdout) > 0
