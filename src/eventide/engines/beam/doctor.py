"""What the engine on Apache Beam needs here."""

from __future__ import annotations

from eventide.engines._doctor import Check, package, small_job

__all__ = ["checks"]


def checks() -> list[Check]:
    """Return whether Beam is here and runs a small job; no Java, no service and no network are needed for that."""
    beam = package("apache-beam", "2.77", extra="beam")
    return [beam, small_job("beam")] if beam.ok else [beam]
