"""Euclid at ESA, through `astroquery.esa.euclid`: mosaics and catalogue by TAP, cutouts made by the server."""

from __future__ import annotations

import contextlib
import html
import inspect
import logging
import math
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from astroanomaly import ConfigError, FetchError, fetch
from astroanomaly_plugins.euclid.bands import band_name
from astroanomaly_plugins.euclid.connections import Connections
from astroanomaly_plugins.euclid.files import check_cutout, read_answer
from astroanomaly_plugins.euclid.mosaics import PIXEL_ARCSEC, Mosaic, mosaic_extent
from astroanomaly_plugins.euclid.packed import unpack
from astroanomaly_plugins.shared.client_answers import understood

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["EsaArchive"]

_log = logging.getLogger(__name__)
_SERVER_VARIABLE = "ASTROANOMALY_EUCLID_SERVER"
_MARGIN_PIXELS = 2  # more than a cutout needs on every side, whatever way the server rounds
_MAX_RADIUS_DEG = 0.5  # what the service cuts at most
_MAX_JOB_S = 3600.0  # a query that takes longer is given up
_FIRST_POLL_S, _LAST_POLL_S = 0.1, 5.0
_HEADER_BYTES = 8640
T = TypeVar("T")
_lock = threading.RLock()


class EsaArchive:
    """ESA's Euclid archive.

    Parameters
    ----------
    environment
        Which of its holdings, as astroquery calls it: ``PDR`` is what is public.
    login
        Whether to log in, with EUCLID_USER and EUCLID_PASSWORD, or the file that EUCLID_CREDENTIALS names.
    """

    name = "ESA"
    id_column, ra_column, dec_column = "object_id", "right_ascension", "declination"

    def __init__(self, environment: str = "PDR", login: bool = False) -> None:
        self.environment = environment
        self.login = login

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Do nothing: every cutout is a request of its own."""
        yield

    @property
    def server(self) -> str:
        """Address of the archive, ending in a slash."""
        address = os.environ.get(_SERVER_VARIABLE) or _environments()[self.environment]["url_server"]
        return address.rstrip("/") + "/"

    @property
    def catalogue(self) -> str:
        """Name of the MER catalogue."""
        return str(_environments()[self.environment]["main_table"])

    # ------------------------------------------------------------------------------------------------------- queries

    def mosaics(self, ra: float, dec: float, radius: float) -> list[Mosaic]:
        """List the mosaics that a circle touches; all in degrees."""
        rows = self.query(
            "SELECT file_name, file_path, datalabs_path, mosaic_product_oid, tile_index, instrument_name, filter_name, "
            "ra, dec, fov FROM sedm.mosaic_product WHERE product_type = 'DpdMerBksMosaic' AND "
            f"INTERSECTS(CIRCLE('ICRS', {ra!r}, {dec!r}, {radius!r}), fov) = 1",
            "Euclid mosaics at ESA",
        )
        found = []
        with understood("Euclid mosaics at ESA"):
            for row in rows:
                name, folder = str(row["file_name"]), str(row["datalabs_path"] or "").rstrip("/")
                local = "" if not folder or folder == "--" else folder if folder.endswith(name) else f"{folder}/{name}"
                half_x, half_y = mosaic_extent(str(row["fov"]), float(row["ra"]), float(row["dec"]))
                found.append(
                    Mosaic(
                        name=name,
                        address=f"{str(row['file_path']).rstrip('/')}/{name}",
                        local=local,
                        tile=str(row["tile_index"]),
                        instrument=str(row["instrument_name"]),
                        band=band_name(str(row["filter_name"]), str(row["instrument_name"])),
                        ra=float(row["ra"]),
                        dec=float(row["dec"]),
                        half_x=half_x,
                        half_y=half_y,
                        number=int(row["mosaic_product_oid"]),
                    )
                )
        return found

    def query(self, adql: str, what: str) -> Table:
        """Run a query as an asynchronous job, which has no limit of 2,000 rows; its answer is kept."""

        def make(path: Path) -> None:
            client, connections = self._client()
            job = _call(
                connections,
                what,
                lambda: client.launch_job_async(
                    adql, output_file=str(path), output_format="votable_plain", background=True
                ),
            )
            _wait_for(job, connections, what)
            with connections.listening(what):
                job.save_results()

        path = fetch.cached(
            {"service": "Euclid TAP at ESA", "environment": self.environment, "login": self.login, "query": adql},
            make,
            host=self.server,
            what=what,
            check=lambda path: fetch.is_votable(path, what),
            suffix=".vot",
        )
        return read_answer(path, what)

    # ------------------------------------------------------------------------------------------------------- cutouts

    def radius_deg(self, size_hw: tuple[int, int]) -> float:
        """Radius of the circle to ask for.

        Raises
        ------
        ConfigError
            If the service does not cut that much.
        """
        radius = (max(size_hw) / 2 + _MARGIN_PIXELS) * PIXEL_ARCSEC / 3600
        if radius > _MAX_RADIUS_DEG:
            raise ConfigError(
                f"cutouts of {size_hw[1]} x {size_hw[0]} pixels are larger than the {2 * _MAX_RADIUS_DEG:g} degrees "
                "that ESA's archive cuts: ask for smaller ones, or read mosaics in place with --via datalabs"
            )
        return radius

    def nbytes(self, size_hw: tuple[int, int]) -> int:
        """Estimate the bytes of one cutout."""
        return 4 * (max(size_hw) + 2 * _MARGIN_PIXELS) ** 2 + _HEADER_BYTES

    def cutout(self, mosaic: Mosaic, ra: float, dec: float, size_hw: tuple[int, int]) -> Path:
        """Fetch a cutout with a few pixels more than needed; return the file, which is kept."""
        from astropy import units as u
        from astropy.coordinates import SkyCoord

        what = f"cutout from {mosaic.name}"
        radius = self.radius_deg(size_hw)

        def make(path: Path) -> None:
            client, connections = self._client()
            files = _call(
                connections,
                what,
                lambda: client.get_cutout(
                    file_path=mosaic.address,
                    coordinate=SkyCoord(ra, dec, unit="deg", frame="icrs"),
                    radius=radius * u.deg,
                    output_file=str(path),
                    **_named_twice(client, mosaic),
                ),
                self._log_in_again if self.login else None,
            )
            if files != [str(path)]:
                raise FetchError("the archive that came holds no FITS file", retryable=True)

        return fetch.cached(
            {
                "service": "Euclid cutouts at ESA",
                "environment": self.environment,
                "product": mosaic.name,
                "position": [ra, dec],
                "size": round(radius, 9),
            },
            make,
            host=self.server,
            what=what,
            check=lambda path: check_cutout(path, what, mosaic.band, ra, dec, size_hw),
            suffix=".fits",
        )

    # ----------------------------------------------------------------------------------------------------- the client

    def _client(self) -> tuple[Any, Connections]:
        """Return astroquery's client, logged in if asked for: one per process."""
        key = (self.environment, self.server, self.login)
        with _lock:
            if key not in _clients:
                _clients[key] = _make_client(*key)
            return _clients[key]

    def _log_in_again(self) -> None:
        with _lock:
            _clients.pop((self.environment, self.server, self.login), None)


