"""Catalogues of any format: the positions found are those that astropy computes from the same numbers."""

import bz2
import gzip
import re

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import FK4, FK5, SkyCoord
from astropy.io import fits
from astropy.io.votable import from_table
from astropy.table import MaskedColumn, QTable, Table

from astroanomaly import read_catalog
from astroanomaly.errors import CatalogError, ConfigError, UnreadableError

RA = np.array([10.0, 150.123456, 359.9])
DEC = np.array([-30.0, 2.2, 89.5])
SKY = SkyCoord(RA, DEC, unit="deg")


def table(**columns):
    return Table({"object_id": ["a", "b", "c"], **columns})


def check(catalog, tolerance=1e-9):
    found = SkyCoord(catalog.ra, catalog.dec, unit="deg")
    assert found.separation(SKY).deg.max() < tolerance
    assert catalog.ids.tolist() == ["a", "b", "c"]


@pytest.mark.parametrize("name", ["c.fits", "c.fits.gz", "c.vot", "c.xml", "c.votable", "c.ecsv", "c.csv", "c.txt"])
def test_formats(tmp_path, name):
    path = tmp_path / name
    kind = {
        "vot": "votable",
        "xml": "votable",
        "votable": "votable",
        "ecsv": "ascii.ecsv",
        "csv": "ascii.csv",
        "txt": "ascii",
    }
    table(ra=RA, dec=DEC, mag=[20.0, 21, 22]).write(path, format=kind.get(name.split(".")[1]))
    catalog = read_catalog(path)
    check(catalog)
    assert catalog.columns["mag"].tolist() == [20, 21, 22]
    assert catalog.x is None


def test_compressed_text(tmp_path):
    table(ra=RA, dec=DEC).write(tmp_path / "c.csv")
    content = (tmp_path / "c.csv").read_bytes()
    (tmp_path / "d.csv.gz").write_bytes(gzip.compress(content))
    (tmp_path / "d.csv.bz2").write_bytes(bz2.compress(content))
    check(read_catalog(tmp_path / "d.csv.gz"))
    check(read_catalog(tmp_path / "d.csv.bz2"))


@pytest.mark.parametrize(
    ("lon", "lat"),
    [
        ("RA", "DEC"),
        ("RAJ2000", "DEJ2000"),
        ("ALPHA_J2000", "DELTA_J2000"),
        ("X_WORLD", "Y_WORLD"),
        ("RA_ICRS", "DE_ICRS"),
        ("right_ascension", "declination"),
        ("ALPHAWIN_J2000", "DELTAWIN_J2000"),
        ("ALPHAPSF_J2000", "DELTAPSF_J2000"),
        ("ALPHA_SKY", "DELTA_SKY"),
        ("alpha_win", "delta_win"),
        ("ra_1", "dec_1"),
        ("sky_centroid.ra", "sky_centroid.dec"),
        ("RA [deg]", "DEC (deg)"),
    ],
)
def test_usual_names(tmp_path, lon, lat):
    table(**{lon: RA, lat: DEC}).write(tmp_path / "c.fits")
    check(read_catalog(tmp_path / "c.fits"))


@pytest.mark.parametrize(("lon", "lat"), [("glon", "glat"), ("l", "b"), ("GLON", "GLAT")])
def test_galactic_names(tmp_path, lon, lat):
    table(**{lon: SKY.galactic.l.deg, lat: SKY.galactic.b.deg}).write(tmp_path / "c.fits")
    check(read_catalog(tmp_path / "c.fits"))


def test_besselian_names_of_sextractor_are_precessed(tmp_path):
    old = SKY.transform_to("fk4")
    table(ALPHA_B1950=old.ra.deg, DELTA_B1950=old.dec.deg).write(tmp_path / "c.fits")
    catalog = read_catalog(tmp_path / "c.fits")
    check(catalog, 1e-8)
    assert str(catalog.sky) == "ALPHA_B1950, DELTA_B1950 (fk4)"


