"""Whether an engine gives the results that the embedded one gives, row for row and bit for bit.

``eventide conform --engine NAME`` runs the pipelines of `eventide.testing.same_pipelines` on both and compares a hash
of their sorted rows. Engines live in environments of their own, whose libraries exclude one another; so the hashes of
one can be told as lines of JSON (``python -m eventide.testing.same_results --engine NAME --inputs FOLDER``) and
compared with those of another.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from eventide import registry
from eventide.errors import EventideError, UnknownNameError, near_names
from eventide.formats import arrow
from eventide.model.pipeline import pipeline
from eventide.testing._compare import plain_type, rows_of
from eventide.testing.same_pipelines import CASES, write_inputs

__all__ = ["Outcome", "compare", "outcomes", "run_same_results", "table_hash"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an engine made of one pipeline.

    Parameters
    ----------
    engine, case
        Names of the engine and of the pipeline.
    hashes
        Hash of every result by its name.
    rows
        Their numbers of rows.
    seconds
        How long the run took, its start-up included.
    error
        Why there are no results, where there are none.
    """

    engine: str
    case: str
    hashes: Mapping[str, str]
    rows: Mapping[str, int]
    seconds: float
    error: str = ""


def table_hash(table: pa.Table) -> str:
    """Return a SHA-256 of the columns and the rows of a table, whatever the order of the rows.

    Floats count with all their digits, any NaN as any other.

    Examples
    --------
    >>> one, other = pa.table({"a": [1.0, 2.0]}), pa.table({"a": [2.0, 1.0]})
    >>> table_hash(one) == table_hash(other) != table_hash(pa.table({"a": [2.0]}))
    True
    """
    found = hashlib.sha256(repr([(f.name, str(plain_type(f.type))) for f in table.schema]).encode())
    for row in sorted(map(repr, rows_of(table))):
        found.update(row.encode())
    return found.hexdigest()


def outcomes(
    engine: str, inputs: Path, folder: Path, *, cases: Sequence[str] = (), options: Mapping[str, Any] | None = None
) -> Iterable[Outcome]:
    """Run pipelines on an engine, one after the other, and yield what came of each.

    Parameters
    ----------
    engine
        Its name.
    inputs
        Where `write_inputs` wrote the events.
    folder
        Where the results go.
    cases
        Names of the pipelines; left out, all.
    options
        What the engine's ``run`` is given.

    Examples
    --------
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_inputs(Path(folder), rows=500)
    ...     (one,) = outcomes("local", Path(folder), Path(folder), cases=["timers"])
    >>> one.error, one.rows["bursts"] > 100
    ('', True)
    """
    for case in cases or CASES:
        if case not in CASES:
            msg = f"there is no pipeline {case!r}"
            raise UnknownNameError(msg, hint=near_names(case, CASES))
        begun = time.perf_counter()
        try:
            tables = _run(engine, case, inputs, folder=folder / engine / case, options=options or {})
        except (EventideError, OSError) as error:
            yield Outcome(engine, case, {}, {}, round(time.perf_counter() - begun, 3), str(error))
            continue
        seconds = round(time.perf_counter() - begun, 3)
        hashes = {name: table_hash(table) for name, table in tables.items()}
        yield Outcome(engine, case, hashes, {name: table.num_rows for name, table in tables.items()}, seconds)


def _run(engine: str, case: str, inputs: Path, *, folder: Path, options: Mapping[str, Any]) -> Mapping[str, pa.Table]:
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: folder / f"{name}.arrow" for name in CASES[case](inputs)}
    for path in files.values():
        path.unlink(missing_ok=True)  # an earlier run's
    parts = [s.write(f"file://{files[name]}", name=f"to-{name}") for name, s in CASES[case](inputs).items()]
    registry.resolve("engine", engine).run(pipeline(*parts, name=case), **options)
    return {name: pa.Table.from_batches([arrow.decode(path.read_bytes()).batch]) for name, path in files.items()}


def compare(expected: Iterable[Outcome], found: Iterable[Outcome]) -> dict[str, str]:
    """Return what is wrong with each pipeline's results, by its name; "" where they are equal.

    Examples
    --------
    >>> one, other = Outcome("local", "a", {"x": "1"}, {"x": 9}, 0.1), Outcome("beam", "a", {"x": "2"}, {"x": 8}, 0.1)
    >>> compare([one], [one]), compare([one], [other])
    ({'a': ''}, {'a': 'x: 8 rows instead of 9, or others'})
    """
    wanted = {o.case: o for o in expected}
    return {o.case: _difference(wanted[o.case], o) for o in found}


def _difference(wanted: Outcome, found: Outcome) -> str:
    if wanted.error or found.error:
        return found.error or f"{wanted.engine} failed: {wanted.error}"
    wrong = [n for n in {**wanted.hashes, **found.hashes} if wanted.hashes.get(n) != found.hashes.get(n)]
    return "; ".join(f"{n}: {found.rows.get(n)} rows instead of {wanted.rows.get(n)}, or others" for n in wrong)


def run_same_results(engine: str, *, cases: Sequence[str] = ()) -> dict[str, Any]:
    """Run pipelines on an engine and on the embedded one, in this environment, and return a report with ``ok``.

    Examples
    --------
    >>> run_same_results("local", cases=["asof-join"])["ok"]
    True
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(folder / "inputs")
        wanted = list(outcomes("local", folder / "inputs", folder / "wanted", cases=cases))
        found = list(outcomes(engine, folder / "inputs", folder / "found", cases=cases))
    wrong = compare(wanted, found)
    seconds = {o.case: o.seconds for o in found}
    lines = [f"{case}: {wrong[case] or 'equal'} ({seconds[case]:.1f} s)" for case in wrong]
    ok = bool(wrong) and not any(wrong.values())
    return {"ok": ok, "engine": engine, "cases": {c: w or "equal" for c, w in wrong.items()}, "lines": lines}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the outcome of every pipeline on an engine, a line of JSON each."""
    parser = argparse.ArgumentParser(prog="python -m eventide.testing.same_results", description=main.__doc__)
    parser.add_argument("--engine", required=True, metavar="NAME")
    parser.add_argument("--inputs", required=True, metavar="FOLDER", type=Path, help="made where there is none")
    parser.add_argument("--case", action="append", default=[], metavar="NAME", choices=list(CASES))
    parser.add_argument("--options", default="{}", metavar="JSON", help="what the engine's run is given")
    given = parser.parse_args(arguments)
    if not (given.inputs / "readings.arrow").exists():
        write_inputs(given.inputs)
    options = json.loads(given.options)
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for outcome in outcomes(given.engine, given.inputs, Path(folder), cases=given.case, options=options):
            failed |= bool(outcome.error)
            sys.stdout.write(json.dumps(asdict(outcome)) + "\n")
            sys.stdout.flush()
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
