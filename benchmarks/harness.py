"""Run one benchmark: compare the results, measure ours and the peers in turn, print a table and a line of JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from benchmarks.case import PEERS, Case
from benchmarks.compare import DifferentError, check
from benchmarks.process import Program, ProgramError, our_command, peer_command

OUR_EQUALITY_ROWS = 2_000_000
_STARTS = {"start_seconds", "first_start_seconds"}
_IN_TABLE = _STARTS | {"rate", "rate_low", "rate_high", "seconds", "long_seconds", "short_seconds"}


@dataclass(frozen=True)
class Options:
    """How to run: repeats, just one (quick), which peers (None: all of the case), whether to run ours."""

    repeat: int = 5
    quick: bool = False
    peers: tuple[str, ...] | None = None
    ours: bool = True

    @property
    def repeats(self) -> int:
        """Measurements of each program."""
        return 1 if self.quick else self.repeat


@dataclass
class Report:
    """What a benchmark found; rates are events a second."""

    case: Case
    equal: dict[str, int] = field(default_factory=dict)
    ours: dict[str, dict[str, float]] = field(default_factory=dict)
    peers: dict[str, dict[str, float]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)

    @property
    def ratios(self) -> dict[str, float]:
        """Our rate over a peer's, by ``peer@variant``."""
        return {
            f"{peer}@{variant}": mine["rate"] / theirs["rate"]
            for peer, theirs in self.peers.items()
            for variant, mine in self.ours.items()
        }

    @property
    def figures(self) -> dict[str, float]:
        """All that a floor can name: ratios, and our own figures (``name@variant`` where there are several)."""
        found = self.ratios
        for variant, figures in self.ours.items():
            suffix = f"@{variant}" if len(self.ours) > 1 else ""
            found.update({f"{name}{suffix}": value for name, value in figures.items()})
        return found

    def floors(self, *, skipped: frozenset[str]) -> dict[str, dict[str, Any]]:
        """Every floor with its value; floors on peers that were left out on request are not listed."""
        figures, found = self.figures, {}
        for floor in self.case.floors:
            if floor.figure.split("@")[0] in skipped:
                continue
            value = figures.get(floor.figure)
            bound = {"at_least": floor.at_least} if floor.at_most is None else {"at_most": floor.at_most}
            found[floor.figure] = {**bound, "value": value, "ok": value is not None and floor.holds(value)}
        return found


def run_case(case: Case, options: Options) -> dict[str, Any]:
    """Run one benchmark and return the object of its last line."""
    report = Report(case)
    chosen = [name for name in case.peers if options.peers is None or name in options.peers]
    print(f"{case.id}: {case.title}", flush=True)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        variants = list(case.variants) if options.ours else []
        if case.compared:
            variants, chosen = _compare_all(case, variants, chosen, report, Path(folder))
    _measure_all(case, variants, chosen, options, report)
    skipped = frozenset(case.peers) - set(chosen if options.peers is None else options.peers)
    floors = report.floors(skipped=skipped - {name for name in case.peers if options.peers is None})
    _print_table(report, floors)
    return {
        "id": case.id,
        "unit": case.unit,
        "ours": report.ours,
        "peers": report.peers,
        "ratios": {name: round(value, 3) for name, value in report.ratios.items()},
        "floors": floors,
        "ok": options.ours and not report.errors and all(floor["ok"] for floor in floors.values()),
        "n": {"repeat": options.repeats, "rows": report.rows, "equal_rows": report.equal},
        "errors": report.errors,
        "machine": machine(),
        "versions": report.versions,
    }


def _compare_all(
    case: Case, variants: list[str], peers: list[str], report: Report, folder: Path
) -> tuple[list[str], list[str]]:
    """Compare every program with DuckDB; the variants and peers whose results are right."""
    truths: dict[int, Path] = {}

    def equal(name: str, rows: int, command: list[str]) -> bool:
        try:
            if rows not in truths:
                truth = folder / f"truth-{rows}.parquet"
                _write_result("duckdb", peer_command("duckdb", case, rows=rows), truth)
                truths[rows] = truth
            found = folder / "found.parquet"
            until = _write_result(name, command, found)["complete_until"]
            report.equal[name] = check(
                case.job, pq.read_table(truths[rows]), pq.read_table(found), complete_until=until
            )
        except (ProgramError, DifferentError) as error:
            return _note(report, f"{name}: {error}" if isinstance(error, DifferentError) else str(error))
        print(f"  {name}: {report.equal[name]:,} result rows equal to DuckDB's", flush=True)
        return True

    right_variants = []
    for name in variants:
        try:
            command = our_command(case, batch=case.variants[name], rows=OUR_EQUALITY_ROWS)
        except ProgramError as error:
            _note(report, str(error))
            continue
        if equal(f"ours@{name}", OUR_EQUALITY_ROWS, command):
            right_variants.append(name)
    right_peers = []
    for name in peers:
        rows = PEERS[name].equality_rows
        try:
            command = peer_command(name, case, rows=rows)
        except ProgramError as error:
            _note(report, str(error))
            continue
        if equal(name, rows, command):
            right_peers.append(name)
    return right_variants, right_peers


