"""What HDF5 writes, on its way to the disk: a full disk is noted and said in the end, since HDF5 cannot bear it.

HDF5 that could not write keeps what it has and tries again when it is closed, when objects are forgotten and when
Python ends; there it crashes (HDF5 2.0 and 1.14, on a full disk and above a limit of file size). So it never learns
of it: after the first failure everything seems to be written, and the file is thrown away.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np

__all__ = ["NewFile"]


class NewFile(h5py.File):
    """A new HDF5 file.

    Parameters
    ----------
    path
        The file, which is made or emptied.

    Raises
    ------
    OSError
        If the file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self._disk = _Disk(path)
        try:
            super().__init__(self._disk, "w")
        except BaseException:
            self._disk.close()
            raise

    def check(self) -> None:
        """Raise what the disk has said, if it is full for instance; for those who have much more to write.

        Raises
        ------
        OSError
            If something could not be written.
        """
        if self._disk.error is not None:
            raise self._disk.error

    def allocate(self, name: str, shape: tuple[int, ...], dtype: str) -> int:
        """Make a contiguous dataset that `write_at` fills; return its first byte."""
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_layout(h5py.h5d.CONTIGUOUS)
        plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        plan.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        plan.set_obj_track_times(False)
        kind, space = h5py.h5t.py_create(np.dtype(dtype)), h5py.h5s.create_simple(shape)
        return int(h5py.h5d.create(self.id, name.encode(), kind, space, plan).get_offset())

    def vector(self, name: str, length: int, dtype: str) -> h5py.Dataset:
        """Make a contiguous dataset of one axis, which is filled and read back in slices."""
        if not length:
            return self.create_dataset(name, (0,), dtype, track_times=False)
        self.allocate(name, (length,), dtype)
        return self[name]

    def write_at(self, at: int, data: Any) -> None:
        """Write bytes into a dataset that `allocate` made, past HDF5, which takes as long again as the disk."""
        self._disk.write_at(at, data)

    def close(self) -> None:
        """Write out the rest and close the file; whether all was written, `check` tells."""
        try:
            super().close()
        finally:
            self._disk.close()


class _Disk(io.RawIOBase):
    """A file as HDF5 uses one, which takes everything."""

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o666)
        self._at = 0
        self.error: OSError | None = None

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_SET:
            self._at = offset
        else:
            self._at = offset + (self._at if whence == os.SEEK_CUR else os.fstat(self._handle).st_size)
        return self._at

    def tell(self) -> int:
        return self._at

    def write(self, data: Any) -> int:
        size = self.write_at(self._at, data)
        self._at += size
        return size

    def write_at(self, at: int, data: Any) -> int:
        left = memoryview(data).cast("B")
        size = len(left)
        while len(left) and self.error is None:
            try:
                os.lseek(self._handle, at, os.SEEK_SET)
                written = os.write(self._handle, left)
            except OSError as error:
                self.error = error
                break
            left, at = left[written:], at + written
        return size

    def readinto(self, buffer: Any) -> int:
        """Read back; what could not be written is zero."""
        whole = memoryview(buffer).cast("B")
        os.lseek(self._handle, self._at, os.SEEK_SET)
        size = 0
        while size < len(whole) and (found := os.read(self._handle, len(whole) - size)):  # two gigabytes at most
            whole[size : size + len(found)] = found
            size += len(found)
        whole[size:] = bytes(len(whole) - size)
        self._at += len(whole)
        return len(whole)

    def truncate(self, size: int | None = None) -> int:
        wanted = self._at if size is None else size
        if self.error is None:
            try:
                os.ftruncate(self._handle, wanted)
            except OSError as error:
                self.error = error
        return wanted

    def flush(self) -> None:
        """Do nothing: nothing is held back."""

    def close(self) -> None:
        if not self.closed:
            os.close(self._handle)
        super().close()
