"""Ask MAST which products there are, through `astroquery.mast.Observations`, and where they lie in the public bucket.

The address is ``astroquery.mast.conf.server``, taken when a request is made, so that a mirror can be set in
astroquery's configuration.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astroanomaly import FetchError, fetch
from astroanomaly_plugins.hst.client_safety import json_of, prepare
from astroanomaly_plugins.hst.products import Product, collection_of, filter_name, stem
from astroanomaly_plugins.hst.tables import rows_of
from astroanomaly_plugins.shared.client_answers import understood

if TYPE_CHECKING:
    from requests import Response

__all__ = ["DRIZZLED", "download", "find_products", "locate", "mission_of", "quiet_results", "server"]

DRIZZLED = ("DRZ", "DRC")  # of Hubble; those of JWST are I2D
_ITEMS_PER_REQUEST = 50  # observations or addresses: longer requests are refused
_COLUMNS = ("obs_id", "obsid", "filters", "instrument_name", "proposal_id", "project", "t_min", "t_max", "t_exptime")
_PATHS = "paths of files in the public bucket"
_local = threading.local()  # a client holds the state of its request: one for each thread


def server() -> str:
    """Return the address of MAST."""
    from astroquery.mast import conf

    return str(conf.server).rstrip("/")


@contextlib.contextmanager
def quiet_results() -> Iterator[None]:
    """Silence astroquery where it finds nothing, which is no trouble. For the main thread, around all others."""
    from astroquery.exceptions import NoResultsWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoResultsWarning)
        yield


def find_products(
    center: tuple[float, float], radius_deg: float, criteria: Mapping[str, Any], kinds: Sequence[str] = DRIZZLED
) -> list[Product]:
    """List the drizzled products in a circle.

    Parameters
    ----------
    center
        ICRS degrees.
    criteria
        Of `Observations.query_criteria`.
    kinds
        Kinds of files, as MAST calls them: ``DRZ``, ``I2D``.
    """
    what = f"list of {mission_of(kinds)} products around {center[0]:.4f} {center[1]:+.4f}"
    request = {
        "service": "mast observations",
        "position": list(center),
        "radius_deg": radius_deg,
        "product": dict(criteria),
    }

    def ask(path: Path) -> None:
        path.write_text(json.dumps(_observations(center, radius_deg, criteria)), encoding="utf-8")

    path = fetch.cached(request, ask, host=server(), what=what, suffix=".txt")
    observations = {row["obsid"]: row for row in fetch.json_of(path, what, list)}
    files: list[dict[str, Any]] = []
    numbers = sorted(observations)
    for start in range(0, len(numbers), _ITEMS_PER_REQUEST):
        files += _files_of(numbers[start : start + _ITEMS_PER_REQUEST], kinds)
    products = []
    with understood(what):
        for row in files:
            about = observations.get(row["obsID"])
            if about is not None and row["obs_id"] == about["obs_id"]:
                products.append(_product(row, about))
    return products


def _product(row: Mapping[str, Any], about: Mapping[str, Any]) -> Product:
    def number(name: str, default: float) -> float:
        value = about.get(name)
        return default if value is None else float(value)

    return Product(
        name=stem(str(row["productFilename"])),
        address=str(row["dataURI"]),
        collection=collection_of(str(about["project"] or ""), str(row["productFilename"])),
        filter=filter_name(about["filters"]),
        instrument=str(about["instrument_name"] or ""),
        proposal=str(about["proposal_id"] or ""),
        exptime=number("t_exptime", 0.0),
        start=number("t_min", float("nan")),
        region=str(about["s_region"] or ""),
        ra=number("s_ra", float("nan")),
        dec=number("s_dec", float("nan")),
        nbytes=int(row["size"] or 0),
    )


def _observations(center: tuple[float, float], radius_deg: float, criteria: Mapping[str, Any]) -> list[dict[str, Any]]:
    from astropy.coordinates import SkyCoord

    coordinates = SkyCoord(*center, unit="deg")
    table = _ask(lambda client: client.query_criteria(coordinates=coordinates, radius=f"{radius_deg}d", **criteria))
    return rows_of(table, _COLUMNS, ("s_region", "s_ra", "s_dec"), "list of products")


def _files_of(numbers: Sequence[str], kinds: Sequence[str]) -> list[dict[str, Any]]:
    """List the drizzled FITS files of some observations."""
    what = f"files of {len(numbers)} {mission_of(kinds)} observations"

    def ask(path: Path) -> None:
        # `get_product_list` of astroquery 0.4.12.dev11095 reads the first page of an answer only
        asked = {"obsid": ",".join(numbers)}
        table = _ask(lambda client: client._portal_api_connection.service_request("Mast.Caom.Products", asked))
        names = ("obsID", "obs_id", "productFilename", "productType", "productSubGroupDescription", "dataURI", "size")
        rows = rows_of(table, names, (), what)
        chosen = [
            row
            for row in rows
            if row["productSubGroupDescription"] in kinds
            and str(row["productFilename"]).lower().endswith(".fits")
            and row["productType"] == "SCIENCE"
        ]
        path.write_text(json.dumps(chosen), encoding="utf-8")

    request = {"service": "mast products", "product": list(numbers), "position": None, "size": None}
    if tuple(kinds) != DRIZZLED:
        request["kinds"] = list(kinds)
    path = fetch.cached(request, ask, host=server(), what=what, suffix=".txt")
    return fetch.json_of(path, what, list)


def _ask(call: Any) -> Any:
    """Call `Observations`; an empty table is an answer, not a warning."""
    from astroquery.exceptions import InvalidQueryError, NoResultsWarning
    from requests import RequestException

    try:
        return call(_client())
    except RequestException:
        raise
    except NoResultsWarning:  # where warnings are errors
        return None
    except InvalidQueryError as error:
        raise FetchError(f"the query is refused: {error}") from error
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:  # astroquery on a damaged table
        raise FetchError(f"the answer holds no table: {type(error).__name__}: {error}", retryable=True) from error


def _client() -> Any:
    from astroquery.mast import ObservationsClass

    known = getattr(_local, "observations", None)
    if known is None or known[0] != server():
        client = ObservationsClass()
        portal = client._portal_api_connection
        portal.MAST_REQUEST_URL = f"{server()}/api/v0/invoke"
        portal.COLUMNS_CONFIG_URL = f"{server()}/portal/Mashup/Mashup.asmx/columnsconfig"
        portal._column_configs = {}  # that of the class would remember a failed answer for good
        prepare(client._session, _look_at_table)
        _local.observations = known = (server(), client)
    return known[1]


def _look_at_table(response: Response) -> None:
    """Check an answer of the portal, and let it think: astroquery asks again at once while a query is under way."""
    answer = json_of(response)
    status = answer.get("status")
    if response.url.endswith("/columnsconfig"):
        if "obs_collection" not in answer:
            raise FetchError("the columns of the archive's tables are missing", retryable=True)
    elif status == "ERROR":
        raise FetchError(f"the service states an error: {answer.get('msg') or 'no reason given'}")
    elif status == "EXECUTING":
        time.sleep(min(fetch.current().first_wait_s, 5.0))
    elif status != "COMPLETE" or "data" not in answer:
        raise FetchError("the answer holds no table", retryable=True)


def mission_of(kinds: Sequence[str]) -> str:
    """Name the mission whose products are of some kinds."""
    return "HST" if tuple(kinds) == DRIZZLED else "JWST"


def download(address: str) -> Path:
    """Return a whole file of the archive, fetched once.

    Parameters
    ----------
    address
        MAST's address of it, as in ``mast:JWST/product/...``.
    """
    name = stem(address)
    url = f"{server()}/api/v0.1/Download/file"

    def fetch_file(path: Path) -> None:
        fetch.download(url, path, params={"uri": address}, what=name)

    def check(path: Path) -> None:
        fetch.is_fits(path, name)

    request = {"service": "mast data", "product": address, "position": None, "size": None}
    return fetch.cached(request, fetch_file, host=server(), what=f"{name} (MAST)", check=check, suffix=".fits")


def locate(addresses: Sequence[str]) -> dict[str, str]:
    """Turn MAST addresses (``mast:HST/product/...``) into paths in the public bucket, as far as MAST knows them.

    `Observations.get_cloud_uris` asks the same of an address that cannot be set, and wants a further package.
    """
    found: dict[str, str] = {}
    unique = sorted(set(addresses))
    for start in range(0, len(unique), _ITEMS_PER_REQUEST):
        part = unique[start : start + _ITEMS_PER_REQUEST]
        request = {"service": "mast path lookup", "product": part, "position": None, "size": None}

        def ask(path: Path, part: list[str] = part) -> None:
            content = fetch.get(
                f"{server()}/api/v0.1/path_lookup/",
                params={"uri": part},
                what=_PATHS,
                check=_check_paths,
            )
            path.write_bytes(content)

        path = fetch.cached(request, ask, host=server(), what=_PATHS, suffix=".txt")
        for address, about in fetch.json_of(path, _PATHS, dict).items():
            if isinstance(about, dict) and about.get("path"):
                found[address] = re.sub(r"^/+", "", str(about["path"]))
    return found


def _check_paths(content: bytes) -> None:
    if not fetch.json_of(content, _PATHS, dict):
        raise FetchError("something else came instead of the paths of files", retryable=True)