def _note(report: Report, error: str) -> bool:
    report.errors.append(error)
    print(f"  ERROR {error}", flush=True)
    return False


def _write_result(name: str, command: list[str], path: Path) -> dict[str, Any]:
    with Program(name, [*command, "--out", str(path)], log="compare") as program:
        return program.answer()


def _measure_all(case: Case, variants: list[str], peers: list[str], options: Options, report: Report) -> None:
    commands = {}
    for name in variants:
        commands[f"ours@{name}"] = our_command(case, batch=case.variants[name], rows=case.rows)
        report.rows[f"ours@{name}"] = case.rows
    for name in peers:
        report.rows[name] = case.peers[name]
        commands[name] = peer_command(name, case, rows=report.rows[name])
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in commands}
    with ExitStack() as stack:
        programs = {}
        for name, command in commands.items():  # one after the other: a warm-up must not disturb another
            program = stack.enter_context(Program(name, [*command, "--interactive"], log=case.id))
            try:
                report.versions.update(program.answer()["versions"])
            except ProgramError as error:
                _note(report, str(error))
                continue
            programs[name] = program
        for _ in range(options.repeats):
            for name in list(programs):
                try:
                    answers[name].append(programs[name].ask())
                except ProgramError as error:
                    _note(report, str(error))
                    del programs[name], answers[name]
    for name, found in answers.items():
        if found:
            side, key = (report.ours, name.split("@")[1]) if name.startswith("ours@") else (report.peers, name)
            side[key] = summary(found)


def summary(answers: list[dict[str, Any]]) -> dict[str, float]:
    """Median of every figure over the repeats; of a ``max_`` figure the largest."""
    found = {}
    for name, first in answers[0].items():
        if isinstance(first, bool) or not isinstance(first, int | float) or name in {"rows", "checksum"}:
            continue
        values = [answer[name] for answer in answers]
        found[name] = max(values) if name.startswith("max_") else statistics.median(values)
    if "rate" in found:
        rates = [answer["rate"] for answer in answers]
        found["rate_low"], found["rate_high"] = min(rates), max(rates)
    return found


def machine() -> dict[str, Any]:
    """What it ran on."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": model,
        "cores": cores,
        "load": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "python": platform.python_version(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _print_table(report: Report, floors: dict[str, dict[str, Any]]) -> None:
    print(f"  {'program':<14}{'million events/s':>18}   lowest and highest   start of a job, of the first", flush=True)
    named = {f"ours@{name}": figures for name, figures in report.ours.items()} | report.peers
    for name, figures in named.items():
        if "rate" in figures:
            low, high = figures["rate_low"] / 1e6, figures["rate_high"] / 1e6
            line = f"  {name:<14}{figures['rate'] / 1e6:>18.3f}   {f'{low:.3f} .. {high:.3f}':<18}"
            if figures.keys() >= _STARTS:
                line += f"   {figures['start_seconds']:.2f} s, {figures['first_start_seconds']:.2f} s"
            print(line.rstrip(), flush=True)
    for name, value in report.figures.items():
        if name.split("@")[0] not in _IN_TABLE:
            print(f"  {name:<32}{value:>12.4g}", flush=True)
    for name, floor in floors.items():
        bound = f">= {floor['at_least']:g}" if "at_least" in floor else f"<= {floor['at_most']:g}"
        value = "not measured" if floor["value"] is None else f"{floor['value']:.4g}"
        print(f"  {'ok ' if floor['ok'] else 'LOW'} {name} {bound}: {value}", flush=True)


def last_line(result: dict[str, Any]) -> str:
    """The object as one line of JSON."""
    return json.dumps(result, separators=(",", ":"))
