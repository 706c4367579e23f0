"""The key index against a dictionary of Python's, compiled and plain."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventide.errors import SchemaError
from eventide.kernel import keys as keys_module
from eventide.kernel.compiled import have_compiler
from eventide.kernel.hashing import _mix, hash_text, hash_words
from eventide.kernel.keys import KeyIndex, key_groups, key_hashes
from eventide.kernel.keys_plain import PlainBytesTable, PlainWordTable, join_rows
from eventide.model.time import EVENT_TIME

TYPES = {
    "i64": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "few": (pa.int64(), st.integers(0, 3)),
    "i8": (pa.int8(), st.integers(-128, 127)),
    "u64": (pa.uint64(), st.integers(0, 2**64 - 1)),
    "u16": (pa.uint16(), st.integers(0, 2**16 - 1)),
    "f64": (pa.float64(), st.sampled_from([0.0, -0.0, math.nan, math.inf, -1.5, 1e300])),
    "f32": (pa.float32(), st.sampled_from([0.0, -0.0, math.nan, 1.5])),
    "bool": (pa.bool_(), st.booleans()),
    "text": (pa.string(), st.text(max_size=5)),
    "large": (pa.large_string(), st.text(max_size=5)),
    "bytes": (pa.binary(), st.binary(max_size=4)),
    "time": (
        EVENT_TIME,
        st.integers(-(10**6), 10**6).map(lambda d: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(0, d)),
    ),
    "day": (pa.date32(), st.integers(0, 400).map(lambda d: datetime(2026, 1, 1).date() + timedelta(d))),
    "dict": (pa.dictionary(pa.int32(), pa.string()), st.sampled_from(["", "a", "b"])),
}


@st.composite
def key_batches(draw):
    """Batches of one schema with one to three key columns, nulls included."""
    names = draw(st.lists(st.sampled_from(sorted(TYPES)), min_size=1, max_size=3, unique=True))
    batches = []
    for _ in range(draw(st.integers(1, 3))):
        rows = draw(st.integers(0, 12))
        columns = {}
        for name in names:
            kind, values = TYPES[name]
            drawn = draw(st.lists(st.none() | values, min_size=rows, max_size=rows))
            if pa.types.is_dictionary(kind):
                columns[name] = pa.array(drawn, pa.string()).dictionary_encode()
            else:
                columns[name] = pa.array(drawn, kind)
        batch = pa.record_batch(columns)
        cut = draw(st.integers(0, rows))
        batches.append(batch.slice(cut) if draw(st.booleans()) else batch)
    return names, batches


def same(value):
    """One object per value, NaN and both zeros included."""
    if isinstance(value, float):
        return "nan" if math.isnan(value) else value + 0.0
    return value


def rows_of(batch, names):
    return list(zip(*[[same(v) for v in batch[n].to_pylist()] for n in names], strict=True))


def plain(monkeypatch):
    monkeypatch.setattr(keys_module, "have_compiler", lambda: False)
    monkeypatch.setattr("eventide.kernel.hashing.have_compiler", lambda: False)
    monkeypatch.setattr("eventide.kernel.keys_pack.have_compiler", lambda: False)


@given(key_batches())
def test_slots_are_a_dictionary(case):
    names, batches = case
    results = []
    for compiler in {have_compiler(), False}:
        with pytest.MonkeyPatch.context() as patch:
            if not compiler:
                plain(patch)
            index = KeyIndex(batches[0].schema, names)
            known: dict = {}
            found = []
            for batch in batches:
                slots = index.slots(batch)
                expected = [known.setdefault(row, len(known)) for row in rows_of(batch, names)]
                assert slots.tolist() == expected
                assert index.lookup(batch).tolist() == expected
                found.append(slots.tolist())
            assert index.size == len(known) <= index.capacity
            every = np.arange(len(known), dtype=np.int32)
            columns = index.key_columns(every)
            assert [c.type for c in columns] == [batches[0].schema.field(n).type for n in names]
            back = list(zip(*[[same(v) for v in c.to_pylist()] for c in columns], strict=True))
            assert back == list(known)
            hashes = np.concatenate([key_hashes(b, names) for b in batches])
            groups = index.groups_of(np.concatenate([np.array(f, np.int32) for f in found]))
            assert key_groups(hashes).tolist() == groups.tolist()
            results.append((found, hashes.tolist()))
    assert all(r == results[0] for r in results)


@given(key_batches(), st.integers(0, 256), st.data())
def test_groups_share_the_keys_out(case, cut, data):
    names, batches = case
    left, right = KeyIndex(batches[0].schema, names, range(cut)), KeyIndex(batches[0].schema, names, range(cut, 256))
    for batch in batches:
        groups = key_groups(key_hashes(batch, names))
        assert ((left.slots(batch) >= 0) == (groups < cut)).all()
        assert ((right.slots(batch) >= 0) == (groups >= cut)).all()
    every = KeyIndex(batches[0].schema, names)
    for side in (left, right):
        slots = np.arange(side.size, dtype=np.int32)
        again = every.restore(side.snapshot(slots), side.size)
        assert len(set(again.tolist())) == side.size
    select = np.array(
        data.draw(st.lists(st.booleans(), min_size=batches[0].num_rows, max_size=batches[0].num_rows)), bool
    )
    if select.size:
        assert ((every.slots(batches[0], select) >= 0) == select).all()


@given(st.lists(st.lists(st.integers(0, 30), max_size=20), max_size=8), st.randoms(use_true_random=False))
def test_released_slots_are_used_again(batches, random):
    for table_is_text in (False, True):
        indexes = []
        for compiler in {have_compiler(), False}:
            with pytest.MonkeyPatch.context() as patch:
                if not compiler:
                    plain(patch)
                kind = pa.string() if table_is_text else pa.int64()
                indexes.append(KeyIndex(pa.schema([("k", kind)]), ("k",)))
        held: dict = {}
        for values in batches:
            typed = [None if v == 7 else (f"key {v}" if table_is_text else v) for v in values]
            batch = pa.record_batch({"k": pa.array(typed, kind)})
            slots = [i.slots(batch).tolist() for i in indexes]
            assert all(s == slots[0] for s in slots)
            for value, slot in zip(typed, slots[0], strict=True):
                assert held.setdefault(value, slot) == slot
            assert len(set(held.values())) == len(held)
            gone = random.sample(sorted(held, key=str), random.randint(0, len(held)))
            freed = np.array([held.pop(g) for g in gone], np.int32)
            for index in indexes:
                index.release(freed)
                assert index.size == len(held)
                kept = index.key_columns(np.array(list(held.values()), np.int32))[0].to_pylist()
                assert kept == list(held)


def test_many_keys_and_much_text():
    rng = np.random.default_rng(5)
    numbers = rng.integers(-(2**62), 2**62, 20_000)
    index = KeyIndex(pa.schema([("k", pa.int64())]), ("k",))
    assert index.slots(pa.record_batch({"k": numbers})).tolist() == list(range(20_000))
    texts = [f"{n:d}" * (n % 7) + str(i) for i, n in enumerate(numbers.tolist())]
    index = KeyIndex(pa.schema([("k", pa.string())]), ("k",))
    assert index.slots(pa.record_batch({"k": texts})).tolist() == list(range(20_000))
    index.release(np.arange(0, 20_000, 2, dtype=np.int32)[:9_000])
    index.release(np.arange(1, 20_000, 2, dtype=np.int32)[:9_900])
    left = np.array(
        [s for s in range(20_000) if (s % 2 == 0 and s >= 18_000) or (s % 2 == 1 and s >= 19_800)], np.int32
    )
    assert index.key_columns(left)[0].to_pylist() == [texts[s] for s in left]
    assert index.lookup(pa.record_batch({"k": [texts[s] for s in left]})).tolist() == left.tolist()


def test_hashes_never_change():
    assert hash_words(np.array([0, 1, -1])).tolist() == [
        16294208416658607535,
        10451216379200822465,
        16490336266968443936,
    ]
    rows = join_rows([b"", b"a", b"foobar"])
    raw = np.array([0xCBF29CE484222325, 0xAF63DC4C8601EC8C, 0x85944171F73967E8], np.uint64)
    assert hash_text(rows).tolist() == _mix(raw).tolist()


def test_equal_numbers_of_all_widths_have_equal_hashes():
    kinds = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint64()]
    found = {int(key_hashes(pa.record_batch({"k": pa.array([5], t)}), ["k"])[0]) for t in kinds}
    assert len(found) == 1


def test_without_keys_there_is_one_slot():
    batch = pa.record_batch({"v": [1, 2]})
    index = KeyIndex(batch.schema, ())
    assert index.size == 0
    assert index.lookup(batch).tolist() == [-1, -1]
    assert index.slots(batch).tolist() == [0, 0]
    assert (index.size, index.capacity, index.key_columns(np.array([0], np.int32))) == (1, 1, [])
    assert KeyIndex(batch.schema, (), range(1, 256)).slots(batch).tolist() == [-1, -1]
    assert key_groups(key_hashes(batch, ())).tolist() == [0, 0]


def test_equal_hashes_do_not_make_equal_keys():
    rows, hashes = join_rows([b"ab", b"cd", b"ab"]), np.full(3, 12345, np.uint64)
    none = np.empty(0, bool)
    tables = [PlainBytesTable(range(256))]
    if have_compiler():
        from eventide.kernel.keys_table import BytesTable

        tables.append(BytesTable(range(256)))
    for table in tables:
        assert table.assign(rows, hashes, none, none, insert=True).tolist() == [0, 1, 0]


def test_a_list_cannot_be_a_key():
    with pytest.raises(SchemaError, match="cannot be a key"):
        KeyIndex(pa.schema([("k", pa.list_(pa.int64()))]), ("k",))
    with pytest.raises(SchemaError, match="no column 'site'"):
        KeyIndex(pa.schema([("side", pa.int64())]), ("site",))


def test_words_plain_table_is_empty_at_first():
    table = PlainWordTable(range(256))
    none = np.empty(0, bool)
    assert table.assign(np.array([4]), none, none, insert=False).tolist() == [-1]
