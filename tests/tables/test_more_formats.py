"""Catalogues in Parquet, HDF5, HATS and region files: the same rows as the program that wrote them."""

import contextlib
import shutil
import warnings

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Column, MaskedColumn, QTable, Table
from astropy.wcs import WCS
from regions import CircleSkyRegion, EllipseSkyRegion, PixCoord, PolygonSkyRegion, RectanglePixelRegion, Regions

from astroanomaly import ingest, read_catalog
from astroanomaly.errors import CatalogError, UnreadableError
from folders import TESTS

N = 12
SKY = SkyCoord(np.linspace(150, 150.2, N), np.linspace(2, 2.1, N), unit="deg")
NAMES = [f"o{k}" for k in range(N)]
HATS = TESTS / "data" / "hats"  # written by lsdb 0.11.1 (hats 0.11.1) from the rows of hats.csv


def agrees(path, **options):
    found = read_catalog(path, **options)
    assert list(found.ids) == NAMES
    assert SkyCoord(found.ra, found.dec, unit="deg").separation(SKY).mas.max() < 1
    return found


def of_astropy():
    return QTable({"id": NAMES, "RAJ2000": SKY.ra, "DEJ2000": SKY.dec, "mag": np.linspace(20, 21, N) * u.mag})


def test_parquet_as_pandas_and_astropy_write_it(tmp_path):
    frame = pd.DataFrame({"id": NAMES, "ra": SKY.ra.deg, "dec": SKY.dec.deg, "n": pd.array([1, None] * 6, "Int64")})
    frame.to_parquet(tmp_path / "p.parquet")
    found = agrees(tmp_path / "p.parquet")
    assert found.columns["n"].mask.tolist() == [False, True] * 6
    assert found.columns["n"].dtype.kind == "i"
    of_astropy().write(tmp_path / "a.parquet")
    agrees(tmp_path / "a.parquet")
    kept = pa.table({"id": NAMES, "ra": SKY.ra.deg, "dec": SKY.dec.deg, "spectrum": [[1.0, 2.0]] * N, "no": [b"x"] * N})
    pq.write_table(kept, tmp_path / "n.parquet")
    assert agrees(tmp_path / "n.parquet").columns.colnames == ["id", "ra", "dec"]


def test_units_that_astropy_leaves_in_parquet_count(tmp_path):
    radians = QTable({"id": NAMES, "ra": SKY.ra.to(u.rad), "dec": SKY.dec.to(u.rad)})
    radians["mag"] = Column(np.arange(N) * 1.0, unit="mag", meta={"ucd": "phot.mag"})
    radians.write(tmp_path / "r.parquet")
    found = agrees(tmp_path / "r.parquet")
    assert (found.columns["mag"].unit, found.columns["mag"].meta["ucd"]) == (u.mag, "phot.mag")


@pytest.mark.parametrize("suffix", [".parquet", ".h5"])
def test_masked_columns_of_astropy_are_masked(tmp_path, suffix):
    table = QTable({"id": NAMES, "ra": SKY.ra.to(u.rad), "dec": SKY.dec.to(u.rad)})
    table["z"] = MaskedColumn(np.arange(N) * 0.1, mask=np.arange(N) % 3 == 0, unit="mag", meta={"ucd": "phot.mag"})
    more = {"path": "data", "serialize_meta": True} if suffix == ".h5" else {}
    table.write(tmp_path / f"t{suffix}", **more)
    found = agrees(tmp_path / f"t{suffix}").columns
    assert found["z"].mask.tolist() == (np.arange(N) % 3 == 0).tolist()
    assert (found["z"].unit, found["z"].meta["ucd"]) == (u.mag, "phot.mag")
    assert "z.mask" not in found.colnames


