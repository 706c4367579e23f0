"""Checkpoints and sinks that lived through a loss of power: do they go on where the checkpoint says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pc

from eventide.engines.local.checkpoint import Checkpoint, CheckpointStore
from eventide.errors import EventideError
from eventide.log import Log
from eventide.testing.powerloss.oracle import Oracle, Step
from eventide.testing.powerloss.rows import TEXT_SCHEMA, rows, table
from eventide.testing.powerloss.workload import CHECKPOINTS, PIPELINE, SINKS, open_sinks

__all__ = ["check_sinks", "recover_sinks"]

_NEW = 950_000_000


def check_sinks(root: Path, oracle: Oracle, *, cut: int) -> list[str]:
    """Recover as an engine does, write and commit once more, and return what is wrong.

    Parameters
    ----------
    root
        The workload's folder, as it was found after the power came back.
    oracle, cut
        What was promised, and when the power went.
    """
    problems: list[str] = []
    try:
        store = CheckpointStore(root / CHECKPOINTS, PIPELINE, keep=2)
        store.tidy()
        problems += _whole(store)
        found = store.load()
        problems += _expected(found, oracle, cut)
        ranges = {s: [(f, c) for f, c in found.manifest["ranges"][s]] if found else [] for s in SINKS}
        new = {name: (_NEW + at, 3) for at, name in enumerate(SINKS)}
        number = found.number + 1 if found else 1
        problems += _recovered(root, found, ranges)
        states = _go_on(root, store, found, new=new)
        problems += _whole(store)
        after = {name: [*given, new[name]] for name, given in ranges.items()}
        again = store.load()
        if again is None or again.number != number or again.manifest["sinks"] != states:
            problems.append("the checkpoint made after the recovery is not the newest one")
        problems += _compare(root, after, "going on")
    except (EventideError, OSError, ValueError, KeyError, pa.ArrowException) as error:
        problems.append(f"sinks: {type(error).__name__}: {error}")
    return problems


def recover_sinks(root: Path) -> None:
    """Open the sinks from the newest checkpoint, commit it and close them."""
    store = CheckpointStore(root / CHECKPOINTS, PIPELINE, keep=2)
    store.tidy()
    for sink in _open(root, store.load()).values():
        sink.close()


def _whole(store: CheckpointStore) -> list[str]:
    """Every checkpoint that is listed can be read, with its states."""
    found = []
    for number in store.numbers():
        checkpoint = store.load(str(store.folder / f"chk-{number:08d}"))
        if checkpoint is None or checkpoint.number != number:
            found.append(f"checkpoint {number} is listed and is not there")
            continue
        first, count = checkpoint.manifest["rows"]
        wanted = {"count": {"panes": table([(first, count)])}, "join": {"left": table([(first, 1)])}}
        for task, tables in wanted.items():
            for name, rows_ in tables.items():
                got = checkpoint.states.get(task, {}).get(name)
                if got is None or not got.equals(rows_):
                    found.append(f"checkpoint {number}: the state {task}/{name} is not what was saved")
    return found


def _expected(found: Checkpoint | None, oracle: Oracle, cut: int) -> list[str]:
    saves = [s for s in oracle.of("save") if s.begun < cut]
    over = [s for s in saves if s.done < cut]
    if found is None:
        return [f"checkpoint {over[-1].facts['number']} was saved, and there is none"] if over else []
    if over and found.number < over[-1].facts["number"]:
        return [f"checkpoint {over[-1].facts['number']} was saved, the newest is {found.number}"]
    if not any(_same(s, found) for s in saves):
        return [f"checkpoint {found.number} is none of those that were saved"]
    return []


def _same(step: Step, found: Checkpoint) -> bool:
    return all(step.facts[k] == found.manifest[k] for k in ("ranges", "rows")) and step.facts["number"] == found.number


def _open(root: Path, found: Checkpoint | None) -> dict[str, Any]:
    sinks = open_sinks(root)
    for name, sink in sinks.items():
        state = found.manifest["sinks"][name] if found else None
        sink.open(TEXT_SCHEMA, state)
        if found and state is not None:
            sink.commit(found.number, state)
    return sinks


def _recovered(root: Path, found: Checkpoint | None, ranges: dict[str, list[tuple[int, int]]]) -> list[str]:
    """Open, commit and close the sinks: what can be read is what the checkpoint says."""
    sinks = _open(root, found)
    if found is None:  # a fresh run replaces what was there when it first commits
        for sink in sinks.values():
            sink.commit(0, sink.prepare(0))
    for sink in sinks.values():
        sink.close()
    return _compare(root, ranges, "recovery")


def _compare(root: Path, ranges: dict[str, list[tuple[int, int]]], when: str) -> list[str]:
    problems = []
    for name, read in (("parts", _parts), ("single", _single), ("topic", _topic)):
        got, wanted = read(root), table(ranges[name], text=True)
        if not got.equals(wanted):
            ids = got.column("id").to_pylist()
            lost = len(set(wanted.column("id").to_pylist()) - set(ids))
            problems.append(
                f"sink {name}: {len(ids)} events, {len(set(ids))} different, instead of {wanted.num_rows}; "
                f"{lost} are missing; after the {when}"
            )
    return problems


def _go_on(
    root: Path, store: CheckpointStore, found: Checkpoint | None, *, new: dict[str, tuple[int, int]]
) -> dict[str, Any]:
    """Write, save a checkpoint and commit, as a run that goes on."""
    sinks = _open(root, found)
    number = found.number + 1 if found else 1
    states: dict[str, Any] = {}
    for name, sink in sinks.items():
        sink.write(rows(*new[name], text=True))
        states[name] = dict(sink.prepare(number))
    before = found.manifest["ranges"] if found else {name: [] for name in SINKS}
    ranges = {name: [*before[name], list(new[name])] for name in SINKS}
    tables = {"count": {"panes": table([(_NEW, 5)])}, "join": {"left": table([(_NEW, 1)])}}
    store.save(Checkpoint(number, {"sinks": states, "ranges": ranges, "rows": [_NEW, 5]}, tables))
    for name, sink in sinks.items():
        sink.commit(number, states[name])
        sink.close()
    return states


def _parts(root: Path) -> pa.Table:
    tables = []
    for file in sorted((root / "out" / "parts").glob("part-*.arrow")):
        with pa.ipc.open_file(file.read_bytes()) as reader:
            tables.append(reader.read_all().select(TEXT_SCHEMA.names).cast(TEXT_SCHEMA))
    return pa.concat_tables(tables).combine_chunks() if tables else TEXT_SCHEMA.empty_table()


def _single(root: Path) -> pa.Table:
    path = root / "out" / "single.csv"
    types = pc.ConvertOptions(column_types={f.name: f.type for f in TEXT_SCHEMA})
    read = pc.read_csv(path, convert_options=types).select(TEXT_SCHEMA.names)
    return read.cast(TEXT_SCHEMA).combine_chunks()


def _topic(root: Path) -> pa.Table:
    with Log(root / "data" / "strict") as log, log.reader("results", verify=True) as reader:
        batches = []
        while frames := reader.read():
            batches += [f.batch for f in frames]
    return pa.Table.from_batches(batches, TEXT_SCHEMA).combine_chunks()
