"""Bytes that break decoders, and a process of its own in which a format must stand them.

Run as a program (``python -m eventide.testing._hostile MODULE FILE OPTIONS SAMPLE...``) it decodes everything and
prints one line of JSON: by how much its memory grew, and what was raised that must not be.
"""

from __future__ import annotations

import gzip
import importlib
import importlib.util
import json
import struct
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from eventide.errors import EventideError

__all__ = ["corpus", "load", "lying_lengths", "main", "survives"]

_LENGTHS = (0, 0x7F, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_MOST_PLACES = 400
_DEEP = 20_000


def corpus() -> dict[str, bytes]:
    """Return bytes that are no events of any format, by what they are.

    Examples
    --------
    >>> corpus()["nothing"]
    b''
    """
    return {
        "nothing": b"",
        "one byte": b"\x00",
        "zeros": bytes(100_000),
        "ones": b"\xff" * 100_000,
        "line breaks": b"\n" * 10_000,
        "spaces": b" " * 10_000,
        "one long line": b"x" * 2_000_000,
        "one long number": b"9" * 200_000,
        "many cells": b"," * 200_000,
        "many quotes": b'"' * 100_001,
        "deep lists": b"[" * _DEEP + b"]" * _DEEP,
        "deep objects": b'{"a":' * _DEEP + b"1" + b"}" * _DEEP,
        "deep and open": b'{"a":[' * _DEEP,
        "deep markup": b"<a>" * _DEEP,
        "entities": b'<!DOCTYPE a [<!ENTITY b "bbbbbbbb"><!ENTITY c "&b;&b;&b;&b;">]><a>&c;&c;</a>',
        "half a character": b"abc\xc3",
        "overlong characters": b"\xc0\x80\xe0\x80\x80\xf0\x80\x80\x80",
        "surrogates": b"\xed\xa0\x80\xed\xb0\x80",
        "UTF-16": "time,value\n1,2\n".encode("utf-16"),
        "UTF-32": "time,value\n1,2\n".encode("utf-32"),
        "byte order mark": b"\xef\xbb\xbf",
        "control characters": bytes(range(32)) * 10,
        "every byte": bytes(range(256)) * 4,
        "compressed": gzip.compress(b"time,value\n1,2\n", mtime=0),
        "compressed and large": gzip.compress(bytes(5_000_000), mtime=0),
        "an error page": b"<html><body><h1>502 Bad Gateway</h1></body></html>",
        "magic of Arrow": b"ARROW1\x00\x00",
        "magic of Parquet": b"PAR1" + b"\xff" * 8 + b"PAR1",
        "magic of Avro": b"Obj\x01" + b"\xff" * 20,
        "magic of FITS": b"SIMPLE  =                    T".ljust(2880),
        "magic of HDF5": b"\x89HDF\r\n\x1a\n" + bytes(64),
        "a flatbuffer": struct.pack("<I", 0xFFFFFFF0) + b"ev44" + bytes(64),
    }


def lying_lengths(data: bytes) -> Iterator[bytes]:
    """Return `data` with four bytes at a time replaced by lengths that lie, at up to 400 places."""
    step = max(1, -(-max(0, len(data) - 4) // _MOST_PLACES))
    for place in range(0, max(0, len(data) - 4), step):
        for length in _LENGTHS:
            yield data[:place] + struct.pack("<I", length) + data[place + 4 :]


def survives(module: Any, data: bytes, **options: Any) -> str:
    """Return "" where `decode` does what it may with any bytes, else what it did."""
    try:
        decoded = module.decode(data, **options)
    except EventideError:
        return ""
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    for bad in decoded.bad:
        if not isinstance(bad.data, bytes) or not bad.position or not bad.reason:
            return f"bad input without its bytes, place or reason: {bad!r}"[:300]
    try:
        decoded.batch.validate(full=True)
    except Exception as error:
        return f"the batch is not valid: {error}"
    return ""


def load(name: str, path: str) -> ModuleType:
    """Return the module of a format by its name, else from its file."""
    try:
        return importlib.import_module(name)
    except ImportError:
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module


def _peak() -> int:
    """Return the most memory that this process has used, bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux; what `getrusage` tells there begins with the memory of the parent process
        lines = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        if lines:
            return int(lines[0].split()[1]) * 1024
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024


def _random(sample: bytes, count: int) -> Iterator[bytes]:
    """Return `count` mutations of a sample: bytes changed, taken out, repeated."""
    source = np.random.default_rng(len(sample))
    for _ in range(count):
        made = bytearray(sample)
        for at in sorted(source.integers(0, len(made), 3).tolist(), reverse=True):
            made[at : at + int(source.integers(0, 5))] = source.bytes(int(source.integers(0, 5)))
        yield bytes(made)


def main(arguments: Sequence[str]) -> int:
    """Decode all of it and print what came of it.

    Parameters
    ----------
    arguments
        Name and file of the format's module, its options as JSON, and files with samples of it.
    """
    name, path, options, *samples = arguments
    module, given = load(name, path), json.loads(options)
    faults: list[str] = []
    wires = [Path(s).read_bytes() for s in samples]
    for data in wires:  # what it needs for good input is not counted
        survives(module, data, **given)
    before = _peak()
    for what, data in corpus().items():
        told = survives(module, data, **given)
        if told:
            faults.append(f"{what}: {told}")
    for data in (d for wire in wires for d in lying_lengths(wire)):
        told = survives(module, data, **given)
        if told:
            faults.append(f"lying length: {told}")
    for data in (d for wire in wires for d in _random(wire, 300)):
        told = survives(module, data, **given)
        if told:
            faults.append(f"mutated: {told}")
    sys.stdout.write(json.dumps({"grown": _peak() - before, "faults": faults[:20]}) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