def test_a_catalogue_says_which_columns_it_took_why_and_which_not(tmp_path):
    pixels = {"X_IMAGE": [1.0, 2, 3], "Y_IMAGE": [1.0, 2, 3]}
    table(ALPHA_J2000=RA, DELTA_J2000=DEC, ALPHAWIN_J2000=RA, DELTAWIN_J2000=DEC, **pixels).write(tmp_path / "c.fits")
    catalog = read_catalog(tmp_path / "c.fits")
    assert catalog.sky.columns == ("ALPHA_J2000", "DELTA_J2000")
    assert (catalog.sky.chosen, catalog.sky.frame, catalog.sky.origin) == ("usual names", "icrs", None)
    assert catalog.sky.unused == (("ALPHAWIN_J2000", "DELTAWIN_J2000"), ("X_IMAGE", "Y_IMAGE"))
    assert (catalog.pixel.columns, catalog.pixel.origin) == (("X_IMAGE", "Y_IMAGE"), 1)
    assert "pixels, the first of which is 1" in catalog.pixel.text
    catalog = read_catalog(tmp_path / "c.fits", ra="ALPHAWIN_J2000", dec="DELTAWIN_J2000", frame="fk5 J2000")
    assert (catalog.sky.chosen, catalog.sky.frame) == ("named", "fk5 J2000")


def test_a_column_called_x_that_holds_no_number_does_no_harm(tmp_path):
    table(ra=RA, dec=DEC, x=["a", "b", "c"], y=["d", "e", "f"]).write(tmp_path / "c.fits")
    catalog = read_catalog(tmp_path / "c.fits")
    check(catalog)
    assert catalog.x is None
    with pytest.raises(CatalogError, match="'x' holds no numbers"):
        read_catalog(tmp_path / "c.fits", x="x", y="y")


def test_columns_that_count_pixels_differently_are_refused(tmp_path):
    table(x=[1.0, 2, 3], Y_IMAGE=[1.0, 2, 3]).write(tmp_path / "c.fits")
    with pytest.raises(CatalogError, match=r"'x' counts pixels from 0, 'Y_IMAGE' from 1"):
        read_catalog(tmp_path / "c.fits", x="x", y="Y_IMAGE")


def test_ucd_is_stronger_than_name(tmp_path):
    plain = table(ra=RA + 1, dec=DEC * 0, poslon=RA, poslat=DEC)
    for name, ucd in (("poslon", "pos.eq.ra;meta.main"), ("poslat", "pos.eq.dec;meta.main")):
        plain[name].meta["ucd"] = ucd
    from_table(plain).to_xml(str(tmp_path / "c.vot"))
    check(read_catalog(tmp_path / "c.vot"))
    hdu = fits.table_to_hdu(Table(plain, copy=True))
    hdu.header["TUCD4"], hdu.header["TUCD5"] = "pos.eq.ra;meta.main", "pos.eq.dec;meta.main"
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(tmp_path / "c.fits")
    check(read_catalog(tmp_path / "c.fits"))


def test_named_columns_and_frame(tmp_path):
    fk5 = SKY.transform_to("fk5")
    table(one=fk5.ra.deg, two=fk5.dec.deg, ra=RA * 0, dec=DEC * 0).write(tmp_path / "c.fits")
    check(read_catalog(tmp_path / "c.fits", ra="one", dec="two", frame="fk5"))
    precessed = SKY.transform_to(SkyCoord(0, 0, unit="deg", frame="fk5", equinox="J1975").frame)
    table(one=precessed.ra.deg, two=precessed.dec.deg).write(tmp_path / "d.fits")
    check(read_catalog(tmp_path / "d.fits", ra="one", dec="two", frame="fk5 J1975"))


