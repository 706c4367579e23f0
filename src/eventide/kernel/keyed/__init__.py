"""Keyed processes: the machine around a user's `KeyedProcess`, its state and timers, and numpy for work per key.

`eventide.kernel.keyed.rank` and `eventide.kernel.keyed.segments` are for writers of processes.
"""
