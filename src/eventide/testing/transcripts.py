"""Beam's trigger transcripts, played to eventide's window machine.

Apache Beam describes what triggers do in transcripts that every runner must follow: lines of input, of
watermark, and of the panes expected after them. They come with the package ``apache-beam``; this module
reads them from where it is installed and plays each through the machine that runs every window here,
with two keys, in one batch a step, in one event a step, and with the state moved to other machines
before every step.

What eventide has no word for is derived: ``final`` from whether the machine still holds the window,
``nonspeculative_index`` by counting panes that are not early. ``state`` is looked up in the snapshot:
*present* is a window that may still emit, *tombstone* one that has finished, and *absent* one that can emit
nothing any more. An output time that a window function transforms (``OUTPUT_AT_EARLIEST_TRANSFORMED``) is the
earliest event's, transformed. A count trigger fires at the event that reaches the count, where Beam's
driver looks at the end of a bundle; the transcripts hold for both.
"""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pyarrow as pa

from eventide.errors import MissingDependencyError, RunError, UsageError
from eventide.kernel.window.general import GeneralWindowMachine
from eventide.model.aggregate import collect
from eventide.model.graph import Read, Ref, Window
from eventide.model.machine import MAIN, Step
from eventide.model.state import KEY_GROUPS, State, merge_states
from eventide.model.time import EVENT_TIME, MIN_TIME
from eventide.testing.transcripts_beam import SECOND, Dialect, read_dialect

__all__ = ["PLAYS", "find_beam_transcripts", "play", "run_beam_transcripts"]

Play: TypeAlias = Literal["whole", "single", "moved"]
Pane: TypeAlias = dict[str, Any]

PLAYS: tuple[Play, ...] = ("whole", "single", "moved")
"""How a transcript is played: one batch a step, one event a step, state moved to other machines before each step."""

_KEYS = ("one", "two")
_SCHEMA = pa.schema([("key", pa.string()), ("t", EVENT_TIME), ("value", pa.int64())])
_FIND = (
    "import importlib.util as u, importlib.metadata as m;"
    "s = u.find_spec('apache_beam');"
    "print(s.origin if s else ''); print(m.version('apache-beam') if s else '')"
)


