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
from astroanomaly.imaging.lupton import LuptonPixels
from astroanomaly.imaging.orientation import Orientation, OrientationChoice, show
from astroanomaly.imaging.stretch import Limits, Stretch

__all__ = ["Painter", "arrange_in_grid", "bin_factor", "bin_pixels", "grey_map", "rgb_of"]

_GREY_STEPS = 65536  # levels between black and white: fine enough for the steepest curve on an 8-bit screen
_OPAQUE = np.uint32(0xFF000000)
_NO_DATA = np.uint32(0xFF4A3B33)  # slate, 0x333B4A as red, green, blue: no sky looks like it
_OUTSIDE = np.uint32(0xFF16110E)  # 0x0E1116, what the app has around its pictures: a turned cutout ends quietly
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
    """Paints the images of one page. What a stretch makes of the pixels is cached until it changes.

    Parameters
    ----------
    images
        ``(n, B, H, W)`` flux with NaN where there is no data, or 8-bit pixels.
    bands
        Their names.
    survey_limits
        Gives black and white of every band for a stretch that is the same for the whole survey.
    factors
        One per band, which bring them to one flux scale; None: they have one.
    orient
        Gives how each image is turned for a choice of `Display.orientation`; None: the first row is on top.
    """

    def __init__(
        self,
        images: np.ndarray,
        bands: Sequence[str],
        survey_limits: SurveyLimits,
        factors: Sequence[float] | None = None,
        orient: Orient | None = None,
    ) -> None:
        self.bands = tuple(bands)
        self._orient = orient
        self.images = images
        self._survey_limits = survey_limits
        self._factors = np.ones(len(self.bands), np.float32) if factors is None else np.asarray(factors, np.float32)
        self._finite = np.isfinite(images) if images.dtype.kind == "f" else None  # (n, B, H, W)
        self._groups = _alike(self._finite.any(axis=(2, 3)) if self._finite is not None else None, len(images))
        self._key: Any = None
        self._black: np.ndarray = np.zeros((1, 1), np.float32)  # (n or 1, B or 1), as the next two
        self._span: np.ndarray = self._black  # from black to white
        self._slope: np.ndarray = self._black  # what flux above black is multiplied by
        self._derived: dict[Any, Any] = {}  # by these: planes of bands, and what is made of them

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
            ``(n, H, W)`` uint32, bytes red, green, blue, opacity; first row on top; see `rgb_of`.
        """
        painted = self._coloured(display, palette)
        if self._orient is not None:
            painted = show(painted, self._orient(display.orientation), int(_OUTSIDE))
        return np.ascontiguousarray(painted)

    def _coloured(self, display: Display, palette: Callable[[str], np.ndarray]) -> np.ndarray:
        """``(n, H, W)`` uint32 as the images are stored."""
        self._prepare(display)
        if display.colours == "single":
            number = self.bands.index(display.shown_band(self.bands))
            table = palette(display.colour_map).astype(np.uint32)
            words = table[:, 0] | table[:, 1] << 8 | table[:, 2] << 16 | _OPAQUE
            painted = words[self._tone(display)].take(self._steps(number))
            if self._finite is not None:
                np.putmask(painted, ~self._finite[:, number], _NO_DATA)
            return painted
        weights = [display.rows(self.bands, there) for _, there in self._groups]  # of objects that have the same bands
        painted = self._lupton(display, weights) if display.colours == "lupton" else self._mixed(display, weights)
        if display.invert:
            painted ^= np.uint32(0x00FFFFFF)
        painted |= _OPAQUE
        if self._finite is not None:
            np.putmask(painted, self._empty(self._finite, weights), _NO_DATA)
        return painted

    def levels(self, display: Display) -> tuple[np.ndarray, np.ndarray]:
        """Return black and white of each image and band in flux units, as the interval gives them.

        Returns
        -------
        tuple of two numpy.ndarray
            ``(n, B)`` float32 each, equal where there is no finite pixel; n is 1 or the number of images, B is 1 or
            the number of bands.
        """
        config = dataclasses.replace(display.stretch, curve="linear", strength=0.0)
        survey = config.scope == "survey" and config.interval != "manual"
        return Stretch(config, self._survey_limits(config) if survey else None).levels(self.images)

    def lupton_levels(self, display: Display) -> tuple[np.ndarray, np.ndarray, float]:
        """Return what makes the same colours with `astropy.visualization.make_lupton_rgb`.

        Returns
        -------
        minimum
            ``(n, 3)`` black levels of red, green and blue, in the unit of the flux scale; n is 1 or the number of
            images. Where every band has its own scale, bands are divided by what their interval spans.
        stretch
            ``(n,)`` in the same unit.
        q
            The softening.
        """
        self._prepare(dataclasses.replace(display, colours="lupton"))
        rows = display.rows(self.bands)
        flux = display.scale == "flux"
        span = self._common_span(rows)[:, 0] if flux else np.ones(len(self._black), np.float32)
        black = np.broadcast_to(self._black * self._slope, (len(self._black), len(self.bands)))
        return black @ rows.T, span * np.float32(display.lupton_stretch), display.lupton_q

    def _prepare(self, display: Display) -> None:
        """Find black and white, unless that is done already."""
        config = display.stretch
        curve: Literal["histogram", "linear"] = "histogram" if config.curve == "histogram" else "linear"
        if display.colours == "lupton":  # which has a curve of its own
            curve = "linear"
        flux = display.scale == "flux" and display.colours != "single" and curve == "linear"
        key = (
            dataclasses.replace(config, curve=curve, strength=0.0),
            display.sharpen,
            display.sharpen and display.radius,
            flux,
            flux and display.colours != "lupton" and display.rows(self.bands).tobytes(),
        )
        if key == self._key:
            return
        self._derived = {}
        self._key = key
        if curve == "linear":
            black, white = self.levels(display)
            self._black, self._span = black, np.maximum(white - black, 0)
            if not flux:
                self._slope = 1 / np.where(self._span > 0, self._span, np.float32(np.inf))
            elif display.colours == "lupton":  # all channels together are brought to the common span later
                self._slope = np.broadcast_to(self._factors, (len(black), len(self.bands)))
            else:
                self._slope = self._factors / self._common_span(display.rows(self.bands))

    def _common_span(self, rows: np.ndarray) -> np.ndarray:
        """``(n, 1)`` float32 flux from black to white: the root mean square of the channels'; infinite where none is.

        Parameters
        ----------
        rows
            ``(3, B)`` weights of the bands in red, green and blue.
        """
        channels = ((self._span * self._factors) @ rows.T).astype(np.float64)  # (n, 3)
        number = (channels > 0).sum(axis=1, keepdims=True)
        common = np.sqrt((channels**2).sum(axis=1, keepdims=True) / np.maximum(number, 1))
        return np.where(common > 0, common, np.inf).astype(np.float32)

    def _plane(self, number: int) -> np.ndarray:
        """``(n, H, W)`` float32 of one band: 0 at the black level, and where there is no data."""
        key = ("plane", number)
        if key in self._derived:
            return self._derived[key]
        config, sharpen, radius = self._key[:3]
        if config.curve == "histogram":
            plane = Stretch(config)(self.images[:, number : number + 1])[:, 0]
        else:
            black, slope = (
                np.broadcast_to(values, (len(values), len(self.bands)))[:, number, None, None]
                for values in (self._black, self._slope)
            )
            with np.errstate(invalid="ignore", over="ignore"):
                plane = self.images[:, number] - black
                plane *= slope
            _make_finite(plane)
        if sharpen:
            from scipy.ndimage import gaussian_filter

            plane = plane + np.float32(sharpen) * (plane - gaussian_filter(plane, (0, radius, radius)))
        self._derived[key] = plane
        return plane

    def _steps(self, number: int) -> np.ndarray:
        """``(n, H, W)`` uint16 levels of one band between black and white."""
        key = ("steps", number)
        if key not in self._derived:
            unit = np.clip(self._plane(number), 0, 1)
            self._derived[key] = (unit * np.float32(_GREY_STEPS - 1) + np.float32(0.5)).astype(np.uint16)
        return self._derived[key]

    def _empty(self, finite: np.ndarray, weights: list[np.ndarray]) -> np.ndarray:
        """``(n, H, W)`` boolean: where none of the bands that are drawn has data."""
        key = [rows.any(axis=0).tobytes() for rows in weights]
        if self._derived.get("empty", (None,))[0] != key:
            empty = np.empty(finite[:, 0].shape, bool)
            for (chosen, _), rows in zip(self._groups, weights, strict=True):
                empty[chosen] = ~finite[chosen][:, np.flatnonzero(rows.any(axis=0))].any(axis=1)
            self._derived["empty"] = key, empty
        return self._derived["empty"][1]

    def _tone(self, display: Display) -> np.ndarray:
        """``(65536,)`` uint8: what the curve, brightness, contrast and inversion make of each level."""
        levels = np.linspace(0, 1, _GREY_STEPS, dtype=np.float32)
        if display.stretch.curve != "histogram":
            levels = Stretch(display.stretch).curve(levels)
        return _finish(levels, display)

    def _mixed(self, display: Display, weights: list[np.ndarray]) -> np.ndarray:
        tone = self._tone(dataclasses.replace(display, invert=False))
        coloured = [tone.astype(np.uint32) << (8 * channel) for channel in range(3)]
        painted = np.zeros(self.images[:, 0].shape, np.uint32)
        for (chosen, _), rows in zip(self._groups, weights, strict=True):
            part = np.zeros(painted[chosen].shape, np.uint32)
            for channel, row in enumerate(rows):
                used = np.flatnonzero(row).tolist()
                if len(used) == 1:  # the usual case, in one step: from level to coloured byte
                    part |= coloured[channel].take(self._steps(used[0])[chosen])
                elif len(used):
                    mean = np.zeros(part.shape, np.float32)
                    for k in used:
                        mean += row[k] * tone.take(self._steps(k)[chosen])
                    part |= (mean + 0.5).astype(np.uint32) << (8 * channel)
            painted[chosen] = part
        return painted

    def _lupton(self, display: Display, weights: list[np.ndarray]) -> np.ndarray:
        key = [rows.tobytes() for rows in (*weights, display.rows(self.bands))]
        if self._derived.get("lupton", (None,))[0] != key:
            span = self._common_span(display.rows(self.bands)) if self._key[3] else np.ones((1, 1), np.float32)
            self._derived["lupton"] = key, LuptonPixels([self._channel(weights, channel, span) for channel in range(3)])
        gain = math.tan(math.pi / 4 * (1 + display.brightness))
        return self._derived["lupton"][1].paint(display.lupton_q, display.lupton_stretch, gain, display.contrast)

    def _channel(self, weights: list[np.ndarray], channel: int, span: np.ndarray) -> np.ndarray:
        """Mix one colour from the bands, ``(n, H, W)`` float32 in units of a span, ``(n or 1, 1)``."""
        shape = self.images[:, 0].shape
        share = np.broadcast_to(1 / span, (shape[0], 1))[:, :, None]
        mixed = np.zeros(0, np.float32)
        with np.errstate(invalid="ignore", over="ignore"):
            for (chosen, _), rows in zip(self._groups, weights, strict=True):
                for band in np.flatnonzero(rows[channel]).tolist():
                    part = self._plane(band)[chosen] * (rows[channel, band] * share[chosen])
                    if part.shape == shape and not mixed.size:  # the usual case: one band, which all images have
                        mixed = part
                        continue
                    mixed = mixed if mixed.size else np.zeros(shape, np.float32)
                    mixed[chosen] += part
        mixed = mixed if mixed.size else np.zeros(shape, np.float32)
        _make_finite(mixed)
        return mixed


def _make_finite(plane: np.ndarray) -> None:
    """Put 0 where a plane is not finite."""
    with np.errstate(invalid="ignore", over="ignore"):
        if not np.isfinite(plane.sum()):  # far quicker than to look at every pixel
            np.nan_to_num(plane, copy=False, nan=0.0, posinf=0.0, neginf=0.0)


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


def rgb_of(painted: np.ndarray) -> np.ndarray:
    """Take painted pixels apart.

    Parameters
    ----------
    painted
        ``(..., H, W)`` uint32, as `Painter.paint` gives it, in any order in memory.

    Returns
    -------
    numpy.ndarray
        ``(..., H, W, 3)`` uint8 red, green and blue.
    """
    whole = np.ascontiguousarray(painted)
    return whole.view(np.uint8).reshape(*whole.shape, 4)[..., :3]


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
