"""Stacks in NumPy's files: .npy, memory-mapped, and .npz with names and columns beside the images."""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from astroanomaly import ReadLimits, UnreadableError
from astroanomaly.cutting import BROKEN_ARCHIVE
from astroanomaly_plugins.arrays.stacks import ID_NAMES, Reader, Stack, axes_of, libraries_errors, pick, texts

__all__ = ["NPY", "NPZ"]

_PER_OBJECT = "*"  # instead of the name of an array: each image is an array of its own
_BROKEN = (OSError, LookupError, TypeError, SyntaxError, MemoryError, *BROKEN_ARCHIVE)


def _list_npy(path: Path, array: str, axes: str) -> Stack:
    with libraries_errors(path, "NumPy", *_BROKEN):
        data = np.load(path, mmap_mode="r", allow_pickle=False)
        order, shape = axes_of(data.shape, axes, str(path))
        return Stack(path, "npy", "", shape, order, data.dtype)


@contextlib.contextmanager
def _open_npy(path: Path, array: str) -> Iterator[Callable[[slice], Any]]:
    with libraries_errors(path, "NumPy", *_BROKEN):
        data = np.load(path, mmap_mode="r", allow_pickle=False)
        yield lambda rows: np.array(data[rows])


def _headers(archive: zipfile.ZipFile, path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Return shape and type of every array, from the first bytes of each; arrays of objects are refused."""
    limit = ReadLimits.current().expanded_bytes(path.stat().st_size)
    if sum(item.file_size for item in archive.infolist()) > limit:
        raise UnreadableError(f"{path} grows to more than {limit / 1e9:.1f} GB (--expansion sets the limit)")
    found = {}
    for item in archive.infolist():
        if not item.filename.endswith(".npy"):
            continue
        with archive.open(item) as handle:
            version = npy.read_magic(handle)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, _, dtype = read(handle)
        if not dtype.hasobject:
            found[item.filename.removesuffix(".npy")] = shape, dtype
    return found


def _list_npz(path: Path, array: str, axes: str) -> Stack:
    with libraries_errors(path, "NumPy", *_BROKEN):
        with zipfile.ZipFile(path) as archive:
            heads = _headers(archive, path)
        single = [key for key, (shape, _) in heads.items() if len(shape) == 2]
        shapes = {heads[key][0] for key in single}
        if len(single) > 1 and len(shapes) == 1 and not array and len(single) == len(heads):
            order, shape = axes_of((len(single), *shapes.pop()), axes, f"{path}, one array for each image")
            return Stack(path, "npz", _PER_OBJECT, shape, order, heads[single[0]][1], single)
        name = pick({key: shape for key, (shape, _) in heads.items() if len(shape) in (3, 4)}, array, str(path))
        order, shape = axes_of(heads[name][0], axes, f"{path}[{name}]")
        with np.load(path, allow_pickle=False) as file:
            beside = {
                key: file[key] for key, (size, dtype) in heads.items() if size == (shape[0],) and dtype.kind in "iufbSU"
            }
        unused = sorted(heads.keys() - beside.keys() - {name})
        named = next((key for key in ID_NAMES if key in beside), "")
        names = texts(beside.pop(named)) if named else ()
        return Stack(path, "npz", name, shape, order, heads[name][1], names, beside, unused=unused)


@contextlib.contextmanager
def _open_npz(path: Path, array: str) -> Iterator[Callable[[slice], Any]]:
    with libraries_errors(path, "NumPy", *_BROKEN), np.load(path, allow_pickle=False) as file:
        if array == _PER_OBJECT:
            yield lambda rows: np.stack([file[name] for name in file.files[rows]])
            return
        data = file[array]
        yield lambda rows: data[rows]


NPY = Reader("a NumPy array (.npy)", _list_npy, _open_npy)
NPZ = Reader("NumPy arrays (.npz)", _list_npz, _open_npz)
