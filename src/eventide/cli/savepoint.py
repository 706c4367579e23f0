"""Keep checkpoints under names of their own, to go back to: make, list and delete savepoints."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from eventide.cli._options import Json, Param, Target, settings
from eventide.cli.output import note, show, show_json, show_table
from eventide.cli.target import load_target, parse_params
from eventide.engines.local import savepoints
from eventide.errors import CheckpointError
from eventide.model.pipeline import Pipeline
from eventide.model.time import format_time

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the savepoint.")]
Folder = Annotated[str, typer.Option("--checkpoint", metavar="FOLDER", help="Folder of checkpoints.")]
Called = Annotated[str, typer.Option("--name", metavar="NAME", help="The name that the pipeline was run under.")]

_LOOK_SECONDS = 0.05


def _made(target: str, *, name: str, param: list[str] | None, folder: str) -> tuple[Pipeline, str]:
    config = settings(target)
    made = load_target(target, parse_params(param or []))
    return made.named(name) if name else made, folder or config.run.checkpoint


@app.command()
def create(
    target: Target,
    name: Name,
    param: Param = None,
    checkpoint: Folder = "",
    called: Called = "",
    wait: Annotated[float, typer.Option(metavar="SECONDS", help="How long a running pipeline may take.")] = 60.0,
    as_json: Json = False,
) -> None:
    """Make a savepoint: of a running pipeline by its next checkpoint, taken at once, else of its newest checkpoint."""
    made, folder = _made(target, name=called, param=param, folder=checkpoint)
    ready = savepoints.create(made, folder, name)
    until = time.monotonic() + wait
    while not (path := ready()):
        if time.monotonic() > until:
            msg = f"{made.name} is running and did not make the savepoint {name!r} within {wait:g} s"
            raise CheckpointError(msg, hint="it still will when it can; see what it is waiting for, or --wait longer")
        time.sleep(_LOOK_SECONDS)
    if as_json:
        show_json({"pipeline": made.name, "savepoint": name, "folder": str(path)})
    else:
        again = f"eventide run {target} --from-savepoint {name}" + (f" --name {called}" if called else "")
        note(f"savepoint {name} of {made.name}: {path}; `{again}` begins there")


@app.command("list")
def list_all(
    target: Target, param: Param = None, checkpoint: Folder = "", called: Called = "", as_json: Json = False
) -> None:
    """List the savepoints of a pipeline."""
    made, folder = _made(target, name=called, param=param, folder=checkpoint)
    found = savepoints.listed(made, folder)
    rows = [
        {
            "savepoint": name,
            "number": manifest["number"],
            "written": format_time(manifest["written"] // 10**9 * 10**9),
            "final": manifest["final"],
            "folder": str(path),
        }
        for name, path, manifest in found
    ]
    if as_json:
        show_json(rows)
    elif rows:
        show_table(["savepoint", "checkpoint", "written", "input ended"], [
            (r["savepoint"], r["number"], r["written"], "yes" if r["final"] else "no") for r in rows
        ], title=made.name)  # fmt: skip
    else:
        show(f"{made.name} has no savepoint in {Path(folder)}")


@app.command()
def delete(
    target: Target, name: Name, param: Param = None, checkpoint: Folder = "", called: Called = "", as_json: Json = False
) -> None:
    """Delete a savepoint, and let go of the events that were kept for it."""
    made, folder = _made(target, name=called, param=param, folder=checkpoint)
    savepoints.delete(made, folder, name)
    if as_json:
        show_json({"pipeline": made.name, "savepoint": name})
    else:
        note(f"savepoint {name} of {made.name} is deleted")
