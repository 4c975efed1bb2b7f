"""The frame that a table states for its positions: COOSYS, RADESYS and EQUINOX, comments, and names of columns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from astroanomaly.errors import CatalogError
from astroanomaly.tables.column_names import SKY_NAMES, split_unit

if TYPE_CHECKING:
    from astropy.io.votable.tree import TableElement, VOTableFile
    from astropy.table import Table

__all__ = [
    "frame_in_comments",
    "frame_of_cards",
    "is_equatorial",
    "note_coosys",
    "note_frame",
    "same_frames",
    "stated_frame",
]

_META = "astroanomaly_frame"  # in the meta of a table or a column
_UNKNOWN = "?"  # before the name of a frame that is not known
_EQUATORIAL = ("icrs", "fk5", "fk4", "fk4noeterms", "gcrs", "cirs", "tete", "precessedgeocentric")
_SYSTEMS = {  # words of VOTable 1.1 to 1.5, of VizieR and of FITS
    "icrs": "icrs", "eqfk5": "fk5", "fk5": "fk5", "eqfk4": "fk4", "fk4": "fk4", "fk4noe": "fk4noeterms",
    "fk4noeterms": "fk4noeterms", "galactic": "galactic", "supergalactic": "supergalactic",
    "eclfk4": "barycentricmeanecliptic", "eclfk5": "barycentricmeanecliptic", "ecliptic": "barycentricmeanecliptic",
}  # fmt: skip
_DEFAULT_EQUINOX = {"fk4": "B1950", "fk4noeterms": "B1950", "fk5": "J2000", "barycentricmeanecliptic": "J2000"}
_EQUINOX = re.compile(r"([BJ]?)\s*(\d{4}(?:\.\d+)?)", re.IGNORECASE)
_COOSYS = re.compile(
    r"#\s*coosys\b.*?\b(eq_FK4|eq_FK5|ecl_FK4|ecl_FK5|ICRS|FK4|FK5|galactic|supergalactic)\b\s*([BJ]?\d{4}(?:\.\d+)?)?",
    re.IGNORECASE,
)
# An equinox in the name of a column; other years (RA2016) are epochs, which turn no axes
_IN_NAME = re.compile(r"(?<!\d)([bj]?)(1855|1875|1900|1925|1950|1975|2000)(?:\.0)?(?!\d)")


def is_equatorial(frame: str) -> bool:
    """Whether a frame, as in ``fk5 J1975``, has right ascension and declination."""
    return frame.lower().split()[0] in _EQUATORIAL or frame.startswith(_UNKNOWN)


def frame_of_words(system: str, equinox: str = "") -> str:
    """Return the frame that a table calls so, as in ``fk4 B1950``; empty for one that is none on the sky."""
    name = _SYSTEMS.get(re.sub(r"[^a-z0-9]", "", system.lower()), "")
    found = _EQUINOX.search(equinox or "")
    if not found or name not in _DEFAULT_EQUINOX:
        return f"{name} {_DEFAULT_EQUINOX[name]}" if name in _DEFAULT_EQUINOX else name
    letter = found[1].upper() or _DEFAULT_EQUINOX[name][0]
    return f"{name} {letter}{float(found[2]):g}"


def frame_of_cards(header: Mapping[str, Any]) -> str:
    """Return the frame by ``RADESYS`` (or ``RADECSYS``) and ``EQUINOX`` of a FITS header; empty where it has neither.

    Without RADESYS an equinox before 1984 is that of FK4, a later one that of FK5 (FITS standard 4.0, 8.3). An unknown
    word stays, with a question mark before it.
    """
    system = str(header.get("RADESYS", header.get("RADECSYS", ""))).strip()
    equinox = header.get("EQUINOX", "")
    if not system:
        if not isinstance(equinox, int | float) or not 1800 <= equinox <= 2100:
            return ""
        return frame_of_words("FK5" if equinox >= 1984 else "FK4", str(float(equinox)))
    return frame_of_words(system, str(equinox)) or f"{_UNKNOWN}{system}"


def frame_in_comments(comments: Iterable[str]) -> str:
    """Return the frame of the only ``#Coosys`` among comments, as VizieR writes them; empty for none or several."""
    found = {frame_of_words(match[1], match[2] or "") for match in map(_COOSYS.search, comments) if match}
    return found.pop() if len(found) == 1 else ""


