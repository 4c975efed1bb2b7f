"""Euclid at IRSA, without an account: mosaics by SIA2, the catalogue by TAP, pixels out of the public cloud."""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
import warnings
from collections.abc import Iterator, Mapping
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astroanomaly import ConfigError, FetchError, fetch
from astroanomaly_plugins.euclid.bands import band_name
from astroanomaly_plugins.euclid.cloud import RemoteImage, host_of, needs_cloud_package
from astroanomaly_plugins.euclid.files import check_cutout, read_answer
from astroanomaly_plugins.euclid.mosaics import PIXEL_ARCSEC, Mosaic, mosaic_extent
from astroanomaly_plugins.euclid.releases import NEWEST, ChosenRelease, choose_release
from astroanomaly_plugins.shared.client_answers import check_answer, understood

if TYPE_CHECKING:
    from astropy.table import Table
    from requests import PreparedRequest, Response

__all__ = ["IrsaArchive"]

_SERVER_VARIABLE = "ASTROANOMALY_IRSA_SERVER"
_FIRST_COLLECTION = "euclid_DpdMerBksMosaic"
_ROW_BYTES = 19_200 * 4
_BLOCK_BYTES = 1_000_000
_MAX_ROWS = 10_000_000


class IrsaArchive:
    """NASA's Infrared Science Archive.

    Parameters
    ----------
    release, releases
        Name of the release, and a file with names of tables; see `astroanomaly_plugins.euclid.releases`.
    """

    name = "IRSA"

    def __init__(self, release: str = NEWEST, releases: Path | None = None) -> None:
        self._wanted = release
        self._releases = releases
        self._files: dict[str, RemoteImage] = {}
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"release": self._wanted, "releases": self._releases}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Keep every file open that is read inside the block: one open serves many objects."""
        try:
            yield
        finally:
            for file in self._files.values():
                file.close()
            self._files.clear()

    # ------------------------------------------------------------------------------------------------------- queries

    @cached_property
    def release(self) -> ChosenRelease:
        """The release that is taken, by what the archive has today."""
        what = "tables of Euclid at IRSA"
        tables = "SELECT table_name FROM TAP_SCHEMA.tables"
        images = "SELECT DISTINCT collection FROM caom.observation"
        found = [self.query(adql, what, today=True) for adql in (tables, images)]
        with understood(what):
            names = {str(name) for table in found for name in table[table.colnames[0]]}
        return choose_release(self._wanted, "irsa", names, self._releases)

    def mosaics(self, ra: float, dec: float, radius: float) -> list[Mosaic]:
        """List the mosaics that a circle touches; all in degrees."""
        from astropy import units as u
        from astropy.coordinates import SkyCoord

        what = "Euclid mosaics at IRSA"

        def ask(irsa: Any) -> Table:
            _look_up(irsa)
            where = (SkyCoord(ra, dec, unit="deg", frame="icrs"), radius * u.deg)
            return irsa.query_sia(pos=where, collection=collection, maxrec=_MAX_ROWS)

        collection = self.release.holding.mosaics
        request = {"service": "Euclid SIA2 at IRSA", "circle": [ra, dec, radius]}
        if collection != _FIRST_COLLECTION:  # whose answers were kept without its name
            request["collection"] = collection
        rows = self._cached(request, ask, what)
        found = []
        with understood(what):
            for row in rows:
                if "dataproduct_subtype" not in rows.colnames or str(row["dataproduct_subtype"]) != "science":
                    continue
                address = _address(row)
                name = address.rpartition("/")[2]
                tile = re.search(r"TILE(\d+)", name)
                instrument, place = str(row["instrument_name"]), (float(row["s_ra"]), float(row["s_dec"]))
                half_x, half_y = mosaic_extent(str(row["s_region"]), *place)
                found.append(
                    Mosaic(
                        name=name,
                        address=address,
                        local="",
                        tile=tile.group(1) if tile else name,
                        instrument=instrument,
                        band=band_name(str(row["energy_bandpassname"]), instrument),
                        ra=place[0],
                        dec=place[1],
                        half_x=half_x,
                        half_y=half_y,
                    )
                )
        if any(mosaic.address.startswith("s3:") for mosaic in found):
            needs_cloud_package()
        return found

    def query(self, adql: str, what: str, *, today: bool = False) -> Table:
        """Run a query; its answer is kept, or for a day."""

        def ask(irsa: Any) -> Table:
            return irsa.query_tap(adql, maxrec=_MAX_ROWS).to_table()

        request = {"service": "Euclid TAP at IRSA", "query": adql}
        return self._cached(request | ({"day": date.today().isoformat()} if today else {}), ask, what)

    def _cached(self, request: dict[str, Any], ask: Any, what: str) -> Table:
        def make(path: Path) -> None:
            from pyvo.dal import DALFormatError, DALOverflowWarning

            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # remarks on the archive's VOTables are not for its users
                warnings.simplefilter("error", DALOverflowWarning)
                try:
                    with fetch.answer(what):
                        table = ask(_client())
                except DALFormatError as error:
                    if isinstance(error.cause, FetchError):
                        raise error.cause from error
                    if isinstance(error.cause, OSError):  # of the connection, not of the format
                        raise
                    reason = f"the answer is no readable VOTable: {' '.join(str(error).split())[:160]}"
                    raise FetchError(f"{what}: {reason}", retryable=True, reason=reason) from error
                except DALOverflowWarning as error:
                    raise FetchError(f"{what}: the archive cut its answer short: ask for a smaller area") from error
                # astropy's fast writer of TABLEDATA writes past its buffer where a row just fills it
                table.write(path, format="votable", tabledata_format="binary2", overwrite=True)

        check = lambda path: fetch.is_votable(path, what)  # noqa: E731 - as everywhere else
        path = fetch.cached(request, make, host=_tap_address(), what=what, check=check, suffix=".vot")
        return read_answer(path, what)

    # ------------------------------------------------------------------------------------------------------- cutouts

    def nbytes(self, size_hw: tuple[int, int]) -> int:
        """Estimate the bytes of one cutout: its rows lie far apart, and are read in blocks."""
        return _BLOCK_BYTES * (1 + size_hw[0] * _ROW_BYTES // _BLOCK_BYTES)

    def cutout(self, mosaic: Mosaic, ra: float, dec: float, size_hw: tuple[int, int]) -> Path:
        """Read a cutout out of a mosaic; return the file, which is kept."""
        what = f"cutout from {mosaic.name}"

        def make(path: Path) -> None:
            self._file(mosaic.address).cut(path, ra, dec, size_hw)

        return fetch.cached(
            {
                "service": "Euclid in the cloud of IRSA",
                "product": mosaic.name,
                "position": [ra, dec],
                "size": list(size_hw),
            },
            make,
            host=host_of(mosaic.address),
            what=what,
            check=lambda path: check_cutout(path, what, mosaic.band, ra, dec, size_hw),
            suffix=".fits",
        )

    def radius_deg(self, size_hw: tuple[int, int]) -> float:
        """Half the side of a cutout; there is no limit here."""
        return max(size_hw) / 2 * PIXEL_ARCSEC / 3600

    def _file(self, address: str) -> RemoteImage:
        with self._lock:
            return self._files.setdefault(address, RemoteImage(address))


def _address(row: Any) -> str:
    """Where in the cloud an image lies; where it is in none, its web address."""
    try:
        cloud = json.loads(str(row["cloud_access"]))["aws"]
        return f"s3://{cloud['bucket_name']}/{cloud['key']}"
    except (KeyError, ValueError, TypeError):
        address = str(row["access_url"])
        if "://" not in address:
            raise ConfigError(
                "IRSA names no address in the cloud for a mosaic: use --via esa, or try again later"
            ) from None
        return address


def _tap_address() -> str:
    from astroquery.ipac.irsa import conf

    server = os.environ.get(_SERVER_VARIABLE, "").rstrip("/")
    return f"{server}/TAP" if server else str(conf.tap_url)


def _look_up(irsa: Any) -> None:
    """Let the client ask what the image search can do; whatever goes wrong there is worth another try."""
    from pyvo.dal import DALServiceError

    try:
        irsa.sia  # noqa: B018 - the property asks
    except (DALServiceError, ValueError) as error:
        status = re.search(r"HTTP Code: (\d+)", str(error))
        why = f"HTTP {status.group(1)}" if status else "no answer" if isinstance(error, DALServiceError) else "no VOSI"
        raise FetchError(f"the image search does not say what it can do: {why}", retryable=True) from error


def _client() -> Any:
    """Make astroquery's client with a time limit, which its own sessions have not."""
    from astroquery.ipac.irsa import IrsaClass
    from requests.adapters import HTTPAdapter

    timeout = fetch.current().timeout_s

    class Limited(HTTPAdapter):
        def send(self, request: PreparedRequest, **more: Any) -> Response:  # type: ignore[override]
            return super().send(request, **{**more, "timeout": timeout})

    irsa = IrsaClass()
    server = os.environ.get(_SERVER_VARIABLE, "").rstrip("/")
    if server:
        irsa.sia_url, irsa.tap_url = f"{server}/SIA", f"{server}/TAP"
    for scheme in ("http://", "https://"):
        irsa._session.mount(scheme, Limited())
    irsa._session.hooks["response"].append(check_answer)
    return irsa
