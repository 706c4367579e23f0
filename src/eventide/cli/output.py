"""What commands print: tables and JSON on standard output, everything else on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["note", "show", "show_error", "show_json", "show_table"]


def show_json(value: Any) -> None:
    """Print a value as one line of JSON."""
    sys.stdout.write(json.dumps(value, default=_plain, ensure_ascii=False) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return str(value)


def show(lines: str | Iterable[str]) -> None:
    """Print plain lines of data."""
    for line in [lines] if isinstance(lines, str) else lines:
        sys.stdout.write(line + "\n")


def show_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str = "") -> None:
    """Print rows as a table; numbers stand to the right."""
    from rich.console import Console
    from rich.table import Table

    data = [["" if v is None else str(v) for v in row] for row in rows]
    table = Table(title=title or None, box=None, header_style="bold", pad_edge=False)
    for index, column in enumerate(columns):
        numbers = bool(data) and all(r[index].replace(",", "").replace(".", "").lstrip("-").isdigit() for r in data)
        table.add_column(column, justify="right" if numbers else "left", overflow="fold")
    for row in data:
        table.add_row(*row)
    Console(file=sys.stdout, highlight=False, markup=False).print(table)


def note(text: str) -> None:
    """Say something to the person at the terminal."""
    sys.stderr.write(text + "\n")


def show_error(text: str) -> None:
    """Say what went wrong: the first line stands out on a terminal."""
    from rich.console import Console
    from rich.text import Text

    console = Console(file=sys.stderr, highlight=False, soft_wrap=True)
    first, _, rest = text.partition("\n")
    console.print(Text("error: ", style="bold red") + Text(first))
    if rest:
        console.print(Text(rest))


def as_row(values: Mapping[str, Any], columns: Sequence[str]) -> list[Any]:
    """Return the values of some columns."""
    return [values.get(c) for c in columns]
