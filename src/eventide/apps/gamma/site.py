"""Where an array stands and what its telescopes are, as data: made ones by name, or your own from a file in JSON."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import numpy as np

from eventide.apps.gamma.cameras.camera import Camera, in_telescope_frame
from eventide.apps.gamma.cameras.definitions import read_definitions
from eventide.apps.gamma.cameras.made import chec_like, hexagonal, lst_like
from eventide.apps.gamma.dl1.cameras import read_camera_of
from eventide.apps.gamma.sky import Place
from eventide.apps.gamma.stereo.subarray import Subarray
from eventide.errors import ConfigError, near_names

__all__ = ["KINDS", "Kind", "Site", "SubArray", "Telescope", "camera_of", "made", "site"]

_MOST = 100
_LARGE = 4


class Kind(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A kind of telescopes.

    Attributes
    ----------
    name
        Of the kind.
    camera
        ``lst-like``, ``mst-like`` or ``chec-like``, or ``FILE#NAME``: a camera of a file of definitions, or by its
        number one of a file of ctapipe (``.h5``).
    focal_length, mirror_area
        m and m2.
    picture, boundary
        Thresholds of the cleaning, photo-electrons.
    noise
        Photo-electrons of the night sky, standard deviation of a pixel (of the simulator).
    """

    name: str
    camera: str
    focal_length: float
    mirror_area: float
    picture: float
    boundary: float
    noise: float = 1.0


class Telescope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A telescope: its number, its kind, and where it stands (north, west and up, m)."""

    tel_id: int
    kind: str
    position: tuple[float, float, float]


class SubArray(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Telescopes that work together, under a name."""

    name: str
    telescopes: tuple[int, ...]


