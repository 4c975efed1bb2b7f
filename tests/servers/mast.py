"""MAST: cutouts of HAP mosaics, the portal that lists observations and products, and the paths of files in the cloud.

Beside the faults of every server it knows ``executing`` (a query that takes its time), ``stated error``, ``duplicate``
(products listed twice, cutouts sent twice), ``wrong band`` (another filter in the header than in the name) and ``off``
(cutouts of another place).
"""

import io
import json
import zipfile

import numpy as np
from astropy.io import fits
from astropy.nddata import Cutout2D, NoOverlapError

from astroanomaly.cutting import quiet
from servers.base import NOT_FOUND, Answer, Server

_OBSERVATION_FIELDS = {
    "dataproduct_type": "string",
    "calib_level": "int",
    "obs_collection": "string",
    "obs_id": "string",
    "target_name": "string",
    "s_ra": "float",
    "s_dec": "float",
    "t_min": "float",
    "t_max": "float",
    "t_exptime": "float",
    "filters": "string",
    "instrument_name": "string",
    "proposal_id": "string",
    "project": "string",
    "s_region": "string",
    "intentType": "string",
    "obsid": "string",
    "distance": "float",
}
_PRODUCT_FIELDS = {
    "obsID": "string",
    "obs_collection": "string",
    "dataproduct_type": "string",
    "obs_id": "string",
    "description": "string",
    "type": "string",
    "dataURI": "string",
    "productType": "string",
    "productGroupDescription": "string",
    "productSubGroupDescription": "string",
    "project": "string",
    "productFilename": "string",
    "size": "int",
}