def find_beam_transcripts(python: str | Path | None = None) -> tuple[Path, str]:
    """Return the path of the transcripts and the version of Beam that they belong to.

    Parameters
    ----------
    python
        A Python that has apache-beam, or the file itself; left out: the variable ``EVENTIDE_BEAM_PYTHON``, else
        this Python.

    Raises
    ------
    MissingDependencyError
        There is no apache-beam.
    """
    where = str(python or os.environ.get("EVENTIDE_BEAM_PYTHON") or sys.executable)
    if where.endswith((".yaml", ".yml")):
        return Path(where), ""
    hint = "pip install apache-beam in an environment of its own and set EVENTIDE_BEAM_PYTHON to its python"
    try:
        found = subprocess.run([where, "-c", _FIND], capture_output=True, text=True, timeout=120, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        msg = f"{where} cannot be asked for apache-beam: {error}"
        raise MissingDependencyError(msg, hint=hint) from error
    origin, _, version = found.stdout.strip().partition("\n")
    path = Path(origin).parent / "testing" / "data" / "trigger_transcripts.yaml"
    if not origin or not path.exists():
        msg = f"apache-beam's trigger transcripts are not in the environment of {where}"
        raise MissingDependencyError(msg, hint=hint)
    return path, version


def run_beam_transcripts(python: str | Path | None = None) -> dict[str, Any]:
    """Play all transcripts and return a report.

    Parameters
    ----------
    python
        As of `find_beam_transcripts`.

    Returns
    -------
    ``ok``, the names in ``passed``, those that had to be refused and were in ``refused``, and ``failures``
    with ``name``, ``play`` and ``error``; ``beam`` is Beam's version.

    Raises
    ------
    MissingDependencyError
        There is no apache-beam, or no pyyaml.
    """
    path, version = find_beam_transcripts(python)
    passed: list[str] = []
    refused: list[str] = []
    failures: list[dict[str, str]] = []
    for spec in _documents(path):
        name = str(spec.get("name", "unnamed"))
        wrong = [(how, error) for how in PLAYS if (error := _verdict(spec, how))]
        failures += [{"name": name, "play": how, "error": error} for how, error in wrong]
        if not wrong:
            (refused if "error" in spec else passed).append(name)
    return {
        "suite": "beam-transcripts",
        "ok": bool(passed) and bool(refused) and not failures,
        "passed": passed,
        "refused": refused,
        "failures": failures,
        "plays": list(PLAYS),
        "beam": version,
    }


def _documents(path: Path) -> list[dict[str, Any]]:
    try:
        import yaml
    except ImportError as error:
        msg = "pyyaml is needed to read Beam's transcripts"
        raise MissingDependencyError(msg, hint="pip install pyyaml") from error
    with path.open(encoding="utf-8") as file:
        return [d for d in yaml.safe_load_all(file) if d]


def _verdict(spec: dict[str, Any], how: Play) -> str:
    """Return what is wrong with a transcript's outcome, "" when nothing is."""
    wanted = str(spec.get("error", ""))
    try:
        play(spec, how=how)
    except RunError as error:
        return "" if wanted and re.search(wanted, error.message) else error.message
    except UsageError as error:
        return error.message
    return f"it must be refused with {wanted!r}, but was followed" if wanted else ""


def play(spec: dict[str, Any], *, how: Play = "whole") -> None:
    """Play one transcript.

    Parameters
    ----------
    spec
        The YAML document.
    how
        One of `PLAYS`.

    Raises
    ------
    RunError
        The panes are not those expected: "Unexpected output" or "Unmatched output".

    Examples
    --------
    >>> play({
    ...     "window_fn": "FixedWindows(10)",
    ...     "transcript": [
    ...         {"input": [1, 2, 11]},
    ...         {"watermark": 10},
    ...         {"expect": [{"window": [0, 9], "values": [1, 2], "late": False}]},
    ...     ],
    ... })
    """
    stage = _Stage(read_dialect(spec), how=how)
    output: list[Pane] = []
    for line in spec["transcript"]:
        ((action, given),) = line.items()
        if action != "expect":
            _none_left(output, before=f"{action} {given}")
        if action == "input":
            output = stage.input(given)
        elif action == "watermark":
            output = stage.advance(watermark=given)
        elif action == "clock":
            output = stage.advance(clock=given)
        elif action == "expect":
            for expected in given:
                for key in _KEYS:
                    _match(output, {**expected, "key": key})
        elif action == "state":
            stage.check_state(given)
        else:
            msg = f"unknown action {action!r} in a transcript"
            raise UsageError(msg, hint="input, watermark, clock, expect or state")
    _none_left(output, before="the end")


def _none_left(output: list[Pane], *, before: str) -> None:
    if output:
        msg = f"Unexpected output before {before}: {output}"
        raise RunError(msg)


def _match(output: list[Pane], expected: Pane) -> None:
    for pane in output:
        if all(pane[k] == v for k, v in expected.items() if k in pane):
            output.remove(pane)
            return
    msg = f"Unmatched output {expected} in {output}"
    raise RunError(msg)


class _Stage:
    """The machines, the time, and the panes of a play."""

    def __init__(self, dialect: Dialect, *, how: Play) -> None:
        self._dialect = dialect
        self._how = how
        self._seq = 0
        self._watermark = MIN_TIME
        self._moves = 0
        self._on_time: Counter[tuple[str, int, int]] = Counter()
        self._node = Window(
            Ref(Read("memory://transcript")),
            dialect.window,
            (("values", collect("value")),),
            trigger=dialect.trigger,
            accumulation=dialect.accumulation,
            allowed_lateness=dialect.lateness,
            timestamp=dialect.timestamp,
        )
        self._machines = self._build(1)

    def _build(self, parts: int) -> list[GeneralWindowMachine]:
        edges = [KEY_GROUPS * i // parts for i in range(parts + 1)]
        return [
            GeneralWindowMachine(self._node, schema=_SCHEMA, keys=("key",), event_time="t", groups=range(low, high))
            for low, high in itertools.pairwise(edges)
        ]

    def input(self, times: list[int]) -> list[Pane]:
        """Send events, whose value is their time in seconds."""
        out: list[Pane] = []
        size = 1 if self._how == "single" else max(1, len(times))
        for at in range(0, len(times), size):
            part = times[at : at + size]
            values = [t for t in part for _ in _KEYS]
            batch = pa.record_batch(
                [
                    pa.array([*_KEYS] * len(part), pa.string()),
                    pa.array([v * SECOND for v in values], pa.int64()).view(EVENT_TIME),
                    pa.array(values, pa.int64()),
                ],
                schema=_SCHEMA,
            )
            out += self._push(batch)
        return out

    def advance(self, *, watermark: int | None = None, clock: int | None = None) -> list[Pane]:
        """Move the watermark or the clock, in seconds."""
        if watermark is not None:
            self._watermark = max(self._watermark, watermark * SECOND)
        return self._push(None, clock=MIN_TIME if clock is None else clock * SECOND)

    def _push(self, batch: pa.RecordBatch | None, *, clock: int = MIN_TIME) -> list[Pane]:
        if self._how == "moved":
            state = self._state()
            self._moves += 1
            self._machines = self._build(1 + self._moves % 3)
            for machine in self._machines:
                machine.restore(state)
        step = Step(self._seq, 0, batch, self._watermark, clock)
        self._seq += 1
        rows = [row for m in self._machines for e in m.push(step) if e.port == MAIN for row in _rows(e.batch)]
        held = self._windows(finished=False)
        return [self._pane(row, final=(row["key"], row["start"], row["end"]) not in held) for row in rows]

    def _state(self) -> State:
        return merge_states(m.snapshot() for m in self._machines)

    def _windows(self, *, finished: bool) -> set[tuple[str, int, int]]:
        """Return the windows held, those that have finished or those that have not."""
        table = self._state()["windows"]
        names = ("key.key", "start", "end", "finished")
        rows = zip(*(table.column(n).to_pylist() for n in names), strict=True)
        return {(key, start, end) for key, start, end, over in rows if over is finished}

    def _pane(self, row: dict[str, Any], *, final: bool) -> Pane:
        window = (row["key"], row["start"], row["end"])
        if row["index"] == 0:
            self._on_time[window] = 0
        number = -1
        if row["timing"] != "early":
            number = self._on_time[window]
            self._on_time[window] += 1
        return {
            "key": row["key"],
            "window": [row["start"] // SECOND, (row["end"] - 1) // SECOND],
            "values": sorted(row["values"]),
            "timestamp": (row["time"] + self._dialect.shift) // SECOND,
            "early": row["timing"] == "early",
            "late": row["timing"] == "late",
            "final": final,
            "index": row["index"],
            "nonspeculative_index": number,
        }

    def check_state(self, given: dict[str, list[list[int]]]) -> None:
        """Compare what the machines hold."""
        live = [[s // SECOND, (e - 1) // SECOND] for _, s, e in self._windows(finished=False)]
        over = [[s // SECOND, (e - 1) // SECOND] for _, s, e in self._windows(finished=True)]
        wrong = [("present", w) for w in given.get("present", []) if live.count(w) != len(_KEYS)]
        wrong += [("tombstone", w) for w in given.get("tombstone", []) if over.count(w) != len(_KEYS)]
        wrong += [("absent", w) for w in given.get("absent", []) if w in live]
        if wrong:
            msg = f"Unmatched state: {wrong}; open {live}, finished {over}"
            raise RunError(msg)


def _rows(batch: pa.RecordBatch) -> Iterable[dict[str, Any]]:
    """Return output rows; a window whose panes are not told apart has one, on time."""
    names = batch.schema.names
    n = batch.num_rows
    columns = {
        "key": batch.column("key").to_pylist(),
        "start": batch.column("window_start").view(pa.int64()).to_pylist(),
        "end": batch.column("window_end").view(pa.int64()).to_pylist(),
        "time": batch.column("event_time").view(pa.int64()).to_pylist(),
        "values": batch.column("values").to_pylist(),
        "index": batch.column("pane_index").to_pylist() if "pane_index" in names else [0] * n,
        "timing": batch.column("pane_timing").to_pylist() if "pane_timing" in names else ["on_time"] * n,
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