def test_sexagesimal_text_and_hour_units(tmp_path):
    table(ra=SKY.ra.to_string("hour", sep=":", precision=8), dec=SKY.dec.to_string(sep=" ", precision=8)).write(
        tmp_path / "c.csv"
    )
    check(read_catalog(tmp_path / "c.csv"), 1e-8)
    table(ra=SKY.ra.to_string("hour"), dec=SKY.dec.to_string()).write(tmp_path / "d.csv")
    check(read_catalog(tmp_path / "d.csv"), 1e-5)
    hours = QTable(table())
    hours["ra"], hours["dec"] = SKY.ra.hourangle * u.hourangle, SKY.dec.rad * u.rad
    hours.write(tmp_path / "e.ecsv")
    check(read_catalog(tmp_path / "e.ecsv"))
    hours.rename_columns(["ra", "dec"], ["p", "q"])
    hours["q"] = hours["q"].to(u.deg)
    hours.write(tmp_path / "f.ecsv")
    check(read_catalog(tmp_path / "f.ecsv"))  # nothing but the units says so


def test_a_skycoord_column(tmp_path):
    mixed = QTable(table())
    mixed["where"] = SKY.galactic
    mixed.write(tmp_path / "c.ecsv")
    check(read_catalog(tmp_path / "c.ecsv"))


def test_masked_and_impossible_positions_are_kept_without_a_position(tmp_path):
    columns = table(ra=MaskedColumn(RA, mask=[False, True, False]), dec=[-30.0, 2.0, 95.0])
    columns.write(tmp_path / "c.ecsv")
    catalog = read_catalog(tmp_path / "c.ecsv")
    assert np.isfinite(catalog.ra).tolist() == [True, False, False]
    assert np.isfinite(catalog.dec).tolist() == [True, False, False]
    assert len(catalog) == 3


def test_pixel_positions_count_from_one_in_sextractor_and_from_zero_elsewhere(tmp_path):
    table(X_IMAGE=[1.0, 2, 3], Y_IMAGE=[5.0, 6, 7]).write(tmp_path / "c.fits")
    assert read_catalog(tmp_path / "c.fits").x.tolist() == [0, 1, 2]
    table(x=[1.0, 2, 3], y=[5.0, 6, 7]).write(tmp_path / "d.fits")
    assert read_catalog(tmp_path / "d.fits").y.tolist() == [5, 6, 7]
    table(col=[1.0, 2, 3], row=[5.0, 6, 7]).write(tmp_path / "e.fits")
    assert read_catalog(tmp_path / "e.fits", x="col", y="row").x.tolist() == [1, 2, 3]


def test_a_unit_in_a_name_is_the_unit_of_the_numbers(tmp_path):
    table(**{"RA [h]": RA / 15, "Dec [rad]": np.radians(DEC)}).write(tmp_path / "c.csv")
    check(read_catalog(tmp_path / "c.csv"), 1e-7)
    table(**{"RA (mm)": RA, "Dec (mm)": DEC}).write(tmp_path / "d.csv")
    with pytest.raises(CatalogError, match="is in mm, expected an angle"):
        read_catalog(tmp_path / "d.csv")


@pytest.mark.parametrize("codec", ["latin-1", "utf-8"])
def test_letters_that_fits_does_not_allow_are_read(tmp_path, codec):
    ids = np.array([text.encode(codec) for text in ("é1", "b", "ç")])
    Table({"id": ids, "ra": RA, "dec": DEC, "note": MaskedColumn(ids, mask=[False, True, False])}).write(
        tmp_path / "c.fits"
    )
    catalog = read_catalog(tmp_path / "c.fits")
    assert catalog.ids.tolist() == ["é1", "b", "ç"]
    assert catalog.columns["note"].mask.tolist() == [False, True, False]


def test_ids_stay_text(tmp_path):
    path = tmp_path / "c.csv"
    path.write_text("id,ra,dec\n007,1,2\n1234567890123456789,3,4\n")
    assert read_catalog(path).ids.tolist() == ["007", "1234567890123456789"]
    Table({"source_id": [5, 6], "ra": [1.0, 2], "dec": [1.0, 2]}).write(tmp_path / "c.fits")
    assert read_catalog(tmp_path / "c.fits").ids.tolist() == ["5", "6"]
    Table({"ra": [1.0, 2], "dec": [1.0, 2]}).write(tmp_path / "d.fits")
    assert read_catalog(tmp_path / "d.fits").ids.tolist() == ["row-000001", "row-000002"]


