"""Open the pixels of one image of a FITS file, or of one plane of a cube."""

from __future__ import annotations

import contextlib
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from astroanomaly import AstroAnomalyError, Grid, UnreadableError
from astroanomaly.cutting import Plane, constant_areas, grid_from_hdu, is_counts, quiet
from astroanomaly_plugins.mosaics.places import is_remote, open_place

__all__ = ["BROKEN", "asinh_of", "first_line", "flat_shape", "open_plane"]

# What libraries raise on damaged headers, cut-short data and bad compression: anything, zlib.error and struct.error too
BROKEN: tuple[type[Exception], ...] = (Exception,)
_READ_BYTES = 2**20  # of an image that is read rather than mapped: a map costs an open file


def open_plane(
    path: Path, number: int, of_cube: int | None = None, *, padded: bool = False
) -> tuple[Plane, Grid | None]:
    """Open the pixels of one image: memory-mapped where they lie plain in the file, else decoded once.

    Integers with BSCALE, BZERO or BLANK stay memory-mapped too; `Plane` turns them into flux window by window.

    Parameters
    ----------
    path, number
        File, and number of the extension in it.
    of_cube
        Number of the plane of a cube, from 0.
    padded
        Whether what is outside the survey is known to be filled with one value, in counts too.

    Raises
    ------
    UnreadableError
        If the file has vanished, is cut short or damaged.
    """
    try:
        with quiet():
            return _open_plane(path, number, of_cube, padded)
    except AstroAnomalyError:
        raise
    except BROKEN as error:
        raise UnreadableError(f"{path}: the pixels cannot be read: {first_line(error)}") from error


def _open_plane(path: Path, number: int, of_cube: int | None, padded: bool) -> tuple[Plane, Grid | None]:
    from astropy.io import fits

    if is_remote(path):
        return _remote_plane(path, number, of_cube)
    with open_place(path, memmap=False, do_not_scale_image_data=True) as hdulist:
        if number >= len(hdulist):
            raise UnreadableError(f"{path} has no extension {number} any more: it changed after it was planned")
        hdu = hdulist[number]
        grid = grid_from_hdu(hdu, hdulist)
        compressed, asinh = isinstance(hdu, fits.CompImageHDU), asinh_of(hdu.header)
        if not compressed:
            header = hdu.header
            scale, zero = float(header.get("BSCALE", 1)), float(header.get("BZERO", 0))
            blank = header.get("BLANK") if header["BITPIX"] > 0 else None
            stored = _stored(path, hdu)
            plane = Plane(_two_axes(stored, of_cube), scale, zero, None if blank is None else int(blank))
    if compressed:
        with open_place(path, memmap=False) as hdulist:  # decoded whole, scaled and with BLANK as NaN by astropy
            plane = Plane(_two_axes(np.asarray(hdulist[number].data), of_cube))
    padding = constant_areas(plane.stored, common=padded) if padded or not is_counts(plane.stored) else ()
    return replace(plane, constant=padding, asinh=asinh), grid


def _remote_plane(path: Path, number: int, of_cube: int | None) -> tuple[Plane, Grid | None]:
    """Open an image at an address: only the windows that are cut are fetched, and no padding is looked for."""
    from astropy.io import fits

    with open_place(path, do_not_scale_image_data=True) as hdulist:
        hdu = hdulist[number]
        header, grid, compressed = hdu.header, grid_from_hdu(hdu, hdulist), isinstance(hdu, fits.CompImageHDU)
        shape = flat_shape(tuple(int(length) for length in hdu.shape))
        bits, blank = int(header["BITPIX"]), header.get("BLANK")
        dtype = np.dtype(f">{'f' if bits < 0 else 'i' if bits > 8 else 'u'}{abs(bits) // 8}")
        scale = (1.0, 0.0) if compressed else (float(header.get("BSCALE", 1)), float(header.get("BZERO", 0)))
        if len(shape) != (2 if of_cube is None else 3) or len(hdu.shape) != len(shape):
            raise UnreadableError(f"{path}: an image of {len(hdu.shape)} axes is not read from an address")
        asinh = asinh_of(header)
    blank = None if compressed or blank is None or bits < 0 else int(blank)
    pixels = RemotePixels(path, number, of_cube, shape[-2:], np.dtype(np.float32) if compressed else dtype)
    return Plane(pixels, *scale, blank, asinh=asinh), grid  # type: ignore[arg-type]


class RemotePixels:
    """The pixels of an image at an address, of which only windows are read."""

    def __init__(self, path: Path, number: int, of_cube: int | None, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self._place, self._number, self._of_cube = path, number, of_cube
        self.shape, self.dtype, self.ndim = shape, dtype, 2
        self._opened = contextlib.ExitStack()
        self._hdu: Any = None

    def __getitem__(self, window: tuple[slice, slice]) -> np.ndarray:
        """Return a window, of which the parts that lie on the image are fetched."""
        if self._hdu is None:
            how = {} if self.dtype == np.float32 else {"do_not_scale_image_data": True}
            self._hdu = self._opened.enter_context(open_place(self._place, **how))[self._number]
        part = window if self._of_cube is None else (self._of_cube, *window)
        return np.asarray(self._hdu.section[part])

    def __del__(self) -> None:
        self._opened.close()


def _stored(path: Path, hdu: Any) -> np.ndarray:
    """Return the pixels of an image as they are stored: memory-mapped where they lie plain in the file.

    The file of a map is closed as soon as nobody holds the pixels; astropy's own map waits for the garbage collector.
    """
    place = hdu.fileinfo()
    if place is None or not path.is_file() or place["file"].compression:
        return np.asarray(hdu.data)
    width, shape = hdu.header["BITPIX"], tuple(int(length) for length in hdu.shape)
    dtype = np.dtype(f">{'f' if width < 0 else 'i' if width > 8 else 'u'}{abs(width) // 8}")
    start, nbytes = int(place["datLoc"]), math.prod(shape) * dtype.itemsize
    found = path.stat().st_size - start
    if found < nbytes:
        raise UnreadableError(
            f"{path}: the pixels cannot be read: it is cut short, {max(0, found)} of {nbytes} bytes are there"
        )
    if nbytes <= _READ_BYTES:
        return np.fromfile(path, dtype, math.prod(shape), offset=start).reshape(shape)
    return np.memmap(path, dtype, "r", start, shape)


def _two_axes(stored: np.ndarray, of_cube: int | None) -> np.ndarray:
    flat = stored.reshape(flat_shape(stored.shape))
    return flat if of_cube is None else flat[of_cube]


def flat_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Drop degenerate axes beyond two."""
    while len(shape) > 2 and 1 in shape[:-2]:
        shape = shape[: shape.index(1)] + shape[shape.index(1) + 1 :]
    return shape


def asinh_of(header: Any) -> tuple[float, float] | None:
    """Return ``BOFFSET`` and ``BSOFTEN`` of Pan-STARRS; None where a header has them not."""
    values = header.get("BOFFSET"), header.get("BSOFTEN")
    numbers = [float(value) for value in values if isinstance(value, int | float) and math.isfinite(value)]
    return (numbers[0], numbers[1]) if len(numbers) == 2 and numbers[1] > 0 else None


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its kind where it has none."""
    if isinstance(error, MemoryError):
        return "it needs more memory than a process that reads may take (--memory-gb sets the limit)"
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
