"""What tasks remember, as facts and tables that can be packed; and back."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from eventide.engines.local.counts import Counts
from eventide.engines.local.ledger import Ledger
from eventide.engines.local.tasks import Saved, Task

__all__ = ["count_on", "go_on", "remember"]


def remember(tasks: dict[str, Task]) -> tuple[dict[str, Any], list[pa.Table]]:
    """Return what tasks must remember: the facts, which name the tables, and the tables."""
    saved = {label: task.save() for label, task in tasks.items()}
    tables = [(label, name, table) for label, s in saved.items() for name, table in s.tables.items()]
    facts = {
        "tasks": {label: dict(s.data) for label, s in saved.items()},
        "tables": [(label, name) for label, name, _ in tables],
    }
    return facts, [table for *_, table in tables]


def go_on(tasks: dict[str, Task], facts: dict[str, Any], tables: list[pa.Table]) -> None:
    """Give tasks what `remember` returned; more tables may follow theirs."""
    held: dict[str, dict[str, pa.Table]] = {}
    for (label, name), table in zip(facts["tables"], tables, strict=False):
        held.setdefault(label, {})[name] = table
    for label, task in tasks.items():
        task.load(Saved(facts["tasks"][label], held.get(label, {})))


def count_on(counts: dict[str, Counts], saved: list[dict[str, Any]]) -> None:
    """Count on from saved counts."""
    for before in Ledger.from_dict({"operators": saved}):
        if before.label in counts:
            counts[before.label].go_on(before)