@pytest.mark.parametrize("name", ["main_id", "designation", "NUMBER", "coadd_object_id", "Source_ID"])
def test_ids_under_the_names_that_archives_give_them(tmp_path, name):
    Table({name: ["M  31", "NGC  205"], "ra": [1.0, 2], "dec": [1.0, 2]}).write(tmp_path / "c.csv")
    assert list(read_catalog(tmp_path / "c.csv").ids) == ["M  31", "NGC  205"]


def test_duplicate_ids_are_named(tmp_path):
    Table({"id": ["x", "same", "same"], "ra": [1.0, 2, 3], "dec": [1.0, 2, 3]}).write(tmp_path / "c.fits")
    with pytest.raises(CatalogError, match="same"):
        read_catalog(tmp_path / "c.fits")


def test_a_catalogue_without_positions_lists_its_columns_and_the_flags(tmp_path):
    table(flux=[1.0, 2, 3], size=[1, 2, 3]).write(tmp_path / "c.fits")
    with pytest.raises(CatalogError, match=r"object_id, flux, size.*--ra") as caught:
        read_catalog(tmp_path / "c.fits")
    assert "--x" in str(caught.value)


@pytest.mark.parametrize(
    ("keywords", "error", "match"),
    [
        ({"ra": "raa", "dec": "dec"}, CatalogError, "did you mean 'ra'"),
        ({"ra": "ra"}, CatalogError, "both"),
        ({"frame": "galactik"}, ConfigError, "did you mean 'galactic'"),
        ({"id": "nme"}, CatalogError, "no column 'nme'"),
    ],
)
def test_wrong_names(tmp_path, keywords, error, match):
    table(ra=RA, dec=DEC).write(tmp_path / "c.fits")
    with pytest.raises(error, match=match):
        read_catalog(tmp_path / "c.fits", **keywords)


