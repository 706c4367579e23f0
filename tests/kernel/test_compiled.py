"""Compiled code that is kept on disk is that of the sources as they are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from eventide.kernel.compiled import have_compiler
from eventide.kernel.sources import source_stamp

LOOPS = """
from eventide.kernel.compiled import compiled
from pack import inner
from pack.constants import STEP

@compiled
def outer(x):
    return inner.inner(x) + STEP
"""
INNER = """
from eventide.kernel.compiled import compiled

@compiled
def inner(x):
    return x * {factor}
"""


def write(folder, *, factor, step):
    package = folder / "pack"
    package.mkdir(exist_ok=True)
    (package / "__init__.py").write_text("")
    (package / "loops.py").write_text(LOOPS)
    (package / "inner.py").write_text(INNER.format(factor=factor))
    (package / "constants.py").write_text(f"STEP = {step}\n")


def called(folder):
    """Call the loop in another process; return what it gives and how much was taken from the disk."""
    code = "from pack.loops import outer; print(outer(10), sum(outer.stats.cache_hits.values()))"
    env = {**os.environ, "PYTHONPATH": str(folder)}
    env.pop("NUMBA_CACHE_DIR", None)
    ended = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    return tuple(int(n) for n in ended.stdout.split())


@pytest.mark.skipif(not have_compiler(), reason="numba is not installed")
def test_changes_in_what_a_loop_takes_from_elsewhere_are_seen(tmp_path):
    write(tmp_path, factor=2, step=1)
    assert called(tmp_path) == (21, 0)
    assert called(tmp_path) == (21, 1)
    write(tmp_path, factor=2, step=5)
    assert called(tmp_path) == (25, 0)
    write(tmp_path, factor=3, step=5)
    assert called(tmp_path) == (35, 0)
    assert called(tmp_path) == (35, 1)


@pytest.mark.skipif(not have_compiler(), reason="numba is not installed")
def test_loops_run_where_numba_compiles_nothing(tmp_path):
    write(tmp_path, factor=2, step=1)
    code = "from pack.loops import outer; print(outer(10))"
    env = {**os.environ, "PYTHONPATH": str(tmp_path), "NUMBA_DISABLE_JIT": "1"}
    ended = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["21"]


def test_a_stamp_has_what_is_imported_indirectly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(tmp_path)
    for k, more in enumerate(("x = 1", "x = 2")):
        package = tmp_path / f"tree{k}"
        package.mkdir()
        (package / "__init__.py").write_text("")
        (package / "one.py").write_text(f"import tree{k}.two\nfrom tree{k}.two import (\n    y,\n)\nimport os.path\n")
        (package / "two.py").write_text(f"from tree{k} import three, one\n")
        (package / "three.py").write_text(more)
    first = source_stamp("tree0.one")
    source_stamp.cache_clear()
    assert source_stamp("tree0.one") == first != source_stamp("tree1.one")
    (tmp_path / "tree0" / "three.py").write_text("x = 3")
    for cache in (source_stamp, sys.modules["eventide.kernel.sources"]._read):
        cache.cache_clear()
    assert source_stamp("tree0.one") != first
    assert source_stamp("no.such.module") != source_stamp("no.such.package")
