"""State tables of several workers."""

from __future__ import annotations

import gc

import pyarrow as pa

from eventide.model.state import State, StateMerger, merge_states


def table(*values: int) -> pa.Table:
    return pa.table({"_group": pa.array([0] * len(values), pa.int32()), "n": list(values)})


def test_what_did_not_change_is_the_same_table() -> None:
    merger = StateMerger()
    one: State = {"a": table(1), "b": table(2), "plain": pa.table({"x": [1]})}
    two: State = {"a": table(3), "b": table(4), "plain": pa.table({"x": [1]})}
    first = merger.merge([one, two])
    assert first.keys() == merge_states([one, two]).keys()
    assert all(first[name].equals(merge_states([one, two])[name]) for name in first)
    second = merger.merge([one, {**two, "b": table(5)}])
    assert second["a"] is first["a"]
    assert second["b"].column("n").to_pylist() == [2, 5]
    third = merger.merge([one, {"a": two["a"]}])
    assert third["a"] is first["a"] and third["b"].column("n").to_pylist() == [2]


def test_it_does_not_hold_on_to_state_that_workers_let_go() -> None:
    merger = StateMerger()
    before = pa.total_allocated_bytes()
    merger.merge([{"a": table(*range(100_000))}, {"a": table(*range(100_000))}])
    gc.collect()
    assert pa.total_allocated_bytes() - before < 100_000
