"""How far positions lie inside the area that an image shows, by its STC-S or DALI region or its field of view."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

from astroanomaly.sky import mean_position
from astroanomaly_plugins.vo.products import Product

__all__ = ["signed_distance"]


def signed_distance(product: Product, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Degrees from positions to the edge of an image, positive inside; NaN where the service does not say where it is.

    Small areas on the tangent plane: good to a thousandth of the distance up to several degrees.
    """
    shapes = list(_shapes(product.region))
    if not shapes and product.ra is not None and product.dec is not None and product.fov_deg:
        shapes = [("CIRCLE", np.array([product.ra, product.dec, product.fov_deg / 2]))]
    if not shapes:
        return np.full(len(ra), np.nan)
    return np.max([_inside(kind, numbers, ra, dec) for kind, numbers in shapes], axis=0)


def _shapes(region: str) -> Iterable[tuple[str, np.ndarray]]:
    """Read DALI polygons and circles and those of STC-S, alone or in a union."""
    words = re.findall(r"[A-Za-z]\w*|[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?", region)
    kind, numbers = "", list[float]()
    for word in [*words, "END"]:
        if not word[0].isalpha():
            numbers.append(float(word))
        elif word.upper() in ("POLYGON", "CIRCLE", "END", "BOX", "POSITION", "UNION", "INTERSECTION", "NOT"):
            if kind == "CIRCLE" and len(numbers) == 3:
                yield kind, np.array(numbers)
            elif kind == "POLYGON" and len(numbers) >= 6 and len(numbers) % 2 == 0:
                yield kind, np.array(numbers).reshape(-1, 2)
            kind, numbers = word.upper(), []


def _inside(kind: str, numbers: np.ndarray, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    center = (float(numbers[0]), float(numbers[1])) if kind == "CIRCLE" else mean_position(*numbers.T)
    x, y = _tangent(ra, dec, center)
    if kind == "CIRCLE":
        return numbers[2] - np.hypot(x, y)
    corners = np.stack(_tangent(numbers[:, 0], numbers[:, 1], center), axis=1)
    corners = corners[np.append(True, (np.abs(np.diff(corners, axis=0)) > 1e-12).any(axis=1))]
    following = np.roll(corners, -1, axis=0)
    inside = np.zeros(len(x), bool)
    nearest = np.full(len(x), np.inf)
    for (ax, ay), (bx, by) in zip(corners, following, strict=True):
        length = (bx - ax) ** 2 + (by - ay) ** 2
        if length <= 0:
            continue
        part = np.clip(((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length, 0, 1)
        nearest = np.minimum(nearest, np.hypot(x - ax - part * (bx - ax), y - ay - part * (by - ay)))
        if ay != by:
            inside ^= ((ay > y) != (by > y)) & (x < ax + (y - ay) * (bx - ax) / (by - ay))
    return np.where(inside, nearest, -nearest)


def _tangent(ra: np.ndarray, dec: np.ndarray, center: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Azimuthal equidistant offsets in degrees: true distances from the centre."""
    a, d = np.radians(np.asarray(ra) - center[0]), np.radians(dec)
    d0 = np.radians(center[1])
    x, y = np.cos(d) * np.sin(a), np.cos(d0) * np.sin(d) - np.sin(d0) * np.cos(d) * np.cos(a)
    z = np.sin(d0) * np.sin(d) + np.cos(d0) * np.cos(d) * np.cos(a)
    angle, length = np.degrees(np.arctan2(np.hypot(x, y), z)), np.hypot(x, y)
    factor = np.divide(angle, length, out=np.full_like(angle, 180 / np.pi), where=length > 1e-15)
    return x * factor, y * factor
