"""Options of every source that cuts objects at the positions of a table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from astroanomaly import ConfigError, GivenTable, given_catalog, option
from astroanomaly.sky import angle_text, position_text

__all__ = ["ArchiveOptions", "PositionOptions"]


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


@dataclass(frozen=True, kw_only=True)
class ArchiveOptions(PositionOptions):
    """Which objects an archive is asked for: those of a table, of a TAP service, in a part of the sky.

    Raises
    ------
    ConfigError
        If they contradict one another.
    """

    cone: str = option(
        "", "only objects around this position, as in '269.7 66.0'", metavar="POS", convert=position_text
    )
    radius: str = option("", "radius of the cone, as in 0.1deg or 5arcmin", metavar="ANGLE", convert=angle_text)
    region: Path | None = option(  # noqa: RUF009 - option() makes a dataclass field
        None, "only objects in the regions of this DS9 file", metavar="FILE"
    )
    moc: Path | None = option(  # noqa: RUF009 - option() makes a dataclass field
        None, "only objects in this coverage map (MOC): FITS, JSON or text", metavar="FILE"
    )
    tap: str = option("", "address of a TAP service that has the objects, in place of a catalogue", metavar="URL")
    table: str = option("", "table of the TAP service, of which the objects in the cone, regions or map are taken")
    where: str = option("", "further condition in ADQL on the table, as in 'rmag < 20'", metavar="ADQL")
    adql: str = option("", "query in ADQL that gives the objects, in place of --table", metavar="QUERY")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.radius and not self.cone:
            raise ConfigError("--radius belongs to --cone")
        if self.catalog is not None and (self.tap or self.adql):
            raise ConfigError(f"--catalog and {'--tap' if self.tap else '--adql'} were given: the objects are of one")
        if self.tap and (urlsplit(self.tap).scheme not in ("http", "https") or not urlsplit(self.tap).hostname):
            raise ConfigError(f"tap={self.tap!r}: expected the http or https address of a TAP service")
        if urlsplit(self.tap).password or urlsplit(self.tap).username:
            raise ConfigError("the address of the TAP service holds a password, which would be stored: leave it out")
        if self.tap and bool(self.table) == bool(self.adql):
            raise ConfigError("--tap needs either --table, with --cone, --region or --moc, or a query: --adql")
        if self.table and not self.tap:
            raise ConfigError("--table belongs to --tap")
        if self.table and bool(self.ra) != bool(self.dec):
            raise ConfigError("--ra and --dec of a table of a TAP service are given together, or neither")
        degrees = {word.strip().lower() for word in self.unit.split(",")} <= {"", "deg", "degree", "degrees"}
        if self.table and (self.frame.lower() not in ("", "icrs") or not degrees):
            raise ConfigError(
                "a table of a TAP service is asked for in ICRS degrees: leave out --frame and --unit, and name columns "
                "in ICRS degrees with --ra and --dec, or convert them in a query (--adql)"
            )
        if self.where and (self.adql or self.catalog is not None):
            raise ConfigError("--where belongs to a table of an archive: write it into the query of --adql")

    @property
    def has_area(self) -> bool:
        """Whether a part of the sky was named."""
        return bool(self.cone or self.region or self.moc)
