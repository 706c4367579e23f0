"""Every application passes the suite that ships with eventide."""

from __future__ import annotations

import pyarrow as pa

from eventide.apps.gamma.simulate import Flare, Night
from eventide.apps.gamma.site import made
from eventide.apps.neutron import simulate as neutron
from eventide.apps.sensors.simulate import simulate
from eventide.testing.apps import AppSuite


class TestSensors(AppSuite):
    plugin = app = "sensors"
    topic = "readings"
    parameters = {"scored": "scored"}

    def simulated(self, seed):
        """Return every reading of four streams on the first half of a day, and those of incidents after it."""
        day = simulate(4, seed=seed, incidents=4, nodes=2)
        return pa.Table.from_batches([day.readings]).slice(0, 100_000)


class TestNeutron(AppSuite):
    plugin = app = "neutron"
    topic = "pulses"
    parameters = {"instrument": "amor", "bins": "100", "normalise": "amor_monitor"}
    may_be_empty = ("gaps",)

    def simulated(self, seed):
        """Return the pulses of three seconds, of the detector and of the monitor."""
        return neutron.simulate("amor", seconds=3, rate=20_000, seed=seed)


class TestGamma(AppSuite):
    plugin = app = "gamma"
    topic = "images"
    may_be_empty = ("duplicates", "late", "unwatched")
    parameters = {"array": "made-5", "every": "5s"}

    def simulated(self, seed):
        """Return the images of ten seconds with a flare, one telescope joining late."""
        flare = Flare(2.0, 8.0, 500.0)
        return Night(made(5), seed=seed, hadrons=20.0, flares=[flare], joins={2: 4.0}, singles=2.0).table(10)
