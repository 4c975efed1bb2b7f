"""Ask the ESA Hubble Science Archive: which products there are, and whole files, fetched once each.

The addresses are those of ``astroquery.esa.hubble.conf``, taken when a request is made.
"""

from __future__ import annotations

import gzip
import inspect
import json
import re
import threading
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astroanomaly import FetchError, ReadLimits, fetch
from astroanomaly_plugins.hst.client_safety import prepare
from astroanomaly_plugins.hst.products import REACH_DEG, Product, collection_of, filter_name, stem
from astroanomaly_plugins.hst.tables import rows_of
from astroanomaly_plugins.shared.client_answers import MOST_FILE_BYTES, MOST_TABLE_BYTES, check_answer, understood

if TYPE_CHECKING:
    from requests import Response

__all__ = ["asked", "download", "find_products", "host", "unpack"]

_OBSERVATIONS_PER_REQUEST = 20  # for their files
_MAX_ROWS = 2000  # a synchronous answer of this length has been cut off
_UNIT_BYTES = {"bytes": 1, "kb": 2**10, "mb": 2**20, "gb": 2**30}
_local = threading.local()


def find_products(center: tuple[float, float], radius_deg: float, criteria: Mapping[str, Any]) -> list[Product]:
    """List the drizzled products whose middle lies in a circle.

    Parameters
    ----------
    center
        ICRS degrees.
    criteria
        Of `ESAHubble.cone_search_criteria`.
    """
    what = f"list of Hubble products around {center[0]:.4f} {center[1]:+.4f} (ESA)"
    request = {"service": "esa hubble", "position": list(center), "radius_deg": radius_deg, "product": dict(criteria)}

    def ask(path: Path) -> None:
        path.write_text(json.dumps(_observations(center, radius_deg, criteria, what)), encoding="utf-8")

    path = fetch.cached(request, ask, host=host(), what=what, suffix=".txt")
    observations = {str(row["observation_id"]): row for row in fetch.json_of(path, what, list)}
    names = sorted(observations)
    products = []
    for start in range(0, len(names), _OBSERVATIONS_PER_REQUEST):
        part = names[start : start + _OBSERVATIONS_PER_REQUEST]
        files = _files_of(part)
        with understood(what):
            for file in files:
                owner = max((name for name in part if file["name"].startswith(name)), key=len, default="")
                if owner:
                    products.append(_product(file, observations[owner]))
    return products


def _product(file: Mapping[str, Any], about: Mapping[str, Any]) -> Product:
    size = about.get("fov_size")
    region = next((str(about[key]) for key in about if key in ("stc_s", "s_region", "fov") and about[key]), "")
    return Product(
        name=stem(file["name"]),
        address=file["name"],
        collection=collection_of(str(about["collection"] or ""), str(file["name"])),
        filter=filter_name(about["filter"]),
        instrument=str(about["instrument_name"] or ""),
        proposal=str(about["proposal_id"] or ""),
        exptime=float(about["exposure_duration"] or 0.0),
        start=_mjd(about["start_time"]),
        region=region,
        ra=_degrees(about["ra"]),
        dec=_degrees(about["dec"]),
        reach=max(REACH_DEG / 4, float(size) * 0.75) if size else REACH_DEG,
        nbytes=file["size"],
    )


