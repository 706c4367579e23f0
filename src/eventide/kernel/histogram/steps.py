"""The steps of a program of products, as the numbers that compiled loops know them by."""

from __future__ import annotations

__all__ = [
    "COMBINE",
    "COUNT",
    "DIVIDED",
    "FOUR",
    "JOIN",
    "NOTHING",
    "PIXEL",
    "PIXELS",
    "ROWS",
    "SCALED",
    "SEARCH",
    "SQUARED",
    "TIME",
    "TOGETHER",
    "UNDER",
]

SEARCH, PIXELS, ROWS, COMBINE, COUNT, JOIN, NOTHING = 0, 1, 2, 3, 4, 5, 6
"""Find bins; number pixels; look rows up; put two axes together; count; the place in a stage, of rows or of one."""

TIME, PIXEL, SCALED, UNDER, SQUARED, DIVIDED, FOUR = 0, 1, 2, 3, 4, 5, 6
"""Values: a column; constant * time; constant / time, or its square; time / constant; a calibration of four terms."""

TOGETHER = 2048
"""Events that go through all steps together: what each step leaves stays in the first cache."""
