"""Which form a file has, by its name, and the source that reads it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import pyarrow as pa

from eventide.apps.gamma.schema import DL1_IMAGE
from eventide.apps.gamma.sources.replay import Replay
from eventide.errors import ConfigError, UnknownNameError, near_names

__all__ = ["FORMS", "source_of"]


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
    "event-source": ((), _event_source),
}
"""Forms, how names of their files end, and what reads them; ``event-source`` is whatever ctapipe reads."""


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
    if path.startswith(("tcp://", "ipc://")):
        from eventide.apps.gamma.sources.live_zmq import LiveZmq

        return LiveZmq(path)
    chosen = form or next((n for n, (ends, _) in FORMS.items() if ends and path.endswith(ends)), "event-source")
    if chosen not in FORMS:
        msg = f"there is no form {form!r} of files of images"
        raise UnknownNameError(msg, hint=near_names(form, FORMS))
    return Replay(functools.partial(FORMS[chosen][1], path, camera), DL1_IMAGE)
