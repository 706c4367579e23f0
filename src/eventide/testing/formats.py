"""What a format must do: subclass `FormatSuite`, name the format, and pytest proves it.

::

    class TestHexline(FormatSuite):
        format = "hexline"
        types = ("int64",)
        schema_columns = 1
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from eventide import registry
from eventide.errors import EventideError
from eventide.model.batch import concat
from eventide.testing._compare import rows_of, same_rows
from eventide.testing._hostile import corpus, lying_lengths, survives
from eventide.testing._libraries import DrawFn, assume, pytest, st
from eventide.testing._suite import Suite, each
from eventide.testing.strategies import NAMES, SCALARS, TYPES, batches, schemas

__all__ = ["FormatSuite"]

_SECONDS = 120
_TYPICAL = pa.record_batch(
    {
        "a": pa.array([1, None, -3, 2**40], pa.int64()),
        "b": pa.array(["x", None, "", "größer"], pa.string()),
        "c": pa.array([0.5, None, float("inf"), -1e300], pa.float64()),
    }
)


class FormatSuite(Suite):
    """The contract of a format, as `eventide.formats` describes it.

    Attributes
    ----------
    format
        Its name.
    types
        Names of the column types that it keeps, of `eventide.testing.strategies.TYPES`.
    options
        Options of both `encode` and `decode`.
    reading
        Options of `decode` and of what else reads.
    columns
        Most columns that it can hold.
    nulls
        Whether it can hold nulls.
    names
        Column names that it must stand; none for a format that names no columns.
    share
        Part of the Hypothesis profile's examples that is tried.
    memory
        Bytes by which hostile input of at most 5 MB may make a process grow.
    """

    format: ClassVar[str]
    types: ClassVar[Iterable[str]] = tuple(SCALARS)
    options: ClassVar[Mapping[str, Any]] = {}
    reading: ClassVar[Mapping[str, Any]] = {}
    columns: ClassVar[int] = 4
    nulls: ClassVar[bool] = True
    names: ClassVar[Iterable[str]] = NAMES
    share: ClassVar[float] = 0.5
    memory: ClassVar[int] = 600 << 20
    optional: ClassVar[Mapping[str, str]] = {
        "test_round_trip": "encode",
        "test_nested_round_trip": "nested columns",
        "test_encode_is_deterministic": "encode",
        "test_slices": "encode",
        "test_no_rows": "encode",
        "test_column_names": "names of columns",
        "test_columns_wanted": "names of columns",
        "test_cut_anywhere": "records that can be cut",
        "test_batches_follow_each_other": "records that can be cut",
        "test_offset_is_in_positions": "records that can be cut",
        "test_infer": "schema inference",
        "test_container_from_any_row": "container files",
        "test_container_schema": "container files",
    }

    @property
    def module(self) -> Any:
        """The format's module."""
        return registry.resolve("format", self.format)

    @property
    def _how(self) -> dict[str, Any]:
        return {**self.options, **self.reading}

    def has(self, part: str) -> bool:
        """Return whether an optional part is there."""
        module = self.module
        return {
            "encode": hasattr(module, "encode"),
            "nested columns": any(t not in SCALARS for t in self.types),
            "names of columns": hasattr(module, "encode") and bool(list(self.names)),
            "records that can be cut": hasattr(module, "cut") and hasattr(module, "encode"),
            "schema inference": hasattr(module, "infer") and hasattr(module, "encode"),
            "container files": hasattr(module, "open_file") and hasattr(module, "open_writer"),
        }[part]

    def samples(self) -> list[bytes]:
        """Return some valid data, which the suite cuts and breaks; a format without `encode` must say."""
        return [self._encode(self._fit(_TYPICAL))]

    def schema(self) -> pa.Schema:
        """Return the schema of `samples`."""
        return self._fit(_TYPICAL).schema

    def _fit(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return those columns of a batch that the format can hold, without nulls where it cannot hold them."""
        kept = {str(TYPES[t]) for t in self.types}
        fitting = batch.select([f.name for f in batch.schema if str(f.type) in kept][: self.columns])
        return fitting if self.nulls else fitting.drop_null()

    def _encode(self, batch: pa.RecordBatch, **more: Any) -> bytes:
        data = self.module.encode(batch, **self.options, **more)
        assert isinstance(data, bytes)
        return data

    def _decode(self, data: bytes, **more: Any) -> pa.RecordBatch:
        """Return the events of data that is all good."""
        decoded = self.module.decode(data, **self._how, **more)
        assert decoded.bad == ()
        return decoded.batch

    def _drawn(self, types: Iterable[str]) -> st.SearchStrategy[pa.RecordBatch]:
        chosen = schemas(tuple(types), max_columns=self.columns)
        made: st.SearchStrategy[pa.RecordBatch] = chosen.flatmap(lambda s: batches(s, nulls=self.nulls))
        return made

    # -- good data

    def test_round_trip(self) -> None:
        """Values of every declared type come back as they were: nulls, NaN, the ends of every range, any text."""

        def holds(batch: pa.RecordBatch) -> None:
            same_rows(self._decode(self._encode(batch), schema=batch.schema), batch, ordered=True)

        each(holds, self._drawn(t for t in self.types if t in SCALARS), share=self.share)

    def test_nested_round_trip(self) -> None:
        """Lists, structs and dictionaries come back as they were."""

        def holds(batch: pa.RecordBatch) -> None:
            same_rows(self._decode(self._encode(batch), schema=batch.schema), batch, ordered=True)

        each(holds, self._drawn(t for t in self.types if t not in SCALARS), share=self.share * 0.5)

    def test_encode_is_deterministic(self) -> None:
        """The same events make the same bytes."""

        def holds(batch: pa.RecordBatch) -> None:
            assert self._encode(batch) == self._encode(batch)

        each(holds, self._drawn(self.types), share=self.share * 0.2)

    def test_slices(self) -> None:
        """A slice of a batch is encoded without the rest."""

        def holds(batch: pa.RecordBatch, start: int, rows: int) -> None:
            part = batch.slice(min(start, batch.num_rows), rows)
            same_rows(self._decode(self._encode(part), schema=batch.schema), part, ordered=True)

        each(holds, self._drawn(self.types), st.integers(0, 12), st.integers(0, 12), share=self.share * 0.5)

    def test_no_rows(self) -> None:
        """A batch without rows comes back as one."""
        batch = self._fit(_TYPICAL).slice(0, 0)
        same_rows(self._decode(self._encode(batch), schema=batch.schema), batch)

    def test_column_names(self) -> None:
        """Column names that contain quotes, spaces, keywords or any script are names and nothing else."""
        column = self._fit(_TYPICAL).column(0)
        names = list(self.names)
        for start in range(0, len(names), self.columns):
            some = names[start : start + self.columns]
            batch = pa.RecordBatch.from_arrays([column] * len(some), names=some)
            same_rows(self._decode(self._encode(batch), schema=batch.schema), batch, ordered=True)

    def test_columns_wanted(self) -> None:
        """A schema may want fewer columns, and in another order."""

        def holds(batch: pa.RecordBatch, numbers: list[int]) -> None:
            names = [batch.schema.names[i % batch.num_columns] for i in numbers]
            wanted = batch.select(list(dict.fromkeys(names)))
            same_rows(self._decode(self._encode(batch), schema=wanted.schema), wanted, ordered=True)

        each(
            holds, self._drawn(self.types), st.lists(st.integers(0, 5), min_size=1, max_size=4), share=self.share * 0.5
        )

    def test_infer(self) -> None:
        """The inferred schema has the columns, and reads the data."""
        batch = self._fit(_TYPICAL)
        data = self._encode(batch)
        schema = self.module.infer(data, **self._how)
        assert set(schema.names) == set(batch.schema.names)
        assert self._decode(data, schema=schema).num_rows == batch.num_rows
        assert self._decode(data).num_rows == batch.num_rows

    # -- pieces and files

    def test_cut_anywhere(self) -> None:
        """Data that comes in any pieces gives the same events as in one piece."""

        @st.composite
        def cases(draw: DrawFn) -> tuple[pa.RecordBatch, list[int]]:
            return draw(self._drawn(self.types)), draw(st.lists(st.integers(1, 40), min_size=1, max_size=6))

        def holds(case: tuple[pa.RecordBatch, list[int]]) -> None:
            batch, sizes = case
            whole = self._encode(batch)
            found = self._in_pieces(whole, batch.schema, sizes)
            same_rows(pa.Table.from_batches(found, batch.schema), batch, ordered=True)

        each(holds, cases(), share=self.share * 0.5)

    def _in_pieces(self, data: bytes, schema: pa.Schema, sizes: list[int]) -> list[pa.RecordBatch]:
        options = self._how
        at = turn = 0
        if hasattr(self.module, "preamble"):
            at, more = self.module.preamble(data, schema=schema, **options)
            options |= dict(more)
        waiting, begin, found = b"", at, []
        while at < len(data):
            size = sizes[turn % len(sizes)]
            waiting += data[at : at + size]
            at, turn = at + size, turn + 1
            usable = self.module.cut(waiting, **self._how)
            assert 0 <= usable <= len(waiting)
            if usable:
                decoded = self.module.decode(waiting[:usable], schema=schema, offset=begin, **options)
                assert decoded.bad == ()
                found.append(decoded.batch)
                begin, waiting = begin + usable, waiting[usable:]
        if waiting:
            found.append(self.module.decode(waiting, schema=schema, offset=begin, **options).batch)
        return found

    def test_batches_follow_each_other(self) -> None:
        """Batches encoded one after the other read as one file."""
        after = getattr(self.module, "CONTINUATION", {})

        def holds(batch: pa.RecordBatch, at: int) -> None:
            assume(batch.num_rows > 0)
            parts = [batch.slice(0, at), batch.slice(min(at, batch.num_rows))]
            data = self._encode(parts[0]) + self._encode(parts[1], **after)
            same_rows(self._decode(data, schema=batch.schema), batch, ordered=True)

        each(holds, self._drawn(self.types), st.integers(0, 12), share=self.share * 0.3)

    def test_offset_is_in_positions(self) -> None:
        """Bad input in a piece says where in its file it stands."""
        data = b"\xff\xfe bad \n"
        places = set()
        for offset in (0, 1000):
            options = self._how
            if hasattr(self.module, "preamble"):
                names = {"columns": tuple(self.schema().names)}
                options |= {"header": False, **names}
            decoded = self.module.decode(data, schema=self.schema(), where="file", offset=offset, **options)
            assert decoded.bad
            places.add(decoded.bad[0].position)
        assert len(places) == 2
        assert all("file" in place for place in places)

    def test_container_from_any_row(self, tmp_path: Path) -> None:
        """A file is read from any row on, in batches of any size, as it was written."""

        def holds(data: list[pa.RecordBatch], start: int, size: int) -> None:
            path = tmp_path / f"x{self.module.SUFFIXES[0]}"
            writer = self.module.open_writer(path, data[0].schema)
            for batch in data:
                writer.write(batch)
            writer.close()
            whole = concat(data)
            # By its own schema: Parquet has no seconds, and says that they are milliseconds.
            found = list(self.module.open_file(path, schema=whole.schema, start=start, batch_rows=size))
            assert all(b.num_rows <= size for b in found)
            rows = [row for b in found for row in rows_of(b)]
            assert list(map(repr, rows)) == list(map(repr, rows_of(whole.slice(start))))

        some = schemas(tuple(self.types), max_columns=self.columns).flatmap(
            lambda s: st.lists(batches(s, nulls=self.nulls), min_size=1, max_size=3)
        )
        each(holds, some, st.integers(0, 30), st.integers(1, 20), share=self.share * 0.5)

    def test_container_schema(self, tmp_path: Path) -> None:
        """A file tells its schema."""
        batch = self._fit(_TYPICAL)
        path = tmp_path / f"x{self.module.SUFFIXES[0]}"
        writer = self.module.open_writer(path, batch.schema)
        writer.write(batch)
        writer.close()
        assert self.module.file_schema(path).equals(batch.schema)

    # -- bad data

    def _survives(self, data: bytes) -> None:
        for more in ({"schema": self.schema()}, {}):
            assert survives(self.module, data, **self._how, **more) == ""

    def test_says_its_suffixes(self) -> None:
        """It names the file suffixes that mean it."""
        assert self.module.SUFFIXES
        assert all(s.startswith(".") and s == s.lower() for s in self.module.SUFFIXES)

    def test_any_bytes(self) -> None:
        """Any bytes give events, bad input with its place and reason, or a DataError; nothing else is raised."""
        each(self._survives, st.binary(max_size=200), share=self.share)

    @pytest.mark.parametrize("what", sorted(corpus()))
    def test_hostile_bytes(self, what: str) -> None:
        """Endless lines, deep nesting, bytes that are no text, other formats: nothing else is raised."""
        self._survives(corpus()[what])

    def test_truncated(self) -> None:
        """Data that breaks off anywhere gives no event that was not in it, and nothing else is raised."""
        for data in self.samples():
            whole = len(rows_of(self._decode(data, schema=self.schema())))
            step = max(1, len(data) // 400)
            for end in range(0, len(data), step):
                self._survives(data[:end])
                try:
                    decoded = self.module.decode(data[:end], schema=self.schema(), **self._how)
                except EventideError:
                    continue
                assert decoded.batch.num_rows <= whole

    def test_mutated(self) -> None:
        """Data in which bytes were changed, lost or put in: nothing else is raised."""

        @st.composite
        def cases(draw: DrawFn) -> bytes:
            made = bytearray(draw(st.sampled_from(self.samples())))
            for _ in range(draw(st.integers(1, 6))):
                at = draw(st.integers(0, max(0, len(made) - 1)))
                made[at : at + draw(st.integers(0, 4))] = draw(st.binary(max_size=5))
            return bytes(made)

        each(self._survives, cases(), share=self.share)

    def test_lengths_that_lie(self) -> None:
        """Lengths and offsets of any value at any place: nothing else is raised."""
        for sample in self.samples():
            for number, data in enumerate(lying_lengths(sample)):
                if number % 3 == 0:
                    assert survives(self.module, data, **self._how) == ""

    def test_hostile_bytes_cost_bounded_memory_and_time(self, tmp_path: Path) -> None:
        """All of that in a process of its own: it ends, in time, with bounded memory."""
        pytest.importorskip("resource", reason="memory can be measured on Unix only")
        files = []
        for number, data in enumerate(self.samples()):
            (tmp_path / str(number)).write_bytes(data)
            files.append(str(tmp_path / str(number)))
        command = [sys.executable, "-m", "eventide.testing._hostile", self.module.__name__]
        command += [str(self.module.__file__), json.dumps(self._how), *files]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
        assert done.returncode == 0, f"the process ended with {done.returncode}: {done.stderr[-2000:]}"
        told = json.loads(done.stdout.splitlines()[-1])
        assert told["faults"] == []
        assert told["grown"] <= self.memory
