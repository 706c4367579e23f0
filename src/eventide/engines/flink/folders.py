"""What a job keeps on disk, in one folder a pipeline."""

from __future__ import annotations

import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from eventide.engines.flink.options import FlinkOptions
from eventide.engines.local.durable_files import write_file
from eventide.errors import CheckpointError

__all__ = ["Folders", "folders_for"]

_CHECKPOINT = re.compile(r"chk-(\d+)")
_NOTE = "eventide"
_BEGUN = "begun-with"


@dataclass(frozen=True, slots=True)
class Folders:
    """Where things are; `temporary` is gone after the run.

    Parameters
    ----------
    root
        Of this pipeline.
    temporary
        Whether it is removed at the end.
    """

    root: Path
    temporary: bool

    @property
    def checkpoints(self) -> Path:
        """Flink's checkpoints, by job."""
        return self.root / "checkpoints"

    @property
    def spool(self) -> Path:
        """Results on their way to the sinks."""
        return self.root / "spool"

    @property
    def control(self) -> Path:
        """A folder that stays empty, which the job watches so that it does not end by itself."""
        return self.root / "control"

    @property
    def ended(self) -> Path:
        """A file for each bucket that has ended."""
        return self.root / "ended"

    @property
    def outlet(self) -> Path:
        """What the sinks have committed."""
        return self.root / "outlet"

    def newest(self) -> Path | None:
        """Return the newest checkpoint that is whole, or the savepoint that is newer.

        A job that ends with a savepoint takes its checkpoints with it; one that begins with a savepoint has none yet.
        """
        begun = self.root / _BEGUN
        since, first = (begun.stat().st_mtime_ns, Path(begun.read_text())) if begun.exists() else (0, None)
        found = []
        for path in self.checkpoints.glob("*/chk-*/_metadata"):
            number = _CHECKPOINT.fullmatch(path.parent.name)
            if number and path.stat().st_size and path.stat().st_mtime_ns > since:
                found.append((int(number[1]), path.stat().st_mtime_ns, path.parent))
        return max(found)[2] if found else first

    def begin_next(self, savepoint: Path) -> None:
        """Note that the next job begins with a savepoint, unless it has a checkpoint of its own by then."""
        write_file(self.root / f".{_BEGUN}", str(savepoint).encode())
        (self.root / f".{_BEGUN}").replace(self.root / _BEGUN)

    def prepare(self, options: FlinkOptions) -> Path | None:
        """Make the folders and return the checkpoint or savepoint to begin from.

        Raises
        ------
        CheckpointError
            The savepoint that was asked for is not one.
        """
        if not options.resume:
            for path in (self.checkpoints, self.spool, self.outlet):
                shutil.rmtree(path, ignore_errors=True)
            (self.root / _BEGUN).unlink(missing_ok=True)
        shutil.rmtree(self.ended, ignore_errors=True)
        self.root.mkdir(parents=True, exist_ok=True)
        before = self._begin_from(options.from_savepoint) if options.from_savepoint else self.newest()
        for path in (self.checkpoints, self.spool, self.outlet, self.control, self.ended):
            path.mkdir(parents=True, exist_ok=True)
        for path in self.checkpoints.iterdir():  # jobs that have left nothing
            if not any(p.is_file() for p in path.rglob("*")):
                shutil.rmtree(path, ignore_errors=True)
        return before

    def _begin_from(self, where: str | Path) -> Path:
        path = self.savepoint(where)
        if not (path / "_metadata").is_file():
            msg = f"{path} is not a savepoint or checkpoint of Flink: it has no file _metadata"
            raise CheckpointError(msg, hint=f"savepoints by name are in {self.root / 'savepoints'}")
        if (path / _NOTE).is_dir():
            # The sinks go back to where they were, too.
            shutil.rmtree(self.outlet, ignore_errors=True)
            shutil.copytree(path / _NOTE, self.outlet)
            shutil.rmtree(self.spool, ignore_errors=True)
        if not path.is_relative_to(self.checkpoints.absolute()):
            self.begin_next(path)
        return path

    def savepoint(self, name: str | Path) -> Path:
        """Return the folder of the savepoint of a name; what is a path is that folder."""
        plain = str(name).removeprefix("file://").removeprefix("file:")
        path = Path(plain)
        return self.root / "savepoints" / plain if len(path.parts) == 1 else path.absolute()

    def keep(self, made: str, name: str | Path) -> Path:
        """Lay what the sinks had committed beside a savepoint that Flink has made, and give it its name.

        Raises
        ------
        CheckpointError
            The name is taken.
        """
        source, path = Path(made.removeprefix("file://").removeprefix("file:")), self.savepoint(name)
        shutil.copytree(self.outlet, source / _NOTE)
        if path.exists():
            msg = f"there is a savepoint {path} already; the new one is {source}"
            raise CheckpointError(msg, hint="give another name")
        path.parent.mkdir(parents=True, exist_ok=True)
        source.replace(path)
        return path

    def remove(self) -> None:
        """Take away what nobody needs after the end."""
        if self.temporary:
            shutil.rmtree(self.root, ignore_errors=True)
        else:
            for path in (self.spool, self.control, self.ended):
                shutil.rmtree(path, ignore_errors=True)


def folders_for(options: FlinkOptions, pipeline: str) -> Folders:
    """Return the folders of a pipeline."""
    if options.checkpoint is None:
        return Folders(Path(tempfile.mkdtemp(prefix="eventide-flink-")), temporary=True)
    name = re.sub(r"[^\w.-]", "_", pipeline)
    return Folders(Path(options.checkpoint).absolute() / f"{name}.flink", temporary=False)
