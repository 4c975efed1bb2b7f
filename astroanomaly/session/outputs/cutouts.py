"""FITS cutouts of a catalogue's objects, with what the session says of them in their headers."""

from __future__ import annotations

import datetime
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from astroanomaly.cache import Cache
from astroanomaly.cache.cutout_files import file_names, write_cutouts
from astroanomaly.errors import ConfigError
from astroanomaly.records import Progress
from astroanomaly.session.outputs.provenance import public

if TYPE_CHECKING:
    from astropy.table import QTable

__all__ = ["cards_of_objects", "cards_of_session", "refuse_too_many", "write_cutouts_of", "zip_cutouts"]

_MOST_BYTES = 2**28  # of pixels in an archive that is made for a browser
_OF_SESSION = {  # key of the provenance -> keyword and comment
    "session": ("SESSION", "session of AstroAnomaly"),
    "round": ("ROUND", "round that the score is of"),
    "ranker": ("RANKER", "ranker of that round"),
    "trained": ("TRAINED", "when it was trained"),
    "label_event": ("LABELEVT", "number of the last event in the label log"),
}
_OF_OBJECT = {  # column -> keyword and comment
    "score": ("SCORE", "log-odds not to be nominal, not calibrated"),
    "rank": ("RANK", "1 is the most anomalous"),
    "probability": ("PROBAB", "probability not to be nominal"),
    "label": ("LABEL", "by a decision, majority or median grade"),
    "votes": ("VOTES", "verdicts by label class"),
}


def write_cutouts_of(
    cache: Cache,
    table: QTable,
    path: Path,
    *,
    one_file: bool = False,
    overwrite: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> list[str]:
    """Write the cutouts of a catalogue's objects; as `Cache.write_cutouts`, with more in the primary headers."""
    ids = [str(object_id) for object_id in table["object_id"]]
    return write_cutouts(
        cache, ids, path, one_file=one_file, cards=cards_of_session(table.meta), cards_of=cards_of_objects(table),
        overwrite=overwrite, progress=progress,
    )  # fmt: skip


def cards_of_session(provenance: Mapping[str, str]) -> dict[str, Any]:
    """Return where scores and labels come from as cards of a FITS header, without paths."""
    known = public(provenance)
    cards = {keyword: (known[key], comment) for key, (keyword, comment) in _OF_SESSION.items() if known.get(key)}
    now = datetime.datetime.now(datetime.UTC)
    return {**cards, "DATE": (f"{now:%Y-%m-%dT%H:%M:%S}", "when this file was written (UTC)")}


def cards_of_objects(table: QTable) -> dict[str, dict[str, Any]]:
    """Return score, rank, label and votes of each object as cards of a FITS header."""
    found: dict[str, dict[str, Any]] = {}
    for row in table:
        there = {name: row[name] for name in _OF_OBJECT if name in table.colnames and not np.ma.is_masked(row[name])}
        plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in there.items()}
        found[str(row["object_id"])] = {
            _OF_OBJECT[name][0]: (value, _OF_OBJECT[name][1]) for name, value in plain.items() if value != ""
        }
    return found


def refuse_too_many(cache: Cache, count: int) -> None:
    """Refuse to make an archive in memory that is too large.

    Raises
    ------
    ConfigError
        If it would hold more than 256 MiB of pixels.
    """
    nbytes = count * cache.layout.nbytes
    if nbytes > _MOST_BYTES:
        raise ConfigError(
            f"{count} cutouts have {nbytes / 2**20:.0f} MiB of pixels, too many for a download: choose fewer, or write "
            "them on the server with `astroanomaly cutouts` or `astroanomaly bundle`"
        )


def zip_cutouts(cache: Cache, table: QTable, into: BinaryIO) -> None:
    """Write the cutouts of a catalogue's objects into a zip archive, one FITS file each.

    Raises
    ------
    ConfigError
        If they are too many for an archive that is made in memory.
    """
    refuse_too_many(cache, len(table))
    ids = [str(object_id) for object_id in table["object_id"]]
    common, own = cards_of_session(table.meta), cards_of_objects(table)
    with zipfile.ZipFile(into, "w", zipfile.ZIP_DEFLATED) as archive:
        for cutout, name in zip(cache.cutouts(ids), file_names(ids), strict=True):
            hdus = cutout.to_hdulist({**common, **own[cutout.object_id]})
            with archive.open(f"cutouts/{name}", "w") as handle:
                hdus.writeto(handle, checksum=True)
