"""Source ``legacy``: the DESI Legacy Imaging Surveys, by the cutout service of their sky viewer.

One request for each object: a FITS cube of all bands on a TAN grid around it, and their inverse variance if it is asked
for. Bands are those of the header. The service takes all bands where it does not know one, so this is looked at.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from astroanomaly import ConfigError, FetchError, option
from astroanomaly.sky import arcsec_number
from astroanomaly_plugins.mosaics.files import Image
from astroanomaly_plugins.shared.web import error
from astroanomaly_plugins.surveys.images import fits_images, headers_of
from astroanomaly_plugins.surveys.survey import Asked, Found, Service, SurveyOptions, SurveySource

__all__ = ["LegacyOptions", "LegacySource"]

_LEAST_SCALE, _MOST_SCALE = 0.05, 30.0


@dataclass(frozen=True)
class LegacyOptions(SurveyOptions):
    """Options of the source ``legacy``."""

    layer: str = option("ls-dr10", "layer of the sky viewer: ls-dr10, ls-dr9, ls-dr9-north ...")
    invvar: bool = option(False, "carry the inverse variance of each band beside it, as g:weight")
    pixel_scale: float = option(
        0.262,
        "side of a pixel in arcsec, to which the service resamples",
        convert=arcsec_number,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.layer or not self.layer.replace("-", "").replace("_", "").replace(".", "").isalnum():
            raise ConfigError(f"layer={self.layer!r}: expected a layer of the sky viewer, as in ls-dr10")
        if not _LEAST_SCALE <= self.pixel_scale <= _MOST_SCALE:
            raise ConfigError(f"pixel_scale={self.pixel_scale}: expected {_LEAST_SCALE:g} to {_MOST_SCALE:g} arcsec")


class LegacySource(SurveySource):
    """Cutouts of the Legacy Surveys; see the module."""

    name = "legacy"
    summary = "DESI Legacy Imaging Surveys, by position: cutouts with inverse variance from the sky viewer"
    Options = LegacyOptions
    service = Service(
        title="Legacy Surveys",
        address="https://www.legacysurvey.org/viewer/cutout.fits",
        bands=("u", "g", "r", "i", "z"),
        usual=("g", "r", "z"),
        scale=0.262,
        most_pixels=3000,
        requests=(1, 0),
        unit="nanomaggy",
        zero_point=22.5,
        nodata=0.0,
    )

    def more(self, options: LegacyOptions) -> dict[str, Any]:
        """Return layer, inverse variance and pixel scale."""
        return {"layer": options.layer, "invvar": options.invvar, "pixel_scale": options.pixel_scale}

    def about(self, options: LegacyOptions) -> tuple[str, ...]:
        """Return the weight, if it is asked for."""
        return ("weight",) if options.invvar else ()

    def find(self, asked: Asked) -> Mapping[str, Found]:
        """Fetch the cube of an object."""
        params = {
            "ra": f"{asked.ra:.7f}",
            "dec": f"{asked.dec:.7f}",
            "layer": asked.more["layer"],
            "pixscale": f"{asked.scale:g}",
            "size": str(asked.size),
            "bands": "".join(asked.bands),
            **({"invvar": ""} if asked.more["invvar"] else {}),
        }
        what = f"{asked.more['layer']} at {asked.place}"
        try:
            images = fits_images(asked, asked.address, params, what, functools.partial(_look, asked=asked, what=what))
        except FetchError as problem:
            if 400 <= problem.status < 500 and "overlap" in problem.reason.lower():
                return {}
            raise
        numbers = sorted({image.hdu for image in images})
        planes = [[image for image in images if image.hdu == number] for number in numbers]
        flux, weight = planes[0], planes[1] if asked.more["invvar"] else []
        return {
            band: Found(image, str(asked.more["layer"]), about={"weight": weight[k]} if weight else {})
            for k, (band, image) in enumerate(zip(asked.bands, flux, strict=True))
        }


def _look(path: Path, images: Sequence[Image], *, asked: Asked, what: str) -> None:
    """Refuse other bands, another size, and flux alone where the inverse variance was asked for."""
    headers = headers_of(path)
    numbers = sorted({image.hdu for image in images})
    kinds = ("IMAGE", "INVVAR")[: 2 if asked.more["invvar"] else 1]
    if len(numbers) < len(kinds):
        raise error(what, f"the service has no inverse variance of {asked.more['layer']}: leave out --invvar")
    for number, kind in zip(numbers, kinds, strict=False):
        header = headers[number]
        bands = str(header.get("BANDS", "")).strip()
        if bands != "".join(asked.bands):
            raise error(
                what,
                f"the file holds the bands {bands or 'of no name'}, not {''.join(asked.bands)}: the layer has others "
                "(--bands)",
            )
        if str(header.get("IMAGETYP", kind)).strip().upper() != kind:
            raise error(what, f"the file holds {header['IMAGETYP']} where {kind} is expected")
        shapes = {tuple(image.shape) for image in images if image.hdu == number}
        count = sum(image.hdu == number for image in images)
        if shapes != {(asked.size, asked.size)} or count != len(asked.bands):
            shape = " x ".join(str(side) for side in shapes.pop()[::-1])
            raise error(what, f"the image has {count} x {shape} pixels, {asked.size} x {asked.size} were asked for")
