"""The ledger of a pipeline as a table: what came in at every operator, what became of it, and what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TextIO

import typer

from eventide.cli._options import Json, settings
from eventide.cli.output import colour, show, show_json, show_table
from eventide.cli.target import load_target
from eventide.engines.local.checkpoint import CheckpointStore
from eventide.engines.local.counts import Counts
from eventide.engines.local.ledger import Ledger
from eventide.errors import UnknownNameError, near_names

__all__ = ["command", "imbalances", "show_ledger"]

_ALWAYS = ("in", "out", "filtered", "late", "quarantined", "balance")


def command(
    target: Annotated[str, typer.Argument(metavar="PIPELINE|TARGET", help="A pipeline's name, or a target.")],
    folder: Annotated[str, typer.Option(metavar="FOLDER", help="Folder of checkpoints.")] = "",
    as_json: Json = False,
) -> None:
    """Show what came in at every operator up to the newest checkpoint, what became of it, and whether it adds up."""
    place = folder or settings(target).run.checkpoint
    named = target.endswith((".py", ".toml")) or ":" in target
    name = load_target(target, {}).name if named else target
    manifest = CheckpointStore(place, name).newest()
    if manifest is None:
        known = sorted({p.parent.name for p in Path(place).glob("*/chk-*")})
        msg = f"there is no checkpoint of {name!r} in {place}"
        raise UnknownNameError(msg, hint=near_names(name, known))
    ledger = Ledger.from_dict(manifest.get("ledger", {}))
    wrong = ledger.check()
    if as_json:
        operators = [c.to_dict() for c in ledger]
        show_json({"pipeline": name, "balanced": not wrong, "imbalances": wrong, "operators": operators})
        return
    show_ledger(ledger, title=f"{name}, checkpoint {manifest['number']}")
    show(wrong or "every event is accounted for")


def show_ledger(ledger: Ledger, *, title: str = "", to: TextIO | None = None) -> None:
    """Print the operators; columns in which nothing was counted are left out."""
    rows = [_cells(c) for c in ledger]
    columns = [n for n in _NAMES if n in _ALWAYS or any(r[n] for r in rows)]
    table = [[c.label, c.kind, *(f"{r[n]:,}" for n in columns)] for c, r in zip(ledger, rows, strict=True)]
    show_table(["operator", "kind", *columns], table, title=title, to=to)


_NAMES = ("in", "made", "out", "taken", "filtered", "late", "quarantined", "duplicates", "dropped", "balance")


def _cells(counts: Counts) -> dict[str, int]:
    row = {n: int(getattr(counts, n)) for n in _NAMES if n not in ("in", "out")}
    return {**row, "in": counts.rows_in, "out": counts.rows_out}


def imbalances(ledger: Ledger) -> list[str]:
    """Return what does not add up, for a person to see."""
    return [f"{colour('the ledger does not add up:', 'red')} {line}" for line in ledger.check()]
