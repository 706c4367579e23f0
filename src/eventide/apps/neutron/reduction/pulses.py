"""Which pulses count: vetoes as one boolean column, and what the pulses that count amount to.

Vetoed events stay in the stream, so that a histogram's ledger has them (``vetoed=``). Periods are kept apart by
``key_by("period")`` or an axis of integers. Expressions work on rows of events and on rows of pulses alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from eventide.errors import UsageError
from eventide.model.time import instant

if TYPE_CHECKING:
    import polars as pl

__all__ = ["veto"]


def veto(
    *,
    running: str = "",
    charge: str = "",
    least_charge: float = 0.0,
    time: str = "",
    between: Iterable[tuple[str | int, str | int]] = (),
    flags: Iterable[str] = (),
) -> pl.Expr:
    """Return the expression that is true for events that do not count; it is never null.

    Parameters
    ----------
    running
        Boolean column: false or null vetoes (ev42 of ISIS: `running`).
    charge, least_charge
        Column of the proton charge of the pulse, uAh; a charge below the least, NaN or null vetoes.
    time, between
        Column of event time, and intervals ``[begin, end)``, ISO 8601 or ns since 1970, that are vetoed: a trip of
        the beam, an open door.
    flags
        Boolean columns, each of which vetoes where it is true; null does not.

    Raises
    ------
    UsageError
        Nothing is asked for, or an interval is empty.

    Examples
    --------
    >>> import polars as pl
    >>> pulses = pl.DataFrame({"running": [True, False, True], "charge": [1.0, 1.0, 0.1]})
    >>> pulses.select(veto(running="running", charge="charge", least_charge=0.5)).to_series().to_list()
    [False, True, True]
    """
    import polars as pl

    terms = [~pl.col(running).fill_null(False)] if running else []
    if charge:
        terms.append(~(pl.col(charge).fill_null(float("nan")).fill_nan(float("-inf")) >= least_charge))
    for begin, end in between:
        low, high = instant(begin, what="between="), instant(end, what="between=")
        if not time or low >= high:
            msg = f"between= has the interval from {begin} to {end} of the column {time!r}"
            raise UsageError(msg, hint="name the column of event time, and let intervals end after they begin")
        ns = pl.col(time).dt.epoch("ns")
        terms.append(((ns >= low) & (ns < high)).fill_null(False))
    terms += [pl.col(flag).fill_null(False) for flag in flags]
    if not terms:
        msg = "veto() was asked for nothing"
        raise UsageError(msg, hint="for example veto(running='running')")
    return pl.any_horizontal(terms)
