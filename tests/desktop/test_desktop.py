"""What we write, opened by the programs on an astronomer's desk: DS9, and STILTS, which reads tables as TOPCAT does.

Off unless asked for: ``pytest -n 0 -m desktop``, which wants Debian's packages ``saods9 stilts xvfb xauth``.
"""

import re
import shutil
import subprocess

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import Column, Table
from astropy.wcs import WCS

from astroanomaly import Session, ingest
from astroanomaly.cutting import grid_from_hdu
from astroanomaly.records import Cutout
from astroanomaly.tables.write import build_catalog, write_catalog

pytestmark = pytest.mark.desktop

SETTINGS = {"input": {"size": 32}, "backbone": {"name": "test_efficientnet", "weights": "random"}}
HOSTILE = [
    "plain", "{brace} \\ back", "a}b", "<img onerror=x>", "日本 é", "quote \" ' ,", "tab\tnew\nline", "$env(HOME)",
    "[exec ls]", "text={x}", "# comment", "semi;colon | pipe", "%s", "trail\\", "emoji 🙂", "= 1", "&amp;",
    "a # color=red", "`ls`", "combining e\u0301", "\ud800 lone", "\x07bell", "x" * 300,
]  # fmt: skip


def run(*words, cwd=None):
    """Run a program of the desktop; without it the test fails, since it was asked for."""
    if shutil.which(words[0]) is None:
        pytest.fail(f"{words[0]} is not installed: apt-get install saods9 stilts xvfb xauth")
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=300, cwd=cwd)
    assert done.returncode == 0, f"{words}: {done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def ds9(*words):
    run("xvfb-run", "-a", "-s", "-screen 0 1024x768x24", "ds9", *words, "-exit")


def circles(path):
    found = re.findall(r"^circle\(([\d.]+),([+-]?[\d.]+),", path.read_text(encoding="utf-8"), re.MULTILINE)
    return np.array(found, float)


def distorted_cutout():
    """A cutout of an image with SIP distortions, rotated and far from its reference pixel."""
    header = fits.Header()
    values = {
        "CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "CRVAL1": 150.1, "CRVAL2": 2.2, "CRPIX1": 1000.5,
        "CRPIX2": 900.25, "CD1_1": -1e-4, "CD1_2": 3e-5, "CD2_1": 3e-5, "CD2_2": 1e-4,
        "A_ORDER": 2, "B_ORDER": 2, "A_2_0": 1e-6, "B_0_2": -2e-6, "A_1_1": 3e-7,
    }  # fmt: skip
    header.update(values)
    grid = grid_from_hdu(fits.ImageHDU(np.zeros((1800, 2000), np.float32), header))
    data = np.random.default_rng(1).normal(size=(2, 120, 160)).astype(np.float32)
    return Cutout("distorted", data, ("g", "r"), 150.12, 2.21, grid, (400, 1100), units=("nJy", "nJy"))


def test_ds9_draws_every_region_where_it_belongs(tmp_path):
    cutout = distorted_cutout()
    cutout.to_hdulist().writeto(tmp_path / "cutout.fits", checksum=True)
    x = np.linspace(5, 150, len(HOSTILE))
    y = np.linspace(110, 4, len(HOSTILE))
    place = cutout.wcs.pixel_to_world(x, y).icrs
    table = build_catalog(
        {
            "object_id": np.array([*HOSTILE, "nowhere"], dtype=str),
            "ra": np.append(place.ra.deg, np.nan),
            "dec": np.append(place.dec.deg, np.nan),
            "score": np.zeros(len(HOSTILE) + 1),
        },
        {},
    )
    write_catalog(table, tmp_path / "ours.reg")
    ds9(
        f"{tmp_path}/cutout.fits[r]", "-regions", "load", tmp_path / "ours.reg",
        "-regions", "system", "image", "-regions", "save", tmp_path / "pixels.reg",
        "-regions", "system", "wcs", "-regions", "sky", "icrs", "-regions", "skyformat", "degrees",
        "-regions", "save", tmp_path / "sky.reg",
    )  # fmt: skip
    drawn = circles(tmp_path / "pixels.reg")
    assert len(drawn) == len(HOSTILE)
    np.testing.assert_allclose(drawn, np.stack([x + 1, y + 1], axis=1), atol=0.02)
    assert len(circles(tmp_path / "sky.reg")) == len(HOSTILE)
    texts = re.findall(r"text=\{(.*)\}", (tmp_path / "sky.reg").read_text(encoding="utf-8"))
    assert texts[0] == "plain"
    assert texts[4] == "日本 é"


