"""Configurations of ctapipe-process (JSON, TOML or YAML) as a chain.

Every setting, down to a single value or list, is a step. Expressions of quality criteria are not evaluated: those of
the common form ``parameters.hillas.intensity > 50`` are read, others are unmapped.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from eventide.apps.gamma.migration.steps import State, Step
from eventide.apps.gamma.migration.streams import Draft
from eventide.apps.gamma.schema import MEASURED
from eventide.errors import DataError, MissingDependencyError

__all__ = ["read_ctapipe"]

_MOST_BYTES, _MOST_STEPS, _DEEPEST = 1 << 18, 5_000, 30

_CLEANERS: Final[Mapping[str, str]] = {
    "TailcutsImageCleaner": "tailcuts",
    "NSBImageCleaner": "nsb",
    "FACTImageCleaner": "fact",
    "TimeConstrainedImageCleaner": "time_constrained",
}
_OPTIONS: Final[Mapping[str, str]] = {
    "picture_threshold_pe": "picture",
    "boundary_threshold_pe": "boundary",
    "min_picture_neighbors": "min_number_picture_neighbors",
    "keep_isolated_pixels": "keep_isolated_pixels",
}
"""Settings of the cleaner of tail cuts, and options of ours."""

_NUMBER: Final = r"\s*(<=|>=|==|!=|<|>)\s*(-?[0-9.]+(?:[eE][-+]?[0-9]+)?)\s*"
_PARAMETER: Final = re.compile(r"\s*(?:parameters|dl1_params)\.([a-z_]{1,40})\.([a-z_0-9]{1,40})(?:\.value)?" + _NUMBER)
_IMAGE: Final = {
    re.compile(r"\s*np\.count_nonzero\(image\)" + _NUMBER): "morphology_n_pixels",
    re.compile(r"\s*image\.sum\(\)" + _NUMBER): "hillas_intensity",
}


def read_ctapipe(data: bytes, *, form: str, where: str = "the file") -> Draft:
    """Return what a configuration comes to.

    Parameters
    ----------
    data
        The file.
    form
        ``json``, ``toml`` or ``yaml``.
    where
        What it is called in messages.

    Raises
    ------
    DataError
        It cannot be read in that form, or is too large.
    MissingDependencyError
        It is YAML, and PyYAML is not installed.

    Examples
    --------
    >>> data = b'{"ImageProcessor": {"TailcutsImageCleaner": {"picture_threshold_pe": 8}}, "Sing": {"song": 1}}'
    >>> draft = read_ctapipe(data, form="json")
    >>> draft.options, [s.state for s in draft.steps]
    ({'picture': 8}, ['mapped', 'unmapped'])
    """
    if len(data) > _MOST_BYTES:
        msg = f"{where} has {len(data):,} bytes"
        raise DataError(msg, hint=f"a configuration has at most {_MOST_BYTES:,}")
    found = _decoded(data, form, where)
    if not isinstance(found, dict):
        msg = f"{where} holds a {type(found).__name__}, not settings by name"
        raise DataError(msg, hint="give a configuration of ctapipe-process")
    draft = Draft()
    settings = list(_leaves(found, (), where))
    chosen = {str(v) for p, v in settings if p[-1] == "image_cleaner_type"} or {"TailcutsImageCleaner"}
    for path, value in settings:
        state, ours = _step(draft, path, value, chosen=chosen)
        draft.steps.append(Step(".".join(path), _text(value), state, ours))
    if draft.cleaning != "tailcuts":  # options that were read are those of tail cuts
        draft.options = {}
    return draft


def _decoded(data: bytes, form: str, where: str) -> Any:
    try:
        if form == "json":
            return json.loads(data)
        if form == "toml":
            return tomllib.loads(data.decode())
        return _yaml(data)
    except (ValueError, RecursionError) as error:
        msg = f"{where} cannot be read as {form.upper()}: {error}"
        raise DataError(msg, hint="give a configuration of ctapipe-process") from None


def _yaml(data: bytes) -> Any:
    try:
        import yaml
    except ImportError:
        msg = "YAML is read with PyYAML, which is not installed"
        raise MissingDependencyError(
            msg, hint="pip install pyyaml, or give the configuration in JSON or TOML"
        ) from None
    try:
        # PyYAML takes time by the square of how deep brackets are, before it says anything.
        opened = np.frombuffer(data, np.uint8)
        steps = np.isin(opened, list(b"{[")).astype(np.int64) - np.isin(opened, list(b"}]"))
        depth = int(np.cumsum(steps).max(initial=0)) if opened.size else 0
        if depth > 3 * _DEEPEST:
            msg = f"{depth} brackets are open"
            raise ValueError(msg)
        depth = 0
        for event in yaml.parse(data, yaml.SafeLoader):
            # By an alias a few lines stand for as many as one likes.
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent) or depth > _DEEPEST:
                msg = f"aliases (*name), and more than {_DEEPEST} collections within each other, are not read"
                raise ValueError(msg)
        return yaml.safe_load(data)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None


def _leaves(given: Any, path: tuple[str, ...], where: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield settings: what is no mapping is a value."""
    count = 0
    waiting: list[tuple[tuple[str, ...], Any]] = [(path, given)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, dict) and value:
            waiting += [((*path, str(k)), v) for k, v in reversed(value.items())]
        else:
            count += 1
            yield path, value
        if count > _MOST_STEPS or len(path) > _DEEPEST:
            msg = f"{where} has more than {_MOST_STEPS} settings, or {_DEEPEST} within each other"
            raise DataError(msg, hint="give a configuration of ctapipe-process")