class Site(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An array of telescopes.

    Attributes
    ----------
    name
        For readers.
    latitude, longitude
        Degrees, to the north and to the east.
    height
        Of the middle, above sea level, m.
    kinds
        The kinds of telescopes.
    telescopes
        The telescopes.
    subarrays
        Parts of them that work by themselves.
    """

    name: str
    latitude: float
    longitude: float
    height: float
    kinds: tuple[Kind, ...]
    telescopes: tuple[Telescope, ...]
    subarrays: tuple[SubArray, ...] = ()

    @property
    def place(self) -> Place:
        """Where it is on Earth."""
        return Place(self.latitude, self.longitude, self.height)

    def kind(self, name: str) -> Kind:
        """Return a kind by its name."""
        return next(k for k in self.kinds if k.name == name)

    def members(self, subarray: str) -> tuple[int, ...]:
        """Return the telescopes of a sub-array; none where the array does not have it."""
        return next((s.telescopes for s in self.subarrays if s.name == subarray), ())

    def cameras(self) -> dict[int, Camera]:
        """Return the camera of each telescope, in the telescope frame; one for each kind."""
        of_kind = {k.name: camera_of(k) for k in self.kinds}
        return {t.tel_id: of_kind[t.kind] for t in self.telescopes}

    def subarray(self) -> Subarray:
        """Return positions and sizes, for the stereo reconstruction."""
        radius = {k.name: float(np.hypot(camera_of(k).x, camera_of(k).y).max()) for k in self.kinds}
        return Subarray(
            {t.tel_id: t.position for t in self.telescopes},
            {t.tel_id: radius[t.kind] for t in self.telescopes},
            height=self.height,
        )


KINDS: Final = (
    Kind("large", "lst-like", 28.0, 370.0, 8.0, 4.0, 1.6),
    Kind("medium", "mst-like", 16.0, 90.0, 7.0, 3.5, 1.3),
    Kind("small", "chec-like", 2.15, 6.0, 4.5, 2.3, 0.8),
)
"""Three kinds like those of CTAO, with cameras of 1,855 and 1,764 hexagons and 2,048 squares."""


@functools.lru_cache(maxsize=64)
def camera_of(kind: Kind) -> Camera:
    """Return the camera of a kind of telescopes, in the telescope frame (degrees).

    Raises
    ------
    ConfigError
        There is no such camera.
    DataError
        The file of definitions cannot be read.

    Examples
    --------
    >>> camera_of(KINDS[0])
    Camera(name='LST-like', shape='hexagon', unit='deg')
    """
    own = {
        "lst-like": lst_like,
        "mst-like": lambda: hexagonal(1764, pitch=0.05, name="MST-like"),
        "chec-like": chec_like,
    }
    path, _, name = kind.camera.partition("#")
    if not name and path not in own:
        msg = f"there is no camera {path!r}"
        raise ConfigError(msg, hint=near_names(path, own) + "; or name one of a file: definitions.json.gz#LSTCam")
    if not name:
        return in_telescope_frame(own[path](), kind.focal_length)
    if path.endswith((".h5", ".hdf5")):
        return in_telescope_frame(read_camera_of(path, name), kind.focal_length)
    found = read_definitions(path)
    if name not in found:
        msg = f"{path} has no camera {name!r}"
        raise ConfigError(msg, hint=near_names(name, found))
    return in_telescope_frame(found[name], kind.focal_length)


def made(telescopes: int = 12) -> Site:
    """Return a made array: four large telescopes in a square, medium and small ones on a spiral around them.

    Parameters
    ----------
    telescopes
        How many, up to 100; from the fifth on, one medium one for every two small ones.

    Raises
    ------
    ConfigError
        That cannot be made.

    Examples
    --------
    >>> [t.kind for t in made(8).telescopes]
    ['large', 'large', 'large', 'large', 'medium', 'small', 'small', 'medium']
    """
    if isinstance(telescopes, bool) or not isinstance(telescopes, int) or not 1 <= telescopes <= _MOST:
        msg = f"an array of {telescopes!r} telescopes cannot be made"
        raise ConfigError(msg, hint=f"from 1 to {_MOST}, such as made-12")
    out = []
    for number in range(telescopes):
        # Sunflower: the golden angle spreads them evenly.
        turn = np.pi / 4 + number * np.pi / 2 if number < _LARGE else number * 2.399963
        far = 70.0 if number < _LARGE else 62.0 * np.sqrt(number)
        kind: Literal["large", "medium", "small"] = "large"
        if number >= _LARGE:
            kind = "small" if (number - _LARGE) % 3 else "medium"
        place = (round(float(far * np.cos(turn)), 2), round(float(far * np.sin(turn)), 2), 0.0)
        out.append(Telescope(number + 1, kind, place))
    return Site(f"made-{telescopes}", 28.76, -17.89, 2200.0, KINDS, tuple(out))


def site(name: str = "made-12") -> Site:
    """Return an array by its name (``made-12``: a made one of twelve telescopes), or from a file in JSON.

    Raises
    ------
    ConfigError
        There is no such array, or the file does not describe one; the message says where.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "array.json"
    ...     _ = path.write_bytes(msgspec.json.encode(made(4)))
    ...     site(str(path)) == made(4)
    True
    """
    if found := re.fullmatch(r"made-(\d{1,3})", name):
        return made(int(found[1]))
    if not name.endswith(".json"):
        msg = f"there is no array {name!r}"
        raise ConfigError(msg, hint="made-1 to made-100, or the path of a file in JSON: see eventide.apps.gamma.site")
    try:
        read: Site = msgspec.json.decode(Path(name).read_bytes(), type=Site)
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        msg = f"{name} describes no array: {error}"
        raise ConfigError(msg, hint="give what msgspec.json.encode(made(12)) gives, with your own numbers") from None
    _check(read, name)
    return read


def _check(given: Site, name: str) -> None:
    kinds: list[Any] = [k.name for k in given.kinds]
    numbers = [t.tel_id for t in given.telescopes]
    unknown = [t.tel_id for t in given.telescopes if t.kind not in kinds]
    positive = all(min(k.focal_length, k.mirror_area, k.picture, k.boundary) > 0 and k.noise >= 0 for k in given.kinds)
    unknown += [t for s in given.subarrays for t in s.telescopes if t not in numbers]
    if not numbers or len(set(numbers)) < len(numbers) or len(set(kinds)) < len(kinds) or unknown or not positive:
        msg = f"{name} describes no array: telescopes {numbers[:20]} of the kinds {', '.join(kinds)}"
        raise ConfigError(
            msg,
            hint="every telescope has a number of its own and a kind that is there, sub-arrays have none but these, "
            "and sizes are above 0",
        )
