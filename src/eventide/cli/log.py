"""The embedded log: topics, offsets, import, care."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from eventide.cli._log_care import ask, evolve, holds, open_log, retain, retention
from eventide.cli._log_move import export_topic, import_topic
from eventide.cli._log_undecided import undecided
from eventide.cli._options import Json, LogFolder, Topic, settings
from eventide.cli.output import note, show, show_json, show_table
from eventide.log import Log
from eventide.model.time import format_duration

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


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
    with open_log(log) as opened:
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


app.command("import")(import_topic)
app.command("export")(export_topic)
app.command("evolve")(evolve)


@app.command()
def verify(
    topic: Annotated[str, typer.Argument(metavar="[TOPIC]", help="A topic; left out, all.")] = "",
    log: LogFolder = "",
    as_json: Json = False,
) -> None:
    """Check every checksum; exits with 3 when something is damaged."""
    with open_log(log) as opened:
        report = opened.verify(topic or None)
    if as_json:
        counts = {"partitions": report.partitions, "segments": report.segments, "bytes": report.bytes}
        facts = {"ok": report.ok, "frames": report.frames, "rows": report.rows}
        show_json({**facts, "problems": report.problems, **counts})
    else:
        show(
            f"{report.frames:,} frames, {report.rows:,} events, {report.bytes:,} bytes: "
            f"{'all is well' if report.ok else 'DAMAGED'}"
        )
        show(report.problems)
    if not report.ok:
        raise typer.Exit(3)


app.command("retention")(retention)
app.command("retain")(retain)
app.command("holds")(holds)
app.command("undecided")(undecided)


@app.command()
def delete(
    topic: Topic,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    log: LogFolder = "",
    as_json: Json = False,
) -> None:
    """Delete a topic and its events for good."""
    with open_log(log) as opened:
        parts = opened.describe(topic)
        events = sum(p.latest - p.earliest for p in parts)
        owners = ", ".join(h.owner for h in opened.holds(topic))
        if not dry_run:
            ask(f"delete topic {topic!r} with {events:,} events" + (f", held by {owners}" if owners else ""), yes=yes)
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
    with open_log(log) as opened:
        found = opened.offsets(group)
    if as_json:
        show_json(found)
    else:
        rows = [(topic, p, offset) for topic, parts in found.items() for p, offset in parts.items()]
        show_table(["topic", "partition", "next offset"], rows, title=group)
