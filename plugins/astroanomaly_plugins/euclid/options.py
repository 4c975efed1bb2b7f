"""Options of the source ``euclid``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from astroanomaly import ConfigError, option
from astroanomaly.sky import size_text
from astroanomaly_plugins.euclid.bands import band_name
from astroanomaly_plugins.euclid.releases import NEWEST
from astroanomaly_plugins.shared.options import ArchiveOptions

__all__ = ["EuclidOptions"]


@dataclass(frozen=True)
class EuclidOptions(ArchiveOptions):
    """Options of the source ``euclid``."""

    size: str = option(
        "",
        "size of a cutout: an angle (10arcsec) or pixels of 0.1 arcsec (64, or 64x48)",
        metavar="SIZE",
        convert=size_text,
    )
    bands: tuple[str, ...] = option(
        ("VIS", "Y", "J", "H"),
        "bands: VIS, Y, J, H, DECAM_g, MEGACAM_u, HSC_z ..., or u, g, r, i, z for whatever instrument on the ground",
    )
    via: Literal["auto", "esa", "irsa", "datalabs"] = option(
        "auto",
        "the archive: ESA cuts on its server, IRSA is read in the public cloud, datalabs reads mosaics in place; auto "
        "takes the first that works",
    )
    id: str = option("", "catalogue column of the object id", formerly=("id_column",))
    mer_id: tuple[str, ...] = option((), "ids of the MER catalogue to cut, in place of a table", formerly=("id",))
    magnitude_limit: float | None = option(
        None, "faintest AB magnitude of the objects of the MER catalogue", metavar="MAG"
    )
    flux_column: str = option("flux_detection_total", "MER column, in microjansky, that the magnitude is taken from")
    columns: tuple[str, ...] = option(
        ("usual",),
        "columns to keep with objects of the MER catalogue; usual: fluxes, shape and flags; * for all, none for none",
    )
    login: bool = option(
        False, "log in at ESA, with EUCLID_USER and EUCLID_PASSWORD or the file EUCLID_CREDENTIALS of the environment"
    )
    release: str = option(
        NEWEST, "release, as q1 or dr1; newest: of those that the archive has (see --describe)", metavar="NAME"
    )
    releases: Path | None = option(  # noqa: RUF009 - `option` makes a field
        None, "file with the names that tables of a release have, where they are not known here", metavar="FILE"
    )
    environment: Literal["PDR", "IDR", "OTF", "REG"] = option(
        "PDR", "which of ESA's archives: PDR is public, the others are for members of the consortium"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if re.fullmatch(r"[-+\s\d,]+", self.id):
            raise ConfigError(
                f"--id {self.id}: ids of the MER catalogue are given with --mer-id now; --id names the column of ids "
                "in a table"
            )
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.release):
            raise ConfigError(f"--release {self.release!r}: expected a name in lower-case letters, as q1, or {NEWEST}")
        if self.login and self.via == "irsa":
            raise ConfigError("--login is for ESA's archive; IRSA has no accounts")
        doubled = [name for name in self.names if self.names.count(name) > 1]
        if doubled or not self.names:
            raise ConfigError(f"bands={','.join(self.bands)}: expected bands, each once")

    @property
    def names(self) -> tuple[str, ...]:
        """Bands as a cache calls them."""
        return tuple(band_name(text) for text in self.bands)
