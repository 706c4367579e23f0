"""Which form a file has, by its name, and the source that reads it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa

from eventide.apps.gamma.schema import DL1_IMAGE
from eventide.apps.gamma.sources.replay import Replay
from eventide.errors import ConfigError, UnknownNameError, near_names

__all__ = ["FORMS", "form_of", "source_of", "write_array"]


def _prod3(path: str, camera: str) -> Iterator[pa.RecordBatch]:
    from eventide.apps.gamma.sources.prod3 import read_prod3

    yield from read_prod3(path)[0].to_batches()


def _photon_stream(path: str, camera: str) -> Iterator[pa.RecordBatch]:
    from eventide.apps.gamma.sources.photon_stream import read_photon_stream

    yield from read_photon_stream(path)


def _ctapipe(path: str, camera: str) -> Iterator[pa.RecordBatch]:
    from eventide.apps.gamma.sources.ctapipe_hdf5 import read_dl1

    yield from read_dl1(path)


def _event_source(path: str, camera: str) -> Iterator[pa.RecordBatch]:
    from eventide.apps.gamma.sources.event_source import read_event_source

    yield from read_event_source(path)


def _simtel(path: str, camera: str) -> Iterator[pa.RecordBatch]:
    from eventide.apps.gamma.sources.simtel import read_simtel_images

    yield from read_simtel_images(path)


def _protozfits(path: str, camera: str) -> Iterator[pa.RecordBatch]:
    from eventide.apps.gamma.cameras.definitions import read_definitions
    from eventide.apps.gamma.sources.protozfits_r1 import read_r1

    file, _, name = camera.partition("#")
    if not name:
        msg = "a protobuf-zfits file does not say where pixels are"
        raise ConfigError(msg, hint="name a camera of a file of definitions: --camera definitions.json.gz#LSTCam")
    known = read_definitions(file)
    if name not in known:
        msg = f"{file} has no camera {name!r}"
        raise ConfigError(msg, hint=near_names(name, known))
    yield from read_r1(path, known[name])


FORMS: Final[Mapping[str, tuple[tuple[str, ...], Callable[[str, str], Iterator[pa.RecordBatch]]]]] = {
    "photon-stream": ((".phs.jsonl", ".phs.jsonl.gz"), _photon_stream),
    "prod3": ((".json", ".json.gz"), _prod3),
    "ctapipe": ((".h5", ".hdf5"), _ctapipe),
    "protozfits": ((".fits.fz",), _protozfits),
    "simtel": ((".simtel", ".simtel.gz", ".simtel.zst", ".simtel.bz2"), _simtel),
    "event-source": ((), _event_source),
}
"""Forms, how names of their files end, and what reads them; ``event-source`` is whatever ctapipe reads."""


def form_of(path: str, form: str = "") -> str:
    """Return the form of a file, or ``zmq`` for an address of ZeroMQ.

    Parameters
    ----------
    path
        File or address.
    form
        One of `FORMS`; left out, by the name.

    Raises
    ------
    UnknownNameError
        There is no such form.

    Examples
    --------
    >>> form_of("gamma_20deg.simtel.zst"), form_of("tcp://camera:5555"), form_of("run.gz", "simtel")
    ('simtel', 'zmq', 'simtel')
    """
    if path.startswith(("tcp://", "ipc://")):
        return "zmq"
    chosen = form or next((n for n, (ends, _) in FORMS.items() if ends and path.endswith(ends)), "event-source")
    if chosen not in FORMS:
        msg = f"there is no form {form!r} of files of images"
        raise UnknownNameError(msg, hint=near_names(form, FORMS))
    return chosen


def write_array(path: str, out: Path, *, form: str) -> None:
    """Write the array of a file into a file in JSON, and its cameras beside it where the file's own cannot be used.

    Parameters
    ----------
    path
        File of images.
    out
        Where to, such as ``array.json``; cameras of sim_telarray go to ``array.cameras.json``.
    form
        One of `FORMS`.

    Raises
    ------
    ConfigError
        Files of this form do not say what the array is.
    """
    if form == "ctapipe":
        from eventide.apps.gamma.dl1.instrument import read_site as of_ctapipe

        found = of_ctapipe(path)
    elif form == "simtel":
        from eventide.apps.gamma.sources.simtel import read_site as of_simtel

        found = of_simtel(path, out.with_name(f"{out.stem}.cameras.json"))
    else:
        msg = f"files of the form {form} do not say what the array is"
        raise ConfigError(msg, hint="leave --array-out out, and describe the array yourself (eventide.apps.gamma.site)")
    out.write_bytes(msgspec.json.encode(found))


def source_of(path: str, *, form: str = "", camera: str = "") -> Any:
    """Return a source of the images of a file, or of an address of ZeroMQ (``tcp://...``, which never ends).

    Parameters
    ----------
    path
        File or address.
    form
        One of `FORMS`; left out, by the name.
    camera
        ``FILE#NAME``, for files that do not have it.

    Raises
    ------
    UnknownNameError
        There is no such form.

    Examples
    --------
    >>> source_of("images.json.gz").schema() == DL1_IMAGE
    True
    """
    chosen = form_of(path, form)
    if chosen == "zmq":
        from eventide.apps.gamma.sources.live_zmq import LiveZmq

        return LiveZmq(path)
    return Replay(functools.partial(FORMS[chosen][1], path, camera), DL1_IMAGE)
