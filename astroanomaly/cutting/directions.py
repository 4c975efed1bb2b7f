"""Directions and lengths on the sky at pixels of many grids at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.cutting.frames import celestial_frame
from astroanomaly.cutting.grids import Grid
from astroanomaly.cutting.remarks import quiet
from astroanomaly.errors import UnreadableError
from astroanomaly.sky import unit_vectors

if TYPE_CHECKING:
    from astropy.wcs import WCS

__all__ = ["sky_scales"]

_ARCSEC = float(np.degrees(1) * 3600)  # in a radian
_STEPS = np.array([(0, 0), (-0.5, 0), (0.5, 0), (0, -0.5), (0, 0.5)])  # pixels: the place, left, right, below, above
_FLAT = 1e-4  # a pixel's area over the square of its longer side: below, its sides have one direction
_END = re.compile(rb"END {77}")
# What astropy.wcs reads beyond WCSLIB, or reads otherwise: lookup tables, IRAF's and the DSS's own words, more axes.
_NOT_PLAIN = re.compile(rb"(?i)LOOKUP|AXISCORR|-TAB|WAT\d_|PLTR|CNPIX|AMD[XY]|-TNX|-ZPX|CTYPE[3-9]|WCSAXES *= +[3-9]")
_PV, _SIP_ORDER = re.compile(rb"PV\d_\d"), re.compile(rb"[AB]P?_ORDER")


def sky_scales(places: Sequence[tuple[Grid, float, float]]) -> np.ndarray:
    """Measure the sky at pixels of some grids: one low-level call per grid, one change of frame per frame.

    Parameters
    ----------
    places
        Grid, and x and y on it; (0, 0) is the centre of its first pixel. Places on one grid should share the object.

    Returns
    -------
    numpy.ndarray
        ``(n, 2, 2)`` float64, arcseconds a pixel: how far east (first row) and north (second row) in ICRS a step of one
        pixel in x (first column) and y (second column) leads. NaN where the WCS gives no direction: outside of its
        projection, on a pole, in a frame that is not on the sky.
    """
    sky = np.full((len(places), len(_STEPS), 2), np.nan)  # ICRS degrees
    on_grid: dict[int, list[int]] = {}
    for number, (grid, _, _) in enumerate(places):
        on_grid.setdefault(id(grid), []).append(number)
    other: dict[str, tuple[Any, list[int]]] = {}  # frames that are not ICRS, and their places
    with quiet(), np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        for numbers in on_grid.values():
            try:
                wcs = _wcs(places[numbers[0]][0])
                frame = _frame(wcs)
                pixels = np.array([places[k][1:] for k in numbers], np.float64)[:, None] + _STEPS
                world = np.asarray(wcs.all_pix2world(pixels.reshape(-1, 2), 0), np.float64)
            except (
                UnreadableError,
                ValueError,
                TypeError,
                ArithmeticError,
                RuntimeError,
            ):  # so says a WCS that is none
                continue
            sky[numbers] = world[:, [wcs.wcs.lng, wcs.wcs.lat]].reshape(len(numbers), len(_STEPS), 2)
            if frame is not None:
                other.setdefault(repr(frame), (frame, []))[1].extend(numbers)
        sky[~(np.isfinite(sky).all(axis=-1) & (np.abs(sky[..., 1]) <= 90))] = np.nan
        for frame, numbers in other.values():
            sky[numbers] = _to_icrs(sky[numbers], frame)
        return _differences(sky)


def _wcs(grid: Grid) -> WCS:
    """Return a WCS that is good for `all_pix2world` and for its frame: WCSLIB's own where that is all there is to it.

    That is thirty times as fast to make as astropy's, which counts where every object has a grid of its own.
    """
    from astropy.wcs import WCS, Wcsprm

    end = _END.search(grid.fits)
    text = grid.fits[: end.end()] if end else grid.fits
    sips = text.count(b"-SIP")
    polynomials = (
        sips not in (0, 2)
        or (not sips and _SIP_ORDER.search(text))  # applied by astropy though the axes do not say so
        or (b"-TPV" not in text and _PV.search(text))  # SCAMP's of former years
    )
    if "wcs" in vars(grid) or polynomials or _NOT_PLAIN.search(text):
        return grid.wcs
    core = Wcsprm(header=text, relax=True)
    core.fix()
    core.set()
    wcs = WCS(naxis=2)
    wcs.wcs = core
    return wcs


def _frame(wcs: WCS) -> Any:
    """Return the frame of a WCS, None for ICRS and for FK5 of 2000, which is 0.02 arcsec from it.

    Raises
    ------
    ValueError
        If it has none on the sky.
    """
    core = wcs.wcs
    if core.lng < 0 or core.lat < 0:
        raise ValueError("no celestial axes")
    equinox, system = float(core.equinox), core.radesys
    if core.lngtyp == "RA" and (system == "ICRS" or (system in ("FK5", "") and not abs(equinox - 2000) > 0.001)):
        return None
    return celestial_frame(wcs)


def _to_icrs(sky: np.ndarray, frame: Any) -> np.ndarray:
    """Turn ``(..., 2)`` degrees of a frame into ICRS; what is not finite stays so."""
    from astropy.coordinates import SkyCoord

    found = np.full_like(sky, np.nan)
    good = np.isfinite(sky).all(axis=-1)
    try:
        icrs = SkyCoord(sky[good][:, 0], sky[good][:, 1], unit="deg", frame=frame).icrs
    except (ValueError, TypeError):  # no way from this frame to ICRS
        return found
    found[good] = np.stack([icrs.ra.deg, icrs.dec.deg], axis=-1)
    return found


def _differences(sky: np.ndarray) -> np.ndarray:
    """Turn the ICRS degrees ``(n, 5, 2)`` of the steps into `sky_scales`."""
    vectors = unit_vectors(sky[..., 0].ravel(), sky[..., 1].ravel()).reshape(*sky.shape[:2], 3)
    along = np.stack([vectors[:, 2] - vectors[:, 1], vectors[:, 4] - vectors[:, 3]], axis=-1)  # (n, 3, 2)
    ra, dec = np.radians(sky[:, 0, 0]), np.radians(sky[:, 0, 1])
    east = np.stack([-np.sin(ra), np.cos(ra), np.zeros_like(ra)], axis=-1)
    north = np.stack([-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)], axis=-1)
    scales = np.stack([np.einsum("nk,nkp->np", side, along) for side in (east, north)], axis=1) * _ARCSEC
    area = np.abs(scales[:, 0, 0] * scales[:, 1, 1] - scales[:, 0, 1] * scales[:, 1, 0])
    longer = np.sqrt((scales**2).sum(axis=1).max(axis=-1))
    on_pole = np.cos(dec) * _ARCSEC < longer / 2
    scales[~(area > _FLAT * longer**2) | on_pole] = np.nan
    return scales
