"""Tables to train on from the simulator: parameters of images of gamma rays or hadrons, with the truth."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from eventide import registry
from eventide.apps.gamma.pipeline import Analysis, analyse
from eventide.apps.gamma.schema import DL1_IMAGE
from eventide.apps.gamma.science.regions import OnOff
from eventide.apps.gamma.simulate.night import CRAB, Night
from eventide.apps.gamma.simulate.source import Seconds
from eventide.apps.gamma.site import Site
from eventide.model.stream import read

__all__ = ["toy_table"]

_NEAR = 1_000  # ns: an event's first trigger is within the jitter of its shower


def toy_table(site: Site, *, gammas: bool, seconds: int, rate: float = 40.0, seed: int = 1) -> pa.Table:
    """Return parameters of simulated images (the topic ``parameters``) with a column ``true_energy``, TeV.

    Parameters
    ----------
    site
        The array.
    gammas
        Gamma rays of the source, or hadrons from all of the field.
    seconds
        How long.
    rate
        Showers a second over the array.
    seed
        The same for the same table.

    Examples
    --------
    >>> from eventide.apps.gamma.site import made
    >>> found = toy_table(made(4), gammas=True, seconds=1)
    >>> found.num_rows > 10, found["true_energy"].null_count
    (True, 0)
    """
    night = Night(site, seed=seed, singles=0.0, gammas=rate * gammas, hadrons=rate * (not gammas))
    sink = registry.resolve("connector", "memory").MemorySink()
    images = read(Seconds(night.second, seconds, DL1_IMAGE))
    found = analyse(images, Analysis(site, OnOff(*CRAB, radius=0.17)))
    registry.resolve("engine", "local").run(found.parameters.write(sink))
    table = sink.table()
    truth = pa.concat_tables([night.truth(n) for n in range(seconds)])
    events = table["event_id"].to_numpy()
    # Beyond the ends there is nothing, far away.
    ends = np.array([np.iinfo(np.int64).min // 2]), np.array([np.iinfo(np.int64).max // 2])
    times = np.concatenate((ends[0], truth["time"].cast(pa.int64()).to_numpy(), ends[1]))
    energy = np.concatenate(([np.nan], truth["true_energy"].to_numpy(), [np.nan]))
    after = np.searchsorted(times, events)
    near = np.where(times[after] - events < events - times[after - 1], after, after - 1)
    away = np.abs(times[near] - events) > _NEAR
    return table.append_column("true_energy", pa.array(energy[near], mask=away))
