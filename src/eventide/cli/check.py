"""Check a pipeline without running it."""

from __future__ import annotations

from typing import Annotated, Any

import pyarrow as pa
import typer

from eventide import registry
from eventide.cli._options import Json, LogFolder, Param, Target, settings
from eventide.cli.output import colour, show, show_json, show_table
from eventide.cli.target import load_target, parse_params
from eventide.model.batch import visible
from eventide.model.graph import Write
from eventide.model.pipeline import Pipeline


def command(
    target: Target,
    param: Param = None,
    engine: Annotated[str | None, typer.Option(metavar="NAME", help="The engine that would run it.")] = None,
    log: LogFolder = "",
    as_json: Json = False,
) -> None:
    """Check columns, types, plug-ins and options; nothing is run or written.

    Shows the columns after every step that changes them, and what each sink promises about repeats.
    """
    config = settings(target, log=log)
    made = load_target(target, parse_params(param or []))
    name = engine or config.run.engine
    schemas = {n: visible(s) for n, s in registry.resolve("engine", name).check(made).items()}
    sinks = sinks_of(made)
    if as_json:
        columns = {n: {f.name: str(f.type) for f in s} for n, s in schemas.items()}
        facts = {"pipeline": made.name, "ok": True, "engine": name, "fingerprint": made.fingerprint}
        show_json({**facts, "nodes": made.describe(), "schemas": columns, "sinks": sinks})
        return
    show_table(["node", "reads", "column", "type"], column_rows(made, schemas))
    show("")
    show_table(["sink", "delivery"], [(s["uri"], s["delivery"]) for s in sinks])
    show(["", f"{made.name}: {colour('all is well', 'green')}"])


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


def sinks_of(made: Pipeline) -> list[dict[str, Any]]:
    """Return name, address and delivery of every sink."""
    labels = made.labels
    return [
        {
            "name": labels[id(node)],
            "uri": node.uri,
            "delivery": (node.sink or registry.open_sink(node.uri, dict(node.options))).delivery,
        }
        for node in made.nodes
        if isinstance(node, Write)
    ]