def _text(value: Any) -> str:
    try:
        return json.dumps(value, default=str)
    except (ValueError, RecursionError):
        return str(type(value).__name__)


def _step(draft: Draft, path: tuple[str, ...], value: Any, *, chosen: set[str]) -> tuple[State, str]:
    last, above = path[-1], path[-2] if len(path) > 1 else ""
    if last == "image_cleaner_type":
        return _cleaner(draft, value)
    if above in _CLEANERS:
        return _option(draft, above, last, value=value, chosen=chosen)
    if last == "quality_criteria":
        return _criteria(draft, above, value)
    if last == "image_extractor_type":
        return _extractor(value)
    if last == "reconstructor_types":
        wanted = value if isinstance(value, list) else [value]
        if wanted == ["HillasReconstructor"]:
            return "mapped", "stereo"
        return "partly", "stereo is the HillasReconstructor; there is no other"
    if path[0] == "DataWriter":
        return _written(last, value)
    return _source(draft, last, value)


def _source(draft: Draft, name: str, value: Any) -> tuple[State, str]:
    if name == "allowed_tels" and isinstance(value, list) and all(type(v) is int for v in value):
        draft.telescopes = list(value)
        return "mapped", "only these telescopes"
    if name == "input_url" and isinstance(value, str) and value:
        return "partly", "load the file first: eventide gamma load FILE log://images"
    if name == "load_path" and isinstance(value, str):
        return (
            "partly",
            "pickled models are not read: save the forest by eventide.apps.gamma.models, --param gammaness=",
        )
    return "unmapped", "no setting that is known here"


def _cleaner(draft: Draft, value: Any) -> tuple[State, str]:
    ours = _CLEANERS.get(value) if isinstance(value, str) else None
    if ours is None:
        return "unmapped", f"cleanings here: {', '.join(_CLEANERS.values())}; tailcuts is taken"
    draft.cleaning = ours
    return (
        ("mapped", f"cleaning {ours}") if ours == "tailcuts" else ("partly", f"cleaning {ours}, with its own options")
    )


def _option(draft: Draft, cleaner: str, name: str, *, value: Any, chosen: set[str]) -> tuple[State, str]:
    if cleaner not in chosen:
        return "unmapped", "a cleaner that is not chosen"
    if cleaner != "TailcutsImageCleaner" or name not in _OPTIONS:
        return "unmapped", f"options of ours for {_CLEANERS[cleaner]} are set in the file that is written"
    rules = value if isinstance(value, list) else [["type", "*", value]]
    plain = all(
        isinstance(r, (list, tuple)) and len(r) == 3 and r[0] in ("type", "id") and isinstance(r[1], (str, int))
        and isinstance(r[2], (int, float)) for r in rules
    )  # fmt: skip
    if not plain:
        return "unmapped", "neither a number nor a list of [type or id, which, number]"
    draft.options[_OPTIONS[name]] = [list(r) for r in rules] if isinstance(value, list) else value
    return "mapped", f"{_OPTIONS[name]}; telescopes that no entry names have those of the array"


def _criteria(draft: Draft, above: str, value: Any) -> tuple[State, str]:
    if above not in ("ImageQualityQuery", "StereoQualityQuery"):
        return "unmapped", "criteria of something that is not here"
    pairs = value if isinstance(value, list) else []
    cuts: list[tuple[str, str, float]] = []
    lost: list[Any] = []
    for pair in pairs:
        text = pair[1] if isinstance(pair, (list, tuple)) and len(pair) == 2 else pair
        cut = _cut(text) if isinstance(text, str) and len(text) < 200 else None
        if cut:
            cuts.append(cut)
        else:
            lost.append(text)
    draft.cuts += [c for c in cuts if c not in draft.cuts]
    said = "; ".join(" ".join(map(str, c)) for c in cuts)
    if lost or not isinstance(value, list):
        return (
            "partly" if cuts else "unmapped"
        ), f"kept: {said or 'everything'}; not understood: {_text(lost or value)}"
    return "mapped", f"kept: {said or 'everything'}"


def _cut(text: str) -> tuple[str, str, float] | None:
    found = _PARAMETER.fullmatch(text)
    if found:
        group = {"intensity_statistics": "intensity", "peak_time_statistics": "peak_time"}.get(found[1], found[1])
        name = f"{group}_{found[2]}"
        return (name, found[3], float(found[4])) if name in MEASURED.names else None
    for pattern, name in _IMAGE.items():
        if found := pattern.fullmatch(text):
            return name, found[1], float(found[2])
    return None


def _extractor(value: Any) -> tuple[State, str]:
    wanted = {str(v[2]) if isinstance(v, (list, tuple)) and len(v) == 3 else str(v) for v in _listed(value)}
    known = {"NeighborPeakWindowSum": "neighbor_peak", "LocalPeakWindowSum": "local_peak"}
    ours = ", ".join(known[w] for w in sorted(wanted) if w in known)
    lost = ", ".join(sorted(wanted - set(known)))
    said = f"this chain begins with images; of waveforms they are made by calibrate(extractor={ours or '...'})"
    return ("partly", said) if not lost else ("unmapped" if not ours else "partly", f"{said}; not here: {lost}")


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _written(name: str, value: Any) -> tuple[State, str]:
    if name in ("write_dl1_images", "write_dl1_parameters", "write_dl2", "write_images", "write_parameters"):
        if not value:
            return "mapped", "not asked for"
        return "partly", "events go to the sink; a file for ctapipe is written by eventide gamma export"
    if name == "overwrite":
        return "partly", "a sink says itself what becomes of what is there"
    return "unmapped", "files of ours do not have it"
