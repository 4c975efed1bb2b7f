"""The ESA Hubble Science Archive: a TAP server that really runs the queries (on SQLite), and the server of files.

As astroquery asks it answers in ``FORMAT=votable_plain``. Beside the faults of every server it knows ``duplicate`` (a
product listed twice), ``missing column`` and ``wrong band`` (another filter in the file than in the table).
"""

import io
import re
import sqlite3
import threading

import numpy as np
from astropy.io import fits
from astropy.io.votable import from_table
from astropy.table import Table
from astropy.time import Time

from servers.base import NOT_FOUND, Answer, Server

_CAPABILITIES = """<?xml version="1.0" encoding="UTF-8"?>
<vosi:capabilities xmlns:vosi="http://www.ivoa.net/xml/VOSICapabilities/v1.0"
 xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:vod="http://www.ivoa.net/xml/VODataService/v1.1"
 xmlns:vr="http://www.ivoa.net/xml/VOResource/v1.0" xmlns:tr="http://www.ivoa.net/xml/TAPRegExt/v1.0">
<capability standardID="ivo://ivoa.net/std/TAP" xsi:type="tr:TableAccess">
<interface role="std" xsi:type="vod:ParamHTTP"><accessURL use="base">@@</accessURL></interface>
<language><name>ADQL</name><version ivo-id="ivo://ivoa.net/std/ADQL#v2.0">2.0</version></language>
<outputFormat><mime>application/x-votable+xml</mime><alias>votable_plain</alias></outputFormat>
</capability></vosi:capabilities>"""


class Ehst(Server):
    def __init__(self, products=(), most_rows=2000):
        super().__init__()
        self.products, self.most_rows = list(products), most_rows
        self.jobs = {}
        self._database = sqlite3.connect(":memory:", check_same_thread=False)
        self._alone = threading.Lock()
        _fill(self._database, self.products)

    def stop(self):
        super().stop()
        self._database.close()

    def mount(self, root, packed=True):
        """Lay the files out as ESA Datalabs does below ``/data/user``."""
        for product in self.products:
            first = product.dataset[0]
            place = root / f"hub_hstdata_{first}" / first / product.dataset[1:4]
            place.mkdir(parents=True, exist_ok=True)
            name = f"{product.file}.gz" if packed else product.file
            (place / name).write_bytes(product.packed if packed else product.content)

    @property
    def settings(self):
        """Values of `astroquery.esa.hubble.conf` that lead here."""
        return {
            "EHST_DOMAIN_SERVER": f"{self.url}/tap-server/",
            "EHST_TAP_SERVER": f"{self.url}/tap-server/tap",
            "EHST_DATA_SERVER": f"{self.url}/tap-server/data?",
        }

    def answer(self, asked):
        path = asked.path.removeprefix("/tap-server/")
        if path == "tap/capabilities":
            return Answer(_CAPABILITIES.replace("@@", f"{self.url}/tap-server/tap").encode(), "text/xml")
        if path == "tap/sync":
            return self.table(asked.get("QUERY"), asked, self.most_rows)
        if path == "tap/async" and asked.method == "POST":
            number = str(len(self.jobs) + 1)
            self.jobs[number] = {"query": asked.get("QUERY"), "phase": "PENDING", "polls": 0}
            return Answer(b"", "text/plain", 303, {"Location": f"{self.url}/tap-server/tap/async/{number}"})
        job = re.fullmatch(r"tap/async/(\d+)(/.*)?", path)
        if job and job.group(1) in self.jobs:
            return self.job(self.jobs[job.group(1)], job.group(1), job.group(2) or "", asked)
        if path == "data":
            return self.file(asked)
        return NOT_FOUND

    def job(self, job, number, part, asked):
        if asked.method == "DELETE":
            return Answer(b"", "text/plain", 303, {"Location": f"{self.url}/tap-server/tap/async"})
        if part == "/phase" and asked.method == "POST":
            job["phase"] = "EXECUTING"
            return Answer(b"", "text/plain", 303, {"Location": f"{self.url}/tap-server/tap/async/{number}"})
        if part.startswith("/results"):
            return self.table(job["query"], asked, None)
        if job["phase"] == "EXECUTING":
            job["polls"] += 1
            if job["polls"] > 1:
                job["phase"] = "COMPLETED"
        if part == "/phase":
            return Answer(job["phase"].encode(), "text/plain")
        results = f'<uws:result id="result" xlink:href="{self.url}/tap-server/tap/async/{number}/results/result"/>'
        body = (
            '<?xml version="1.0" encoding="UTF-8"?><uws:job xmlns:uws="http://www.ivoa.net/xml/UWS/v1.0" '
            'xmlns:xlink="http://www.w3.org/1999/xlink" version="1.1">'
            f"<uws:jobId>{number}</uws:jobId><uws:phase>{job['phase']}</uws:phase>"
            f"<uws:results>{results if job['phase'] == 'COMPLETED' else ''}</uws:results></uws:job>"
        )
        return Answer(body.encode(), "text/xml")

    def table(self, query, asked, most):
        if asked.get("FORMAT") not in ("votable_plain", ""):  # the latter from astroquery 0.4.12 on
            return Answer(b"<html><body>FORMAT must be votable_plain</body></html>", "text/html", 400)
        with self._alone:
            try:
                cursor = self._database.execute(query)
            except sqlite3.Error as error:
                return Answer(_error(str(error)), "application/x-votable+xml", 400)
            names = [item[0] for item in cursor.description]
            rows = cursor.fetchall()
        if "archive_class" in query and self.due("duplicate", asked):
            rows = rows + rows
        table = Table(rows=rows[:most], names=names) if rows else Table(names=names, dtype=["U8"] * len(names))
        if self.due("missing column", asked):
            table.rename_column(names[0], "something_else")
        votable = from_table(table)
        votable.set_all_tables_format("tabledata")
        buffer = io.BytesIO()
        votable.to_xml(buffer)
        body = buffer.getvalue()
        status = b'<RESOURCE type="results"><INFO name="QUERY_STATUS" value="OK"/>'
        return Answer(re.sub(rb'<RESOURCE type="results">', status, body, count=1), "application/x-votable+xml")

    def file(self, asked):
        product = next((item for item in self.products if item.file == asked.get("ARTIFACTID")), None)
        if product is None or asked.get("RETRIEVAL_TYPE") != "PRODUCT":
            return NOT_FOUND
        body = product.packed
        if self.due("wrong band", asked):
            hdulist = fits.HDUList([hdu.copy() for hdu in product.hdulist])
            hdulist[0].header["FILTER2"] = "F475W"
            buffer = io.BytesIO()
            hdulist.writeto(buffer)
            body = buffer.getvalue()
        return Answer(body, "application/octet-stream", 200, {"Content-Disposition": f'filename="{product.file}.gz"'})


