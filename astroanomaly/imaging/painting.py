"""Cutouts painted as coloured pixels, many at once."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from astroanomaly.config import StretchConfig
from astroanomaly.errors import ConfigError
from astroanomaly.imaging.display import Display
from astroanomaly.imaging.orientation import Orientation, OrientationChoice, show
from astroanomaly.imaging.stretch import Limits, Stretch, lupton_rgb

__all__ = ["Painter", "arrange_in_grid", "bin_factor", "bin_pixels", "grey_map"]

_GREY_STEPS = 65536  # levels between black and white: fine enough for the steepest curve on an 8-bit screen
_OPAQUE = np.uint32(0xFF000000)
_NO_DATA = np.uint32(0xFF4A3B33)  # slate, 0x333B4A as red, green, blue: no sky looks like it
SurveyLimits = Callable[[StretchConfig], Limits]
Orient = Callable[[OrientationChoice], Sequence[Orientation]]


def grey_map(name: str) -> np.ndarray:
    """``(256, 3)`` uint8 from black to white.

    Raises
    ------
    ConfigError
        For a colour map of another name.
    """
    if name != "grey":
        raise ConfigError(f"the colour map {name!r} is not at hand here, only grey is")
    return np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)


class Painter:
    """Paints the images of one page. The limits of a stretch are cached until it changes.

    Parameters
    ----------
    images
        ``(n, B, H, W)`` flux with NaN where there is no data, or 8-bit pixels.
    bands
        Their names.
    survey_limits
        Gives black and white of every band for a stretch that is the same for the whole survey.
    orient
        Gives how each image is turned for a choice of `Display.orientation`; None: the first row is on top.
    """

    def __init__(
        self, images: np.ndarray, bands: Sequence[str], survey_limits: SurveyLimits, orient: Orient | None = None
    ) -> None:
        self.bands = tuple(bands)
        self._orient = orient
        self.images = images
        self._survey_limits = survey_limits
        self._finite = np.isfinite(images) if images.dtype.kind == "f" else None  # (n, B, H, W)
        self._groups = _alike(self._finite.any(axis=(2, 3)) if self._finite is not None else None, len(images))
        self._key: Any = None
        self._scaled = np.empty(0, np.float32)
        self._steps = np.empty(0, np.uint16)

    def paint(self, display: Display, palette: Callable[[str], np.ndarray] = grey_map) -> np.ndarray:
        """Paint all images.

        Parameters
        ----------
        display
            How.
        palette
            Gives ``(256, 3)`` uint8 for the name of a colour map.

        Returns
        -------
        numpy.ndarray
            ``(n, H, W)`` uint32, bytes red, green, blue, opacity; first row on top.
        """
        painted = self._coloured(display, palette)
        return painted if self._orient is None else show(painted, self._orient(display.orientation), int(_NO_DATA))

    def _coloured(self, display: Display, palette: Callable[[str], np.ndarray]) -> np.ndarray:
        """``(n, H, W)`` uint32 as the images are stored."""
        self._prepare(display)
        if display.colours == "single":
            shown = [band for band in self.bands if band not in display.hidden]
            band = display.band if display.band in shown else (shown or [self.bands[0]])[0]
            table = palette(display.colour_map).astype(np.uint32)
            words = table[:, 0] | table[:, 1] << 8 | table[:, 2] << 16 | _OPAQUE
            number = self.bands.index(band)
            painted = words[self._tone(display)].take(self._steps[:, number])
            if self._finite is not None:
                np.putmask(painted, ~self._finite[:, number], _NO_DATA)
            return painted
        paint = self._lupton if display.colours == "lupton" else self._mixed
        painted = np.empty(self._steps[:, 0].shape, np.uint32)
        for chosen, there in self._groups:  # objects that have the same bands
            weights = display.rows(self.bands, there)
            painted[chosen] = paint(display, chosen, weights)
            if self._finite is not None:
                drawn = np.flatnonzero(weights.any(axis=0))
                empty = ~self._finite[chosen][:, drawn].any(axis=1)
                painted[chosen] = np.where(empty, _NO_DATA, painted[chosen])
        return painted

    def _prepare(self, display: Display) -> None:
        """Find black and white and bring the pixels between them, unless that is done already."""
        config = display.stretch
        curve: Literal["histogram", "linear"] = "histogram" if config.curve == "histogram" else "linear"
        key = (
            dataclasses.replace(config, curve=curve, strength=0.0),
            display.sharpen,
            display.sharpen and display.radius,
        )
        if key == self._key:
            return
        survey = config.scope == "survey" and config.interval != "manual" and curve != "histogram"
        stretch = Stretch(key[0], self._survey_limits(key[0]) if survey else None)
        if curve == "histogram":
            scaled = stretch(self.images)
        else:
            black, white = (level[:, :, None, None] for level in stretch.levels(self.images))
            span = white - black
            with np.errstate(invalid="ignore", over="ignore"):
                scaled = (self.images - black) / np.where(span > 0, span, np.inf)
            np.nan_to_num(scaled, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
        if display.sharpen:
            from scipy.ndimage import gaussian_filter

            blurred = gaussian_filter(scaled, (0, 0, display.radius, display.radius))
            scaled = scaled + np.float32(display.sharpen) * (scaled - blurred)
        self._scaled = scaled.astype(np.float32, copy=False)
        self._steps = (np.clip(self._scaled, 0, 1) * (_GREY_STEPS - 1) + 0.5).astype(np.uint16)
        self._key = key

    def _tone(self, display: Display) -> np.ndarray:
        """``(65536,)`` uint8: what the curve, brightness, contrast and inversion make of each level."""
        levels = np.linspace(0, 1, _GREY_STEPS, dtype=np.float32)
        if display.stretch.curve != "histogram":
            levels = Stretch(display.stretch).curve(levels)
        return _finish(levels, display)

    def _mixed(self, display: Display, chosen: slice | np.ndarray, weights: np.ndarray) -> np.ndarray:
        steps = self._steps[chosen]
        tone = self._tone(dataclasses.replace(display, invert=False))
        painted = np.full(steps[:, 0].shape, _OPAQUE, np.uint32)
        for channel, row in enumerate(weights):
            used = np.flatnonzero(row)
            if len(used) == 1:  # the usual case, in one step: from level to coloured byte
                painted |= (tone.astype(np.uint32) << (8 * channel)).take(steps[:, used[0]])
            elif len(used):
                mean = sum(row[k] * tone.take(steps[:, k]).astype(np.float32) for k in used)
                painted |= (mean + 0.5).astype(np.uint32) << (8 * channel)
        return painted ^ np.uint32(0x00FFFFFF) if display.invert else painted

    def _lupton(self, display: Display, chosen: slice | np.ndarray, weights: np.ndarray) -> np.ndarray:
        colours = np.einsum("nbhw,cb->nchw", self._scaled[chosen], weights)
        rgb = lupton_rgb(colours, q=display.lupton_q, stretch=display.lupton_stretch)  # (n, H, W, 3)
        table = _finish(np.linspace(0, 1, 256, dtype=np.float32), display).astype(np.uint32)
        red, green, blue = (table.take(rgb[..., channel]) for channel in range(3))
        return red | green << 8 | blue << 16 | _OPAQUE


def _alike(there: np.ndarray | None, n: int) -> list[tuple[slice | np.ndarray, np.ndarray | None]]:
    """Group objects by the bands they have, ``(n, B)`` boolean: which objects, and which bands."""
    if there is None or there.all():
        return [(slice(0, n), None)]
    kinds, number = np.unique(there, axis=0, return_inverse=True)
    return [(np.flatnonzero(number.ravel() == k), kind) for k, kind in enumerate(kinds)]


def _finish(levels: np.ndarray, display: Display) -> np.ndarray:
    """Apply brightness, contrast and inversion to levels in [0, 1]; return uint8."""
    toned = np.clip((levels - 0.5) * display.contrast + 0.5 + display.brightness, 0, 1)
    return ((1 - toned if display.invert else toned) * 255 + 0.5).astype(np.uint8)


def bin_factor(height: int, width: int, largest: int) -> int:
    """How many pixels make one along each side, so that neither is longer than ``largest``."""
    return max(1, math.ceil(max(height, width) / max(1, largest)))


def bin_pixels(images: np.ndarray, largest: int) -> np.ndarray:
    """Average blocks of pixels until neither side is longer than ``largest``; what is not finite is left out.

    Parameters
    ----------
    images
        ``(n, B, H, W)``.

    Returns
    -------
    numpy.ndarray
        The images themselves if they are small enough, else ``(n, B, h, w)`` float32. An edge that fills no block is
        cut off.
    """
    height, width = images.shape[-2:]
    factor = bin_factor(height, width, largest)
    if factor == 1:
        return images
    h, w = max(1, height // factor), max(1, width // factor)
    blocks = images[..., : h * factor, : w * factor].astype(np.float32)
    blocks = blocks.reshape(*images.shape[:2], h, min(factor, height), w, min(factor, width))
    finite = np.isfinite(blocks)
    count = finite.sum((3, 5))
    total = np.where(finite, blocks, 0).sum((3, 5))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


def arrange_in_grid(painted: np.ndarray, columns: int, rows: int) -> np.ndarray:
    """Lay pictures out as one, row by row from the top left; cells without one are transparent.

    Parameters
    ----------
    painted
        ``(n, H, W)`` uint32, n at most columns x rows.

    Returns
    -------
    numpy.ndarray
        ``(rows H, columns W)`` uint32, first row at the top.
    """
    n, height, width = painted.shape
    whole = np.zeros((rows * columns, height, width), np.uint32)
    whole[:n] = painted
    return whole.reshape(rows, columns, height, width).swapaxes(1, 2).reshape(rows * height, columns * width)
