"""What is fed with hostile input, what right input looks like, and what must hold whatever comes in.

A target takes bytes and returns, or raises an error of eventide; anything else it raises is a finding, and so is a
batch that is not valid, a row that is neither an event nor in quarantine, and a process that dies or hangs.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import io
import json as stdlib_json
import os
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from fuzz_messages import EVENTS, ROWS, Guarded, check_events, check_rows

from eventide import config as config_module
from eventide import registry
from eventide.engines.local.checkpoint import Checkpoint, CheckpointStore
from eventide.errors import EventideError
from eventide.log import Log
from eventide.log import head as head_module
from eventide.log.layout import segment_offsets, segment_path
from eventide.model.time import EVENT_TIME

__all__ = ["PLANTED", "TARGETS", "Target", "load"]

SCHEMA = pa.schema([("t", EVENT_TIME), ("n", pa.int64()), ("x", pa.float64()), ("s", pa.string())])


@dataclass(frozen=True)
class Target:
    """One thing to be fuzzed.

    Parameters
    ----------
    seeds
        Inputs that are right.
    words
        Pieces that mean something in this format.
    check
        Feeds one input and raises `AssertionError` for a finding; errors of eventide are answers.
    check_many
        Feeds many inputs at once, where that is much faster; what it finds is looked for again one by one.
    """

    seeds: Sequence[bytes]
    words: Sequence[bytes]
    check: Callable[[bytes], None]
    check_many: Callable[[Sequence[bytes]], None] | None = None


def _rows(count: int = 7) -> pa.RecordBatch:
    times = [datetime(2026, 1, 1 + i % 28, tzinfo=UTC) if i % 5 else None for i in range(count)]
    return pa.record_batch(
        [
            pa.array(times, EVENT_TIME),
            pa.array([i * 1000 if i % 4 else None for i in range(count)], pa.int64()),
            pa.array([i / 3 for i in range(count)], pa.float64()),
            pa.array(["", "ok", 'a "quote"', "ü", None, "x" * 40, "a,b"][:count] * (count // 7 or 1)),
        ],
        schema=SCHEMA,
    )


def _nested() -> pa.RecordBatch:
    return pa.record_batch(
        {
            "l": pa.array([[1, 2], [], None, [3]], pa.list_(pa.int32())),
            "s": pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": "y"}, {"a": 4, "b": ""}]),
            "d": pa.array(["u", "v", "u", None]).dictionary_encode(),
            "b": pa.array([True, None, False, True]),
            "f": pa.array([b"abcd", b"efgh", None, b"ijkl"], pa.binary(4)),
            "m": pa.array([[("k", 1)], [], None, [("a", 2), ("b", 3)]], pa.map_(pa.string(), pa.int64())),
            "c": pa.array([1, 2, None, 4], pa.decimal128(10, 2)),
            "v": pa.array(["short", "much longer than twelve bytes", None, ""], pa.string_view()),
            "z": pa.nulls(4),
        }
    )


def _whole(batch: pa.RecordBatch) -> None:
    """What a format returns is used by C++ that does not look twice: it must be valid in full, and every value can be read."""
    batch.validate(full=True)
    batch.serialize()
    with contextlib.suppress(pa.ArrowNotImplementedError):
        batch.take(pa.array(range(batch.num_rows - 1, -1, -1), pa.int64()))


# -- text


def _check_json(data: bytes) -> None:
    module = registry.resolve("format", "json")
    found = module.decode(data, schema=SCHEMA)
    lines = [line for line in data.split(b"\n") if line.removesuffix(b"\r").strip()]
    assert found.batch.num_rows + len(found.bad) == len(lines), "lines were lost, or came twice"
    assert all(b.reason for b in found.bad)
    _whole(found.batch)
    if len(data) % 4 == 0:  # and with what the input itself suggests
        _whole(module.decode(data).batch)


def _check_csv(data: bytes) -> None:
    module = registry.resolve("format", "csv")
    found = module.decode(data, schema=SCHEMA, header=False)
    body = data.removeprefix(b"\xef\xbb\xbf")
    lines = [line for line in body.split(b"\n") if line.removesuffix(b"\r")]
    assert found.batch.num_rows + len(found.bad) == len(lines), "rows were lost, or came twice"
    assert all(b.reason for b in found.bad)
    _whole(found.batch)
    if len(data) % 4 == 0:
        _whole(module.decode(data, multiline=len(data) % 8 == 0).batch)


_JSON_WORDS = [
    b"{}", b"null", b"true", b"[", b"]" * 8, b"{" * 200, b'{"n":1}\n', b"\n", b"\r\n", b"\r", b"NaN", b"Infinity", b"-",
    b"1e999", b"1E400", b"9223372036854775808", b"-9223372036854775809", b'"\\ud800"', b"\\u0000", b"\xff", b"\xed\xa0\x80",
    b"\xef\xbb\xbf", b"\x00", b'"1677-09-21T00:12:43.145224193Z"', b'"2262-04-11T23:47:16.854775807Z"', b'"t":', b'"n":',
    b'"0000-00-00"', b'"2026-02-30T00:00:00Z"', b'"s":"', b",", b":", b'{"n":1,"n":2}\n', b"[" * 3000, b" ", b"\t", b"\x0c",
]  # fmt: skip
_CSV_WORDS = [
    b",", b",,,", b'"', b'""', b'"\n"', b"\n", b"\r\n", b"\r", b"\x00", b"\xff", b"\xef\xbb\xbf", b"nan", b"-inf", b"1e999",
    b"9223372036854775808", b"1677-09-21T00:12:43Z", b"2262-04-11T23:47:17Z", b"2026-01-01T00:00:00Z,1,2.5,ok\n", b" ", b"\t", b";",
]  # fmt: skip


# -- containers


def _check_container(name: str) -> Callable[[bytes], None]:
    def check(data: bytes) -> None:
        module = registry.resolve("format", name)
        found = module.decode(data)
        _whole(found.batch)
        assert all(b.reason for b in found.bad)
        if len(data) % 4 == 0:
            _whole(module.decode(data, schema=pa.schema([("n", pa.float64())])).batch)
        if len(data) % 4 == 1:
            _from_file(module, name, data)

    return check


def _from_file(module: object, name: str, data: bytes) -> None:
    path = _FOLDER / f"input.{name}"
    path.write_bytes(data)
    module.file_schema(path)  # type: ignore[attr-defined]
    for batch in module.open_file(path, batch_rows=3):  # type: ignore[attr-defined]
        _whole(batch)


def _arrow_seeds() -> list[bytes]:
    found = []
    for batch in (_rows(), _nested(), _rows(70)):
        for compression in (None, "lz4", "zstd"):
            for kind in (pa.ipc.new_stream, pa.ipc.new_file):
                out = io.BytesIO()
                with kind(out, batch.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
                    writer.write_batch(batch)
                    writer.write_batch(batch.slice(1))
                found.append(out.getvalue())
    return found


def _parquet_seeds() -> list[bytes]:
    found = [registry.resolve("format", "parquet").encode(_rows())]
    nested = _nested().drop_columns(["v"])
    for batch in (_rows(), nested, _rows(70)):
        for options in (
            {"compression": "none"}, {"compression": "snappy"}, {"compression": "gzip", "data_page_version": "2.0"},
            {"compression": "zstd", "use_dictionary": False, "row_group_size": 3},
            {"compression": "lz4", "write_page_checksum": True, "data_page_size": 64},
        ):  # fmt: skip
            out = io.BytesIO()
            pq.write_table(pa.Table.from_batches([batch]), out, **options)
            found.append(out.getvalue())
    return found


# -- messages


def _messages(name: str) -> Target:
    from neutron_samples import samples

    check = (check_events if name in EVENTS else check_rows)(name, _whole)
    words = [*_WORDS, *(n.encode() for n in (*EVENTS, *ROWS))]
    return Target(samples()[name], words, lambda data: check([data]), check)


# -- our own files


def _log_seeds() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        with Log(folder) as log:
            log.create_topic("a", SCHEMA, event_time="t")
            with log.transaction() as transaction:
                transaction.append("a", _rows())
            for count in (7, 70, 7):
                log.append("a", _rows(count))
        (offset,) = segment_offsets(Path(folder, "a", "0"))
        return [segment_path(Path(folder, "a", "0"), offset).read_bytes()]


def _check_log(data: bytes) -> None:
    """A segment with these bytes in an old log: reading and opening for writing find nothing, or say what is wrong."""
    root = _FOLDER / "log"
    if not root.exists():
        with Log(root) as log:
            log.create_topic("a", SCHEMA, event_time="t")
    folder = root / "a" / "0"
    for path in folder.iterdir():
        path.unlink()
    head_module.Head(folder, create=True)
    segment_path(folder, 0).write_bytes(data)
    with Log(root) as log:
        for first in (_read_log, _write_log, _read_log):
            try:
                first(log)
            except EventideError:
                continue


def _read_log(log: Log) -> None:
    with log.reader("a", verify=True) as reader:
        while frames := reader.read():
            for frame in frames:
                _whole(frame.batch)


def _write_log(log: Log) -> None:
    log.append("a", _rows())


def _manifest_seeds() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        store = CheckpointStore(folder, "p")
        table = pa.Table.from_batches([_rows(70)])
        store.save(Checkpoint(1, {"positions": {"r": {"0": {"offset": 3}}}, "sinks": {}}, {"t": {"a": table}}))
        found = [(store.folder / "chk-00000001" / "manifest.json").read_bytes()]
        return [*found, stdlib_json.dumps(stdlib_json.loads(found[0])).encode()]


def _check_manifest(data: bytes) -> None:
    store = CheckpointStore(_FOLDER / "checkpoints", "p")
    if not store.folder.exists():
        store.save(Checkpoint(1, {"positions": {}, "sinks": {}}, {"t": {"a": pa.Table.from_batches([_rows(70)])}}))
    (store.folder / "chk-00000001" / "manifest.json").write_bytes(data)
    store.load()


def _state_seeds() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        store = CheckpointStore(folder, "p")
        store.save(Checkpoint(1, {}, {"t": {"a": pa.Table.from_batches([_rows(70)]), "b": pa.table({"x": [1]})}}))
        return [(store.folder / "chk-00000001" / "small.bin").read_bytes()]


def _check_state(data: bytes) -> None:
    store = CheckpointStore(_FOLDER / "states", "p")
    path = store.folder / "chk-00000001" / "small.bin"
    if not store.folder.exists():
        store.save(Checkpoint(1, {}, {"t": {"a": pa.Table.from_batches([_rows(70)]), "b": pa.table({"x": [1]})}}))
    path.write_bytes(data)
    found = store.load()
    assert found is not None
    for table in found.states["t"].values():
        table.validate(full=True)


_TOML = b"""# settings
pipeline = "hot.py"
name = "hot"

