"""Rows of float16 numbers, one per object of a shard, filled in any order; what was written survives a kill."""

from __future__ import annotations

import contextlib
import errno
import logging
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from astroanomaly.cache.file_digest import NPY_ERRORS, append_digest
from astroanomaly.errors import BusyError, StorageError
from astroanomaly.files import FileLock, locked, sync_file

__all__ = ["RowFile", "open_rows"]

_MAX_FLOAT16 = float(np.finfo(np.float16).max)
_ROWS_PER_CHUNK = 8192  # looked at or written together
_log = logging.getLogger(__name__)


def open_rows(folders: Sequence[Path], name: str, count: int) -> RowFile:
    """Open ``<name>.npy`` in the first folder that has it, else whatever is unfinished there.

    Parameters
    ----------
    folders
        Where to look and, in this order, to write; those that cannot be written to are passed over, and when none can
        the rows are kept in memory.
    name
        Name of the shard.
    count
        Number of its objects.
    """
    for folder in folders:
        finished = _read_finished(folder / f"{name}.npy", count)
        if finished is not None:
            return RowFile(folders, name, count, finished)
    return RowFile(folders, name, count)


class RowFile:
    """The rows of one shard, on disk or in memory.

    A row is there when all its numbers are finite. An unfinished file starts out as NaN, so a row that a killed
    process wrote half is seen as missing. Each writer has a locked file of its own, ``<name>.<random>.partial``, and
    takes over one that a dead writer left; the complete file is renamed to ``<name>.npy``, whoever comes first.

    Attributes
    ----------
    array
        ``(count, D)`` float16, memory-mapped where it is on disk; None while nothing is there.
    computed
        ``(count,)`` boolean: rows that are there.
    """

    def __init__(self, folders: Sequence[Path], name: str, count: int, finished: np.ndarray | None = None) -> None:
        self.name = name
        self.count = count
        self.array = finished
        self.complete = finished is not None or count == 0
        self._folders = list(folders)
        self._path: Path | None = None
        self._lock: FileLock | None = None
        self._writing = False
        self._mask = None if self.complete else np.zeros(count, bool)
        if not self.complete:
            self._look()

    @property
    def computed(self) -> np.ndarray:
        """``(count,)`` boolean: rows that are there."""
        return np.ones(self.count, bool) if self._mask is None else self._mask

    @property
    def done(self) -> int:
        """How many rows are there."""
        return self.count if self._mask is None else int(self._mask.sum())

    def _look(self) -> None:
        """Read what other processes have left or are still filling, without taking it over."""
        for path in _partials(self._folders, self.name):
            found = _map_partial(path, self.count, "r")
            if found is None:
                continue
            mask = _present(found)
            if mask.sum() > self.done:
                self.array, self._mask = found, mask

    def begin(self, length: int) -> None:
        """Make ready to write rows of some length; needed once before `put`."""
        if self._writing or self.complete:
            return
        seen, self.array = self.array, None
        for folder in self._folders:
            with contextlib.suppress(PermissionError, NotADirectoryError):
                if self._take_over(folder, length) or self._create(folder, length):
                    break
        if self.array is None:
            _log.info("features of shard %s are kept in memory: no folder can be written to", self.name)
            self.array = np.full((self.count, length), np.nan, np.float16)
        self._writing = True
        mask = _present(self.array)
        if seen is not None and seen.shape == self.array.shape:  # keep what another process has computed
            for rows in _chunks(np.flatnonzero(_present(seen) & ~mask)):
                self.array[rows] = seen[rows]
                mask[rows] = True
        self._mask = mask

    def put(self, rows: np.ndarray, values: np.ndarray) -> int:
        """Write some rows; return how many were not there before.

        Numbers beyond the range of float16 are clipped and those that are no numbers become 0, because a row that is
        there must be finite.
        """
        if self.complete or self.array is None or self._mask is None:
            return 0
        new = int((~self._mask[rows]).sum())
        finite = np.nan_to_num(values, nan=0.0, posinf=_MAX_FLOAT16, neginf=-_MAX_FLOAT16)
        self.array[rows] = np.clip(finite, -_MAX_FLOAT16, _MAX_FLOAT16).astype(np.float16)
        self._mask[rows] = True
        return new

    def finish(self) -> None:
        """Turn a full file into a finished one; does nothing while rows are missing."""
        if self.complete or self.array is None or self._mask is None or not self._mask.all():
            return
        self.begin(self.array.shape[1])  # a dead process may have written the last row but not renamed the file
        if isinstance(self.array, np.memmap) and self._path is not None:
            final = self._path.with_name(f"{self.name}.npy")
            try:
                self.array.flush()
                append_digest(self._path)
                sync_file(self._path)
                self._path.replace(final)
            except OSError as error:
                raise StorageError(f"features {final} cannot be written: {error.strerror or error}") from error
            self.close()
            self.array = np.load(final, mmap_mode="r")
        self._mask, self.complete = None, True

    def close(self) -> None:
        """Let go of the files."""
        if self._lock is not None:
            self._lock.close()
        self.array = self._lock = self._path = None
        self._writing = False

    def _take_over(self, folder: Path, length: int) -> bool:
        """Go on with a file that a dead process left in a folder."""
        for path in _partials([folder], self.name):
            try:
                lock = locked(path, wait=False, create=False)
            except (BusyError, OSError):
                continue
            found = _map_partial(path, self.count, "r+")
            if found is not None and found.shape[1] == length:
                self.array, self._lock, self._path = found, lock, path
                return True
            path.unlink(missing_ok=True)  # cut short, or of another network
            lock.close()
        return False

    def _create(self, folder: Path, length: int) -> bool:
        """Start a file of NaN rows in a folder; False where it cannot be written to."""
        path = folder / f"{self.name}.{secrets.token_hex(4)}.partial"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = locked(path)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
                return False
            raise StorageError(f"features {path} cannot be written: {error.strerror or error}") from error
        try:
            with path.open("wb") as file:
                header = {"descr": "<f2", "fortran_order": False, "shape": (self.count, length)}
                npy.write_array_header_1_0(file, header)
                blank = np.full((min(_ROWS_PER_CHUNK, self.count), length), np.nan, "<f2")
                # written, not left sparse: a full disk shows now, not as SIGBUS
                for start in range(0, self.count, _ROWS_PER_CHUNK):
                    file.write(blank[: min(_ROWS_PER_CHUNK, self.count - start)].tobytes())
            sync_file(path)
        except OSError as error:
            path.unlink(missing_ok=True)
            lock.close()
            raise StorageError(
                f"features {path} cannot be written: {error.strerror or error}; free some space and run it again"
            ) from error
        self.array, self._lock, self._path = np.load(path, mmap_mode="r+"), lock, path
        return True


