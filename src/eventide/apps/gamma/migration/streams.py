"""Processes of the streams framework (Bockermann), of the shape that streams-cta has, as a chain.

Every element of the file is a step. What a class does is known for those of streams-cta (Bruegge et al., ADASS XXVII,
ASP 522 p. 319) and some of the framework's own; others are unmapped, and the table says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from eventide.apps.gamma.migration.chain import Chain
from eventide.apps.gamma.migration.steps import State, Step
from eventide.apps.gamma.migration.xml import Element, parse_xml
from eventide.errors import DataError

__all__ = ["Draft", "read_streams"]

_PLACE: Final = re.compile(r"\$\{([^${}]{1,100})\}")
_CONDITION: Final = re.compile(r"\s*%\{data\.([\w:@*.-]{1,100})\}\s*(<=|>=|==|!=|<|>)\s*(-?[0-9.]{1,30})\s*")
_OPPOSITE: Final = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "==": "!=", "!=": "=="}
_LEVELS: Final = (10.0, 8.0, 4.5)

_KEYS: Final[Mapping[str, str]] = {
    "shower:number_of_pixel": "morphology_n_pixels",
    "shower:total_photons": "hillas_intensity",
    "shower:size": "hillas_intensity",
    "shower:width": "hillas_width",
    "shower:length": "hillas_length",
    "shower:skewness": "hillas_skewness",
    "shower:kurtosis": "hillas_kurtosis",
}
"""Names of streams-cta and ours, where the numbers mean the same (angles here are degrees)."""

_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "event_id": ("event_id", "event_time"),
    "prediction:*": ("gammaness*", "energy*"),
    "prediction:signal:mean": ("gammaness",),
    "prediction:energy:mean": ("energy",),
    "array:num_*": ("n_tels",),
    "array:num_triggered_telescopes": ("n_tels",),
    "stereo:*": ("alt*", "az*", "core_*", "is_valid"),
    "stereo:estimated_direction:*": ("alt*", "az*", "is_valid"),
    "stereo:estimated_impact_position:*": ("core_*",),
}
"""Keys of a table of results, and our columns."""


@dataclass(slots=True)
class Draft:
    """What is known of a pipeline while a file is read: its chain, where things are, and the steps."""

    cleaning: str = "tailcuts"
    options: dict[str, Any] = field(default_factory=dict)
    cuts: list[tuple[str, str, float]] = field(default_factory=list)
    telescopes: list[int] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    source: str = "log://images"
    array: str = "made-12"
    sink: str = "log://showers"
    steps: list[Step] = field(default_factory=list)

    def chain(self) -> Chain:
        """Return what it came to."""
        cuts, columns = tuple(self.cuts), tuple(dict.fromkeys(self.columns))
        return Chain(self.cleaning, dict(self.options) or None, cuts, tuple(self.telescopes), columns=columns)


def read_streams(data: bytes, *, where: str = "the file") -> Draft:
    """Return what a process comes to.

    Parameters
    ----------
    data
        The XML.
    where
        What it is called in messages.

    Raises
    ------
    DataError
        It is no XML that is read here, or no application of streams.

    Examples
    --------
    >>> data = b"<application><process input='d'><streams.cta.cleaning.TailCut/><Sing/></process></application>"
    >>> [(s.theirs, s.state) for s in read_streams(data).steps]
    [('process', 'mapped'), ('streams.cta.cleaning.TailCut', 'mapped'), ('Sing', 'unmapped')]
    """
    root = parse_xml(data, where=where)
    if root.name not in ("application", "container", "experiment"):
        msg = f"{where} begins with <{root.name}>, not with <application>"
        raise DataError(msg, hint="give a process of the streams framework")
    draft = Draft(cleaning="compat", options={"levels": list(_LEVELS)})
    values = {e.attributes.get("name", ""): e.attributes.get("value", "") for e in root.walk() if e.name == "property"}
    cleaned = False
    for element in list(root.walk())[1:]:
        attributes = {k: _filled(v, values) for k, v in element.attributes.items()}
        rule = _rule(element.name, attributes)
        state, ours = rule(draft, element, attributes) if rule else ("unmapped", "no class that is known here")
        cleaned |= rule is _tail_cut
        name = element.name
        if element.name in ("stream", "service", "property"):
            name += " " + (attributes.get("class") or attributes.get("name", ""))
        draft.steps.append(Step(f"line {element.line}", name, state, ours))
    if not cleaned:
        draft.cleaning, draft.options = "tailcuts", {}
    return draft


def _filled(text: str, values: Mapping[str, str]) -> str:
    """Return text with the values of its ``${names}``; a value is not looked into again."""
    return _PLACE.sub(lambda m: values.get(m[1], m[0]), text)[:10_000]


_Rule = Callable[[Draft, Element, Mapping[str, str]], tuple[State, str]]


def _rule(name: str, attributes: Mapping[str, str]) -> _Rule | None:
    if name in ("stream", "service"):
        last = attributes.get("class", "").rsplit(".", 1)[-1]
        return {"stream": _STREAMS.get(last, _any_stream), "service": _SERVICES.get(last)}[name]
    return _ELEMENTS.get(name.rsplit(".", 1)[-1])


def _said(state: State, ours: str) -> _Rule:
    return lambda draft, element, attributes: (state, ours)


def _any_stream(draft: Draft, element: Element, attributes: Mapping[str, str]) -> tuple[State, str]:
    return "unmapped", f"give the images as rows: --param source=..., {draft.source} if not"


def _image_stream(draft: Draft, element: Element, attributes: Mapping[str, str]) -> tuple[State, str]:
    url = attributes.get("url", "")
    if not url:
        return "partly", "the file is not named: --param source=images.json.gz"
    draft.source = url.removeprefix("classpath:").removeprefix("file:").lstrip("/") if "classpath" in url else url
    draft.source = draft.source.removeprefix("file:")
    draft.array = "array_101_telescopes.csv,cta_camera_definitions.json.gz"
    return (
        "mapped",
        f"{draft.source}; its array, which streams-cta has built in: --param array=ARRAY.csv,CAMERAS.json.gz",
    )


def _tail_cut(draft: Draft, element: Element, attributes: Mapping[str, str]) -> tuple[State, str]:
    given = attributes.get("levels", "")
    if not given:
        return "mapped", f"cleaning compat, levels {', '.join(f'{v:g}' for v in _LEVELS)} (its own)"
    try:
        levels = [float(v) for v in given.split(",")]
    except ValueError:
        return "partly", f"cleaning compat; levels {given!r} are no numbers, its own are taken"
    if not levels or not all(0 < v < 1e9 for v in levels):
        return "partly", f"cleaning compat; levels {given!r} are not above 0, its own are taken"
    draft.options = {"levels": levels}
    return "mapped", f"cleaning compat, levels {given}"


def _skip(draft: Draft, element: Element, attributes: Mapping[str, str]) -> tuple[State, str]:
    condition = attributes.get("condition", "")
    found = _CONDITION.fullmatch(condition)
    if not found or found[1] not in _KEYS:
        return "unmapped", f"a condition that is not known here: {condition}"
    try:
        limit = float(found[3])
    except ValueError:
        return "unmapped", f"a condition without a number: {condition}"
    cut = (_KEYS[found[1]], _OPPOSITE[found[2]], limit)
    draft.cuts.append(cut)
    return "mapped", "kept: " + " ".join(map(str, cut))


def _csv(draft: Draft, element: Element, attributes: Mapping[str, str]) -> tuple[State, str]:
    keys = [k.strip() for k in attributes.get("keys", "").split(",") if k.strip()]
    if keys and all(k.startswith("@") or "memory" in k for k in keys):
        return "partly", "rates and memory of a run are at /metrics and in its summary, not in a table"
    url = attributes.get("url", "").removeprefix("file:")
    draft.sink = f"file://{url}" if url else draft.sink
    known = [k for k in keys if k in _COLUMNS]
    for key in known:
        draft.columns += _COLUMNS[key]
    lost = [k for k in keys if k not in _COLUMNS]
    if lost:
        return "partly", f"{draft.sink}; no columns here: {', '.join(lost)}"
    return "mapped", draft.sink


def _condition(draft: Draft, element: Element, attributes: Mapping[str, str]) -> tuple[State, str]:
    if "@datarate" in attributes.get("condition", ""):
        return "partly", "only for rates, which are at /metrics"
    return "unmapped", f"conditions are written in Polars expressions here: {attributes.get('condition', '')}"


def _process(draft: Draft, element: Element, attributes: Mapping[str, str]) -> tuple[State, str]:
    copies = attributes.get("copies", "")
    if copies.isdigit():
        return "mapped", f"the pipeline; {copies} copies: engine option lanes (the rows are the same for any number)"
    return "mapped", "the pipeline"


_STREAMS: Final[Mapping[str, _Rule]] = {
    "ImageStream": _image_stream,
    "LoopStream": _said("partly", "read once: going round in memory was for measuring rates"),
    "ParallelLoopStream": _said("partly", "read once: going round in memory was for measuring rates"),
    "RecursiveDirectoryStream": _said("partly", "a glob in the address: --param source=file:///folder/*.parquet"),
}
_SERVICES: Final[Mapping[str, _Rule]] = {
    "PredictionService": _said(
        "partly", "PMML is not read: save the forest by eventide.apps.gamma.models, --param gammaness= and energy="
    ),
}
_ELEMENTS: Final[Mapping[str, _Rule]] = {
    "property": _said("mapped", "filled in where it is used"),
    "queue": _said("mapped", "streams are joined without queues"),
    "Enqueue": _said("mapped", "streams are joined without queues"),
    "process": _process,
    "SplitByTelescope": _said("mapped", "an image is a row already"),
    "ForEach": _said("mapped", "all images of a batch at once"),
    "TailCut": _tail_cut,
    "Moments": _said("mapped", "parameters hillas; the size is counted once, so centroids are not halved"),
    "TelescopePredictions": _said("partly", "score, by the models that are given; without any there is none"),
    "MergeByTelescope": _said("mapped", "array_events: by event time, in whatever order images come"),
    "CollectByEvent": _said("mapped", "array_events: by event time, rows of an event need not be neighbours"),
    "SummarizePredictions": _said(
        "partly", "means weighted by intensity and their deviation; sum, smallest and largest are not kept"
    ),
    "Stereo": _said("mapped", "stereo; events without a direction are marked in is_valid"),
    "Skip": _skip,
    "If": _condition,
    "CSVWriter": _csv,
    "RemoveKeys": _said("mapped", "columns that nothing asks for are not made"),
    "DataRate": _said("partly", "rates of every operator are at /metrics and in the summary of a run"),
}
