"""What is known of a checkpoint without reading its state."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from eventide.engines.local.checkpoint import CheckpointStore
from eventide.errors import CheckpointError
from eventide.model.time import format_time

__all__ = ["Found", "newest", "pipelines"]


@dataclass(frozen=True, slots=True)
class Found:
    """A checkpoint: its number, when it was written, whether the input had ended, its pipeline's name."""

    number: int
    written: str
    final: bool
    pipeline: str


def newest(folder: str, name: str) -> Found | None:
    """Return the newest checkpoint of a pipeline, None where there is none.

    Raises
    ------
    CheckpointError
        It cannot be read.
    """
    store = CheckpointStore(folder, name)
    numbers = store.numbers()
    return _read(store.folder / f"chk-{numbers[-1]:08d}") if numbers else None


def pipelines(folder: str) -> list[Found]:
    """Return the newest checkpoint of every pipeline that has one."""
    root = Path(folder)
    names = sorted(p.name for p in root.iterdir() if p.is_dir()) if root.is_dir() else []
    return [found for name in names if (found := newest(folder, name)) is not None]


def _read(path: Path) -> Found:
    try:
        manifest = json.loads((path / "manifest.json").read_bytes())
        written = format_time(manifest["written"] // 10**9 * 10**9)
        return Found(int(path.name[4:]), written, bool(manifest["final"]), manifest["pipeline"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"the checkpoint {path} cannot be read: {error}"
        hint = "go on from a savepoint, or begin again with --fresh: what sinks wrote since the one before would double"
        raise CheckpointError(msg, hint=hint) from error
