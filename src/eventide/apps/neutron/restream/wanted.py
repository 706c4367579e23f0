"""What a command asks for: one histogram, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eventide.apps.neutron.restream.fields import TOPIC, Fields
from eventide.errors import UsageError, near_names

__all__ = ["KINDS", "Wanted", "wanted"]

KINDS = ("hist1d", "hist2d", "dethist", "roihist")
_NEEDED = {
    "hist1d": ("tof_range", "num_bins"),
    "hist2d": ("tof_range", "det_range", "num_bins"),
    "dethist": ("det_range", "width", "height"),
    "roihist": ("left_edges", "width"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One histogram that is asked for.

    Parameters
    ----------
    kind
        ``hist1d``, ``hist2d``, ``dethist`` or ``roihist``.
    brokers, data_topics
        Where the events are.
    topic
        Where the histogram goes, on the same brokers.
    identifier, source
        What its info calls it; whose events count ("": everyone's).
    tof_range, det_range
        Low and high of the time of flight (ns) and of pixels; () for none.
    bins
        Number of bins, of time of flight and of pixels.
    width, height, left_edges
        Of an image, or of the rows of a region.
    """

    kind: str
    brokers: tuple[str, ...]
    data_topics: tuple[str, ...]
    topic: str
    identifier: str = ""
    source: str = ""
    tof_range: tuple[float, ...] = ()
    det_range: tuple[float, ...] = ()
    bins: tuple[int, ...] = ()
    width: int = 0
    height: int = 0
    left_edges: tuple[int, ...] = ()


def wanted(each: Any, number: int, shared: Mapping[str, Any]) -> Wanted:
    """Return what one entry of ``histograms`` asks for.

    Parameters
    ----------
    each
        The entry.
    number
        Of the entry, for errors.
    shared
        What the command says of all entries.

    Raises
    ------
    UsageError
        It lacks something, or has a field that cannot be followed.

    Examples
    --------
    >>> one = {"type": "hist1d", "topic": "out", "tof_range": [0, 10], "num_bins": 5}
    >>> wanted(one, 0, {"data_brokers": ["b:9092"], "data_topics": ["events"]}).bins
    (5,)
    """
    where = f"histogram {number}"
    if not isinstance(each, dict):
        msg = f"{where} is {type(each).__name__}, not an object"
        raise UsageError(msg)
    found = {**shared, **each}  # old commands name brokers and topics once, for all
    kind = found.get("type")
    if kind not in KINDS:
        msg = f"{where}: unknown type {kind!r}"
        raise UsageError(msg, hint=near_names(str(kind), list(KINDS)))
    missing = [key for key in ("topic", "data_topics", "data_brokers", *_NEEDED[kind]) if found.get(key) is None]
    if missing:
        msg = f"{where} ({kind}) lacks {', '.join(missing)}"
        raise UsageError(msg)
    fields = Fields(found, f"{where} ({kind})")
    needed = _NEEDED[kind]
    has_pixels = "det_range" in needed or (kind == "hist1d" and found.get("det_range") is not None)
    return Wanted(
        kind=kind,
        brokers=fields.texts("data_brokers"),
        data_topics=fields.texts("data_topics", TOPIC),
        topic=fields.topic("topic"),
        identifier=fields.text("id"),
        source=fields.text("source").strip() and fields.text("source"),
        tof_range=fields.interval("tof_range") if "tof_range" in needed else (),
        det_range=fields.interval("det_range", whole=kind == "dethist") if has_pixels else (),
        bins=fields.bins("num_bins", pair=kind == "hist2d") if "num_bins" in needed else (),
        width=fields.whole("width") if "width" in needed else 0,
        height=fields.whole("height") if "height" in needed else 0,
        left_edges=fields.wholes("left_edges") if "left_edges" in needed else (),
    )
