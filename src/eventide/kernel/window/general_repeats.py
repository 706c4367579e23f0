"""A count that repeats, with discarding panes: all panes of a batch at once.

Where panes hold only what is new, the panes of a window do not depend on each other. So when a window would
fire several times in a batch, each pane gets a slot of its own for the moment, and one pass fills and emits
them all, where the loop of `Firing.add` would go round once for each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from eventide.model.batch import Int64Array

if TYPE_CHECKING:
    from eventide.kernel.window.general_firing import Firing, Rows

__all__ = ["add_repeats"]


def add_repeats(firing: Firing, rows: Rows, slots: Int64Array, runs: tuple[Int64Array, Int64Array]) -> bool:
    """Put rows into windows that are not complete, and fire them; False, and nothing done, where a loop does as well.

    Parameters
    ----------
    firing
        The windows, whose trigger has `Program.repeat`.
    rows
        Rows, sorted by window.
    slots
        The windows, each once.
    runs
        For each window its first row and the one after its last.
    """
    first, stop = runs
    entries, repeat = firing.entries, firing.program.repeat
    assert repeat is not None
    column, every = repeat
    before = entries.state[slots, column]
    lengths = stop - first
    panes = (before + lengths) // every
    if panes.max() < 2:
        return False
    extra = np.maximum(panes - 1, 0)
    more = firing.borrow(int(extra.sum()))
    firsts = np.cumsum(extra) - extra
    of = np.repeat(np.arange(slots.size), lengths)
    rank = np.arange(of.size) - (np.cumsum(lengths) - lengths)[of]
    number = (before[of] + rank) // every
    place = np.arange(of.size) + (first[0] if first.size else 0)
    full = number < panes[of]
    slot = np.where(number == 0, slots[of], 0)
    later = full & (number > 0)
    slot[later] = more[firsts[of[later]] + number[later] - 1]
    owner = np.repeat(np.arange(slots.size), extra)
    turn = np.arange(owner.size) - firsts[owner] + 1
    entries.key[more], entries.start[more] = entries.key[slots[owner]], entries.start[slots[owner]]
    entries.end[more] = entries.end[slots[owner]]
    entries.index[more] = entries.index[slots[owner]] + turn
    firing.fill_segments(rows, slot[full], place[full])
    firing.panes.write(entries, np.concatenate([slots[panes > 0], more]), timing="early")
    entries.index[slots] += extra
    entries.state[slots, column] = before + lengths - panes * every
    firing.fill_segments(rows, slots[of[~full]], place[~full])
    firing.give_back(more)
    return True