@pytest.mark.parametrize(
    "yaml",
    [
        b"{", b"datatype: 3", b"datatype: [3, {name: ra, unit: [deg]}]",
        b"datatype: [{name: dec, unit: !!python/object/apply:os.abort []}]",
        b"datatype: [{name: ra, unit: !!python/name:os.abort x}]", b"[" * 100_000, b"a: " + b"x" * 2**21,
    ],
)  # fmt: skip
def test_what_strangers_leave_in_parquet_makes_no_object(tmp_path, yaml):
    table = pa.table({"id": NAMES, "ra": SKY.ra.deg, "dec": SKY.dec.deg})
    pq.write_table(table.replace_schema_metadata({b"table_meta_yaml": yaml}), tmp_path / "x.parquet")
    with contextlib.suppress(UnreadableError, CatalogError):
        agrees(tmp_path / "x.parquet")


def test_parts_and_categories_of_parquet_are_columns(tmp_path):
    both = [{"ra": ra, "dec": dec} for ra, dec in zip(SKY.ra.deg, SKY.dec.deg, strict=True)]
    kind = pa.array(["a", "b"] * 6).dictionary_encode()
    pq.write_table(pa.table({"id": NAMES, "coord": both, "kind": kind}), tmp_path / "s.parquet")
    assert agrees(tmp_path / "s.parquet").columns["kind"].tolist() == ["a", "b"] * 6


def test_json_is_told_by_its_name(tmp_path):
    (tmp_path / "x.json").write_text('{"id": 1, "ra": 1.0, "dec": 2.0}\n' * 3)
    with pytest.raises(UnreadableError, match="is JSON, which is not read as a table"):
        read_catalog(tmp_path / "x.json")