_clients: dict[tuple[str, str, bool], tuple[Any, Connections]] = {}


def _environments() -> dict[str, dict[str, str]]:
    _import()
    from astroquery.esa.euclid import conf

    return conf.ENVIRONMENTS


def _import() -> None:
    """Import astroquery's module, which asks ESA for news at once: within a time limit, and nothing is printed."""
    import sys

    if "astroquery.esa.euclid" in sys.modules:
        return
    with _lock:
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(min(10.0, fetch.current().timeout_s))
        try:
            with fetch.answer("astroquery.esa.euclid"):
                import astroquery.esa.euclid  # noqa: F401
        finally:
            socket.setdefaulttimeout(before)


def _make_client(environment: str, server: str, login: bool) -> tuple[Any, Connections]:
    _import()
    from astroquery.esa.euclid import EuclidClass
    from astroquery.utils.tap import TapPlus
    from astroquery.utils.tap.conn.tapconn import TapConn

    parts = urlsplit(server)
    secure = parts.scheme == "https"
    host, port = parts.hostname or "", parts.port or (443 if secure else 80)
    connections = Connections(host, port)

    def tap(context: str, data: str) -> Any:
        return TapConn(
            secure,
            host,
            server_context=context,
            port=port,
            sslport=port,
            connhandler=connections,
            tap_context="tap",
            upload_context="Upload",
            table_edit_context="TableTool",
            data_context=data,
            datalink_context="datalink",
        )

    def plus(context: str, data: str) -> Any:
        return TapPlus(url=server, connhandler=tap(context, data), client_id="ASTROQUERY", use_names_over_ids=True)

    services = {
        "tap_plus_conn_handler": tap("tap-server", "data"),
        "datalink_handler": plus("sas-dd", "data"),
        "cutout_handler": plus("sas-cutout", "cutout"),
    }
    if "sia_handler" in inspect.signature(EuclidClass).parameters:  # from astroquery 0.4.12 on
        services["sia_handler"] = plus("sas-sia", "sia2/query")
    client = EuclidClass(environment=environment, show_server_messages=False, **services)
    # astroquery unpacks whatever is a tar or zip file, wherever its members say and however large they are
    client._EuclidClass__extract_file = unpack
    client._EuclidClass__check_file_number = lambda **_: None
    if login:
        _refuse_other_hosts(client, connections, server)
        _log_in(client, connections)
    return client, connections


