"""How the pixels of an image are reached: the whole file, or SODA cutouts, as its datalink document says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from astroanomaly import FetchError, read_votable
from astroanomaly.cutting import quiet
from astroanomaly_plugins.shared.astropy_lock import ASTROPY
from astroanomaly_plugins.shared.web import Web, error
from astroanomaly_plugins.vo.products import Product, asked_of

__all__ = ["Access", "Via", "access_to", "area_parameter"]

Via = Literal["auto", "soda", "whole"]
_SODA_ID = "ivo://ivoa.net/std/SODA#sync-1"


@dataclass(frozen=True)
class Access:
    """Where an image is: its whole file, how SODA is asked for cutouts of it (empty: not at all), bytes of the file."""

    whole: str
    soda: Mapping[str, Any] = field(default_factory=dict)
    nbytes: int = 0


def access_to(product: Product, web: Web, via: Via) -> Access:
    """Find out how an image is reached; its datalink document is fetched once and kept.

    Raises
    ------
    FetchError
        If there is no way of the kind asked for.
    """
    what = f"the links of {product.did}"
    whole, soda, nbytes = "" if product.links else product.url, product.soda, product.nbytes
    if product.links:
        whole, soda, nbytes = _links_of(web.table(product.url, {}, what), what)
    elif product.datalink and not soda and via != "whole":
        try:
            document = web.table(product.datalink["url"], product.datalink["params"], what)
            named, soda, size = _links_of(document, what)
        except FetchError as trouble:
            if trouble.retryable or via == "soda":
                raise
        else:
            whole, nbytes = whole or named, nbytes or size
    soda = {} if via == "whole" else soda
    if soda and web.refusal(soda["url"]) and via == "auto" and whole:
        soda = {}
    if via == "soda" and not soda:
        raise error(product.did, "the service offers no cutouts of this image: say --via whole")
    if not soda and not whole:
        raise error(product.did, "the service gives no address of the whole image: say --via soda")
    return Access(whole, dict(soda), nbytes or product.nbytes)


def _links_of(path: Path, what: str) -> tuple[str, dict[str, Any], int]:
    """Read a datalink document: address of the whole image, how to ask for cutouts, size of the file.

    Raises
    ------
    FetchError
        If the document says that there is nothing.
    """
    from pyvo.dal.adhoc import DatalinkResults
    from pyvo.dal.exceptions import DALFormatError, DALQueryError, DALServiceError

    whole, nbytes, message = "", 0, ""
    soda: dict[str, Any] = {}
    try:
        with ASTROPY, quiet():
            results = DatalinkResults(read_votable(path))
            for row in results:
                message = message or str(row.error_message or "")
                semantics = str(row.semantics or "")
                if semantics == "#this" and row.get("access_url", decode=True):
                    whole = str(row.access_url)
                    size = row.get("content_length")
                    nbytes = int(size) if size is not None and size is not np.ma.masked and size > 0 else 0
                elif row.service_def and not soda:
                    service = results.get_adhocservice_by_id(row.service_def)
                    standards = [str(param.value) for param in service.params if param.name == "standardID"]
                    if any(standard.lower().startswith(_SODA_ID.lower()) for standard in standards):
                        soda = asked_of(row, service, area=True)
    except (DALFormatError, DALQueryError, DALServiceError) as problem:
        raise error(what, f"the datalink document says: {problem.reason}") from problem
    except (ValueError, TypeError, KeyError, IndexError, OSError, AttributeError) as problem:
        raise error(what, "the datalink document cannot be read") from problem
    if not whole and not soda:
        raise error(what, f"the datalink document leads to no image{': ' + message if message else ''}")
    return whole, soda, nbytes


def area_parameter(area: str, ra: float, dec: float, radius: float) -> dict[str, str]:
    """Return the parameter of SODA for a circle, in degrees, spelled as the service understands it."""
    if area == "CIRCLE":
        return {"CIRCLE": f"{ra!r} {dec!r} {radius!r}"}
    if area == "POS":
        return {"POS": f"CIRCLE {ra!r} {dec!r} {radius!r}"}
    across = radius / np.cos(np.radians(dec))
    corners = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    return {"POLYGON": " ".join(f"{float((ra + a * across) % 360)!r} {float(dec + b * radius)!r}" for a, b in corners)}
