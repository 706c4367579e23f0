"""Every built-in format passes the suite that ships with eventide."""

from __future__ import annotations

from eventide.testing.formats import FormatSuite
from eventide.testing.strategies import TYPES

NESTED = tuple(t for t in TYPES if t != "dictionary")


class TestArrow(FormatSuite):
    format = "arrow"
    types = tuple(TYPES)


class TestParquet(FormatSuite):
    format = "parquet"
    types = tuple(TYPES)


class TestJson(FormatSuite):
    format = "json"
    types = NESTED


class TestCsv(FormatSuite):
    format = "csv"
    reading = {"multiline": True}
