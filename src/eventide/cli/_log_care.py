"""Care of topics: `eventide log evolve`, `retention`, `retain`, `holds`."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from typing import Annotated, Any

import msgspec
import pyarrow as pa
import typer

from eventide.cli._options import Json, LogFolder, Topic, settings
from eventide.cli.output import note, show, show_json, show_table
from eventide.errors import SchemaError, UsageError, near_names
from eventide.log import Log, Retention
from eventide.model.time import EVENT_TIME, duration, format_duration, format_time

__all__ = ["ask", "evolve", "holds", "open_log", "retain", "retention"]

_LIST = re.compile(r"list<(.+)>")
_KNOWN = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64"]
_KNOWN += ["string", "binary", "date32", "event_time", "list<float64>"]

MaxBytes = Annotated[
    int | None, typer.Option("--max-bytes", metavar="BYTES", help="Bytes that a partition may hold; 0 is no limit.")
]
MaxAge = Annotated[
    str | None,
    typer.Option(
        "--max-age", metavar="DURATION", help="How long after it was appended an event is kept, such as 30d; 0: ever."
    ),
]
MaxEventAge = Annotated[
    str | None,
    typer.Option(
        "--max-event-age", metavar="DURATION", help="How far behind the newest event time an event may lie; 0: any."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Change nothing, say what would be deleted.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def open_log(folder: str) -> Log:
    """Open the log that the command line, the environment or the configuration names."""
    return Log(settings(log=folder).log.root, create=False)


def ask(what: str, *, yes: bool) -> None:
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


def _limited(keep: Retention, max_bytes: int | None, max_age: str | None, *, max_event_age: str | None) -> Retention:
    if max_bytes is not None:
        keep = replace(keep, max_bytes=max_bytes or None)
    if max_age is not None:
        keep = replace(keep, max_age=duration(max_age, what="--max-age", zero=True) or None)
    if max_event_age is not None:
        keep = replace(keep, max_event_age=duration(max_event_age, what="--max-event-age", zero=True) or None)
    return keep


def _limits(keep: Retention) -> str:
    limits = [f"{keep.max_bytes:,} bytes a partition"] if keep.max_bytes else []
    limits += [f"events of the last {format_duration(keep.max_age)}"] if keep.max_age else []
    limits += [f"events up to {format_duration(keep.max_event_age)} behind the newest"] if keep.max_event_age else []
    return " and ".join(limits) or "everything"


def retention(
    topic: Topic,
    max_bytes: MaxBytes = None,
    max_age: MaxAge = None,
    max_event_age: MaxEventAge = None,
    apply: Annotated[bool, typer.Option("--apply", help="Delete now what need not be kept.")] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    log: LogFolder = "",
    as_json: Json = False,
) -> None:
    """Show or set how long a topic keeps its events; delete old ones.

    Whole segments go, oldest first, never the last one, and nothing that somebody holds.
    """
    with open_log(log) as opened:
        keep = _limited(opened.topic(topic).retention, max_bytes, max_age, max_event_age=max_event_age)
        would = len(opened.apply_retention(topic, retention=keep, dry_run=True)) if apply or dry_run else 0
        if apply and would and not dry_run:
            ask(f"delete {would} segments of topic {topic!r}", yes=yes)
        if not dry_run and keep != opened.topic(topic).retention:
            opened.set_retention(topic, keep)
        gone = len(opened.apply_retention(topic)) if apply and not dry_run else 0
    facts = {
        "topic": topic,
        "max_bytes": keep.max_bytes,
        "max_age": format_duration(keep.max_age) if keep.max_age else None,
        "max_event_age": format_duration(keep.max_event_age) if keep.max_event_age else None,
        "deleted_segments": gone,
        "would_delete_segments": would if dry_run else 0,
    }
    if as_json:
        show_json(facts)
        return
    show(f"{topic} keeps {_limits(keep)}")
    if apply or dry_run:
        note(f"{'would delete' if dry_run else 'deleted'} {would if dry_run else gone} segments")


def retain(
    topic: Annotated[str, typer.Argument(metavar="[TOPIC]", help="A topic; left out, all.")] = "",
    max_bytes: MaxBytes = None,
    max_age: MaxAge = None,
    max_event_age: MaxEventAge = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    log: LogFolder = "",
    as_json: Json = False,
) -> None:
    """Delete now what topics need not keep, by their own limits or, this once, by those given.

    Whole segments go, oldest first, never the last one, and nothing that somebody holds (`eventide log holds`).
    """
    given = _limited(Retention(), max_bytes, max_age, max_event_age=max_event_age)
    limits = None if given == Retention() else given
    with open_log(log) as opened:
        old = opened.apply_retention(topic or None, retention=limits, dry_run=True)
        if old and not dry_run:
            ask(f"delete {len(old)} segments with {sum(s.bytes for s in old):,} bytes", yes=yes)
            old = opened.apply_retention(topic or None, retention=limits)
    if as_json:
        facts = {"segments": len(old), "bytes": sum(s.bytes for s in old), "deleted": not dry_run}
        show_json({**facts, "old": [msgspec.to_builtins(s) for s in old]})
        return
    if old:
        rows = [(s.topic, s.partition, s.base_offset, s.end_offset, s.bytes, s.reason) for s in old]
        show_table(["topic", "partition", "first offset", "end", "bytes", "beyond"], rows)
    verb = "would delete" if dry_run else "deleted"
    note(f"{verb} {len(old)} segments, {sum(s.bytes for s in old):,} bytes")


def holds(
    topic: Annotated[str, typer.Argument(metavar="[TOPIC]", help="A topic; left out, all.")] = "",
    release: Annotated[
        str, typer.Option(metavar="OWNER", help="Give up what this owner holds, and OWNER/..., OWNER:....")
    ] = "",
    log: LogFolder = "",
    as_json: Json = False,
) -> None:
    """Show who holds events back from retention: pipelines with a checkpoint, savepoints."""
    with open_log(log) as opened:
        if topic:
            opened.topic(topic)
        if release:
            released = opened.unhold(release)
            if not released:
                owners = sorted({h.owner for h in opened.holds()})
                msg = f"{release!r} holds nothing in {opened.path}"
                raise UsageError(msg, hint=near_names(release, owners))
            show_json({"owner": release, "released": released}) if as_json else note(f"released {released} partitions")
            return
        rows = [
            {"owner": h.owner, "topic": h.topic, "partition": p, "offset": offset, "updated": format_time(h.updated)}
            for h in opened.holds(topic or None)
            for p, offset in h.positions.items()
        ]
    if as_json:
        show_json(rows)
    elif rows:
        show_table(list(rows[0]), [list(r.values()) for r in rows])
    else:
        show("nobody holds anything")


def evolve(
    topic: Topic,
    add: Annotated[
        list[str] | None, typer.Option("--add", metavar="NAME:TYPE", help="A new column; repeatable.")
    ] = None,
    widen: Annotated[
        list[str] | None, typer.Option("--widen", metavar="NAME:TYPE", help="A longer type of a column; repeatable.")
    ] = None,
    log: LogFolder = "",
    as_json: Json = False,
) -> None:
    """Add columns to a topic or widen their types; events of before have nulls in new columns.

    Types: bool, int8 ... int64, uint8 ... uint64, float32, float64, string, binary, date32, event_time, list<...>.
    """
    wider = dict(map(_column, widen or []))
    with open_log(log) as opened:
        info = opened.topic(topic)
        for name in wider:
            if name not in info.schema.names:
                msg = f"topic {topic!r} has no column {name!r} to widen"
                raise SchemaError(msg, hint=near_names(name, info.schema.names))
        new = [pa.field(*_column(text)) for text in add or []]
        for f in new:
            if f.name in info.schema.names and info.schema.field(f.name).type != f.type:
                msg = f"topic {topic!r} has a column {f.name!r}, of type {info.schema.field(f.name).type}"
                raise SchemaError(msg, hint="--widen changes the type of a column; a new one needs another name")
        fields = [f.with_type(wider.get(f.name, f.type)) for f in info.schema]
        fields += [f for f in new if f.name not in info.schema.names]
        info = opened.evolve(topic, pa.schema(fields))
    columns: dict[str, Any] = {f.name: str(f.type) for f in info.schema}
    if as_json:
        show_json({"topic": topic, "version": info.evolution.version, "columns": columns})
    else:
        show_table(["column", "type"], list(columns.items()), title=f"{topic}, version {info.evolution.version}")


def _column(text: str) -> tuple[str, pa.DataType]:
    name, colon, kind = text.partition(":")
    if not name or not colon or not kind:
        msg = f"{text!r} is no column"
        raise UsageError(msg, hint="write it as name:type, for example quality:int32")
    return name, _type(kind.strip())


def _type(text: str) -> pa.DataType:
    inner = _LIST.fullmatch(text)
    if inner:
        return pa.list_(_type(inner[1]))
    if text in ("event_time", str(EVENT_TIME)):
        return EVENT_TIME
    try:
        return pa.type_for_alias(text)
    except ValueError:
        msg = f"{text!r} is no type of a column"
        raise UsageError(msg, hint=near_names(text, _KNOWN)) from None
