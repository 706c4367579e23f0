"""Savepoints of a pipeline that runs on Flink, from outside its run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from eventide.engines.flink.folders import folders_for
from eventide.engines.flink.options import options_of
from eventide.engines.local.requests import ask_savepoint
from eventide.model.pipeline import Pipeline

__all__ = ["create"]


def create(pipeline: Pipeline, folder: str | Path, name: str) -> Callable[[], Path | None]:
    """Ask the run of a pipeline for a savepoint; it stops for a moment to make it, and goes on from there.

    Parameters
    ----------
    pipeline
        Which is running.
    folder
        Its folder for checkpoints.
    name
        Of the savepoint.

    Returns
    -------
    A function that returns the savepoint's folder, None as long as the run has not made it; it raises a
    `CheckpointError` when that failed.
    """
    folders = folders_for(options_of({"checkpoint": folder}), pipeline.name)
    made = ask_savepoint(folders.root, name)
    return lambda: folders.savepoint(name) if made() else None
