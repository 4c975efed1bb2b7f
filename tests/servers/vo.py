"""A small IVOA data centre: SIA2, TAP with ObsCore, VOSI, datalink, SODA cutouts and whole files.

Its capabilities, tables and documents pass `astropy.io.votable` without a warning and satisfy pyvo's clients. ADQL is
run by SQLite, which gets the functions CIRCLE, POINT, INTERSECTS and CONTAINS.
"""

from __future__ import annotations

import contextlib
import io
import re
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape, quoteattr

import numpy as np
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.nddata.utils import NoOverlapError
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales

from astroanomaly.cutting import quiet

from .base import NOT_FOUND, Answer, Asked, Server

__all__ = ["OBSCORE", "VoProduct", "VoServer"]

_AUTHORITY = "ivo://test.astroanomaly/obs"
_DATALINK = "application/x-votable+xml;content=datalink"
_VOTABLE = "application/x-votable+xml"
# name, datatype, unit, ucd, utype: the mandatory columns of ObsCore 1.1, in its order, and three optional ones
OBSCORE = tuple(
    line.split("|")
    for line in """\
dataproduct_type|char||meta.code.class|obscore:ObsDataset.dataProductType
calib_level|int||meta.code;obs.calib|obscore:ObsDataset.calibLevel
obs_collection|char||meta.id|obscore:DataID.collection
obs_id|char||meta.id|obscore:DataID.observationID
obs_publisher_did|char||meta.ref.ivoid|obscore:Curation.publisherDID
access_url|char||meta.ref.url|obscore:Access.reference
access_format|char||meta.code.mime|obscore:Access.format
access_estsize|long|kbyte|phys.size;meta.file|obscore:Access.size
target_name|char||meta.id;src|obscore:Target.name
s_ra|double|deg|pos.eq.ra|obscore:Char.SpatialAxis.Coverage.Location.Coord.Position2D.Value2.C1
s_dec|double|deg|pos.eq.dec|obscore:Char.SpatialAxis.Coverage.Location.Coord.Position2D.Value2.C2
s_fov|double|deg|phys.angSize;instr.fov|obscore:Char.SpatialAxis.Coverage.Bounds.Extent.diameter
s_region|char|deg|pos.outline;obs.field|obscore:Char.SpatialAxis.Coverage.Support.Area
s_xel1|long||meta.number|obscore:Char.SpatialAxis.numBins1
s_xel2|long||meta.number|obscore:Char.SpatialAxis.numBins2
s_resolution|double|arcsec|pos.angResolution|obscore:Char.SpatialAxis.Resolution.refval.value
t_min|double|d|time.start;obs.exposure|obscore:Char.TimeAxis.Coverage.Bounds.Limits.StartTime
t_max|double|d|time.end;obs.exposure|obscore:Char.TimeAxis.Coverage.Bounds.Limits.StopTime
t_exptime|double|s|time.duration;obs.exposure|obscore:Char.TimeAxis.Coverage.Support.Extent
t_resolution|double|s|time.resolution|obscore:Char.TimeAxis.Resolution.Refval.value
t_xel|long||meta.number|obscore:Char.TimeAxis.numBins
em_min|double|m|em.wl;stat.min|obscore:Char.SpectralAxis.Coverage.Bounds.Limits.LoLimit
em_max|double|m|em.wl;stat.max|obscore:Char.SpectralAxis.Coverage.Bounds.Limits.HiLimit
em_res_power|double||spect.resolution|obscore:Char.SpectralAxis.Resolution.ResolPower.refVal
em_xel|long||meta.number|obscore:Char.SpectralAxis.numBins
o_ucd|char||meta.ucd|obscore:Char.ObservableAxis.ucd
pol_states|char||meta.code;phys.polarization|obscore:Char.PolarizationAxis.stateList
pol_xel|long||meta.number|obscore:Char.PolarizationAxis.numBins
facility_name|char||meta.id;instr.tel|obscore:Provenance.ObsConfig.Facility.name
instrument_name|char||meta.id;instr|obscore:Provenance.ObsConfig.Instrument.name
obs_title|char||meta.title;obs|obscore:DataID.title
s_pixel_scale|double|arcsec|phys.angSize;instr.pixel|obscore:Char.SpatialAxis.Sampling.RefVal.SamplingPeriod""".splitlines()
)
_LINKS = (
    ("ID", "char", "", "meta.id;meta.main", ""),
    ("access_url", "char", "", "meta.ref.url", ""),
    ("service_def", "char", "", "meta.ref", ""),
    ("error_message", "char", "", "meta.code.error", ""),
    ("semantics", "char", "", "meta.code", ""),
    ("description", "char", "", "meta.note", ""),
    ("content_type", "char", "", "meta.code.mime", ""),
    ("content_length", "long", "byte", "phys.size;meta.file", ""),
)


