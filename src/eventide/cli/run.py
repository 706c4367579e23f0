"""Run a pipeline until its input ends, or until it is stopped."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eventide import logs, registry
from eventide.cli._checkpoints import Found, newest
from eventide.cli._ledger import imbalances, show_ledger
from eventide.cli._options import LogFolder, Param, Target, settings
from eventide.cli.output import colour, note, show_json
from eventide.cli.progress import ProgressLine, Stopper
from eventide.cli.target import load_target, parse_params
from eventide.engines.local.checkpoint import CheckpointStore
from eventide.errors import DataError, EventideError, is_retriable
from eventide.model.graph import Write
from eventide.model.pipeline import Pipeline

if TYPE_CHECKING:
    from eventide.config import Config
    from eventide.engines.local.result import Progress, RunResult

_STOPPING = "stopping: finishing what was read (again to stop at once)"


def command(
    target: Target,
    engine: Annotated[str | None, typer.Option(metavar="NAME", help="The engine that runs it.")] = None,
    engine_option: Annotated[
        list[str] | None,
        typer.Option(
            "--engine-option", metavar="NAME=VALUE", help="An option of the engine, such as url=HOST:8081 for flink."
        ),
    ] = None,
    param: Param = None,
    start: Annotated[
        str, typer.Option("--from", metavar="OFFSET|TIME", help="Replay: read topics of the log only from here on.")
    ] = "",
    until: Annotated[
        str, typer.Option("--until", metavar="OFFSET|TIME", help="Replay: read topics only up to here, and end.")
    ] = "",
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin again, although there is a checkpoint.")] = False,
    from_savepoint: Annotated[
        str, typer.Option("--from-savepoint", metavar="NAME", help="Begin from a savepoint (a name or a folder).")
    ] = "",
    checkpoint: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Folder for checkpoints; '' keeps none.")
    ] = None,
    checkpoint_interval: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Between two checkpoints, such as 10s.")
    ] = None,
    keep: Annotated[int, typer.Option(metavar="N", help="How many checkpoints are kept.")] = 3,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the pipeline, under which checkpoints are kept.")
    ] = None,
    lanes: Annotated[
        int | None, typer.Option(metavar="N", help="Workers of stateful operators; 0 is one per processor.")
    ] = None,
    max_quarantined: Annotated[
        int | None,
        typer.Option(metavar="N", help="Stop, with exit code 3, when more events than this are in quarantine."),
    ] = None,
    metrics: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Serve the figures of the run; port 0 takes a free one.")
    ] = None,
    metrics_remote: Annotated[
        bool, typer.Option("--metrics-remote", help="Let other machines reach the figures.")
    ] = False,
    log_format: Annotated[str, typer.Option(metavar="text|json", help="How the log is written to stderr.")] = "",
    log_level: Annotated[str, typer.Option(metavar="LEVEL", help="debug, info, warning, error or off.")] = "",
    log: LogFolder = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result and its ledger as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the ledger of all operators.")] = False,
) -> None:
    """Run a pipeline until its input ends, or until it is stopped.

    Ctrl-C or SIGTERM: what was read is finished, a checkpoint is written, and the exit code is 130 or 143; the
    next run goes on there. A run with --from or --until is a replay: it does not go on from a checkpoint and
    leaves none, unless it has a --name of its own. What is written to the log is appended to what is there.

    A full disk, a locked topic or a server that is away: a run that keeps checkpoints says so, waits, and goes on from
    its last checkpoint when the cause is gone. Without checkpoints it ends with the error.

    Exit codes: 0 the input ended, 1 the run failed, 2 usage or configuration, 3 data, 4 something is missing.
    """
    config = settings(target, log=log)
    logs.configure(log_format or config.run.log_format, log_level or config.run.log_level)
    made = load_target(target, parse_params(param or []))
    made = made.named(name) if name else made
    folder = config.run.checkpoint if checkpoint is None else checkpoint
    if start or until:
        from eventide.cli._span import Span, only_span

        made = only_span(made, Span(start, until))
        folder = folder if name else ""
    # One that cannot be read is no reason not to begin elsewhere.
    before = newest(folder, made.name) if folder and not (fresh or from_savepoint) else None
    again = fresh and bool(folder) and bool(CheckpointStore(folder, made.name).numbers())
    options: dict[str, Any] = {
        "checkpoint": folder or None,
        "checkpoint_interval": checkpoint_interval or config.run.checkpoint_interval,
        "lanes": config.run.lanes if lanes is None else lanes,
        "resume": not fresh,
        "keep": keep,
        "from_savepoint": from_savepoint or None,
        "metrics": config.run.metrics if metrics is None else metrics,
        "metrics_remote": metrics_remote or config.run.metrics_remote,
        **{n: registry.plain_value(v) for n, v in parse_params(engine_option or []).items()},
    }
    stopper = Stopper("" if quiet else _STOPPING + (", then writing a checkpoint" if folder else ""))
    watch = Watch(ProgressLine(quiet=quiet or as_json), stopper, max_quarantined, quiet)
    with stopper.installed() as stop, _stopping(watch):
        try:
            chosen = registry.resolve("engine", engine or config.run.engine)
            result = chosen.run(made, stop=stop, on_progress=watch, **options)
        finally:
            watch.line.done()
    ended = before is not None and before.final and not result.rows_in
    if as_json:
        show_json({**result.to_dict(), "already_ended": ended})
    elif not quiet:
        _tell(result, made, before=before, verbose=verbose)
        if again:
            note(f"begun again: what earlier runs wrote to {', '.join(_sinks(made))} is still there")
    _leave(result, stopper, config, limit=max_quarantined)


@dataclass(slots=True)
class Watch:
    """Shows the progress of a run, and stops it when too much goes to quarantine."""

    line: ProgressLine
    stopper: Stopper
    limit: int | None
    quiet: bool = False
    waiting: bool = False

    def __call__(self, progress: Progress) -> None:
        """Take the progress."""
        if (progress.state == "waiting") != self.waiting:
            self.waiting = not self.waiting
            self.line.done()
            if not self.quiet:
                note(f"waiting, will go on by itself: {progress.reason}" if self.waiting else "going on")
        self.line(progress)
        if self.limit is not None and progress.quarantined > self.limit:
            self.stopper.event.set()


@contextmanager
def _stopping(watch: Watch) -> Iterator[None]:
    """Let a run that is stopped while it waits end as any other that is stopped: its last checkpoint is there."""
    try:
        yield
    except EventideError as error:
        if not (watch.waiting and watch.stopper.exit_code and is_retriable(error)):
            raise
        if not watch.quiet:
            note(f"stopped while waiting; the next run goes on from the last checkpoint: {error.message}")
        raise typer.Exit(watch.stopper.exit_code) from None


def _tell(result: RunResult, made: Pipeline, *, before: Found | None, verbose: bool) -> None:
    ended = before is not None and before.final
    if before is not None and ended and not result.rows_in:
        note(
            f"{result.pipeline}: nothing to do, the input had ended at checkpoint {before.number} "
            f"({before.written}); --fresh begins again"
        )
        return
    rate = result.rows_in / result.seconds if result.seconds else 0.0
    begun = f", gone on from checkpoint {result.resumed_from}" if result.resumed_from else ""
    head = colour(f"{result.pipeline}:", "bold", to=sys.stderr)
    note(
        f"{head} {result.rows_in:,} events in, {result.rows_out:,} out in {result.seconds:.2f} s "
        f"({rate:,.0f}/s{begun}) -> {', '.join(_sinks(made))}"
    )
    if result.late and ended:
        note(
            f"{result.late:,} events were too late: the input had ended before, which closed every window; "
            "read with follow=True what goes on, or begin again with --fresh"
        )
    elif result.late:
        note(f"{result.late:,} events were too late: a longer lateness= or allowed_lateness= would take them")
    if result.quarantined:
        note(f"{result.quarantined:,} are in quarantine, each with the reason: `eventide quarantine show`")
    for line in imbalances(result.ledger):
        note(line)
    if verbose:
        show_ledger(result.ledger, to=sys.stderr)
        note(f"graph {result.fingerprint[:12]}, checkpoint {result.checkpoint or 'none'}")


def _sinks(made: Pipeline) -> list[str]:
    return [n.uri for n in made.nodes if isinstance(n, Write)]


def _leave(result: RunResult, stopper: Stopper, config: Config, *, limit: int | None) -> None:
    if limit is not None and result.quarantined > limit:
        msg = f"{result.pipeline}: {result.quarantined:,} events are in quarantine, more than --max-quarantined {limit}"
        raise DataError(msg, hint=f"`eventide quarantine show --log {config.log.root}` shows them with the reason")
    if stopper.exit_code:
        raise typer.Exit(stopper.exit_code)
