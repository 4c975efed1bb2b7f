"""Add light to one real cutout: how bright, how large, and the cutout that comes of it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from astroanomaly.errors import ConfigError
from astroanomaly.imaging.flux_scale import AB_OF_MICROJANSKY, microjansky
from astroanomaly.records import CutoutBlock
from astroanomaly.session.injection.hosts import Host
from astroanomaly.session.injection.render import render
from astroanomaly.session.injection.request import InjectionRequest

__all__ = ["BRIGHTNESS", "HOST", "SIZE", "inject_into", "injection_id"]

HOST = "injected_into"  # columns of an injection
SIZE = "injected_size"
BRIGHTNESS = "injected_{}"
_KIND = "injected_kind"
_ZERO_POINT_COLUMNS = ("zero_point_{}", "zeropoint_{}")


def injection_id(number: int, kind: str) -> str:
    """Return the id of the injection with this number, from 0."""
    return f"injected-{kind}-{number + 1:06d}"


def inject_into(host: Host, request: InjectionRequest, number: int) -> CutoutBlock:
    """Draw one injection and add its light to a host; the pixels of the host stay as they are below it.

    Parameters
    ----------
    host
        The object, whose cutout has flux.
    request
        What is injected.
    number
        Number of the injection, from 0: with the seed it decides all that is drawn.

    Returns
    -------
    CutoutBlock
        The cutout with the columns of the host, and its own: host, kind, size, brightness, and flux in each band.

    Raises
    ------
    ConfigError
        If a magnitude is asked for where no zero point is known.
    """
    rng = np.random.default_rng((request.seed, number, 1))
    noise = np.random.default_rng((request.seed, number, 2))
    value = request.brightness.draw(rng)
    low, high = (math.log(end) for end in request.size_px)
    size_px = math.exp(rng.uniform(low, high))
    factors = _microjansky(host, request)
    flux = _flux(host, request, value, factors)
    lights = request.kind.draw(rng)
    data = host.cutout.data.astype(np.float64)
    for band, psf in enumerate(request.psfs):
        if flux[band] <= 0:
            continue
        light = lights[band if len(lights) > 1 else 0]
        added = flux[band] * render(
            light, size_px=size_px, reach=request.kind.reach, centre=host.centre, shape=data.shape[-2:], psf=psf
        )
        if request.gains is not None:
            electrons = np.clip(added, 0, None) * request.gains[band]
            added += (noise.poisson(electrons) - electrons) / request.gains[band]
        data[band] += added
    object_id = injection_id(number, request.kind.name)
    cutout = replace(host.cutout, object_id=object_id, data=data.astype(np.float32))
    own = _columns(host, request, value, size_px, flux, factors)
    return replace(CutoutBlock.of(cutout), columns={**host.columns, **own})


def _microjansky(host: Host, request: InjectionRequest) -> tuple[float, ...]:
    """Microjansky of one stored unit of each band, NaN where unknown."""
    points = []
    for band, given in zip(host.cutout.bands, request.zero_points, strict=True):
        names = [name for form in _ZERO_POINT_COLUMNS if (name := form.format(band)) in host.columns]
        known = host.cutout.columns.get(names[0]) if names else None
        usable = isinstance(known, float | np.floating | int | np.integer)
        points.append(given if math.isfinite(given) or not usable else float(known))  # type: ignore[arg-type]
    return microjansky(host.cutout.units or ("",) * len(points), points)


def _flux(host: Host, request: InjectionRequest, value: float, factors: tuple[float, ...]) -> np.ndarray:
    """``(bands,)`` flux of the light in the units of the pixels."""
    brightness, bands = request.brightness, host.cutout.bands
    reference = bands.index(brightness.band)
    if brightness.quantity == "relative":
        of_reference = value * host.flux[reference]
    elif brightness.quantity == "flux":
        of_reference = value
    else:
        if not math.isfinite(factors[reference]):
            unit = host.cutout.units[reference] if host.cutout.units else ""
            raise ConfigError(
                f"object {host.cutout.object_id!r}: the band {brightness.band} is in {unit or 'an unknown unit'}, and "
                "has no zero point, so that a magnitude is no flux: give the zero points, or a range of flux or of "
                "relative brightness"
            )
        of_reference = 10 ** (-0.4 * (value - AB_OF_MICROJANSKY)) / factors[reference]
    if request.ratios is not None:
        return of_reference * np.array(request.ratios)
    return of_reference * host.flux / host.flux[reference]


def _columns(
    host: Host, request: InjectionRequest, value: float, size_px: float, flux: np.ndarray, factors: tuple[float, ...]
) -> dict[str, Any]:
    """Describe the injection in columns of one value, with their units."""
    from astropy.table import Column

    cutout, quantity = host.cutout, request.brightness.quantity
    columns: dict[str, Any] = {
        HOST: Column([cutout.object_id], description="object that the light was added to"),
        _KIND: Column([request.kind.name], description=f"what was added: {request.kind.summary}"),
        SIZE: Column([size_px], unit="pix", description=f"{request.kind.size} of what was added"),
    }
    if math.isfinite(request.scale_arcsec):
        columns[f"{SIZE}_arcsec"] = Column(
            [size_px * request.scale_arcsec], unit="arcsec", description=f"{request.kind.size} of what was added"
        )
    if quantity == "relative":
        columns[BRIGHTNESS.format(quantity)] = Column([value], description="flux that was added over that of the host")
    for band, added, factor, unit in zip(cutout.bands, flux, factors, cutout.units, strict=True):
        columns[BRIGHTNESS.format(f"flux_{band}")] = Column(
            [float(added)], unit=unit or None, description=f"flux that was added in {band}"
        )
        if math.isfinite(factor) and added > 0:
            magnitude = AB_OF_MICROJANSKY - 2.5 * math.log10(added * factor)
            columns[BRIGHTNESS.format(f"mag_{band}")] = Column(
                [magnitude], unit="mag", description=f"AB magnitude of what was added in {band}"
            )
    return columns
