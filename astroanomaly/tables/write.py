"""The catalogue of anomalies: units, UCDs, descriptions, provenance; FITS, VOTable, ECSV, CSV and DS9 regions."""

from __future__ import annotations

import functools
import logging
import re
import textwrap
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.config import nearest
from astroanomaly.cutting.remarks import quiet
from astroanomaly.errors import CatalogError, ConfigError, StorageError
from astroanomaly.files import atomic_path
from astroanomaly.tables.column_names import clean_ucd, distinct_names
from astroanomaly.tables.csv_rows import check_escape, csv_rows
from astroanomaly.tables.escape import ascii_text, fits_name, line_text, unicode_text, xml_name, xml_text
from astroanomaly.tables.matching import find_duplicates
from astroanomaly.tables.units import spell_unit

if TYPE_CHECKING:
    from astropy.io.fits import BinTableHDU
    from astropy.io.votable.tree import VOTableFile
    from astropy.table import QTable, Table

__all__ = [
    "SUFFIXES",
    "as_ecsv",
    "as_fits",
    "as_votable",
    "build_catalog",
    "build_columns",
    "check_target",
    "merge_duplicates",
    "name_merged",
    "write_catalog",
]

SUFFIXES = (".vot", ".votable", ".xml", ".fits", ".ecsv", ".csv", ".reg")
_REGION_RADIUS_ARCSEC = 3.0
_HISTORY_LETTERS = 72  # of a HISTORY card; longer ones would be cut within words
_MAX_REGION_CHARACTERS = 200  # characters of an id that DS9 is given to draw
_log = logging.getLogger(__name__)
_DESCRIBED = {  # UCD and description of the columns every catalogue has
    "object_id": ("meta.id;meta.main", "object id"),
    "ra": ("pos.eq.ra;meta.main", "right ascension (ICRS)"),
    "dec": ("pos.eq.dec;meta.main", "declination (ICRS)"),
    "rank": ("meta.number", "1 + number of objects with a higher score; 1 is the most anomalous"),
    "score": ("stat.likelihood", "log-odds that the object is not nominal; not calibrated, higher is more anomalous"),
    "probability": (
        "stat.probability",
        "probability that the object is not nominal, calibrated on the audit set; none where it is labelled",
    ),
    "label": ("meta.code.class", "label by a decision, else majority or median grade of annotators; empty without one"),
    "votes": ("meta.note", "verdicts by label class"),
    "note": ("meta.note", "notes of the annotators"),
    "n_merged": ("meta.number", "number of objects merged into this row"),
    "merged_ids": ("meta.id", "ids of the other objects merged into this row, separated by blanks"),
}


def build_catalog(columns: Mapping[str, Any], provenance: Mapping[str, str]) -> QTable:
    """Make the catalogue from plain columns.

    Parameters
    ----------
    columns
        By name, each of one length: ``object_id``, ``ra`` and ``dec`` in ICRS degrees, ``score``, and any others;
        astropy columns keep their unit and description. Columns named ``log_odds_CLASS`` are described as such. A
        column carried along whose name differs from one of ours, or from an earlier one, in case only is called
        ``catalog_NAME``: neither FITS nor TOPCAT tells them apart.
    provenance
        Kept in ``meta`` and written into the header of the file.

    Raises
    ------
    CatalogError
        If a column is missing, or they are not of one length.
    """
    missing = [name for name in ("object_id", "ra", "dec", "score") if name not in columns]
    lengths = {name: len(values) for name, values in columns.items()}
    if missing or len(set(lengths.values())) != 1:
        raise CatalogError(
            f"a catalogue of anomalies needs the column {missing[0]!r}; there is {', '.join(columns) or 'none'}"
            if missing
            else f"the columns of a catalogue must be of one length, not {lengths}"
        )
    ours = {name for name in columns if name in _DESCRIBED or name.startswith("log_odds_")}
    table = build_columns(dict(zip(distinct_names(columns, ours), columns.values(), strict=True)))
    table.meta = {str(key): str(value) for key, value in provenance.items()}
    return table


