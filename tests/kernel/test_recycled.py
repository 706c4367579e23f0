"""Memory that goes round: never while anybody looks at it, always afterwards."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from eventide.kernel.recycled import Recycled


@given(st.lists(st.tuples(st.sampled_from(["take", "drop"]), st.integers(1, 5_000)), max_size=40))
def test_what_is_held_is_never_given_again(steps):
    memory = Recycled()
    held: list[tuple[pa.Array, list[int]]] = []
    for number, (what, size) in enumerate(steps):
        if what == "take":
            taken = memory.take(size)
            taken[:] = number
            part = pa.py_buffer(taken).slice(0, size)
            held.append((pa.Array.from_buffers(pa.uint8(), size, [None, part]), [number] * size))
            del taken, part
        elif held:
            held.pop(size % len(held))
        for array, expected in held:
            assert array.to_pylist() == expected


def test_it_comes_back_when_the_last_who_held_it_is_gone():
    memory = Recycled()
    taken = memory.take(4_096)
    where = taken.ctypes.data
    table = pa.table({"a": pa.Array.from_buffers(pa.uint8(), 10, [None, pa.py_buffer(taken).slice(64, 10)])})
    del taken
    assert memory.take(4_096).ctypes.data != where
    del table
    assert memory.take(4_096).ctypes.data == where


def test_memory_that_is_much_too_large_is_let_go():
    memory = Recycled()
    large = memory.take(1_000_000)
    del large
    small = memory.take(1_000)
    assert isinstance(small.base, np.ndarray) and small.base.size == 2_000
