"""Show facts: a graph, schemas, the log, checkpoints, plug-ins."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import eventide as ev
from eventide import registry
from eventide.cli.output import show, show_json, show_table
from eventide.cli.target import load_target, parse_params
from eventide.config import load_config
from eventide.engines.local.checkpoint import CheckpointStore

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

Target = Annotated[str, typer.Argument(help="An application, file.py, module:pipeline or file.toml.")]
Param = Annotated[list[str] | None, typer.Option(help="name=value for the pipeline's function; repeatable.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def graph(
    target: Target,
    param: Param = None,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Print a Mermaid flowchart.")] = False,
    as_json: Json = False,
) -> None:
    """Show the nodes of a pipeline and how they are connected."""
    made = load_target(target, parse_params(param or []))
    if as_json:
        show_json({"pipeline": made.name, "fingerprint": made.fingerprint, "nodes": made.describe()})
    elif mermaid:
        show(made.mermaid())
    else:
        rows = []
        for node in made.describe():
            settings: Any = node["settings"]
            text = ", ".join(f"{k}={v}" for k, v in settings.items() if v not in ("", "None"))
            reads: Any = node["inputs"]
            rows.append((node["name"], node["kind"], ", ".join(reads), text))
        show_table(["node", "kind", "reads", "settings"], rows, title=made.name)


@app.command()
def schema(target: Target, param: Param = None, as_json: Json = False) -> None:
    """Show the columns at every node of a pipeline."""
    schemas = ev.check(load_target(target, parse_params(param or [])))
    if as_json:
        show_json({name: {f.name: str(f.type) for f in s} for name, s in schemas.items()})
    else:
        rows = [(name, f.name, str(f.type)) for name, s in schemas.items() for f in s]
        show_table(["node", "column", "type"], rows)


@app.command()
def checkpoint(
    name: Annotated[str, typer.Argument(help="Name of the pipeline.")],
    folder: Annotated[str, typer.Option(help="Folder of checkpoints.")] = "",
    as_json: Json = False,
) -> None:
    """Show the newest checkpoint of a pipeline: when, how far, how large."""
    store = CheckpointStore(folder or load_config().run.checkpoint, name)
    found = store.load()
    if found is None:
        if as_json:
            show_json(None)
        else:
            show(f"{name} has no checkpoint in {store.folder}")
        return
    states = {t: sum(s.nbytes for s in tables.values()) for t, tables in found.states.items()}
    facts = {k: v for k, v in found.manifest.items() if k not in ("states", "tasks")}
    if as_json:
        show_json({"number": found.number, **facts, "state_bytes": states})
        return
    show(f"checkpoint {found.number} of {name}{' (the input had ended)' if facts['final'] else ''}")
    rows = [(source, p, str(v)) for source, ps in facts["positions"].items() for p, v in ps.items()]
    show_table(["source", "partition", "position"], rows)
    show_table(["operator", "state bytes"], [(t, f"{b:,}") for t, b in states.items()])


@app.command()
def plugins(as_json: Json = False) -> None:
    """Show every operator, format, connector, engine and application that is installed."""
    kinds = {k: registry.names(k) for k in ("operator", "format", "connector", "engine", "app")}
    if as_json:
        show_json(kinds)
    else:
        show_table(
            ["kind", "name", "where"], [(k, n, w) for k, names in kinds.items() for n, w in sorted(names.items())]
        )


@app.command()
def log(root: Annotated[str, typer.Option(help="Folder of the log.")] = "", as_json: Json = False) -> None:
    """Show the topics of the embedded log (as `eventide log list`)."""
    from eventide.cli.log import topic_rows

    folder = root or load_config().log.root
    rows = topic_rows(Path(folder))
    if as_json:
        show_json(rows)
    else:
        show_table(list(rows[0]) if rows else ["topic"], [list(r.values()) for r in rows], title=folder)
