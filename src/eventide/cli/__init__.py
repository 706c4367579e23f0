"""The command line: one file a command, named as the command; imported only when it is asked for.

A command file has ``command`` (a Typer function) or ``app`` (a Typer application with commands of its own).
An application's commands are in ``apps/<name>/commands.py`` as ``app``: ``eventide sensors demo``.
Data goes to standard output, everything else to standard error. Exit codes: 0 done, 1 a run failed, 2 usage or
configuration, 3 data, 4 something is not installed or cannot be reached, 130 and 143 stopped by a signal.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typer

__all__ = ["main"]

_PRIVATE = {"output", "target", "progress"}
_HELP = "Event-time stream analysis for science."


def _commands() -> list[str]:
    found = [m.name for m in pkgutil.iter_modules([str(Path(__file__).parent)])]
    return sorted(n for n in found if n not in _PRIVATE and not n.startswith("_"))


def _apps() -> list[str]:
    folder = Path(__file__).parent.parent / "apps"
    return sorted(p.parent.name for p in folder.glob("*/commands.py"))


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit.

    Parameters
    ----------
    arguments
        Without the program's name; left out, those of the process.
    """
    args = sys.argv[1:] if arguments is None else arguments
    sys.exit(_run(args))


def _run(args: list[str]) -> int:
    import typer

    from eventide.cli.output import show_error
    from eventide.errors import EventideError

    debug = "--debug" in args or os.environ.get("EVENTIDE_DEBUG") == "1"
    args = [a for a in args if a != "--debug"]
    try:
        app = _build(args)
        typer.main.get_command(app).main(args=args, prog_name="eventide", standalone_mode=False)
    except EventideError as error:
        if debug:
            raise
        show_error(str(error))
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except BrokenPipeError:
        # The reader of our output went away (`eventide tail x | head`): that is no failure.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except typer.Exit as error:
        return int(error.exit_code)
    except Exception as error:
        if not hasattr(error, "format_message") or debug:
            raise
        show_error(error.format_message())
        return int(getattr(error, "exit_code", 2))
    return 0


def _build(args: list[str]) -> typer.Typer:
    """Return the Typer application with the command that was asked for, or with all of them for help."""
    import typer

    app = typer.Typer(
        help=_HELP,
        no_args_is_help=True,
        add_completion=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    wanted = next((a for a in args if not a.startswith("-")), "")
    commands, apps = _commands(), _apps()

    @app.callback(invoke_without_command=True)
    def root(version: bool = typer.Option(False, "--version", help="Show the version and exit.")) -> None:
        if version:
            from importlib.metadata import version as installed

            typer.echo(f"eventide {installed('eventide')}")
            raise typer.Exit

    for name in commands if wanted not in [*commands, *apps] else [c for c in commands if c == wanted]:
        module = importlib.import_module(f"eventide.cli.{name}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name, help=(module.__doc__ or "").strip().splitlines()[0])
        else:
            app.command(name)(module.command)
    for name in apps if wanted not in [*commands, *apps] else [a for a in apps if a == wanted]:
        module = importlib.import_module(f"eventide.apps.{name}.commands")
        app.add_typer(module.app, name=name, help=(module.__doc__ or "").strip().splitlines()[0])
    return app
