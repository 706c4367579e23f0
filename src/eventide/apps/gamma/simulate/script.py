"""A night by script: when telescopes join, slew and park, clouds come and pixels die, and what that must exclude."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from eventide.apps.gamma.schema import CALIBRATION, POINTINGS, TELESCOPE_STATE, WEATHER
from eventide.apps.gamma.simulate.night import Clouds, DeadPixels, Flare, Night
from eventide.apps.gamma.site import Site, site
from eventide.apps.gamma.slow_control.gate import Limits
from eventide.errors import ConfigError

__all__ = ["DEFAULT", "Dead", "Script", "Sky", "State", "Streams", "predicted", "read_script", "scripted"]

_SECOND: Final = 1_000_000_000
_WEATHER_EVERY: Final = 5


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A telescope does something else from so many seconds after the start on."""

    at: float
    tel_id: int
    state: str
    subarray: str = "main"


class Sky(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The weather from so many seconds after the start on: share of the light, m/s, %."""

    at: float
    transparency: float = 1.0
    wind: float = 3.0
    humidity: float = 40.0


class Dead(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The dead pixels of a telescope from so many seconds after the start on: every `step`-th of the first `count`."""

    at: float
    tel_id: int
    count: int
    step: int = 1

    @property
    def pixels(self) -> tuple[int, ...]:
        """Their numbers."""
        return tuple(range(0, self.count, self.step))


class Script(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What happens in a night.

    Attributes
    ----------
    array, seconds, seed, hadrons, flare
        Of the night that is simulated; the flare is start, stop and factor.
    subarray
        Which one is analysed.
    limits
        From which transparency on, and up to which wind, humidity and share of dead pixels images are used.
    states, sky, dead
        What happens. A telescope tracks in the sub-array ``main`` from the beginning where nothing else is said of it.
    """

    array: str = "made-8"
    seconds: int = 60
    seed: int = 2026
    hadrons: float = 15.0
    flare: tuple[float, float, float] | None = None
    subarray: str = "main"
    limits: dict[str, float] = {}
    states: tuple[State, ...] = ()
    sky: tuple[Sky, ...] = ()
    dead: tuple[Dead, ...] = ()

    @property
    def conditions(self) -> Limits:
        """Under what conditions images are used."""
        return Limits(subarray=self.subarray, **self.limits)  # type: ignore[arg-type]


DEFAULT: Final = Script(
    flare=(20.0, 50.0, 150.0),
    states=(
        State(0, 2, "parked"),
        State(10.5, 2, "slewing"),
        State(14, 2, "tracking"),
        State(0, 8, "tracking", "north"),
        State(25, 8, "slewing", "main"),
        State(28.25, 8, "tracking"),
        State(40, 1, "slewing"),
        State(43, 1, "tracking"),
    ),
    sky=(Sky(0), Sky(30, transparency=0.5), Sky(36.5, wind=20.0), Sky(38, humidity=99.0), Sky(39)),
    dead=(Dead(5, 3, 60, 7), Dead(45, 4, 900), Dead(52, 4, 20, 3)),
)
"""Telescopes that park, slew, join late and change the sub-array; clouds, wind and fog; dead pixels, a few and many."""


class Streams(NamedTuple):
    """A night, and the streams of its slow control."""

    night: Night
    site: Site
    images: pa.Table
    pointings: pa.Table
    states: pa.Table
    weather: pa.Table
    calibration: pa.Table


def read_script(path: str | Path) -> Script:
    """Return the script of a file in JSON.

    Raises
    ------
    ConfigError
        It cannot be read, or is none; the message says where.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = (Path(folder) / "night.json").write_bytes(msgspec.json.encode(DEFAULT))
    ...     read_script(f"{folder}/night.json") == DEFAULT
    True
    """
    try:
        found: Script = msgspec.json.decode(Path(path).read_bytes(), type=Script)
        _ = found.conditions
    except (OSError, ValueError, TypeError, msgspec.MsgspecError) as error:
        msg = f"{path} is no script of a night: {error}"
        raise ConfigError(msg, hint="see eventide.apps.gamma.simulate.script for what can be in it") from None
    return found


def scripted(script: Script) -> Streams:
    """Simulate the night of a script.

    Raises
    ------
    UsageError
        A telescope, a pixel or a number in it is none.

    Examples
    --------
    >>> found = scripted(Script(array="made-4", seconds=2, states=(State(0, 1, "parked"),)))
    >>> found.states["state"].to_pylist()
    ['parked', 'tracking', 'tracking', 'tracking']
    """
    array = site(script.array)
    tels = [t.tel_id for t in array.telescopes]
    far = max(script.seconds, *(c.at for c in script.states), 0.0) + 1.0 if script.states else script.seconds + 1.0
    away = {tel: _away(script, tel, far) for tel in {s.tel_id for s in script.states}}
    ends = [*(s.at for s in script.sky[1:]), far]
    clouds = [Clouds(s.at, end, s.transparency) for s, end in zip(script.sky, ends, strict=True)] if script.sky else []
    night = Night(
        array,
        seed=script.seed,
        hadrons=script.hadrons,
        flares=[Flare(*script.flare)] if script.flare else [],
        away=away,
        clouds=clouds,
        dead=_dead(script),
        pointed=False,
    )

    def at(seconds: float) -> int:
        return night.start + round(seconds * _SECOND)

    # Slow control begins a second earlier: clocks of telescopes may be a little behind.
    first = {s.tel_id: s for s in reversed(script.states) if s.at <= 0}
    states = [
        {"time": at(-1), "tel_id": tel, "state": first[tel].state, "subarray": first[tel].subarray}
        if tel in first
        else {"time": at(-1), "tel_id": tel, "state": "tracking", "subarray": "main"}
        for tel in tels
    ]
    states += [
        {"time": at(s.at), "tel_id": s.tel_id, "state": s.state, "subarray": s.subarray}
        for s in script.states
        if s.at > 0
    ]
    times = sorted({-1.0, *(s.at for s in script.sky), *range(0, script.seconds + 1, _WEATHER_EVERY)})
    weather = [{"time": at(t), **_weather(script, t)} for t in times]
    calibration = [{"time": at(-1), "tel_id": tel, "dead": []} for tel in tels]
    calibration += [{"time": at(d.at), "tel_id": d.tel_id, "dead": list(d.pixels)} for d in script.dead]
    return Streams(
        night,
        array,
        night.table(script.seconds),
        pa.Table.from_batches([night.pointings(n) for n in range(-1, script.seconds + 2)], POINTINGS),
        pa.Table.from_pylist(states, schema=TELESCOPE_STATE),
        pa.Table.from_pylist(weather, schema=WEATHER),
        pa.Table.from_pylist(calibration, schema=CALIBRATION),
    )


def predicted(script: Script, given: Streams) -> dict[tuple[int, int], str]:
    """Return why images must be left out, by ``(tel_id, tel_event_id)``: from the script, image by image.

    Parameters
    ----------
    script
        What happens.
    given
        What `scripted` made of it; of the streams of slow control only the times of pointings count.

    Examples
    --------
    >>> script = Script(array="made-4", seconds=2, states=(State(0, 1, "parked"),))
    >>> set(predicted(script, scripted(script)).values())
    {'is parked'}
    """
    limits = script.conditions
    pixels = {tel: camera.pixels for tel, camera in given.site.cameras().items()}
    out: dict[tuple[int, int], str] = {}
    times = given.images["time"].cast(pa.int64()).to_pylist()
    tels, numbers = (given.images[n].to_pylist() for n in ("tel_id", "tel_event_id"))
    for time, tel, number in zip(times, tels, numbers, strict=True):
        seconds = (time - given.night.start) / _SECOND
        dead = _last([d for d in script.dead if d.tel_id == tel], seconds)
        state = _last([s for s in script.states if s.tel_id == tel], max(seconds, 0.0)) or State(0, tel, "tracking")
        sky = _last(script.sky, max(seconds, 0.0)) or Sky(0)
        # A pointing is told once a second.
        told = _last([s for s in script.states if s.tel_id == tel], max(math.floor(seconds), 0.0))
        reasons = {
            "too many dead pixels": dead is not None and len(dead.pixels) > limits.max_dead * pixels[tel],
            "not in the sub-array": state.subarray != script.subarray,
            f"is {state.state}": state.state != "tracking",
            "clouds": sky.transparency < limits.min_transparency,
            "wind": sky.wind > limits.max_wind,
            "humidity": sky.humidity > limits.max_humidity,
            "does not track": told is not None and told.state != "tracking",
        }
        reason = next((why for why, is_so in reasons.items() if is_so), None)
        if reason is not None:
            out[tel, number] = reason
    return out


def _last(events: Any, seconds: float) -> Any:
    """Return what is in force at a time: the last one that is not after it."""
    return max((e for e in events if e.at <= seconds), key=lambda e: e.at, default=None)


def _away(script: Script, tel: int, far: float) -> list[tuple[float, float]]:
    mine = sorted((s for s in script.states if s.tel_id == tel), key=lambda s: s.at)
    ends = [*(s.at for s in mine[1:]), far]
    # What lasts from the beginning has lasted before.
    return [(s.at if s.at > 0 else -np.inf, end) for s, end in zip(mine, ends, strict=True) if s.state != "tracking"]


def _dead(script: Script) -> list[DeadPixels]:
    return [DeadPixels(d.at, d.tel_id, d.pixels) for d in script.dead]


def _weather(script: Script, seconds: float) -> dict[str, float]:
    sky = _last(script.sky, max(seconds, 0.0)) or Sky(0)
    return {"transparency": sky.transparency, "wind": sky.wind, "humidity": sky.humidity}