def _named_twice(client: Any, mosaic: Mosaic) -> dict[str, str]:
    """Arguments that the client needs beside the path of a mosaic: none from astroquery 0.4.12 on."""
    return {} if hasattr(client, "query_sia") else {"instrument": mosaic.instrument, "id": mosaic.tile}


def _refuse_other_hosts(client: Any, connections: Connections, server: str) -> None:
    """Refuse to log in where any service of the client would connect by itself, perhaps to another host.

    The client hands name and password to all its services, and later versions may have more than are known here.
    """
    from astroquery.utils.tap import TapPlus

    services = [client, *(one for one in vars(client).values() if isinstance(one, TapPlus))]
    handlers = [service._TapPlus__getconnhandler() for service in services]
    if any(getattr(handler, "_TapConn__connectionHandler", None) is not connections for handler in handlers):
        raise ConfigError(
            f"this version of astroquery would send name and password to other hosts than {server}: install "
            "astroquery 0.4.11 or 0.4.12, or go without --login"
        )


def _log_in(client: Any, connections: Connections) -> None:
    """Log in with what the environment says; neither name nor password are kept or shown."""
    user, password = os.environ.get("EUCLID_USER", ""), os.environ.get("EUCLID_PASSWORD", "")
    file = os.environ.get("EUCLID_CREDENTIALS", "")
    if file:
        try:
            lines = Path(file).expanduser().read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"the file that EUCLID_CREDENTIALS names cannot be read: {type(error).__name__}"
            ) from None
        user, password = ([line.strip() for line in lines] + ["", ""])[:2]
    if not user or not password:
        raise ConfigError(
            "--login needs a name and a password of ESA's archive: set EUCLID_USER and EUCLID_PASSWORD, or "
            "EUCLID_CREDENTIALS to a file with the name on the first line and the password on the second"
        )
    with connections.listening("login at ESA") as output:
        client.login(user=user, password=password)
    refused = connections.error
    if refused is not None and _status(refused) not in (401, 403):
        raise refused
    if refused is not None or "rror" in output.reason:
        raise ConfigError("ESA's Euclid archive refused the login: check name and password") from None
    _log.info("logged in at ESA's Euclid archive")


def _call(
    connections: Connections, what: str, function: Callable[[], T | None], log_in: Callable[[], None] | None = None
) -> T:
    """Call a function of astroquery that returns None where it should raise; raise what it swallowed."""
    with connections.listening(what) as output:
        value = function()
    error = connections.error
    if value is None and error is not None:
        if log_in is not None and _status(error) in (401, 403):
            log_in()
            raise FetchError("the session at ESA's archive has ended", retryable=True)
        raise error
    return fetch.expect(value, output, what)


def _words(text: str) -> str:
    """Return what the archive says of a failed job, which comes as a VOTable or as text."""
    stated = re.search(r"(?s)QUERY_STATUS[^>]*ERROR[^>]*>(.*?)</INFO>", text)
    words = html.unescape(stated.group(1) if stated else re.sub(r"(?s)<[^>]*>", " ", text))
    return " ".join(words.split()) or "the job failed, and no reason is given"


def _status(error: Exception) -> int:
    return int(getattr(getattr(error, "response", None), "status_code", 0) or 0)


def _wait_for(job: Any, connections: Connections, what: str) -> None:
    """Wait until a job is done, asking less and less often."""
    pause, end = _FIRST_POLL_S, time.monotonic() + _MAX_JOB_S
    while True:
        with connections.listening(what):
            phase = str(job.get_phase(update=True)).strip().upper()
        if phase == "COMPLETED":
            return
        if phase in ("ERROR", "ABORTED"):
            with connections.listening(what):
                reason = _words(str(job.get_error())) if phase == "ERROR" else "the job was aborted"
            raise FetchError(f"{what}: {reason}", reason=reason)
        if time.monotonic() > end:
            raise FetchError(f"{what}: the query has not ended after {math.ceil(_MAX_JOB_S / 60)} minutes")
        time.sleep(pause)
        pause = min(_LAST_POLL_S, pause * 1.5)
