"""Settings of the numbers that rankers look at beside the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from astroanomaly.config import option
from astroanomaly.errors import ConfigError

__all__ = ["BlockOptions"]


@dataclass(frozen=True)
class BlockOptions:
    """Numbers that the rankers on frozen features look at beside the image."""

    columns: tuple[str, ...] = option((), "catalogue columns of the caches, as in mag_g,petro_rad; empty: none")
    weight: float = option(1.0, "how strongly blocks of numbers count, in units of what is safe with few labels")
    redshift: str = option(
        "", "catalogue column of redshifts by which spectra are compared in the rest frame; own: those in their files; "
        "empty: as observed"
    )  # fmt: skip
    brightness: Literal["auto", "flux", "magnitude"] = option(
        "auto", "what the brightnesses of light curves are: flux, magnitude; auto: by unit, UCD or name of the column"
    )
    allow_truth: bool = option(False, "take columns that look like the class of an object too")

    def __post_init__(self) -> None:
        if not 0 < self.weight <= 100:
            raise ConfigError(f"blocks.weight={self.weight}: expected more than 0 and at most 100")
        repeated = [name for name in self.columns if self.columns.count(name) > 1]
        if repeated:
            raise ConfigError(f"blocks.columns names {repeated[0]!r} twice")
