"""Tables in NumPy's files: arrays of one length in an ``.npz``, or one ``.npy`` with named fields."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib import format as npy

from astroanomaly.cutting.damaged import BROKEN_ARCHIVE
from astroanomaly.errors import UnreadableError
from astroanomaly.parallel.limits import ReadLimits

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["is_arrays", "read_arrays"]

_NPY, _ZIP = b"\x93NUMPY", b"PK\x03\x04"
_BROKEN = (OSError, LookupError, TypeError, SyntaxError, AttributeError, MemoryError, *BROKEN_ARCHIVE)
_SAVE = "np.savez(FILE, object_id=ids, embedding=array)"


def is_arrays(path: Path) -> bool:
    """Whether a file is one of NumPy's, by its first bytes."""
    with path.open("rb") as file:
        return file.read(len(_NPY)).startswith((_NPY, _ZIP))


def read_arrays(path: Path) -> Table:
    """Read a table from a file of NumPy. Nothing in it is run: arrays of Python objects are refused.

    Parameters
    ----------
    path
        ``.npz`` with arrays ``(n,)`` and ``(n, D)``, each of which becomes a column; or ``.npy`` with an array ``(n,)``
        of named fields.

    Raises
    ------
    UnreadableError
        If it is damaged or something else, would take far more memory than its size, or its arrays differ in length.
    """
    from astropy.table import Table

    try:
        with path.open("rb") as file:
            packed = file.read(len(_ZIP)) == _ZIP
        columns = _of_npz(path) if packed else _of_npy(path)
    except UnreadableError:
        raise
    except (ValueError, *_BROKEN) as error:
        raise UnreadableError(f"{path} cannot be read: {error}; expected arrays as {_SAVE} writes them") from error
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise UnreadableError(f"{path}: its arrays are of different lengths ({said}), expected one row for each object")
    return Table(columns)


def _of_npy(path: Path) -> dict[str, np.ndarray]:
    array = np.load(path, allow_pickle=False)
    if array.dtype.names is None or array.ndim != 1:
        raise UnreadableError(
            f"{path} is an array of the shape {array.shape} and does not say which object a row is of: write it with "
            f"the ids, as {_SAVE} does"
        )
    return {name: array[name] for name in array.dtype.names}


def _of_npz(path: Path) -> dict[str, np.ndarray]:
    limit = ReadLimits.current().expanded_bytes(path.stat().st_size)
    with zipfile.ZipFile(path) as archive:
        names = [item.filename for item in archive.infolist() if item.filename.endswith(".npy")]
        sizes = {item.filename: item.file_size for item in archive.infolist()}
        if sum(sizes.values()) > limit:
            raise UnreadableError(f"{path} grows to more than {limit / 1e9:.1f} GB as it is unpacked")
        if not names:
            raise UnreadableError(f"{path} is a ZIP archive without arrays of NumPy: expected what {_SAVE} writes")
        for name in names:
            with archive.open(name) as handle:
                version = npy.read_magic(handle)
                shape, _, dtype = (
                    npy.read_array_header_1_0(handle) if version == (1, 0) else npy.read_array_header_2_0(handle)
                )
            if dtype.hasobject or dtype.itemsize * int(np.prod(shape, dtype=object)) > sizes[name]:
                raise UnreadableError(f"{path}: the array {name!r} holds Python objects, or less than it says")
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files if file[name].ndim in (1, 2)}
