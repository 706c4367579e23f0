"""Check a pipeline without running it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import pyarrow as pa
import typer

from eventide import registry
from eventide.cli._options import Json, LogFolder, Param, Target, settings
from eventide.cli.output import colour, show, show_json, show_table
from eventide.cli.target import load_target, parse_params
from eventide.engines.local.guarantee import Promise, guarantee
from eventide.model.batch import visible
from eventide.model.pipeline import Pipeline

MEANING: dict[Promise, str] = {
    "exactly_once": "exactly once",
    "idempotent": "repeated, but under the same key, after a failure",
    "at_least_once": "at least once: some come twice after a failure",
    "at_most_once": "at most once: some are lost in a failure",
    "none": "neither complete nor single after a failure",
}


def command(
    target: Target,
    param: Param = None,
    engine: Annotated[str | None, typer.Option(metavar="NAME", help="The engine that would run it.")] = None,
    log: LogFolder = "",
    as_json: Json = False,
) -> None:
    """Check columns, types, plug-ins and options; nothing is run or written.

    Shows the columns after every step that changes them, and what a failure does to the results of each sink
    and of the whole pipeline. What the engine cannot do is an error, and what it does slowly is told.
    """
    config = settings(target, log=log)
    made = load_target(target, parse_params(param or []))
    name = engine or config.run.engine
    chosen = registry.resolve("engine", name)
    schemas = {n: visible(s) for n, s in chosen.check(made).items()}
    notes: list[str] = chosen.notes(made) if hasattr(chosen, "notes") else []
    held = guarantee(made, checkpoints=bool(config.run.checkpoint))
    if as_json:
        columns = {n: {f.name: str(f.type) for f in s} for n, s in schemas.items()}
        facts = {"pipeline": made.name, "ok": True, "engine": name, "fingerprint": made.fingerprint, "notes": notes}
        ends = {"sources": [asdict(s) for s in held.sources], "sinks": [asdict(s) for s in held.sinks]}
        show_json({**facts, "nodes": made.describe(), "schemas": columns, **ends, "guarantee": held.guarantee})
        return
    show_table(["node", "reads", "column", "type"], column_rows(made, schemas))
    show("")
    show_table(["source", "can be read again"], [(s.uri, "yes" if s.replayable else "no") for s in held.sources])
    show("")
    show_table(
        ["sink", "delivery", "in this pipeline", "why"], [(s.uri, s.delivery, s.guarantee, s.why) for s in held.sinks]
    )
    show(["", *(f"{name}: {n}" for n in notes)] if notes else [])
    show(["", f"{made.name}: {colour('all is well', 'green')}, results are {MEANING[held.guarantee]}"])


def column_rows(made: Pipeline, schemas: dict[str, pa.Schema]) -> list[tuple[str, str, str, str]]:
    """Return one row a column of every node, and only one for a node that leaves them as they are."""
    rows = []
    for node in made.describe():
        name, reads = str(node["name"]), list(map(str, node["inputs"]))  # type: ignore[call-overload]
        schema = schemas[name]
        if len(reads) == 1 and reads[0] in schemas and schemas[reads[0]].equals(schema):
            rows.append((name, reads[0], "(the same)", ""))
            continue
        for index, field in enumerate(schema):
            first = (name, ", ".join(reads)) if index == 0 else ("", "")
            rows.append((*first, field.name, str(field.type)))
    return rows
