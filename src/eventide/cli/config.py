"""Show the configuration in force, or the JSON Schema of the file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from eventide.cli._options import Json
from eventide.cli.output import colour, show, show_json
from eventide.config import Config, load_config
from eventide.config import schema as config_schema

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

File = Annotated[str, typer.Argument(metavar="[FILE]", help="The file; left out, eventide.toml of this folder.")]


@app.command("show")
def show_config(file: File = "", as_json: Json = False) -> None:
    """Show the configuration that a command started here would use, as TOML.

    What differs from the defaults is marked with where it comes from.
    """
    config = load_config(file or None)
    if as_json:
        show_json(msgspec.to_builtins(config))
        return
    place = file or ("eventide.toml" if Path("eventide.toml").is_file() else "")
    in_file = load_config(file or None, environ={})
    for name in ("pipeline", "name"):
        _line(name, getattr(config, name), getattr(Config(), name), file=getattr(in_file, name), place=place)
    for section in ("log", "run"):
        show(["", f"[{section}]"])
        values, told = getattr(config, section), getattr(in_file, section)
        for name in values.__struct_fields__:
            default = getattr(type(values)(), name)
            _line(name, getattr(values, name), default, file=getattr(told, name), place=place)
    show(["", "[params]"])
    for name, value in config.params.items():
        _line(name, value, None, file=value, place=place)


def _line(name: str, value: Any, default: Any, *, file: Any, place: str) -> None:
    origin = "" if value == default else f"  # {place}" if value == file else "  # environment"
    show(f"{name} = {msgspec.json.encode(value).decode()}{colour(origin, 'dim')}")


@app.command()
def schema(as_json: Json = False) -> None:
    """Print the JSON Schema of eventide.toml, for editors (always JSON)."""
    show_json(config_schema())
