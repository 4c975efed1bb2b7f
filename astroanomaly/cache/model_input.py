"""The network's input: how a cutout is stretched, mapped to channels and resized, frozen with every checkpoint.

`astroanomaly.learn.preprocessing` makes the images.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from astroanomaly.config import InputConfig, StretchConfig, build, nearest, to_plain
from astroanomaly.errors import CheckpointError, ConfigError
from astroanomaly.imaging.bands import default_channels, parse_channels
from astroanomaly.imaging.sampling import sample_pixels
from astroanomaly.imaging.stretch import Stretch

if TYPE_CHECKING:
    from astroanomaly.cache.reader import Cache

__all__ = ["MEASURED_ON", "ModelInput"]

MEASURED_ON = 2000  # random cutouts that the black and white levels are measured on
_MEASURED_PIXELS = 4_000_000  # per band; more do not change a percentile noticeably
# part of the key
_PREPROCESSING_RULE = "stretch, non-finite to 0, channel map, zero-pad to a square, antialiased bicubic, clamp"
_STORED_TTA_VIEWS = "turns"  # in sessions, checkpoints and keys of features: what is stored keeps its name


@dataclass(frozen=True)
class ModelInput:
    """How the cutouts of a cache become the network's input; belongs to the checkpoint.

    Parameters
    ----------
    bands
        Names of the bands, in the order of the columns of ``channels``.
    pixel_kind
        ``flux`` (stretched here) or ``display`` (8-bit pixels, divided by 255 and never stretched again).
    channels
        Red, green and blue, each as one weight per band.
    size
        Side of the square image in pixels.
    views
        ``sky``: there is no up; ``picture``: the up is kept. It decides how training varies the images.
    tta_views
        Views that features and scores are averaged over (test-time augmentation): on the sky 1, 2 (rotated by 180
        degrees) or 4 (by multiples of 90 degrees); of a picture 1 or 2 (mirrored).
    stretch
        Interval and curve; meaningless for display pixels.
    limits
        ``(black, white)`` per band in flux units, measured once; None for display pixels and for intervals that are
        measured on each cutout.
    recorded_stretch
        For display pixels that were made from flux: the text of the stretch that was applied at ingest.
    """

    bands: tuple[str, ...]
    pixel_kind: Literal["flux", "display"]
    channels: tuple[tuple[float, ...], ...]
    size: int
    views: Literal["sky", "picture"]
    tta_views: int = 1
    stretch: StretchConfig = field(default_factory=StretchConfig)
    limits: tuple[tuple[float, float], ...] | None = None
    recorded_stretch: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "bands", tuple(self.bands))
        object.__setattr__(self, "channels", tuple(tuple(float(w) for w in row) for row in self.channels))
        if self.limits is not None:
            object.__setattr__(self, "limits", tuple((float(black), float(white)) for black, white in self.limits))
        if len(self.channels) != 3 or any(len(row) != len(self.bands) for row in self.channels):
            raise CheckpointError(f"the channel map has the wrong shape: expected 3 x {len(self.bands)} weights")
        if self.limits is not None and len(self.limits) != len(self.bands):
            raise CheckpointError(f"{len(self.limits)} pairs of limits for the {len(self.bands)} bands {self.bands}")

    @classmethod
    def measure(
        cls, cache: Cache, stretch_config: StretchConfig, input_config: InputConfig, rng: np.random.Generator
    ) -> ModelInput:
        """Decide what the network will see of a cache; levels are measured on 2,000 random cutouts and frozen.

        With ``input.views=auto``, flux and display pixels made from flux are sky, other pictures keep their up;
        `astroanomaly.learn.advice.choose_views` measures it first.

        Parameters
        ----------
        cache
            The cutouts.
        stretch_config, input_config
            The settings.
        rng
            Draws the cutouts.

        Raises
        ------
        BandError
            If the channel setting names a band the cache lacks.
        ConfigError
            If the stretch is one for the eye only.
        """
        layout = cache.layout
        if stretch_config.curve == "histogram" and layout.pixel_kind == "flux":
            raise ConfigError("stretch.curve=histogram is for the eye only: choose another curve for the model")
        if input_config.channels:
            channels = parse_channels(input_config.channels, layout.bands)
        else:
            channels = default_channels(layout.bands)
        views = input_config.views
        if views == "auto":
            views = "picture" if layout.pixel_kind == "display" and not layout.stretch else "sky"
        limits = None
        if layout.pixel_kind == "flux" and stretch_config.scope == "survey":
            sample = sample_pixels(cache, rng, cutouts=MEASURED_ON, pixels=_MEASURED_PIXELS)
            limits = Stretch.measure(stretch_config, sample).limits
        return cls(
            bands=layout.bands,
            pixel_kind=layout.pixel_kind,
            channels=channels,
            size=input_config.size,
            views=views,
            tta_views=input_config.tta_views if views == "sky" else min(input_config.tta_views, 2),
            stretch=stretch_config,
            limits=limits,
            recorded_stretch=layout.stretch,
        )

    # ------------------------------------------------------------------------------------------------- as plain values

    def to_plain(self) -> dict[str, Any]:
        """Return it as values that TOML and JSON hold; what is None is left out."""
        plain: dict[str, Any] = {
            "bands": list(self.bands),
            "pixel_kind": self.pixel_kind,
            "channels": [list(row) for row in self.channels],
            "size": self.size,
            "views": self.views,
            _STORED_TTA_VIEWS: self.tta_views,
            "stretch": to_plain(self.stretch),
            "recorded_stretch": self.recorded_stretch,
        }
        if self.limits is not None:
            plain["limits"] = [list(pair) for pair in self.limits]
        return plain

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> ModelInput:
        """Make it from what `to_plain` gave.

        Raises
        ------
        CheckpointError
            If a value is missing or of the wrong kind.
        """
        try:
            limits = plain.get("limits")
            made = cls(
                bands=tuple(str(band) for band in plain["bands"]),
                pixel_kind=plain["pixel_kind"],
                channels=tuple(tuple(row) for row in plain["channels"]),
                size=int(plain["size"]),
                views=plain["views"],
                tta_views=int(plain[_STORED_TTA_VIEWS]),
                stretch=build(StretchConfig, plain["stretch"], "stretch"),
                limits=None if limits is None else tuple((pair[0], pair[1]) for pair in limits),
                recorded_stretch=str(plain.get("recorded_stretch", "")),
            )
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise CheckpointError(f"what the model sees is recorded wrongly: {type(error).__name__} {error}") from error
        known = (
            made.pixel_kind in ("flux", "display") and made.views in ("sky", "picture") and made.tta_views in (1, 2, 4)
        )
        if not known or made.size < 1:
            raise CheckpointError(
                f"what the model sees is recorded wrongly: {made.pixel_kind=}, {made.views=}, {made.tta_views=}, "
                f"{made.size=}"
            )
        return made

    @cached_property
    def key(self) -> str:
        """Hexadecimal SHA-256 of all that decides the pixels the network gets, and over which views it averages."""
        plain = self.to_plain() | {"rule": _PREPROCESSING_RULE}
        if self.tta_views == 1:
            del plain["views"]
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()

    # ------------------------------------------------------------------------------------------------------- at work

    def check(self, cache: Cache) -> tuple[int, ...] | None:
        """Check that the model can look at a cache; return how to reorder its bands.

        Returns
        -------
        tuple of int or None
            Planes of the cache's images in the order of ``bands``; None where they are in order already.

        Raises
        ------
        CheckpointError
            If the cache lacks a band, or holds other pixels than the model was made for.
        """
        layout = cache.layout
        missing = [band for band in self.bands if band not in layout.bands]
        if missing:
            raise CheckpointError(
                f"the model needs the bands {', '.join(self.bands)}; the cache lacks {missing[0]!r} and has "
                f"{', '.join(layout.bands)}{nearest(missing[0], layout.bands)}"
            )
        if layout.pixel_kind != self.pixel_kind:
            raise CheckpointError(
                f"the model was made for {self.pixel_kind} pixels, the cache holds {layout.pixel_kind} pixels: ingest "
                "the survey in the model's kind, or train a model on this cache"
            )
        if layout.stretch != self.recorded_stretch:
            raise CheckpointError(
                f"the model was made for display pixels stretched with {self.recorded_stretch or 'nothing'!r}, those "
                f"of the cache were stretched with {layout.stretch or 'nothing'!r}: ingest with the model's stretch"
            )
        planes = tuple(layout.bands.index(band) for band in self.bands)
        return None if planes == tuple(range(len(layout.bands))) else planes
