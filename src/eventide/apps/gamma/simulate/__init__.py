"""Simulated nights: gamma rays of a source with flares, hadrons, cameras with noise, triggers, pointings."""

from eventide.apps.gamma.simulate.night import Flare, Night

__all__ = ["Flare", "Night"]
