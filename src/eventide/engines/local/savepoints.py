"""Savepoints of a pipeline, from outside its run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from eventide import registry
from eventide.engines.local.checkpoint import CheckpointStore
from eventide.engines.local.requests import ask_savepoint, withdraw_savepoint
from eventide.log.lock import is_held
from eventide.model.graph import Read
from eventide.model.pipeline import Pipeline

__all__ = ["create", "delete", "hold", "listed", "owner"]


def create(pipeline: Pipeline, folder: str | Path, name: str) -> Callable[[], Path | None]:
    """Make a savepoint: at once of the newest checkpoint, or ask the run that is going on for one.

    Returns
    -------
    A function that returns the savepoint's folder, None as long as the run has not made it.

    Raises
    ------
    CheckpointError
        There is no checkpoint, or the name is taken or cannot be one; what is returned may raise it too.
    """
    store = CheckpointStore(folder, pipeline.name)
    if not is_held(store.folder / "run.lock"):
        path = store.keep_as(name)
        try:
            hold(pipeline, name, store.manifest(path)["positions"])
        except BaseException:
            store.delete_savepoint(name)  # what it needs could be deleted any time
            raise
        return lambda: path
    store.check_new(name)
    made = ask_savepoint(store.folder, name)

    def look() -> Path | None:
        if made():
            return store.folder / "savepoints" / name
        if is_held(store.folder / "run.lock") or made():
            return None
        withdraw_savepoint(store.folder, name)  # the run ended before it saw that it was asked
        return create(pipeline, folder, name)()

    return look


def listed(pipeline: Pipeline, folder: str | Path) -> list[tuple[str, Path, dict[str, Any]]]:
    """Return name, folder and plain data of each savepoint."""
    store = CheckpointStore(folder, pipeline.name)
    paths = [(name, store.folder / "savepoints" / name) for name in store.savepoints()]
    return [(name, path, store.manifest(path)) for name, path in paths]


def delete(pipeline: Pipeline, folder: str | Path, name: str) -> None:
    """Remove a savepoint, and its hold on what the sources keep.

    Raises
    ------
    UnknownNameError
        There is none of that name.
    """
    CheckpointStore(folder, pipeline.name).delete_savepoint(name)
    hold(pipeline, name, None)


def owner(pipeline: str, savepoint: str, read: str) -> str:
    """Return the name under which a savepoint holds the events of a source."""
    return f"{pipeline}/savepoint:{savepoint}/{read}"


def hold(pipeline: Pipeline, savepoint: str, positions: Mapping[str, Mapping[str, Any]] | None) -> None:
    """Let the sources keep what a savepoint needs; None: let it go."""
    labels = pipeline.labels
    for node in pipeline.nodes:
        if not isinstance(node, Read):
            continue
        source = node.source if node.source is not None else registry.open_source(node.uri, dict(node.options))
        label = labels[id(node)]
        reader = source.open({} if positions is None else positions.get(label, {}))
        try:
            if positions is None and hasattr(reader, "forget"):
                reader.forget(owner(pipeline.name, savepoint, label))
            elif positions is not None and hasattr(reader, "release"):
                reader.release(owner(pipeline.name, savepoint, label), positions.get(label, {}))
        finally:
            reader.close()
