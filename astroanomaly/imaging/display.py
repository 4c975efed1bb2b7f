"""Settings of how cutouts are rendered for the eye. They change neither cache nor model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from astroanomaly.config import StretchConfig, build, to_plain
from astroanomaly.errors import ConfigError
from astroanomaly.imaging.bands import default_channels, parse_channels
from astroanomaly.imaging.orientation import ORIENTATIONS, OrientationChoice

__all__ = ["COLOUR_MAPS", "Display"]

COLOUR_MAPS = ("grey", "viridis", "magma", "inferno", "cividis", "turbo")


@dataclass(frozen=True)
class Display:
    """Settings of how cutouts are rendered; free to change at any time.

    Attributes
    ----------
    stretch
        Interval and curve.
    colours
        ``rgb``: bands mixed to red, green and blue. ``lupton``: the same, keeping the hue at every brightness.
        ``single``: one band in a colour map.
    scale
        Of mixed bands. ``band``: each goes from its own black to its own white level. ``flux``: each from its own black
        level, all with the same flux from black to white: the root mean square of what the intervals of the three
        channels span.
    channels
        Bands for red, green and blue, as in ``i,r,g``; empty: by wavelength.
    band
        The band shown by ``single``; empty: the first.
    colour_map
        One of `COLOUR_MAPS`.
    brightness
        Added after the curve, -1 to 1. Lupton colours are multiplied by tan(pi/4 (1 + brightness)) instead, which keeps
        their hue.
    contrast
        Factor around mid-grey after the curve, 0.1 to 10; for Lupton colours the power around mid-grey.
    invert
        Dark on light.
    lupton_q, lupton_stretch
        Softening, and the linear part as a share of the interval (Lupton et al. 2004, PASP 116, 133).
    sharpen, radius
        Unsharp mask: how much is added of what a Gaussian blur of this radius (standard deviation, in pixels) takes
        away.
    hidden
        Bands switched off.
    orientation
        ``north``: north up, east left, by the exact angle; ``north-quarter``: by quarter turns and a reflection;
        ``stored``: as the pixels are. Objects without a WCS are always as stored.
    """

    stretch: StretchConfig = field(default_factory=StretchConfig)
    colours: Literal["rgb", "lupton", "single"] = "rgb"
    scale: Literal["band", "flux"] = "band"
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
    orientation: OrientationChoice = "north"

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
        if self.orientation not in ORIENTATIONS:
            raise ConfigError(f"display.orientation={self.orientation!r}: expected one of {', '.join(ORIENTATIONS)}")
        if self.colour_map not in COLOUR_MAPS:
            raise ConfigError(f"display.colour_map={self.colour_map!r}: expected one of {', '.join(COLOUR_MAPS)}")

    @classmethod
    def for_pixels(cls, pixel_kind: str) -> Display:
        """Return one that needs no survey: pictures as they are, flux by asinh between percentiles of each cutout."""
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

    def shown_band(self, bands: Sequence[str]) -> str:
        """Return which of some bands ``single`` shows."""
        shown = [band for band in bands if band not in self.hidden] or list(bands)
        return self.band if self.band in shown else shown[0]

    def rows(self, bands: Sequence[str], there: Sequence[bool] | np.ndarray | None = None) -> np.ndarray:
        """``(3, B)`` float32 weights of the bands in red, green and blue; bands switched off weigh nothing.

        Parameters
        ----------
        bands
            Their names.
        there
            Which of them an object has; colours are made of those. None: all.

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
            colours = [row / row.sum() for row in table if row.any()]
            if len(colours) == 2:  # of two colours the third is the mean, as of two bands
                colours.insert(1, (colours[0] + colours[1]) / 2)
            table[:] = colours if len(colours) == 3 else colours[0] if colours else 0
        if not table.any():
            table[:, here] = default_channels([band for band, yes in zip(bands, here, strict=True) if yes])
        table[:, [band in self.hidden for band in bands]] = 0
        total = table.sum(1, keepdims=True)
        return table / np.where(total > 0, total, 1)


def _table(plain: Any, name: str) -> dict[str, Any]:
    if not isinstance(plain, Mapping) or not all(isinstance(key, str) for key in plain):
        raise ConfigError(f"{name}={plain!r:.80}: expected a table of settings")
    return dict(plain)
