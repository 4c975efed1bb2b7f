"""HST images as they are cut from: the science pixels, NaN where nothing was observed, their grid and their headers."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from astroanomaly import FetchError, Grid, ReadLimits, UnreadableError
from astroanomaly.cutting import Plane, check_fits_content, grid_from_hdu, open_fits, quiet
from astroanomaly_plugins.hst.headers import HeaderInfo, describe
from astroanomaly_plugins.hst.products import filter_in_name

__all__ = ["HstImage", "Weighted", "cutout_images", "open_file", "science", "take"]


class Weighted:
    """Science pixels of which windows are taken: NaN where the weight is zero, in electrons per second.

    Parameters
    ----------
    pixels, weights
        Anything two-dimensional that can be sliced: an array, a memory map, a ``.section``; without weights, all pixels
        count.
    factor
        What pixels are multiplied by.
    shape
        ``(height, width)``.
    """

    def __init__(self, pixels: Any, weights: Any, factor: float, shape: tuple[int, int]) -> None:
        self._pixels, self._weights, self._factor = pixels, weights, factor
        self.shape = shape
        self.dtype = np.dtype(np.float32)

    def __getitem__(self, window: Any) -> np.ndarray:
        pixels = np.array(self._pixels[window], np.float32)
        if self._factor != 1:
            pixels *= np.float32(self._factor)
        if self._weights is not None:
            pixels[~(np.asarray(self._weights[window]) > 0)] = np.nan
        return pixels


@dataclass(frozen=True, eq=False)
class HstImage:
    """One image of one filter.

    Attributes
    ----------
    about
        What its headers say.
    grid
        Its pixel grid.
    plane
        Its pixels in electrons per second.
    band
        Filter: of the headers, else of the name, else as the archive lists it.
    """

    about: HeaderInfo
    grid: Grid
    plane: Plane
    band: str

    @classmethod
    def of(cls, about: HeaderInfo, grid: Grid, pixels: Weighted) -> HstImage:
        """Make an image of pixels that are read window by window."""
        return cls(about, grid, Plane(cast("np.ndarray", pixels)), about.filter or filter_in_name(about.product))


def science(hdulist: Any, name: str) -> tuple[Any, Any]:
    """Find the image and its weights in an open file: by the names SCI and WHT, else the first image of two axes.

    Raises
    ------
    UnreadableError
        If there is no image, or its weights have another shape.
    """
    images = [hdu for hdu in hdulist if hdu.is_image and hdu.header.get("NAXIS") == 2]
    named = [hdu for hdu in images if hdu.name.upper().startswith("SCI")]
    if not images:
        raise UnreadableError(f"{name}: no image of two axes is in the file")
    sci = (named or images)[0]
    weights = next((hdu for hdu in images if hdu.name.upper().startswith("WHT")), None)
    if weights is not None and _shape(weights) != _shape(sci):
        raise UnreadableError(f"{name}: the weights have another shape than the image")
    return sci, weights


def _shape(hdu: Any) -> tuple[int, int]:
    return int(hdu.header["NAXIS2"]), int(hdu.header["NAXIS1"])


def take(hdulist: Any, name: str) -> tuple[HeaderInfo, Grid, Any, Any]:
    """Read the headers of an open file; return what they say, the grid, and the extensions of pixels and weights.

    Raises
    ------
    UnreadableError
        If there is no image, no WCS, or a unit that is not understood.
    """
    sci, weights = science(hdulist, name)
    with quiet():
        about = describe([sci.header, hdulist[0].header], name)
        grid = grid_from_hdu(sci, hdulist)
    if grid is None:
        raise UnreadableError(f"{about.product}: the image has no WCS")
    return about, grid, sci, weights


def open_file(path: Path, name: str) -> HstImage:
    """Open a whole product on disk, memory-mapped.

    Parameters
    ----------
    name
        The product's identifier.
    """
    with quiet(), open_fits(path, memmap=True) as hdulist:
        about, grid, sci, weights = take(hdulist, name)
        pixels = Weighted(sci.data, None if weights is None else weights.data, about.factor, grid.shape)
        return HstImage.of(about, grid, pixels)


def cutout_images(path: Path) -> Iterator[HstImage]:
    """Open the cutouts of a zip from Hapcut; those of one product that came twice are yielded once.

    Raises
    ------
    FetchError
        If one cannot be read as a cutout.
    """
    from astropy.io import fits

    if not zipfile.is_zipfile(path):  # the service says that there is nothing
        return
    seen: set[str] = set()
    with zipfile.ZipFile(path) as archive:
        for member in sorted(archive.namelist()):
            content = _member(archive, member)
            with quiet(), fits.open(io.BytesIO(content), memmap=False) as hdulist:
                try:
                    about, grid, sci, weights = take(hdulist, "")
                except UnreadableError as error:
                    raise FetchError(str(error), reason=_without_name(str(error))) from error
                if about.product in seen:
                    continue
                seen.add(about.product)
                pixels = Weighted(
                    sci.data, None if weights is None else weights.data, about.factor, (grid.shape[0], grid.shape[1])
                )
                yield HstImage.of(about, grid, pixels)


def _member(archive: zipfile.ZipFile, member: str) -> bytes:
    """Read one file of a zip, if it is a FITS file that can be opened."""
    about = archive.getinfo(member)
    if about.file_size > ReadLimits.current().expanded_bytes(about.compress_size):
        raise FetchError(f"{member} grows to {about.file_size / 1e9:.1f} GB when it is unpacked")
    content = archive.read(member)
    try:
        check_fits_content(content, member)
    except UnreadableError as error:
        raise FetchError(str(error)) from error
    return content


def _without_name(text: str) -> str:
    return text.partition(": ")[2] or text
