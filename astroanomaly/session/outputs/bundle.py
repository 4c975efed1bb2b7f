"""The bundle: a folder or zip archive of chosen objects that another machine opens; ``docs/bundle-format.md``."""

from __future__ import annotations

import csv
import datetime
import json
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly._version import __version__
from astroanomaly.cache import Cache
from astroanomaly.cache.cutout_files import file_names, write_folder
from astroanomaly.errors import ConfigError
from astroanomaly.files import atomic_folder, atomic_path, check_new, temporary_folder
from astroanomaly.imaging.display import Display
from astroanomaly.imaging.painting import grey_map
from astroanomaly.labels.consensus import ObjectConsensus
from astroanomaly.records import Progress, counted
from astroanomaly.session.outputs.cutouts import cards_of_objects, cards_of_session
from astroanomaly.session.outputs.pictures import Palette, png, render
from astroanomaly.session.outputs.provenance import public
from astroanomaly.session.outputs.report import report
from astroanomaly.tables.escape import unicode_text
from astroanomaly.tables.write import write_catalog

if TYPE_CHECKING:
    from astropy.table import QTable

__all__ = ["BUNDLE_FORMAT", "BUNDLE_VERSION", "DESCRIPTION", "write_bundle"]

BUNDLE_FORMAT = "astroanomaly-bundle"
BUNDLE_VERSION = 1
DESCRIPTION = "bundle.json"
_LARGEST_PX = 512  # of the longer side of a picture
_AT_A_TIME = 64  # objects whose pictures are made together
_TABLES = ("table.vot", "table.fits")
_REPORT, _LABELS, _README = "report.html", "labels.csv", "README.txt"
_CUTOUTS, _PICTURES = "cutouts", "pictures"
_STORED = (".png", ".h5", ".safetensors")  # which packing makes hardly smaller
StoredRanking = Callable[[Path, Callable[[str], str]], dict[str, Any]]


