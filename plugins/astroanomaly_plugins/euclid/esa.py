"""Euclid at ESA, through `astroquery.esa.euclid`: mosaics and catalogue by TAP, cutouts made by the server."""

from __future__ import annotations

import contextlib
import html
import logging
import math
import os
import re
import time
from collections.abc import Callable, Iterator
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from astroanomaly import ConfigError, FetchError, fetch
from astroanomaly_plugins.euclid.bands import band_name
from astroanomaly_plugins.euclid.connections import Connections
from astroanomaly_plugins.euclid.esa_client import client_of, environments, forget_client, status_of
from astroanomaly_plugins.euclid.files import check_cutout, read_answer
from astroanomaly_plugins.euclid.mosaics import PIXEL_ARCSEC, Mosaic, mosaic_extent
from astroanomaly_plugins.euclid.releases import NEWEST, ChosenRelease, choose_release
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


class EsaArchive:
    """ESA's Euclid archive.

    Parameters
    ----------
    environment
        Which of its holdings, as astroquery calls it: ``PDR`` is what is public.
    login
        Whether to log in, with EUCLID_USER and EUCLID_PASSWORD, or the file that EUCLID_CREDENTIALS names.
    release, releases
        Name of the release, and a file with names of tables; see `astroanomaly_plugins.euclid.releases`.
    """

    name = "ESA"

    def __init__(
        self, environment: str = "PDR", login: bool = False, release: str = NEWEST, releases: Path | None = None
    ) -> None:
        self.environment = environment
        self.login = login
        self._wanted = release
        self._releases = releases

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Do nothing: every cutout is a request of its own."""
        yield

    @property
    def server(self) -> str:
        """Address of the archive, ending in a slash."""
        address = os.environ.get(_SERVER_VARIABLE) or environments()[self.environment]["url_server"]
        return address.rstrip("/") + "/"

    @cached_property
    def release(self) -> ChosenRelease:
        """The release that is taken, by what the archive has today."""
        what = "tables of Euclid at ESA"
        try:
            there = self.query("SELECT schema_name, table_name FROM TAP_SCHEMA.tables", what, today=True)
        except FetchError as error:
            if error.retryable:
                raise
            _log.warning("the archive does not list its tables (%s): they are taken to be those of Q1", error.reason)
            names = {"sedm.mosaic_product", str(environments()[self.environment]["main_table"])}
        else:
            with understood(what):
                names = {_qualified(str(row["schema_name"]), str(row["table_name"])) for row in there}
        found = choose_release(self._wanted, "esa", names, self._releases)
        usual = str(environments()[self.environment]["main_table"])
        if found.holding.catalogues or self.environment == "PDR" or usual not in names:
            return found
        return found.with_catalogue(usual)  # of the consortium's archives, which have one main table each

    # ------------------------------------------------------------------------------------------------------- queries

    def mosaics(self, ra: float, dec: float, radius: float) -> list[Mosaic]:
        """List the mosaics that a circle touches; all in degrees."""
        rows = self.query(
            "SELECT file_name, file_path, datalabs_path, mosaic_product_oid, tile_index, instrument_name, filter_name, "
            f"ra, dec, fov FROM {self.release.holding.mosaics} WHERE product_type = 'DpdMerBksMosaic' AND "
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

    def query(self, adql: str, what: str, *, today: bool = False) -> Table:
        """Run a query as an asynchronous job, which has no limit of 2,000 rows; its answer is kept, or for a day."""

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
            {
                "service": "Euclid TAP at ESA",
                "environment": self.environment,
                "login": self.login,
                "query": adql,
                **({"day": date.today().isoformat()} if today else {}),
            },
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
        return client_of(self.environment, self.server, self.login)

    def _log_in_again(self) -> None:
        forget_client(self.environment, self.server, self.login)


def _qualified(schema: str, table: str) -> str:
    """Name of a table with that of its schema, which some archives leave out."""
    return (table if "." in table else f"{schema}.{table}").lower()


def _named_twice(client: Any, mosaic: Mosaic) -> dict[str, str]:
    """Arguments that the client needs beside the path of a mosaic: none from astroquery 0.4.12 on."""
    return {} if hasattr(client, "query_sia") else {"instrument": mosaic.instrument, "id": mosaic.tile}


def _call(
    connections: Connections, what: str, function: Callable[[], T | None], log_in: Callable[[], None] | None = None
) -> T:
    """Call a function of astroquery that returns None where it should raise; raise what it swallowed."""
    with connections.listening(what) as output:
        value = function()
    error = connections.error
    if value is None and error is not None:
        if log_in is not None and status_of(error) in (401, 403):
            log_in()
            raise FetchError("the session at ESA's archive has ended", retryable=True)
        raise error
    return fetch.expect(value, output, what)


def _words(text: str) -> str:
    """Return what the archive says of a failed job, which comes as a VOTable or as text."""
    stated = re.search(r"(?s)QUERY_STATUS[^>]*ERROR[^>]*>(.*?)</INFO>", text)
    words = html.unescape(stated.group(1) if stated else re.sub(r"(?s)<[^>]*>", " ", text))
    return " ".join(words.split()) or "the job failed, and no reason is given"


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
