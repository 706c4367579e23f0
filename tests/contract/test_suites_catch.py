"""The suites find what they are for: plug-ins with one fault each fail the test that is about it."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pyarrow as pa
import pytest
from hypothesis import Phase, settings

from eventide.connectors.memory import MemoryReader, MemorySource
from eventide.formats import arrow, json
from eventide.model.protocols import BadInput, Decoded
from eventide.testing._suite import proofs_of
from eventide.testing.engines import EngineSuite
from eventide.testing.formats import FormatSuite
from eventide.testing.operators import OperatorSuite
from eventide.testing.sinks import SinkSuite
from eventide.testing.sources import SourceSuite

TABLE = pa.table({"n": range(90), "s": [f"row {i}" for i in range(90)]})


@pytest.fixture(autouse=True)
def _no_shrinking():
    """Find a fault, and leave it as it was found."""
    before = settings.default
    settings.register_profile("catch", parent=before, max_examples=200, phases=[Phase.generate], derandomize=True)
    settings.load_profile("catch")
    yield
    settings.register_profile("before", parent=before)
    settings.load_profile("before")


def fails(suite, name, *arguments):
    with pytest.raises(BaseException) as told:
        getattr(suite, name)(*arguments)
    assert isinstance(told.value, AssertionError | ValueError | RecursionError | KeyError | BaseExceptionGroup), told


# -- sources


class Faulty(MemorySource):
    reader = MemoryReader

    def open(self, positions):
        return self.reader(self._parts, {p: int(positions.get(p, {}).get("row", 0)) for p in self._parts})


class Greedy(MemoryReader):
    def read(self, *, max_rows, timeout):
        return super().read(max_rows=max_rows + 1, timeout=timeout)


class Behind(MemoryReader):
    def read(self, **how):
        return [c._replace(position={"row": c.position["row"] - 1}) for c in super().read(**how)]


class Alive(MemoryReader):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.place = {}

    def read(self, **how):
        chunks = super().read(**how)
        for chunk in chunks:
            self.place |= chunk.position
        return [c._replace(position=self.place) for c in chunks]


class Twice(MemoryReader):
    def read(self, **how):
        chunks = super().read(**how)
        return chunks + chunks[:1]


class Elsewhere(MemoryReader):
    def read(self, **how):
        return [c._replace(partition="no such") for c in super().read(**how)]


class CloseOnce(MemoryReader):
    def close(self):
        assert self._rest or not hasattr(self, "closed")
        self.closed = True
        super().close()


class NoBacklog(MemoryReader):
    def backlog(self):
        return 1


class Bytes(MemoryReader):
    def read(self, **how):
        return [c._replace(position={"row": c.position["row"], "at": b"5"}) for c in super().read(**how)]


@pytest.mark.parametrize(
    ("reader", "test"),
    [
        (Greedy, "test_max_rows"),
        (Behind, "test_resume_after_any_chunk"),
        (Behind, "test_resume_at_the_end"),
        (Alive, "test_positions_are_not_changed_by_reading_on"),
        (Twice, "test_every_event_once"),
        (Elsewhere, "test_partitions"),
        (CloseOnce, "test_close_twice"),
        (NoBacklog, "test_backlog"),
    ],
)
def test_sources(reader, test, tmp_path):
    class Suite(SourceSuite):
        def make(self, folder):
            source = Faulty(TABLE.combine_chunks().to_batches(max_chunksize=20))
            source.reader = reader
            return source

        def expected(self):
            return TABLE

    fails(Suite(), test, tmp_path)


def test_sources_whose_positions_are_no_json(tmp_path):
    class Suite(SourceSuite):
        def make(self, folder):
            source = Faulty(TABLE)
            source.reader = Bytes
            return source

    with pytest.raises(TypeError):
        Suite().test_chunks(tmp_path)


# -- sinks


class Store:
    """A sink that is right, in memory that outlives it: what was prepared, and what is visible."""

    delivery = "exactly_once"
    disks: dict = {}

    def __init__(self, folder):
        self.disk = self.disks.setdefault(folder, {"prepared": {}, "visible": [], "done": set()})
        self.rows = []

    def open(self, schema, state):
        self.schema = pa.schema([f for f in schema if f.name[0] != "_"])
        kept = state["key"] if state else None
        self.disk["prepared"] = {k: v for k, v in self.disk["prepared"].items() if k == kept}

    def write(self, batch):
        self.rows.append(batch)

    def prepare(self, checkpoint):
        key = str(len(self.disk["done"]) + len(self.disk["prepared"]))
        self.disk["prepared"][key] = self.rows
        self.rows = []
        return {"key": key}

    def commit(self, checkpoint, state):
        if state["key"] not in self.disk["done"]:
            self.disk["visible"] += self.disk["prepared"].pop(state["key"], [])
            self.disk["done"].add(state["key"])

    def close(self):
        self.rows = []


class Hasty(Store):
    def write(self, batch):
        self.disk["visible"].append(batch)


class Repeating(Store):
    def commit(self, checkpoint, state):
        self.disk["visible"] += self.disk["prepared"].get(state["key"], [])


class Overreaching(Store):
    """Commits what was written after the checkpoint was prepared, too."""

    def commit(self, checkpoint, state):
        super().commit(checkpoint, state)
        self.disk["visible"] += self.rows
        self.rows = []


class Unflushed(Store):
    """Prepares nothing: what was written is lost with the process."""

    def prepare(self, checkpoint):
        self.waiting = self.rows
        self.rows = []
        return {"key": "none"}

    def commit(self, checkpoint, state):
        self.disk["visible"] += getattr(self, "waiting", [])
        self.waiting = []


class OpenOnce(Store):
    def close(self):
        del self.schema


class Forgetful(Store):
    def write(self, batch):
        super().write(batch.drop_null())


class NotAll(Store):
    delivery = "at_least_once"

    def write(self, batch):
        super().write(batch.slice(0, 5))


def sink_suite(sink, folder):
    class Suite(SinkSuite):
        def make(self, where):
            return sink(where)

        def read(self, where, schema):
            visible = Store.disks.get(where, {}).get("visible", [])
            return pa.Table.from_batches(visible, visible[0].schema if visible else schema)

    return Suite()


@pytest.mark.parametrize(
    ("sink", "test"),
    [
        (Hasty, "test_delivery_is_kept"),
        (Repeating, "test_commit_again_does_nothing"),
        (Repeating, "test_delivery_is_kept"),
        (Overreaching, "test_delivery_is_kept"),
        (Unflushed, "test_delivery_is_kept"),
        (NotAll, "test_delivery_is_kept"),
        (Forgetful, "test_types"),
        (NotAll, "test_batches_of_any_size"),
    ],
)
def test_sinks(sink, test, tmp_path):
    fails(sink_suite(sink, tmp_path), test, tmp_path)


def test_sinks_that_close_once(tmp_path):
    with pytest.raises(AttributeError):
        sink_suite(OpenOnce, tmp_path).test_close_twice(tmp_path)


def test_a_sink_that_is_right_passes(tmp_path):
    suite = sink_suite(Store, tmp_path)
    for number, test in enumerate(["test_delivery_is_kept", "test_commit_again_does_nothing", "test_no_events"]):
        (tmp_path / str(number)).mkdir()
        getattr(suite, test)(tmp_path / str(number))


# -- formats


def fault(**parts):
    return SimpleNamespace(**{**{n: getattr(json, n) for n in ("decode", "encode", "cut", "SUFFIXES")}, **parts})


def raising(data, **how):
    if data.count(b"{") != data.count(b"}"):
        raise ValueError(data)
    return json.decode(data, **how)


def nowhere(data, **how):
    decoded = json.decode(data, **how)
    return Decoded(decoded.batch, tuple(BadInput(b.data, "", b.reason) for b in decoded.bad))


def without_nulls(batch):
    return json.encode(batch.drop_null())


COUNTER = iter(range(10**9))


@pytest.mark.parametrize(
    ("module", "test"),
    [
        (fault(decode=raising), "test_any_bytes"),
        (fault(decode=raising), "test_truncated"),
        (fault(decode=nowhere), "test_any_bytes"),
        (fault(encode=without_nulls), "test_round_trip"),
        (fault(encode=lambda b: json.encode(b) + b" " * next(COUNTER) + b"\n"), "test_encode_is_deterministic"),
        (fault(cut=len), "test_cut_anywhere"),
        (fault(cut=lambda data, **how: 0, encode=arrow.encode), "test_batches_follow_each_other"),
    ],
)
def test_formats(module, test):
    class Suite(FormatSuite):
        format = "json"

        @property
        def module(self):
            return module

    fails(Suite(), test)


def test_formats_that_believe_lengths(tmp_path):
    (tmp_path / "believing.py").write_text(
        "import numpy as np, pyarrow as pa\n"
        "from eventide.model.protocols import Decoded\n"
        "SUFFIXES, KEPT = ('.x',), []\n"
        "def encode(batch):\n"
        "    return len(batch).to_bytes(4, 'little') + b'rest'\n"
        "def decode(data, *, schema=None, where=''):\n"
        "    size = int.from_bytes(data[:4], 'little')\n"
        "    if size > 2**30 and not KEPT:\n"
        "        KEPT.append(np.ones(2**25))\n"
        "    return Decoded(pa.record_batch({'a': [1]}))\n"
    )
    sys.path.insert(0, str(tmp_path))
    try:
        import believing  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(tmp_path))

    class Suite(FormatSuite):
        format = "believing"
        module = believing
        memory = 100 << 20

    fails(Suite(), "test_hostile_bytes_cost_bounded_memory_and_time", tmp_path)


# -- operators and engines


class FirstOfBatch(OperatorSuite):
    def apply(self, stream):
        return stream.map_batches(lambda b: b.slice(0, 5))

    def reference(self, table):
        return table.slice(0, 5)


def test_operators():
    fails(FirstOfBatch(), "test_batches_do_not_matter")


class Sieve(EngineSuite):
    engine = "local"

    def run(self, folder, streams, **more):
        found = super().run(folder, streams, **more)
        return {name: table.slice(0, 2) for name, table in found.items()}


def test_engines(tmp_path):
    fails(Sieve(), "test_read_and_write", tmp_path)
    fails(Sieve(), "test_many_keys", tmp_path)


# -- the suites themselves

GAPS = """
from eventide.connectors.memory import MemorySource
from eventide.testing.sources import SourceSuite
import pyarrow as pa

