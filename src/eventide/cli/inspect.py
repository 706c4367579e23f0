"""Show facts: a graph, schemas, the log, checkpoints, metrics, plug-ins."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

import eventide as ev
from eventide import registry
from eventide.cli import _ledger, _metrics
from eventide.cli._checkpoints import pipelines
from eventide.cli._options import Json, LogFolder, Param, Target, settings
from eventide.cli.check import column_rows
from eventide.cli.output import show, show_json, show_table
from eventide.cli.target import load_target, parse_params
from eventide.engines.local.checkpoint import Checkpoint, CheckpointStore
from eventide.errors import UnknownNameError, near_names
from eventide.model.time import format_time

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.command("metrics")(_metrics.command)
app.command("ledger")(_ledger.command)


@app.command()
def graph(
    target: Target,
    param: Param = None,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Print a Mermaid flowchart.")] = False,
    as_json: Json = False,
) -> None:
    """Show the nodes of a pipeline and how they are connected."""
    settings(target)
    made = load_target(target, parse_params(param or []))
    if as_json:
        show_json({"pipeline": made.name, "fingerprint": made.fingerprint, "nodes": made.describe()})
    elif mermaid:
        show(made.mermaid())
    else:
        rows = []
        for node in made.describe():
            given: Any = node["settings"]
            text = ", ".join(f"{k}={v}" for k, v in given.items() if v not in ("", "None"))
            reads: Any = node["inputs"]
            rows.append((node["name"], node["kind"], ", ".join(reads), text))
        show_table(["node", "kind", "reads", "settings"], rows, title=made.name)


@app.command()
def schema(target: Target, param: Param = None, log: LogFolder = "", as_json: Json = False) -> None:
    """Show the columns after every step of a pipeline that changes them."""
    settings(target, log=log)
    made = load_target(target, parse_params(param or []))
    schemas = ev.check(made)
    if as_json:
        show_json({name: {f.name: str(f.type) for f in s} for name, s in schemas.items()})
    else:
        show_table(["node", "reads", "column", "type"], column_rows(made, schemas), title=made.name)


@app.command()
def checkpoint(
    target: Annotated[
        str, typer.Argument(metavar="[TARGET]", help="A pipeline's name, or a target; left out, all are listed.")
    ] = "",
    folder: Annotated[str, typer.Option(metavar="FOLDER", help="Folder of checkpoints.")] = "",
    as_json: Json = False,
) -> None:
    """Show the newest checkpoint of a pipeline: when, how far, how large."""
    place = folder or settings(target).run.checkpoint
    known = pipelines(place)
    if not target:
        if as_json:
            show_json([asdict(f) for f in known])
        elif known:
            rows = [(f.pipeline, f.number, f.written, "yes" if f.final else "no") for f in known]
            show_table(["pipeline", "checkpoint", "written", "input ended"], rows, title=place)
        else:
            show(f"there is no checkpoint in {place}")
        return
    name = load_target(target, {}).name if "." in target or ":" in target else target
    store = CheckpointStore(place, name)
    found = store.load()
    if found is None:
        msg = f"there is no checkpoint of {name!r} in {place}"
        raise UnknownNameError(msg, hint=near_names(name, [f.pipeline for f in known]))
    _show(found, name, as_json=as_json)


def _show(found: Checkpoint, name: str, *, as_json: bool) -> None:
    states = {t: sum(s.nbytes for s in tables.values()) for t, tables in found.states.items()}
    inner = ("states", "tasks", "metrics", "ledger", "quarantine", "since")
    facts = {k: v for k, v in found.manifest.items() if k not in inner}
    facts["written"] = format_time(facts["written"] // 10**9 * 10**9)
    if as_json:
        show_json({"number": found.number, **facts, "state_bytes": states})
        return
    ended = ", when the input had ended" if facts["final"] else ""
    show(f"checkpoint {found.number} of {name}, written {facts['written']}{ended}")
    rows = [
        (source, p, ", ".join(f"{k} {v:,}" if isinstance(v, int) else f"{k} {v}" for k, v in at.items()))
        for source, ps in facts["positions"].items()
        for p, at in ps.items()
    ]
    show("")
    show_table(["source", "partition", "position"], rows)
    if states:
        show("")
        show_table(["operator", "bytes of state"], [(t, f"{b:,}") for t, b in states.items()])


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
def log(root: LogFolder = "", as_json: Json = False) -> None:
    """Show the topics of the embedded log (as `eventide log list`)."""
    from eventide.cli.log import list_topics

    list_topics(root, as_json=as_json)
