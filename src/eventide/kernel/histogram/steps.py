"""The steps of a program of products, as the numbers that compiled loops know them by."""

from __future__ import annotations

__all__ = [
    "AT_ONCE",
    "COMBINE",
    "COUNT",
    "COUNT_PIXELS",
    "COUNT_ROWS",
    "COUNT_SURE",
    "COUNT_TIMES",
    "DIVIDED",
    "FAMILY",
    "FOUR",
    "GATHER",
    "LOOK_ROWS",
    "NUMBERS",
    "OVER",
    "PIXEL",
    "PIXELS",
    "REACH",
    "REACH_EVENLY",
    "ROWS",
    "SCALED",
    "SEARCH",
    "SQUARED",
    "TIME",
    "TOGETHER",
    "UNDER",
    "UNPACK",
    "UNPACK_ROWS",
    "WORDS",
]

SEARCH, PIXELS, ROWS, COMBINE, COUNT = 0, 1, 2, 3, 4
"""Find bins; number pixels; look rows up; put two axes together; count."""

NUMBERS, REACH, COUNT_TIMES, COUNT_ROWS, FAMILY, COUNT_PIXELS = 5, 6, 7, 8, 9, 10
"""Number pixels for tables; find how many edges times reach; count by that, or by row and that; count a family, and
leave the events that it is not sure of; count an image."""

GATHER, LOOK_ROWS, WORDS, UNPACK, UNPACK_ROWS = 11, 12, 13, 14, 15
"""Take constants, or rows, from tables of their own; take words that have both, and constants or rows out of these."""

REACH_EVENLY, COUNT_SURE = 16, 17
"""Find how many of evenly spaced edges times reach; count by that."""

TIME, PIXEL, SCALED, UNDER, SQUARED, DIVIDED, FOUR, OVER = 0, 1, 2, 3, 4, 5, 6, 7
"""Values: a column; constant * time; constant / time, or its square; time / constant; a calibration of four terms; one
over that."""

TOGETHER = 2048
"""Events that go through all steps together: what each step leaves stays in the first cache."""

AT_ONCE = 1 << 16
"""Events that go through one group of steps before they go through the next: they stay in the second cache, beside the
tables of a group."""