class Mast(Server):
    """``products`` are listed by the portal, ``mosaics`` are cut."""

    def __init__(self, products=(), mosaics=(), rows_per_page=50_000):
        super().__init__()
        self.products, self.mosaics, self.rows_per_page = list(products), list(mosaics), rows_per_page
        self.private = set()  # addresses that are not in the public bucket

    def answer(self, asked):
        if self.due("stated error", asked):
            return _json({"status": "ERROR", "msg": "The database is out of order.", "data": [], "fields": []})
        if asked.path == "/hapcut/api/v0.1/astrocut":
            return self.cut(asked)
        if asked.path == "/portal/Mashup/Mashup.asmx/columnsconfig":
            return _json(_columns(asked.get("colConfigId")))
        if asked.path == "/api/v0/invoke":
            return self.invoke(asked)
        if asked.path == "/api/v0.1/Download/file":
            found = [product for product in self.products if product.uri == asked.get("uri")]
            return Answer(found[0].content, "application/fits") if found else NOT_FOUND
        if asked.path == "/api/v0.1/path_lookup/":
            return _json({uri: self.path(uri) for uri in asked.query.get("uri", ())})
        return NOT_FOUND

    # ------------------------------------------------------------------------------------------------------- cutouts

    def cut(self, asked):
        wanted = json.loads(asked.body)
        ra, dec = wanted["ra"], wanted["dec"]
        if self.due("off", asked):
            dec += 0.002
        height, width = wanted["y"] * 3600, wanted["x"] * 3600
        if wanted["units"] != "d":
            return Answer(b'{"error": "bad units"}', "application/json", 400)
        wrong = self.due("wrong band", asked)
        content = io.BytesIO()
        count = 0
        with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
            for product in self.mosaics:
                cutout = _cutout(product, ra, dec, (height, width), wrong)
                if cutout is None:
                    continue
                name = f"hst_cutout_{product.name.removeprefix('hst_').replace('_all_drc', '')}-ra{int(ra)}.fits"
                archive.writestr(name, cutout)
                count += 1
                if count == 1 and self.due("duplicate", asked):
                    archive.writestr("again_" + name, cutout)
        if not count:
            return _json({"msg": "No HAP image covers these coordinates.", "results": []})
        body = content.getvalue()
        if self.due("truncated member", asked):
            body = _with_half_a_file(body)
        return Answer(body, "application/zip")

    # -------------------------------------------------------------------------------------------------------- portal

    def invoke(self, asked):
        if self.due("executing", asked):
            return _json({"status": "EXECUTING", "data": [], "fields": []})
        if self.due("odd table", asked):
            return _json({"status": "COMPLETE", "data": [{"obsid": {"a": 1}}], "fields": [1, None]})
        request = json.loads(asked.get("request"))
        if request["service"] == "Mast.Caom.Filtered.Position":
            ra, dec, radius = (float(word) for word in request["params"]["position"].split(","))
            rows = [_observation(number, product) for number, product in enumerate(self.products) if product.listed]
            rows = [row for row in rows if _near(row, ra, dec, radius)]
            for condition in request["params"]["filters"]:
                rows = [row for row in rows if _fits(row[condition["paramName"]], condition)]
            fields = _OBSERVATION_FIELDS
        elif request["service"] == "Mast.Caom.Products":
            numbers = {int(word) for word in request["params"]["obsid"].split(",")}
            rows = [row for number in sorted(numbers) for row in _files(number, self.products[number - 1000])]
            fields = _PRODUCT_FIELDS
            if self.due("duplicate", asked):
                rows = rows + rows
        else:
            return _json({"status": "ERROR", "msg": f"no service {request['service']}", "data": [], "fields": []})
        page, size = request["page"], min(request["pagesize"], self.rows_per_page)
        pages = max(1, -(-len(rows) // size))
        return _json(
            {
                "status": "COMPLETE",
                "msg": "",
                "data": rows[(page - 1) * size : page * size],
                "fields": [{"name": name, "type": kind} for name, kind in fields.items()],
                "paging": {"page": page, "pageSize": size, "pagesFiltered": pages, "rows": len(rows)},
            }
        )

    def path(self, uri):
        found = next((item for item in self.products if item.uri == uri and uri not in self.private), None)
        return {"status_code": 200 if found else 404, "path": f"/{found.key}" if found else None}


def _json(value):
    return Answer(json.dumps(value).encode(), "application/json")


def _columns(name):
    if name == "Mast.Caom.Cone":
        fields = {**_OBSERVATION_FIELDS}
    elif name in ("Mast.Caom.Products", "Mast.Caom.Filtered.Position"):
        fields = {**_PRODUCT_FIELDS, **_OBSERVATION_FIELDS}
    else:
        return {}
    kinds = {"string": "char", "int": "int", "float": "double"}
    columns = {field: {"text": field, "vot.datatype": kinds[kind]} for field, kind in fields.items()}
    columns["filters"]["separator"] = ";"
    return columns


def _observation(number, product):
    ra, dec = product.center
    return {
        "dataproduct_type": "image",
        "calib_level": 3,
        "obs_collection": product.project if product.project in ("HLA", "JWST") else "HST",
        "obs_id": product.dataset,
        "target_name": "COSMOS",
        "s_ra": ra,
        "s_dec": dec,
        "t_min": product.start,
        "t_max": product.start + 0.1,
        "t_exptime": product.exptime,
        "filters": f"CLEAR1L;{product.filter}" if product.project == "HST" else product.filter,
        "instrument_name": product.instrument,
        "proposal_id": product.proposal,
        "project": product.project,
        "s_region": product.region,
        "intentType": "science",
        "obsid": 1000 + number,
        "distance": 0.0,
    }


def _files(number, product):
    """The drizzled file, a preview, and an exposure of the same observation."""
    common = {
        "obsID": number,
        "obs_collection": "HST",
        "dataproduct_type": "image",
        "description": "",
        "productGroupDescription": None,
        "project": product.project,
    }
    size = len(product.content)
    kind = product.name.rsplit("_", 1)[-1].upper()
    for file, group, sort, obs_id in (
        (product.file, kind, "SCIENCE", product.dataset),
        (f"{product.name}.jpg", "", "PREVIEW", product.dataset),
        (f"{product.dataset}xq_flc.fits", "FLC", "SCIENCE", f"{product.dataset}xq"),
    ):
        yield {
            **common,
            "obs_id": obs_id,
            "type": "S",
            "dataURI": f"mast:{'JWST' if product.project == 'JWST' else 'HST'}/product/{file}",
            "productType": sort,
            "productSubGroupDescription": group or None,
            "productFilename": file,
            "size": size,
        }


def _near(row, ra, dec, radius):
    distance = np.hypot((row["s_ra"] - ra) * np.cos(np.radians(dec)), row["s_dec"] - dec)
    return distance < radius + 0.01


def _fits(value, condition):
    if condition["values"] and isinstance(condition["values"][0], dict):
        return condition["values"][0]["min"] <= value <= condition["values"][0]["max"]
    parts = str(value).split(condition["separator"]) if "separator" in condition else [str(value)]
    return any(part in condition["values"] for part in parts)


def _cutout(product, ra, dec, size_arcsec, wrong):
    """One product's cutout as MAST makes it: the primary header of the product, a SCI and a WHT extension."""
    x, y = product.wcs.all_world2pix(ra, dec, 0)
    shape = tuple(int(np.ceil(side / product.scale)) for side in size_arcsec)
    hdus = [fits.PrimaryHDU(header=product.hdulist[0].header.copy())]
    hdus[0].header["ORIG_FLE"] = product.file
    hdus[0].header["FILENAME"] = f"hst_cutout_{product.file}"
    if wrong and "FILTER2" in hdus[0].header:
        hdus[0].header["FILTER2"] = "F475W"
    for name in ("SCI", "WHT"):
        try:
            with quiet():
                cut = Cutout2D(
                    product.hdulist[name].data,
                    (float(x), float(y)),
                    shape,
                    wcs=product.wcs,
                    mode="partial",
                    fill_value=np.nan if name == "SCI" else 0,
                )
        except NoOverlapError:
            return None
        header = product.hdulist[name].header.copy()
        with quiet():
            header.update(cut.wcs.to_header())
        for key in ("CD1_1", "CD1_2", "CD2_1", "CD2_2"):
            del header[key]
        header["EXTNAME"] = f"{name}_CUTOUT_{product.filter}"
        hdus.append(fits.ImageHDU(cut.data, header))
    buffer = io.BytesIO()
    fits.HDUList(hdus).writeto(buffer)
    return buffer.getvalue()


def _with_half_a_file(body):
    """A whole zip in which the last file is cut short."""
    content = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(body)) as old, zipfile.ZipFile(content, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, data[: len(data) * 2 // 5] if name == old.namelist()[-1] else data)
    return content.getvalue()