[log]
root = ".eventide/log"

[run]
checkpoint_interval = "10s"
lanes = 4
metrics_remote = false
log_level = "debug"

[params]
threshold = 2.5
sensors = ["a", "b"]
"""


def _check_config(data: bytes) -> None:
    path = _FOLDER / "eventide.toml"
    path.write_bytes(data)
    config_module.load_config(path, environ={})


_WORDS = [
    b"ARROW1",
    b"PAR1",
    b"\xff\xff\xff\xff",
    bytes(8),
    b"\xff" * 8,
    b"\x04\x22\x4d\x18",
    b"\x28\xb5\x2f\xfd",
    b"\x1f\x8b",
]
_TEXT = [
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b"null",
    b"-1",
    b"1e99",
    b"99999999999999999999",
    b"\xff",
    b"\x00",
    b"\n",
    b"..",
    b"/etc",
]
_FOLDER = Path()


def _crash(data: bytes) -> None:
    if data.startswith(b"B"):
        os.kill(os.getpid(), signal.SIGSEGV)


def _hang(data: bytes) -> None:
    while data.startswith(b"B"):
        time.sleep(1)


def _fill(data: bytes) -> None:
    if data.startswith(b"B"):
        bytes(64 << 30)


def _lie(data: bytes) -> None:
    assert not data.startswith(b"B"), "begins with B"


def _reach(data: bytes) -> None:
    """Read the byte behind what was given, or the one before it."""
    room = Guarded()
    for place in (len(data), -1):
        column = room.column([data])
        if data.startswith(b"B"):
            ctypes.string_at(column.buffers()[2].address + place, 1)


PLANTED = {"crash": _crash, "hang": _hang, "fill": _fill, "lie": _lie, "reach": _reach}
"""Targets with a fault, by which the tests prove that the fuzzer finds it."""


def load(name: str, folder: Path) -> Target:
    """Return a target, which keeps the files that it needs in a folder."""
    global _FOLDER
    _FOLDER = folder
    if name in PLANTED:
        return Target([b"A" * 4], [b"B"], PLANTED[name])
    if name.removesuffix(" of many") in PLANTED:
        check = PLANTED[name.removesuffix(" of many")]

        def check_many(several: Sequence[bytes]) -> None:
            for data in several:
                check(data)

        return Target([b"A" * 4], [b"B"], check, check_many)
    return TARGETS[name]()


TARGETS: dict[str, Callable[[], Target]] = {
    "json": lambda: Target(
        [registry.resolve("format", "json").encode(_rows()), b'{"t":null}\n'], _JSON_WORDS, _check_json
    ),
    "csv": lambda: Target([registry.resolve("format", "csv").encode(_rows(), header=False)], _CSV_WORDS, _check_csv),
    "arrow": lambda: Target(_arrow_seeds(), _WORDS, _check_container("arrow")),
    "parquet": lambda: Target(_parquet_seeds(), _WORDS, _check_container("parquet")),
    **{name: functools.partial(_messages, name) for name in (*EVENTS, *ROWS)},
    "log": lambda: Target(_log_seeds(), [*_WORDS, b"EVSEG001"], _check_log),
    "manifest": lambda: Target(_manifest_seeds(), _TEXT, _check_manifest),
    "state": lambda: Target(_state_seeds(), _WORDS, _check_state),
    "config": lambda: Target([_TOML], [*_TEXT, b"=", b"[[", b"lanes", b"'''", b"2026-01-01"], _check_config),
}
