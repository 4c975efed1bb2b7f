"""Pictures of a cache's cutouts for the eye."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from typing import Protocol

import numpy as np

from astroanomaly.config import StretchConfig
from astroanomaly.imaging.display import Display
from astroanomaly.imaging.painting import Painter, bin_pixels
from astroanomaly.imaging.sampling import Cutouts, sample_pixels
from astroanomaly.imaging.stretch import Limits, Stretch
from astroanomaly.records import Layout

__all__ = ["Pictures"]

_STRETCH_CUTOUTS = 300  # random cutouts that a survey-wide stretch is measured on
_STRETCH_PIXELS = 1_000_000  # per band
_CACHED_LIMITS = 32


class _Cache(Cutouts, Protocol):
    """The part of a cache that pictures need."""

    @property
    def layout(self) -> Layout:
        """Size and kind of the cutouts."""


class Pictures:
    """Makes pictures of cutouts. Levels that hold for the whole survey are measured once, on a sample."""

    def __init__(self, cache: _Cache) -> None:
        self._cache = cache
        self._limits: OrderedDict[StretchConfig, Limits] = OrderedDict()

    @property
    def usual_display(self) -> Display:
        """How cutouts of this cache are rendered unless somebody chooses."""
        return Display.for_pixels(self._cache.layout.pixel_kind)

    def painter(self, ids: Sequence[str], largest: int | None = None) -> Painter:
        """Read cutouts to be painted, binned until neither side is longer than ``largest`` pixels."""
        images = self._cache.read(ids)
        images = images if largest is None else bin_pixels(images, largest)
        return Painter(images, self._cache.bands, self.survey_limits)

    def rgb(self, ids: Sequence[str], display: Display | None = None) -> np.ndarray:
        """Paint cutouts.

        Parameters
        ----------
        ids
            Their ids.
        display
            How, in colours or grey; None: as usual.

        Returns
        -------
        numpy.ndarray
            ``(n, height, width, 3)`` uint8.
        """
        painted = self.painter(ids).paint(display or self.usual_display)
        return painted.view(np.uint8).reshape(*painted.shape, 4)[..., :3]

    def survey_limits(self, config: StretchConfig) -> Limits:
        """Black and white of each band for a stretch that is the same for the whole survey, measured on a sample."""
        if config not in self._limits:
            measured = Stretch.measure(config, self._sample).limits
            self._limits[config] = measured or ()
            if len(self._limits) > _CACHED_LIMITS:
                self._limits.popitem(last=False)
        return self._limits[config]

    @cached_property
    def _sample(self) -> np.ndarray:
        """``(1, B, 1, P)`` pixels of random cutouts."""
        rng = np.random.default_rng(0)
        return sample_pixels(self._cache, rng, cutouts=_STRETCH_CUTOUTS, pixels=_STRETCH_PIXELS, evenly=False)
