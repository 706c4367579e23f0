"""Topics into and out of files: `eventide log import`, `eventide log export`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

import eventide as ev
from eventide.cli._options import Json, LogFolder, Topic, settings
from eventide.cli._span import Span, only_span
from eventide.cli.output import colour, note, show_json
from eventide.errors import UsageError, near_names
from eventide.log import Exported, Log
from eventide.log import Span as LogSpan
from eventide.log.exported import exported_files

__all__ = ["export_topic", "import_topic"]

_FORMATS = ("arrow", "parquet", "csv", "json")
_TOLD_EVERY_S = 0.1


class _Line:
    """How far it is, on one line of standard error where that is a terminal."""

    def __init__(self, what: str, *, quiet: bool) -> None:
        self._what, self._on = what, not quiet and sys.stderr.isatty()
        self._told = self._width = 0.0

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._on and (now - self._told >= _TOLD_EVERY_S or done >= total):
            self._told = now
            text = f"{self._what}  {done:,} of {total:,} offsets  {100 * done // max(1, total)} %"
            sys.stderr.write("\r" + colour(text.ljust(int(self._width)), "dim", to=sys.stderr))
            sys.stderr.flush()
            self._width = len(text)

    def done(self) -> None:
        """Take the line away."""
        if self._on and self._width:
            sys.stderr.write("\r" + " " * int(self._width) + "\r")
            sys.stderr.flush()


def import_topic(
    topic: Topic,
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", help="What export wrote, a file, a pattern of files or any source address."),
    ],
    event_time: Annotated[str, typer.Option(metavar="COLUMN", help="The event-time column.")] = "",
    key: Annotated[str, typer.Option(metavar="COLUMN", help="Column whose hash chooses the partition.")] = "",
    partitions: Annotated[int, typer.Option(metavar="N", help="Partitions of a new topic (1).")] = 0,
    log: LogFolder = "",
    as_json: Json = False,
) -> None:
    """Make a topic from what export wrote, or append the events of a source.

    Arrow and Parquet files that export wrote become the same topic again, frame for frame, when there is none of that
    name. Everything else is read to its end and appended as new events.
    """
    folder = settings(log=log).log.root
    began = time.monotonic()
    plain = not (event_time or key or partitions)
    if plain and "://" not in source and exported_files(Path(source)):
        with Log(folder) as opened:
            if all(t.name != topic for t in opened.topics()):
                line = _Line(topic, quiet=as_json)
                made = opened.import_(source, topic, progress=line)
                line.done()
                _say_import(made, as_json=as_json, seconds=time.monotonic() - began)
                return
        note(f"topic {topic} is there: its events are appended as new ones")
    stream = ev.read(source)
    if event_time:
        stream = stream.event_time(event_time)
    options: dict[str, Any] = {"log": folder}
    options |= {"partitions": partitions} if partitions else {}
    options |= {"event_time": event_time} if event_time else {}
    options |= {"key": key} if key else {}
    result = ev.run(stream.write(f"log://{topic}", **options))
    if as_json:
        show_json({"topic": topic, "events": result.rows_out, "quarantined": result.quarantined})
    else:
        note(f"{topic}: {result.rows_out:,} events in {result.seconds:.2f} s")
        if result.quarantined:
            note(f"{result.quarantined:,} are in quarantine, each with the reason: `eventide quarantine show`")


def _say_import(made: Exported, *, as_json: bool, seconds: float) -> None:
    if as_json:
        show_json({"topic": made.topic, "events": made.events, "quarantined": 0, "frames": made.frames})
    else:
        note(f"{made.topic}: {made.events:,} events in {made.frames:,} frames, as exported, in {seconds:.2f} s")


def export_topic(
    topic: Topic,
    target: Annotated[
        str,
        typer.Argument(metavar="TARGET", help="A file (.arrow, .parquet, .csv, .jsonl), a folder or any sink address."),
    ],
    start: Annotated[str, typer.Option("--from", metavar="WHERE", help="First offset or event time.")] = "",
    until: Annotated[str, typer.Option("--until", metavar="WHERE", help="Offset or event time to end before.")] = "",
    format: Annotated[
        str, typer.Option("--format", metavar="NAME", help="arrow, parquet, csv or json; left out, as the name says.")
    ] = "",
    log: LogFolder = "",
    as_json: Json = False,
) -> None:
    """Write what a topic holds now to files or another sink.

    Arrow and Parquet files keep everything: schema, partitions, offsets and append times, for `eventide log import`.
    A folder gets one file for every partition. Other formats hold the events alone.
    """
    if format and format not in _FORMATS:
        msg = f"--format {format!r} is none that a topic is exported as"
        raise UsageError(msg, hint=near_names(format, _FORMATS))
    folder = settings(log=log).log.root
    span = Span(start, until)
    suffix = Path(target).suffix
    exact = format in ("arrow", "parquet") or (not format and (suffix in (".arrow", ".parquet") or not suffix))
    if "://" not in target and exact:
        _export_exactly(topic, target, span, folder=folder, kind=format, as_json=as_json)
        return
    stream = ev.read(f"log://{topic}", log=folder, follow=False)
    pipeline = stream.write(target, **({"format": format} if format else {}))
    result = ev.run(only_span(pipeline, span) if start or until else pipeline)
    if as_json:
        show_json({"topic": topic, "events": result.rows_out, "target": target})
    else:
        note(f"{target}: {result.rows_out:,} events in {result.seconds:.2f} s")


def _export_exactly(topic: str, target: str, span: Span, *, folder: str, kind: str, as_json: bool) -> None:
    began = time.monotonic()
    (low, begin), (high, end) = span.bounds
    part = LogSpan(from_offset=low or 0, until_offset=high, from_time=begin, until_time=end)
    line = _Line(target, quiet=as_json)
    with Log(folder, create=False) as opened:
        made = opened.export(topic, target, format=kind or None, span=part, progress=line)  # type: ignore[arg-type]
    line.done()
    facts = {"topic": topic, "events": made.events, "target": target, "frames": made.frames}
    if as_json:
        show_json({**facts, "files": [str(f) for f in made.files], "undecided": made.undecided})
        return
    note(f"{target}: {made.events:,} events in {made.frames:,} frames in {time.monotonic() - began:.2f} s")
    if made.undecided:
        note(f"{made.undecided:,} events are left out: their transaction is not decided yet")
