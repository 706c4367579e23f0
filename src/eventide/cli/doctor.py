"""See whether everything is here, and how to get what is not."""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import re
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Annotated, Any

import typer

from eventide import registry
from eventide.cli._options import Json, LogFolder, settings
from eventide.cli.output import colour, show_json, show_table
from eventide.cli.version import installed
from eventide.config import Config
from eventide.engines._doctor import Check, small_job
from eventide.errors import ConfigError

_WRITES = 15
_SLOW_MS = 20.0
_FULL = 1 << 30
_REQUIREMENT = re.compile(r"([A-Za-z0-9_.-]+)>=([0-9.]+)")


def command(
    engine: Annotated[
        str, typer.Argument(metavar="ENGINE", help="An engine, to see whether all is here that it needs.")
    ] = "",
    log: LogFolder = "",
    as_json: Json = False,
) -> None:
    """See whether everything is here that eventide needs, and how to get what is not.

    With the name of an engine: whether its libraries are here, and whether it runs a small job. Exits with 4 when
    something that is needed is missing. Nothing is installed or kept.
    """
    if engine:
        checks = _engine(engine)
    else:
        checks = [_python(), *_packages(), _compiled(), _plots(), *_folders(log), _real_data()]
    ok = all(c.ok is not False for c in checks)
    if as_json:
        show_json({"ok": ok, "checks": [asdict(c) for c in checks]})
    else:
        words = {True: colour("ok", "green"), False: colour("MISSING", "red"), None: "-"}
        show_table(["", "what", "found", "to do"], [_row(c, words) for c in checks])
    if not ok:
        raise typer.Exit(4)


def _row(check: Check, words: dict[bool | None, str]) -> tuple[str, ...]:
    return words[check.ok], check.name, check.found, check.fix


def _engine(name: str) -> list[Check]:
    registry.resolve("engine", name)  # an unknown name is told as everywhere
    module = f"{registry.names('engine')[name]}.doctor"
    if importlib.util.find_spec(module) is None:
        return [_python(), small_job(name)]
    own: list[Check] = importlib.import_module(module).checks()
    return [_python(), *own]


def _python() -> Check:
    ok = sys.version_info >= (3, 11)
    return Check("Python", ok, f"{platform.python_version()} ({sys.executable})", "" if ok else "use 3.11 or newer")


def _packages() -> list[Check]:
    """Check every distribution that eventide itself requires, and nothing of an extra."""
    try:
        wanted = [r for r in requires("eventide") or [] if "extra ==" not in r]
    except PackageNotFoundError:
        return [Check("eventide", False, "not installed", "pip install eventide")]
    checks = []
    for name, least in (m.groups() for r in wanted if (m := _REQUIREMENT.match(r))):
        found = installed(name)
        ok = found is not None and _numbers(found) >= _numbers(least)
        checks.append(Check(name, ok, found or "not installed", "" if ok else f"pip install '{name}>={least}'"))
    return checks


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", version)[:3])


def _compiled() -> Check:
    from eventide.kernel.compiled import have_compiler

    found = installed("numba")
    if have_compiler():
        return Check("compiled kernels", True, f"in use, numba {found}")
    if found is not None:
        return Check("compiled kernels", None, "switched off (EVENTIDE_COMPILED=0); numpy does the work", "unset it")
    fix = "pip install 'eventide[fast]': the same results, faster"
    return Check("compiled kernels", None, "not in use, numpy does the work", fix)


def _plots() -> Check:
    found = installed("matplotlib")
    return Check(
        "plots (optional)",
        bool(found) or None,
        found or "not installed",
        "" if found else "pip install 'eventide[plot]'",
    )


def _folders(log: str) -> list[Check]:
    try:
        config = settings(log=log)
    except ConfigError as error:
        return [Check("configuration", False, error.message, error.hint)]
    file = "eventide.toml" if Path("eventide.toml").is_file() else "no eventide.toml here, the defaults hold"
    return [Check("configuration", True, file), *_log_folder(config)]


def _log_folder(config: Config) -> list[Check]:
    folder = Path(config.log.root).absolute()
    there = next(p for p in (folder, *folder.parents) if p.exists())
    about = "is there" if there == folder else f"will be made in {there}"
    try:
        milliseconds = _sync_ms(there)
    except OSError as error:
        fix = "set EVENTIDE_LOG to a folder that you may write"
        return [Check("log folder", False, f"{folder}: {error.strerror}", fix)]
    room = shutil.disk_usage(there).free
    speed = f"{milliseconds:.2f} ms for a durable append of 4 KiB"
    slow = "" if milliseconds < _SLOW_MS else "a local disk would make checkpoints and small appends quicker"
    return [
        Check("log folder", True, f"{folder} {about}"),
        Check("log disk", True, f"{speed}, {room / 1e9:,.0f} GB free", slow or ("" if room > _FULL else "make room")),
        Check("processors", True, f"{_processors()} for lanes"),
    ]


def _sync_ms(folder: Path) -> float:
    """Return the median time of writing 4 KiB and syncing them, in ms."""
    times = []
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(_WRITES):
            begun = time.perf_counter()
            file.write(bytes(4096))
            os.fsync(file.fileno())
            times.append(time.perf_counter() - begun)
    return 1e3 * statistics.median(times)


def _processors() -> int:
    affinity: Any = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _real_data() -> Check:
    folder = os.environ.get("EVENTIDE_DATA", "")
    if folder and Path(folder).is_dir():
        return Check("real data (optional)", True, folder)
    found = f"{folder} is not there" if folder else "EVENTIDE_DATA is not set"
    return Check("real data (optional)", None, found, "only the checks against real data need it")