def note_frame(table: Table, frame: str, columns: Iterable[str] = ()) -> None:
    """Keep the frame that is stated for some columns, or for the whole table; an empty one is nothing."""
    if not frame:
        return
    names = list(columns)
    for name in names:
        table[name].info.meta = {**(table[name].info.meta or {}), _META: frame}
    if not names:
        table.meta[_META] = frame


def note_coosys(table: Table, element: TableElement, document: VOTableFile) -> None:
    """Keep the frames of a table of a VOTable: by ``ref`` of its fields, else of the only COOSYS of the document."""
    systems = {one.ID: frame_of_words(one.system or "", one.equinox or "") for one in document.iter_coosys()}
    refs = [(name, systems.get(field.ref, "")) for name, field in zip(table.colnames, element.fields, strict=True)]
    for name, frame in refs:
        note_frame(table, frame, [name] if frame else ())
    if len(systems) == 1 and not any(frame for _, frame in refs):
        note_frame(table, next(iter(systems.values())))


def same_frames(one: Table, two: Table) -> bool:
    """Whether two tables with the same columns state the same frames."""
    notes = ([_noted(table.meta), *(_noted(table[name].info.meta) for name in table.colnames)] for table in (one, two))
    return next(notes) == next(notes)


def stated_frame(table: Table, first: str, second: str, implied: str, where: str) -> str:
    """Return the frame of two columns of positions: what the table states, what their names say, else ``implied``.

    Raises
    ------
    CatalogError
        If these contradict one another, or the frame is unknown.
    """
    by_name = {frame for frame in map(_frame_of_name, (first, second)) if frame}
    by_ref = {frame for frame in (_noted(table[name].info.meta) for name in (first, second)) if frame}
    of_table = _noted(table.meta)
    guess = next(iter(by_name), implied)
    if not by_ref and of_table and is_equatorial(of_table) == is_equatorial(guess):
        by_ref = {of_table}
    unknown = next((frame for frame in by_ref if frame.startswith(_UNKNOWN)), "")
    if unknown:
        raise CatalogError(
            f"{where}: the header of the table says RADESYS {unknown[1:]!r}, which is no known frame (ICRS, FK5, FK4, "
            "FK4-NO-E): say which it is with --frame, as in --frame fk5"
        )
    if len(by_ref) > 1 or len(by_name) > 1 or any(_contradict(one, two) for one in by_ref for two in by_name):
        said = [f"the table states {frame}" for frame in sorted(by_ref)]
        said += [f"the names say {frame}" for frame in sorted(by_name)]
        raise CatalogError(
            f"{where}: the frame of the columns {first!r} and {second!r} is contradicted: {', '.join(said)}. Say which "
            "is right with --frame, as in --frame 'fk4 B1950', or name other columns with --ra and --dec"
        )
    return next(iter(by_ref), guess)


def _noted(meta: Mapping[str, Any] | None) -> str:
    return str((meta or {}).get(_META, ""))


def _frame_of_name(name: str) -> str:
    """Return the frame that the name of a column says, as RAB1950 or GLON do; empty where it says none."""
    lowered = name.lower()
    known = next((frame for *pair, frame in SKY_NAMES if lowered in pair and frame != "icrs"), "")
    found = _IN_NAME.search(lowered)
    brackets = lowered[len(split_unit(lowered)[0]) :]
    systems = (frame_of_words(word, found[0] if found else "") for word in re.findall(r"[a-z0-9_]+", brackets))
    system = next((frame for frame in systems if frame), "")
    if known or system:
        return known or system
    if not found:
        return ""
    year, letter = found[2], found[1].upper() or ("B" if int(found[2]) < 1984 else "J")
    if year == "2000":
        return "icrs"
    return f"fk4 {letter}{year}" if letter == "B" else f"fk5 {letter}{year}"


def _contradict(one: str, two: str) -> bool:
    return is_equatorial(one) != is_equatorial(two) or _axes(one) != _axes(two)


def _axes(frame: str) -> str:
    """Return what turns the axes: the equinox of equatorial frames, else the frame."""
    name, *rest = frame.split()
    if not is_equatorial(frame):
        return re.sub("barycentric(true|mean)", "", name)
    return rest[0].upper() if rest else _DEFAULT_EQUINOX.get(name, "J2000")
