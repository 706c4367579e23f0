"""Look at the events of a topic, also as they come."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated

import pyarrow as pa
import typer

from eventide.cli._options import LogFolder, Topic, settings
from eventide.cli._rows import cell, plain_rows
from eventide.cli._span import Span
from eventide.cli.output import colour, show, to_json
from eventide.cli.progress import Stopper
from eventide.errors import UsageError
from eventide.log import Frame, Log, PartitionInfo, Reader
from eventide.log.reader import Start

_READ_ROWS = 100_000


def command(
    topic: Topic,
    rows: Annotated[
        int, typer.Option("-n", "--rows", metavar="N", min=0, help="How many events of each partition to show.")
    ] = 10,
    where: Annotated[
        str, typer.Option(metavar="SQL", help="Only events for which this holds, such as \"value > 3 AND key = 'a'\".")
    ] = "",
    start: Annotated[
        str, typer.Option("--from", metavar="OFFSET|TIME", help="All from here on, instead of -n; also earliest.")
    ] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new events until stopped.")] = False,
    log: LogFolder = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Show the last events of a topic, and with -f new ones as they come.

    With --where, the last events for which it holds. Columns stand in line on a terminal; elsewhere tabs are
    between them.
    """
    config = settings(log=log)
    stopper = Stopper()
    choose = Choice(Span(start), where)
    out = Printer(as_json=as_json)
    with Log(config.log.root, create=False) as opened, stopper.installed() as stop:
        parts = opened.describe(topic)
        begin = choose.begin(parts, rows)
        with opened.reader(topic, start=begin) as reader:
            if where and not start:
                ends = {p.partition: p.latest for p in parts}
                for table in choose.last(reader, ends, rows):
                    out.show(table)
            while not stop.is_set():
                frames = reader.read(_READ_ROWS, timeout=0.2 if follow else 0.0)
                if not frames and not follow:
                    break
                for frame in frames:
                    out.show(choose.of(frame, reader.topic.event_time))
    if stopper.exit_code and not follow:
        raise typer.Exit(stopper.exit_code)


@dataclass(frozen=True, slots=True)
class Choice:
    """Which events are shown: a span, and those for which a condition in SQL holds."""

    span: Span
    where: str

    def begin(self, parts: list[PartitionInfo], rows: int) -> Start:
        """Return where to begin to read, `rows` before the end if nothing else is said."""
        low = self.span.bounds[0][0]
        if low is not None:
            return {p.partition: max(low, p.earliest) for p in parts}
        if self.span.start or self.where:
            return self.span.first
        return {p.partition: max(p.earliest, p.latest - rows) for p in parts}

    def of(self, frame: Frame, event_time: str | None) -> pa.Table:
        """Return what is shown of a frame, with partition and offset."""
        count, partition, base = frame.batch.num_rows, frame.partition, frame.base_offset
        fields = [pa.field("partition", pa.int32()), pa.field("offset", pa.int64()), *frame.batch.schema]
        extra = [pa.array([partition] * count, pa.int32()), pa.array(range(base, base + count), pa.int64())]
        batch = pa.RecordBatch.from_arrays([*extra, *frame.batch.columns], schema=pa.schema(fields))
        table = pa.Table.from_batches([self.span.rows(batch, base, event_time)])
        return _filtered(table, self.where) if self.where else table

    def last(self, reader: Reader, ends: dict[int, int], rows: int) -> list[pa.Table]:
        """Return the last events of each partition for which the condition holds, up to its end."""
        kept: dict[int, pa.Table] = {}
        while any(at < ends[p] for p, at in reader.positions.items()):
            frames = reader.read(_READ_ROWS, timeout=0.0)
            if not frames:
                break
            for frame in frames:
                table = self.of(frame, reader.topic.event_time)
                before = kept.get(frame.partition)
                both = table if before is None else pa.concat_tables([before, table])
                kept[frame.partition] = both.slice(max(0, both.num_rows - rows)).combine_chunks()
        return [kept[p] for p in sorted(kept)]


def _filtered(table: pa.Table, where: str) -> pa.Table:
    import polars as pl

    try:
        found = pl.SQLContext(events=pl.from_arrow(table), eager=True).execute(f"SELECT * FROM events WHERE {where}")
    except pl.exceptions.PolarsError as error:
        msg = f"--where {where!r} cannot be evaluated: {str(error).splitlines()[0]}"
        raise UsageError(msg, hint=f"the columns are {', '.join(table.column_names)}") from None
    return found.to_arrow()


class Printer:
    """Prints events as they come: JSON, or a table whose columns stand in line on a terminal."""

    def __init__(self, *, as_json: bool) -> None:
        self._json = as_json
        self._terminal = sys.stdout.isatty()
        self._widths: list[int] = []

    def show(self, table: pa.Table) -> None:
        """Print events."""
        rows = plain_rows(table)
        if self._json:
            show(to_json(row) for row in rows)
        elif rows:
            cells = [[cell(v) for v in row.values()] for row in rows]
            if not self._widths:
                self._widths = [max(map(len, c)) for c in zip(table.column_names, *cells, strict=True)]
                show(colour(self._line(table.column_names), "dim"))
            show(self._line(row) for row in cells)

    def _line(self, cells: list[str]) -> str:
        if not self._terminal:
            return "\t".join(cells)
        return "  ".join(c.ljust(w) for c, w in zip(cells, self._widths, strict=True)).rstrip()
