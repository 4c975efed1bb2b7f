"""What another program of the desktop points at by SAMP: read as a stranger's message, and opened on a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.coordinates import angular_separation

from astroanomaly.app.review.page_state import CANDIDATES, ViewState
from astroanomaly.app.review.shared_state import SharedState

__all__ = [
    "HIGHLIGHT",
    "POINT",
    "RADIUS_ARCSEC",
    "ROW_LIST",
    "Pointed",
    "open_pointed",
    "read_message",
    "selected_object",
]

HIGHLIGHT = "table.highlight.row"  # messages of SAMP, as these two
ROW_LIST = "table.select.rowList"
POINT = "coord.pointAt.sky"
_MAX_ROWS = 10_000  # rows of one message that are taken
_MAX_DIGITS = 12  # characters of a row number
_MAX_NUMBER = 40  # characters of a coordinate
RADIUS_ARCSEC = 10.0  # within which a position means the nearest object


@dataclass(frozen=True)
class Pointed:
    """What another program points at: objects of a table that it has from here, or else a position (ICRS degrees)."""

    ids: tuple[str, ...] = ()
    position: tuple[float, float] | None = None


def read_message(mtype: str, params: Any, tables: Mapping[str, Sequence[str]]) -> Pointed | None:
    """Read a message of a stranger; None for what is no message that is understood, or of another table.

    Parameters
    ----------
    mtype, params
        As SAMP has them; numbers are text there.
    tables
        Ids of the objects in the rows of each table that was sent, by its table-id.
    """
    if not isinstance(params, Mapping):
        return None
    if mtype == POINT:
        ra, dec = (_number(params.get(name)) for name in ("ra", "dec"))
        there = 0 <= ra <= 360 and -90 <= dec <= 90
        return Pointed(position=(ra, dec)) if there else None
    ids = tables.get(str(params.get("table-id")))
    if ids is None or mtype not in (HIGHLIGHT, ROW_LIST):
        return None
    given = [params.get("row")] if mtype == HIGHLIGHT else params.get("row-list")
    if not isinstance(given, list):
        return None
    rows = [
        int(row) for row in given[:_MAX_ROWS] if isinstance(row, str) and row.isdecimal() and len(row) <= _MAX_DIGITS
    ]
    found = tuple(ids[row] for row in dict.fromkeys(rows) if row < len(ids))
    return Pointed(found) if found else None


def _number(text: Any) -> float:
    try:
        return float(text) if isinstance(text, str) and len(text) <= _MAX_NUMBER else float("nan")
    except ValueError:
        return float("nan")


def open_pointed(state: ViewState, pointed: Pointed) -> None:
    """Open an object in the inspector, or several as pages; objects of the audit set stay unseen."""
    shared = state.shared
    if pointed.position is not None:
        nearest = _nearest(shared, *pointed.position)
        if not nearest:
            ra, dec = pointed.position
            state.say(f"another program points at {ra:.6f} {dec:+.6f}: no object within {RADIUS_ARCSEC:g} arcsec")
            return
        ids = [nearest]
    else:
        ids = shared.known(pointed.ids)
    ids = [object_id for object_id in ids if object_id not in shared.blind_for(state.annotator)]
    if not ids:
        state.say("another program points at an object of the audit set or of your list, which is shown blind only")
    elif len(ids) > 1:
        state.show(ids, "samp")
    else:
        if ids[0] not in state.page.ids:
            state.show(ids, "samp")
        state.open_view(CANDIDATES)
        state.open(state.page.ids.index(ids[0]))


def selected_object(state: ViewState) -> str:
    """Id of the one object that is selected or inspected, if there is one that may be told to other programs."""
    chosen = state.targets() if state.inspecting or len(state.selection) == 1 else []
    return "".join(object_id for object_id in chosen if not state.is_hidden(object_id))


def _nearest(shared: SharedState, ra: float, dec: float) -> str:
    """Id of the nearest object within the radius; empty without."""
    apart = angular_separation(*np.radians((ra, dec)), *map(np.radians, shared.cache.positions))
    if not np.isfinite(apart).any():
        return ""
    row = int(np.nanargmin(apart))
    return shared.cache.ids_at(np.array([row]))[0] if np.degrees(apart[row]) * 3600 <= RADIUS_ARCSEC else ""
