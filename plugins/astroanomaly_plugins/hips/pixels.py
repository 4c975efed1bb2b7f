"""Pixels of an image from hips2fits: flux or colours, in which unit, and how much of it is covered."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from astroanomaly import FetchError
from astroanomaly.cutting import Plane, constant_areas, cut, open_fits, quiet
from astroanomaly_plugins.hips.service import picture
from astroanomaly_plugins.mosaics.planes import open_plane

__all__ = ["Pixels", "read_pixels"]


@dataclass(frozen=True, eq=False)
class Pixels:
    """Pixels of one survey around one position.

    Attributes
    ----------
    images
        ``(1, H, W)`` float32 flux, NaN without data, or ``(3, H, W)`` uint8 red, green and blue.
    coverage
        ``(1,)`` or ``(3,)`` share of pixels with data.
    unit
        Unit of the flux, empty where the service does not say.
    """

    images: np.ndarray
    coverage: np.ndarray
    unit: str = ""

    @property
    def colour(self) -> bool:
        """Whether these are colours for the eye and not flux."""
        return self.images.dtype == np.uint8


def read_pixels(path: Path, form: str) -> Pixels:
    """Read an answer; see `Pixels`. Constant areas along the edge count as not covered.

    Raises
    ------
    FetchError
        If it is neither a flux image nor one of three or four colour planes.
    """
    if form == "fits":
        with quiet(), open_fits(path) as hdulist:
            shape, unit = hdulist[0].shape, str(hdulist[0].header.get("BUNIT", "")).strip()
            colours = np.array(hdulist[0].data) if len(shape) == 3 and shape[0] > 1 else None
        if colours is None:
            images, coverage = _whole([open_plane(path, 0, padded=True)[0]])
            return Pixels(images, coverage, unit)
        if colours.dtype != np.uint8 or len(colours) not in (3, 4):
            reason = f"an image of {len(colours)} planes of {colours.dtype.name} is neither flux nor colours"
            raise FetchError(f"{path}: {reason}", reason=reason)
    else:
        colours = picture(path, str(path))
    _, coverage = _whole([Plane(plane, constant=constant_areas(plane, common=True)) for plane in colours[:3]])
    share = float(coverage.max())
    if len(colours) == 4:
        share = min(share, float((colours[3] > 0).mean()))
    return Pixels(np.ascontiguousarray(colours[:3]), np.full(3, share, np.float32))


def _whole(planes: list[Plane]) -> tuple[np.ndarray, np.ndarray]:
    """Take planes whole: pixels ``(B, H, W)`` and coverage ``(B,)``."""
    height, width = planes[0].stored.shape
    stamps, _, coverage = cut(planes, (width - 1) / 2, (height - 1) / 2, (height, width))
    return stamps[0], coverage[0]
