"""Files from a Euclid archive: checked, then read."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from astroanomaly import FetchError, Grid, UnreadableError, fetch, read_votable
from astroanomaly.cutting import Plane, first_pixels, open_fits, quiet, sky_to_pixel
from astroanomaly_plugins.euclid.bands import fits_band
from astroanomaly_plugins.mosaics.files import Image, scan
from astroanomaly_plugins.mosaics.planes import BROKEN, open_plane

if TYPE_CHECKING:
    from astropy.io.fits import Header
    from astropy.table import Table

__all__ = ["Band", "check_cutout", "header_of", "image_of", "open_band", "read_answer", "zero_point"]


_MAX_EXTRA_PIXELS = 6  # that a cutout is longer than needed: two and a rounding at both ends


@dataclass(frozen=True, eq=False)
class Band:
    """The pixels of one band around one object, and what its header says."""

    plane: Plane
    grid: Grid
    filter: str
    unit: str
    zero_point: float


def image_of(path: Path) -> Image:
    """Return the image of a mosaic or of a cutout from one: the first of two axes and with a WCS.

    Raises
    ------
    UnreadableError
        If the file has none, or is damaged.
    """
    images = scan(path, path.parent)
    found = next((image for image in images if len(image.shape) == 2 and image.grid is not None), None)
    if found is None:
        raise UnreadableError(f"{path} holds no image with a WCS")
    return found


def header_of(image: Image) -> Header:
    """Read the header of an image."""
    with quiet(), open_fits(image.path) as hdulist:
        return hdulist[image.hdu].header


def zero_point(header: Header) -> float:
    """AB magnitude of one unit of flux, NaN where the header has none."""
    value = header.get("MAGZERO", np.nan)
    return float(value) if isinstance(value, int | float) else float("nan")


def check_cutout(path: Path, what: str, band: str, ra: float, dec: float, size_hw: tuple[int, int]) -> None:
    """Refuse a cutout that is no whole FITS file, of another band, or of another place.

    Raises
    ------
    FetchError
        Worth another try: archives have been seen to mix up files.
    """
    fetch.is_fits(path, what)
    try:
        image = image_of(path)
        header = header_of(image)
    except UnreadableError as error:
        raise _refusal(what, "the answer holds no image with a WCS") from error
    filter = str(header.get("FILTER", ""))
    if not fits_band(filter, band):
        raise _refusal(what, f"the file that came is of the band {filter}, not of {band}")
    if image.grid is None:
        raise _refusal(what, "the answer holds no image with a WCS")
    x, y = sky_to_pixel(image.grid, [ra], [dec])
    (height, width), side = image.shape, max(size_hw)
    if not (_is_around(x[0], width, side) and _is_around(y[0], height, side)):
        raise _refusal(what, "the file that came does not show the position that was asked for")


def _is_around(position: float, length: int, size: int) -> bool:
    """Whether an image holds a cutout along one axis, or as much of it as the edge of the mosaic leaves.

    What is missing has to be what the image is shorter than was asked for: else it was cut somewhere else.
    """
    if not np.isfinite(position):
        return False
    first = int(first_pixels(np.array([position]), size)[0])
    missing = max(0, -first) + max(0, first + size - length)
    return missing == 0 or (missing < size and length + missing <= size + _MAX_EXTRA_PIXELS)


def _refusal(what: str, reason: str) -> FetchError:
    return FetchError(f"{what}: {reason}", retryable=True, reason=reason)


def open_band(path: Path) -> Band:
    """Open a checked cutout.

    Raises
    ------
    UnreadableError
        If it has been damaged or removed since.
    """
    image = image_of(path)
    header = header_of(image)
    plane, grid = open_plane(path, image.hdu)
    if grid is None:
        raise UnreadableError(f"{path} holds no image with a WCS")
    return Band(plane, grid, str(header.get("FILTER", "")).strip(), image.unit, zero_point(header))


def read_answer(path: Path, what: str) -> Table:
    """Read the first table of the VOTable that an archive has sent.

    Raises
    ------
    FetchError
        If there is none.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on an archive's VOTables are not for its users
            return read_votable(path).get_first_table().to_table(use_names_over_ids=True)
    except BROKEN as error:
        raise FetchError(f"{what}: the answer is no readable table: {error}") from error
