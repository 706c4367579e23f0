"""Show the configuration in force, and the JSON Schema of eventide.toml."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from eventide.cli.output import show, show_json
from eventide.config import load_config
from eventide.config import schema as config_schema

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.command("show")
def show_config(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show the configuration that a command started here would use."""
    values = msgspec.to_builtins(load_config())
    if as_json:
        show_json(values)
        return
    for name, value in values.items():
        if isinstance(value, dict):
            show([f"[{name}]", *(f"{k} = {v!r}" for k, v in value.items())])
        else:
            show(f"{name} = {value!r}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of eventide.toml, for editors."""
    show_json(config_schema())
