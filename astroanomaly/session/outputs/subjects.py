"""A subject set for Zooniverse: pictures of objects, and the manifest that its uploaders read."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from astroanomaly.cache import Cache
from astroanomaly.errors import ConfigError
from astroanomaly.files import atomic_folder
from astroanomaly.imaging.compass import Compass
from astroanomaly.imaging.painting import bin_factor
from astroanomaly.records import Progress, counted
from astroanomaly.session.outputs.pictures import png, render
from astroanomaly.tables.csv_rows import csv_rows

__all__ = ["MANIFEST", "write_subject_set"]

MANIFEST = "manifest.csv"
_AT_A_TIME = 64  # cutouts that are read together
_MAX_BYTES = 2**20  # of a picture: the Panoptes command line uploads no larger file
_SIZES = (64, 2048)  # pixels
_QUALITY = 92  # of JPEG
_UNKNOWN = "unknown"  # never an empty cell: an uploader takes one for the folder itself, and looks for its file there


def write_subject_set(
    cache: Cache,
    ids: Sequence[str],
    path: Path,
    *,
    size: int = 512,
    jpeg: bool = False,
    seed: int = 0,
    overwrite: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> int:
    """Write a folder of pictures and ``manifest.csv``; return the number of subjects.

    Pictures are painted as the app paints them at first, north up where there is a WCS, and enlarged by a whole number
    without smoothing. Their names and order tell nothing of the object: ids may name folders of classes, and a ranking
    would tell what the search expects.

    Parameters
    ----------
    cache
        Has the cutouts.
    ids
        The objects.
    path
        Folder to make.
    size
        Longest side of a picture in pixels, 64 to 2048; one that is smaller is enlarged by a whole number up to that.
    jpeg
        Write JPEG instead of PNG.
    seed
        Of the order.
    overwrite
        Replace a folder that was made so.
    progress
        Called with a report after each picture.

    Raises
    ------
    ConfigError
        If nothing was chosen, the size is out of range, or a picture has more than 1 MiB, which cannot be uploaded.
    StorageError
        If the folder cannot be written; nothing half-written is left.
    """
    if not len(ids):
        raise ConfigError("there is nothing to classify: no object was chosen")
    if not _SIZES[0] <= size <= _SIZES[1]:
        raise ConfigError(f"pictures of {size} pixels: expected {_SIZES[0]} to {_SIZES[1]}")
    order = [ids[k] for k in np.random.default_rng((seed, 6)).permutation(len(ids))]
    names = [f"subject-{number:06}.{'jpg' if jpeg else 'png'}" for number in range(1, len(order) + 1)]
    parts = (order[start : start + _AT_A_TIME] for start in range(0, len(order), _AT_A_TIME))
    painted = (picture for part in parts for picture in render(cache, part, size))
    with atomic_folder(path, overwrite=overwrite) as folder:
        for name, picture in zip(names, counted(painted, "pictures", len(order), progress), strict=True):
            content = _encode(_enlarged(picture, size), jpeg=jpeg)
            if len(content) > _MAX_BYTES:
                raise ConfigError(
                    f"a picture of {size} pixels has {len(content):,} bytes, more than the {_MAX_BYTES:,} that can be "
                    "uploaded: choose a smaller --size, or --jpeg"
                )
            (folder / name).write_bytes(content)
        columns = _columns(cache, order, names, size)
        with (folder / MANIFEST).open("w", newline="", encoding="utf-8") as handle:
            csv_rows(handle, columns)(zip(*columns.values(), strict=True))
    return len(order)


def _columns(cache: Cache, ids: Sequence[str], names: Sequence[str], size: int) -> dict[str, list[str]]:
    """Return the columns of the manifest; volunteers do not see those with a ``#``."""
    rows = cache.rows(ids)
    ra, dec = (values[rows] for values in cache.positions)
    columns = {"image": list(names), "#object_id": list(ids)}
    if np.isfinite(ra + dec).any():
        columns |= {"#ra": [_number(value, 7) for value in ra], "#dec": [_number(value, 7) for value in dec]}
    scales = [_scale(one, cache, size) for one in cache.pictures.compasses(ids, None, size)]
    if np.isfinite(scales).any():
        columns["#arcsec_per_pixel"] = [_number(value, 5) for value in scales]
    return columns


def _scale(compass: Compass | None, cache: Cache, size: int) -> float:
    if compass is None:
        return float("nan")
    return compass.scale_arcsec / _factor(*_binned(cache.layout.height, cache.layout.width, size), size)


def _binned(height: int, width: int, size: int) -> tuple[int, int]:
    """Return height and width of a cutout as `bin_pixels` leaves it."""
    factor = bin_factor(height, width, size)
    return max(1, height // factor), max(1, width // factor)


def _factor(height: int, width: int, size: int) -> int:
    """Return by how much a picture of this height and width is enlarged."""
    return max(1, size // max(height, width))


def _enlarged(picture: np.ndarray, size: int) -> np.ndarray:
    factor = _factor(picture.shape[0], picture.shape[1], size)
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def _encode(picture: np.ndarray, *, jpeg: bool) -> bytes:
    if not jpeg:
        return png(picture)
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, "JPEG", quality=_QUALITY, subsampling=0, optimize=True)
    return buffer.getvalue()


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if np.isfinite(value) else _UNKNOWN
