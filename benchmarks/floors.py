"""The floors of an application's benchmarks: programs that are run in turn, and one table of what they must reach.

Each program is run by itself with the Python that runs this one. Their JSON lines are printed as they come; the last
line sums up, and is ok only when every floor of a program that was asked for was judged and holds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.case import Floor
from benchmarks.harness import machine

__all__ = ["Judged", "Program", "judge"]


@dataclass(frozen=True)
class Judged:
    """A goal: a figure of a program's report, and its bound."""

    title: str
    program: str
    figure: Callable[[dict[str, Any]], float]
    floor: Floor


@dataclass(frozen=True)
class Program:
    """A file beside the one that judges, what it is called with, and what makes it shorter."""

    file: str
    arguments: tuple[str, ...] = ()
    shorter: tuple[str, ...] = ("--quick",)


def judge(name: str, here: Path, programs: Mapping[str, Program], goals: Sequence[Judged], *, about: str) -> int:
    """Run the programs of a folder that the command line names, print the table, and return the exit code.

    Parameters
    ----------
    name
        Of all of it, in the last line.
    here
        The folder of the programs.
    programs
        By name.
    goals
        What is judged.
    about
        What the command line says that this does.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(programs)}; default all")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    names = options.names or list(programs)
    if unknown := sorted(set(names) - set(programs)):
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(programs)}")
    reports = {one: _run(one, here, programs[one], quick=options.quick) for one in names}
    figures = {goal.title: _figure(goal, reports.get(goal.program)) for goal in goals}
    held = {goal.title: (value := figures[goal.title]) is not None and goal.floor.holds(value) for goal in goals}
    for goal in goals:
        value = figures[goal.title]
        told, said = ("-", "-") if value is None else (f"{value:.4g}", "ok" if held[goal.title] else "NO")
        print(f"{goal.title:76} {told:>9}  {goal.floor!s:20} {said}")
    ok = all(held[goal.title] for goal in goals if goal.program in names)
    floors = {goal.title: str(goal.floor) for goal in goals}
    print(json.dumps({"id": name, "figures": figures, "floors": floors, "held": held, "ok": ok, "machine": machine()}))
    return 0 if ok else 1


def _run(name: str, here: Path, program: Program, *, quick: bool) -> dict[str, Any] | None:
    """Run a program; return what its last line says, or None where it has failed."""
    command = [sys.executable, str(here / program.file), *program.arguments, *(program.shorter if quick else ())]
    path = os.pathsep.join([str(here.parents[1] / "src"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path})
    lines = done.stdout.strip().splitlines()
    try:
        report: dict[str, Any] = json.loads(lines[-1])
    except (IndexError, json.JSONDecodeError):
        print(f"{name}: no result\n{done.stderr.strip()[-2000:]}", flush=True)
        return None
    print(lines[-1], flush=True)
    return report


def _figure(goal: Judged, report: dict[str, Any] | None) -> float | None:
    try:
        return None if report is None else float(f"{goal.figure(report):.4g}")
    except (KeyError, StopIteration, ValueError):  # a peer that is not there
        return None