def test_positions_in_a_unit_that_is_no_angle(tmp_path):
    columns = table(ra=RA, dec=DEC)
    columns["ra"].unit = "m"
    columns.write(tmp_path / "c.fits")
    with pytest.raises(CatalogError, match="expected an angle"):
        read_catalog(tmp_path / "c.fits")
    (tmp_path / "c.cat").write_text(
        "# 1 NUMBER id\n# 2 ALPHA_J2000 ra [deg]\n# 3 DELTA_J2000 dec [deg,,]\n1 10.5 -3.2\n"
    )
    with pytest.raises(CatalogError, match=r"is in .*deg,.*, expected an angle"):
        read_catalog(tmp_path / "c.cat")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.csv", b""),
        ("noise.fits", bytes(range(256)) * 20),
        ("cut.fits", b"SIMPLE  =                    T" + b" " * 50),
        ("broken.vot", b"<?xml version='1.0'?><VOTABLE><RESOURCE><TABLE>"),
        ("broken.csv.gz", b"\x1f\x8b\x08\x00 not gzip"),
        ("pickle.pkl", b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00."),
    ],
)
def test_what_is_no_table_is_unreadable(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises((UnreadableError, CatalogError), match=re.escape(name)):
        read_catalog(path)


@pytest.mark.parametrize(
    "trap", ['<STREAM encoding="base64" href="file:///etc/hostname"/>', "<!DOCTYPE x [<!ENTITY a 'b'>]>"]
)
def test_a_votable_may_not_point_elsewhere(tmp_path, trap):
    path = tmp_path / "c.vot"
    path.write_text(f"<?xml version='1.0'?>{trap}<VOTABLE>{' ' * 2_000_000}</VOTABLE>{trap}")
    with pytest.raises(UnreadableError, match="outside the file"):
        read_catalog(path)


def test_missing_file_and_empty_table(tmp_path):
    with pytest.raises(UnreadableError, match="does not exist"):
        read_catalog(tmp_path / "nothing.fits")
    (tmp_path / "c.csv").write_text("id,ra,dec\n")
    with pytest.raises(CatalogError, match="no rows"):
        read_catalog(tmp_path / "c.csv")


def test_real_catalogues(data_folder):
    spitzer = read_catalog(data_folder / "fits/spitzer/spitzer_example_catalog.xml")
    first = SkyCoord(18.384317, 0.240381, unit="deg", frame="galactic").icrs
    assert (spitzer.ra[0], spitzer.dec[0]) == pytest.approx((first.ra.deg, first.dec.deg), abs=1e-9)
    emmi = read_catalog(data_folder / "fits/emmi-no-wcs/image.cat")
    assert (emmi.ids[0], emmi.x[0], emmi.y[0]) == ("1", pytest.approx(164.1449), pytest.approx(23.0084))
    assert emmi.ra is None


@pytest.mark.parametrize("kind", ["tabledata", "binary", "binary2"])
def test_every_kind_of_votable_is_read(tmp_path, kind):
    path = tmp_path / "positions.vot"
    table = Table({"id": ["a", "b", "c"], "ra": [1.0, 2.0, 3.0], "dec": [-1.0, 0.0, 1.0]})
    table.write(path, format="votable", tabledata_format=kind)
    assert list(read_catalog(path).ids) == ["a", "b", "c"]
    table[:0].write(path, format="votable", tabledata_format=kind, overwrite=True)
    with pytest.raises(CatalogError, match="no rows"):
        read_catalog(path)


@pytest.mark.parametrize(
    ("system", "frame", "said"),
    [
        ('system="ICRS"', "icrs", "icrs"),
        ('system="eq_FK5" equinox="J1975"', FK5(equinox="J1975"), "fk5 J1975"),
        ('system="FK5"', FK5(), "fk5 J2000"),
        ('system="eq_FK4" equinox="1950.0"', FK4(equinox="B1950"), "fk4 B1950"),
        ('system="eq_FK4" equinox="B1950"', FK4(equinox="B1950"), "fk4 B1950"),
    ],
)
def test_the_frame_that_a_votable_states_is_that_of_its_positions(tmp_path, system, frame, said):
    votable = from_table(
        table(ra=SKY.transform_to(frame).spherical.lon.deg, dec=SKY.transform_to(frame).spherical.lat.deg)
    )
    for field in votable.get_first_table().fields[1:]:
        field.ref = "place"
    votable.to_xml(str(tmp_path / "c.vot"))
    text = (tmp_path / "c.vot").read_text()
    (tmp_path / "c.vot").write_text(text.replace("<TABLE>", f'<COOSYS ID="place" {system}/><TABLE>'))
    catalog = read_catalog(tmp_path / "c.vot")
    check(catalog, 1e-9)
    assert catalog.sky.frame == said
    assert read_catalog(tmp_path / "c.vot", frame="galactic").sky.frame == "galactic"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_letters_of_any_encoding_in_a_fits_table(tmp_path, encoding):
    """Every byte is kept apart from every other, so ids stay unique."""
    names = ["abc", "abd", "abe"] if encoding == "ascii" else ["caf\xe9", "caf\xe8", "caf\xea"]
    width = f"{max(len(name.encode(encoding)) for name in names)}A"
    columns = [
        fits.Column("id", width, array=np.array([name.encode(encoding) for name in names])),
        fits.Column("ra", "D", array=RA),
        fits.Column("dec", "D", array=DEC),
    ]
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "c.fits")
    catalog = read_catalog(tmp_path / "c.fits")
    assert catalog.ids.tolist() == names
    given = Table.read(tmp_path / "c.fits")
    assert read_catalog(given).ids.tolist() == names
    assert given["id"].dtype.kind == "S"  # what was given stays as it was


def test_masked_letters_of_another_encoding(tmp_path):
    given = table(ra=RA, dec=DEC)
    given["note"] = MaskedColumn(np.array([b"\xe9", b"b", b"c"]), mask=[False, True, False], description="a note")
    found = read_catalog(given).columns["note"]
    assert (found[0], found.mask.tolist(), found.description) == ("\xe9", [False, True, False], "a note")
