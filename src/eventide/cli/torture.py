"""Prove that a crash loses nothing and doubles nothing: kill, starve and disturb a pipeline, and compare."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any

import typer

from eventide.cli._options import Json
from eventide.cli.output import colour, note, show_json
from eventide.errors import UsageError, near_names

app = typer.Typer(no_args_is_help=True)

_OVERNIGHT = 10_000
_MINUTE = 60.0
Seed = Annotated[int, typer.Option(metavar="N", help="Of the input and of what is done to the pipeline.")]
Keep = Annotated[bool, typer.Option("--keep", help="Leave the folders, also when all is well.")]


@app.command()
def kill(
    random: Annotated[int, typer.Option("--random", metavar="N", help="How many kills at random instants.")] = 100,
    overnight: Annotated[bool, typer.Option("--overnight", help=f"{_OVERNIGHT:,} kills.")] = False,
    at: Annotated[
        list[str] | None,
        typer.Option(metavar="POINT", help="Kill at a point instead, such as sink.commit; all: at every point."),
    ] = None,
    hits: Annotated[int, typer.Option(metavar="N", min=1, help="With --at: how many hits of each point.")] = 4,
    seed: Seed = 1,
    keep: Keep = False,
    as_json: Json = False,
) -> None:
    """End a pipeline by SIGKILL, start it again until its input has ended, and compare with an undisturbed run.

    The last line is JSON; the exit code is 0 only if no row was lost, doubled or wrong.
    """
    progress = _Progress(quiet=as_json)
    if at:
        from eventide.testing.crash.chosen import torture_points

        points = [] if "all" in at else at
        report = torture_points(points, hits=hits, seed=seed, keep=keep, on_case=progress.tally)
    else:
        from eventide.testing.crash.kill import torture_kill

        wanted = _OVERNIGHT if overnight else random
        report = torture_kill(wanted, seed=seed, keep=keep, on_round=progress.tally)
    progress.done()
    if not as_json:
        _tell_kills(report)
    _leave(report, quiet=as_json)


@app.command()
def syscalls(
    which: Annotated[str, typer.Option("--pass", metavar="PASS", help="kill, enospc, eio or all.")] = "all",
    every: Annotated[int, typer.Option(metavar="K", min=1, help="Only every K-th call.")] = 1,
    seed: Seed = 1,
    keep: Keep = False,
    as_json: Json = False,
) -> None:
    """Let every write, sync, rename and removal of a whole run go wrong once, by strace, and compare.

    Three passes: SIGKILL, a full disk (ENOSPC) and a broken one (EIO). The last line is JSON; the exit code is 0 only
    if no row was lost, doubled or wrong, 4 where strace is missing or not allowed.
    """
    from eventide.testing.crash.syscalls import PASSES, torture_syscalls

    if which not in (*PASSES, "all"):
        msg = f"there is no pass {which!r}"
        raise UsageError(msg, hint=near_names(which, [*PASSES, "all"]))
    progress = _Progress(quiet=as_json)
    passes = PASSES if which == "all" else (which,)
    report = torture_syscalls(passes, every=every, seed=seed, keep=keep, on_case=progress.line)
    progress.done()
    if not as_json:
        ends = ", ".join(f"{n} {end}" for end, n in sorted(report["ends"].items()))
        note(
            f"{report['cases']:,} of {sum(report['calls'].values()):,} calls a pass ({ends}) {report['seconds']:.0f} s"
        )
    _leave(report, quiet=as_json)


@app.command()
def soak(
    minutes: Annotated[float, typer.Option(metavar="M", help="How long.")] = 10.0,
    hours: Annotated[float, typer.Option(metavar="H", help="How long, in hours.")] = 0.0,
    memory: Annotated[int, typer.Option(metavar="MIB", help="Resident memory that a run may take.")] = 1024,
    seed: Seed = 1,
    keep: Keep = False,
    as_json: Json = False,
) -> None:
    """Run a pipeline for a long time under random faults, and check what it writes all the while.

    Faults: SIGKILL, SIGTERM, pauses, a full or broken disk (needs strace), a topic that another process holds, slow
    sinks, a killed producer. The last line is JSON; the exit code is 0 only if all is well.
    """
    from eventide.testing.crash.soak import torture_soak

    progress = _Progress(quiet=as_json)
    seconds = hours * 3600 if hours else minutes * 60
    report = torture_soak(seconds, seed=seed, keep=keep, memory=memory, on_look=progress.line)
    progress.done()
    if not as_json:
        done = ", ".join(f"{n} {kind}" for kind, n in report["faults"].items())
        note(
            f"{report['batches']:,} batches under {done}; {report['restarts']:,} restarts, {report['refused']} refused"
        )
        note(
            f"{report['checks']:,} checks while it ran; at most {report['max_rss_mib']} MiB; {report['seconds']:.0f} s"
        )
    _leave(report, quiet=as_json)


@app.command()
def powerloss(
    states: Annotated[int, typer.Option(metavar="N", min=1, help="How many states of the disk to recover.")] = 10_000,
    seed: Seed = 1,
    as_json: Json = False,
) -> None:
    """Take the power away at every place of a workload, recover from what a disk may then hold, and compare.

    The last line is JSON; the exit code is 0 only if every state was recovered.
    """
    from eventide.testing import powerloss as suite

    progress = _Progress(quiet=as_json)
    result = suite.run(states=states, seed=seed, report=progress.line)
    progress.done()
    if not as_json:
        for problem in result.problems:
            note(f"{colour('failed:', 'red', to=sys.stderr)} {problem}")
        note(f"{result.states:,} states recovered, {len(result.problems)} problems, {result.seconds:.0f} s")
    show_json(result.to_dict())
    if not result.ok:
        raise typer.Exit(1)


class _Progress:
    """One line on a terminal, rewritten in place; elsewhere, where it is kept, one a minute."""

    def __init__(self, *, quiet: bool) -> None:
        self._on = not quiet and sys.stderr.isatty()
        self._kept = not quiet and not self._on
        self._said = time.monotonic()

    def tally(self, tally: Any) -> None:
        """Show how far a kill suite is."""
        self.line(f"{tally.kills:,} kills, {tally.rounds} inputs ended, {tally.rows:,} rows compared")

    def line(self, text: str) -> None:
        """Show a line."""
        if self._on:
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()
        elif self._kept and time.monotonic() - self._said >= _MINUTE:
            self._said = time.monotonic()
            note(text)

    def done(self) -> None:
        """Take the line away."""
        if self._on:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _tell_kills(report: dict[str, Any]) -> None:
    phases = ", ".join(f"{n} {phase}" for phase, n in sorted(report["phases"].items(), key=lambda p: -p[1]))
    note(
        f"{report['kills']:,} kills ({phases}), {report.get('stops', 0):,} clean stops, "
        f"{report['restarts']:,} restarts, {report['rounds']:,} inputs to their end in {report['seconds']:.0f} s"
    )


def _leave(report: dict[str, Any], *, quiet: bool) -> None:
    if not quiet:
        for failure in report.get("failures", []):
            note(f"{colour('failed:', 'red', to=sys.stderr)} {failure}")
        names = ("lost", "doubled", "wrong")
        note(f"{report['rows']:,} rows compared: " + ", ".join(f"{report[n]:,} {n}" for n in names))
        if report.get("folder"):
            note(f"see {report['folder']}")
    show_json(report)
    if not report["ok"]:
        raise typer.Exit(1)
