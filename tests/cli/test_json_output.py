"""Every command prints JSON with keys that programs can rely on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Done

from eventide.config import load_config

NODE = {"name", "kind", "inputs", "settings", "origin"}
RESULT = {
    "pipeline", "fingerprint", "seconds", "rows_in", "rows_out", "late", "quarantined", "watermark", "stopped",
    "resumed_from", "checkpoint", "ledger", "ledger_balanced", "events_per_second", "already_ended", "run", "restarts",
}  # fmt: skip
LEDGER = {
    "label", "kind", "rows_in", "rows_out", "filtered", "late", "quarantined", "duplicates", "taken", "changed",
    "ports", "feeds", "made", "dropped", "balance",
}  # fmt: skip
TOPIC = {"topic", "partitions", "events", "bytes", "event_time", "max_bytes", "max_age"}
RETENTION = {"topic", "max_bytes", "max_age", "max_event_age", "deleted_segments", "would_delete_segments"}

OBJECTS = {
    "version": {"eventide", "python", "pyarrow", "polars", "numpy", "numba"},
    "check count.py": {"pipeline", "ok", "engine", "fingerprint", "nodes", "schemas", "sources", "sinks", "guarantee", "notes"},
    "config show": {"pipeline", "name", "log", "run", "params"},
    "config schema": {"$ref", "$defs"},
    "doctor": {"ok", "checks"},
    "inspect graph count.py": {"pipeline", "fingerprint", "nodes"},
    "inspect plugins": {"operator", "format", "connector", "engine", "app"},
    "inspect checkpoint count": {
        "number", "version", "pipeline", "fingerprint", "final", "written", "positions", "sinks", "state_bytes",
        "run", "totals",
    },
    "log show readings": {"topic", "event_time", "columns", "partitions"},
    "log verify": {"ok", "frames", "rows", "problems", "partitions", "segments", "bytes"},
    "log retention readings": RETENTION,
    "log retention readings --max-bytes 1 --dry-run": RETENTION,
    "log delete readings --dry-run": {"topic", "events", "deleted"},
    "log offsets nobody": set(),
}  # fmt: skip
LISTS = {
    "inspect checkpoint": {"number", "written", "final", "pipeline"},
    "inspect log": TOPIC,
    "log list": TOPIC,
}


@pytest.mark.parametrize("command", OBJECTS)
def test_objects(here: Callable[..., Done], command: str) -> None:
    done = here(*command.split(), "--json")
    assert done.code == 0, done.err
    assert set(done.json) == OBJECTS[command]
    assert done.err == ""


@pytest.mark.parametrize("command", LISTS)
def test_lists(here: Callable[..., Done], command: str) -> None:
    done = here(*command.split(), "--json")
    assert done.code == 0, done.err
    assert done.json
    assert all(set(entry) == LISTS[command] for entry in done.json)


def test_schemas(here: Callable[..., Done]) -> None:
    schemas = here("inspect", "schema", "count.py", "--json").json
    checked = here("check", "count.py", "--json").json
    assert schemas == checked["schemas"]
    assert list(schemas["window-3"].values())[-1] == "double"
    assert all(set(n) == NODE for n in checked["nodes"])
    promised = {"delivery": "exactly_once", "guarantee": "exactly_once", "why": ""}
    assert checked["sinks"] == [{"name": "write-4", "uri": "log://counts", **promised}]
    assert [set(s) for s in checked["sources"]] == [{"name", "uri", "replayable"}]
    assert checked["guarantee"] == "exactly_once"


def test_doctor_checks(here: Callable[..., Done]) -> None:
    checks = here("doctor", "--json").json["checks"]
    assert all(set(c) == {"name", "ok", "found", "fix"} for c in checks)
    assert {"Python", "numpy", "pyarrow", "compiled kernels", "log folder", "log disk"} <= {c["name"] for c in checks}


def test_the_schema_of_the_configuration_names_every_setting(here: Callable[..., Done]) -> None:
    schema = here("config", "schema", "--json").json
    config = load_config(environ={})
    for section in ("log", "run"):
        names = set(type(getattr(config, section)).__struct_fields__)
        assert set(schema["$defs"][f"{section.title()}Config"]["properties"]) == names
    assert schema["$ref"] == "#/$defs/Config"


def test_tail(here: Callable[..., Done]) -> None:
    lines = here("tail", "readings", "-n", "2", "--json").out.splitlines()
    rows = [json.loads(line) for line in lines]
    assert len(rows) == 4  # two of each partition
    assert all(list(r) == ["partition", "offset", "timestamp", "key", "value"] for r in rows)
    assert all(r["timestamp"].startswith("2026-01-01T00:00:") and r["timestamp"].endswith("Z") for r in rows)


def test_run_import_export_and_init(here: Callable[..., Done], tmp_path: Path) -> None:
    ran = here("run", "lines.py", "--json", "--log", str(tmp_path / "log"), "--checkpoint", "")
    assert ran.code == 0 and set(ran.json) == RESULT
    assert all(set(entry) == LEDGER for entry in ran.json["ledger"])
    assert (ran.json["rows_in"], ran.json["rows_out"], ran.json["quarantined"]) == (3, 3, 1)
    shutil.copy("lines.jsonl", tmp_path / "lines.jsonl")
    log = ("--log", str(tmp_path / "log"), "--json")
    taken = here("log", "import", "more", str(tmp_path / "lines.jsonl"), *log)
    assert taken.json == {"topic": "more", "events": 3, "quarantined": 1}
    target = str(tmp_path / "more.csv")
    assert here("log", "export", "more", target, *log).json == {"topic": "more", "events": 3, "target": target}
    assert (tmp_path / "more.csv").read_text().split() == ["x", "1", "2", "3"]
    files = here("init", str(tmp_path / "new"), "--json").json
    assert all(Path(f).is_file() for f in files) and len(files) == 4


def test_the_ledger_adds_up(here: Callable[..., Done]) -> None:
    ran = here("run", "count.py", "--checkpoint", "", "--json", "--lanes", "1").json
    assert ran["rows_in"] == 500 and ran["quarantined"] == 0
    assert ran["ledger_balanced"] and not any(entry["balance"] for entry in ran["ledger"])
    for entry in ran["ledger"]:
        onward = "taken" if entry["kind"] == "Window" else "rows_out"
        assert entry["rows_in"] == sum(entry[k] for k in (onward, "filtered", "late", "quarantined"))
