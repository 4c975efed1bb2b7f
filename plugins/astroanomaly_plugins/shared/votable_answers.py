"""Ask a service for a VOTable, bounded and kept."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from astroanomaly import FetchError, fetch, read_votable
from astroanomaly.cutting import quiet
from astroanomaly_plugins.shared.astropy_lock import ASTROPY
from astroanomaly_plugins.shared.web import Web, error

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["asked_table"]

_MAX_BYTES = 64 * 10**6


def asked_table(
    url: str,
    what: str,
    *,
    form: Mapping[str, str | bytes] | None = None,
    params: Mapping[str, Any] | None = None,
    most_bytes: int = _MAX_BYTES,
    login: tuple[str, ...] = (),
    lower: bool = True,
) -> tuple[Table, bool]:
    """Return the rows of an answer, and whether the service says that they are all.

    Parameters
    ----------
    url
        The service.
    what
        What is asked for, as messages will name it.
    form
        Fields that are posted; bytes are uploads.
    params
        Fields of a GET.
    most_bytes
        Longest answer.
    login
        Hosts that the user logs in at, by `fetch.read_account`.
    lower
        Whether the columns get names in lower case.

    Raises
    ------
    FetchError
        If the service does not answer, or with anything but a VOTable.
    """
    web = Web(((urlsplit(url).hostname or "").lower(),), most_bytes / 1e6, login)
    fields = dict(form or params or {})
    key = {
        name: hashlib.sha256(value).hexdigest() if isinstance(value, bytes) else value for name, value in fields.items()
    }

    def make(path: Path) -> None:
        bounds: dict[str, Any] = {"allow": web.allow, "most_bytes": most_bytes, "account": web.account}
        fetch.download(url, path, what=what, form=form, params=params, **bounds)

    def check(path: Path) -> None:
        fetch.is_votable(path, what)
        _rows(path, what)

    request = {"service": url, "query": key}
    table, whole = _rows(fetch.cached(request, make, host=url, what=what, check=check, suffix=".vot"), what)
    if lower:
        table.rename_columns(table.colnames, [name.lower() for name in table.colnames])
    return table, whole


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
    return table, "OVERFLOW" not in states
