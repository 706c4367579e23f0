"""`eventide inspect metrics`: the figures of a run that goes on, else those stored with its last checkpoint."""

from __future__ import annotations

import http.client
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from eventide.cli._options import Json, settings
from eventide.cli.output import note, show, show_json, show_table
from eventide.engines.local.checkpoint import CheckpointStore
from eventide.engines.local.run_file import RunFile, RunInfo
from eventide.errors import CheckpointError, UnknownNameError, near_names
from eventide.metrics import METRICS, Sample, from_plain, to_plain
from eventide.model.time import format_time

__all__ = ["command"]

_TIMEOUT = 5.0
_LARGEST = 1 << 26


@dataclass(frozen=True, slots=True)
class _Figures:
    """Samples, of which run, in which state, where they come from (``run`` or ``checkpoint``), as of when."""

    pipeline: str
    run: str | None
    state: str | None
    source: str
    written: str | None
    samples: list[Sample]


def command(
    name: Annotated[
        str, typer.Argument(metavar="[PIPELINE]", help="A pipeline's name; left out, what runs is listed.")
    ] = "",
    folder: Annotated[str, typer.Option(metavar="FOLDER", help="Folder of checkpoints.")] = "",
    as_json: Json = False,
) -> None:
    """Show what a running pipeline measures, else what it measured at its last checkpoint."""
    place = folder or settings().run.checkpoint
    if not name:
        _list(place, as_json=as_json)
        return
    store = CheckpointStore(place, name)
    found = _of_run(RunFile(store.folder).read()) or _of_checkpoint(store, name)
    if found is None:
        known = [i.pipeline for i in _runs(place)] + [p.parent.name for p in Path(place).glob("*/chk-*")]
        msg = f"nothing is known of a pipeline {name!r} in {place}"
        raise UnknownNameError(msg, hint=near_names(name, dict.fromkeys(known)))
    if as_json:
        facts = {"pipeline": found.pipeline, "run": found.run, "state": found.state, "source": found.source}
        show_json({**facts, "written": found.written, "samples": to_plain(found.samples)})
    else:
        _table(found)


def _runs(place: str) -> list[RunInfo]:
    files = sorted(Path(place).glob("*/run.json"))
    return [info for f in files if (info := RunFile(f.parent).read()) is not None]


def _list(place: str, *, as_json: bool) -> None:
    runs = _runs(place)
    if as_json:
        show_json([{**asdict(i), "alive": i.alive} for i in runs])
    elif runs:
        rows = [(i.pipeline, i.run, i.pid, i.started, i.state if i.alive else "gone", i.metrics) for i in runs]
        show_table(["pipeline", "run", "process", "started", "state", "metrics"], rows, title=place)
    else:
        show(f"nothing runs with its checkpoints in {place}")


def _of_run(info: RunInfo | None) -> _Figures | None:
    if info is None or not info.alive or not info.metrics:
        return None
    try:
        data = _get(info.metrics + "/metrics.json")
        if data["run"] != info.run:  # another run has taken the port
            return None
        return _Figures(info.pipeline, info.run, data["state"], "run", None, from_plain(data["samples"]))
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        note(f"{info.metrics} does not answer: these are the figures of the last checkpoint")
        return None


def _get(address: str) -> Any:
    # Not urllib.request: that would ask a proxy of the environment for what is on this machine.
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_TIMEOUT)
    try:
        connection.request("GET", parts.path)
        return json.loads(connection.getresponse().read(_LARGEST))
    finally:
        connection.close()


def _of_checkpoint(store: CheckpointStore, name: str) -> _Figures | None:
    numbers = store.numbers()
    if not numbers:
        return None
    path = store.folder / f"chk-{numbers[-1]:08d}"
    try:
        manifest = json.loads((path / "manifest.json").read_bytes())
        written = format_time(manifest["written"] // 10**9 * 10**9)
        samples = from_plain(manifest.get("metrics", []))
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"the checkpoint {path} cannot be read: {error}"
        raise CheckpointError(msg, hint="remove that folder to go on from the one before it") from error
    return _Figures(name, manifest.get("run"), None, "checkpoint", written, samples)


def _table(found: _Figures) -> None:
    title = f"{found.pipeline}, run {found.run}" if found.run else found.pipeline
    title += f", {found.state}" if found.source == "run" else f", at its checkpoint of {found.written}"
    if not found.samples:
        show(f"{found.pipeline}: its checkpoint of {found.written} holds no metrics")
        return
    order = {name: index for index, name in enumerate(METRICS)}
    rows = []
    for sample in sorted(found.samples, key=lambda s: order[s.name]):
        if "state" in sample.labels and not sample.value:
            continue  # the states that are not in force
        where = ", ".join(f"{k} {v}" for k, v in sample.labels.items() if k not in ("pipeline", "run"))
        rows.append((sample.name.removeprefix("eventide_"), where, _value(sample)))
    show_table(["metric", "of", "value"], rows, title=title)


def _value(sample: Sample) -> str:
    if METRICS[sample.name].kind == "histogram":
        count = sample.buckets[-1][1]
        if not count:
            return "none seen"
        median, most = (_quantile(sample, q) for q in (0.5, 0.99))
        return f"{count:,} seen, mean {sample.value / count:.3g}, half below {median}, 99 % below {most}"
    if METRICS[sample.name].unit == "seconds" and sample.name.endswith(("watermark_seconds", "started_seconds")):
        return "end of the input" if math.isinf(sample.value) else format_time(int(sample.value * 1e6) * 1000)
    return f"{sample.value:,}" if isinstance(sample.value, int) else f"{sample.value:.6g}"


def _quantile(sample: Sample, share: float) -> str:
    """Return the upper bound of the bucket in which a quantile is."""
    count = sample.buckets[-1][1]
    bound = next(b for b, n in sample.buckets if n >= share * count)
    return "infinity" if math.isinf(bound) else f"{bound:g}"