@dataclass(frozen=True)
class VoProduct:
    """One image of the archive: a FITS file, and what the archive says of it."""

    name: str
    path: Path
    low_nm: float
    high_nm: float
    collection: str = "SIM"
    instrument: str = "SimCam"
    exposure_s: float = 100.0
    hdu: int = 0
    access_url: str = ""  # instead of the server's own
    more: Mapping[str, Any] | None = None  # other values of ObsCore columns

    @property
    def did(self) -> str:
        return f"{_AUTHORITY}?{self.name}"


class VoServer(Server):
    """The data centre; `/sia2` and `/tap` are its services.

    Parameters
    ----------
    products
        Its images.
    soda
        Whether datalink offers cutouts.
    links
        ``datalink``: access URLs lead to datalink documents; ``descriptor``: to files, and a service descriptor in the
        answer names the datalink service; ``none``: to files, and there is no datalink.
    """

    def __init__(self, products: Sequence[VoProduct], *, soda: bool = True, links: str = "datalink") -> None:
        super().__init__()
        self.products = {product.did: product for product in products}
        self.soda = soda
        self.links = links
        self.soda_url = ""  # instead of the server's own

    # ------------------------------------------------------------------------------------------------------- requests

    def answer(self, asked: Asked) -> Answer:
        ways = {
            "/sia2/capabilities": lambda q: _xml(_capabilities(self.url, "sia2")),
            "/tap/capabilities": lambda q: _xml(_capabilities(self.url, "tap")),
            "/sia2/availability": lambda q: _xml(_AVAILABILITY),
            "/tap/availability": lambda q: _xml(_AVAILABILITY),
            "/tap/tables": lambda q: _xml(_tables()),
            "/sia2/query": lambda q: self._sia2(q, asked),
            "/tap/sync": lambda q: self._tap(q, asked),
            "/datalink": self._datalink,
            "/soda/sync": lambda q: self._soda(q, asked),
        }
        if asked.path.startswith("/data/"):
            product = self.products.get(f"{_AUTHORITY}?{asked.path.removeprefix('/data/')}")
            if product is not None:
                return Answer(self._other(product, asked).path.read_bytes(), "application/fits")
        if asked.path not in ways:
            return NOT_FOUND
        return ways[asked.path]({name.upper(): values[0] for name, values in {**asked.query, **asked.form}.items()})

    def _other(self, product: VoProduct, asked: Asked) -> VoProduct:
        """The product itself, or another one if the server is to send the wrong file."""
        if not self.due("wrong band", asked):
            return product
        others = [other for other in self.products.values() if other.low_nm != product.low_nm]
        tile = product.name.rpartition("_")[0]
        return next((other for other in others if other.name.startswith(tile)), others[0])

    def _sia2(self, query: Mapping[str, str], asked: Asked) -> Answer:
        where, values = ["1=1"], []
        if "POS" in query:
            words = query["POS"].split()
            if words[0] != "CIRCLE" or len(words) != 4:
                return _votable((), (), error=f"UsageFault: POS={query['POS']} is not supported", status=400)
            where.append(f"INTERSECTS(CIRCLE('ICRS', {','.join(map(_number, words[1:]))}), s_region) = 1")
        for name, column in (("COLLECTION", "obs_collection"), ("INSTRUMENT", "instrument_name")):
            wanted = asked.query.get(name, [])
            if wanted:
                where.append(f"{column} IN ({','.join('?' * len(wanted))})")
                values += wanted
        if "DPTYPE" in query:
            where.append("dataproduct_type = ?")
            values.append(query["DPTYPE"])
        return self._select(f"SELECT * FROM ivoa.obscore WHERE {' AND '.join(where)}", values, query, asked)

    def _tap(self, query: Mapping[str, str], asked: Asked) -> Answer:
        if query.get("LANG", "").split("-")[0] != "ADQL" or "QUERY" not in query:
            return _votable((), (), error="UsageFault: LANG=ADQL and QUERY are needed", status=400)
        sql = re.sub(r"^\s*SELECT\s+TOP\s+(\d+)\s+(.*)$", r"SELECT \2 LIMIT \1", query["QUERY"], flags=re.I | re.S)
        return self._select(sql, (), query, asked)

    def _select(self, sql: str, values: Sequence[Any], query: Mapping[str, str], asked: Asked) -> Answer:
        limit = int(query.get("MAXREC", 10_000))
        with contextlib.closing(sqlite3.connect(":memory:")) as database:
            database.execute("ATTACH ':memory:' AS ivoa")
            for name, count, function in (
                ("CIRCLE", 4, lambda frame, *numbers: f"CIRCLE {' '.join(map(repr, numbers))}"),
                ("POINT", 3, lambda frame, *numbers: f"POINT {' '.join(map(repr, numbers))}"),
                ("INTERSECTS", 2, _intersects),
                ("CONTAINS", 2, _contains),
            ):
                database.create_function(name, count, function)
            database.execute(f"CREATE TABLE ivoa.obscore ({', '.join(field[0] for field in OBSCORE)})")
            rows = [self._row(product) for product in self.products.values()]
            if self.due("duplicate products", asked):
                rows = [row for row in rows for _ in range(2)]
            database.executemany(f"INSERT INTO ivoa.obscore VALUES ({','.join('?' * len(OBSCORE))})", rows)
            try:
                cursor = database.execute(sql, values)
            except sqlite3.Error as error:
                return _votable((), (), error=f"ADQL: {error}", status=400)
            found = cursor.fetchall()
            names = [column[0] for column in cursor.description]
        known = {field[0]: field for field in OBSCORE}
        fields = [known.get(name, (name, "char", "", "", "")) for name in names]
        service = self._descriptor("datalink") if self.links == "descriptor" and "obs_publisher_did" in names else ""
        return _votable(fields, found[:limit], service, overflow=len(found) > limit)

    def _row(self, product: VoProduct) -> list[Any]:
        with quiet(), fits.open(product.path) as hdulist:
            wcs, shape = WCS(hdulist[product.hdu].header), hdulist[product.hdu].shape
        corners = wcs.calc_footprint(axes=(shape[1], shape[0]))
        middle = wcs.pixel_to_world_values((shape[1] - 1) / 2, (shape[0] - 1) / 2)
        scale = float(proj_plane_pixel_scales(wcs)[0]) * 3600
        row = dict.fromkeys(field[0] for field in OBSCORE)
        row |= {
            "dataproduct_type": "image",
            "calib_level": 3,
            "obs_collection": product.collection,
            "obs_id": product.name,
            "obs_publisher_did": product.did,
            "access_url": product.access_url or f"{self.url}/data/{product.name}",
            "access_format": "application/fits",
            "access_estsize": product.path.stat().st_size // 1024,
            "s_ra": float(middle[0]),
            "s_dec": float(middle[1]),
            "s_fov": float(np.hypot(*shape) * scale / 3600),
            "s_region": "POLYGON " + " ".join(f"{value:.8f}" for value in corners.ravel()),
            "s_xel1": shape[1],
            "s_xel2": shape[0],
            "t_exptime": product.exposure_s,
            "em_min": product.low_nm * 1e-9,
            "em_max": product.high_nm * 1e-9,
            "o_ucd": "phot.flux",
            "facility_name": "Simulation",
            "instrument_name": product.instrument,
            "obs_title": f"{product.collection} {product.name}",
            "s_pixel_scale": scale,
        }
        if self.links == "datalink" and not product.access_url:
            row |= {"access_url": f"{self.url}/datalink?ID={quote(product.did, safe='')}", "access_format": _DATALINK}
        row |= product.more or {}
        return [row[field[0]] for field in OBSCORE]

    # ------------------------------------------------------------------------------------------------ links and files

    def _datalink(self, query: Mapping[str, str]) -> Answer:
        product = self.products.get(query.get("ID", ""))
        if product is None:
            row = (query.get("ID", ""), None, None, "NotFoundFault: no such product", "#this", None, None, None)
            return _votable(_LINKS, [row], kind=_DATALINK)
        size = product.path.stat().st_size
        whole = product.access_url or f"{self.url}/data/{product.name}"
        rows = [(product.did, whole, None, None, "#this", "the whole image", "application/fits", size)]
        if not self.soda:
            return _votable(_LINKS, rows, kind=_DATALINK)
        rows.append((product.did, None, "soda", None, "#cutout", "cutouts", "application/fits", None))
        return _votable(_LINKS, rows, self._descriptor("soda", product), kind=_DATALINK)

    def _descriptor(self, kind: str, product: VoProduct | None = None) -> str:
        if kind == "datalink":
            identifier, standard, url = "links", "ivo://ivoa.net/std/DataLink#links-1.1", f"{self.url}/datalink"
            inputs = '<PARAM name="ID" datatype="char" arraysize="*" value="" ref="obs_publisher_did"/>'
        else:
            identifier, standard = "soda", "ivo://ivoa.net/std/SODA#sync-1.0"
            url = self.soda_url or f"{self.url}/soda/sync"
            did = product.did if product else ""
            inputs = (
                f'<PARAM name="ID" datatype="char" arraysize="*" ucd="meta.id;meta.main" value={quoteattr(did)}/>'
                '<PARAM name="CIRCLE" datatype="double" arraysize="3" xtype="circle" unit="deg" '
                'ucd="phys.angArea;obs" value=""/>'
                '<PARAM name="POS" datatype="char" arraysize="*" ucd="phys.angArea;obs" value=""/>'
            )
        return (
            f'<RESOURCE ID="{identifier}" type="meta" utype="adhoc:service">'
            f'<PARAM name="standardID" datatype="char" arraysize="*" value="{standard}"/>'
            f'<PARAM name="accessURL" datatype="char" arraysize="*" value={quoteattr(url)}/>'
            f'<GROUP name="inputParams">{inputs}</GROUP></RESOURCE>'
        )

    def _soda(self, query: Mapping[str, str], asked: Asked) -> Answer:
        product = self.products.get(query.get("ID", ""))
        circle = query.get("CIRCLE") or query.get("POS", "").removeprefix("CIRCLE ")
        try:
            ra, dec, radius = (float(word) for word in circle.split())
        except ValueError:
            return Answer(b"UsageFault: CIRCLE is three numbers", "text/plain", 400)
        if product is None:
            return Answer(b"NotFoundFault: no such product", "text/plain", 404)
        product = self._other(product, asked)
        with quiet(), fits.open(product.path) as hdulist:
            hdu = hdulist[product.hdu]
            wcs = WCS(hdu.header)
            side = 2 * int(np.ceil(radius / float(proj_plane_pixel_scales(wcs)[0]))) + 1
            try:
                cut = Cutout2D(hdu.data, wcs.world_to_pixel_values(ra, dec), side, wcs=wcs, mode="trim")
            except NoOverlapError:
                return Answer(b"", "text/plain", 204)  # SODA 1.0: no content
            header = hdu.header.copy()
        for key, shift in zip(("CRPIX1", "CRPIX2"), cut.origin_original, strict=True):
            header[key] -= shift
        if self.due("wcs off", asked):
            header["CRVAL1"] += 0.02
        stream = io.BytesIO()
        fits.PrimaryHDU(cut.data, header).writeto(stream)
        return Answer(stream.getvalue(), "application/fits")


