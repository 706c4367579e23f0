"""Check a pipeline without running it."""

from __future__ import annotations

from typing import Annotated

import typer

import eventide as ev
from eventide.cli.output import show_json, show_table
from eventide.cli.target import load_target, parse_params


def command(
    target: Annotated[str, typer.Argument(help="An application, file.py, module:pipeline or file.toml.")],
    param: Annotated[list[str] | None, typer.Option(help="name=value for the pipeline's function; repeatable.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the schemas as JSON.")] = False,
) -> None:
    """Check columns, types, plug-ins and options; nothing is run or written."""
    made = load_target(target, parse_params(param or []))
    schemas = ev.check(made)
    nodes = made.describe()
    if as_json:
        columns = {n: {f.name: str(f.type) for f in s} for n, s in schemas.items()}
        show_json({"pipeline": made.name, "ok": True, "nodes": nodes, "schemas": columns})
        return
    rows = [
        (n["name"], ", ".join(n["inputs"]), ", ".join(f"{f.name}: {f.type}" for f in schemas[str(n["name"])]))  # type: ignore[arg-type]
        for n in nodes
    ]
    show_table(["node", "reads", "columns"], rows, title=f"{made.name}: all is well")