def test_hdf5_as_astropy_pandas_and_h5py_write_it(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # astropy: texts and units are serialized
        of_astropy().write(tmp_path / "a.h5", path="cat/objects", serialize_meta=True)
    found = agrees(tmp_path / "a.h5")
    assert found.columns["mag"].unit == u.mag
    with h5py.File(tmp_path / "g.h5", "w") as file:
        group = file.create_group("photometry")
        group["objectId"], group["ra"], group["dec"] = np.array(NAMES, "S"), SKY.ra.hourangle, SKY.dec.deg
        group["ra"].attrs["units"] = "hourangle"
        file["other"] = np.zeros((3, 3))
    agrees(tmp_path / "g.h5")
    with h5py.File(tmp_path / "two.h5", "w") as file:
        for name in ("a", "b"):
            file[f"{name}/ra"], file[f"{name}/dec"], file[f"{name}/{name}"] = np.ones(3), np.ones(3), np.ones(3)
    with pytest.raises(CatalogError, match=r"(?s)2 tables .* they differ.*\[0\] or \[a\].*Name one"):
        read_catalog(tmp_path / "two.h5")
    assert len(read_catalog(f"{tmp_path / 'two.h5'}[b]")) == 3


def test_regions_of_ds9(tmp_path):
    regions = [
        CircleSkyRegion(SKY[0].galactic, 3 * u.arcsec, meta={"text": "o0"}),
        EllipseSkyRegion(SKY[1], 4 * u.arcsec, 2 * u.arcsec, 30 * u.deg, meta={"text": "o1"}),
        PolygonSkyRegion(
            SkyCoord(SKY[2].ra + [-1, 1, 0] * u.arcsec, SKY[2].dec + [-1, -1, 2] * u.arcsec), meta={"text": "o2"}
        ),
    ]
    Regions(regions).write(tmp_path / "r.reg", format="ds9")
    found = read_catalog(tmp_path / "r.reg")
    assert list(found.ids) == NAMES[:3]
    assert SkyCoord(found.ra, found.dec, unit="deg").separation(SKY[:3]).mas.max() < 1
    assert found.columns["radius"].tolist()[0] == pytest.approx(3, rel=1e-4)
    (tmp_path / "plain.reg").write_text('fk5\ncircle(10:00:00,+02:00:00,3") # text={x}\n')
    plain = read_catalog(tmp_path / "plain.reg")
    assert SkyCoord(plain.ra, plain.dec, unit="deg").separation(SkyCoord("10h +2d", frame="fk5").icrs).mas.max() < 1
    Regions([RectanglePixelRegion(PixCoord(10, 20), 4, 5)]).write(tmp_path / "p.reg", format="ds9")
    pixel = read_catalog(tmp_path / "p.reg")
    assert (pixel.x[0], pixel.y[0]) == pytest.approx((10, 20))


def test_hats_gives_the_rows_it_was_made_of():
    rows = Table.read(TESTS / "data" / "hats.csv")
    for place in (HATS, HATS / "tiny"):
        found = read_catalog(place)
        order = np.argsort(found.columns["source_id"])
        assert found.columns["source_id"][order].tolist() == rows["source_id"].tolist()
        np.testing.assert_allclose(found.ra[order], rows["ra"])
        assert "_healpix_29" not in found.columns.colnames


def test_of_hats_only_partitions_at_the_images_are_opened(tmp_path):
    """The others may be anything; every object on the image is there, also where its cutout only touches the edge."""
    shutil.copytree(HATS, tmp_path / "hats")
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [149.5, 1.5], [150, 150]
    wcs.wcs.cd = np.array([[-1, 0], [0, 1]]) * 4.0 / 3600
    pixels = np.random.default_rng(0).normal(size=(300, 300)).astype(np.float32)
    fits.writeto(tmp_path / "r.fits", pixels, wcs.to_header())
    far = list((tmp_path / "hats").rglob("Npix=6836.parquet"))
    assert far
    for file in far:
        file.write_bytes(b"PAR1 damaged")
    cache = ingest("fits", [tmp_path / "r.fits"], catalog=tmp_path / "hats", size=16, out=tmp_path / "c", workers=1)
    rows = Table.read(TESTS / "data" / "hats.csv")
    x, y = wcs.world_to_pixel(SkyCoord(rows["ra"], rows["dec"], unit="deg"))
    x0, y0 = np.ceil(x - 8), np.ceil(y - 8)
    touching = (x0 > -16) & (x0 < 300) & (y0 > -16) & (y0 < 300)
    assert sorted(cache.ids) == sorted(rows["source_id"][touching].astype(str))
    with pytest.raises(UnreadableError, match="cannot be read as Parquet"):
        read_catalog(tmp_path / "hats")


def test_what_is_damaged_or_leads_elsewhere_is_refused(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"PAR1" + bytes(100))
    with pytest.raises(UnreadableError, match="cannot be read as Parquet"):
        read_catalog(tmp_path / "x.parquet")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["t"] = h5py.ExternalLink("/etc/hostname", "x")
    with pytest.raises(UnreadableError, match="link to another file"):
        read_catalog(tmp_path / "x.h5")
    (tmp_path / "x.reg").write_text("# Region file format: DS9\nfk5\ncircle(a,b,c)\n")
    with pytest.raises((CatalogError, UnreadableError)):
        read_catalog(tmp_path / "x.reg")


def test_soft_links_inside_an_hdf5_file_are_followed(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:  # columns called otherwise where they are kept
        file["raw/c1"], file["raw/c2"], file["raw/c3"] = np.array(NAMES, "S"), SKY.ra.deg, SKY.dec.deg
        for link, place in (("id", "/raw/c1"), ("ra", "/raw/c2"), ("dec", "/raw/c3")):
            file[f"catalog/{link}"] = h5py.SoftLink(place)
        file["catalog/mag"] = np.linspace(20, 21, N)
        file["newest"], file["gone"] = h5py.SoftLink("/catalog"), h5py.SoftLink("/nowhere")
    assert sorted(agrees(tmp_path / "x.h5").columns.colnames) == ["dec", "id", "mag", "ra"]
    for place in ("catalog", "/catalog", "newest", "/newest"):
        agrees(f"{tmp_path / 'x.h5'}[{place}]")
    with h5py.File(tmp_path / "y.h5", "w") as file:  # the same columns under two names are one table
        file["v1/id"], file["v1/ra"], file["v1/dec"] = np.array(NAMES, "S"), SKY.ra.deg, SKY.dec.deg
        for name in ("id", "ra", "dec"):
            file[f"latest/{name}"] = h5py.SoftLink(f"/v1/{name}")
        file["t"] = h5py.SoftLink("/v1")
    agrees(tmp_path / "y.h5")
    of_astropy().write(tmp_path / "z.h5", path="deep/table", serialize_meta=True)
    with h5py.File(tmp_path / "z.h5", "a") as file:
        file["table"] = h5py.SoftLink("/deep/table")
    agrees(tmp_path / "z.h5")
    agrees(f"{tmp_path / 'z.h5'}[table]")


def test_columns_of_parquet_that_no_table_can_have_are_named(tmp_path):
    frame = pd.DataFrame({"id": NAMES, "ra": SKY.ra.deg, "dec": SKY.dec.deg, "spectrum": [[1, 2]] * N})
    frame["seen"] = pd.date_range("2026-01-01", periods=N, tz="UTC")
    frame["late"] = [None, *pd.date_range("2026-01-01", periods=N - 1)]
    frame["lasted"] = pd.to_timedelta(np.arange(N), "s")
    frame.to_parquet(tmp_path / "x.parquet")
    found = agrees(tmp_path / "x.parquet")
    assert found.found["not_plain"] == "spectrum"
    assert str(found.columns["seen"][1]).startswith("2026-01-02 00:00:00")
    assert found.columns["late"].mask.tolist() == [True] + [False] * (N - 1)
    assert found.columns["lasted"][3] > 0
    fits.writeto(tmp_path / "r.fits", np.ones((300, 300), np.float32), _header())
    cache = ingest(
        "fits", [tmp_path / "r.fits"], catalog=tmp_path / "x.parquet", size=16, out=tmp_path / "c", workers=1
    )
    assert cache.facts["columns left out"].value == {"number": 1, "first": ["spectrum"]}
    assert {"seen", "late"} <= set(cache.table().colnames)


def _header():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [150.1, 2.05], [150, 150]
    wcs.wcs.cd = np.array([[-1, 0], [0, 1]]) * 4.0 / 3600
    return wcs.to_header()


def test_columns_of_hdf5_that_no_table_can_have_are_named(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["c/id"], file["c/ra"], file["c/dec"] = np.array(NAMES, "S"), SKY.ra.deg, SKY.dec.deg
        file["c/mags"], file["c/z"], file["c/edges"] = np.ones((N, 5)), np.ones(N, complex), np.arange(N + 1)
    assert agrees(tmp_path / "x.h5").found["not_plain"] == "mags, z"


def test_arrays_of_any_length_in_a_fits_table_are_no_text(tmp_path):
    parts = np.empty(N, dtype=object)
    parts[:] = [np.ones(k + 1, "f4") for k in range(N)]
    columns = [
        fits.Column("id", "4A", array=NAMES), fits.Column("ra", "D", array=SKY.ra.deg),
        fits.Column("dec", "D", array=SKY.dec.deg), fits.Column("spectrum", "PE()", array=parts),
        fits.Column("wave", "C", array=np.ones(N, "c8")), fits.Column("z", "E", array=np.arange(N)),
    ]  # fmt: skip
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "x.fits")
    fits.writeto(tmp_path / "r.fits", np.ones((300, 300), np.float32), _header())
    cache = ingest("fits", [tmp_path / "r.fits"], catalog=tmp_path / "x.fits", size=16, out=tmp_path / "c", workers=1)
    assert cache.facts["columns left out"].value == {"number": 2, "first": ["spectrum", "wave"]}
    assert "z" in cache.table().colnames
    assert "spectrum" not in cache.table().colnames
