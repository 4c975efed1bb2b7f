"""Match labels to objects: by id, by unique base name, or by position."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from astroanomaly.config import nearest
from astroanomaly.errors import LabelError
from astroanomaly.labels.options import LabelOptions
from astroanomaly.tables.catalog import named_columns
from astroanomaly.tables.column_names import LABELLED_ID_NAMES, find_name
from astroanomaly.tables.matching import match_positions
from astroanomaly.tables.names import NameMatcher
from astroanomaly.tables.positions import has_sky_positions, sky_positions
from astroanomaly.tables.read import column_texts

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["MatchedRows", "id_column_of", "match_ids", "match_rows", "nearest_objects"]

_EXAMPLES = 5  # named in a message
_NAMELESS = "col1"  # what the first column is called where the header leaves it empty, as that of pandas' index


@dataclass(frozen=True)
class MatchedRows:
    """Which object each row of a table is about.

    Attributes
    ----------
    objects
        Object id of each row; empty where it matches none and such rows are left out.
    names
        What each row calls its object, where it was found by its position all the same; else empty texts.
    messages
        What a person should know of how they were found.
    """

    objects: list[str]
    names: list[str]
    messages: list[str]


def match_rows(
    table: Table, where: str, ids: Sequence[str], positions: tuple[np.ndarray, np.ndarray], options: LabelOptions
) -> MatchedRows:
    """Match the rows of a table to objects: by id, else by base name; by position without ids of ours.

    Parameters
    ----------
    table, where
        The table, and how messages call it.
    ids, positions
        The objects of the session, with ``(N,)`` right ascension and declination in ICRS degrees.
    options
        Columns of positions, which go before ids where they are named; radius; whether what matches nothing is left
        out.

    Raises
    ------
    LabelError
        For an unknown or ambiguous object, or a position without an object.
    CatalogError
        If a column that is named is not there, or holds no angles.
    """
    named = named_columns(table, (options.ra, options.dec), where)
    id_column = None if named else id_column_of(table, ids)
    if id_column is None and named is None and _NAMELESS in table.colnames and not has_sky_positions(table):
        id_column = _NAMELESS
    names = [] if id_column is None else column_texts(table[id_column])
    if id_column is not None:
        matched, unknown = _match(names, ids)
        if matched or not (names and has_sky_positions(table)):
            _refuse_unknown(unknown, ids, names, skip=options.skip_unmatched)
            return MatchedRows([matched.get(name, "") for name in names], [""] * len(table), [])
    found = sky_positions(table, named, options.frame, unit=options.unit, where=where)
    if found is None:
        raise LabelError(
            f"{where} says of no object which it is: expected a column {', '.join(LABELLED_ID_NAMES)}, or ra and dec; "
            f"it has {', '.join(table.colnames)}"
        )
    ra, dec, _ = found
    known = np.isfinite(ra + dec)
    if not known.all() and not options.skip_unmatched:
        raise LabelError(
            f"{where}: {int((~known).sum())} of {len(known)} rows have no position (--skip-unmatched leaves them out)"
        )
    advice = "Use a larger --match-radius, or leave them out with --skip-unmatched"
    objects = [""] * len(table)
    nearest_ones, messages = nearest_objects(
        ra[known], dec[known], ids, positions, options.match_radius_arcsec, advice, skip=options.skip_unmatched
    )
    for row, object_id in zip(np.flatnonzero(known).tolist(), nearest_ones, strict=True):
        objects[row] = object_id
    if id_column is not None:
        messages.insert(0, f"no object is called as in the column {id_column!r}: matched by position")
    return MatchedRows(objects, names or [""] * len(table), messages)


def match_ids(given: Iterable[str], known: Collection[str], *, skip: bool = False) -> dict[str, str]:
    """Match names to object ids, as `NameMatcher` does.

    Parameters
    ----------
    given, known
        Names, and object ids.
    skip
        Leave out names that match nothing.

    Returns
    -------
    dict
        Object id of every given name.

    Raises
    ------
    LabelError
        For a name that matches nothing, unless these are left out, or several objects.
    """
    names = list(given)
    matched, unknown = _match(names, known)
    _refuse_unknown(unknown, known, names, skip=skip)
    return matched


def _match(names: Sequence[str], known: Collection[str]) -> tuple[dict[str, str], list[str]]:
    """Return the object id of every name that has one, and the other names."""
    matcher = NameMatcher(known, names)
    matched: dict[str, str] = {}
    unknown: list[str] = []
    for name in dict.fromkeys(names):
        found = matcher.find(name)
        if len(found) > 1:
            raise LabelError(f"{name!r} could be {found[0]!r} or {found[1]!r}: give the whole object id")
        if found:
            matched[name] = found[0]
        else:
            unknown.append(name)
    return matched, unknown


def _refuse_unknown(unknown: Sequence[str], known: Iterable[str], names: Sequence[str], *, skip: bool) -> None:
    if unknown and not skip:
        some = ", ".join(map(repr, unknown[:_EXAMPLES]))
        raise LabelError(
            f"{len(unknown)} of {len(set(names))} labelled objects are unknown: {some}"
            f"{' ...' if len(unknown) > _EXAMPLES else ''}{nearest(unknown[0], itertools.islice(known, 10_000))}. "
            "Nothing was written"
        )


def nearest_objects(
    ra: np.ndarray,
    dec: np.ndarray,
    ids: Sequence[str],
    positions: tuple[np.ndarray, np.ndarray],
    radius_arcsec: float,
    advice: str,
    *,
    skip: bool = False,
) -> tuple[list[str], list[str]]:
    """Return the ids of the objects nearest to positions, and a message for each that has several within the radius.

    Parameters
    ----------
    ra, dec
        ``(n,)`` ICRS degrees, finite.
    ids, positions
        The objects of the session, with ``(N,)`` right ascension and declination in ICRS degrees.
    radius_arcsec
        How far an object may be.
    advice
        What to do where there is none, for the message.
    skip
        Return an empty id for a position that has no object within the radius.

    Raises
    ------
    LabelError
        If a position has no object within the radius, unless these are left out.
    """
    found, count = match_positions(ra, dec, *positions, radius_arcsec)
    if (found < 0).any() and not skip:
        missing = np.flatnonzero(found < 0)
        some = "; ".join(f"{ra[k]:.6f} {dec[k]:+.6f}" for k in missing[:_EXAMPLES])
        raise LabelError(
            f"{len(missing)} of {len(found)} labelled positions have no object within {radius_arcsec:g} arcsec: "
            f"{some}. {advice}. No label was written"
        )
    objects = [ids[int(k)] if k >= 0 else "" for k in found]
    return objects, [
        f"{count[k]} objects within {radius_arcsec:g} arcsec of {ra[k]:.6f} {dec[k]:+.6f}: "
        f"the nearest, {objects[k]!r}, was taken"
        for k in np.flatnonzero(count > 1)
    ]


def id_column_of(table: Table, ids: Sequence[str]) -> str | None:
    """Return the column of ids: of several with a usual name the first that names an object of ours, else the first."""
    usual = [name for name in (find_name(table.colnames, (one,)) for one in LABELLED_ID_NAMES) if name]
    if len(usual) > 1:
        return next((name for name in usual if _names_any(column_texts(table[name]), ids)), usual[0])
    return usual[0] if usual else None


def _names_any(names: Sequence[str], ids: Collection[str]) -> bool:
    """Whether one of some names means an object of ours."""
    matcher = NameMatcher(ids, names)
    return any(map(matcher.find, names))
