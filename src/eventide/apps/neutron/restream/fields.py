"""The fields of a JSON object, each checked as it is taken."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from eventide.errors import UsageError

__all__ = ["TOPIC", "Fields", "is_number"]

TOPIC = re.compile(r"[a-zA-Z0-9._\-]{1,249}")  # what Kafka allows


class Fields:
    """The fields of one object, each checked as it is taken; each but `refuse` raises `UsageError` for a wrong one.

    Parameters
    ----------
    found
        The object.
    where
        What it is, for errors.

    Examples
    --------
    >>> Fields({"width": 3}, "histogram 0").whole("width")
    3
    """

    def __init__(self, found: Mapping[str, Any], where: str) -> None:
        self._found, self._where = found, where

    def refuse(self, key: str, wanted: str) -> UsageError:
        """Return the error that a field is not what is wanted."""
        value = self._found.get(key)
        text = repr(value)
        return UsageError(f"{self._where}: '{key}' is {text if len(text) < 80 else text[:80] + '...'}, not {wanted}")

    def text(self, key: str) -> str:
        """Return a text, "" where there is none."""
        value = self._found.get(key, "")
        if not isinstance(value, str):
            raise self.refuse(key, "a text")
        return value

    def texts(self, key: str, pattern: re.Pattern[str] | None = None) -> tuple[str, ...]:
        """Return a list of texts, which match a pattern."""
        value = self._found[key]
        good = isinstance(value, list) and value and all(isinstance(v, str) and v for v in value)
        if not good or (pattern is not None and not all(pattern.fullmatch(v) for v in value)):
            raise self.refuse(key, "a list of names")
        return tuple(value)

    def topic(self, key: str) -> str:
        """Return the name of a topic."""
        value = self._found[key]
        if not isinstance(value, str) or not TOPIC.fullmatch(value):
            raise self.refuse(key, "the name of a topic")
        return value

    def interval(self, key: str, *, whole: bool = False) -> tuple[float, ...]:
        """Return a low and a high number, or pixel."""
        value = self._found[key]
        good = is_pixel if whole else is_number
        if not (isinstance(value, list) and len(value) == 2 and all(map(good, value)) and value[0] <= value[1]):
            raise self.refuse(key, "a low and a high pixel" if whole else "a low and a high number")
        return (value[0], value[1])

    def whole(self, key: str, *, least: int = 1) -> int:
        """Return a whole number from the least on."""
        value = self._found[key]
        if not is_whole(value) or value < least:
            raise self.refuse(key, f"a whole number from {least} on")
        return int(value)

    def wholes(self, key: str) -> tuple[int, ...]:
        """Return a list of pixels."""
        value = self._found[key]
        if not isinstance(value, list) or not value or not all(map(is_pixel, value)):
            raise self.refuse(key, "a list of pixels")
        return tuple(int(v) for v in value)

    def bins(self, key: str, *, pair: bool) -> tuple[int, ...]:
        """Return a number of bins, or two."""
        value = self._found[key]
        if not pair:
            return (self.whole(key),)
        both = value if isinstance(value, list) else [value, value]
        if len(both) != 2 or not all(is_whole(v) and v >= 1 for v in both):
            raise self.refuse(key, "a number of bins, or two")
        return tuple(int(v) for v in both)


def is_number(value: Any) -> bool:
    """Tell whether a value of JSON is a finite number of 64 bits.

    Examples
    --------
    >>> is_number(1.5), is_number(True), is_number(2**63)
    (True, False, False)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 2**63 if isinstance(value, int) else math.isfinite(value)


def is_whole(value: Any) -> bool:
    return is_number(value) and value == int(value)


def is_pixel(value: Any) -> bool:
    return is_whole(value) and abs(value) < 2**31
