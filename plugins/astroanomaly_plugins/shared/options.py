"""Options of every source that cuts objects at the positions of a table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from astroanomaly import ConfigError, GivenTable, given_catalog, option

__all__ = ["PositionOptions"]


@dataclass(frozen=True, kw_only=True)
class PositionOptions:
    """Where the positions are, what is kept with a cutout, and how much of it has to be covered.

    A source derives its options from these; fields without a default may follow, since these are keywords.

    Raises
    ------
    ConfigError
        If ``min_coverage`` is no share.
    """

    catalog: Path | GivenTable | None = option(  # noqa: RUF009 - option() makes a dataclass field
        None, "table of the objects to cut", convert=given_catalog
    )
    ra: str = option("", "catalogue column of the longitude (right ascension)")
    dec: str = option("", "catalogue column of the latitude (declination)")
    frame: str = option(
        "", "frame of the positions, as astropy calls it: icrs, fk5, galactic ...; default: by the table"
    )
    unit: str = option(
        "",
        "unit of the positions: deg, rad, hour (of right ascension), or two as in hour,rad; default: by column",
    )
    id: str = option("", "catalogue column of the object id")
    carry: tuple[str, ...] = option(("*",), "catalogue columns to keep with the cutouts; * for all, none for none")
    min_coverage: float = option(0.0, "smallest share of covered pixels, 0 to 1, in the best band; below, a failure")
    dtype: Literal["float32", "float16"] = option("float32", "how flux is stored")

    def __post_init__(self) -> None:
        if not 0 <= self.min_coverage <= 1:
            raise ConfigError(f"min_coverage={self.min_coverage}: expected 0 to 1")
