"""Tables: catalogues of objects, and tables of labels."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from random import Random

import numpy as np
from astropy.io import fits
from astropy.io.votable import from_table
from astropy.table import Table

from astroanomaly.labels.log import LabelLog
from astroanomaly.labels.options import LabelOptions
from astroanomaly.labels.tables import import_labels, read_truth
from astroanomaly.tables.catalog import read_catalog
from edits import Edit, cards, random_bytes
from kind import Found, Kind, fingerprint

__all__ = ["TABLE_KINDS"]

_KEYS = (
    "NAXIS1", "NAXIS2", "PCOUNT", "GCOUNT", "TFIELDS", "BITPIX", "XTENSION", "THEAP", "TFORM1", "TFORM2", "TFORM3",
    "TTYPE1", "TTYPE2", "TUNIT2", "TDIM1", "TDIM2", "TZERO3", "TSCAL3", "TNULL3", "TDISP3", "TUCD2", "TCOMM2", "NAXIS",
)  # fmt: skip
_WORDS = (
    b"<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/hostname'>]>",
    b"<!DOCTYPE x SYSTEM 'http://127.0.0.1:9/x.dtd'>",
    b"<BINARY><STREAM href='http://127.0.0.1:9/x'/></BINARY>",
    b"<STREAM\nhref=\"file:///etc/hostname\" encoding='base64'/>",
    b"<v:STREAM href='ftp://127.0.0.1:9/x'/>",
    b"<?xml-stylesheet href='http://127.0.0.1:9/x'?>",
    b"<FITS><STREAM href='x.fits'/></FITS>",
    b"<LINK href='http://127.0.0.1:9/x'/>",
    b"<RESOURCE>" * 300,
    b"&e;", b"&#0;", b"&#x110000;", b"]]>", b"<![CDATA[", b"-->", b"\xff\xfe", b"\xef\xbb\xbf", b"\0", b"\r", b"\n\n",
    b'arraysize="99999999999"', b'arraysize="4x*"', b'nrows="99999999999"', b'datatype="complex"', b'encoding="gzip"',
    b"# %ECSV 1.0\n", b"# - {name: x, datatype: object}\n", b"# - &a [*a, *a]\n", b"!!python/object/apply:os.system",
    b'"', b'""', b",", b";", b"|", b"\t", b"'" * 300, b"," * 500, b"nan", b"1e999", b"inf", b"--", b"=HYPERLINK()",
    b"http://127.0.0.1:9/table.csv", b"9" * 400, b"  ", b"ra", b"label", b"object_id", b"12:00:00", b"anomaly",
)  # fmt: skip


def _catalog() -> Table:
    rng = np.random.default_rng(2)
    table = Table()
    table["id"] = [f"o{number}" for number in range(9)]
    table["ra"], table["dec"] = rng.uniform(149, 151, 9), rng.uniform(1, 3, 9)
    table["n"] = np.arange(9, dtype="i4")
    table["ra"].unit = table["dec"].unit = "deg"
    return table


def _labels() -> Table:
    return Table(
        {
            "object_id": [f"o{number}" for number in range(6)],
            "label": ["anomaly", "nominal"] * 3,
            "annotator": ["ann", "bob", "ann"] * 2,
            "time": ["2026-01-02T03:04:05"] * 6,
            "note": ["", "odd"] * 3,
        }
    )


def _forms(table: Table) -> dict[str, bytes]:
    found = {"x.fits": _fits(table)}
    for name, form in (("x.ecsv", "ascii.ecsv"), ("x.csv", "ascii.csv"), ("x.txt", "ascii.basic")):
        text = io.StringIO()
        table.write(text, format=form)
        found[name] = text.getvalue().encode()
    for form in ("tabledata", "binary", "binary2"):
        handle = io.BytesIO()
        votable = from_table(table)
        votable.to_xml(handle, tabledata_format=form)
        found[f"{form} x.vot"] = handle.getvalue()
    found["zipped x.vot"] = gzip.compress(found["binary2 x.vot"], mtime=0)
    found["zipped x.fits"] = gzip.compress(found["x.fits"], mtime=0)
    return found


def _fits(table: Table) -> bytes:
    handle = io.BytesIO()
    hdu = fits.table_to_hdu(table)
    hdu.writeto(handle)
    return handle.getvalue()


def _write_sky(folder: Path) -> None:
    """Write an image for a catalogue to go with."""
    cards = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 2.0, "CRPIX1": 8.0, "CRPIX2": 8.0}
    header = fits.Header({**cards, "CDELT1": -0.1, "CDELT2": 0.1, "FILTER": "g"})
    fits.PrimaryHDU(np.arange(256, dtype=np.float32).reshape(16, 16), header).writeto(folder / "sky.fits")


def _catalog_command(folder: Path, name: str, path: Path) -> list[str]:
    return ["ingest", "fits", str(folder / "sky.fits"), "--catalog", str(path), "--size", "4"]


def _catalog_seeds(folder: Path) -> dict[str, bytes]:
    _write_sky(folder)
    found = {name: content for name, content in _forms(_catalog()).items() if name.endswith("x.fits")}
    long = _catalog()
    columns = [
        fits.Column("id", "3A", array=np.array(long["id"])),
        fits.Column("ra", "D", unit="deg", array=np.array(long["ra"])),
        fits.Column("dec", "D", unit="deg", array=np.array(long["dec"])),
        fits.Column("list", "PE()", array=np.array([np.arange(n, dtype="f4") for n in range(9)], dtype=object)),
        fits.Column("flag", "5X", array=np.zeros((9, 5), bool)),
    ]
    handle = io.BytesIO()
    fits.BinTableHDU.from_columns(columns).writeto(handle)
    found["heap x.fits"] = handle.getvalue()
    handle = io.BytesIO()
    plain = [fits.Column("id", "A3", array=np.array(long["id"])), *(
        fits.Column(name, "D25.17", array=np.array(long[name])) for name in ("ra", "dec"))]  # fmt: skip
    fits.TableHDU.from_columns(plain).writeto(handle)
    found["text x.fits"] = handle.getvalue()
    return found


def _edit_catalog(rng: Random, name: str, content: bytes) -> list[Edit]:
    if name.startswith("zipped") and rng.random() < 0.7:
        return [("inside", "gz", _edit_catalog(rng, "x.fits", gzip.decompress(content)))]
    if rng.random() < 0.6:
        return cards(rng, content, _KEYS)
    return random_bytes(rng, content, head=5760)


def _read_catalog(folder: Path, name: str, content: bytes) -> Found:
    path = folder / name.rpartition(" ")[2]
    path.write_bytes(content)
    found = read_catalog(path)
    columns = [(key, [str(value) for value in found.columns[key]]) for key in found.columns.colnames]
    return Found(fingerprint(list(found.ids), found.ra, found.dec, found.x, found.y, columns))


def _table_seeds(folder: Path) -> dict[str, bytes]:
    _write_sky(folder)
    return {name: content for name, content in _forms(_catalog()).items() if not name.endswith("x.fits")} | {
        "x.cat": b"# 1 NUMBER count\n# 2 ALPHA_J2000 ra [deg]\n# 3 DELTA_J2000 dec [deg]\n1 150.1 2.1\n2 150.2 2.2\n"
    }


def _edit_text(rng: Random, name: str, content: bytes) -> list[Edit]:
    if name.startswith("zipped") and rng.random() < 0.7:
        inner = _edit_catalog if name.endswith(".fits") else _edit_text
        return [("inside", "gz", inner(rng, "x", gzip.decompress(content)))]
    if name.endswith(".fits"):
        return _edit_catalog(rng, name, content)
    return random_bytes(rng, content, head=300, words=_WORDS)


def _label_seeds(folder: Path) -> dict[str, bytes]:
    LabelLog.create(folder / "fresh.sqlite").close()
    return {name: content for name, content in _forms(_labels()).items() if name != "x.txt"}


def _import_labels(folder: Path, name: str, content: bytes) -> Found:
    path = folder / name.rpartition(" ")[2]
    path.write_bytes(content)
    (folder / "labels.sqlite").write_bytes((folder / "fresh.sqlite").read_bytes())
    ids = [f"o{number}" for number in range(9)]
    place = np.arange(9.0)
    with LabelLog.open(folder / "labels.sqlite") as log:
        report = import_labels(log, path, ids, (150 + place, place), annotator="me")
        events = [(event.object_id, event.kind, event.value, event.annotator) for event in log.events()]
    return Found(fingerprint(report, events))


def _read_truth(folder: Path, name: str, content: bytes) -> Found:
    path = folder / name.rpartition(" ")[2]
    path.write_bytes(content)
    ids, place = [f"o{number}" for number in range(9)], np.arange(9.0)
    found = read_truth(path, "label", ids, (150 + place, place), LabelOptions(skip_unmatched=True))
    return Found(fingerprint(sorted(found.items())))


def _truth_seeds(folder: Path) -> dict[str, bytes]:
    return {"x.csv": _forms(_labels())["x.csv"]}


TABLE_KINDS = (
    Kind("FITS catalogues", 60, _catalog_seeds, _edit_catalog, _read_catalog, _catalog_command),
    Kind("other catalogues", 60, _table_seeds, _edit_text, _read_catalog, _catalog_command),
    Kind("label tables", 40, _label_seeds, _edit_text, _import_labels),
    Kind("truth tables", 40, _truth_seeds, _edit_text, _read_truth),
)
