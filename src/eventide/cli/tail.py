"""Look at the events of a topic as they come."""

from __future__ import annotations

import itertools
from typing import Annotated, Any

import pyarrow as pa
import typer

from eventide.cli.output import show, show_json
from eventide.cli.progress import Stopper
from eventide.config import load_config
from eventide.errors import UsageError, near_names
from eventide.log import Frame, Log
from eventide.log.reader import Start


def command(
    topic: Annotated[str, typer.Argument(help="Name of the topic.")],
    where: Annotated[
        str, typer.Option(help='Only events for which this SQL expression holds, such as "value > 3".')
    ] = "",
    rows: Annotated[int, typer.Option("-n", help="How many of the events that are there to show first.")] = 10,
    start: Annotated[str, typer.Option("--from", help="earliest, latest or a time; instead of -n.")] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for new events until stopped.")] = False,
    root: Annotated[str, typer.Option("--log", help="Folder of the log.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Show the last events of a topic, and with -f new ones as they come."""
    stopper = Stopper()
    with Log(root or load_config().log.root, create=False) as log, stopper.installed() as stop:
        begin: Start = start if start else {p.partition: max(p.earliest, p.latest - rows) for p in log.describe(topic)}
        with log.reader(topic, start=begin) as reader:
            header = itertools.count()
            while not stop.is_set():
                frames = reader.read(100_000, timeout=0.2 if follow else 0.0)
                if not frames and not follow:
                    break
                for frame in frames:
                    _print(_matching(frame, where), first=next(header) == 0, as_json=as_json)
    if stopper.exit_code and not follow:
        raise typer.Exit(stopper.exit_code)


def _matching(frame: Frame, where: str) -> pa.Table:
    batch = frame.batch
    extra = [
        pa.array([frame.partition] * batch.num_rows, pa.int32()),
        pa.array(range(frame.base_offset, frame.base_offset + batch.num_rows), pa.int64()),
    ]
    fields = [pa.field("partition", pa.int32()), pa.field("offset", pa.int64()), *batch.schema]
    table = pa.Table.from_arrays([*extra, *batch.columns], schema=pa.schema(fields))
    if not where:
        return table
    import polars as pl

    try:
        found = pl.SQLContext(events=pl.from_arrow(table), eager=True).execute(f"SELECT * FROM events WHERE {where}")
    except pl.exceptions.PolarsError as error:
        msg = f"--where {where!r} cannot be evaluated: {str(error).splitlines()[0]}"
        raise UsageError(msg, hint=near_names(where.split()[0], table.column_names)) from None
    return found.to_arrow()


def _print(table: pa.Table, *, first: bool, as_json: bool) -> None:
    if as_json:
        for row in table.to_pylist():
            show_json(row)
        return
    if first:
        show("\t".join(table.column_names))
    for row in table.to_pylist():
        show("\t".join(_cell(v) for v in row.values()))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, bytes):
        return value[:80].decode("utf-8", "backslashreplace")
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
