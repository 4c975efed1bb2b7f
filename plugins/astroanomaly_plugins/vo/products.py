"""The images a service lists, as plain records, and which of them show an object."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from astroanomaly import read_votable
from astroanomaly.cutting import quiet
from astroanomaly_plugins.shared.astropy_lock import ASTROPY
from astroanomaly_plugins.shared.web import error
from astroanomaly_plugins.vo.bands import BandChoice

__all__ = ["Product", "asked_of", "read_products"]

_DATALINK_ID = "ivo://ivoa.net/std/datalink"
_SODA_ID = "ivo://ivoa.net/std/SODA#sync-1"
_FILTERS = (
    "filter", "filter_name", "filters", "energy_bandpassname", "bandpass_id", "bandpass_name", "bandpass", "band_name",
    "band", "instrument_filter",
)  # fmt: skip
_AREAS = ("CIRCLE", "POS", "POLYGON")
_FITS = re.compile(r"(image|application)/(x-)?fits|^$", re.IGNORECASE)


@dataclass(frozen=True)
class Product:
    """One image, as the service lists it.

    Attributes
    ----------
    did
        Its publisher's identifier, or the address where there is none.
    band
        Its band.
    url, form
        Where it is, and its media type.
    datalink, soda
        How to ask for its links or cutouts, as ``{"url", "params"}`` (``soda`` with ``"area"`` too), where the
        service's answer itself says so; else empty.
    region, ra, dec, fov_deg
        Where it looks.
    low_nm, high_nm, exposure_s, scale_arcsec, level
        Wavelengths, exposure, side of a pixel and calibration level; None where unknown.
    nbytes
        Size of the file, 0 where unknown.
    instrument, unit
        Names; empty where unknown.
    """

    did: str
    band: str
    url: str
    form: str = ""
    datalink: Mapping[str, Any] = field(default_factory=dict)
    soda: Mapping[str, Any] = field(default_factory=dict)
    region: str = ""
    ra: float | None = None
    dec: float | None = None
    fov_deg: float | None = None
    low_nm: float | None = None
    high_nm: float | None = None
    exposure_s: float | None = None
    scale_arcsec: float | None = None
    level: int | None = None
    nbytes: int = 0
    instrument: str = ""
    unit: str = ""

    @property
    def plain(self) -> dict[str, Any]:
        """The record as JSON values."""
        return asdict(self)

    @property
    def links(self) -> bool:
        """Whether the address leads to a datalink document and not to pixels."""
        return "content=datalink" in self.form.replace(" ", "").lower()


def read_products(path: Path, choice: BandChoice, what: str) -> tuple[list[Product], bool]:
    """Read the images of wanted bands from the VOTable that answers a search; also whether rows were left out of it.

    Raises
    ------
    FetchError
        If it is no table of images.
    """
    import warnings

    from pyvo.dal.exceptions import DALFormatError, DALOverflowWarning, DALQueryError
    from pyvo.dal.sia2 import SIA2Results

    try:
        with ASTROPY, quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore", DALOverflowWarning)
            results = SIA2Results(read_votable(path))
            return _products(results, choice), str(results.status[0]).upper() == "OVERFLOW"
    except DALQueryError as problem:
        raise error(what, f"the service states an error: {problem.reason}") from problem
    except DALFormatError as problem:
        raise error(what, f"the answer is no table of images: {problem.reason}") from problem
    except (ValueError, TypeError, KeyError, IndexError, OSError, MemoryError) as problem:  # of a damaged table
        first = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
        raise error(what, f"the VOTable cannot be read: {first}") from problem


def _products(results: Any, choice: BandChoice) -> list[Product]:
    datalink, soda = _service(results, _DATALINK_ID), _service(results, _SODA_ID)
    names = {name.lower(): name for name in results.fieldnames}
    column = next((names[name] for name in _FILTERS if name in names), "")
    found: dict[str, Product] = {}
    for row in results:
        values = {low: _text(row.get(name)) for low, name in names.items()}
        values["filter"] = _text(row.get(column)) if column else ""
        if values.get("dataproduct_type", "image").lower() not in ("image", ""):
            continue
        low, high = (_number(row, names, name, 1e9) for name in ("em_min", "em_max"))
        band = choice.name_of(values, low, high)
        url, form = values.get("access_url", ""), values.get("access_format", "")
        usable = "content=datalink" in form.replace(" ", "").lower() or bool(_FITS.match(form)) or datalink or soda
        if not band or not url or not usable:
            continue
        level, kbytes = _number(row, names, "calib_level"), _number(row, names, "access_estsize")
        product = Product(
            did=values.get("obs_publisher_did") or url,
            band=band,
            url=url,
            form=form,
            datalink=asked_of(row, datalink),
            soda=asked_of(row, soda, area=True),
            region=values.get("s_region", ""),
            ra=_number(row, names, "s_ra"),
            dec=_number(row, names, "s_dec"),
            fov_deg=_number(row, names, "s_fov"),
            low_nm=low,
            high_nm=high,
            exposure_s=_number(row, names, "t_exptime"),
            scale_arcsec=_number(row, names, "s_pixel_scale"),
            level=None if level is None else int(level),
            nbytes=int((kbytes or 0) * 1024),
            instrument=values.get("instrument_name", ""),
            unit=values.get("o_unit", ""),
        )
        found.setdefault(product.did, product)  # some services list a product twice
    return list(found.values())


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if value is None or value is np.ma.masked:
        return ""
    if isinstance(value, np.ndarray):  # s_region with xtype polygon may come as numbers
        return "POLYGON " + " ".join(repr(float(number)) for number in value.ravel())
    return str(value).strip()


def _number(row: Any, names: Mapping[str, str], name: str, factor: float = 1.0) -> float | None:
    value = row.get(names[name]) if name in names else None
    if value is None or value is np.ma.masked:
        return None
    try:
        number = float(value) * factor
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) else None


def _service(results: Any, identifier: str) -> Any:
    """Return the service descriptor of a standard, None if there is none."""
    from pyvo.dal.exceptions import DALServiceError

    try:
        return results.get_adhocservice_by_ivoid(identifier)
    except DALServiceError:
        return None


def asked_of(row: Any, service: Any, *, area: bool = False) -> dict[str, Any]:
    """How a service descriptor is asked about a row; empty where it cannot be."""
    from pyvo.dal.adhoc import DatalinkQuery
    from pyvo.dal.exceptions import DALServiceError

    if service is None:
        return {}
    try:
        query = DatalinkQuery.from_resource(row, service)
    except (DALServiceError, KeyError, StopIteration, AttributeError, ValueError, TypeError):
        return {}
    asked: dict[str, Any] = {
        "url": query.queryurl,
        "params": {name: _text(value) for name, value in query.items() if name not in _AREAS},
    }
    if area:
        inputs = {param.name for group in service.groups if group.name == "inputParams" for param in group.entries}
        asked["area"] = next((name for name in _AREAS if name in inputs), "")
    return asked if not area or asked["area"] else {}