def _degrees(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _mjd(text: Any) -> float:
    from astropy.time import Time

    try:
        return float(Time(str(text).strip().replace("T", " ")).mjd)
    except ValueError:
        return float("nan")


def _observations(
    center: tuple[float, float], radius_deg: float, criteria: Mapping[str, Any], what: str
) -> list[dict[str, Any]]:
    import astropy.units as u
    from astropy.coordinates import SkyCoord

    def ask(at_leisure: bool) -> Any:
        return asked(
            lambda archive: archive.cone_search_criteria(
                radius_deg * u.deg, coordinates=SkyCoord(*center, unit="deg"), async_job=at_leisure, **criteria
            ),
            what,
        )

    table = ask(False)
    if len(table) >= _MAX_ROWS:  # only an asynchronous job gives them all
        table = ask(True)
    names = (
        "observation_id",
        "collection",
        "filter",
        "instrument_name",
        "proposal_id",
        "exposure_duration",
        "start_time",
        "ra",
        "dec",
    )
    return rows_of(table, names, ("fov_size", "stc_s", "s_region", "fov"), what)


def _files_of(observations: Sequence[str]) -> list[dict[str, Any]]:
    """List the drizzled FITS files of some observations, with their sizes; in parts where the answer is cut off."""
    what = f"files of {len(observations)} Hubble observations (ESA)"

    def ask(path: Path) -> None:
        table = asked(lambda archive: archive.get_associated_files(observation_id=list(observations)), what)
        files: list[dict[str, Any]] = []
        if len(table) >= _MAX_ROWS and len(observations) > 1:
            middle = len(observations) // 2
            files = [*_files_of(observations[:middle]), *_files_of(observations[middle:])]
            table = table[:0]
        for row in rows_of(table, ("filename",), ("size_uncompressed",), what):
            if re.search(r"_(drz|drc)\.fits(\.gz)?$", row["filename"], re.IGNORECASE):
                files.append({"name": row["filename"], "size": _size(str(row["size_uncompressed"] or ""))})
        path.write_text(json.dumps(files), encoding="utf-8")

    request = {"service": "esa hubble files", "product": list(observations), "position": None, "size": None}
    path = fetch.cached(request, ask, host=host(), what=what, suffix=".txt")
    return fetch.json_of(path, what, list)


def _size(text: str) -> int:
    match = re.fullmatch(r"\s*([\d.]+)\s*(bytes|kb|mb|gb)\s*", text.lower())
    return int(float(match.group(1)) * _UNIT_BYTES[match.group(2)]) if match else 0


def download(name: str) -> Path:
    """Return a file of the archive, decompressed, fetched once.

    Parameters
    ----------
    name
        The archive's name of the file.
    """

    def fetch_file(path: Path) -> None:
        _archive().download_file(file=name, filename="product", folder=str(path.parent))  # a name of ours, not theirs
        came = next(path.parent.iterdir(), None)  # under a name that astroquery chooses; the folder was empty
        if came is None:
            raise FetchError("nothing came", retryable=True)
        with came.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        if not packed:
            came.replace(path)
            return
        unpack(came, path)
        came.unlink()

    def check(path: Path) -> None:
        fetch.is_fits(path, name)

    request = {"service": "esa hubble data", "product": name, "position": None, "size": None}
    return fetch.cached(request, fetch_file, host=_data_host(), what=f"{name} (ESA)", check=check, suffix=".fits")


def unpack(packed: Path, path: Path) -> None:
    """Write what is in a file of gzip.

    Raises
    ------
    FetchError
        If it is cut short, or far larger than it may be.
    """
    try:
        most_bytes = ReadLimits.current().expanded_bytes(packed.stat().st_size)
        with gzip.open(packed) as source, path.open("wb") as target:
            while part := source.read(2**20):
                target.write(part)
                if target.tell() > most_bytes:
                    raise FetchError(f"it grows to more than {most_bytes / 1e9:.1f} GB when it is unpacked")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise FetchError("the compressed file is cut short", retryable=True) from error


# ------------------------------------------------------------------------------------------------------------- client


def host() -> str:
    """Return the address of the archive."""
    from astroquery.esa.hubble import conf

    return str(conf.EHST_TAP_SERVER)


def _data_host() -> str:
    from astroquery.esa.hubble import conf

    return str(conf.EHST_DATA_SERVER)


def _archive() -> Any:
    from astroquery.esa.hubble import ESAHubbleClass
    from astroquery.esa.utils.utils import ESAAuthSession
    from pyvo.auth import securitymethods

    known = getattr(_local, "archive", None)
    if known is None or known[0] != host():
        session = ESAAuthSession()
        _local.trouble = prepare(session.credentials.get(securitymethods.ANONYMOUS), _look, _most_bytes)
        # from astroquery 0.4.12 on; without it the address would be that of when the module was imported
        address = {"tap_url": host()} if "tap_url" in inspect.signature(ESAHubbleClass).parameters else {}
        _local.archive = known = (host(), ESAHubbleClass(show_messages=False, auth_session=session, **address))
    return known[1]


def _look(response: Response) -> None:
    """Look at tables, which the client reads itself; images go to files, and are looked at there."""
    if not _is_file(response):
        check_answer(response)


def _most_bytes(response: Response) -> int:
    return MOST_FILE_BYTES if _is_file(response) else MOST_TABLE_BYTES


def _is_file(response: Response) -> bool:
    return response.url.startswith(_data_host())


def asked(call: Callable[[Any], Any], what: str) -> Any:
    """Ask the archive for a table.

    What is no table is worth another try, an error that the archive states is not.

    Raises
    ------
    FetchError
        For these. Other errors are raised as they came, even where pyvo says only that there is no service.
    """
    from pyvo.dal import DALAccessError, DALFormatError, DALQueryError

    archive = _archive()
    _local.trouble.last = None
    with fetch.answer(what) as output:
        try:
            table = call(archive)
        except DALQueryError as error:
            raise FetchError(f"the service states an error: {error.reason}") from error
        except (DALFormatError, ValueError) as error:  # ValueError: of the XML of its capabilities
            if isinstance(error, DALFormatError) and isinstance(error.cause, FetchError):
                raise error.cause from error
            raise FetchError("something else came instead of a table", retryable=True) from error
        except DALAccessError as error:
            if _local.trouble.last is not None:
                raise _local.trouble.last from error
            raise
    return fetch.expect(table, output)
