"""Kinds of light that are added to real galaxies: a lensed galaxy, a ring, tidal debris."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from astroanomaly.session.injection.galaxies import RING_RADIUS, TIDAL_FORMS, ring_light, sersic, tidal_light, turn

__all__ = ["KINDS", "Kind", "Light"]

Light: TypeAlias = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Surface brightness at offsets from the centre in units of the size, which are broadcast; only ratios matter."""

_TIDAL_REACH = 3.0  # of `tidal_light`, in its units: where most of its light has ended


@dataclass(frozen=True)
class Kind:
    """A kind of light.

    Parameters
    ----------
    name
        Its name; of a stamp that of its file.
    summary
        What it is, in a line.
    size
        What the size of one is.
    reach
        How far its light goes, in units of the size.
    draw
        Draws one at random: its light in each band, or one light for all bands.
    ratios
        Its flux in each band relative to the first, where it has colours of its own; empty: it has none.
    natural_px
        Its size in pixels of the cutouts where it has one of its own; 0: it has none.
    """

    name: str
    summary: str
    size: str
    reach: float
    draw: Callable[[np.random.Generator], tuple[Light, ...]]
    ratios: tuple[float, ...] = ()
    natural_px: float = 0.0


def _lens(rng: np.random.Generator) -> tuple[Light, ...]:
    """Draw a background galaxy as a singular isothermal ellipsoid shows it (Kormann et al. 1994, A&A 284, 285).

    The host is the lens; its light stays as it is. The source is an exponential disc within 0.7 Einstein radii of the
    optical axis, so that it has arcs and counter-images, or a ring.
    """
    angle, ratio = rng.uniform(0, np.pi), rng.uniform(0.6, 0.98)
    distance, towards = 0.7 * math.sqrt(rng.uniform(0, 1)), rng.uniform(0, 2 * np.pi)
    x0, y0 = distance * math.cos(towards), distance * math.sin(towards)
    r50, source_angle, source_ratio = rng.uniform(0.12, 0.35), rng.uniform(0, np.pi), rng.uniform(0.5, 1)
    flattening = math.sqrt(1 - ratio**2)
    strength = math.sqrt(ratio) / flattening

    def light(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        u, v = turn(x, y, angle)
        depth = np.sqrt(ratio**2 * u**2 + v**2) + 1e-6
        u = u - strength * np.arctan(flattening * u / depth)  # where the light comes from
        v = v - strength * np.arctanh(flattening * v / (depth + 1e-6))
        return sersic(*turn(u - x0, v - y0, source_angle, source_ratio), 1, r50)

    return (light,)


def _ring(rng: np.random.Generator) -> tuple[Light, ...]:
    """Draw a ring with knots, seen from a random side."""
    angle, ratio, width = rng.uniform(0, np.pi), rng.uniform(0.5, 1), rng.uniform(0.1, 0.17)
    knots, phases = rng.normal(0, 1, 5).tolist(), rng.uniform(0, 2 * np.pi, 5).tolist()

    def light(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        u, v = turn(RING_RADIUS * x, RING_RADIUS * y, angle, ratio)
        return ring_light(u, v, width, knots, phases)

    return (light,)


def _tidal(rng: np.random.Generator) -> tuple[Light, ...]:
    """Draw a tail, a stream or shells."""
    form, angle, hand = str(rng.choice(TIDAL_FORMS)), rng.uniform(0, 2 * np.pi), float(rng.choice([-1, 1]))
    sweep, reach, ratio, opening = (
        rng.uniform(*ends) for ends in ((2.2, 3.6), (2.0, 2.4), (0.5, 0.8), (0.45, 0.7))
    )  # fmt: skip

    def light(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        u, v = turn(_TIDAL_REACH * x, _TIDAL_REACH * y, angle)
        return tidal_light(u, hand * v, form, sweep, reach, ratio, opening)

    return (light,)


KINDS = {
    kind.name: kind
    for kind in (
        Kind("lens", "a background galaxy, lensed by the host", "Einstein radius", 3.0, _lens),
        Kind("ring", "a ring with knots around the host", "radius of the ring", 1.7, _ring),
        Kind("tidal", "a tidal tail, a stream or shells around the host", "radius that it reaches", 1.4, _tidal),
    )
}
