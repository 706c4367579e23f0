"""Parts that wait for their commit in a folder that goes with the checkpoints: one way to the cluster, not two."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from io import FileIO
from pathlib import Path

import pyarrow as pa

from eventide.connectors._kafka_stage import InFolder, Message, Part, pack, unpacked
from eventide.errors import CheckpointError
from eventide.log.checked_file import CheckedFile
from eventide.log.checksum import crc32
from eventide.log.failure import reaching
from eventide.log.layout import make_folder, sync_file, sync_folder

__all__ = ["FolderStage"]


class FolderStage:
    """Parts in files of a folder, one file a checkpoint.

    Parameters
    ----------
    folder
        Made when it is needed.
    name
        What the names of files begin with, another one for every process.
    text
        As for `TopicStage`.
    """

    def __init__(self, folder: Path, name: str, *, text: bool) -> None:
        self._folder, self._name, self._text = folder, name, text
        self._file: FileIO | None = None
        self._underway: list[Part] = []

    def tidy(self, needed: Iterable[Part]) -> None:
        """Remove the files of parts that nobody needs: of processes that ended before a checkpoint was made."""
        names = {part.file for part in needed if isinstance(part, InFolder)}
        if self._folder.is_dir():
            for path in self._folder.iterdir():
                if path.name not in names:
                    path.unlink(missing_ok=True)

    def add(self, number: int, messages: list[pa.RecordBatch]) -> None:
        """Write a part, and have the disk begin with it."""
        with reaching(self._folder, "written"):
            if self._file is None:
                make_folder(self._folder)
                self._file = (self._folder / f"{self._name}-{number}").open("xb", buffering=0)
            path, start = Path(self._file.name), self._file.tell()
            checked = CheckedFile(self._file)
            with pa.PythonFile(checked, mode="w") as out:
                pack(messages, out, text=self._text)
        self._underway.append(InFolder(number, path.name, start, checked.size, checked.crc))

    def settle(self) -> list[Part]:
        """Make all that was added durable."""
        file, self._file = self._file, None
        if file is not None:
            with reaching(Path(file.name), "made durable"):
                with file:
                    sync_file(file.fileno())
                sync_folder(self._folder)
        found, self._underway = self._underway, []
        return found

    def read(self, part: InFolder) -> pa.RecordBatch:
        """Return the messages of a part.

        Raises
        ------
        CheckpointError
            They are not there, or damaged.
        """
        path = self._folder / part.file
        try:
            with path.open("rb") as file:
                file.seek(part.start)
                data = file.read(part.size)
            if crc32(data) == part.crc:
                return unpacked(data)
            why = "its checksum is wrong"
        except (OSError, IndexError, pa.ArrowException) as error:
            why = str(error)
        msg = f"{path}: what the checkpoint staged there cannot be read: {why}"
        raise CheckpointError(msg, hint="restore it together with the checkpoints, or run afresh (resume=False)")

    def farewell(self, part: InFolder) -> list[Message]:
        """Return nothing."""
        return []

    def drop(self, parts: Iterable[Part], *, left: Iterable[Part]) -> None:
        """Remove the files of parts that were committed."""
        needed = {part.file for part in left if isinstance(part, InFolder)}
        for name in {part.file for part in parts if isinstance(part, InFolder)} - needed:
            with suppress(OSError):  # the commit is done; what stays is removed when the sink opens next
                (self._folder / name).unlink()

    def close(self) -> None:
        """Let go of the file that is being written; the next process removes it."""
        if self._file is not None:
            self._file.close()
            self._file = None
