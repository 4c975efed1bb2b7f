"""How a cutout is turned for the eye: which way is up, for every picture that is drawn of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np

from astroanomaly.parallel.cores import available_cores

__all__ = ["ORIENTATIONS", "Orientation", "OrientationChoice", "native", "orient", "show"]

OrientationChoice = Literal["north", "north-quarter", "stored"]
ORIENTATIONS: tuple[str, ...] = get_args(OrientationChoice)
_UNNOTICED_PX = 1.0  # a turn that moves no pixel of the picture by more than this is left out
_THREADS = 8


@dataclass(frozen=True)
class Orientation:
    """How the pixels of a cutout are turned. Without any turn the first row is at the bottom, as in DS9.

    The parts are applied in the order of the attributes, around the middle. A picture has the height and the width of
    the cutout, and one pixel of it is as large as one of the cutout: what falls outside is cut off. Positions are x to
    the right and y up, (0, 0) the centre of the pixel at the lower left, as seen.

    Attributes
    ----------
    mirror
        Whether left and right are exchanged.
    turns
        Quarter turns, counter-clockwise, 0 to 3.
    angle
        What is left, in degrees, counter-clockwise; if it is not 0 pixels are interpolated (bilinear), and the edge of
        the cutout fades within a pixel.
    """

    mirror: bool = False
    turns: int = 0
    angle: float = 0.0

    @cached_property
    def matrix(self) -> np.ndarray:
        """``(2, 2)`` float64, orthogonal: turns a step (x, y) in stored pixels into one as seen."""
        cosine, sine = (1, 0, -1, 0)[self.turns], (0, 1, 0, -1)[self.turns]
        quarter = np.array([(cosine, -sine), (sine, cosine)], np.float64)
        c, s = math.cos(math.radians(self.angle)), math.sin(math.radians(self.angle))
        mirror = np.diag([-1.0 if self.mirror else 1.0, 1.0])
        matrix: np.ndarray = np.array([(c, -s), (s, c)]) @ quarter @ mirror
        return matrix

    def to_shown(self, x: Any, y: Any, shape: tuple[int, int]) -> tuple[Any, Any]:
        """Turn stored pixel positions into positions as seen.

        Parameters
        ----------
        x, y
            Numbers or arrays, zero-based: column and row of the array.
        shape
            ``(height, width)`` of the cutout in pixels.
        """
        return self._map(self.matrix, x, y, _middle(shape), _middle(shape) + self._shift(shape))

    def to_stored(self, x: Any, y: Any, shape: tuple[int, int]) -> tuple[Any, Any]:
        """Turn positions as seen into stored pixel positions; the inverse of `to_shown`."""
        return self._map(self.matrix.T, x, y, _middle(shape) + self._shift(shape), _middle(shape))

    @staticmethod
    def _map(matrix: np.ndarray, x: Any, y: Any, start: np.ndarray, end: np.ndarray) -> tuple[Any, Any]:
        dx, dy = x - start[0], y - start[1]
        return matrix[0, 0] * dx + matrix[0, 1] * dy + end[0], matrix[1, 0] * dx + matrix[1, 1] * dy + end[1]

    def _shift(self, shape: tuple[int, int]) -> np.ndarray:
        """Half a pixel where a quarter turn of an oblong would not end on pixels."""
        odd = self.turns % 2 and not self.angle and (shape[0] - shape[1]) % 2
        return np.full(2, -0.5 if odd else 0.0)

    def scales(self, scales: np.ndarray) -> np.ndarray:
        """Turn ``(2, 2)`` `astroanomaly.cutting.directions.sky_scales` of stored pixels into those of the picture."""
        turned: np.ndarray = scales @ self.matrix.T
        return turned

    def show(self, images: np.ndarray, fill: float | int = 0) -> np.ndarray:
        """Turn images.

        Parameters
        ----------
        images
            ``(n, H, W)`` as stored: uint32, bytes red, green, blue and 255; or float32.
        fill
            For what lies outside of the cutout.

        Returns
        -------
        numpy.ndarray
            ``(n, H, W)`` of the same type, first row on top; a view where nothing is moved in memory.
        """
        height, width = images.shape[1:]
        turned = images[:, ::-1, ::-1] if self.mirror else images[:, ::-1]
        turned = np.rot90(turned, self.turns, axes=(1, 2))
        if self.angle:
            return _rotated(turned, self.angle, (height, width), fill)
        if turned.shape == images.shape:
            return turned
        whole = np.full(images.shape, fill, images.dtype)
        if width > height:
            kept = slice((width - height) // 2, (width - height) // 2 + height)
            whole[:, :, kept] = turned[:, kept]
        else:
            kept = slice((height - width + 1) // 2, (height - width + 1) // 2 + width)
            whole[:, kept] = turned[:, :, kept]
        return whole


_PICTURE = Orientation(mirror=True, turns=2)  # the first row on top


def native(pixel_kind: str, stretch: str, *, has_wcs: bool, from_pictures: bool = False) -> Orientation:
    """Decide which way up pixels are as they are stored.

    Pictures have their first row on top, as in any picture viewer; everything else has it at the bottom, as in DS9.

    Parameters
    ----------
    pixel_kind, stretch
        Of the `astroanomaly.records.Layout`: what the pixels are, and what was applied to flux at ingest.
    has_wcs
        Whether the cutout has a grid: its pixels are counted from the lower left, whatever file they came in.
    from_pictures
        Whether flux was read from files of pictures (TIFF, PNG), which nothing in the pixels tells.
    """
    is_picture = from_pictures or (pixel_kind == "display" and not stretch)
    return _PICTURE if is_picture and not has_wcs else Orientation()


def orient(
    stored: Orientation, scales: np.ndarray | None, wanted: OrientationChoice, shape: tuple[int, int]
) -> Orientation:
    """Decide how a cutout is turned for the eye.

    Parameters
    ----------
    stored
        `native`: taken where it is wanted, and where there is no direction on the sky.
    scales
        ``(2, 2)`` `astroanomaly.cutting.directions.sky_scales` in the middle of the cutout; None without a WCS.
    wanted
        ``north``: north up and east to the left, to within a pixel of the picture. ``north-quarter``: as near as
        quarter turns and a reflection come. ``stored``: as the pixels are.
    shape
        ``(height, width)`` of the cutout in pixels.
    """
    if wanted == "stored" or scales is None or not np.isfinite(scales).all():
        return stored
    (east_x, east_y), (north_x, north_y) = scales.tolist()
    mirror = east_x * north_y - east_y * north_x > 0  # east is to the right of north
    north = (east_y, east_x if mirror else -east_x)  # the step that leads nowhere east, after the reflection
    angle = math.degrees(math.atan2(*north))  # counter-clockwise, to bring it up
    turns = round(angle / 90)
    angle -= 90 * turns
    moved = math.radians(abs(angle)) * math.hypot(*shape) / 2
    return Orientation(mirror, turns % 4, 0.0 if wanted == "north-quarter" or moved < _UNNOTICED_PX else angle)


def show(images: np.ndarray, orientations: Sequence[Orientation], fill: float | int = 0) -> np.ndarray:
    """Turn images, each in its own way; see `Orientation.show`.

    Returns
    -------
    numpy.ndarray
        ``(n, H, W)`` of the same type, first row on top, in memory of its own or a view.
    """
    alike: dict[Orientation, list[int]] = {}
    for number, orientation in enumerate(orientations):
        alike.setdefault(orientation, []).append(number)
    if len(alike) == 1 and not orientations[0].angle:
        return orientations[0].show(images, fill)
    shown = np.empty_like(images)

    def turn(orientation: Orientation, numbers: list[int]) -> None:
        shown[numbers] = orientation.show(images[numbers], fill)

    slanting = [number for number, orientation in enumerate(orientations) if orientation.angle]
    for orientation, numbers in alike.items():
        if not orientation.angle:
            turn(orientation, numbers)
    if slanting:  # interpolation takes most of the time, and needs no lock
        with ThreadPoolExecutor(min(_THREADS, available_cores())) as pool:
            list(pool.map(lambda number: turn(orientations[number], [number]), slanting))
    return shown


def _middle(shape: tuple[int, int]) -> np.ndarray:
    return np.array([(shape[1] - 1) / 2, (shape[0] - 1) / 2])


def _rotated(images: np.ndarray, angle: float, shape: tuple[int, int], fill: float | int) -> np.ndarray:
    """Turn pictures ``(n, h, w)``, first row on top, about their middle by degrees counter-clockwise."""
    from PIL import Image

    colours = images.dtype == np.uint32
    mode, raw = ("RGB", "RGBX") if colours else ("F", "F;32NF")
    colour = tuple(int(fill).to_bytes(4, "little")[:3]) if colours else fill
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    images = np.pad(images, ((0, 0), (1, 1), (1, 1)), constant_values=fill)  # which the edge is interpolated with
    (height, width), (h, w) = shape, images.shape[1:]
    back = (  # from a place in the result to one in the image, x to the right and y down, from the edge
        cosine, -sine, (w - cosine * width + sine * height) / 2,
        sine, cosine, (h - sine * width - cosine * height) / 2,
    )  # fmt: skip
    turned = np.empty((len(images), height, width), images.dtype)
    for target, image in zip(turned, images, strict=True):
        picture = Image.frombytes(mode, (w, h), np.ascontiguousarray(image).tobytes(), "raw", raw)
        picture = picture.transform(
            (width, height), Image.Transform.AFFINE, back, Image.Resampling.BILINEAR, fillcolor=colour
        )
        target[:] = np.frombuffer(picture.tobytes("raw", raw), images.dtype).reshape(height, width)
    return turned
