"""Source ``panstarrs``: the stacks of Pan-STARRS1 DR2, by the image list and the cutout service of STScI.

One request for the list of the stacks that show an object, then one for each band. The stacks hold asinh magnitudes
(``BSOFTEN``, ``BOFFSET``), which become linear flux when they are read.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urljoin

from astroanomaly import fetch
from astroanomaly_plugins.surveys.images import fits_images, headers_of, is_band
from astroanomaly_plugins.surveys.survey import Asked, Found, Service, SurveySource

__all__ = ["PanstarrsSource"]

_MARGIN = 4  # pixels more than the cutout, since the service rounds to whole ones
_NEEDED = ("filter", "filename")


class PanstarrsSource(SurveySource):
    """Cutouts of Pan-STARRS1; see the module."""

    name = "panstarrs"
    summary = "Pan-STARRS1 DR2 stacks, by position: linear flux from the cutout service of STScI"
    service = Service(
        title="Pan-STARRS1 DR2",
        address="https://ps1images.stsci.edu/cgi-bin/",
        bands=("g", "r", "i", "z", "y"),
        usual=("g", "r", "i", "z", "y"),
        scale=0.25,
        most_pixels=6000,
        requests=(1, 1),
    )

    def find(self, asked: Asked) -> Mapping[str, Found]:
        """Ask for the stacks of an object, then for the part of each."""
        found = {}
        for band, name in _stacks(asked).items():
            params = {
                "red": name,
                "format": "fits",
                "ra": f"{asked.ra:.7f}",
                "dec": f"{asked.dec:.7f}",
                "size": str(asked.size + _MARGIN),
            }
            what = f"Pan-STARRS {band} at {asked.place}"
            image = fits_images(
                asked,
                urljoin(asked.address, "fitscut.cgi"),
                params,
                what,
                is_band(band, self.service.bands, what),
            )[0]
            found[band] = Found(image, Path(name).name, _zero_point(image.path, image.hdu))
        return found


@functools.lru_cache(maxsize=64)
def _zero_point(path: Path, number: int) -> float:
    """AB magnitude of one unit of the linear flux of a stack (Waters et al. 2020, ApJS 251, 4)."""
    exposure = next((h["EXPTIME"] for h in reversed(headers_of(path)[: number + 1]) if "EXPTIME" in h), 0)
    return 25 + 2.5 * math.log10(exposure) if isinstance(exposure, int | float) and exposure > 0 else math.nan


def _stacks(asked: Asked) -> dict[str, str]:
    """Return the file of the stack of each band at a position; none where there is none."""
    params = {
        "ra": f"{asked.ra:.7f}",
        "dec": f"{asked.dec:.7f}",
        "filters": "".join(asked.bands),
        "type": "stack",
    }
    what = f"the list of Pan-STARRS stacks at {asked.place}"
    url = urljoin(asked.address, "ps1filenames.py")

    def check(path: Path) -> None:
        fetch.rows_of(path, what, _NEEDED, " ")

    path = asked.web.file(url, {"service": url, "query": params}, what, params=params, check=check, suffix=".txt")
    rows = [row for row in fetch.rows_of(path, what, _NEEDED, " ") if row.get("type", "stack") == "stack"]
    rows.sort(key=lambda row: row.get("badflag", "0") != "0")  # what is flagged comes last
    named: dict[str, str] = {}
    for row in rows:
        if row["filter"] in asked.bands:
            named.setdefault(row["filter"], row["filename"])
    return named
