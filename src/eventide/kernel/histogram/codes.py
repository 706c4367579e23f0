"""What the place of an event on an axis can be besides a bin: the classes of the ledger, as small negative numbers.

An event that has no bin on some axis of a product is counted in one class only: the lowest of its codes.
"""

from __future__ import annotations

__all__ = ["ABOVE", "BELOW", "CLASSES", "HEAD", "MASKED", "NAN", "UNKNOWN"]

BELOW = -1
"""Below the first edge."""

ABOVE = -2
"""At or above the last edge."""

MASKED = -3
"""A pixel that is in no row of the table, or whose constant is NaN."""

UNKNOWN = -4
"""A pixel that the table or the axis does not have."""

NAN = -5
"""Not a number, or null."""

CLASSES = {"below": BELOW, "above": ABOVE, "unknown": UNKNOWN, "masked": MASKED, "nan": NAN}
"""The classes by name, as a ledger lists them."""

HEAD = 8
"""Counters before the first bin: the class of code c has counter ``HEAD + c``, so that counting needs no branch."""
