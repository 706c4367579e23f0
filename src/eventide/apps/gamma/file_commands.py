"""Commands about files of others: load them, write them, convert configurations."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from eventide import registry
from eventide.apps._progress import ProgressLine
from eventide.apps._stopping import Stop
from eventide.errors import ConfigError, DataError, UsageError
from eventide.model.pipeline import pipeline
from eventide.model.stream import read

__all__ = ["convert", "export", "load"]

_Log = Annotated[str, typer.Option(help="Folder of the log; left out, the configured one.")]
_Array = Annotated[str, typer.Option(help="made-1 to made-100, or a file in JSON.")]


def convert(
    file: Annotated[str, typer.Argument(help="A process of streams (.xml), or a configuration of ctapipe.")],
    out: Annotated[str, typer.Option(help="Where the pipeline goes; left out, FILE.py beside it.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON instead of the table.")] = False,
) -> None:
    """Write a pipeline that does what a configuration of another program says, and tell what became of each step."""
    from eventide.apps.gamma.migration.convert import convert as read_draft
    from eventide.apps.gamma.migration.convert import pipeline_text
    from eventide.apps.gamma.migration.steps import as_json as plain
    from eventide.apps.gamma.migration.steps import as_table

    draft = read_draft(file)
    target = Path(out) if out else Path(file).with_suffix(".py")
    if target.exists() and not out:
        msg = f"{target} is there already"
        raise UsageError(msg, hint="name another file with --out, or this one, to write over it")
    target.write_text(pipeline_text(draft, name=Path(file).name), encoding="utf-8")
    if as_json:
        _say(json.dumps({"file": str(target), **plain(draft.steps)}))
        return
    _say(as_table(draft.steps))
    _say(f"eventide run {target} --param source={draft.source} --param array={draft.array}")


def load(
    file: Annotated[str, typer.Argument(help="A file of images, or an address of ZeroMQ such as tcp://host:5555.")],
    out: Annotated[str, typer.Argument(help="log://topic, or a file.")] = "log://images",
    form: Annotated[
        str,
        typer.Option(
            help="simtel, photon-stream, prod3, ctapipe, protozfits or event-source; left out, by the name of the file."
        ),
    ] = "",
    camera: Annotated[str, typer.Option(help="FILE#NAME, for protozfits.")] = "",
    array_out: Annotated[str, typer.Option(help="Write the array of a file to this file, in JSON.")] = "",
    checkpoint: Annotated[str, typer.Option(help="Folder to go on from, where loading was stopped.")] = "",
    log: _Log = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON instead.")] = False,
) -> None:
    """Put the images of a file, or those that come by ZeroMQ, into a topic, from which they are analysed.

    Ctrl-C or SIGTERM: what was read is written, and the exit code is 130 or 143; with --checkpoint the same command
    goes on there.
    """
    from eventide.apps.gamma.sources.forms import form_of, source_of, write_array

    chosen = form_of(file, form)
    if chosen != "zmq" and not Path(file).exists():
        msg = f"there is no file {file}"
        raise DataError(msg, hint="give a file of images, or an address such as tcp://host:5555")
    if array_out:
        write_array(file, Path(array_out), form=chosen)
    place: dict[str, Any] = {"log": log} if log and out.startswith("log://") else {}
    target = out if "://" in out else f"file://{Path(out).absolute()}"
    # Under the name of what is loaded: a checkpoint of one file says nothing of another one.
    what = hashlib.sha256(f"{file if chosen == 'zmq' else Path(file).absolute()} {chosen}".encode()).hexdigest()[:12]
    job = pipeline(read(source_of(file, form=form, camera=camera)).write(target, **place), name=f"gamma-load-{what}")
    line = ProgressLine("images", quiet=as_json)
    with Stop() as stop:
        try:
            result = registry.resolve("engine", "local").run(
                job, stop=stop.event, on_progress=line, checkpoint=checkpoint or None
            )
        finally:
            line.done()
    if as_json:
        said = {"file": file, "form": chosen, "out": out, "images": result.rows_out, "stopped": result.stopped}
        _say(json.dumps({**said, "seconds": round(result.seconds, 3), "ok": not result.stopped}))
    else:
        _say(f"{result.rows_out:,} images in {out}, {result.seconds:.2f} s")
        if result.stopped:
            _say("stopped before the end: " + ("the same command goes on" if checkpoint else "what came is there"))
    if result.stopped:
        raise typer.Exit(stop.exit_code)


def export(
    out: Annotated[str, typer.Argument(help="FILE.h5 for ctapipe (DL1, DL2), or a folder for GADF files (DL3).")],
    array: _Array = "made-12",
    images: Annotated[bool, typer.Option(help="Put images into a file for ctapipe.")] = True,
    name: Annotated[str, typer.Option(help="What was observed (OBJECT in GADF files).")] = "",
    log: _Log = "",
) -> None:
    """Write what the topics of `eventide run gamma` hold as files that ctapipe, or gammapy, opens."""
    from eventide.apps.gamma.demo import topic
    from eventide.apps.gamma.site import site

    where = site(array)
    if out.endswith((".h5", ".hdf5")):
        from eventide.apps.gamma.dl1.write import write_ctapipe

        seen = topic("images", log) if images else None
        count = write_ctapipe(out, where, parameters=topic("parameters", log), events=topic("events", log), images=seen)
        _say(f"{count:,} array events in {out}")
        return
    from eventide.apps.gamma.dl3.export import export_runs, header_of, runs_of

    gammas = topic("gammas", log)
    if not gammas.num_rows:
        msg = "the topic gammas is empty"
        raise ConfigError(msg, hint="run the pipeline first: eventide run gamma")
    more = {"OBJECT": name} if name else {}
    paths = export_runs(runs_of(gammas, {}, header=header_of(where, OBS_MODE="POINTING", **more)), out)
    _say(f"{gammas.num_rows:,} gamma-like events in {', '.join(p.name for p in paths)}")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
