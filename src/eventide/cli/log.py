"""The embedded log: topics, offsets, import, care."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

import eventide as ev
from eventide.cli._options import Json, LogFolder, Topic, settings
from eventide.cli.output import note, show, show_json, show_table
from eventide.errors import UsageError
from eventide.log import Log
from eventide.model.time import duration, format_duration

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


def _open(folder: str) -> Log:
    return Log(settings(log=folder).log.root, create=False)


@app.command("list")
def list_topics(log: LogFolder = "", as_json: Json = False) -> None:
    """Show the topics."""
    folder = settings(log=log).log.root
    rows = _topic_rows(Path(folder))
    if as_json:
        show_json(rows)
    elif not rows:
        show(f"the log {folder} has no topics")
    else:
        show_table(list(rows[0]), [list(r.values()) for r in rows], title=folder)


def _topic_rows(folder: Path) -> list[dict[str, Any]]:
    with Log(folder, create=False) as opened:
        rows = []
        for info in opened.topics():
            parts = opened.describe(info.name)
            keep = info.retention
            rows.append(
                {
                    "topic": info.name,
                    "partitions": info.partitions,
                    "events": sum(p.latest - p.earliest for p in parts),
                    "bytes": sum(p.bytes for p in parts),
                    "event_time": info.event_time or "",
                    "max_bytes": keep.max_bytes,
                    "max_age": format_duration(keep.max_age) if keep.max_age else None,
                }
            )
        return rows


@app.command("show")
def show_topic(topic: Topic, log: LogFolder = "", as_json: Json = False) -> None:
    """Show one topic: columns, partitions, offsets."""
    with _open(log) as opened:
        info, parts = opened.topic(topic), opened.describe(topic)
    facts = [
        {"partition": p.partition, "earliest": p.earliest, "latest": p.latest, "segments": p.segments, "bytes": p.bytes}
        for p in parts
    ]
    columns = {f.name: str(f.type) for f in info.schema}
    if as_json:
        show_json({"topic": topic, "event_time": info.event_time, "columns": columns, "partitions": facts})
        return
    show_table(["column", "type"], list(columns.items()), title=topic)
    show("")
    show_table(list(facts[0]), [list(f.values()) for f in facts])


@app.command("import")
def import_(
    topic: Topic,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A file, a pattern of files or any source address.")],
    event_time: Annotated[str, typer.Option(metavar="COLUMN", help="The event-time column.")] = "",
    key: Annotated[str, typer.Option(metavar="COLUMN", help="Column whose hash chooses the partition.")] = "",
    partitions: Annotated[int, typer.Option(metavar="N", help="Partitions of a new topic (1).")] = 0,
    log: LogFolder = "",
    as_json: Json = False,
) -> None:
    """Read a source to its end and append its events to a topic."""
    stream = ev.read(source)
    if event_time:
        stream = stream.event_time(event_time)
    options: dict[str, Any] = {"log": settings(log=log).log.root}
    options |= {"partitions": partitions} if partitions else {}
    options |= {"event_time": event_time} if event_time else {}
    options |= {"key": key} if key else {}
    result = ev.run(stream.write(f"log://{topic}", **options))
    if as_json:
        show_json({"topic": topic, "events": result.rows_out, "quarantined": result.quarantined})
    else:
        note(f"{topic}: {result.rows_out:,} events in {result.seconds:.2f} s")
        if result.quarantined:
            note(f"{result.quarantined:,} are in quarantine, each with the reason: `eventide tail quarantine`")


@app.command()
def export(
    topic: Topic,
    target: Annotated[
        str, typer.Argument(metavar="SINK", help="A file (.parquet, .csv, .jsonl, .arrow) or any sink address.")
    ],
    log: LogFolder = "",
    as_json: Json = False,
) -> None:
    """Write what a topic holds now to a file or another sink."""
    stream = ev.read(f"log://{topic}", log=settings(log=log).log.root, follow=False)
    result = ev.run(stream.write(target))
    if as_json:
        show_json({"topic": topic, "events": result.rows_out, "target": target})
    else:
        note(f"{target}: {result.rows_out:,} events in {result.seconds:.2f} s")


@app.command()
def verify(
    topic: Annotated[str, typer.Argument(metavar="[TOPIC]", help="A topic; left out, all.")] = "",
    log: LogFolder = "",
    as_json: Json = False,
) -> None:
    """Check every checksum; exits with 3 when something is damaged."""
    with _open(log) as opened:
        report = opened.verify(topic or None)
    if as_json:
        show_json({"ok": report.ok, "frames": report.frames, "rows": report.rows, "problems": report.problems})
    else:
        show(
            f"{report.frames:,} frames, {report.rows:,} events, {report.bytes:,} bytes: "
            f"{'all is well' if report.ok else 'DAMAGED'}"
        )
        show(report.problems)
    if not report.ok:
        raise typer.Exit(3)


@app.command()
def retention(
    topic: Topic,
    max_bytes: Annotated[
        int | None, typer.Option(metavar="BYTES", help="Bytes that a partition may hold; 0 is no limit.")
    ] = None,
    max_age: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="How long after it was appended an event is kept, such as 30d; 0: ever."),
    ] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Delete now what need not be kept.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing, say how much would be deleted.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    log: LogFolder = "",
    as_json: Json = False,
) -> None:
    """Show or set how long a topic keeps its events; delete old ones.

    Whole segments go, oldest first, never the last one.
    """
    with _open(log) as opened:
        keep = opened.topic(topic).retention
        if max_bytes is not None:
            keep = replace(keep, max_bytes=max_bytes or None)
        if max_age is not None:
            keep = replace(keep, max_age=duration(max_age, what="--max-age", zero=True) or None)
        would = len(opened.apply_retention(topic, retention=keep, dry_run=True)) if apply or dry_run else 0
        if apply and would and not dry_run:
            _ask(f"delete {would} segments of topic {topic!r}", yes=yes)
        if not dry_run and keep != opened.topic(topic).retention:
            opened.set_retention(topic, keep)
        gone = len(opened.apply_retention(topic)) if apply and not dry_run else 0
    facts = {
        "topic": topic,
        "max_bytes": keep.max_bytes,
        "max_age": format_duration(keep.max_age) if keep.max_age else None,
        "deleted_segments": gone,
        "would_delete_segments": would if dry_run else 0,
    }
    if as_json:
        show_json(facts)
        return
    limits = [f"{facts['max_bytes']:,} bytes a partition"] if keep.max_bytes else []
    limits += [f"events of the last {facts['max_age']}"] if keep.max_age else []
    show(f"{topic} keeps {' and '.join(limits) or 'everything'}")
    if apply or dry_run:
        note(f"{'would delete' if dry_run else 'deleted'} {would if dry_run else gone} segments")


def _ask(what: str, *, yes: bool) -> None:
    """Ask before something is lost for good; where nobody can answer, --yes must say so.

    Raises
    ------
    UsageError
        Nobody can be asked.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        msg = f"to {what} needs --yes"
        raise UsageError(msg, hint="--dry-run shows what would be deleted")
    typer.confirm(f"{what}?", abort=True, err=True)


@app.command()
def delete(
    topic: Topic,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    log: LogFolder = "",
    as_json: Json = False,
) -> None:
    """Delete a topic and its events for good."""
    with _open(log) as opened:
        parts = opened.describe(topic)
        events = sum(p.latest - p.earliest for p in parts)
        if not dry_run:
            _ask(f"delete topic {topic!r} with {events:,} events", yes=yes)
            opened.delete_topic(topic)
    if as_json:
        show_json({"topic": topic, "events": events, "deleted": not dry_run})
    else:
        note(f"{'would delete' if dry_run else 'deleted'} topic {topic!r}: {events:,} events")


@app.command()
def offsets(
    group: Annotated[str, typer.Argument(metavar="GROUP", help="Consumer group.")],
    log: LogFolder = "",
    as_json: Json = False,
) -> None:
    """Show how far a consumer group has come."""
    with _open(log) as opened:
        found = opened.offsets(group)
    if as_json:
        show_json(found)
    else:
        rows = [(topic, p, offset) for topic, parts in found.items() for p, offset in parts.items()]
        show_table(["topic", "partition", "next offset"], rows, title=group)
