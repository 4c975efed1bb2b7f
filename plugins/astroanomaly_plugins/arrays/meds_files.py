"""Stacks in MEDS files (Multi-Epoch Data Structures): the first cutout of each object, which is that of the coadd.

The format: https://github.com/esheldon/meds/wiki/MEDS-Format, `meds.util.get_meds_output_dtype` of esheldon/meds. All
cutouts of a file lie one after another in the image ``image_cutouts`` of one axis; the table ``object_data`` says for
each object the side of its square (``box_size``) and where each cutout begins (``start_row``).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from astroanomaly import UnreadableError
from astroanomaly.cutting import open_fits, quiet
from astroanomaly_plugins.arrays.stacks import Reader, Stack, axes_of, libraries_errors, texts

__all__ = ["MEDS", "is_meds"]

_TABLE, _PIXELS = "OBJECT_DATA", "IMAGE_CUTOUTS"
_NEEDED = ("id", "box_size", "start_row", "ncutout")
_CARRIED = ("ra", "dec", "ncutout", "box_size")
_OF_FIRST = ("dudrow", "dudcol", "dvdrow", "dvdcol", "cutout_row", "cutout_col")  # one value for each cutout
_BROKEN: tuple[type[Exception], ...] = (Exception,)


def is_meds(path: Path) -> bool:
    """Whether a FITS file has the extensions of a MEDS file."""
    with libraries_errors(path, "FITS", *_BROKEN), quiet(), open_fits(path, memmap=True) as hdus:
        return {_TABLE, _PIXELS} <= {hdu.name.upper() for hdu in hdus}


def _list(path: Path, array: str, axes: str) -> Stack:
    with libraries_errors(path, "MEDS", *_BROKEN), quiet(), open_fits(path, memmap=True) as hdus:
        table = hdus[_TABLE].data
        known = {name.lower(): name for name in table.dtype.names}
        missing = [name for name in _NEEDED if name not in known]
        if missing:
            raise UnreadableError(f"{path}: the table {_TABLE} has no column {missing[0]!r}: no MEDS file")
        count = np.asarray(table[known["ncutout"]])
        rows = np.flatnonzero(count > 0)
        sides = np.asarray(table[known["box_size"]])[rows]
        if not len(rows):
            raise UnreadableError(f"{path}: no object of it has a cutout")
        side = int(np.bincount(sides[sides > 0]).argmax())
        order, shape = axes_of((len(rows), side, side), "nhw", str(path))
        columns = {name: np.asarray(table[known[name]])[rows] for name in _CARRIED if name in known}
        for name in _OF_FIRST:
            if name in known:
                values = np.asarray(table[known[name]])[rows]
                columns[name] = values[:, 0] if values.ndim == 2 else values
        names = texts(np.asarray(table[known["id"]])[rows])
        return Stack(path, "meds", _PIXELS.lower(), shape, order, np.dtype(np.float32), names, columns)


@contextlib.contextmanager
def _open(path: Path, array: str) -> Iterator[Callable[[slice], Any]]:
    with libraries_errors(path, "MEDS", *_BROKEN), quiet(), open_fits(path, memmap=True) as hdus:
        table = hdus[_TABLE].data
        known = {name.lower(): name for name in table.dtype.names}
        rows = np.flatnonzero(np.asarray(table[known["ncutout"]]) > 0)
        sides = np.asarray(table[known["box_size"]])
        starts = np.asarray(table[known["start_row"]]).reshape(len(sides), -1)[:, 0]
        pixels = hdus[_PIXELS]

        def read(wanted: slice) -> list[np.ndarray]:
            images = []
            for row in rows[wanted].tolist():
                side, start = int(sides[row]), int(starts[row])
                if side < 1 or start < 0 or start + side * side > pixels.shape[0]:
                    images.append(np.zeros((0, 0), np.float32))  # which is a failure
                    continue
                images.append(np.asarray(pixels.section[start : start + side * side]).reshape(side, side))
            return images

        yield read


MEDS = Reader("MEDS (multi-epoch cutouts, the first of each object)", _list, _open)
