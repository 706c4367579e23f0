"""Kernels of the aggregates: state by slot that is updated, merged, finished, saved and restored."""

from eventide.kernel.aggregates.accumulator import Accumulator
from eventide.kernel.aggregates.build import Accumulators, accumulator

__all__ = ["Accumulator", "Accumulators", "accumulator"]
