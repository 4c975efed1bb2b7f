"""Usual names of the columns of ids, positions and labels, in lower case, in the order they are looked for."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Any

__all__ = [
    "ID_NAMES",
    "LABELLED_ID_NAMES",
    "LABEL_NAMES",
    "PIXEL_NAMES",
    "SEXAGESIMAL_NAMES",
    "SKY_NAMES",
    "SKY_TEXT_NAMES",
    "SKY_UCDS",
    "TASK_ID_NAMES",
    "clean_ucd",
    "distinct_names",
    "find_name",
    "find_pair",
    "find_pairs",
    "split_unit",
    "ucd_of",
]

# Longitude, latitude and the frame they imply.
SKY_NAMES = (
    ("ra", "dec", "icrs"), ("raj2000", "dej2000", "icrs"), ("raj2000", "decj2000", "icrs"),
    ("_raj2000", "_dej2000", "icrs"), ("ra_icrs", "de_icrs", "icrs"), ("ra_icrs", "dec_icrs", "icrs"),
    ("alpha_j2000", "delta_j2000", "icrs"), ("alphawin_j2000", "deltawin_j2000", "icrs"),
    ("right_ascension", "declination", "icrs"), ("ra_deg", "dec_deg", "icrs"), ("radeg", "dedeg", "icrs"),
    ("radeg", "decdeg", "icrs"), ("ra_j2000", "dec_j2000", "icrs"), ("s_ra", "s_dec", "icrs"),
    ("ramean", "decmean", "icrs"), ("ra2000", "dec2000", "icrs"), ("x_world", "y_world", "icrs"),
    ("xwin_world", "ywin_world", "icrs"), ("alpha", "delta", "icrs"), ("target_ra", "target_dec", "icrs"),
    ("glon", "glat", "galactic"), ("l", "b", "galactic"), ("elon", "elat", "barycentrictrueecliptic"),
    ("rab1950", "deb1950", "fk4"),
    # SExtractor: barycentre, windowed, peak, PSF and model positions; _SKY is the image's own frame
    ("alphapsf_j2000", "deltapsf_j2000", "icrs"), ("alphamodel_j2000", "deltamodel_j2000", "icrs"),
    ("alphapeak_j2000", "deltapeak_j2000", "icrs"), ("alpha_sky", "delta_sky", "icrs"),
    ("alphawin_sky", "deltawin_sky", "icrs"), ("alphapsf_sky", "deltapsf_sky", "icrs"),
    ("alphamodel_sky", "deltamodel_sky", "icrs"), ("alphapeak_sky", "deltapeak_sky", "icrs"),
    ("alpha_win", "delta_win", "icrs"), ("alphawin", "deltawin", "icrs"), ("alpha_b1950", "delta_b1950", "fk4"),
    ("alphawin_b1950", "deltawin_b1950", "fk4"), ("alphapsf_b1950", "deltapsf_b1950", "fk4"),
    ("alphamodel_b1950", "deltamodel_b1950", "fk4"), ("alphapeak_b1950", "deltapeak_b1950", "fk4"),
    ("xpsf_world", "ypsf_world", "icrs"), ("xmodel_world", "ymodel_world", "icrs"),
    ("xpeak_world", "ypeak_world", "icrs"),
    ("coord_ra", "coord_dec", "icrs"), ("meanra", "meandec", "icrs"), ("rastack", "decstack", "icrs"),
    ("objra", "objdec", "icrs"), ("plug_ra", "plug_dec", "icrs"), ("ra_x", "dec_x", "icrs"),
    ("r.a.", "dec.", "icrs"), ("r.a.", "decl.", "icrs"), ("r.a.", "dec", "icrs"), ("ra", "decl", "icrs"),
    ("_ra", "_de", "icrs"), ("_ra", "_dec", "icrs"), ("ra", "de", "icrs"),
    ("ra_hms", "dec_dms", "icrs"), ("rahms", "decdms", "icrs"),
    ("ra_1", "dec_1", "icrs"),  # of two tables that TOPCAT has joined, the first
    ("coord.ra", "coord.dec", "icrs"),  # of a column of Parquet with both
    ("sky_centroid.ra", "sky_centroid.dec", "icrs"),  # of photutils, as astropy writes a SkyCoord into columns
)  # fmt: skip
SKY_UCDS = (
    ("pos.eq.ra;meta.main", "pos.eq.dec;meta.main", "icrs"),
    ("pos_eq_ra_main", "pos_eq_dec_main", "icrs"),
    ("pos.eq.ra", "pos.eq.dec", "icrs"),
    ("pos.galactic.lon;meta.main", "pos.galactic.lat;meta.main", "galactic"),
    ("pos.galactic.lon", "pos.galactic.lat", "galactic"),
    ("pos.ecliptic.lon", "pos.ecliptic.lat", "barycentrictrueecliptic"),
)
# Of tables of CDS: hours, minutes, seconds, sign, degrees, arcminutes, arcseconds; seconds and sign may be missing
SEXAGESIMAL_NAMES = ("rah", "ram", "ras", "de-", "ded", "dem", "des")
SKY_TEXT_NAMES = (  # one column that holds both
    "coord", "coords", "coordinates", "position", "pos", "radec", "ra_dec", "ra,dec", "skycoord", "sky_coord",
    "ra dec", "pos_eq", "coord1", "sky_centroid",
)  # fmt: skip
PIXEL_NAMES = (
    ("x", "y"), ("x_image", "y_image"), ("xwin_image", "ywin_image"), ("xcentroid", "ycentroid"),
    ("x_centroid", "y_centroid"), ("xpix", "ypix"), ("xpsf_image", "ypsf_image"), ("xmodel_image", "ymodel_image"),
    ("xpeak_image", "ypeak_image"),
)  # fmt: skip
ID_NAMES = (
    "object_id", "objectid", "obj_id", "objid", "id", "source_id", "sourceid", "src_id", "number", "coadd_object_id",
    "galaxy_id", "target_id", "designation", "main_id", "name",
)  # fmt: skip
# In a table of labels. Fewer: the number or source id of another catalogue may be that of another object of ours; such
# rows are matched by position.
LABELLED_ID_NAMES = ("object_id", "id", "objid", "filename", "file", "path", "name", "image")
LABEL_NAMES = ("label", "class", "verdict", "classification", "human_label", "choice")
TASK_ID_NAMES = ("object_id", "id", "ids")  # in the table of a source's task
_MAX_UCD_CHARACTERS = 200
_WITH_UNIT = re.compile(r"(\S.*?)\s*(?:\[([^\]]+)\]|\(([^)]+)\))")
_FRAME_WORD = re.compile(r"[jb]?(?:18|19|20)\d\d(?:\.\d+)?|icrs|fk[45]|galactic|equinox|epoch", re.IGNORECASE)


def find_name(names: Iterable[str], usual: Iterable[str]) -> str | None:
    """Return the first of some column names that is one of the usual ones, whatever its case."""
    by_lower = _by_lower(names)
    return next((by_lower[name] for name in usual if name in by_lower), None)


def find_pair(names: Iterable[str], usual: Iterable[tuple[str, ...]]) -> tuple[str, ...] | None:
    """Return two column names that are a usual pair, whatever their case, and whatever else stands with the pair."""
    return next(iter(find_pairs(names, usual)), None)


def find_pairs(names: Iterable[str], usual: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return every usual pair among some column names, as `find_pair`, in the order of the usual ones."""
    by_lower = _by_lower(names)
    return [
        (by_lower[first], by_lower[second], *rest)
        for first, second, *rest in usual
        if first in by_lower and second in by_lower
    ]


