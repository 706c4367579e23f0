"""The fingerprint of a pipeline has what is bound to its functions, the same in every process."""

from __future__ import annotations

import datetime
import enum
import functools
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import eventide as ev
from eventide.model.bound import bound


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Settings(msgspec.Struct, frozen=True):
    width: float = 1.0


class Pair(NamedTuple):
    a: int
    b: int


@dataclass(frozen=True)
class Limits:
    low: float = 0.0
    names: tuple[str, ...] = ()
    cache: dict = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Called:
    factor: float

    def __call__(self, batch):
        return batch


class Unknown:
    """Of which nothing is known but its type."""


def work(batch, *more, **named):
    return batch


def fingerprint(function):
    return ev.read("log://a").map_batches(function, schema=pa.schema([("x", pa.int64())])).write("log://b").fingerprint


DIFFERENT = [
    (1, 2), (1, 1.0), (1.0, float("nan")), ("a", "b"), ("1", 1), (None, False), (b"a", b"b"), (Colour.RED, Colour.BLUE),
    (Settings(), Settings(2.0)), (Pair(1, 2), Pair(2, 1)), (Limits(), Limits(1.0)), (Limits(names=("a",)), Limits()),
    ([1, 2], [2, 1]), ((1, 2), (1, 2, 3)), ({"a": 1}, {"a": 2}), ({1, 2}, {1, 3}), (Path("a"), Path("b")),
    (np.arange(3), np.arange(4)), (np.arange(3), np.arange(3.0)), (np.zeros((2, 3)), np.zeros((3, 2))),
    (np.array("2026", "M8[ns]"), np.array("2027", "M8[ns]")), (np.float32(1), np.float64(1)),
    (datetime.timedelta(1), datetime.timedelta(2)), (pa.int64(), pa.int32()), (pl.col("a") > 1, pl.col("a") > 2),
    (pa.schema([("a", pa.int64())]), pa.schema([("b", pa.int64())])), (work, fingerprint), (Called(1.0), Called(2.0)),
    (functools.partial(work, 1), functools.partial(work, 2)), (Called, Limits), (Limits(names=(Settings(),)), Limits()),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_other_values_make_another_fingerprint(one, other):
    for bind in (lambda v: functools.partial(work, v), lambda v: functools.partial(work, setting=v)):
        assert fingerprint(bind(one)) != fingerprint(bind(other))
        assert fingerprint(bind(one)) == fingerprint(bind(one))
    assert fingerprint(functools.partial(work, one)) != fingerprint(functools.partial(work, setting=one))


def test_what_carries_nothing_is_as_before():
    for function in (work, Unknown, len, str.upper):
        assert bound(function) == ""
    # The hash of a pipeline whose functions carry nothing has not changed.
    assert fingerprint(len) == "127b57e2f7033d5139edf74bc1229741ba91a840754e07c64c7a0261879569e8"


def test_objects_that_are_called_and_their_methods():
    assert fingerprint(Called(1.0)) != fingerprint(Called(2.0))
    assert fingerprint(Called(1.0).__call__) != fingerprint(Called(2.0).__call__)
    assert fingerprint(Called(1.0)) == fingerprint(Called(1.0))


def test_what_cannot_be_told_counts_by_its_type():
    assert fingerprint(functools.partial(work, Unknown())) == fingerprint(functools.partial(work, Unknown()))
    assert fingerprint(functools.partial(work, Unknown())) != fingerprint(functools.partial(work, 1))
    objects = np.array([Unknown(), None], object)
    assert "0x" not in bound(functools.partial(work, objects, lambda: 0, Unknown(), [Unknown()], k=open))
    assert fingerprint(functools.partial(work, Limits(cache={"a": 1}))) == fingerprint(
        functools.partial(work, Limits())
    )
    endless: list = []
    endless.append(endless)
    assert "..." in bound(functools.partial(work, endless))


@given(st.dictionaries(st.text("abc", min_size=1, max_size=2), st.integers(), min_size=1))
def test_the_order_of_names_does_not_count(given_):
    turned = dict(reversed(given_.items()))
    assert bound(functools.partial(work, **given_)) == bound(functools.partial(work, **turned))


PROGRAM = """
import functools
import numpy as np, polars as pl, pyarrow as pa
import eventide as ev
from eventide.apps.gamma.pipeline import pipeline
from eventide.apps.gamma.operators import Cleaning
bound = functools.partial(round, {"a", "b", "c", "d"}, Cleaning("nsb"), np.arange(5.0), object(), pl.col("a") + 1, pa.int8())
print(ev.read("log://a").map_batches(bound, schema=pa.schema([])).write("log://b").fingerprint)
print(pipeline().fingerprint, pipeline(max_width="0.2").fingerprint, pipeline(cleaning="fact").fingerprint)
print(pipeline(array="made-5").fingerprint)
"""


def test_every_process_gives_the_same():
    found = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", PROGRAM]
        found.add(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout)
    (text,) = found
    assert len(set(text.split())) == 5