@pytest.fixture(scope="module")
def session(sky, tmp_path_factory):
    """A session whose catalogue has columns with UCDs, units of all kinds, and ids that are hard to write."""
    made, _ = sky
    folder = tmp_path_factory.mktemp("desktop")
    table = Table.read(made.catalog)
    ids = [f"{HOSTILE[k].replace(chr(0xD800), 'lone')} {k}" if k < len(HOSTILE) else f"o{k}" for k in range(len(table))]
    own = Table({"object_id": ids, "ra": table["ra"], "dec": table["dec"]})
    for name, unit, ucd in (
        ("mag_r", "mag", "phot.mag;em.opt.R"),
        ("flam", "erg / (s cm2 Angstrom)", "phot.flux.density;em.opt.R"),
        ("rate", "electron/s", "phot.count"),
        ("ab", "mag(AB)", ""),
        ("Größe", "arcsec", "phys.angSize"),
    ):
        own[name] = Column(np.linspace(1, 2, len(own)), unit=u.Unit(unit), meta={"ucd": ucd}, description=f"the {name}")
    own["flag"] = np.arange(len(own)) % 2 == 0
    own["kind"] = [HOSTILE[k % 20] for k in range(len(own))]
    own.write(folder / "catalogue.ecsv")
    ingest("fits", made.mosaics, out=folder / "cache", catalog=folder / "catalogue.ecsv", size="32", carry=("*",))
    started = Session.create(folder / "session", folder / "cache", settings=SETTINGS)
    started.label(ids[:30], "anomaly", annotator="ann", note="a <b>note</b> = 1")
    started.label(ids[3], "nominal", annotator="ben")
    started.train("cold")
    return started


@pytest.mark.parametrize("choice", [{"top": 100}, {"labelled": "anomaly"}])
def test_votlint_has_nothing_to_say_of_a_catalogue(session, tmp_path, choice):
    session.export(tmp_path / "a.vot", **choice)
    assert run("stilts", "votlint", tmp_path / "a.vot").strip() == ""


def test_stilts_reads_every_table(session, tmp_path):
    expected = {}
    for suffix, kind in ((".vot", "votable"), (".fits", "fits"), (".csv", "csv")):
        expected[tmp_path / f"top{suffix}"] = kind, len(session.export(tmp_path / f"top{suffix}", top=50))
    for suffix, kind in ((".fits", "fits"), (".csv", "csv")):
        expected[tmp_path / f"all{suffix}"] = kind, session.export_scores(tmp_path / f"all{suffix}")
    expected[tmp_path / "labels.csv"] = "csv", session.export_labels(tmp_path / "labels.csv")
    bundled = len(session.write_bundle(tmp_path / "bundle", labelled="anomaly"))
    assert run("stilts", "votlint", tmp_path / "bundle" / "table.vot").strip() == ""
    expected[tmp_path / "bundle" / "table.vot"] = "votable", bundled
    expected[tmp_path / "bundle" / "table.fits"] = "fits", bundled
    expected[tmp_path / "bundle" / "labels.csv"] = "csv", bundled
    for path, (kind, rows) in expected.items():
        said = run("stilts", "tpipe", f"in={path}", f"ifmt={kind}", "omode=count")
        assert re.search(rf"rows: {rows}\b", said), (path, rows, said)


def test_units_and_ucds_are_those_of_the_catalogue(session, tmp_path):
    for suffix, kind in ((".vot", "votable"), (".fits", "fits")):
        session.export(tmp_path / f"a{suffix}", top=5)
        wanted = ("cmd=meta name units ucd", "omode=out", "ofmt=csv")
        said = run("stilts", "tpipe", f"in={tmp_path}/a{suffix}", f"ifmt={kind}", *wanted)
        rows = {line.split(",")[0]: line.split(",")[1:] for line in said.splitlines()}
        assert rows["mag_r"] == ["mag", "phot.mag;em.opt.R"]
        assert rows["flam"][1] == "phot.flux.density;em.opt.R"
        assert {"erg", "Angstrom"} <= set(re.findall("[A-Za-z]+", rows["flam"][0]))
        assert rows["ra"] == ["deg", "pos.eq.ra;meta.main"]


def test_ds9_opens_the_cutouts_of_a_bundle(session, tmp_path):
    session.write_bundle(tmp_path / "bundle", top=4)
    table = Table.read(tmp_path / "bundle" / "table.fits")
    path = tmp_path / "bundle" / str(table["cutout"][0])
    session.export(tmp_path / "chosen.reg", top=4)
    save = ("-regions", "system", "image", "-regions", "save", tmp_path / "p.reg")
    ds9(path, "-regions", "load", tmp_path / "chosen.reg", *save)
    with fits.open(path) as hdus:
        wcs = WCS(hdus[1].header)
        expected = wcs.wcs_world2pix([[hdus[0].header["RA"], hdus[0].header["DEC"]]], 1)[0]
    assert np.abs(circles(tmp_path / "p.reg") - expected).max(axis=1).min() < 0.02