def write_bundle(
    cache: Cache,
    table: QTable,
    consensus: Mapping[str, ObjectConsensus],
    path: Path,
    title: str,
    *,
    display: Display | None = None,
    palette: Palette = grey_map,
    ranking: StoredRanking | None = None,
    overwrite: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> int:
    """Write a bundle of a catalogue's objects in one step; return its size in bytes.

    Parameters
    ----------
    cache
        Has the cutouts.
    table
        A catalogue, see `astroanomaly.session.export.describe`.
    consensus
        What the annotators said, by object id.
    path
        A folder to be made, or an archive called ``.zip``.
    title
        Heading of the report.
    display, palette
        How the pictures look, as in `Painter.paint`; None: as usual.
    ranking
        Writes what the ranking can be computed again from, see
        `astroanomaly.session.outputs.stored_ranking.write_ranking`; None: nothing is written.
    overwrite
        Replace the archive, or a folder that was made so.
    progress
        Called with a report after each cutout and each picture.

    Raises
    ------
    ConfigError
        If the catalogue is empty.
    StorageError
        If the path is taken, or cannot be written; nothing half-written is left.
    """
    if not len(table):
        raise ConfigError("there is nothing to put into a bundle: no object was chosen")
    if path.suffix.lower() != ".zip":
        with atomic_folder(path, overwrite=overwrite) as folder:
            _fill(folder, cache, table, consensus, title, display, palette, ranking, progress)
        return sum(item.stat().st_size for item in path.rglob("*") if item.is_file())
    check_new(path, overwrite=overwrite)
    with temporary_folder(path.absolute()) as above:
        whole = above / "bundle"
        with atomic_folder(whole) as folder:
            _fill(folder, cache, table, consensus, title, display, palette, ranking, progress)
        with atomic_path(path) as temporary:
            _zip(whole, temporary, path.stem)
    return path.stat().st_size


def _fill(
    folder: Path,
    cache: Cache,
    table: QTable,
    consensus: Mapping[str, ObjectConsensus],
    title: str,
    display: Display | None,
    palette: Palette,
    ranking: StoredRanking | None,
    progress: Callable[[Progress], None] | None,
) -> None:
    ids = [str(object_id) for object_id in table["object_id"]]
    provenance = public(table.meta)
    cutouts = [f"{_CUTOUTS}/{name}" for name in file_names(ids)]
    pictures = [f"{_PICTURES}/{name}" for name in file_names(ids, ".png")]
    for name in (_CUTOUTS, _PICTURES):
        (folder / name).mkdir()
    write_folder(cache, ids, folder / _CUTOUTS, cards_of_session(table.meta), cards_of_objects(table), progress)
    painted = (
        picture
        for start in range(0, len(ids), _AT_A_TIME)
        for picture in render(cache, ids[start : start + _AT_A_TIME], _LARGEST_PX, display, palette)
    )
    for name, picture in zip(pictures, counted(painted, "pictures", len(ids), progress), strict=True):
        (folder / name).write_bytes(png(picture))
    listed = table.copy()
    listed.meta = dict(provenance)
    for column, names, what in (("cutout", cutouts, "FITS cutout"), ("picture", pictures, "picture")):
        listed[column] = np.array(names, dtype=str)
        listed[column].info.description = f"{what} of the object, a file of this bundle"
        listed[column].info.meta = {"ucd": "meta.ref"}
    for name in _TABLES:
        write_catalog(listed, folder / name)
    page = report(cache, table, title, display=display, palette=palette, progress=progress)
    (folder / _REPORT).write_text(page, encoding="utf-8")
    number_of = _write_labels(folder / _LABELS, table, consensus)
    layout = cache.layout
    about: dict[str, Any] = {
        "format": BUNDLE_FORMAT,
        "version": BUNDLE_VERSION,
        "software": f"astroanomaly {__version__}",
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "title": title,
        "provenance": provenance,
        "cutouts": {
            "bands": list(layout.bands),
            "units": list(layout.units),
            "height": layout.height,
            "width": layout.width,
            "pixel_kind": layout.pixel_kind,
            "stretch": layout.stretch,
        },
        "files": {"tables": list(_TABLES), "report": _REPORT, "labels": _LABELS, "readme": _README},
        "objects": [
            {"object_id": object_id, "cutout": cutout, "picture": picture}
            for object_id, cutout, picture in zip(ids, cutouts, pictures, strict=True)
        ],
    }
    if ranking is not None:
        about["ranking"] = ranking(folder, lambda name: number_of.setdefault(name, _numbered(len(number_of))))
    (folder / DESCRIPTION).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    (folder / _README).write_text(_readme(title, len(ids), about), encoding="utf-8")


def _write_labels(path: Path, table: QTable, consensus: Mapping[str, ObjectConsensus]) -> dict[str, str]:
    """Write what each annotator said last of each object, or the decision: a table `labels import` takes.

    Returns the number of each annotator who is in it.
    """
    number_of: dict[str, str] = {}
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(("object_id", "label", "annotator", "ra", "dec", "note"))
        for row in table:
            one = consensus.get(str(row["object_id"]))
            if one is None:
                continue
            place = [repr(float(row[name].value)) if np.isfinite(row[name].value) else "" for name in ("ra", "dec")]
            note = unicode_text(" | ".join(one.notes))
            said = {one.decided_by: one.decision} if one.decision else one.votes
            for annotator, label in said.items():
                number = number_of.setdefault(annotator, _numbered(len(number_of)))
                writer.writerow((unicode_text(str(row["object_id"])), label, number, *place, note))
                note = ""
    return number_of


def _numbered(others: int) -> str:
    return f"annotator-{others + 1}"


_RANKING_LINES = (
    "session/       settings, labels, checkpoint and scores, from which the ranking is computed again:",
    "               astroanomaly reproduce BUNDLE, with --cache where there is no folder caches/",
)


def _readme(title: str, objects: int, about: Mapping[str, Any]) -> str:
    lines = [
        " ".join(title.split()),
        "",
        f"{objects} object{'s' if objects != 1 else ''} of an imaging survey, written on {about['created']} by "
        f"{about['software']}.",
        "",
        f"{_REPORT:<14} pictures of all of them with positions, scores and links; open it in a browser",
        f"{_TABLES[0]:<14} the catalogue for TOPCAT, Aladin and astropy (VOTable); {_TABLES[1]} is the same",
        f"{_CUTOUTS + '/':<14} a FITS file for each object, one extension for each band, with WCS and units",
        f"{_PICTURES + '/':<14} the same as pictures (PNG)",
        f"{_LABELS:<14} what people said of these objects",
        f"{DESCRIPTION:<14} what is in this bundle, for programs",
        "SHA256SUMS     checksums: sha256sum -c SHA256SUMS",
        *(_RANKING_LINES if "ranking" in about else ()),
        "",
        "Positions are ICRS, in degrees. Scores are log-odds that an object is not nominal: they order objects, and",
        "are no probabilities.",
    ]
    return "\n".join(lines) + "\n"


def _zip(folder: Path, path: Path, name: str) -> None:
    """Pack a folder under another name, files in the order of their names."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for item in sorted(folder.rglob("*")):
            if item.is_file():
                entry = zipfile.ZipInfo.from_file(item, f"{name}/{item.relative_to(folder).as_posix()}")
                entry.external_attr = 0o100644 << 16
                entry.compress_type = zipfile.ZIP_STORED if item.suffix in _STORED else zipfile.ZIP_DEFLATED
                with item.open("rb") as source, archive.open(entry, "w") as target:
                    shutil.copyfileobj(source, target)
