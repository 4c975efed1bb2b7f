"""Ask MAST for cutouts of Hubble Advanced Products by position, through `astroquery.mast.Hapcut`.

What came is kept as it came: a zip of FITS files, or the JSON that says that there is nothing.
"""

from __future__ import annotations

import contextlib
import io
import threading
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astroanomaly import FetchError, ReadLimits, fetch
from astroanomaly.cutting import BROKEN_ARCHIVE
from astroanomaly_plugins.hst.client_safety import json_of, prepare
from astroanomaly_plugins.hst.mast import server

if TYPE_CHECKING:
    from requests import Response

__all__ = ["cutouts"]


_local = threading.local()  # a client, and what came last, for each thread


def cutouts(ra: float, dec: float, size_arcsec: tuple[float, float]) -> Path:
    """Return what Hapcut gives at a position, as it came: a zip of FITS files, or the JSON that says there is nothing.

    Parameters
    ----------
    ra, dec
        ICRS degrees.
    size_arcsec
        ``(height, width)``.
    """
    ra, dec = round(ra, 7), round(dec, 7)
    size = [round(side, 4) for side in size_arcsec]
    what = f"HAP cutout at {ra:.5f} {dec:+.5f}"
    request = {"service": "mast hapcut", "product": "HAP", "position": [ra, dec], "size_arcsec": size}
    return fetch.cached(
        request, lambda path: _cut(path, ra, dec, size), host=server(), what=what, check=_check_cutouts, suffix=".zip"
    )


def _cut(path: Path, ra: float, dec: float, size: Sequence[float]) -> None:
    import astropy.units as u
    from astropy.coordinates import SkyCoord
    from astroquery.exceptions import NoResultsWarning

    client = _hapcut()
    _local.content = b""
    with contextlib.suppress(NoResultsWarning):  # where warnings are errors; what came says so too
        client.get_cutouts(SkyCoord(ra, dec, unit="deg"), size=list(size) * u.arcsec)
    path.write_bytes(_local.content)


def _hapcut() -> Any:
    from astroquery.mast import HapcutClass

    known = getattr(_local, "hapcut", None)
    if known is None or known[0] != server():
        client = HapcutClass()
        client._service_api_connection.REQUEST_URL = f"{server()}/hapcut/api/v0.1/"
        client._service_api_connection.TIMEOUT = float("inf")  # it would throw away what came late
        prepare(client._session, _look_at_cutouts)
        _local.hapcut = known = (server(), client)
    return known[1]


def _look_at_cutouts(response: Response) -> None:
    """Check what came before astroquery unpacks it: it takes anything but a whole zip for JSON with an empty list."""
    content = response.content
    if not content.startswith(b"PK"):
        answer = json_of(response)
        if answer.get("results") != []:
            raise FetchError(f"the service states an error: {answer.get('msg') or answer}"[:300])
    else:
        _check_zip(content)
    _local.content = content


def _check_zip(content: bytes) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            about = archive.infolist()
            if sum(one.file_size for one in about) > ReadLimits.current().expanded_bytes(len(content)):
                raise FetchError("the zip of cutouts grows to far more than its size when it is unpacked")
            for one in about:
                fetch.is_fits(archive.read(one), one.filename)
    except BROKEN_ARCHIVE as error:
        raise FetchError("the zip of cutouts is cut short or damaged", retryable=True) from error


def _check_cutouts(path: Path) -> None:
    if not path.stat().st_size:
        raise FetchError("an empty answer", retryable=True)
