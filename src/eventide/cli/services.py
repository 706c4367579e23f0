"""Start and stop servers to try things out with: real ones, on this machine's loopback."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from eventide import registry
from eventide.cli._options import Json
from eventide.cli.output import note, show_json, show_table

app = typer.Typer(no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the service: kafka.")]
Folder = Annotated[str, typer.Option(metavar="FOLDER", help="Where its data are (.eventide/services/NAME).")]


@app.command()
def up(
    name: Name,
    folder: Folder = "",
    port: Annotated[int, typer.Option(metavar="PORT", help="Of the loopback (a free one, later the same).")] = 0,
    as_json: Json = False,
) -> None:
    """Start a service, and print its address; one that runs already is left as it is.

    At the first start it is fetched, which may take a minute. It runs on after this command, until `services down`.
    """
    service = _service(name, folder, port)
    fresh = not service.running
    if fresh:
        note(f"starting {name} in {service.folder}")
    service.start()
    _tell(service, as_json=as_json, text=service.address)


@app.command()
def down(name: Name, folder: Folder = "", as_json: Json = False) -> None:
    """Stop a service; its data stay, and the next start finds them on the same port."""
    service = _service(name, folder)
    ran = service.running
    service.stop()
    note(f"{name} was stopped" if ran else f"{name} was not running")
    if as_json:
        show_json(_facts(service))


@app.command()
def status(
    name: Annotated[str, typer.Argument(metavar="[NAME]")] = "", folder: Folder = "", as_json: Json = False
) -> None:
    """Show which services run, and where."""
    facts = [_facts(_service(n, folder)) for n in ([name] if name else registry.names("service"))]
    if as_json:
        show_json({"services": facts})
    else:
        show_table(["service", "", "address", "folder"], [_row(f) for f in facts])


def _service(name: str, folder: str, port: int = 0) -> Any:
    module = registry.resolve("service", name)
    return module.at(Path(folder or Path(".eventide", "services", name)), port=port)


def _facts(service: Any) -> dict[str, Any]:
    address = service.address if service.running else ""
    return {"name": service.name, "running": service.running, "address": address, "folder": str(service.folder)}


def _row(facts: dict[str, Any]) -> tuple[str, ...]:
    return facts["name"], "up" if facts["running"] else "down", facts["address"] or "-", facts["folder"]


def _tell(service: Any, *, as_json: bool, text: str) -> None:
    if as_json:
        show_json(_facts(service))
    else:
        typer.echo(text)
