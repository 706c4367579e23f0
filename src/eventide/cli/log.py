"""The embedded log: topics, offsets, import, care."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

import eventide as ev
from eventide.cli.output import note, show, show_json, show_table
from eventide.config import load_config
from eventide.errors import UsageError
from eventide.log import Log, Retention
from eventide.model.time import duration, format_duration

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

Root = Annotated[str, typer.Option("--log", help="Folder of the log.")]
Topic = Annotated[str, typer.Argument(help="Name of the topic.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _open(root: str, *, create: bool = False) -> Log:
    config = load_config().log
    fsync: Any = config.fsync
    return Log(root or config.root, fsync=fsync, create=create)


def topic_rows(root: Path) -> list[dict[str, Any]]:
    """Return one plain record a topic: what it holds and how long it keeps it."""
    with Log(root, create=False) as log:
        rows = []
        for info in log.topics():
            parts = log.describe(info.name)
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


@app.command("list")
def list_(root: Root = "", as_json: Json = False) -> None:
    """Show the topics."""
    folder = root or load_config().log.root
    rows = topic_rows(Path(folder))
    if as_json:
        show_json(rows)
    elif not rows:
        show(f"the log {folder} has no topics")
    else:
        show_table(list(rows[0]), [list(r.values()) for r in rows], title=folder)


@app.command("show")
def show_topic(topic: Topic, root: Root = "", as_json: Json = False) -> None:
    """Show one topic: columns, partitions, offsets, consumers."""
    with _open(root) as log:
        info, parts = log.topic(topic), log.describe(topic)
    facts = [
        {"partition": p.partition, "earliest": p.earliest, "latest": p.latest, "segments": p.segments, "bytes": p.bytes}
        for p in parts
    ]
    columns = {f.name: str(f.type) for f in info.schema}
    if as_json:
        show_json({"topic": topic, "event_time": info.event_time, "columns": columns, "partitions": facts})
        return
    show_table(["column", "type"], list(columns.items()), title=topic)
    show_table(list(facts[0]), [list(f.values()) for f in facts])


@app.command("import")
def import_(
    topic: Topic,
    source: Annotated[str, typer.Argument(help="A file, a glob or any source address.")],
    event_time: Annotated[str, typer.Option(help="The event-time column.")] = "",
    key: Annotated[str, typer.Option(help="Column whose hash chooses the partition.")] = "",
    partitions: Annotated[int, typer.Option(help="Partitions of a new topic.")] = 1,
    root: Root = "",
    as_json: Json = False,
) -> None:
    """Read a source to its end and append its events to a topic."""
    stream = ev.read(source)
    if event_time:
        stream = stream.event_time(event_time)
    options: dict[str, Any] = {"log": root or load_config().log.root, "partitions": partitions}
    options |= {"event_time": event_time} if event_time else {}
    options |= {"key": key} if key else {}
    result = ev.run(stream.write(f"log://{topic}", **options))
    if as_json:
        show_json({"topic": topic, "events": result.rows_out, "quarantined": result.quarantined})
    else:
        show(f"{topic}: {result.rows_out:,} events in {result.seconds:.2f} s")


@app.command()
def export(
    topic: Topic,
    target: Annotated[str, typer.Argument(help="A file (.parquet, .csv, .jsonl, .arrow) or any sink address.")],
    root: Root = "",
    as_json: Json = False,
) -> None:
    """Write what a topic holds now to a file or another sink."""
    stream = ev.read(f"log://{topic}", log=root or load_config().log.root, follow=False)
    result = ev.run(stream.write(target))
    if as_json:
        show_json({"topic": topic, "events": result.rows_out, "target": target})
    else:
        show(f"{target}: {result.rows_out:,} events in {result.seconds:.2f} s")


@app.command()
def verify(
    topic: Annotated[str, typer.Argument(help="A topic; left out, all.")] = "", root: Root = "", as_json: Json = False
) -> None:
    """Check every checksum; exits with 3 when something is damaged."""
    with _open(root) as log:
        report = log.verify(topic or None)
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
    max_bytes: Annotated[int | None, typer.Option(help="Bytes that a partition may hold.")] = None,
    max_age: Annotated[str, typer.Option(help="How long after it was appended an event is kept, such as 30d.")] = "",
    apply: Annotated[bool, typer.Option("--apply", help="Delete now what need not be kept.")] = False,
    root: Root = "",
    as_json: Json = False,
) -> None:
    """Say how long a topic keeps its events, and delete old segments."""
    with _open(root) as log:
        if max_bytes is not None or max_age:
            age = duration(max_age, what="max_age") if max_age else None
            log.set_retention(topic, Retention(max_bytes=max_bytes, max_age=age))
        gone = log.apply_retention(topic) if apply else 0
        keep = log.topic(topic).retention
    facts = {
        "topic": topic,
        "max_bytes": keep.max_bytes,
        "max_age": format_duration(keep.max_age) if keep.max_age else None,
        "deleted_segments": gone,
    }
    if as_json:
        show_json(facts)
    else:
        show(", ".join(f"{k} {v}" for k, v in facts.items()))


@app.command()
def delete(
    topic: Topic,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    root: Root = "",
    as_json: Json = False,
) -> None:
    """Delete a topic and its events for good."""
    with _open(root) as log:
        parts = log.describe(topic)
        events = sum(p.latest - p.earliest for p in parts)
        if not dry_run:
            if not yes and not sys.stdin.isatty():
                msg = f"deleting topic {topic!r} ({events:,} events) needs --yes"
                raise UsageError(msg, hint="--dry-run shows what would be deleted")
            if not yes:
                typer.confirm(f"delete topic {topic!r} with {events:,} events?", abort=True, err=True)
            log.delete_topic(topic)
    if as_json:
        show(json.dumps({"topic": topic, "events": events, "deleted": not dry_run}))
    else:
        note(f"{'would delete' if dry_run else 'deleted'} topic {topic!r}: {events:,} events")


@app.command()
def offsets(
    group: Annotated[str, typer.Argument(help="Consumer group.")], root: Root = "", as_json: Json = False
) -> None:
    """Show how far a consumer group has come."""
    with _open(root) as log:
        found = log.offsets(group)
    if as_json:
        show_json(found)
    else:
        rows = [(topic, p, offset) for topic, parts in found.items() for p, offset in parts.items()]
        show_table(["topic", "partition", "next offset"], rows, title=group)
