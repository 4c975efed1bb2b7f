"""SIMBAD, NED and Gaia as one TAP server: uploads in a multipart form, ADQL run by SQLite, VOTables as answers.

``/simbad/sim-tap``, ``/tap`` (NED, without uploads) and ``/tap-server/tap`` (Gaia) are its services, and SkyBoT, whose
bodies move in straight lines.
"""

import io
import sqlite3
from email.parser import BytesParser
from email.policy import HTTP
from xml.sax.saxutils import escape, quoteattr

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord, angular_separation
from astropy.io.votable import parse

from .base import NOT_FOUND, Answer, Server

__all__ = ["CrossmatchServer"]

_SERVICES = {  # path -> schema, table, columns
    "/simbad/sim-tap/sync": ("main", "basic", {
        "main_id": "char", "ra": "double", "dec": "double", "otype": "char", "coo_bibcode": "char",
        "rvz_redshift": "double", "nbref": "int", "oid": "long",
    }),
    "/tap/sync": ("NEDTAP", "objdir", {
        "prefname": "char", "ra": "double", "dec": "double", "prefphytype": "char", "z": "double",
    }),
    "/tap-server/tap/sync": ("gaiadr3", "gaia_source", {
        "designation": "char", "ra": "double", "dec": "double", "parallax": "double", "parallax_error": "double",
        "pmra": "double", "pmra_error": "double", "pmdec": "double", "pmdec_error": "double",
        "phot_g_mean_mag": "double",
    }),
}  # fmt: skip


_SKYBOT = "/webservices/skybot/api/conesearch.php"


