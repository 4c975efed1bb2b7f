"""Ask a TAP service for the entries near some positions: one query for a batch of them, bounded and kept."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from astroanomaly.cutting import quiet
from astroanomaly_plugins.shared.astropy_lock import ASTROPY
from astroanomaly_plugins.shared.votable_answers import asked_table
from astroanomaly_plugins.shared.web import error

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["UPLOADED", "uploaded_positions", "within_most_rows"]

UPLOADED = "given"  # name of the table of positions, with the columns lon and lat
_MAX_ROWS = 2000  # of one answer: some services give no more, and do not say so
_MAX_BYTES = 64 * 10**6


def within_most_rows(
    address: str, form: Callable[[np.ndarray, np.ndarray], dict[str, str | bytes]], ra: np.ndarray, dec: np.ndarray,
    what: str,
) -> Table:  # fmt: skip
    """Return the answer to a query for some positions, in halves where there are more rows than a service gives.

    Parameters
    ----------
    address
        The service, without ``/sync``.
    form
        Makes the fields of the query for some positions.
    ra, dec
        ``(n,)`` ICRS degrees.
    what
        What is asked for, as messages will name it.

    Returns
    -------
    astropy.table.Table
        Columns with names in lower case.

    Raises
    ------
    FetchError
        If the service does not answer, or has too many rows for one position.
    """
    fields = {"REQUEST": "doQuery", "LANG": "ADQL", "FORMAT": "votable", "MAXREC": str(_MAX_ROWS), **form(ra, dec)}
    table, whole = asked_table(f"{address.rstrip('/')}/sync", what, form=fields)
    if whole and len(table) < _MAX_ROWS:
        return table
    if len(ra) < 2:
        raise error(what, "the service has more entries here than it gives: choose a smaller radius")
    from astropy.table import vstack

    half = len(ra) // 2
    parts = [within_most_rows(address, form, ra[k], dec[k], what) for k in (slice(half), slice(half, None))]
    with ASTROPY:
        return vstack(parts, metadata_conflicts="silent")


def uploaded_positions(ra: np.ndarray, dec: np.ndarray) -> bytes:
    """Return positions as the VOTable of a TAP upload: ``lon`` and ``lat`` in degrees."""
    from astropy.io.votable import from_table
    from astropy.table import Table

    with ASTROPY, quiet():
        table = Table({"lon": ra, "lat": dec})
        table["lon"].unit = table["lat"].unit = "deg"
        written = io.BytesIO()
        from_table(table, table_id=UPLOADED).to_xml(written, tabledata_format="tabledata")
        return written.getvalue()
