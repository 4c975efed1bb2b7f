"""The door to HDF5 files from elsewhere: checked before they are opened, and closed when they have been read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from astroanomaly.errors import AstroAnomalyError, DamagedError, UnreadableError
from astroanomaly.parallel.watch import reading
from astroanomaly.tables.hdf5_content import check_content

__all__ = ["open_hdf5"]

_BROKEN = (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, EOFError, MemoryError)


@contextlib.contextmanager
def open_hdf5(path: str | Path) -> Iterator[Any]:
    """Open an HDF5 file from elsewhere for reading, once what it holds is known to be sane.

    While the block runs, the file counts as being read; see `astroanomaly.reading`. Nothing in it leads to another
    file: links, external and virtual datasets are refused, and so are filters that HDF5 would load from a library (LZF
    is one that comes with h5py).

    Returns
    -------
    h5py.File
        As a context manager.

    Raises
    ------
    UnreadableError
        If the file is missing, damaged, no HDF5 file, or one of these.
    """
    place = Path(path)
    if not place.is_file():
        raise UnreadableError(f"{path} does not exist")
    try:
        with reading(place), h5py.File(place, "r", locking=False) as file:
            check_content(file, place, lzf=True)
            yield file
    except DamagedError as error:
        raise UnreadableError(str(error)) from error
    except AstroAnomalyError:
        raise
    except _BROKEN as error:
        words = str(error).strip().splitlines()
        raise UnreadableError(
            f"{path} is cut short, damaged or no HDF5 file: {words[0] if words else type(error).__name__}"
        ) from error
