"""What commands print: tables and JSON on standard output, everything else on standard error."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

__all__ = ["ReaderGoneError", "colour", "note", "show", "show_error", "show_json", "show_table", "to_json"]

_STYLES = {"bold": "1", "dim": "2", "red": "1;31", "green": "32", "yellow": "33"}
_NARROWEST = 20
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class ReaderGoneError(Exception):
    """Whoever read our output went away (`eventide tail x | head`): that is no failure, and nothing is left to say."""


def colour(text: str, style: str, *, to: TextIO | None = None) -> str:
    """Return text in a style where it goes to a terminal and nobody objects (https://no-color.org)."""
    stream = sys.stdout if to is None else to
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not stream.isatty():
        return text
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m"


def show_json(value: Any) -> None:
    """Print a value as one line of JSON."""
    show(to_json(value))


def to_json(value: Any) -> str:
    """Return a value as one line of JSON.

    Examples
    --------
    >>> to_json({"mean": float("nan"), "what": b"raw"})
    '{"mean": "NaN", "what": "raw"}'
    """
    return json.dumps(_finite(value), default=_plain, ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    """Return the value with text for what JSON has no number for."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    return [_finite(v) for v in value] if isinstance(value, list | tuple) else value


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def show(lines: str | Iterable[str]) -> None:
    """Print plain lines of data.

    Raises
    ------
    ReaderGoneError
        Nobody reads our output any more.
    """
    try:
        sys.stdout.write("".join(f"{line}\n" for line in ([lines] if isinstance(lines, str) else lines)))
        sys.stdout.flush()
    except BrokenPipeError as error:
        raise ReaderGoneError from error


def show_table(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str = "", to: TextIO | None = None
) -> None:
    """Print rows as a table: numbers to the right, and on a terminal a long last column in several lines."""
    stream = sys.stdout if to is None else to
    data = [["" if v is None else str(v) for v in row] for row in rows]
    right = [bool(data) and all(_is_number(r[i]) for r in data) for i in range(len(columns))]
    widths = [max(len(c), *(_width(r[i]) for r in data), 0) for i, c in enumerate(columns)]
    before = sum(widths[:-1]) + 2 * (len(columns) - 1)
    room = max(_NARROWEST, shutil.get_terminal_size().columns - before) if stream.isatty() else 10**9
    lines = [colour(title, "bold", to=stream)] if title else []
    lines.append(colour(_line(columns, widths, right), "dim", to=stream))
    for row in data:
        first, *rest = textwrap.wrap(row[-1], room) if len(row[-1]) > room else [row[-1]]
        lines.append(_line([*row[:-1], first], widths, right))
        lines += [" " * before + more for more in rest]
    if to is None:
        show(lines)
    else:
        to.writelines(f"{line}\n" for line in lines)


def _is_number(text: str) -> bool:
    return not text or text.replace(",", "").replace(".", "").lstrip("-").isdigit()


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    spaces = [" " * (w - _width(c)) for c, w in zip(cells, widths, strict=True)]
    return "  ".join(s + c if r else c + s for c, s, r in zip(cells, spaces, right, strict=True)).rstrip()


def _width(text: str) -> int:
    """Return the width of text on a terminal, without its colours."""
    return len(_COLOUR.sub("", text))


def note(text: str) -> None:
    """Say something to the person at the terminal."""
    sys.stderr.write(text + "\n")


def show_error(text: str) -> None:
    """Say what went wrong: the first word stands out on a terminal."""
    note(colour("error:", "red", to=sys.stderr) + " " + text)
