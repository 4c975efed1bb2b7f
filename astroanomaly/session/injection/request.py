"""What is to be injected: kind, brightness, size, PSF; as it was given, checked against the cutouts of a session."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from astroanomaly.arguments import as_list, as_number, as_text, as_whole
from astroanomaly.cache import Cache
from astroanomaly.config import nearest
from astroanomaly.cutting.grids import pixel_scale_arcsec
from astroanomaly.errors import BandError, CacheError, ConfigError
from astroanomaly.session.injection.kinds import KINDS, Kind
from astroanomaly.session.injection.measured_psf import MeasuredPsf, measure_psf
from astroanomaly.session.injection.render import Psf
from astroanomaly.session.injection.stamps import is_fits_name, planes_of_bands, read_planes, stamp_kind
from astroanomaly.sky import angle_text, read_angle

__all__ = ["QUANTITIES", "Brightness", "InjectionRequest"]

QUANTITIES = {"magnitude": "mag", "flux": "", "relative": ""}  # unit of each; of a flux that of the band
_USUAL_RELATIVE = (0.03, 1.0)  # of the flux of the host
_LARGEST_SHARE = 0.5  # of the shorter side of a cutout
_USUAL_SHARE = 0.2
_SMALLEST_PX, _WIDEST_PX = 0.3, 64.0


@dataclass(frozen=True)
class Brightness:
    """A range of brightness, drawn evenly in magnitudes.

    Parameters
    ----------
    quantity
        ``magnitude`` (AB), ``flux`` (in the unit of the pixels) or ``relative`` (to the flux of the host in each band).
    low, high
        Its ends.
    band
        The band that a magnitude or a flux is of.
    """

    quantity: str
    low: float
    high: float
    band: str

    @property
    def logarithmic(self) -> bool:
        """Whether it is even in the logarithm, as fluxes are."""
        return self.quantity != "magnitude"

    def draw(self, rng: np.random.Generator) -> float:
        """Draw one."""
        if self.logarithmic:
            return float(np.exp(rng.uniform(math.log(self.low), math.log(self.high))))
        return float(rng.uniform(self.low, self.high))


@dataclass(frozen=True, eq=False)
class InjectionRequest:
    """What is to be injected into cutouts of one layout.

    Attributes
    ----------
    kind
        The kind of light.
    n
        How many.
    brightness
        The range of brightness.
    size_px
        The range of sizes in pixels, drawn evenly in the logarithm.
    scale_arcsec
        Side of a pixel of the cutouts, NaN without a WCS.
    psfs
        The PSF of each band.
    psf_text
        The same in words.
    measured
        The same as it was measured on stars; None where it was given.
    ratios
        Flux in each band relative to the band of the brightness; None: as the host.
    gains
        Electrons a stored unit in each band; None: unknown, and no photon noise is added.
    zero_points
        AB magnitude of one stored unit in each band, NaN: as the cache says.
    top
        How many of the highest scores count as found; None: what the session says.
    hosts
        The objects that light is added to; None: drawn at random.
    seed
        Seed of everything random.
    """

    kind: Kind
    n: int
    brightness: Brightness
    size_px: tuple[float, float]
    scale_arcsec: float
    psfs: tuple[Psf, ...]
    psf_text: str
    ratios: tuple[float, ...] | None
    gains: tuple[float, ...] | None
    zero_points: tuple[float, ...]
    top: int | None
    hosts: tuple[str, ...] | None
    seed: int
    measured: MeasuredPsf | None = None

    @classmethod
    def of(
        cls,
        cache: Cache,
        kind: str | Path,
        *,
        n: int = 500,
        psf: Any = None,
        psf_stars: Any = None,
        magnitude: Sequence[float] | None = None,
        flux: Sequence[float] | None = None,
        relative: Sequence[float] | None = None,
        size: Any = None,
        band: str | None = None,
        colours: Mapping[str, float] | None = None,
        gain: Any = None,
        zero_points: Any = None,
        hosts: Sequence[str] | None = None,
        top: int | None = None,
        seed: int = 0,
    ) -> InjectionRequest:
        """Check what was asked for; parameters and errors are those of `Session.inject`."""
        layout = cache.layout
        if layout.pixel_kind != "flux":
            raise CacheError(
                f"{cache.folders[0]} holds 8-bit pictures, in which brightness is no flux: light cannot be added to "
                "them. Ingest the FITS images of these objects, as flux, and search in that cache"
            )
        (one,) = cache.cutouts(cache.sample(1, np.random.default_rng(0)))
        scale = math.nan if one.grid is None else pixel_scale_arcsec(one.grid)
        text = as_text(str(kind) if isinstance(kind, Path) else kind, "kind")
        if text in KINDS:
            chosen = KINDS[text]
        elif is_fits_name(text):
            chosen = stamp_kind(Path(text), cache.bands, scale)
        else:
            raise ConfigError(
                f"kind={text!r}: expected one of {', '.join(KINDS)}, or the path of a stamp as FITS"
                f"{nearest(text, KINDS)}"
            )
        bands = cache.bands
        if band is not None and as_text(band, "band") not in bands:
            raise BandError(f"band={band!r}: the bands are {', '.join(bands)}{nearest(band, bands)}")
        brightness = _brightness(magnitude, flux, relative, band or bands[len(bands) // 2])
        measured = _measured(cache, psf, psf_stars)
        psfs, psf_text = (measured.psfs, str(measured)) if measured else _psfs(psf, bands, scale)
        reference = bands.index(brightness.band)
        ratios: tuple[float, ...] | None = None
        if colours is not None:
            given = _by_band(colours, bands, "colours", lowest=0)
            ratios = tuple(value / given[reference] if given[reference] else math.nan for value in given)
        elif chosen.ratios:
            ratios = tuple(value / chosen.ratios[reference] for value in chosen.ratios)
        if ratios is not None and not (np.isfinite(ratios).all() and max(ratios) > 0):
            raise ConfigError(f"colours: the flux in the band {brightness.band} must be more than 0")
        gains = None if gain is None else _by_band(gain, bands, "gain", lowest=0)
        if gains is not None and min(gains) <= 0:
            raise ConfigError(f"gain={min(gains):g}: expected electrons a unit of flux, more than 0")
        points = (math.nan,) * len(bands) if zero_points is None else _by_band(zero_points, bands, "zero_points")
        chosen_ids = None if hosts is None else tuple(dict.fromkeys(as_list(hosts, "hosts", "object ids")))
        if chosen_ids is not None:
            cache.rows(chosen_ids)
        return cls(
            chosen, as_whole(n, "n", 1), brightness, _sizes(size, chosen, psfs, scale, (layout.height, layout.width)),
            scale, psfs, psf_text, ratios, gains, points, None if top is None else as_whole(top, "top", 1), chosen_ids,
            as_whole(seed, "seed"), measured,
        )  # fmt: skip


def _brightness(magnitude: Any, flux: Any, relative: Any, band: str) -> Brightness:
    given = {
        name: value
        for name, value in (("magnitude", magnitude), ("flux", flux), ("relative", relative))
        if value is not None
    }
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)} exclude one another: give one range of brightness")
    name, ends = next(iter(given.items()), ("relative", _USUAL_RELATIVE))
    low, high = _range(ends, name)
    if name != "magnitude" and low <= 0:
        raise ConfigError(f"{name}={low:g}: expected more than 0; it is drawn evenly in magnitudes")
    return Brightness(name, low, high, band)


def _range(ends: Any, name: str) -> tuple[float, float]:
    values = [as_number(value, name) for value in as_list(ends, name, "two numbers")]
    if len(values) != 2 or not values[0] < values[1]:
        raise ConfigError(f"{name}={values}: expected two numbers, the lower one first")
    return values[0], values[1]


def _by_band(value: Any, bands: Sequence[str], name: str, lowest: float = -math.inf) -> tuple[float, ...]:
    """Return a number for each band, from one for all, or one by each name."""
    if not isinstance(value, Mapping):
        return (as_number(value, name, lowest),) * len(bands)
    unknown = [band for band in value if band not in bands]
    missing = [band for band in bands if band not in value]
    if unknown or missing:
        what = f"there is no band {unknown[0]!r}" if unknown else f"none is given for the band {missing[0]}"
        raise BandError(f"{name}: {what}; the bands are {', '.join(bands)}")
    return tuple(as_number(value[band], f"{name}[{band}]", lowest) for band in bands)


def _length_px(value: Any, name: str, scale_arcsec: float) -> float:
    """Return a length in pixels, from a number of pixels, or an angle."""
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        return as_number(value, name, 0)
    text = angle_text(value, name)
    try:
        return as_number(float(text), name, 0)
    except ValueError:
        pass
    arcsec = read_angle(text, "arcsec", name=name)
    if not math.isfinite(scale_arcsec):
        raise ConfigError(f"{name}={text!r} is an angle, but the cutouts have no WCS: give it in pixels")
    return as_number(arcsec / scale_arcsec, name, 0)


def _psfs(psf: Any, bands: Sequence[str], scale_arcsec: float) -> tuple[tuple[Psf, ...], str]:
    """Return the PSF of each band, and what it is in words."""
    if psf is None:
        raise ConfigError(
            "psf: how wide is the PSF? Give its full width at half maximum, in pixels or as an angle (psf=2.5, "
            "psf='0.8arcsec'), by band where they differ, an image of it as FITS, or a table of stars that lie in the "
            "cutouts, to measure it on (psf_stars); 0 convolves with nothing"
        )
    if isinstance(psf, str | Path) and is_fits_name(str(psf)):
        planes = planes_of_bands(read_planes(Path(psf), "the PSF"), bands, Path(psf), "the PSF")
        images = [Psf(0.0, plane.image) for plane in planes]
        return tuple(images * (1 if len(images) > 1 else len(bands))), f"image {Path(psf).name}"
    given = dict(psf) if isinstance(psf, Mapping) else dict.fromkeys(bands, psf)
    widths = {name: _length_px(value, f"psf of {name}", scale_arcsec) for name, value in given.items()}
    found = _by_band(widths, bands, "psf", 0)
    if max(found) > _WIDEST_PX:
        raise ConfigError(f"psf: a width of {max(found):g} pixels: expected at most {_WIDEST_PX:g}")
    words = ", ".join(f"{band} {width:.3g}" for band, width in zip(bands, found, strict=True))
    return tuple(Psf(width) for width in found), f"Moffat profile, FWHM in pixels: {words}"


def _measured(cache: Cache, psf: Any, stars: Any) -> MeasuredPsf | None:
    """Return the PSF as stars have it, if they are to be looked at."""
    if stars is None:
        return None
    if psf is not None:
        raise ConfigError("psf and psf_stars exclude one another: the PSF is given, or measured on stars")
    return measure_psf(cache, stars)


def _sizes(
    size: Any, kind: Kind, psfs: Sequence[Psf], scale_arcsec: float, shape: tuple[int, int]
) -> tuple[float, float]:
    """Return the range of sizes in pixels."""
    largest = _LARGEST_SHARE * min(shape)
    if size is None:
        widest = max(1.0, *(psf.fwhm for psf in psfs))
        low, high = (kind.natural_px,) * 2 if kind.natural_px else (widest, max(2 * widest, _USUAL_SHARE * min(shape)))
    else:
        both = [size, size] if isinstance(size, str | numbers.Real) else as_list(size, "size", "two lengths")
        if len(both) != 2:
            raise ConfigError(f"size: {len(both)} lengths: expected two, the smaller one first, or one for all")
        low, high = (_length_px(value, "size", scale_arcsec) for value in both)
    if not _SMALLEST_PX <= low <= high <= largest:
        raise ConfigError(
            f"size: {low:.3g} to {high:.3g} pixels ({kind.size}): expected {_SMALLEST_PX:g} to {largest:g}, half of "
            "the shorter side of a cutout, the smaller one first"
        )
    return low, high