# -------------------------------------------------------------------------------------------------------------- areas


def _number(word: str) -> str:
    return repr(float(word))


def _sky(ra: float, dec: float) -> np.ndarray:
    ra, dec = np.radians(ra), np.radians(dec)
    return np.array([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])


def _contains(inner: str, outer: str) -> int:
    """Whether a POINT lies in a CIRCLE."""
    _, ra, dec = inner.split()
    shape, *numbers = outer.split()
    a, b, radius = map(float, numbers)
    return int(
        shape == "CIRCLE" and np.arccos(np.clip(_sky(float(ra), float(dec)) @ _sky(a, b), -1, 1)) <= np.radians(radius)
    )


def _intersects(circle: str, region: str | None) -> int:
    """Whether a circle meets a small convex polygon, on its tangent plane."""
    if not region:
        return 0
    ra, dec, radius = map(float, circle.split()[1:])
    numbers = np.array(region.split()[1:], float).reshape(-1, 2)
    offsets = np.stack([(numbers[:, 0] - ra + 180) % 360 - 180, numbers[:, 1] - dec], axis=1)
    offsets[:, 0] *= np.cos(np.radians(dec))
    following = np.roll(offsets, -1, axis=0)
    sides = following - offsets
    turns = sides[:, 0] * -offsets[:, 1] - sides[:, 1] * -offsets[:, 0]
    if (turns >= 0).all() or (turns <= 0).all():
        return 1  # the centre is inside
    part = np.clip(-(offsets * sides).sum(axis=1) / (sides**2).sum(axis=1), 0, 1)
    nearest = offsets + part[:, None] * sides
    return int(np.hypot(*nearest.T).min() <= radius)


