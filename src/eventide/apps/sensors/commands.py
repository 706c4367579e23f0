"""Sensor networks: simulate a day, analyse it, draw it, and check the answers on real data."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from eventide.errors import ConfigError

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help=__doc__)
"""``eventide sensors ...``"""


@app.command()
def verify(
    data: Annotated[str, typer.Option(help="Folder with sensors/aot/; left out, EVENTIDE_DATA.")] = "",
) -> None:
    """Compute the golden answers on real data; the last line is JSON with `ok`."""
    from eventide.apps.sensors.verify import verify as golden

    figures = golden(_data_dir(data))
    for stream, found in figures["day"].items():
        _say(
            f"{stream}: notebook17 flags {found['flags']}, recall {found['recall']}, precision {found['precision']}, "
            f"incidents {found['incidents']}; textbook flags {found['textbook_flags']}"
        )
        for span in found["incident_times"]:
            _say(f"  {span}")
    dirty = figures["dirty"]
    _say(f"dirty snapshot: {dirty['rows']} rows, flagged {dirty['flagged']}, unnoticed {dirty['unnoticed']}")
    _say(json.dumps(figures))
    if not figures["ok"]:
        raise typer.Exit(1)


@app.command()
def simulate(
    out: Annotated[str, typer.Argument(help="File for the payloads, one a line.")],
    streams: Annotated[int, typer.Option(help="Number of streams.")] = 50,
    seed: Annotated[int, typer.Option(help="The same seed gives the same day.")] = 2016,
    form: Annotated[str, typer.Option(help="Wire form, a or b.")] = "a",
) -> None:
    """Write a simulated day in a wire form, in order of arrival."""
    from eventide.apps.sensors import simulate as simulation

    writers = {"a": simulation.wire_a, "b": simulation.wire_b}
    if form not in writers:
        msg = f"there is no wire form {form!r}"
        raise ConfigError(msg, hint="--form is a or b")
    day = simulation.simulate(streams, seed=seed)
    payloads = writers[form](day.readings)
    path = Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\n".join(payloads.to_pylist()) + b"\n")
    _say(f"{len(payloads):,} readings of {streams} streams in {path} ({path.stat().st_size:,} bytes)")
    for row in day.incidents.to_pylist():
        _say(f"  {row['stream']}: {row['kind']} {row['start']:%H:%M:%S} to {row['end']:%H:%M:%S}")


@app.command()
def demo(
    out: Annotated[str, typer.Option(help="Folder for plots and results.")] = "demo-sensors",
    streams: Annotated[int, typer.Option(help="Number of streams.")] = 50,
    seed: Annotated[int, typer.Option(help="The same seed gives the same day.")] = 2016,
    seconds: Annotated[float, typer.Option(help="How long the day takes at the watchable pace; 0 leaves it out.")] = 20,
) -> None:
    """Simulate a day, analyse it at full speed and at a watchable pace, and draw what was found."""
    from eventide.apps.sensors.demo import run_demo

    summary = run_demo(Path(out), streams=streams, seed=seed, seconds=seconds, say=_say)
    data = os.environ.get("EVENTIDE_DATA", "")
    if data and (Path(data) / "sensors" / "aot").is_dir():
        from eventide.apps.sensors.demo import run_real_day

        summary["real_day"] = run_real_day(Path(data), Path(out), say=_say)
    _say(json.dumps(summary))
    if not summary["ok"]:
        raise typer.Exit(1)


def _data_dir(option: str) -> Path:
    folder = option or os.environ.get("EVENTIDE_DATA", "")
    if not folder:
        msg = "no folder of real data was named"
        raise ConfigError(msg, hint="set EVENTIDE_DATA, or pass --data FOLDER, to a folder with sensors/aot in it")
    return Path(folder)


def _say(text: Any) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
