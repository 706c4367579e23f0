"""The command line: one file a command, named as the command; imported only when it is asked for.

A command file has ``command`` (a Typer function) or ``app`` (a Typer application with commands of its own); the
first line of its docstring is its line in ``eventide --help``. An application's commands are in
``apps/<name>/commands.py`` as ``app``: ``eventide sensors demo``. What commands share is in files that begin with
an underscore, and in ``output``, ``progress`` and ``target``.

Data goes to standard output, everything else to standard error. Exit codes: 0 done, 1 a run failed, 2 usage or
configuration, 3 data, 4 something is not installed or cannot be reached, 130 and 143 stopped by a signal.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typer

__all__ = ["main"]

_SHARED = {"output", "progress", "target"}
_NO_LOG = "what writes to log://topic makes it, as `eventide log import TOPIC FILE`; --log names another folder"
_HELP = """Event-time stream analysis for science.

Begin with `eventide init hello`. Every command has --help, and --json where it prints data.
"""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit.

    Parameters
    ----------
    arguments
        Without the program's name; left out, those of the process.
    """
    sys.exit(_run(sys.argv[1:] if arguments is None else arguments))


def _run(args: list[str]) -> int:
    debug = "--debug" in args or os.environ.get("EVENTIDE_DEBUG") == "1"
    args = [a for a in args if a != "--debug"]
    from eventide.cli.output import ReaderGoneError

    try:
        import typer

        found = typer.main.get_command(_build(_wanted(args)))
        code = found.main(args=args, prog_name="eventide", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except KeyboardInterrupt:
        return 130
    except (BrokenPipeError, ReaderGoneError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        return _failed(error, debug=debug)


def _failed(error: Exception, *, debug: bool) -> int:
    """Say what went wrong and return the exit code."""
    import typer

    from eventide.cli.output import note, show_error
    from eventide.errors import EventideError, LogError

    if debug:
        traceback.print_exception(error)
    folder = os.environ.get("EVENTIDE_LOG", "")
    if isinstance(error, LogError) and folder and not Path(folder).is_dir():
        show_error(f"{error.message}\n  hint: {_NO_LOG}")
        return 2
    if isinstance(error, EventideError):
        show_error(str(error))
        return error.exit_code
    if isinstance(error, typer.Abort):
        note("nothing was done")
        return 1
    if type(error).__name__ == "NoArgsIsHelpError":  # a group without a command: its help is the answer
        note(error.format_message())  # type: ignore[attr-defined]
        return 2
    if hasattr(error, "format_message"):
        where = getattr(getattr(error, "ctx", None), "command_path", "eventide")
        show_error(f"{error.format_message()}\n  hint: `{where} --help`")
        return int(getattr(error, "exit_code", 2))
    show_error(f"{type(error).__name__}: {error}\n  hint: this should not happen; --debug shows where it did")
    return 1


def _wanted(args: list[str]) -> str:
    """Return the command that was asked for, also where a shell asks how a line may go on."""
    words = os.environ.get("_TYPER_COMPLETE_ARGS") or os.environ.get("COMP_WORDS")
    if words and "_EVENTIDE_COMPLETE" in os.environ:
        args = words.split()[1:]
    return next((a for a in args if not a.startswith("-")), "")


def _places() -> dict[str, Path]:
    """Return the file of every command, those of applications last."""
    here = Path(__file__).parent
    own = {p.stem: p for p in sorted(here.glob("[a-z]*.py")) if p.stem not in _SHARED}
    return own | {p.parent.name: p for p in sorted(here.parent.glob("apps/*/commands.py"))}


def _summary(path: Path) -> str:
    """Return the first line of a file's docstring, without importing the file."""
    with path.open(encoding="utf-8") as file:
        return file.readline().strip().strip('"').rstrip(".")


def _build(wanted: str) -> typer.Typer:
    """Return the Typer application: the command that was asked for, or the names of all for help."""
    import typer

    app = typer.Typer(
        help=_HELP,
        no_args_is_help=True,
        add_completion=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback(invoke_without_command=True)
    def root(
        version: bool = typer.Option(False, "--version", help="Show the version and exit."),
        debug: bool = typer.Option(False, "--debug", help="Show where an error came from."),
    ) -> None:
        if version:
            from importlib.metadata import version as installed

            typer.echo(f"eventide {installed('eventide')}")
            raise typer.Exit

    for name, path in _places().items():
        if name != wanted:
            app.command(name, help=_summary(path))(_named_only)
            continue
        module = importlib.import_module(f"eventide.{'.'.join(path.relative_to(Path(__file__).parents[1]).parts)[:-3]}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name, help=_summary(path))
        else:
            app.command(name)(module.command)
    return app


def _named_only() -> None:
    """Stand for a command that was not asked for, and is not imported."""
