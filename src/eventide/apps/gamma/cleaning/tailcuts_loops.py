"""Tail cuts, compiled. Imported only behind `have_compiler()`; the twin is in `tailcuts`."""

from __future__ import annotations

from typing import Any

import numpy as np

from eventide.kernel.compiled import compiled

__all__ = ["bright", "tailcuts_all", "tailcuts_one"]

_BLOCK = 64


@compiled
def bright(image: Any, least: Any, out: Any) -> int:
    """Write the pixels from `least` on; return how many. Most blocks have none: those cost one comparison a pixel."""
    found = 0
    whole = image.size - image.size % _BLOCK
    for begin in range(0, whole, _BLOCK):
        some = np.int32(0)
        for j in range(_BLOCK):
            some |= np.int32(image[begin + j] >= least)
        if some:
            for j in range(_BLOCK):
                out[found] = begin + j
                found += image[begin + j] >= least
    for p in range(whole, image.size):
        if image[p] >= least:
            out[found] = p
            found += 1
    return found


@compiled
def tailcuts_one(
    image: Any, high: Any, low: Any, floor: Any, least: int, isolated: bool, starts: Any, neighbours: Any,
    top: Any, marks: Any, mask: Any,
) -> None:  # fmt: skip
    """Set the pixels of one image that survive; `top` and `marks` are scratch, marks all False before and after."""
    found = 0
    for k in range(bright(image, floor, top)):
        p = top[k]
        if image[p] >= high[p]:
            top[found] = p
            found += 1
    if least > 0:
        for k in range(found):
            marks[top[k]] = True
        kept = 0
        for k in range(found):
            p = top[k]
            count = 0
            for j in range(starts[p], starts[p + 1]):
                count += marks[neighbours[j]]
            if count >= least:
                top[kept], top[k] = p, top[kept]
                kept += 1
        for k in range(found):
            marks[top[k]] = False
        found = kept
    for k in range(found):
        p = top[k]
        near = isolated
        for j in range(starts[p], starts[p + 1]):
            q = neighbours[j]
            if image[q] >= low[q]:
                mask[q] = True
                near = True
        if near:
            mask[p] = True


@compiled
def tailcuts_all(
    images: Any, high: Any, low: Any, floor: Any, least: int, isolated: bool, starts: Any, neighbours: Any, masks: Any
) -> None:
    """Set the pixels of many images that survive."""
    top = np.empty(images.shape[1] + 1, np.uint32)
    marks = np.zeros(images.shape[1], np.bool_)
    for i in range(images.shape[0]):
        tailcuts_one(
            images[i], high[i if high.shape[0] > 1 else 0], low[i if low.shape[0] > 1 else 0], floor, least, isolated,
            starts, neighbours, top, marks, masks[i],
        )  # fmt: skip
