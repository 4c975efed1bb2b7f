"""ESA's Euclid archive: TAP with asynchronous jobs, cutouts cut from mosaics on request, login."""

import io
import itertools
import re
import sqlite3
import ssl
import tarfile

import numpy as np
from astropy.io import fits
from astropy.io.votable import from_table
from astropy.io.votable.tree import Info
from astropy.table import Table, vstack
from astropy.wcs import WCS

from astroanomaly.cutting import quiet
from servers.base import NOT_FOUND, Answer, Server
from servers.mer import listing, query, schema


class EuclidServer(Server):
    """Answers as eas.esac.esa.int does.

    ``sleepy`` is how often a job says EXECUTING before it is done; ``members_only`` refuses cutouts without login;
    ``datalabs`` is the folder that stands for the mount of ESA Datalabs; ``most_rows`` is a limit it does not tell of;
    after ``break_after`` cutouts it gives no more; ``certificate`` makes it speak TLS, which the real one always does;
    ``mosaic_tables`` and ``catalogues`` are what its tables are called.
    """

    def __init__(self, survey, certificate=None):
        super().__init__()
        self.scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
            self.scheme = "https"
        self.survey = survey
        self.sleepy = 1
        self.members_only = False
        self.datalabs = "/data/euclid_q1"
        self.users = {"reader": "open sesame"}
        self.most_rows = None
        self.mosaic_tables = ("sedm.mosaic_product",)
        self.catalogues = ("catalogue.mer_catalogue",)
        self.break_after = None
        self.polls = {}
        self.jobs = {}
        self.cutouts = []
        self.logins = []
        self._numbers = itertools.count(1700000000000)

    @property
    def url(self):
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def tables(self):
        rows = []
        for product in self.survey.products:
            rows.append(
                {
                    "file_name": product.path.name,
                    "file_path": f"/euclid/repository/MER/{product.tile}/{product.instrument}",
                    "datalabs_path": f"{self.datalabs}/{product.tile}/{product.instrument}",
                    "mosaic_product_oid": product.oid,
                    "tile_index": product.tile,
                    "instrument_name": product.instrument,
                    "filter_name": product.filter,
                    "product_type": "DpdMerBksMosaic",
                    "ra": product.ra,
                    "dec": product.dec,
                    "fov": product.polygon,
                }
            )
        catalogue = self.survey.catalogue
        tables = {name: Table(rows) for name in self.mosaic_tables}
        for number, name in enumerate(self.catalogues):  # several share the objects, and some are in two of them
            step = max(1, len(catalogue) // len(self.catalogues))
            tables[name] = catalogue[number * step : None if name == self.catalogues[-1] else (number + 1) * step + 2]
        columns = [schema(name, catalogue) for name in self.catalogues]
        return {**tables, "tap_schema.columns": vstack(columns), "tap_schema.tables": listing(*tables)}

    def answer(self, asked):
        if asked.path == "/tap-server/tap/notification":
            return Answer(b"", "text/plain")
        if asked.path.startswith("/tap-server/tap/async"):
            return self._job(asked)
        if asked.path == "/sas-cutout/cutout":
            return self._cutout(asked)
        if asked.path in ("/tap-server/login", "/sas-dd/login", "/sas-cutout/login", "/sas-sia/login"):
            self.logins.append(asked.path)
            if self.users.get(asked.get("username")) != asked.get("password"):
                return _refuse(401, "Invalid login")
            return Answer(b"OK", "text/plain", 200, {"Set-Cookie": "JSESSIONID=5EC2E7; Path=/; Secure; HttpOnly"})
        return NOT_FOUND

    def _job(self, asked):
        match = re.fullmatch(r"/tap-server/tap/async(?:/(\w+))?(?:/(phase|error|results/result))?", asked.path)
        job, part = match.groups() if match else (None, None)
        if job is None:
            job = f"{next(self._numbers)}O"
            self.jobs[job] = self._run(asked)
            self.polls[job] = 0
            return Answer(b"", "text/plain", 303, {"Location": f"{self.url}/tap-server/tap/async/{job}"})
        table, error = self.jobs[job]
        if part == "phase":
            self.polls[job] += 1
            phase = "EXECUTING" if self.polls[job] <= self.sleepy else "ERROR" if error else "COMPLETED"
            return Answer(phase.encode(), "text/plain")
        if part == "error":
            return Answer(votable(None, error), "application/x-votable+xml")
        return Answer(votable(table), "application/x-votable+xml")

    def _run(self, asked):
        """Return the table, or the text of the error."""
        if self.due("job error", asked):
            return None, "Cannot parse query: the archive is being rebuilt"
        try:
            table = query(self.tables(), asked.get("QUERY"))
        except sqlite3.Error as error:
            return None, f"Cannot parse query: {error}"
        if self.due("duplicate products", asked) and "file_name" in table.colnames and len(table):
            table = Table(np.concatenate([table.as_array(), table.as_array()[::-1]]))
        return table[: self.most_rows], ""

    def _cutout(self, asked):
        if self.members_only and "JSESSIONID=5EC2E7" not in asked.headers.get("Cookie", ""):
            return _refuse(403, "User not authorised")
        if self.due("session ends", asked):
            return _refuse(401, "Session expired")
        if self.break_after is not None and len(self.cutouts) >= self.break_after:
            return _refuse(503, "Out of service")
        product = self.survey.named(asked.get("FILEPATH").rpartition("/")[2])
        _, ra, dec, radius = asked.get("POS").split(",")
        said = asked.get("COLLECTION"), asked.get("OBSID")  # by astroquery before 0.4.12
        if product is None or said not in (("", ""), (product.instrument, str(product.tile))):
            return _refuse(500, "File not found")
        if self.due("wrong band", asked):
            product = self.survey.find(product.tile, "VIS" if product.filter == "NIR_H" else "NIR_H")
        self.cutouts.append((asked.get("FILEPATH"), float(ra), float(dec)))
        content = cutout(
            product.path,
            float(ra),
            float(dec),
            float(radius),
            off=0.1 * self.due("wcs off", asked) + 2e-4 * self.due("wcs near", asked),
        )
        if content is None:
            return _refuse(500, "The cutout region is outside the image")
        if self.due("hostile tar", asked):
            return Answer(hostile_tar(content), "application/x-tar")
        return Answer(content, "application/fits")


def hostile_tar(content):
    """Pack a cutout together with files for places that are none of the archive's business."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as packed:
        for name in ("cutout.fits", "../../../../evil.fits"):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def cutout(path, ra, dec, radius, *, off=0.0):
    """Cut the box around a circle out of a mosaic, as a FITS file; None where they have nothing in common.

    The WCS is wrong by ``off`` degrees.
    """
    with quiet(), fits.open(path) as hdus:
        header, pixels = hdus[0].header.copy(), hdus[0].data
        wcs = WCS(header)
        (x, y), half = wcs.wcs_world2pix([[ra, dec]], 0)[0], radius / abs(wcs.pixel_scale_matrix[1, 1])
        left, bottom = max(0, int(np.floor(x - half))), max(0, int(np.floor(y - half)))
        right, top = min(pixels.shape[1], int(np.ceil(x + half))), min(pixels.shape[0], int(np.ceil(y + half)))
        if left >= right or bottom >= top:
            return None
        header["CRPIX1"] -= left
        header["CRPIX2"] -= bottom
        header["CRVAL2"] += off
        buffer = io.BytesIO()
        fits.writeto(buffer, np.array(pixels[bottom:top, left:right]), header)
    return buffer.getvalue()


def votable(table, error=""):
    """Write a VOTable; with an error instead of a table if there is one."""
    tree = from_table(table if table is not None else Table({"none": [0]}))
    resource = tree.resources[0]
    resource.type = "results"
    if table is None:
        resource.tables.clear()
    status = Info(name="QUERY_STATUS", value="ERROR" if error else "OK")
    if error:
        status.content = error
    resource.infos.append(status)
    buffer = io.BytesIO()
    tree.to_xml(buffer, _debug_python_based_parser=True)  # the fast writer writes past its buffer: it can crash
    return buffer.getvalue()


def _refuse(status, words):
    page = f"<html><body><h1>Error</h1><ul><li><b>Message: </b>{words}</li></ul></body></html>"
    return Answer(page.encode(), "text/html", status)