class TestIt(SourceSuite):
    gaps = {"%s": "because"}
    def make(self, folder):
        return MemorySource(pa.table({"n": range(%d)}))
"""


@pytest.mark.parametrize(
    ("name", "rows", "told"),
    [
        ("test_schema", 90, "XPASS(strict)"),
        ("test_every_event_once", 90, "XPASS(strict)"),
        ("test_evry_event_once", 90, "which is no test"),
        ("test_every_event_once", 3, "1 xfailed"),
    ],
)
def test_gaps_are_strict(name, rows, told, tmp_path):
    (tmp_path / "test_it.py").write_text(GAPS % (name, rows))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-x", "test_it.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert told in done.stdout
    assert (done.returncode == 0) == (told == "1 xfailed")


@pytest.mark.parametrize("library", ["pytest", "hypothesis"])
@pytest.mark.parametrize("module", ["sinks", "formats", "strategies"])
def test_without_its_libraries_a_suite_says_what_to_install(module, library):
    code = (
        f"import sys; sys.modules[{library!r}] = None\n"
        f"from eventide.errors import MissingDependencyError\n"
        f"try:\n    import eventide.testing.{module}\n"
        f"except MissingDependencyError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert library in done.stdout, done.stderr
    assert "pip install 'eventide[testing]'" in done.stdout


@pytest.mark.parametrize("suite", [SourceSuite, SinkSuite, FormatSuite, OperatorSuite, EngineSuite])
def test_every_test_says_what_it_proves(suite):
    assert all(proofs_of(suite).values())
    assert set(suite.optional) <= set(proofs_of(suite))
