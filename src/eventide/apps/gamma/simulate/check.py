"""The scripted night through the pipeline: what is excluded is what the script says, and nothing else changes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa

from eventide import registry
from eventide.apps.gamma.pipeline import Analysis, Results, analyse
from eventide.apps.gamma.science.regions import OnOff
from eventide.apps.gamma.simulate.night import CRAB
from eventide.apps.gamma.simulate.script import Script, Streams, predicted, scripted
from eventide.model.pipeline import pipeline
from eventide.model.stream import Stream, read

__all__ = ["check_night"]

_ENDS = ("parameters", "orphans", "duplicates", "late", "excluded")
_SLOW = ("pointings", "states", "weather", "calibration")
_LATENESS = "100ms"


def check_night(script: Script) -> dict[str, Any]:
    """Simulate a night by its script, analyse it, and compare with what the script says.

    The night is analysed twice: with all images and all of slow control, and with those images only that the script
    lets through, and of slow control only where telescopes point and which pixels are dead. Array events must be the
    same.

    Returns
    -------
    dict
        Figures: ``images``, ``excluded`` (by reason), ``wrong`` (images that were excluded and should not have been, or
        the other way round, or for another reason), ``lost``, ``events``, ``events_differ``, ``alerts``, and ``ok``.

    Examples
    --------
    >>> from eventide.apps.gamma.simulate.script import State
    >>> script = Script(array="made-4", seconds=3, seed=1, hadrons=60.0, states=(State(1, 2, "slewing"),))
    >>> found = check_night(script)
    >>> found["ok"], list(found["excluded"])
    (True, ['is slewing'])
    """
    given = scripted(script)
    expected = predicted(script, given)
    how = Analysis(given.site, OnOff(*CRAB, radius=0.17, name="Crab"), lateness=_LATENESS, limits=script.conditions)
    tables = _run(given, how, slow=_SLOW)
    columns = tables["excluded"].select(["tel_id", "tel_event_id", "reason"]).to_pylist()
    found = {(r["tel_id"], r["tel_event_id"]): r["reason"] for r in columns}
    wrong = {key for key in found.keys() | expected.keys() if found.get(key) != expected.get(key)}
    keys = zip(*(given.images[n].to_pylist() for n in ("tel_id", "tel_event_id")), strict=True)
    kept = given.images.filter(pa.array(np.array([key not in expected for key in keys], bool)))
    free = how._replace(limits=how.limits._replace(subarray=""))
    alone = _run(given._replace(images=kept), free, slow=("pointings", "calibration"))
    events, same = (t["events"].sort_by("event_id") for t in (tables, alone))
    ends = sum(tables[name].num_rows for name in _ENDS)
    figures: dict[str, Any] = {
        "images": given.images.num_rows,
        "excluded": dict(sorted(Counter(found.values()).items())),
        "wrong": len(wrong),
        "examples": sorted(f"telescope {t}, image {n}: {found.get((t, n))}" for t, n in list(wrong)[:5]),
        "lost": given.images.num_rows - ends,
        "late": tables["late"].num_rows,
        "events": events.num_rows,
        "events_differ": not events.equals(same),
        "alerts": tables["alerts"].num_rows,
        "monitors": tables["monitors"].num_rows,
    }
    twice = tables["excluded"].num_rows != len(found)
    bad = figures["wrong"] or figures["lost"] or figures["late"] or figures["events_differ"] or twice
    return {**figures, "ok": not bad and events.num_rows > 0}


def _run(given: Streams, how: Analysis, *, slow: tuple[str, ...]) -> dict[str, pa.Table]:
    memory = registry.resolve("connector", "memory")
    streams: dict[str, Stream] = {n: read(memory.MemorySource(getattr(given, n)), name=n) for n in ("images", *slow)}
    found: Results = analyse(streams.pop("images"), how, **streams)
    sinks = {name: memory.MemorySink() for name in Results._fields}
    writes = [stream.write(sinks[name]) for name, stream in found._asdict().items()]
    registry.resolve("engine", "local").run(pipeline(*writes, name="night"))
    return {name: sink.table() for name, sink in sinks.items()}
