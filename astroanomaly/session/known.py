"""What catalogues and services know of a session's objects: one file for each of them in the session's folder."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.cache.file_digest import read_signed_json, signed_json
from astroanomaly.errors import SessionError, StorageError
from astroanomaly.files import locked, write_json

if TYPE_CHECKING:
    from astropy.table import Column

__all__ = [
    "CROSSMATCHES",
    "KNOWN",
    "NOT_KNOWN",
    "NOT_LOOKED_UP",
    "KnownIn",
    "KnownObject",
    "Lookup",
    "best_match",
    "known_columns",
    "known_files",
    "known_provenance",
    "put_known",
    "read_known",
    "read_known_file",
    "state_of",
]

KNOWN = "known"
NOT_KNOWN = "not known"  # all published catalogues were asked, and none has it
NOT_LOOKED_UP = "not looked up"  # one of them was not asked, or there is none
CROSSMATCHES = "crossmatches"  # folder of a session
_FORMAT, _VERSION = "astroanomaly-crossmatch", 1
_MAX_BYTES = 2**30
_REMEDY = "move it aside, and run the crossmatch again"
_LOCK = ".lock"
_SLUG_LETTERS = 40
_DESCRIBED = {  # UCD and description
    "known": ("meta.id", "name in the catalogue that knows it: own catalogues before services, then the nearest"),
    "known_type": ("src.class", "type of the object there"),
    "known_in": ("meta.dataset", "catalogues and services that know the object, the one whose name is given first"),
    "known_separation": ("pos.angDistance", "distance from its position there"),
    "known_reference": ("meta.bib", "reference there: bibcode, DOI or link"),
    "known_position_error": ("stat.error;pos", "error of both positions together, where errors of positions count"),
    "known_matches": ("meta.number", "entries within the radius, in all catalogues; masked where not all were asked"),
}  # fmt: skip


@dataclass(frozen=True)
class Lookup:
    """One call that looked objects up.

    Attributes
    ----------
    date
        When (ISO 8601, UTC).
    radius_arcsec
        How far an entry might be.
    about
        Address of the service, or size and date of the file; the software.
    """

    date: str
    radius_arcsec: float
    about: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class KnownObject:
    """What one catalogue has near one object.

    Attributes
    ----------
    lookup
        Number of the `Lookup` it is of.
    matches
        Entries within the radius; 0: it is not known there.
    name, type, reference
        Of the nearest, empty where there is none.
    separation_arcsec
        Distance of the nearest, NaN without any.
    values
        Numbers of the nearest, in the order of `KnownIn.values`; NaN where unknown.
    error_arcsec
        Error of both positions together; NaN where errors do not count, or it is unknown.
    """

    lookup: int
    matches: int
    name: str = ""
    type: str = ""
    reference: str = ""
    separation_arcsec: float = math.nan
    values: tuple[float, ...] = ()
    error_arcsec: float = math.nan


@dataclass(frozen=True)
class KnownIn:
    """What one catalogue or service knows.

    Attributes
    ----------
    catalog
        Name of the file, or of the service.
    service
        Whether it is a service.
    published
        Whether an entry there says that the object is known; see `astroanomaly.hookspecs.CrossmatchService`.
    values
        Unit, UCD and description of the numbers that are kept, by name.
    lookups
        The calls that its results are of.
    objects
        The results by object id; an object that is not here was not looked up.
    """

    catalog: str
    service: bool
    published: bool
    values: Mapping[str, tuple[str, str, str]]
    lookups: tuple[Lookup, ...]
    objects: Mapping[str, KnownObject]


# ----------------------------------------------------------------------------------------------------------- the files


def known_files(session: Path) -> list[Path]:
    """Return the files, one for each catalogue."""
    return sorted((session / CROSSMATCHES).glob("[!.]*.json"))


def read_known(session: Path) -> list[KnownIn]:
    """Read what is known, own catalogues before services.

    Raises
    ------
    SessionError
        If a file is damaged.
    """
    found = [read_known_file(path) for path in known_files(session)]
    return sorted(found, key=lambda one: (one.service, one.catalog))


def read_known_file(path: Path) -> KnownIn:
    """Read one file.

    Raises
    ------
    SessionError
        If it is damaged, or of a newer version.
    """
    what, limits = "the result of a crossmatch", {"max_bytes": _MAX_BYTES}
    content = read_signed_json(path, _FORMAT, _VERSION, what, error=SessionError, remedy=_REMEDY, **limits)
    try:
        values = {str(name): (str(unit), str(ucd), str(text)) for name, unit, ucd, text in content["values"]}
        lookups = tuple(
            Lookup(str(one["date"]), float(one["radius_arcsec"]), {str(k): str(v) for k, v in one["about"].items()})
            for one in content["lookups"]
        )
        errors = content.get("position_errors_arcsec", {})
        objects = {
            str(object_id): _known_object(row, errors.get(object_id)) for object_id, row in content["objects"].items()
        }
        if any(not 0 <= one.lookup < len(lookups) for one in objects.values()):
            raise ValueError("a result of no lookup")
        return KnownIn(
            str(content["catalog"]), bool(content["service"]), bool(content["published"]), values, lookups, objects,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise SessionError(f"{path} is damaged: {error!r}; {_REMEDY}") from error


def _known_object(row: Sequence[Any], error: Any) -> KnownObject:
    lookup, matches, *rest = row
    if not rest:
        return KnownObject(int(lookup), int(matches))
    name, kind, reference, separation, *values = rest
    return KnownObject(
        int(lookup), int(matches), str(name), str(kind), str(reference), float(separation),
        tuple(math.nan if value is None else float(value) for value in values),
        math.nan if error is None else float(error),
    )  # fmt: skip


def put_known(session: Path, found: KnownIn) -> None:
    """Keep results of one catalogue: of the objects that were looked up, others and other catalogues stay.

    Parameters
    ----------
    session
        Folder of the session.
    found
        The results, all of one `Lookup`.

    Raises
    ------
    SessionError
        If the file that is there is damaged.
    StorageError
        If it cannot be written; then what was there stays.
    """
    folder = session / CROSSMATCHES
    path = folder / _file_name(found)
    try:
        folder.mkdir(exist_ok=True)
        lock = locked(folder / _LOCK)
    except OSError as error:
        raise StorageError(f"{folder} cannot be written to: {error.strerror or error}") from error
    with lock:
        before = read_known_file(path) if path.is_file() else None
        same = before is not None and list(before.values) == list(found.values)
        objects = dict(before.objects) if before is not None and same else {}
        lookups = list(before.lookups) if before is not None and same else []
        moved = len(lookups)
        for object_id, one in found.objects.items():
            objects[object_id] = replace(one, lookup=moved)
        lookups += found.lookups
        used = sorted({one.lookup for one in objects.values()})  # lookups of which nothing is left go
        number = {old: new for new, old in enumerate(used)}
        content = {
            "format": _FORMAT,
            "version": _VERSION,
            "catalog": found.catalog,
            "service": found.service,
            "published": found.published,
            "values": [[name, *three] for name, three in found.values.items()],  # in this order
            "lookups": [
                {"date": one.date, "radius_arcsec": one.radius_arcsec, "about": dict(one.about)}
                for one in (lookups[old] for old in used)
            ],
            "objects": {object_id: _row(one, number[one.lookup]) for object_id, one in objects.items()},
            "position_errors_arcsec": {
                object_id: one.error_arcsec for object_id, one in objects.items() if math.isfinite(one.error_arcsec)
            },
        }
        write_json(path, signed_json(content))


def _row(one: KnownObject, lookup: int) -> list[Any]:
    if not one.matches:
        return [lookup, 0]
    values = [value if math.isfinite(value) else None for value in one.values]
    return [lookup, one.matches, one.name, one.type, one.reference, one.separation_arcsec, *values]


def _file_name(found: KnownIn) -> str:
    """Return the name of a catalogue's file: letters of its name, and a digest that tells it from others."""
    kind = "service" if found.service else "catalog"
    slug = re.sub(r"[^A-Za-z0-9]+", "-", found.catalog).strip("-")[:_SLUG_LETTERS]
    digest = hashlib.sha256(f"{kind} {found.catalog}".encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{slug or kind}-{digest}.json"


# -------------------------------------------------------------------------------------------------- what is said of it


def best_match(known: Sequence[KnownIn], object_id: str) -> list[tuple[KnownIn, KnownObject]]:
    """Return the published catalogues that know an object: own ones before services, the nearest first."""
    found = [(one, one.objects[object_id]) for one in known if one.published and object_id in one.objects]
    return sorted((pair for pair in found if pair[1].matches), key=lambda p: (p[0].service, p[1].separation_arcsec))


def state_of(known: Sequence[KnownIn], object_id: str) -> str:
    """Return `KNOWN`, `NOT_KNOWN` or `NOT_LOOKED_UP`."""
    published = [one.objects.get(object_id) for one in known if one.published]
    if any(one is not None and one.matches for one in published):
        return KNOWN
    return NOT_KNOWN if published and None not in published else NOT_LOOKED_UP


def known_columns(known: Sequence[KnownIn], ids: Sequence[str]) -> dict[str, Any]:
    """Return what is known of some objects as columns of a catalogue, with UCDs, units and descriptions.

    Parameters
    ----------
    known
        What `read_known` gives; without any, there are no columns.
    ids
        The objects, ``n``.

    Returns
    -------
    dict
        ``known``, ``known_type``, ``known_in``, ``known_separation`` (arcsec, NaN without), ``known_reference`` and
        ``known_matches`` (masked where none has it and not all were asked), if any published catalogue was;
        ``known_position_error`` (arcsec), where errors of positions count; the numbers
        of a service as ``SERVICE_COLUMN``; of a survey also ``SERVICE``, ``SERVICE_type`` and ``SERVICE_separation``.
    """
    from astropy import units

    columns: dict[str, Any] = {}
    published = [one for one in known if one.published]
    if published:
        best = [best_match(known, object_id) for object_id in ids]
        first = [pairs[0][1] if pairs else KnownObject(0, 0) for pairs in best]
        columns = {
            "known": _texts(one.name for one in first),
            "known_type": _texts(one.type for one in first),
            "known_in": _texts(", ".join(where.catalog for where, _ in pairs) for pairs in best),
            "known_separation": units.Quantity([one.separation_arcsec for one in first], "arcsec"),
            "known_reference": _texts(one.reference for one in first),
            "known_matches": np.ma.array(
                np.array([sum(one.matches for _, one in pairs) for pairs in best], np.int32),
                mask=[state_of(known, object_id) == NOT_LOOKED_UP for object_id in ids],
            ),
        }
        if any(math.isfinite(one.error_arcsec) for where in published for one in where.objects.values()):
            columns["known_position_error"] = units.Quantity([one.error_arcsec for one in first], "arcsec")
        if not np.any(np.ma.getmaskarray(columns["known_matches"])):
            columns["known_matches"] = columns["known_matches"].data
        columns = {name: _described(values, *_DESCRIBED[name]) for name, values in columns.items()}
    for where in known:
        prefix = where.catalog.replace("-", "_")
        there = [where.objects.get(object_id, KnownObject(0, 0)) for object_id in ids]
        if not where.published:
            columns[prefix] = _described(_texts(one.name for one in there), "meta.id", f"name in {where.catalog}")
            columns[f"{prefix}_type"] = _described(
                _texts(one.type for one in there), "src.class", f"type of the object in {where.catalog}"
            )
            columns[f"{prefix}_separation"] = _described(
                units.Quantity([one.separation_arcsec for one in there], "arcsec"), "pos.angDistance",
                f"distance from its position in {where.catalog}",
            )  # fmt: skip
        for k, (name, (unit, ucd, description)) in enumerate(where.values.items()):
            numbers = np.array([one.values[k] if k < len(one.values) else np.nan for one in there], float)
            values = units.Quantity(numbers, unit) if unit else numbers
            columns[f"{prefix}_{name}"] = _described(values, ucd, f"{description} ({where.catalog})")
    return columns


def known_provenance(known: Sequence[KnownIn]) -> dict[str, str]:
    """Return where the results are from, a line for each catalogue."""
    found = {}
    for where in known:
        counts = [0] * len(where.lookups)
        for one in where.objects.values():
            counts[one.lookup] += 1
        found[f"crossmatch_{where.catalog}"] = "; ".join(
            ", ".join([
                f"within {one.radius_arcsec:g} arcsec", one.date, f"{count} objects",
                *(f"{key} {value}" for key, value in one.about.items()),
            ])
            for one, count in zip(where.lookups, counts, strict=True)
        )  # fmt: skip
    return found


def _texts(values: Iterable[str]) -> np.ndarray:
    return np.array(list(values), dtype=str)


def _described(values: Any, ucd: str, description: str) -> Column:
    from astropy import units
    from astropy.table import Column, MaskedColumn

    unit = None
    if isinstance(values, units.Quantity):
        values, unit = values.value, values.unit
    made = MaskedColumn if np.ma.isMaskedArray(values) else Column
    return made(values, unit=unit, description=description, meta={"ucd": ucd})
