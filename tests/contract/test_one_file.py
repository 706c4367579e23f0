"""Adding an operator, a source and a format is one file each: a copy of the package gets three files and uses them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import eventide

OPERATOR = '''"""Keep every n-th event by a counter column."""
from eventide.model.stream import Stream
import polars as pl

def every(stream: Stream, *, n: int, column: str) -> Stream:
    """Keep events whose `column` is a multiple of `n`."""
    return stream.filter(pl.col(column) % n == 0)
'''

SOURCE = '''"""countdown://N: the numbers N-1 .. 0."""
import pyarrow as pa
from eventide.model.protocols import Chunk

SCHEMA = pa.schema([("n", pa.int64())])

class Reader:
    def __init__(self, left): self.left = left
    @property
    def finished(self): return self.left == 0
    def read(self, *, max_rows, timeout):
        if not self.left: return []
        take = min(max_rows, self.left)
        numbers = list(range(self.left - 1, self.left - 1 - take, -1))
        self.left -= take
        return [Chunk("0", pa.record_batch([pa.array(numbers, pa.int64())], schema=SCHEMA), {"left": self.left})]
    def backlog(self): return self.left
    def close(self): pass

class Source:
    def __init__(self, size): self.size = size
    def schema(self): return SCHEMA
    def partitions(self): return ["0"]
    def open(self, positions): return Reader(positions.get("0", {}).get("left", self.size))

def source(uri, options): return Source(int(uri.partition("://")[2]))
'''

FORMAT = '''"""Numbers, one a line, in hexadecimal."""
import pyarrow as pa
from eventide.model.protocols import BadInput, Decoded

SUFFIXES = (".hex",)

def decode(data, *, schema=None, where="", **options):
    good, bad = [], []
    for index, line in enumerate(bytes(data).splitlines()):
        try: good.append(int(line, 16))
        except ValueError: bad.append(BadInput(line, f"{where}:{index + 1}", "not hexadecimal"))
    return Decoded(pa.record_batch({"n": pa.array(good, pa.int64())}), tuple(bad))
'''

USE = """
import eventide as ev
counted = ev.read("countdown://10").pipe(ev.op.every, n=3, column="n")
print(ev.fetch(counted)["n"].to_pylist())
print(ev.fetch(ev.read("numbers.hex"), quarantine="q")["n"].to_pylist())
"""


def test_three_files_are_enough(tmp_path: Path) -> None:
    package = tmp_path / "eventide"
    shutil.copytree(Path(eventide.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "operators" / "every.py").write_text(OPERATOR)
    (package / "connectors" / "countdown.py").write_text(SOURCE)
    (package / "formats" / "hex.py").write_text(FORMAT)
    (tmp_path / "numbers.hex").write_text("a\nff\nzz\n")
    done = subprocess.run(
        [sys.executable, "-c", USE],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["[9, 6, 3, 0]", "[10, 255]"]
