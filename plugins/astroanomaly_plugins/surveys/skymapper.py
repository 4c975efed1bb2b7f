"""Source ``skymapper``: the exposures of the SkyMapper Southern Survey, by its image service (SIA version 1).

One request for the list of exposures that show an object, then one for each band: of its exposures the longest, of
those the one through the least air.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from astroanomaly import fetch
from astroanomaly_plugins.mosaics.files import zero_point
from astroanomaly_plugins.surveys.images import fits_images, headers_of, is_band
from astroanomaly_plugins.surveys.survey import Asked, Found, Service, SurveySource

__all__ = ["SkyMapperSource"]

_MARGIN = 6  # pixels more than the cutout: the exposures are turned a little
_NEEDED = ("band", "get_fits")


class SkyMapperSource(SurveySource):
    """Cutouts of SkyMapper; see the module."""

    name = "skymapper"
    summary = "SkyMapper Southern Survey DR4, by position: the deepest exposure of each band"
    service = Service(
        title="SkyMapper DR4",
        address="https://api.skymapper.nci.org.au/public/siap/dr4/query",
        bands=("u", "v", "g", "r", "i", "z"),
        usual=("u", "v", "g", "r", "i", "z"),
        scale=0.497,
        most_pixels=1200,  # 10 arcmin
        requests=(1, 1),
    )

    def find(self, asked: Asked) -> Mapping[str, Found]:
        """Ask for the exposures of an object, then for its part of the best of each band."""
        found = {}
        for band, row in _best(asked).items():
            what = f"SkyMapper {band} at {asked.place}"
            image = fits_images(
                asked,
                row["get_fits"],
                {},
                what,
                is_band(band, self.service.bands, what),
            )[0]
            product = row.get("unique_image_id") or row.get("image_id") or row["get_fits"]
            found[band] = Found(image, product, _zero_point(image.path))
        return found


@functools.lru_cache(maxsize=64)
def _zero_point(path: Path) -> float:
    """Approximate AB magnitude of one count, as the header says; NaN where it does not."""
    headers = headers_of(path)
    known = next((header["ZPAPPROX"] for header in headers if "ZPAPPROX" in header), None)
    return float(known) if isinstance(known, int | float) else zero_point(*headers)


def _best(asked: Asked) -> dict[str, dict[str, Any]]:
    """Return the exposure of each band to take; none where there is none."""
    side = (asked.size + _MARGIN) * asked.scale / 3600
    params = {
        "POS": f"{asked.ra:.7f},{asked.dec:.7f}",
        "SIZE": f"{side:.6f}",
        "BAND": ",".join(asked.bands),
        "FORMAT": "image/fits",
        "INTERSECT": "CENTER",
        "VERB": "3",
        "RESPONSEFORMAT": "CSV",
    }
    what = f"the list of SkyMapper exposures at {asked.place}"

    def check(path: Path) -> None:
        fetch.rows_of(path, what, _NEEDED)

    request = {"service": asked.address, "query": params}
    path = asked.web.file(asked.address, request, what, params=params, check=check, suffix=".csv")
    best: dict[str, dict[str, Any]] = {}
    for row in sorted(fetch.rows_of(path, what, _NEEDED), key=_order):
        if row["band"] in asked.bands and row["get_fits"]:
            best.setdefault(row["band"], row)
    return best


def _order(row: Mapping[str, Any]) -> tuple[float, float, str]:
    """Sort the longest first, then what came through the least air."""
    return -_number(row.get("exptime"), 0.0), _number(row.get("airmass"), math.inf), row["get_fits"]


def _number(text: Any, otherwise: float) -> float:
    try:
        number = float(text)
    except (TypeError, ValueError):
        return otherwise
    return number if math.isfinite(number) else otherwise