def _error(text):
    return (
        '<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE type="results">'
        f'<INFO name="QUERY_STATUS" value="ERROR">{text}</INFO></RESOURCE></VOTABLE>'
    ).encode()


def _fill(database, products):
    """Make the tables that astroquery asks for, and the functions of ADQL that it uses."""
    database.execute("ATTACH ':memory:' AS ehst")
    database.execute(
        "CREATE TABLE ehst.archive (observation_id, collection, calibration_level, data_product_type, intent, "
        "instrument_name, filter, proposal_id, exposure_duration, start_time, ra, dec, fov_size)"
    )
    database.execute("CREATE TABLE ehst.observation (observation_id, instrument_name)")
    database.execute("CREATE TABLE ehst.plane (plane_id, calibration_level)")
    database.execute(
        "CREATE TABLE ehst.artifact (artifact_id, file_name, plane_id, archive_class, size_uncompr, observation_id, "
        "file_path)"
    )
    for number, product in enumerate(products):
        start = Time(product.start, format="mjd").iso
        size = float(np.hypot(*product.shape)) * product.scale / 3600
        row = (product.dataset, product.project, 3, "image", "science", product.instrument, product.filter)
        row += (product.proposal, product.exptime, start, *product.center, size)
        database.execute(f"INSERT INTO ehst.archive VALUES ({','.join('?' * len(row))})", row)
        database.execute("INSERT INTO ehst.observation VALUES (?, ?)", (product.dataset, product.instrument))
        database.execute("INSERT INTO ehst.plane VALUES (?, ?)", (number, 3))
        for file, kind in ((product.file, "science"), (f"{product.name}.jpg", "preview")):
            row = (file, f"{file}.gz", number, kind, len(product.content), product.dataset)
            place = f"/hstdata/hstdata_{product.dataset[0]}/{product.dataset[0]}/{product.dataset[1:4]}"
            database.execute("INSERT INTO ehst.artifact VALUES (?, ?, ?, ?, ?, ?, ?)", (*row, place))
    database.create_function("POINT", 3, lambda frame, ra, dec: f"{ra} {dec}")
    database.create_function("CIRCLE", 4, lambda frame, ra, dec, radius: f"{ra} {dec} {radius}")
    database.create_function("CONTAINS", 2, _contains)
    database.create_function("pg_size_pretty", 1, lambda nbytes: f"{nbytes // 1024} kB")
    database.commit()


def _contains(point, circle):
    ra, dec = (float(word) for word in point.split())
    center_ra, center_dec, radius = (float(word) for word in circle.split())
    distance = np.hypot((ra - center_ra) * np.cos(np.radians(center_dec)), dec - center_dec)
    return int(distance <= radius)
