"""What a run has written, as text row by row, and how it differs from what it should have written."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from eventide.engines.local.checkpoint import CheckpointStore
from eventide.engines.local.ledger import Ledger
from eventide.errors import UnknownNameError
from eventide.log import Log
from eventide.testing.crash.pipeline import NAME, sinks

__all__ = ["Difference", "compare", "read_outputs", "row_counts", "topic_rows", "topic_table"]

Rows = Counter[str]
_QUARANTINE = "quarantine"
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Difference:
    """How one output differs from what it should be; all zero is equal.

    Parameters
    ----------
    output
        Its name.
    rows
        How many there should be.
    lost, doubled, wrong
        Rows that are missing, that are there too often, and that should not exist at all.
    examples
        Some of them.
    """

    output: str
    rows: int
    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    examples: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.lost or self.doubled or self.wrong)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def read_outputs(folder: Path, *, tables: bool = True) -> dict[str, Rows]:
    """Return how often each row is in each output of the pipeline in a folder.

    The late rows, the repeats, the quarantine and the ledger are outputs like any other.

    Nothing of the connectors is used where there is another way to read what they wrote.
    """
    out = {name: _read(uri, folder) for name, (uri, _) in sinks(folder, tables=tables).items()}
    out[_QUARANTINE] = topic_rows(folder, _QUARANTINE, without=("timestamp", "run"))
    out["ledger"] = _ledger(folder)
    return out


def compare(found: Mapping[str, Rows], expected: Mapping[str, Rows]) -> list[Difference]:
    """Return the differences of all outputs.

    Examples
    --------
    >>> (one,) = compare({"a": Counter("xxz")}, {"a": Counter("xy")})
    >>> one.lost, one.doubled, one.wrong
    (1, 1, 1)
    """
    return [_difference(name, found.get(name, Counter()), rows) for name, rows in expected.items()]


def _difference(name: str, found: Rows, expected: Rows) -> Difference:
    lost, more = expected - found, found - expected
    doubled = sum(n for row, n in more.items() if row in expected)
    wrong = more.total() - doubled
    examples = [f"lost: {row}" for row in sorted(lost)[:_SHOWN]]
    examples += [f"{'doubled' if row in expected else 'wrong'}: {row}" for row in sorted(more)[:_SHOWN]]
    return Difference(name, expected.total(), lost.total(), doubled, wrong, tuple(examples))


def topic_table(folder: Path, topic: str) -> pa.Table | None:
    """Return the visible events of a topic, instants as whole nanoseconds; None where there are none."""
    with Log(folder / "log", fsync="os") as log:
        try:
            reader = log.reader(topic)
        except UnknownNameError:
            return None
        batches = []
        while frames := reader.read(1 << 20, timeout=0.0):
            batches += [frame.batch for frame in frames]
        reader.close()
    if not batches:
        return None
    table = pa.Table.from_batches(batches)
    return pa.table({name: _exact(table[name]) for name in table.column_names})


def topic_rows(folder: Path, topic: str, *, without: Iterable[str] = ()) -> Rows:
    """Return the visible rows of a topic."""
    table = topic_table(folder, topic)
    if table is None:
        return Counter()
    return row_counts([table.drop_columns([name for name in without if name in table.column_names])])


def _ledger(folder: Path) -> Rows:
    """Return the counts of every operator in the last checkpoint, and what of them does not add up."""
    newest = CheckpointStore(folder / "checkpoints", NAME).newest()
    if newest is None:
        return Counter()
    ledger = Ledger.from_dict(newest["ledger"])
    return Counter([*(json.dumps(counts.to_dict(), sort_keys=True) for counts in ledger), *ledger.check()])


def _read(uri: str, folder: Path) -> Rows:
    scheme, _, rest = uri.partition("://")
    kinds: dict[str, Callable[[str], Rows]] = {
        "log": lambda name: topic_rows(folder, name),
        "file": lambda path: _files(Path(path)),
        "sqlite": _table,
    }
    return kinds[scheme](rest)


def _files(path: Path) -> Rows:
    parts = sorted(p for p in path.iterdir() if not p.name.startswith(".")) if path.is_dir() else [path]
    parts = [p for p in parts if p.is_file()]
    if parts and parts[0].suffix == ".parquet":
        return row_counts(pq.read_table(p) for p in parts)
    lines: Rows = Counter()
    for part in parts:
        text = part.read_text("utf-8").splitlines()
        lines.update(text[1:] if part.suffix == ".csv" else text)
    return lines


def _table(address: str) -> Rows:
    path, _, table = address.partition("?table=")
    if not Path(path).exists():
        return Counter()
    with sqlite3.connect(path) as db:
        rows = Counter(map(str, db.execute(f'SELECT * FROM "{table}"')))
    db.close()
    return rows


def row_counts(tables: Iterable[pa.Table | pa.RecordBatch]) -> Rows:
    """Return how often each row occurs, every value of it exact.

    Examples
    --------
    >>> row_counts([pa.table({"a": [1, 1]})])
    Counter({'(1,)': 2})
    """
    rows: Rows = Counter()
    for table in tables:
        columns = [_exact(column).to_pylist() for column in table.columns]
        rows.update(map(str, zip(*columns, strict=True)))
    return rows


def _exact(column: Any) -> Any:
    return column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
