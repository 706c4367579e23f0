"""Prove that the semantics hold: conformance suites."""

from __future__ import annotations

import importlib
from typing import Annotated, Any

import typer

from eventide.cli.output import note, show_json
from eventide.errors import UnknownNameError, UsageError, near_names
from eventide.registry import names, resolve

_SUITES = {"beam-transcripts": ("eventide.testing.transcripts", "run_beam_transcripts")}


def command(
    suite: Annotated[str, typer.Option(metavar="NAME", help="The suite: beam-transcripts.")] = "",
    engine: Annotated[
        str, typer.Option(metavar="NAME", help="An engine, whose results must be those of the embedded one.")
    ] = "",
    python: Annotated[
        str, typer.Option(metavar="PATH", help="Python of the environment that has apache-beam; EVENTIDE_BEAM_PYTHON.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print only the last JSON line.")] = False,
) -> None:
    """Run a conformance suite, or prove an engine; the last line is JSON, the exit code is 0 only when all holds.

    An engine runs nine pipelines in this environment (the jobs of sensors, neutron and gamma, every kind of window,
    sessions with late events, joins, timers, a function in plain Python); their rows must be those of the embedded
    engine, bit for bit.
    """
    if bool(suite) == bool(engine):
        msg = "name a suite or an engine" if not suite else "name a suite or an engine, not both"
        raise UsageError(msg, hint="--suite beam-transcripts, or --engine with one of: " + ", ".join(names("engine")))
    report = _engine(engine) if engine else _suite(suite, python)
    if not as_json:
        for line in report.pop("lines", []):
            note(line)
    report.pop("lines", None)
    show_json(report)
    if not report["ok"]:
        raise typer.Exit(1)


def _suite(suite: str, python: str) -> dict[str, Any]:
    if suite not in _SUITES:
        msg = f"there is no suite {suite!r}"
        raise UnknownNameError(msg, hint=near_names(suite, _SUITES))
    module, function = _SUITES[suite]
    report: dict[str, Any] = getattr(importlib.import_module(module), function)(python or None)
    return report


def _engine(engine: str) -> dict[str, Any]:
    from eventide.testing.same_results import run_same_results

    resolve("engine", engine)
    return run_same_results(engine)