def build_columns(columns: Mapping[str, Any]) -> QTable:
    """Make a table of plain columns: ``ra`` and ``dec`` in degrees; usual ones with UCD and description."""
    from astropy import units
    from astropy.table import QTable

    table = QTable()
    for name, values in columns.items():
        if name in ("ra", "dec"):
            table[name] = units.Quantity(np.asarray(values, float), "deg")
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # units of a stranger's catalogue that astropy does not know
                table[name] = values
        ucd, description = _DESCRIBED.get(name, (_secondary(table[name].info.meta), ""))
        if name.startswith("log_odds_"):
            ucd, description = (
                "stat.likelihood",
                f"log-odds of {name.removeprefix('log_odds_')} against all other classes",
            )
        info = table[name].info
        info.meta = {key: value for key, value in {**(info.meta or {}), "ucd": ucd}.items() if value != ""}
        if description:
            info.description = description
    return table


def merge_duplicates(table: QTable, radius_arcsec: float) -> QTable:
    """Merge objects closer than a radius into the one with the best score.

    Going down the scores, each object takes in all lower ones within the radius that no other has taken. Rows without
    a position stay as they are.

    Parameters
    ----------
    table
        A catalogue; its order by score is kept.
    radius_arcsec
        The radius; 0 merges nothing.

    Returns
    -------
    astropy.table.QTable
        With the columns ``n_merged`` and ``merged_ids`` added.

    Raises
    ------
    ConfigError
        If the radius is negative or above 180 degrees.
    """
    ra, dec = table["ra"].to_value("deg"), table["dec"].to_value("deg")
    kept_as = find_duplicates(ra, dec, np.asarray(table["score"], float), radius_arcsec)
    members: dict[int, list[int]] = {row: [] for row, first in enumerate(kept_as.tolist()) if row == first}
    for row in np.flatnonzero(kept_as != np.arange(len(table))).tolist():
        members[kept_as[row]].append(row)
    ids = [str(object_id) for object_id in table["object_id"]]
    return name_merged(table[list(members)], [[ids[row] for row in others] for others in members.values()])


def name_merged(table: QTable, others: Sequence[Sequence[str]]) -> QTable:
    """Add to a catalogue how many objects each row stands for, and the ids of the others.

    Parameters
    ----------
    table
        The catalogue, which gets the columns ``n_merged`` and ``merged_ids``.
    others
        For each row the ids of the objects merged into it.
    """
    table["n_merged"] = np.array([1 + len(ids) for ids in others], dtype=np.int32)
    table["merged_ids"] = np.array([" ".join(ids) for ids in others], dtype=str)
    for name in ("n_merged", "merged_ids"):
        ucd, description = _DESCRIBED[name]
        table[name].info.meta = {"ucd": ucd}
        table[name].info.description = description
    return table


def write_catalog(
    table: QTable, path: str | Path, *, overwrite: bool = False, escape_formulas: bool = False,
    contents: str = "anomalies",
) -> None:  # fmt: skip
    r"""Write a catalogue in one step, in the format its suffix names.

    Text that a format cannot hold (control characters, lone surrogates, blanks at an end, and all but ASCII in FITS) is
    spelt as in a Python string: ``\x07``, ``\xe9``. CSV keeps everything but surrogates and the null character.

    Parameters
    ----------
    table
        What `build_catalog` made.
    path
        ``.vot``, ``.votable`` or ``.xml`` (VOTable), ``.fits``, ``.ecsv``, ``.csv``, or ``.reg`` (DS9 regions, without
        the objects that have no position).
    overwrite
        Replace the file if it exists.
    escape_formulas
        Put an apostrophe before each text of a CSV that a spreadsheet would run as a formula; see `csv_rows`.
    contents
        What is in the table, in a word: VOTable and FITS say so.

    Raises
    ------
    ConfigError
        For another suffix, or if formulas are to be escaped in what is no CSV.
    StorageError
        If the file exists and must not be replaced, or cannot be written.
    """
    path = Path(path)
    check_escape(path, escape_formulas)
    writers: dict[str, Callable[[QTable, Path], None]] = {
        ".fits": functools.partial(_write_fits, name=contents.upper()), ".ecsv": _write_ecsv, ".reg": _write_regions,
        ".csv": functools.partial(_write_csv, escape_formulas=escape_formulas),
    }  # fmt: skip
    suffix = check_target(path, SUFFIXES, overwrite=overwrite)
    with atomic_path(path) as temporary:
        writers.get(suffix, functools.partial(_write_votable, contents=contents))(table, temporary)


