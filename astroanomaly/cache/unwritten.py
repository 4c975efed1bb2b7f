"""Datasets of HDF5 that were not written, or not all of them: the library would give zeros for them."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import h5py
import numpy as np

from astroanomaly.errors import DamagedError

__all__ = ["refuse_unwritten", "unwritten_rows"]


def refuse_unwritten(dataset: h5py.Dataset, path: Path) -> None:
    """Refuse a dataset that was not written, or not all of it: HDF5 would give zeros.

    Raises
    ------
    DamagedError
        Naming the file and the dataset.
    """
    if not _is_written(dataset):
        raise DamagedError(f"{path} is damaged: its dataset {dataset.name} was not written to the end")


def unwritten_rows(dataset: h5py.Dataset) -> np.ndarray:
    """Rows, along the first axis, of which something was not written: HDF5 would give zeros."""
    if _is_written(dataset):
        return np.zeros(0, np.int64)
    if dataset.chunks is None:
        return np.arange(len(dataset))
    per_row = _chunk_counts(dataset)
    found = Counter[int]()
    dataset.id.chunk_iter(lambda chunk: found.update([chunk.chunk_offset[0] // dataset.chunks[0]]))
    whole = [k for k, number in found.items() if number == math.prod(per_row[1:])]
    rows = np.arange(len(dataset))
    return rows[~np.isin(rows // dataset.chunks[0], whole)]


def _is_written(dataset: h5py.Dataset) -> bool:
    if not dataset.size:
        return True
    if dataset.chunks is None:
        return bool(dataset.id.get_storage_size() >= dataset.nbytes)
    return bool(dataset.id.get_num_chunks() == math.prod(_chunk_counts(dataset)))


def _chunk_counts(dataset: h5py.Dataset) -> list[int]:
    """How many chunks there are along each axis."""
    return [-(-length // chunk) for length, chunk in zip(dataset.shape, dataset.chunks, strict=True)]
