"""Which objects are meant: by ids, by astropy coordinates, or by the rows of a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.errors import LabelError
from astroanomaly.labels.matching import match_ids, nearest_objects
from astroanomaly.records import Cutout
from astroanomaly.tables.column_names import LABELLED_ID_NAMES, find_name
from astroanomaly.tables.coordinates import angle_arcsec, icrs_degrees, is_coordinates
from astroanomaly.tables.positions import sky_positions
from astroanomaly.tables.read import column_texts

if TYPE_CHECKING:
    from astropy.table import Table
    from astropy.units import Quantity

__all__ = ["given_labels", "named_objects"]

_TAKEN = (
    "expected an object id or a list of them (text), astropy coordinates (SkyCoord), cutouts, or a table with the "
    "column object_id or with positions"
)
_Positions = tuple[np.ndarray, np.ndarray]


def named_objects(
    given: Any, ids: Callable[[], Sequence[str]], positions: Callable[[], _Positions], radius: Quantity | str
) -> tuple[list[str], list[str]]:
    """Return the ids of the objects that are meant, and what a person should know of how they were found.

    Parameters
    ----------
    given
        An id, a list, array or column of ids; a `Cutout` or a list of them; coordinates of astropy, one position or a
        list; or a table, or a row of one, with ids or positions as a table of labels has them. Ids are taken as they
        are; those of a table are matched as in `import_labels`.
    ids, positions
        Give the objects of the session, with ``(N,)`` ICRS degrees; asked for only if they are needed.
    radius
        How far the nearest object may be from a position.

    Raises
    ------
    LabelError
        For anything else, for a position that is unknown or has no object within the radius, and for rows that match no
        object.
    ConfigError
        If the radius is no angle.
    """
    from astropy.table import Row, Table

    reach = angle_arcsec(radius, "radius")
    if isinstance(given, Row):
        given = given.table[given.index : given.index + 1]
    if isinstance(given, Table):
        return _of_table(given, ids, positions, reach)
    if isinstance(given, list | tuple) and given and all(is_coordinates(one) for one in given):
        parts = [icrs_degrees(one, "the position")[:2] for one in given]
        ra, dec = (np.concatenate([part[axis] for part in parts]) for axis in (0, 1))
        return _nearest(ra, dec, ids, positions, reach)
    if is_coordinates(given):
        ra, dec, _ = icrs_degrees(given, "the position")
        return _nearest(ra, dec, ids, positions, reach)
    return _texts(given), []


def given_labels(value: Any, number: int) -> list[str]:
    """Return a label for each of a number of objects: one for all, or one for each.

    Raises
    ------
    LabelError
        If it is neither, or there are more or fewer.
    """
    if isinstance(value, str):
        return [str(value)] * number
    several = isinstance(value, Iterable) and getattr(value, "ndim", 1) == 1 and not isinstance(value, bytes | Mapping)
    values = list(value) if several else [value]
    if not all(isinstance(one, str) for one in values):
        wrong = next(one for one in values if not isinstance(one, str))
        raise LabelError(f"{wrong!r} is no label: expected one label class as text for all objects, or one for each")
    if len(values) != number:
        raise LabelError(f"{len(values)} labels for {number} objects: give one for all, or one for each")
    return list(map(str, values))


def _of_table(
    table: Table, ids: Callable[[], Sequence[str]], positions: Callable[[], _Positions], reach: float
) -> tuple[list[str], list[str]]:
    name = find_name(table.colnames, LABELLED_ID_NAMES)
    if name is not None:
        given = column_texts(table[name])
        matched = match_ids(given, ids())
        return [matched[one] for one in given], []
    found = sky_positions(table, where="the table")
    if found is None:
        raise LabelError(f"the table says of no object which it is: it has {', '.join(table.colnames)}; {_TAKEN}")
    return _nearest(found[0], found[1], ids, positions, reach)


def _nearest(
    ra: np.ndarray, dec: np.ndarray, ids: Callable[[], Sequence[str]], positions: Callable[[], _Positions], reach: float
) -> tuple[list[str], list[str]]:
    if not np.isfinite(ra + dec).all():
        raise LabelError(f"{np.sum(~np.isfinite(ra + dec))} of {len(ra)} positions are unknown. No label was written")
    if not len(ra):
        return [], []
    return nearest_objects(ra, dec, ids(), positions(), reach, "Use a larger radius, or leave these positions out")


def _texts(given: Any) -> list[str]:
    if isinstance(given, str):
        return [str(given)]
    if isinstance(given, Cutout):
        return [given.object_id]
    if isinstance(given, bytes | Mapping) or not isinstance(given, Iterable) or getattr(given, "ndim", 1) != 1:
        raise LabelError(f"{type(given).__name__} names no object: {_TAKEN}")
    texts = []
    for one in given:
        text = one.object_id if isinstance(one, Cutout) else one
        if isinstance(text, bytes):
            text = text.decode("utf-8", "surrogatepass")
        if not isinstance(text, str):
            raise LabelError(f"{text!r} ({type(text).__name__}) is no object id: {_TAKEN}")
        texts.append(str(text))
    return texts