def check_target(path: Path, suffixes: Sequence[str], *, overwrite: bool) -> str:
    """Check that a file may be written before the work begins; return its suffix in lower case.

    Raises
    ------
    ConfigError
        If the suffix is none of ``suffixes``.
    StorageError
        If the file exists and must not be replaced, or its folder does not.
    """
    suffix = path.suffix.lower()
    if suffix not in suffixes:
        raise ConfigError(
            f"cannot tell the format of {path}: expected one of {', '.join(suffixes)}{nearest(suffix, suffixes)}"
        )
    if path.exists() and not overwrite:
        raise StorageError(f"{path} exists already: choose another name, or --overwrite")
    if not path.parent.is_dir():
        raise StorageError(f"{path} cannot be written: the folder {path.parent} does not exist")
    return suffix


# ------------------------------------------------------------------------------------------------------- the formats


def as_votable(table: QTable, contents: str = "anomalies") -> VOTableFile:
    """Return a catalogue of ``contents`` as a VOTable, with UCDs, descriptions and provenance."""
    from astropy.io.votable import from_table
    from astropy.io.votable.tree import CooSys, Info

    plain = _plain(table, xml_text, "vounit")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that it makes an XML id of every strange column name
        votable = from_table(plain)
    resource = votable.resources[0]
    votable.description = f"{contents.capitalize()} by AstroAnomaly"
    fields = resource.tables[0].fields
    frame = "icrs"
    while frame in {field.ID for field in fields}:
        frame += "_"
    resource.coordinate_systems.append(CooSys(ID=frame, system="ICRS"))  # no epoch: it is that of the images
    for key, value in table.meta.items():
        info = Info(name=xml_name(key), value=xml_text(value))
        info.ID = None  # a column may be called so, too
        resource.infos.append(info)
    with quiet():  # units that VOUnits discourages
        for item, name, column in zip(fields, table.colnames, plain.itercols(), strict=True):
            item.ucd = (table[name].info.meta or {}).get("ucd") or None
            if unit := (column.info.meta or {}).get("unit"):
                item.unit = unit
            if column.dtype.kind == "U":
                item.arraysize = "*"  # an empty text is one of no characters
            if name in ("ra", "dec"):
                item.ref = frame
    return votable


def _write_votable(table: QTable, path: Path, contents: str) -> None:
    # The fast writer of astropy 8.0.2 writes one byte past its buffer where a row just fills it, and BINARY2 has no
    # characters beyond the basic plane.
    with quiet():
        as_votable(table, contents).to_xml(str(path), tabledata_format="tabledata", _debug_python_based_parser=True)


def as_fits(table: QTable, name: str) -> BinTableHDU:
    """Return a catalogue as a FITS table called ``name``, with UCDs (TUCDn), descriptions (TCOMMn) and provenance."""
    from astropy.io import fits

    plain = _plain(table, ascii_text, "fits", fits_name)
    hdu = fits.table_to_hdu(plain)
    for number, (column, plain_name) in enumerate(zip(table.colnames, plain.colnames, strict=True), 1):
        ucd = (table[column].info.meta or {}).get("ucd")
        if ucd:
            hdu.header[f"TUCD{number}"] = ascii_text(str(ucd))
        if plain[plain_name].info.description:
            hdu.header[f"TCOMM{number}"] = plain[plain_name].info.description
    hdu.header["EXTNAME"] = name
    hdu.header["RADESYS"] = "ICRS"
    for key, value in table.meta.items():
        for line in textwrap.wrap(f"{ascii_text(key)}: {ascii_text(value)}", _HISTORY_LETTERS, break_on_hyphens=False):
            hdu.header.add_history(line)
    return hdu


def _write_fits(table: QTable, path: Path, name: str) -> None:
    from astropy.io import fits

    fits.HDUList([fits.PrimaryHDU(), as_fits(table, name)]).writeto(path, checksum=True)