# ---------------------------------------------------------------------------------------------------------- documents


def _xml(text: str) -> Answer:
    return Answer(text.encode(), "text/xml")


def _votable(
    fields: Iterable[Sequence[str]],
    rows: Iterable[Sequence[Any]],
    service: str = "",
    *,
    error: str = "",
    overflow: bool = False,
    status: int = 200,
    kind: str = _VOTABLE,
) -> Answer:
    word = "ERROR" if error else "OK"
    head, table = [], ""
    for name, datatype, unit, ucd, utype in fields:
        more = "".join(
            f" {key}={quoteattr(value)}"
            for key, value in (
                ("arraysize", "*" if datatype == "char" else ""),
                ("unit", unit if name != "s_region" else ""),
                ("ucd", ucd),
                ("utype", utype),
                ("xtype", "polygon" if name == "s_region" else ""),
            )
            if value
        )
        null = '<VALUES null="-1"/>' if datatype in ("int", "long") else ""
        head.append(f'<FIELD ID="{name}" name="{name}" datatype="{datatype}"{more}>{null}</FIELD>')
    if head:
        types = [field[1] for field in fields]
        body = "".join(
            f"<TR>{''.join(_cell(value, datatype) for value, datatype in zip(row, types, strict=True))}</TR>"
            for row in rows
        )
        table = f"<TABLE>{''.join(head)}<DATA><TABLEDATA>{body}</TABLEDATA></DATA></TABLE>"
    after = '<INFO name="QUERY_STATUS" value="OVERFLOW"/>' if overflow else ""
    text = (
        '<?xml version="1.0" encoding="UTF-8"?><VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3">'
        f'<RESOURCE type="results"><INFO name="QUERY_STATUS" value="{word}">{escape(error)}</INFO>{table}{after}'
        f"</RESOURCE>{service}</VOTABLE>"
    )
    return Answer(text.encode(), kind, status)