class CrossmatchServer(Server):
    """The four services.

    Parameters
    ----------
    simbad, ned, gaia
        Their entries: dictionaries by column.
    skybot
        Bodies: ``name``, ``class``, ``ra`` and ``dec`` (degrees) at ``mjd``, ``dracosdec`` and ``ddec`` (arcsec/h).
    """

    most_rows = 10**6  # that it gives, whatever it is asked for

    def __init__(self, simbad=(), ned=(), gaia=(), skybot=()):
        super().__init__()
        self.bodies = skybot
        self.entries = dict(zip(_SERVICES, (simbad, ned, gaia), strict=True))
        self.uploads = []  # number of positions of each

    @property
    def addresses(self):
        """Address of ``simbad``, ``ned``, ``gaia`` and ``skybot``."""
        return {"skybot": self.url + _SKYBOT} | {
            name: self.url + path.removesuffix("/sync")
            for name, path in zip(("simbad", "ned", "gaia"), _SERVICES, strict=True)
        }

    def answer(self, asked):
        if asked.path == _SKYBOT:
            return Answer(self._bodies(asked), "application/x-votable+xml")
        if asked.path not in _SERVICES:
            return NOT_FOUND
        form = _fields(asked)
        missing = [name for name in ("REQUEST", "LANG", "QUERY") if name not in form]
        if missing or form["LANG"] != b"ADQL" or form["REQUEST"] != b"doQuery":
            return Answer(_error(f"missing: {missing}"), "application/x-votable+xml", 400)
        schema, table, columns = _SERVICES[asked.path]
        try:
            rows, names = self._run(form, schema, table, columns, self.entries[asked.path], asked.path != "/tap/sync")
        except (sqlite3.Error, ValueError) as problem:
            return Answer(_error(str(problem)), "application/x-votable+xml", 400)
        most = min(self.most_rows, int(form.get("MAXREC", b"1000000")))
        state = "OVERFLOW" if len(rows) > most else "OK"
        body = _votable([(name, columns[name]) for name in names], rows[:most], state)
        return Answer(body, "application/x-votable+xml")

    def _bodies(self, asked):
        centre = SkyCoord(float(asked.get("-ra")), float(asked.get("-dec")), unit="deg")
        columns = dict.fromkeys(("num", "name", "ra", "de", "class"), "char")
        columns |= dict.fromkeys(("magV", "errpos", "angdist", "dracosdec", "ddec"), "double")
        rows = []
        for body in self.bodies:
            hours = (float(asked.get("-ep")) - 2400000.5 - body["mjd"]) * 24
            moved = [body.get(rate, 0.0) * hours * u.arcsec for rate in ("dracosdec", "ddec")]
            place = SkyCoord(body["ra"], body["dec"], unit="deg").spherical_offsets_by(*moved)
            apart = place.separation(centre).arcsec
            if apart <= float(asked.get("-rd")) * 3600:
                known = {
                    "num": "-", "ra": place.ra.to_string(u.hourangle, sep=" ", precision=5), "angdist": apart,
                    "de": place.dec.to_string(u.deg, sep=" ", precision=4, alwayssign=True),
                }  # fmt: skip
                rows.append([(body | known).get(name) for name in columns])
        return _votable(list(columns.items()), rows, "OK")

    def _run(self, form, schema, table, columns, entries, takes_uploads):
        base = sqlite3.connect(":memory:")
        try:
            base.create_function("POINT", 3, lambda frame, lon, lat: f"{lon!r} {lat!r}")
            base.create_function("CIRCLE", 4, lambda frame, lon, lat, radius: f"{lon!r} {lat!r} {radius!r}")
            base.create_function("CONTAINS", 2, _contains)
            for name in ("NEDTAP", "gaiadr3", "TAP_UPLOAD"):
                base.execute(f"ATTACH ':memory:' AS {name}")
            base.execute(f"CREATE TABLE {schema}.{table} ({', '.join(columns)})")
            marks = ", ".join("?" * len(columns))
            base.executemany(
                f"INSERT INTO {schema}.{table} VALUES ({marks})", [[one.get(c) for c in columns] for one in entries]
            )
            if "UPLOAD" in form:
                name, _, place = form["UPLOAD"].decode().partition(",")
                if not takes_uploads or not place.startswith("param:"):
                    raise ValueError("no uploads")
                given = parse(io.BytesIO(form[place[6:]])).get_first_table().to_table()
                base.execute(f"CREATE TABLE TAP_UPLOAD.{name} ({', '.join(given.colnames)})")
                marks = ", ".join("?" * len(given.colnames))
                base.executemany(
                    f"INSERT INTO TAP_UPLOAD.{name} VALUES ({marks})", [[float(v) for v in row] for row in given]
                )
                self.uploads.append(len(given))
            cursor = base.execute(form["QUERY"].decode())
            return cursor.fetchall(), [name for name, *_ in cursor.description]
        finally:
            base.close()


def _contains(point, circle):
    lon, lat = (np.radians(float(x)) for x in point.split())
    x, y, radius = (np.radians(float(x)) for x in circle.split())
    return int(angular_separation(lon, lat, x, y) <= radius)


def _fields(asked):
    kind = asked.headers.get("Content-Type", "")
    if not kind.startswith("multipart/form-data"):
        return {name: values[0].encode() for name, values in {**asked.query, **asked.form}.items()}
    whole = BytesParser(policy=HTTP).parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + asked.body)
    return {
        part.get_param("name", header="content-disposition"): part.get_payload(decode=True)
        for part in whole.iter_parts()
    }


def _error(text):
    return _head("ERROR", escape(text)) + b"</RESOURCE></VOTABLE>"


def _head(state, text=""):
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3">'
        f'<RESOURCE type="results"><INFO name="QUERY_STATUS" value="{state}">{text}</INFO>'
    ).encode()


def _votable(columns, rows, state):
    fields = "".join(
        f'<FIELD name={quoteattr(name)} datatype="{kind}"{" arraysize=" + quoteattr("*") if kind == "char" else ""}/>'
        for name, kind in columns
    )
    cells = "".join(
        "<TR>" + "".join(f"<TD>{'' if value is None else escape(str(value))}</TD>" for value in row) + "</TR>"
        for row in rows
    )
    head = _head("OK") if state == "OK" else _head("OVERFLOW")
    table = f"<TABLE>{fields}<DATA><TABLEDATA>{cells}</TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>"
    return head + table.encode("utf-8")