def as_ecsv(table: QTable) -> Table:
    """Return a catalogue as an ordinary table whose header can be written as YAML, UCDs and provenance in ``meta``."""
    plain = _plain(table, line_text, "generic")
    plain.meta = {line_text(key): line_text(value) for key, value in table.meta.items()}
    for column in plain.itercols():
        column.info.meta = table[column.info.name].info.meta if column.info.name in table.colnames else None
    return plain


def _write_ecsv(table: QTable, path: Path) -> None:
    from astropy.io import ascii as text_tables

    text_tables.write(as_ecsv(table), path, format="ecsv")


def _write_csv(table: QTable, path: Path, escape_formulas: bool = False) -> None:
    plain = _plain(table, unicode_text, "generic")
    with path.open("w", newline="", encoding="utf-8") as handle:
        put = csv_rows(handle, plain.colnames, escape_formulas=escape_formulas)
        put(zip(*(plain[name].tolist() for name in plain.colnames), strict=True))


def _write_regions(table: QTable, path: Path) -> None:
    """Write DS9 circles; objects without a position have none."""
    ra, dec = table["ra"].to_value("deg"), table["dec"].to_value("deg")
    there = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    lines = ["# Region file format: DS9 version 4.1", "global color=green dashlist=8 3", "icrs"]
    names = [str(object_id) for object_id in table["object_id"][there]]
    for x, y, name in zip(ra[there], dec[there], names, strict=True):
        text = "".join(c if c.isprintable() and c not in "{}" else " " for c in name)[:_MAX_REGION_CHARACTERS]
        lines.append(f'circle({x:.9f},{y:+.9f},{_REGION_RADIUS_ARCSEC:g}") # text={{{text}}}')
    if len(there) < len(table):
        message = f"{len(table) - len(there)} of {len(table)} objects have no position and are left out"
        _log.warning("%s of the regions", message)
        lines.append(f"# {message}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


# ------------------------------------------------------------------------------------------------------------ helpers


def _secondary(meta: Any) -> str:
    """Return the UCD of a column carried along: ours are the main id and position of a catalogue, not its own."""
    ucd = clean_ucd((meta or {}).get("ucd"))
    return re.sub(r"(;meta\.main|(?<=^POS_EQ_RA)_MAIN|(?<=^POS_EQ_DEC)_MAIN)$", "", ucd, flags=re.IGNORECASE)


def _plain(
    table: QTable, spelt: Callable[[str], str], unit_format: str, named: Callable[[str], str] | None = None
) -> Table:
    """Return an ordinary table that a format can hold, without its meta.

    Quantities become columns with a unit; names are passed through ``named``, text through ``spelt``; a name or a unit
    that the format does not know is told in the description.
    """
    from astropy.table import MaskedColumn, Table

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # units of a stranger's catalogue
        plain = Table(table, copy=True)
    plain.meta = {}
    for name in table.colnames:
        info = plain[name].info
        unit, text, note = spell_unit(info.unit, unit_format)
        full = f"[name: {name}]" if (named or spelt)(name) != name else ""
        description = spelt(" ".join(text for text in (info.description, full, note) if text))
        if plain[name].dtype.kind in "OUS":
            mask = getattr(plain[name], "mask", None)
            values = np.array(
                [spelt(_decoded(value)) for value in np.asarray(np.ma.getdata(plain[name])).tolist()], dtype=str
            )
            plain[name] = values if mask is None or not np.any(mask) else MaskedColumn(values, mask=mask)
        info = plain[name].info
        info.unit, info.description, info.meta = unit, description or None, {"unit": text} if text else None
    plain.rename_columns(table.colnames, _names(table.colnames, named or spelt))
    return plain


def _names(names: list[str], spelt: Callable[[str], str]) -> list[str]:
    """Bring column names to what a format can hold, all different whatever the case."""
    chosen: list[str] = []
    taken: set[str] = set()
    for name in map(spelt, names):
        new, number = name, 1
        while new.lower() in taken:
            number += 1
            new = f"{name}_{number}"
        taken.add(new.lower())
        chosen.append(new)
    return chosen


def _decoded(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
