"""Show the versions of eventide and of what it stands on."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from eventide.cli.output import show, show_json

_STANDS_ON = ("eventide", "pyarrow", "polars", "numpy", "numba")


def command(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show the versions of eventide and of what it stands on."""
    found = {name: installed(name) for name in _STANDS_ON} | {"python": platform.python_version()}
    if as_json:
        show_json(found)
    else:
        show(f"{name} {number or 'not installed'}" for name, number in found.items())


def installed(name: str) -> str | None:
    """Return the version of a distribution, None where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