def _partials(folders: Sequence[Path], name: str) -> list[Path]:
    found: list[Path] = []
    for folder in folders:
        with contextlib.suppress(OSError):
            found.extend(sorted(folder.glob(f"{name}.*.partial")))
    return found


def _chunks(rows: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), _ROWS_PER_CHUNK):
        yield rows[start : start + _ROWS_PER_CHUNK]


def _present(array: np.ndarray) -> np.ndarray:
    """``(n,)`` boolean: rows without a NaN."""
    mask = np.zeros(len(array), bool)
    for start in range(0, len(array), _ROWS_PER_CHUNK):
        mask[start : start + _ROWS_PER_CHUNK] = np.isfinite(array[start : start + _ROWS_PER_CHUNK]).all(axis=1)
    return mask


def _map_partial(path: Path, count: int, mode: str) -> np.ndarray | None:
    """Map an unfinished file; None where it is not (yet) one of this shape."""
    try:
        array = np.load(path, mmap_mode=mode, allow_pickle=False)  # type: ignore[arg-type]
    except (OSError, *NPY_ERRORS):
        return None
    return array if _fits(array, count) else None


def _read_finished(path: Path, count: int) -> np.ndarray | None:
    """Map a finished file; None, with a warning, where it is damaged."""
    if not path.is_file():
        return None
    array = _map_partial(path, count, "r")
    if array is None:
        _log.warning("features %s are damaged; they are computed again", path)
    return array


def _fits(array: np.ndarray, count: int) -> bool:
    return array.ndim == 2 and array.dtype == np.float16 and len(array) == count