def _cell(value: Any, datatype: str) -> str:
    if value is None:
        return "<TD></TD>" if datatype == "char" else "<TD>NaN</TD>" if datatype == "double" else "<TD>-1</TD>"
    return f"<TD>{escape(repr(value) if isinstance(value, float) else str(value))}</TD>"


_NAMES = (
    'xmlns:vosi="http://www.ivoa.net/xml/VOSICapabilities/v1.0" xmlns:vr="http://www.ivoa.net/xml/VOResource/v1.0" '
    'xmlns:vs="http://www.ivoa.net/xml/VODataService/v1.1" xmlns:tr="http://www.ivoa.net/xml/TAPRegExt/v1.0" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
)
_AVAILABILITY = (
    '<vosi:availability xmlns:vosi="http://www.ivoa.net/xml/VOSIAvailability/v1.0">'
    "<vosi:available>true</vosi:available></vosi:availability>"
)


def _capability(standard: str, url: str, use: str = "full", kind: str = "", inside: str = "") -> str:
    return (
        f'<capability standardID="{standard}"{kind}><interface xsi:type="vs:ParamHTTP" role="std" version="1.0">'
        f'<accessURL use="{use}">{url}</accessURL></interface>{inside}</capability>'
    )


def _capabilities(url: str, service: str) -> str:
    parts = [
        _capability(f"ivo://ivoa.net/std/VOSI#{name}", f"{url}/{service}/{name}")
        for name in ("capabilities", "availability")
    ]
    if service == "sia2":
        parts.append(_capability("ivo://ivoa.net/std/SIA#query-2.0", f"{url}/sia2/query", "base"))
    else:
        parts.append(_capability("ivo://ivoa.net/std/VOSI#tables", f"{url}/tap/tables"))
        language = (
            "<language><name>ADQL</name><version ivo-id='ivo://ivoa.net/std/ADQL#v2.0'>2.0</version>"
            "<description>ADQL 2.0</description></language>"
            "<outputFormat ivo-id='ivo://ivoa.net/std/TAPRegExt#output-votable-td'><mime>text/xml</mime></outputFormat>"
        )
        parts.append(
            _capability("ivo://ivoa.net/std/TAP", f"{url}/tap", "base", ' xsi:type="tr:TableAccess"', language)
        )
    return f"<vosi:capabilities {_NAMES}>{''.join(parts)}</vosi:capabilities>"


def _tables() -> str:
    columns = "".join(
        f"<column><name>{name}</name><dataType xsi:type='vs:VOTableType'>{datatype}</dataType></column>"
        for name, datatype, *_ in OBSCORE
    )
    return (
        f'<vosi:tableset xmlns:vosi="http://www.ivoa.net/xml/VOSITables/v1.0" {_NAMES.split(" ", 1)[1]}>'
        f"<schema><name>ivoa</name><table><name>ivoa.obscore</name>{columns}</table></schema></vosi:tableset>"
    )
