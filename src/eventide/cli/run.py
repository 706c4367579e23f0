"""Run a pipeline until its input ends, or until it is stopped."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from eventide import registry
from eventide.cli.output import note, show, show_json
from eventide.cli.progress import ProgressLine, Stopper
from eventide.cli.target import load_target, parse_params
from eventide.config import load_config
from eventide.model.pipeline import pipeline


def command(
    target: Annotated[str, typer.Argument(help="An application, file.py, module:pipeline or file.toml.")],
    engine: Annotated[str | None, typer.Option(help="The engine that runs it.")] = None,
    param: Annotated[list[str] | None, typer.Option(help="name=value for the pipeline's function; repeatable.")] = None,
    checkpoint: Annotated[str | None, typer.Option(help="Folder for checkpoints; '' keeps none.")] = None,
    checkpoint_interval: Annotated[str | None, typer.Option(help="Between two checkpoints, such as 10s.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin again, although there is a checkpoint.")] = False,
    lanes: Annotated[int | None, typer.Option(help="Workers of stateful operators; 0 is one per processor.")] = None,
    name: Annotated[str | None, typer.Option(help="Name under which checkpoints are kept.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Run a pipeline until its input ends, or until it is stopped (Ctrl-C, SIGTERM: checkpoint, then stop)."""
    config = load_config()
    made = pipeline(load_target(target, parse_params(param or [])))
    if name:
        made = made.named(name)
    folder = config.run.checkpoint if checkpoint is None else checkpoint
    progress, stopper = ProgressLine(quiet=quiet or as_json), Stopper()
    options: dict[str, Any] = {
        "checkpoint": folder or None,
        "checkpoint_interval": checkpoint_interval or config.run.checkpoint_interval,
        "lanes": config.run.lanes if lanes is None else lanes,
        "resume": not fresh,
    }
    with stopper.installed() as stop:
        result = registry.resolve("engine", engine or config.run.engine).run(
            made, stop=stop, on_progress=progress, **options
        )
    progress.done()
    if as_json:
        show_json(result.to_dict())
    else:
        rate = result.rows_in / result.seconds if result.seconds else 0.0
        begun = f" (from checkpoint {result.resumed_from})" if result.resumed_from else ""
        show(
            f"{result.pipeline}: {result.rows_in:,} events in, {result.rows_out:,} out in "
            f"{result.seconds:.2f} s ({rate:,.0f}/s){begun}"
        )
        if result.late or result.quarantined:
            note(f"{result.late:,} late, {result.quarantined:,} in quarantine (`eventide tail quarantine`)")
    if stopper.exit_code:
        raise typer.Exit(stopper.exit_code)
