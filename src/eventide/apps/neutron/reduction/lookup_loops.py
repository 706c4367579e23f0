"""The loop of looking up times of flight, compiled. What it does is said by `lookup`, which does it by numpy too."""

from __future__ import annotations

from typing import Any

import numpy as np

from eventide.kernel.compiled import compiled

__all__ = ["look_up"]


@compiled
def look_up(
    distance: Any, time: Any, out: Any, first: float, step: float, period: float, kinds: Any, sent: Any
) -> None:
    """Write the time of flight of each event; NaN where there is none."""
    rows, cells = kinds.shape
    for i in range(out.size):
        out[i] = np.nan
        came = time[i] % period
        down = (distance[i] - first) / step
        if not (np.isfinite(came) and down >= -0.5 and down <= rows - 0.5):
            continue
        along = came * (cells / period) - 0.5
        down = min(max(down, 0.0), rows - 1.0)
        row, cell = int(np.floor(down)), int(np.floor(along))
        below, right = down - row, along - cell
        next_row, next_cell = min(row + 1, rows - 1), (cell + 1) % cells
        cell %= cells
        near_row, near_cell = next_row if below >= 0.5 else row, next_cell if right >= 0.5 else cell
        kind, own = kinds[near_row, near_cell], sent[near_row, near_cell]
        if kind <= 0:
            continue
        total = 0.0
        for at in range(4):
            r, c = (row if at < 2 else next_row), (cell if at % 2 == 0 else next_cell)
            share = abs(1 - at // 2 - below) * abs(1 - at % 2 - right)
            total += share * (sent[r, c] if kinds[r, c] == kind else own)
        out[i] = came - total
