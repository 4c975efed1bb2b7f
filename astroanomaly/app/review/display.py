"""Rendering of cutouts for the screen: stretch, colours and sharpness. Never changes cache or model."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from astroanomaly.config import StretchConfig, build, to_plain
from astroanomaly.errors import ConfigError
from astroanomaly.imaging.bands import default_channels, parse_channels
from astroanomaly.imaging.stretch import Limits, Stretch, lupton_rgb

__all__ = ["COLOUR_MAPS", "Display", "Sheet", "arrange_in_grid", "bin_pixels"]

COLOUR_MAPS = ("grey", "viridis", "magma", "inferno", "cividis", "turbo")
_GREY_STEPS = 65536  # levels between black and white: fine enough for the steepest curve on an 8-bit screen
_OPAQUE = np.uint32(0xFF000000)
_NO_DATA = np.uint32(0xFF4A3B33)  # slate, 0x333B4A as red, green, blue: no sky looks like it
SurveyLimits = Callable[[StretchConfig], Limits]


@dataclass(frozen=True)
class Display:
    """Settings of how cutouts are rendered; free to change at any time.

    Attributes
    ----------
    stretch
        Interval and curve.
    colours
        ``rgb``: bands mixed to red, green and blue. ``lupton``: the same, keeping the hue of bright objects.
        ``single``: one band in a colour map.
    channels
        Bands for red, green and blue, as in ``i,r,g``; empty: by wavelength.
    band
        The band shown by ``single``; empty: the first.
    colour_map
        One of `COLOUR_MAPS`.
    brightness
        Added after the curve, -1 to 1.
    contrast
        Factor around mid-grey after the curve, 0.1 to 10.
    invert
        Dark on light.
    lupton_q, lupton_stretch
        Softening, and the linear part as a share of the interval (Lupton et al. 2004, PASP 116, 133).
    sharpen, radius
        Unsharp mask: how much is added of what a Gaussian blur of this radius (standard deviation, in pixels) takes
        away.
    hidden
        Bands switched off.
    """

    stretch: StretchConfig = field(default_factory=StretchConfig)
    colours: Literal["rgb", "lupton", "single"] = "rgb"
    channels: str = ""
    band: str = ""
    colour_map: str = "grey"
    brightness: float = 0.0
    contrast: float = 1.0
    invert: bool = False
    lupton_q: float = 8.0
    lupton_stretch: float = 0.3
    sharpen: float = 0.0
    radius: float = 2.0
    hidden: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        numbers = {
            "brightness": (self.brightness, -1, 1),
            "contrast": (self.contrast, 0.1, 10),
            "lupton_q": (self.lupton_q, 0.01, 100),
            "lupton_stretch": (self.lupton_stretch, 0.001, 100),
            "sharpen": (self.sharpen, 0, 20),
            "radius": (self.radius, 0.3, 50),
        }
        for name, (value, low, high) in numbers.items():
            if not low <= value <= high:  # NaN too
                raise ConfigError(f"display.{name}={value}: expected {low} to {high}")
        if self.colour_map not in COLOUR_MAPS:
            raise ConfigError(f"display.colour_map={self.colour_map!r}: expected one of {', '.join(COLOUR_MAPS)}")

    @classmethod
    def for_pixels(cls, pixel_kind: str) -> Display:
        """Return the first display: pictures as they are, flux with asinh between percentiles of each cutout."""
        if pixel_kind == "display":
            return cls(StretchConfig(curve="linear", interval="manual", black=0, white=255, scope="cutout"))
        return cls(StretchConfig(curve="asinh", interval="percentile", low=1, high=99.7, scope="cutout"))

    def changed(self, **changes: Any) -> Display:
        """Return it with other values; fields of the stretch are meant where it has none of that name itself.

        Raises
        ------
        ConfigError
            If a value cannot be.
        """
        own = {name: value for name, value in changes.items() if hasattr(self, name)}
        others = {name: value for name, value in changes.items() if name not in own}
        stretch = dataclasses.replace(own.pop("stretch", self.stretch), **others)
        return dataclasses.replace(self, **own, stretch=stretch)

    def to_plain(self) -> dict[str, Any]:
        """Return it as values that JSON holds."""
        plain = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        return plain | {"stretch": to_plain(self.stretch), "hidden": list(self.hidden)}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Display:
        """Make it from what `to_plain` gave.

        Raises
        ------
        ConfigError
            If a value is unknown or cannot be, or it is no such table at all.
        """
        values = _table(plain, "display")
        stretch = build(StretchConfig, _table(values.pop("stretch", {}), "stretch"), "stretch")
        try:
            return dataclasses.replace(build(cls, values, "display"), stretch=stretch)
        except (TypeError, OverflowError) as error:  # values that cannot even be compared with what is known
            raise ConfigError(f"the display cannot be read: {error}") from error

    def rows(self, bands: Sequence[str], there: Sequence[bool] | np.ndarray | None = None) -> np.ndarray:
        """``(3, B)`` float32 weights of the bands in red, green and blue; bands switched off weigh nothing.

        Parameters
        ----------
        bands
            Their names.
        there
            Which of them an object has; colours by wavelength are made of those. None: all.

        Raises
        ------
        BandError
            If the channels name a band there is not.
        """
        here = np.ones(len(bands), bool) if there is None or not any(there) else np.asarray(there, bool)
        table = np.zeros((3, len(bands)), np.float32)
        if self.channels:
            table[:] = parse_channels(self.channels, bands)
            table[:, ~here] = 0
        else:
            table[:, here] = default_channels([band for band, yes in zip(bands, here, strict=True) if yes])
        table[:, [band in self.hidden for band in bands]] = 0
        total = table.sum(1, keepdims=True)
        return table / np.where(total > 0, total, 1)


class Sheet:
    """The images of one page. The limits of a stretch are cached until it changes.

    Parameters
    ----------
    images
        ``(n, B, H, W)`` flux with NaN where there is no data, or 8-bit pixels.
    bands
        Their names.
    survey_limits
        Gives black and white of every band for a stretch that is the same for the whole survey.
    """

    def __init__(self, images: np.ndarray, bands: Sequence[str], survey_limits: SurveyLimits) -> None:
        self.bands = tuple(bands)
        self.images = images
        self._survey_limits = survey_limits
        self._finite = np.isfinite(images) if images.dtype.kind == "f" else None  # (n, B, H, W)
        self._groups = _alike(self._finite.any(axis=(2, 3)) if self._finite is not None else None, len(images))
        self._key: Any = None
        self._scaled = np.empty(0, np.float32)
        self._steps = np.empty(0, np.uint16)

    def paint(self, display: Display, palette: Callable[[str], np.ndarray]) -> np.ndarray:
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
            ``(n, H, W)`` uint32, bytes red, green, blue, opacity.
        """
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


def _table(plain: Any, name: str) -> dict[str, Any]:
    if not isinstance(plain, Mapping) or not all(isinstance(key, str) for key in plain):
        raise ConfigError(f"{name}={plain!r:.80}: expected a table of settings")
    return dict(plain)


def _finish(levels: np.ndarray, display: Display) -> np.ndarray:
    """Apply brightness, contrast and inversion to levels in [0, 1]; return uint8."""
    toned = np.clip((levels - 0.5) * display.contrast + 0.5 + display.brightness, 0, 1)
    return ((1 - toned if display.invert else toned) * 255 + 0.5).astype(np.uint8)


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
    factor = math.ceil(max(height, width) / max(1, largest))
    if factor <= 1:
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
