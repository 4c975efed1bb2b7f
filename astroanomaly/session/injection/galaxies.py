"""Shapes of galaxies, ordinary and rare, as functions of position: for injections, and for the sky of the demo."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

__all__ = [
    "NOMINAL_SHAPES",
    "RARITIES",
    "RING_RADIUS",
    "TIDAL_FORMS",
    "Shape",
    "draw_shape",
    "ring_light",
    "sersic",
    "tidal_light",
    "turn",
    "unit_sum",
]

RING_RADIUS = 1.25  # of `ring_light`, in units of about a half-light radius
TIDAL_FORMS = ("tail", "stream", "shells")

Shape: TypeAlias = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Surface brightness of old (red) and of young (blue) stars at coordinates in units of about a half-light radius.

The coordinates are broadcast against each other and cover the whole object; only the ratio of the values matters.
"""


def draw_shape(name: str, rng: np.random.Generator) -> Shape:
    """Draw one shape of a kind: a key of `NOMINAL_SHAPES` or one of `RARITIES`."""
    nominal = NOMINAL_SHAPES.get(name)
    return (nominal.make if nominal else _RARE_SHAPES[name])(rng)


def turn(x: np.ndarray, y: np.ndarray, angle: float, ratio: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Turn coordinates by ``angle`` and stretch the minor axis: ellipses of axis ratio ``ratio`` become circles."""
    cos, sin = math.cos(angle), math.sin(angle)
    return cos * x + sin * y, (cos * y - sin * x) / ratio


def unit_sum(image: np.ndarray) -> np.ndarray:
    """Scale an image to the sum 1."""
    return image / image.sum()


def sersic(x: np.ndarray, y: np.ndarray, index: float, r50: float = 1.0) -> np.ndarray:
    """Return a Sersic (1968) profile of unit sum; the innermost cusp is softened, for it is below the PSF."""
    b = 2 * index - 1 / 3 + 0.009876 / index  # Prugniel & Simien 1997
    squared = (x * x + y * y + 0.0016) / r50**2
    return unit_sum(np.exp(-b * squared ** (0.5 / index)))


def _blob(x: np.ndarray, y: np.ndarray, x0: float, y0: float, sigma: float) -> np.ndarray:
    return np.exp(-0.5 * ((x - x0) ** 2 + (y - y0) ** 2) / sigma**2)


def _inclination(rng: np.random.Generator, lowest: float = 0.0) -> float:
    """Draw the axis ratio of a disc of thickness 0.18 seen from a random side."""
    cosine = rng.uniform(lowest, 1)
    return float(np.sqrt(cosine**2 * (1 - 0.18**2) + 0.18**2))


def _lumps(rng: np.random.Generator, strength: float) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Draw a smooth random modulation around 1: a few plane waves."""
    waves = rng.normal(0, 1.6, (4, 2)).tolist()
    phases = rng.uniform(0, 2 * np.pi, 4).tolist()

    def modulation(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        total = sum(np.cos(a * x + b * y + p) for (a, b), p in zip(waves, phases, strict=True))
        return np.exp(strength / math.sqrt(2) * total)

    return modulation


def _elliptical(rng: np.random.Generator) -> Shape:
    angle, ratio, index = rng.uniform(0, np.pi), rng.uniform(0.5, 1), rng.uniform(2.5, 4.5)

    def shape(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return sersic(*turn(x, y, angle, ratio), index), np.zeros(np.broadcast(x, y).shape)

    return shape


def _disc(rng: np.random.Generator) -> Shape:
    angle, ratio, young, lumps = rng.uniform(0, np.pi), _inclination(rng, 0.2), rng.uniform(0.2, 0.6), _lumps(rng, 0.15)

    def shape(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        u, v = turn(x, y, angle, ratio)
        return (1 - young) * sersic(u, v, 1, 0.9), young * unit_sum(sersic(u, v, 1, 1.2) * lumps(u, v))

    return shape


def _bulge_disc(rng: np.random.Generator) -> Shape:
    angle, ratio, bulge = rng.uniform(0, np.pi), _inclination(rng, 0.25), rng.uniform(0.2, 0.6)
    bar, bar_angle = rng.uniform(0, 0.35) * (rng.random() < 0.5), rng.uniform(0, np.pi)

    def shape(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        u, v = turn(x, y, angle, ratio)
        old = bulge * sersic(*turn(x, y, angle, 0.5 + ratio / 2), 2.5, 0.35)
        old = old + bar * sersic(*turn(u, v, bar_angle, 0.3), 0.7, 0.6)
        disc = sersic(u, v, 1, 1.3)
        return old + 0.75 * (1 - bulge) * disc, 0.25 * (1 - bulge) * disc

    return shape


def _spiral(rng: np.random.Generator) -> Shape:
    angle, ratio = rng.uniform(0, np.pi), _inclination(rng, 0.35)
    bulge, young = rng.uniform(0.05, 0.35), rng.uniform(0.35, 0.7)
    arms, winding = (
        int(rng.choice([2, 2, 2, 3, 4])),
        float(rng.choice([-1, 1])) / math.tan(math.radians(rng.uniform(9, 20))),
    )
    start, sharpness, lumps = rng.uniform(0, 2 * np.pi), rng.uniform(0.4, 1.4), _lumps(rng, 0.25)
    bar = rng.uniform(0.1, 0.3) * (rng.random() < 0.35)

    def shape(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        u, v = turn(x, y, angle, ratio)
        radius = np.hypot(u, v) + 0.02
        phase = arms * (np.arctan2(v, u) - winding * np.log(np.maximum(radius, 0.3))) + start
        contrast = np.exp(sharpness * np.minimum(2 * radius, 1) * (np.cos(phase) - 1))
        old = bulge * sersic(*turn(x, y, angle, 0.5 + ratio / 2), 2, 0.25)
        old = old + bar * sersic(*turn(u, v, (start + winding) % np.pi, 0.28), 0.6, 0.5)
        old = old + (1 - bulge) * (1 - young) * unit_sum(sersic(u, v, 1, 1.1) * (0.6 + contrast))
        return old, (1 - bulge) * young * unit_sum(sersic(u, v, 1, 1.4) * (0.06 + contrast * lumps(u, v)))

    return shape


def _edge_on(rng: np.random.Generator) -> Shape:
    angle, thickness, bulge = rng.uniform(0, np.pi), rng.uniform(0.1, 0.2), rng.uniform(0.05, 0.4)
    dust, height = rng.uniform(0, 0.75), rng.normal(0, 0.06)

    def shape(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        u, v = turn(x, y, angle)
        lane = 1 - dust * np.exp(-0.5 * ((v - height) / 0.09) ** 2) * np.exp(-0.5 * (u / 2) ** 2)
        disc = sersic(u, v / thickness, 1, 1.6) * lane
        return bulge * sersic(u, v / 0.75, 2, 0.4) * lane + 0.7 * (1 - bulge) * disc, 0.3 * (1 - bulge) * disc

    return shape


def _irregular(rng: np.random.Generator) -> Shape:
    angle, ratio, number = rng.uniform(0, np.pi), rng.uniform(0.35, 1), int(rng.integers(5, 15))
    positions, sizes = rng.normal(0, 0.8, (number, 2)).tolist(), rng.uniform(0.12, 0.4, number).tolist()
    weights, lumps, clumpy = rng.dirichlet(np.ones(number)).tolist(), _lumps(rng, 0.4), rng.uniform(0.25, 0.6)

    def shape(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        u, v = turn(x, y, angle, ratio)
        young = sum(w * _blob(u, v, a, b, s) / s**2 for (a, b), s, w in zip(positions, sizes, weights, strict=True))
        return (1 - clumpy) * unit_sum(sersic(u, v, 0.8, 1.1) * lumps(u, v)), clumpy * unit_sum(np.asarray(young))

    return shape


def _blend(rng: np.random.Generator) -> Shape:
    """Draw two unrelated galaxies that happen to lie side by side: what a merger must be told from."""
    first, second = (draw_shape(str(rng.choice(["elliptical", "disc", "bulge_disc", "spiral"])), rng) for _ in "ab")
    distance, angle = rng.uniform(1.4, 3.0), rng.uniform(0, 2 * np.pi)
    size, weight = rng.uniform(0.45, 0.9), rng.uniform(0.12, 0.5)

    def shape(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        one = first(x, y)
        two = second((x - distance * math.cos(angle)) / size, (y - distance * math.sin(angle)) / size)
        return one[0] + weight * two[0], one[1] + weight * two[1]

    return shape


def ring_light(
    u: np.ndarray, v: np.ndarray, width: float, knots: Sequence[float], phases: Sequence[float]
) -> np.ndarray:
    """Surface brightness of a ring of radius `RING_RADIUS` and a Gaussian profile, with knots along it."""
    theta = np.arctan2(v, u)
    beads = sum(k * np.cos((m + 1) * theta + p) for m, (k, p) in enumerate(zip(knots, phases, strict=True)))
    return np.exp(-0.5 * ((np.hypot(u, v) - RING_RADIUS) / width) ** 2 + 0.25 * beads)


def _ring(rng: np.random.Generator) -> Shape:
    """Draw a detached ring with knots around a nucleus that may sit off its centre."""
    angle, ratio, light = rng.uniform(0, np.pi), rng.uniform(0.5, 1), rng.uniform(0.65, 0.85)
    width, shift = rng.uniform(0.1, 0.17), rng.normal(0, 0.13, 2).tolist()
    knots, phases = rng.normal(0, 1, 5).tolist(), rng.uniform(0, 2 * np.pi, 5).tolist()

    def shape(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        u, v = turn(x, y, angle, ratio)
        ring = ring_light(u, v, width, knots, phases)
        old = (1 - light) * sersic(u - shift[0], v - shift[1], 2, 0.3) + 0.25 * light * unit_sum(ring)
        return old, 0.75 * light * unit_sum(ring)

    return shape


def _merger(rng: np.random.Generator) -> Shape:
    """Draw two nuclei in a common, disturbed envelope, a bridge between them and a tail on either side."""
    angle, apart, weight = rng.uniform(0, np.pi), rng.uniform(0.75, 1.05), rng.uniform(0.35, 0.5)
    bend, ratios, turns = rng.uniform(0.25, 0.5), rng.uniform(0.45, 0.9, 2).tolist(), rng.uniform(0, np.pi, 2).tolist()
    tail, light, hand = rng.uniform(1.0, 1.6), rng.uniform(0.4, 0.55), float(rng.choice([-1, 1]))
    path = np.linspace(0, 1, 16).tolist()  # from the nucleus outwards

    def shape(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        u, v = turn(x, y, angle)
        v = hand * v
        one = sersic(*turn(u - apart, v, turns[0], ratios[0]), 1.5, 0.42)
        two = sersic(*turn(u + apart, v, turns[1], ratios[1]), 1.5, 0.42)
        along = np.clip(u, -apart, apart)
        bridge = np.exp(-0.5 * ((u - along) ** 2 + (v - bend * np.sin(math.pi * along / apart)) ** 2) / 0.16**2)
        tails = np.zeros_like(bridge)
        for side in (-1, 1):
            for t in path:
                tails += (1 - 0.8 * t) * _blob(
                    u, v, side * (apart + tail * math.sin(1.7 * t)), side * tail * 1.2 * t**1.5, 0.17
                )
        old = (1 - light) * (weight * one + (1 - weight) * two) + 0.1 * sersic(u, v / 0.7, 1, 1.4)
        return old, light * (0.4 * unit_sum(bridge) + 0.6 * unit_sum(tails))

    return shape


def _arc(rng: np.random.Generator) -> Shape:
    """Draw a spheroid with one or two tangential arcs of a lensed blue galaxy."""
    angle, ratio, index = rng.uniform(0, np.pi), rng.uniform(0.65, 1), rng.uniform(2.5, 4)
    radius, width, light = rng.uniform(1.5, 2.0), rng.uniform(0.13, 0.18), rng.uniform(0.4, 0.55)
    middle, length = rng.uniform(0, 2 * np.pi), math.radians(rng.uniform(30, 60))
    counter = rng.uniform(0.15, 0.5)

    def shape(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        u, v = turn(x, y, angle, 0.5 + ratio / 2)
        r, theta = np.hypot(u, v), np.arctan2(v, u)
        away = np.angle(np.exp(1j * (theta - middle)))
        back = np.angle(np.exp(1j * (theta - middle - math.pi)))
        arcs = np.exp(-0.5 * ((r - radius) / width) ** 2 - (away / length) ** 4)
        arcs = arcs + counter * np.exp(-0.5 * ((r - 0.75 * radius) / width) ** 2 - (back / (0.4 * length)) ** 2)
        return (1 - light) * sersic(*turn(x, y, angle, ratio), index, 0.7), light * unit_sum(arcs)

    return shape


def tidal_light(
    u: np.ndarray, v: np.ndarray, form: str, sweep: float, reach: float, ratio: float, opening: float
) -> np.ndarray:
    """Surface brightness of what a torn companion has left: one of `TIDAL_FORMS`.

    Parameters
    ----------
    u, v
        Coordinates in units of about a half-light radius.
    form
        A long curved tail, a stream that loops around the galaxy, or shells.
    sweep, reach
        Of a tail: the angle it covers in radians, and how far it goes beyond 0.7.
    ratio
        Of a stream: its axis ratio.
    opening
        Of shells: half of their opening angle in radians.
    """
    if form == "shells":
        r, theta = np.hypot(u, v), np.arctan2(v, u)
        total = np.zeros_like(r)
        for radius, side in ((1.2, 0.0), (1.8, np.pi), (2.5, 0.0)):
            away = np.angle(np.exp(1j * (theta - side)))
            inside = np.clip(r - radius, -9, 0)  # sharp outside, fading inwards
            total += np.exp(inside / 0.22 - (np.clip(r - radius, 0, 9) / 0.06) ** 2 - (away / opening) ** 4) / radius
        return total
    total = np.zeros(np.broadcast(u, v).shape)
    for t in np.linspace(0, 1, 40).tolist():
        if form == "tail":
            r, theta = 0.7 + reach * t, sweep * t**0.8
            total += (1 - 0.75 * t) * _blob(u, v, r * math.cos(theta), r * math.sin(theta), 0.15 + 0.08 * t)
        else:
            theta = 5.2 * t
            total += (1 - 0.5 * t) * _blob(u, v, 1.9 * math.cos(theta) + 0.5, 1.9 * ratio * math.sin(theta), 0.15)
    return total


def _tidal(rng: np.random.Generator) -> Shape:
    """Draw a galaxy with a long curved tail, a stream that loops around it, or shells."""
    host = draw_shape(str(rng.choice(["elliptical", "disc", "bulge_disc"])), rng)
    form, angle, light = (
        str(rng.choice(TIDAL_FORMS)),
        rng.uniform(0, 2 * np.pi),
        rng.uniform(0.4, 0.55),
    )
    hand, sweep, reach = float(rng.choice([-1, 1])), rng.uniform(2.2, 3.6), rng.uniform(2.4, 3.2)
    ratio, opening = rng.uniform(0.5, 0.8), rng.uniform(0.45, 0.7)

    def shape(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        old, young = host(x * 1.25, y * 1.25)
        u, v = turn(x, y, angle)
        extra = light * unit_sum(tidal_light(u, hand * v, form, sweep, reach, ratio, opening))
        return (1 - light) * old + 0.5 * extra, (1 - light) * young + 0.5 * extra

    return shape


class _Nominal(NamedTuple):
    """An ordinary shape."""

    make: Callable[[np.random.Generator], Shape]
    share: float  # of all nominal objects
    red: float  # share of them that has the colour of old stars


NOMINAL_SHAPES = {
    "spiral": _Nominal(_spiral, 0.2, 0.12),
    "elliptical": _Nominal(_elliptical, 0.22, 0.85),
    "bulge_disc": _Nominal(_bulge_disc, 0.2, 0.5),
    "disc": _Nominal(_disc, 0.2, 0.2),
    "irregular": _Nominal(_irregular, 0.1, 0.0),
    "edge_on": _Nominal(_edge_on, 0.03, 0.4),
    "blend": _Nominal(_blend, 0.05, 0.45),
}
_RARE_SHAPES = {"ring": _ring, "merger": _merger, "arc": _arc, "tidal": _tidal}
RARITIES = tuple(_RARE_SHAPES)
