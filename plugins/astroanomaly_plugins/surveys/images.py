"""One FITS file of a cutout service: fetched, looked at before it is kept, and the images it holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from astroanomaly import fetch
from astroanomaly.cutting import open_fits, quiet
from astroanomaly_plugins.mosaics.files import Image
from astroanomaly_plugins.shared.astropy_lock import ASTROPY
from astroanomaly_plugins.shared.fetched import images_of, shows
from astroanomaly_plugins.shared.web import error
from astroanomaly_plugins.surveys.survey import Asked

__all__ = ["fits_images", "headers_of", "is_band"]


def fits_images(
    asked: Asked,
    url: str,
    params: Mapping[str, Any],
    what: str,
    look: Callable[[Path, Sequence[Image]], None] | None = None,
) -> list[Image]:
    """Return the images of a cutout that show the object.

    Parameters
    ----------
    what
        What is asked for, as messages will name it.
    look
        Looks at the file and its images before they are kept, and raises `FetchError` where they are not what was
        asked for.

    Raises
    ------
    FetchError
        If they cannot be fetched, show another place, or are no FITS images with a WCS.
    """

    def check(path: Path) -> None:
        fetch.is_fits(path, what)
        with ASTROPY:
            images = images_of(path, what)
            if not any(shows(image, asked.ra, asked.dec, asked.radius_deg) for image in images):
                raise error(what, "the WCS of the cutout is not at the position that was asked for")
            if look is not None:
                look(path, images)

    request = {"service": url, "query": {name: str(params[name]) for name in sorted(params)}}
    return images_of(asked.web.file(url, request, what, params=params or None, check=check), what)


def is_band(band: str, known: Sequence[str], what: str) -> Callable[[Path, Sequence[Image]], None]:
    """Make the look that refuses an image whose header names another band of the survey, as in ``g`` or ``g.00000``."""

    def look(path: Path, images: Sequence[Image]) -> None:
        for image in images:
            named = image.header_band.partition(".")[0]
            if named in known and named != band:
                raise error(what, f"the file says that it is band {named}, the service that it is {band}")

    return look


def headers_of(path: Path) -> list[Any]:
    """Return the headers of a file that was checked, in the order of its extensions."""
    with ASTROPY, quiet(), open_fits(path) as hdulist:
        return [hdu.header.copy() for hdu in hdulist]
