"""A configuration of another program as a file with a pipeline of this one."""

from __future__ import annotations

import pprint
from pathlib import Path
from typing import Final

from eventide.apps.gamma.migration.ctapipe_config import read_ctapipe
from eventide.apps.gamma.migration.steps import Step, as_table, short
from eventide.apps.gamma.migration.streams import Draft, read_streams
from eventide.errors import DataError, UsageError

__all__ = ["FORMS", "convert", "pipeline_text"]

FORMS: Final = {".xml": "streams", ".json": "json", ".toml": "toml", ".yaml": "yaml", ".yml": "yaml"}
"""Endings of files, and what is in them."""

_MOST_BYTES: Final = 1 << 20

_TEXT: Final = '''"""{title}

{table}
"""

from eventide.apps.gamma.migration.chain import Chain, converted
from eventide.model.pipeline import Pipeline

HOW = Chain(
    cleaning={cleaning!r},
    options={options},
    cuts={cuts},
    telescopes={telescopes},
    columns={columns},
)


def pipeline(
    source: str = {source!r},
    array: str = {array!r},
    sink: str = {sink!r},
    gammaness: str = "",
    energy: str = "",
    log: str = "",
    follow: str = "false",
) -> Pipeline:
    """Return the pipeline: images, the array, where events go, and files of models if there are any."""
    given = {{"gammaness": gammaness, "energy": energy, "log": log, "follow": follow}}
    return converted(HOW, source=source, array=array, sink=sink, **given)
'''


def convert(path: str | Path) -> Draft:
    """Read a process of streams (``.xml``) or a configuration of ctapipe (``.json``, ``.toml``, ``.yaml``).

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    UsageError
        The name ends otherwise.
    DataError
        The file cannot be read, or is none of the kind.
    """
    place = Path(path)
    form = FORMS.get(place.suffix.lower())
    if form is None:
        msg = f"{place.name} is neither XML of streams nor a configuration of ctapipe"
        raise UsageError(msg, hint=f"give a file that ends in {', '.join(FORMS)}")
    try:
        with place.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        msg = f"{path} cannot be read: {error}"
        raise DataError(msg, hint="give a file that is there") from None
    return (
        read_streams(data, where=place.name) if form == "streams" else read_ctapipe(data, form=form, where=place.name)
    )


def pipeline_text(draft: Draft, *, name: str) -> str:
    """Return the Python of a pipeline, with the table of steps above it.

    Parameters
    ----------
    draft
        What was read.
    name
        Of the file that it was read from.

    Examples
    --------
    >>> compile(pipeline_text(Draft(), name="process.xml"), "made.py", "exec") is not None
    True
    """
    how = draft.chain()
    # Text of others stands in a docstring: nothing in it may end the docstring or be an escape.
    steps = [Step(*(_harmless(v) for v in step)) for step in draft.steps]  # type: ignore[arg-type]
    return _TEXT.format(
        title=_harmless(f"Converted from {short(name)} by `eventide gamma convert`: look through what is not mapped."),
        table=as_table(steps),
        cleaning=how.cleaning,
        options=_literal(how.options),
        cuts=_literal(how.cuts),
        telescopes=_literal(how.telescopes),
        columns=_literal(how.columns),
        source=draft.source,
        array=draft.array,
        sink=draft.sink,
    )


def _harmless(text: str) -> str:
    plain = text.encode("ascii", "replace").decode()
    return " ".join(plain.replace("\\", "/").replace('"', "'").split())


def _literal(value: object) -> str:
    return pprint.pformat(value, width=100, sort_dicts=False).replace("\n", "\n    ")
