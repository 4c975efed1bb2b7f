"""Ask a TAP service for the entries near some positions: one query for a batch of them, bounded and kept."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np

from astroanomaly import FetchError, fetch, read_votable
from astroanomaly.cutting import quiet
from astroanomaly_plugins.shared.astropy_lock import ASTROPY
from astroanomaly_plugins.shared.web import Web, error

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
    table, whole = _asked(address, form(ra, dec), what)
    if whole:
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


def _asked(address: str, form: dict[str, str | bytes], what: str) -> tuple[Table, bool]:
    """Return the rows of an answer, and whether they are all."""
    url = f"{address.rstrip('/')}/sync"
    form = {"REQUEST": "doQuery", "LANG": "ADQL", "FORMAT": "votable", "MAXREC": str(_MAX_ROWS), **form}
    web = Web(((urlsplit(url).hostname or "").lower(),), _MAX_BYTES / 1e6)
    key = {name: value if isinstance(value, str) else hashlib.sha256(value).hexdigest() for name, value in form.items()}

    def make(path: Path) -> None:
        fetch.download(url, path, what=what, allow=web.allow, most_bytes=_MAX_BYTES, form=form)

    def check(path: Path) -> None:
        fetch.is_votable(path, what)
        _rows(path, what)

    request = {"service": url, "query": key}
    return _rows(fetch.cached(request, make, host=url, what=what, check=check, suffix=".vot"), what)


def _rows(path: Path, what: str) -> tuple[Table, bool]:
    try:
        with ASTROPY, quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # astropy's words on a stranger's table
            document = read_votable(path)
            states = {
                str(info.value).upper()
                for resource in document.resources
                for info in resource.infos
                if str(info.name).upper() == "QUERY_STATUS"
            }
            table = document.get_first_table().to_table(use_names_over_ids=True)
    except (ValueError, TypeError, KeyError, IndexError, OSError, MemoryError) as problem:  # of a damaged table
        first = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
        raise FetchError(f"{what}: the VOTable cannot be read: {first}", reason="an answer that cannot be read",
                         retryable=True) from problem  # fmt: skip
    if len({name.lower() for name in table.colnames}) < len(table.colnames):
        raise error(what, "the answer has two columns of one name")
    table.rename_columns(table.colnames, [name.lower() for name in table.colnames])
    return table, "OVERFLOW" not in states and len(table) < _MAX_ROWS
