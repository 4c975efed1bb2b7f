"""Values of a block by object id, as a session keeps them: one folder for each block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from astroanomaly.cache.file_digest import NPY_ERRORS, append_digest, look_at_npy, read_signed_json, signed_json
from astroanomaly.errors import DamagedError
from astroanomaly.files import write_json

__all__ = [
    "DESCRIPTION",
    "BlockFile",
    "describe_block",
    "find_rows",
    "in_order",
    "open_array",
    "open_block",
    "open_ids",
    "start_array",
    "write_block",
]

DESCRIPTION = "block.json"
_IDS, _VALUES = "ids.npy", "values.npy"
_FORMAT, _VERSION = "astroanomaly-block", 1
_REMEDY = "restore it from a copy, or start a new session with the block"


@dataclass(frozen=True, eq=False)
class BlockFile:
    """Values by object id, memory-mapped.

    Parameters
    ----------
    ids
        ``(m,)`` object ids in UTF-8, rising.
    values
        ``(m, D)`` float32; NaN where unknown.
    """

    ids: np.ndarray
    values: np.ndarray

    def rows(self, ids: Sequence[str]) -> np.ndarray:
        """``(n,)`` rows of some objects, -1 for those that it does not know."""
        return find_rows(self.ids, ids)


def in_order(ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return ``(m,)`` object ids in UTF-8, rising, and ``(m,)`` where each was, as all files of a block have them."""
    names = _encoded(ids)
    order = np.argsort(names, kind="stable")
    return names[order], order


def find_rows(known: np.ndarray, ids: Sequence[str]) -> np.ndarray:
    """``(n,)`` rows of some objects among ids ``(m,)`` in UTF-8, rising; -1 for those that are not there."""
    wanted = _encoded(ids)
    there = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return np.where(known[there] == wanted, there, -1)


def _encoded(ids: Sequence[str]) -> np.ndarray:
    return np.array([name.encode("utf-8", "surrogatepass") for name in ids], dtype=bytes)


def write_block(folder: Path, ids: Sequence[str], values: np.ndarray, about: dict[str, Any]) -> None:
    """Write values by object id into a folder that is made.

    Parameters
    ----------
    folder
        Where to.
    ids, values
        ``(m,)`` object ids, each once, and ``(m, D)`` numbers, at least one of each.
    about
        What is kept of where they are from: plain values.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    folder.mkdir(parents=True)
    names, order = in_order(ids)
    for name, array in ((_IDS, names), (_VALUES, np.asarray(values, np.float32)[order])):
        np.save(folder / name, array, allow_pickle=False)
        append_digest(folder / name)
    write_json(folder / DESCRIPTION, signed_json({"format": _FORMAT, "version": _VERSION, **about}))


def start_array(path: Path, dtype: np.dtype, shape: tuple[int, ...]) -> BinaryIO:
    """Open an array file that is written piece by piece, from its first row to its last; its header is written.

    On a full disk, writing to such a file is an error; writing to a new file that is mapped ends the process.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    file = path.open("xb")
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file


def open_block(folder: Path, width: int) -> BlockFile:
    """Open the values of a block.

    Parameters
    ----------
    folder
        Where they are.
    width
        How many numbers each object has.

    Raises
    ------
    SessionError
        If they are of a newer version.
    DamagedError
        If they are not there, or not what they should be.
    """
    describe_block(folder)
    ids, values = open_ids(folder), open_array(folder / _VALUES)
    if values.shape != (len(ids), width) or values.dtype != np.float32:
        raise DamagedError(f"{folder} is damaged: ids and values do not fit together; {_REMEDY}")
    return BlockFile(ids, values)


def describe_block(folder: Path) -> dict[str, Any]:
    """Return what is kept of where the values of a block are from, checked as `open_block` does."""
    what = "the description of a block of numbers"
    return read_signed_json(folder / DESCRIPTION, _FORMAT, _VERSION, what, error=DamagedError, remedy=_REMEDY)


def open_ids(folder: Path) -> np.ndarray:
    """``(m,)`` object ids of a block in UTF-8, rising, at least one, memory-mapped; checked as `open_block` does."""
    ids = open_array(folder / _IDS)
    if ids.ndim != 1 or ids.dtype.kind != "S":
        raise DamagedError(f"{folder} is damaged: its ids are none; {_REMEDY}")
    if not len(ids):
        raise DamagedError(f"{folder} is damaged: it has no values; {_REMEDY}")
    return ids


def open_array(path: Path) -> np.ndarray:
    """Memory-map an array file of a block.

    Raises
    ------
    DamagedError
        If it is not there, or not what it should be.
    """
    try:
        look_at_npy(path)
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, *NPY_ERRORS) as error:
        raise DamagedError(f"{path} cannot be read: {error}; {_REMEDY}") from error
