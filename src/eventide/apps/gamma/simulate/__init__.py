"""Simulated nights: gamma rays of a source with flares, hadrons, cameras with noise, triggers, pointings."""

from eventide.apps.gamma.simulate.night import Clouds, DeadPixels, Flare, Night

__all__ = ["Clouds", "DeadPixels", "Flare", "Night"]