def distinct_names(names: Iterable[str], ours: Collection[str]) -> list[str]:
    """Rename columns whose names differ in case only, as in ``catalog_RA``; ``ours`` keep their names.

    Neither FITS nor TOPCAT tells such names apart.
    """
    taken = {name.lower() for name in ours}
    kept = set(ours)
    chosen = []
    for name in names:
        new = name
        if name in kept:
            kept.remove(name)  # a second one of this name is not ours
        else:
            while new.lower() in taken:
                new = f"catalog_{new}"
        taken.add(new.lower())
        chosen.append(new)
    return chosen


def ucd_of(column: Any) -> str:
    """Return the UCD of a column of an astropy table in lower case, empty without one."""
    return str((getattr(column, "meta", None) or {}).get("ucd", "")).strip().lower()


def clean_ucd(text: Any) -> str:
    """Return the UCD that a stranger's table gives, empty where it has not the letters of one (UCD1 or UCD1+)."""
    ucd = text.decode("ascii", "replace") if isinstance(text, bytes) else str(text or "")
    ucd = ucd.strip()
    return ucd if len(ucd) <= _MAX_UCD_CHARACTERS and re.fullmatch(r"[A-Za-z][\w.-]*(;[\w.-]+)*", ucd, re.ASCII) else ""


def split_unit(name: str) -> tuple[str, str]:
    """Split ``RA [deg]``, ``RA (J2000, deg)`` or ``RA (J2000) [deg]`` into name and unit; empty without a unit.

    A frame or an equinox in brackets is neither.
    """
    unit = ""
    while found := _WITH_UNIT.fullmatch(name):
        words = [
            word for word in re.split(r"[,;\s]+", found[2] or found[3]) if word and not _FRAME_WORD.fullmatch(word)
        ]
        name, unit = found[1], " ".join(words) or unit
    return name, unit


def _by_lower(names: Iterable[str]) -> dict[str, str]:
    """Names by their lower case, and without a unit behind; of several that differ in these only, the first."""
    by_lower: dict[str, str] = {}
    names = list(names)
    # a name as it is goes first, then without its unit, then with one sign between its words
    for key in (str, lambda name: split_unit(name)[0], lambda name: re.sub(r"[\s-]+", "_", split_unit(name)[0])):
        for name in names:
            by_lower.setdefault(key(name).lower(), name)
    return by_lower
