"""Input that could not be processed: what there is, why, and once more through the pipeline."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pyarrow as pa
import pyarrow.compute as pc
import typer

from eventide import registry
from eventide.cli._again import Selection
from eventide.cli._options import Json, LogFolder, Param, Target, settings
from eventide.cli._quarantined import Wanted, kinds, marks, quarantined, readable
from eventide.cli._replay import Taken, redirected, replayed, straight_to, taken, with_state
from eventide.cli._rows import plain_rows
from eventide.cli.output import note, show, show_json, show_table
from eventide.cli.progress import ProgressLine, Stopper
from eventide.cli.target import load_target, parse_params
from eventide.errors import CheckpointError, LogLockedError, PipelineError, UsageError
from eventide.log.lock import FileLock
from eventide.model.time import format_time

if TYPE_CHECKING:
    from eventide.engines.local.result import RunResult
    from eventide.model.pipeline import Pipeline

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

PipelineName = Annotated[str, typer.Option("--pipeline", metavar="NAME", help="Only of this pipeline.")]
Operator = Annotated[str, typer.Option(metavar="NAME", help="Only what this operator (or source) refused.")]
Where = Annotated[
    str, typer.Option(metavar="SQL", help="Only entries for which this holds, such as \"reason LIKE '%int64%'\".")
]


@app.command("list")
def list_entries(
    pipeline: PipelineName = "",
    operator: Operator = "",
    where: Where = "",
    log: LogFolder = "",
    as_json: Json = False,
) -> None:
    """Count what is in quarantine by pipeline, operator and reason."""
    root = settings(log=log).log.root
    rows = kinds(quarantined(root, Wanted(pipeline=pipeline, operator=operator, where=where)))
    for row in rows:
        row["first"], row["last"] = (format_time(row[n] // 10**6 * 10**6) for n in ("first", "last"))
    if as_json:
        show_json(rows)
    elif not rows:
        show(f"nothing is in quarantine in {root}")
    else:
        names = ["entries", "waiting", "pipeline", "operator", "first", "last", "reason"]
        show_table(names, [[row[n] for n in names] for row in rows])


@app.command("show")
def show_entries(
    pipeline: PipelineName = "",
    operator: Operator = "",
    where: Where = "",
    limit: Annotated[int, typer.Option("-n", "--limit", metavar="N", min=0, help="The last N; 0: all.")] = 20,
    waiting: Annotated[bool, typer.Option("--waiting", help="Only entries that were not replayed.")] = False,
    log: LogFolder = "",
    as_json: Json = False,
) -> None:
    """Show entries: where each was read, why it was refused, its bytes as text or in hex."""
    root = settings(log=log).log.root
    wanted = Wanted(pipeline=pipeline, operator=operator, where=where, waiting=waiting)
    found = quarantined(root, wanted)
    found = found.slice(max(0, len(found) - limit)) if limit else found
    rows = plain_rows(found)
    for row in rows:
        row["data"], row["encoding"] = readable(row["data"])
    if as_json:
        show_json(rows)
        return
    for row in rows:
        state = "  (replayed)" if row["replayed"] else ""
        show([f"{row['offset']}  {row['timestamp']}  {row['pipeline']}  {row['operator']}  {row['position']}{state}"])
        show([f"    {row['reason']}", f"    {row['data'] or '(no bytes)'}"])
    if not rows:
        show("there are no such entries")


@app.command()
def replay(
    target: Target,
    param: Param = None,
    pipeline: Annotated[
        str, typer.Option("--pipeline", metavar="NAME", help="Name under which it ran (that of the target).")
    ] = "",
    operator: Operator = "",
    where: Where = "",
    sink: Annotated[
        list[str] | None,
        typer.Option("--sink", metavar="[NAME=]URI", help="Where a sink of the replay writes instead; repeatable."),
    ] = None,
    into: Annotated[
        str, typer.Option(metavar="URI", help="Only decode, and write the events to this sink, such as log://readings.")
    ] = "",
    partial: Annotated[
        bool, typer.Option("--partial", help="Also where windows and state will know the replayed events alone.")
    ] = False,
    strays: Annotated[
        bool, typer.Option("--strays", help="Also events whose time leapt too far ahead; they are then believed.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what can be decoded now.")] = False,
    log: LogFolder = "",
    as_json: Json = False,
) -> None:
    """Send quarantined input through the pipeline again, after the code, the schema or an option was mended.

    What a source could not decode, it decodes again; rows without an event time go in again where they were
    refused. Each entry is replayed once, however often this is called; what is bad again is in quarantine again.
    """
    config = settings(target, log=log)
    made = load_target(target, parse_params(param or []))
    made = made.named(pipeline) if pipeline else made
    selection = Selection(config.run.checkpoint or ".eventide/checkpoints", made.name)
    asked = Asked(config.log.root, tuple(sink or ()), into, strays=strays)
    _check_state(made, into=into, partial=partial)
    if dry_run:
        wanted = Wanted(pipeline=made.name, operator=operator, where=where, waiting=True)
        _tell_dry(asked.taken(made, quarantined(asked.root, wanted)), as_json=as_json)
        return
    lock = _lock(selection, made.name)
    try:
        _finish(selection, made, root=asked.root)
        wanted = Wanted(pipeline=made.name, operator=operator, where=where, waiting=True)
        entries = quarantined(asked.root, wanted)
        found = asked.taken(made, entries)
        result = None
        if found.rows:
            asked.check_places(made)
            entries = entries.take(pa.array(found.rows))
            ready = asked.pipeline(made, found, entries)
            facts = {"offsets": entries["offset"].to_pylist(), "sinks": sink or [], "into": into, "strays": strays}
            selection.begin(facts)
            result = _run(ready, selection)
            selection.done()
    finally:
        lock.release()
    _tell(found, result, as_json=as_json)


@dataclass(frozen=True, slots=True)
class Asked:
    """What becomes of the entries of a replay."""

    root: str
    sinks: tuple[str, ...]
    into: str
    strays: bool

    def taken(self, made: Pipeline, entries: pa.Table) -> Taken:
        """Return which source brings which entries."""
        return taken(made, entries, strays=self.strays)

    def pipeline(self, made: Pipeline, found: Taken, entries: pa.Table) -> Pipeline:
        """Return the pipeline of the replay."""
        table = marks(self.root, made.name, entries, now=time.time_ns())
        if self.into:
            return straight_to(made, found.sources, table, uri=self.into)
        elsewhere, own = redirected(made, self.sinks)
        return replayed(elsewhere, found.sources, table, own=own)

    def check_places(self, made: Pipeline) -> None:
        """Refuse a file that is there: it would be replaced.

        Raises
        ------
        UsageError
            It is there.
        """
        for uri in [self.into] if self.into else redirected(made, self.sinks)[1].values():
            scheme, address, _ = registry.split_uri(uri)
            path = address.partition("://")[2]
            if scheme == "file" and Path(path).exists():
                msg = f"{path} is there already, and a replay would replace it"
                raise UsageError(msg, hint="name a file or folder that is not there")


def _check_state(made: Pipeline, *, into: str, partial: bool) -> None:
    keep = with_state(made)
    if keep and not into and not partial:
        msg = f"{', '.join(keep)} of {made.name} keep state, and would know the replayed events alone"
        hint = "--into log://TOPIC gives the events to what the pipeline reads; --partial goes on all the same"
        raise PipelineError(msg, hint=hint)


def _lock(selection: Selection, name: str) -> FileLock:
    selection.place.mkdir(parents=True, exist_ok=True)
    try:
        return FileLock(selection.place / f"{name}.lock", what=f"the quarantine of {name!r}")
    except LogLockedError as error:
        msg = f"another replay of {name!r} is under way: {error.message}"
        raise CheckpointError(msg, hint="wait for its end") from None


def _finish(selection: Selection, made: Pipeline, *, root: str) -> None:
    """Finish a replay that was cut off, with what it had taken."""
    facts = selection.unfinished()
    if facts is None:
        return
    note(f"finishing a replay of {made.name} that was cut off: {len(facts['offsets']):,} entries")
    asked = Asked(root, tuple(facts["sinks"]), str(facts["into"]), strays=bool(facts["strays"]))
    entries = quarantined(root, Wanted(pipeline=made.name))
    entries = entries.filter(pc.is_in(entries["offset"], pa.array(facts["offsets"], pa.int64())))
    found = asked.taken(made, entries)
    _run(asked.pipeline(made, found, entries.take(pa.array(found.rows, pa.int64()))), selection)
    selection.done()


def _run(ready: Pipeline, selection: Selection) -> RunResult:
    stopper = Stopper("stopping: `eventide quarantine replay` finishes it")
    line = ProgressLine(quiet=False)
    with stopper.installed() as stop:
        try:
            result: RunResult = registry.resolve("engine", "local").run(
                ready,
                stop=stop,
                on_progress=line,
                checkpoint=selection.place,
                checkpoint_interval="30d",
            )
        finally:
            line.done()
    if result.stopped:
        raise typer.Exit(stopper.exit_code or 130)
    return result


def _tell_dry(found: Taken, *, as_json: bool) -> None:
    rows = []
    for label, source in found.sources.items():
        if source.items:
            events, bad = source.tried()
            rows.append({"source": label, "entries": len(source.items), "events": events, "still_bad": bad})
    if as_json:
        show_json({"sources": rows, "left": found.left})
        return
    if rows:
        show_table(["source", "entries", "events", "still bad"], [list(r.values()) for r in rows])
    else:
        note("there is nothing to replay")
    _tell_left(found)


def _tell_left(found: Taken) -> None:
    for reason, count in found.left.items():
        note(f"{count:,} are left in quarantine: {reason}")


def _tell(found: Taken, result: RunResult | None, *, as_json: bool) -> None:
    facts: dict[str, Any] = {"replayed": len(found.rows), "rows_in": 0, "rows_out": 0, "quarantined": 0, "late": 0}
    if result is not None:
        # The marks went through the same run and are no events.
        facts["rows_in"], facts["rows_out"] = result.rows_in - len(found.rows), result.rows_out - len(found.rows)
        facts["quarantined"], facts["late"] = result.quarantined, result.late
    if as_json:
        show_json({**facts, "left": found.left})
        return
    note(
        f"replayed {facts['replayed']:,} entries: {facts['rows_in']:,} events in, {facts['rows_out']:,} out, "
        f"{facts['quarantined']:,} in quarantine again"
    )
    _tell_left(found)
