"""Prove that the semantics hold: conformance suites."""

from __future__ import annotations

import importlib
from typing import Annotated

import typer

from eventide.cli.output import note, show_json
from eventide.errors import UnknownNameError, near_names

_SUITES = {"beam-transcripts": ("eventide.testing.transcripts", "run_beam_transcripts")}


def command(
    suite: Annotated[str, typer.Option(metavar="NAME", help="The suite: beam-transcripts.")],
    python: Annotated[
        str, typer.Option(metavar="PATH", help="Python of the environment that has apache-beam; EVENTIDE_BEAM_PYTHON.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print only the last JSON line.")] = False,
) -> None:
    """Run a conformance suite; the last line is JSON, and the exit code is 0 only when all of it holds."""
    if suite not in _SUITES:
        msg = f"there is no suite {suite!r}"
        raise UnknownNameError(msg, hint=near_names(suite, _SUITES))
    module, function = _SUITES[suite]
    report = getattr(importlib.import_module(module), function)(python or None)
    if not as_json:
        for line in report.pop("lines", []):
            note(line)
    report.pop("lines", None)
    show_json(report)
    if not report["ok"]:
        raise typer.Exit(1)
