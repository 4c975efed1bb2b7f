"""FITS files that came from a service: the images they hold, and whether those show what was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from astroanomaly import BandError, UnreadableError
from astroanomaly.cutting import pixel_scale_arcsec, sky_to_pixel
from astroanomaly_plugins.mosaics.files import Image, scan, select
from astroanomaly_plugins.shared.astropy_lock import ASTROPY
from astroanomaly_plugins.shared.web import error

__all__ = ["images_of", "shows"]


def images_of(path: Path, what: str, ext: Sequence[str] = ()) -> list[Image]:
    """List the images of a file that have a WCS.

    Parameters
    ----------
    what
        What was asked for, as the message will name it.
    ext
        Extensions to take; empty: the images by their headers.

    Raises
    ------
    FetchError
        If there is none, or the file cannot be read.
    """
    try:
        with ASTROPY:
            found = [image for image in select(scan(path, path.parent), ext) if image.grid is not None]
    except (UnreadableError, BandError) as problem:
        raise error(what, str(problem).replace(str(path), "the file"), retryable=True) from problem
    if not found:
        chosen = f" among the extensions {', '.join(ext)}" if ext else ""
        raise error(what, f"the file holds no image with a WCS{chosen}: choose with --ext")
    return found


def shows(image: Image, ra: float, dec: float, radius_deg: float) -> bool:
    """Whether an image comes as near to a position as the circle that was asked for, in ICRS degrees."""
    if image.grid is None:
        return False
    x, y = sky_to_pixel(image.grid, np.array([ra]), np.array([dec]))
    reach = radius_deg * 3600 / pixel_scale_arcsec(image.grid) + 1
    inside = np.isfinite(x) & (x > -reach) & (y > -reach)
    return bool((inside & (x < image.shape[1] + reach) & (y < image.shape[0] + reach))[0])
