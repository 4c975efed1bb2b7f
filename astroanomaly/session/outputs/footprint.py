"""Which part of the sky was searched: the cutouts of a session as a multi-order coverage map."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from astroanomaly.cache import Cache
from astroanomaly.errors import ConfigError
from astroanomaly.files import check_new
from astroanomaly.tables.escape import ascii_text
from astroanomaly.tables.moc import Moc, disc_moc, write_moc

__all__ = ["Footprint", "write_footprint"]

_SAMPLE = 64  # cutouts whose scale is looked at
_SPREAD = 0.01  # how much scales may differ
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Footprint:
    """The part of the sky that was searched.

    Attributes
    ----------
    moc
        Its cells.
    diameter_arcsec
        Of the disc around each object.
    objects, without_position
        How many have a position, and how many have none and are left out.
    """

    moc: Moc
    diameter_arcsec: float
    objects: int
    without_position: int


def write_footprint(
    cache: Cache, path: Path, *, diameter_arcsec: float | None = None, order: int | None = None, overwrite: bool = False
) -> Footprint:
    """Write the footprint of a cache's cutouts; see `astroanomaly.Session.write_footprint`."""
    if path.suffix.lower() not in (".fits", ".fit"):
        raise ConfigError(f"{path}: a footprint is a MOC as FITS, called .fits")
    check_new(path, overwrite=overwrite)
    ra, dec = cache.positions
    there = np.isfinite(ra) & np.isfinite(dec)
    if not there.any():
        raise ConfigError("no object has a position on the sky: there is no footprint")
    size = _diameter(cache) if diameter_arcsec is None else diameter_arcsec
    moc = disc_moc(ra[there], dec[there], size / 3600, order)
    found = Footprint(moc, size, int(there.sum()), int((~there).sum()))
    if found.without_position:
        _log.warning("%d of %d objects have no position and are left out", found.without_position, len(cache))
    names = ascii_text(", ".join(folder.name for folder in cache.folders))
    write_moc(moc, path, iter([("cutouts of", names), ("discs", f"{found.objects} of {size:.6g} arcsec in diameter")]))
    return found


def _diameter(cache: Cache) -> float:
    """Return the shorter side of the cutouts on the sky, in arcseconds.

    Raises
    ------
    ConfigError
        If it is not known, or not the same for all.
    """
    ids = cache.sample(min(len(cache), _SAMPLE), np.random.default_rng(0))
    turned = cache.pictures.compasses(ids)
    scales = np.array([one.scale_arcsec for one in turned if one is not None])
    if not len(scales):
        raise ConfigError("the cutouts have no WCS: say how large they are on the sky with --size, such as 10arcsec")
    if len(scales) < len(turned) or np.ptp(scales) > _SPREAD * scales.min():
        raise ConfigError(
            f"the pixels of the cutouts differ in size ({scales.min():.4g} to {scales.max():.4g} arcsec, unknown for "
            f"{len(turned) - len(scales)} of {len(turned)}): say with --size which part of each counts"
        )
    return float(np.median(scales)) * min(cache.layout.height, cache.layout.width)
