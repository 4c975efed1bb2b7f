"""The frame that a table states is the one that is used; several tables of one file; positions in parts or in texts."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st

from astroanomaly import CatalogError, ConfigError, read_catalog

PLACE = SkyCoord([150.119, 10.5], [2.205833, -0.004], unit="deg")
FRAMES = {  # as astropy, VOTable, VizieR and FITS call them
    "fk4 B1950": ("fk4", {"equinox": "B1950"}, ("eq_FK4", "B1950"), "eq_FK4 B1950", ("FK4", 1950.0)),
    "fk5 J1975": ("fk5", {"equinox": "J1975"}, ("eq_FK5", "J1975.0"), "eq_FK5 J1975", ("FK5", 1975.0)),
    "icrs": ("icrs", {}, ("ICRS", ""), "ICRS", ("ICRS", 2000.0)),
}


def degrees(frame, **more):
    """Longitudes and latitudes of the places in a frame."""
    found = PLACE.transform_to(SkyCoord(0, 0, unit="deg", frame=frame, **more).frame).spherical
    return found.lon.deg, found.lat.deg


def is_there(catalog):
    return SkyCoord(catalog.ra, catalog.dec, unit="deg").separation(PLACE).mas.max() < 1


def votable(path, frame, names=("RA", "DE"), ref=True, ucd="pos.eq"):
    lon, lat = degrees(FRAMES[frame][0], **FRAMES[frame][1])
    system, equinox = FRAMES[frame][2]
    refer = 'ref="s"' if ref else ""
    fields = "".join(
        f'<FIELD name="{name}" {refer} ucd="{ucd}.{what};meta.main" datatype="double" unit="deg"/>'
        for name, what in zip(names, ("ra", "dec"), strict=True)
    )
    rows = "".join(f"<TR><TD>{a!r}</TD><TD>{b!r}</TD></TR>" for a, b in zip(lon.tolist(), lat.tolist(), strict=True))
    others = '<COOSYS ID="other" system="galactic"/>' if ref else ""
    path.write_text(
        f'<?xml version="1.0"?><VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE>'
        f'<COOSYS ID="s" system="{system}" {f"equinox={chr(34)}{equinox}{chr(34)}" if equinox else ""}/>'
        f"{others}<TABLE>{fields}<DATA><TABLEDATA>{rows}</TABLEDATA></DATA></TABLE>"
        "</RESOURCE></VOTABLE>"
    )
    return path


@pytest.mark.parametrize("ref", [True, False])
@pytest.mark.parametrize("frame", FRAMES)
def test_coosys_of_a_votable(tmp_path, frame, ref):
    catalog = read_catalog(votable(tmp_path / "a.vot", frame, ref=ref))
    assert is_there(catalog)
    assert catalog.sky.frame == frame


@pytest.mark.parametrize("frame", FRAMES)
def test_radesys_and_equinox_of_a_fits_table(tmp_path, frame):
    lon, lat = degrees(FRAMES[frame][0], **FRAMES[frame][1])
    hdu = fits.BinTableHDU(Table({"RA": lon, "DEC": lat}))
    hdu.header["EQUINOX"] = FRAMES[frame][4][1]
    if frame == "fk4 B1950":
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(tmp_path / "equinox.fits")
        assert is_there(read_catalog(tmp_path / "equinox.fits"))
    hdu.header["RADESYS"] = FRAMES[frame][4][0]
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(tmp_path / "a.fits")
    assert is_there(read_catalog(tmp_path / "a.fits"))
    hdu.header["RADESYS"] = "J2000"
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(tmp_path / "bad.fits")
    with pytest.raises(CatalogError, match=r"RADESYS 'J2000'.*--frame"):
        read_catalog(tmp_path / "bad.fits")
    assert is_there(read_catalog(tmp_path / "bad.fits", frame=frame))


@pytest.mark.parametrize("frame", FRAMES)
def test_coosys_of_a_text_of_vizier(tmp_path, frame):
    lon, lat = degrees(FRAMES[frame][0], **FRAMES[frame][1])
    rows = "".join(f"{a!r}\t{b!r}\n" for a, b in zip(lon.tolist(), lat.tolist(), strict=True))
    text = f"#RESOURCE=yCat_1\n#Coosys\tS1:\t{FRAMES[frame][3]}\n#Column\t_RA\n\n_RA\t_DE\ndeg\tdeg\n---\t---\n{rows}"
    (tmp_path / "a.tsv").write_text(text)
    assert is_there(read_catalog(tmp_path / "a.tsv", ra="_RA", dec="_DE"))


@pytest.mark.parametrize(
    "names", [("RAB1950", "DEB1950"), ("ra1950", "dec1950"), ("RA_B1950", "DEC_B1950"), ("_RAB1950", "_DEB1950")]
)
def test_an_equinox_in_the_names_is_used(tmp_path, names):
    lon, lat = degrees("fk4", equinox="B1950")
    Table([lon, lat], names=names).write(tmp_path / "a.csv")
    catalog = read_catalog(tmp_path / "a.csv")
    assert is_there(catalog)
    assert is_there(read_catalog(tmp_path / "a.csv", ra=names[0], dec=names[1]))
    assert is_there(read_catalog(votable(tmp_path / "a.vot", "fk4 B1950", names=names)))


@pytest.mark.parametrize("names", [("RAB1950", "DEB1950"), ("RAJ2000", "DEJ2000"), ("GLON", "GLAT")])
def test_a_contradiction_is_an_error_that_frame_settles(tmp_path, names):
    stated = "icrs" if "B1950" in names[0] else "fk4 B1950"
    path = votable(tmp_path / "a.vot", stated, names=names)
    with pytest.raises(CatalogError, match=r"contradicted.*--frame"):
        read_catalog(path)
    assert is_there(read_catalog(path, frame=stated))


def test_the_frame_of_equatorial_columns_is_not_that_of_galactic_ones(tmp_path):
    galactic = PLACE.galactic
    hdu = fits.BinTableHDU(Table({"GLON": galactic.l.deg, "GLAT": galactic.b.deg}))
    hdu.header["RADESYS"] = "FK4"
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(tmp_path / "a.fits")
    assert is_there(read_catalog(tmp_path / "a.fits"))


# ----------------------------------------------------------------------------------------------------- several tables


def ldac(path, *tables):
    hdus = [fits.BinTableHDU(table, name="LDAC_OBJECTS", ver=k) for k, table in enumerate(tables, 1)]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path)
    return path


def part(first, **more):
    return Table({"NUMBER": [1, 2], "ALPHA_J2000": [first, first + 1.0], "DELTA_J2000": [2.0, 3.0], **more})


def test_tables_with_the_same_columns_are_taken_together(tmp_path):
    path = ldac(tmp_path / "a.fits", part(10.0), part(20.0))
    catalog = read_catalog(path)
    assert catalog.ra.tolist() == [10, 11, 20, 21]
    assert catalog.ids.tolist() == ["1/1", "1/2", "2/1", "2/2"]
    assert catalog.found["tables"] == "1, 2"
    assert read_catalog(f"{path}[2]").ids.tolist() == ["1", "2"]
    assert read_catalog(f"{path}[2]").ra.tolist() == [20, 21]
    with pytest.raises(CatalogError, match=r"'LDAC'.*There are"):
        read_catalog(f"{path}[LDAC]")


def test_tables_that_differ_are_asked_about(tmp_path):
    path = ldac(tmp_path / "a.fits", part(10.0), part(20.0, MAG=[1.0, 2.0]))
    with pytest.raises(CatalogError, match=r"2 tables .* differ") as caught:
        read_catalog(path)
    assert f"{path}[1]" in str(caught.value)
    assert read_catalog(f"{path}[2]").columns["MAG"].tolist() == [1, 2]


def test_a_table_without_positions_stands_in_nobodys_way(tmp_path):
    path = ldac(tmp_path / "a.fits", Table({"Field Header Card": ["x"]}), part(20.0))
    assert read_catalog(path).ra.tolist() == [20, 21]


# ---------------------------------------------------------------------------------------------- parts, texts and units


@settings(max_examples=30)
@given(st.lists(st.tuples(st.floats(0, 359.99), st.floats(-89.9, 89.9)), min_size=1, max_size=5))
def test_hours_minutes_and_seconds_in_columns_of_their_own(tmp_path_factory, places):
    sky = SkyCoord(places, unit="deg")
    hours, sides = sky.ra.hms, sky.dec.signed_dms
    table = Table(
        {"Name": [f"n{k}" for k in range(len(places))], "RAh": hours.h.astype(int), "RAm": hours.m.astype(int)}
    )
    table["RAs"], table["DE-"] = hours.s, np.where(sides.sign < 0, "-", "+")
    table["DEd"], table["DEm"], table["DEs"] = sides.d.astype(int), sides.m.astype(int), sides.s
    folder = tmp_path_factory.mktemp("parts")
    for name, how, content in (
        ("a.csv", "ascii.csv", table),
        ("a.fits", "fits", table),
        ("a.mrt", "ascii.mrt", Table({"Name": table["Name"], "coord": sky})),  # astropy makes such columns of it
    ):
        if how == "ascii.mrt" and any(-1 < dec < 0 for _, dec in places):
            continue  # astropy writes them without their sign
        content.write(folder / name, format=how)
        catalog = read_catalog(folder / name)
        assert SkyCoord(catalog.ra, catalog.dec, unit="deg").separation(sky).mas.max() < 1
        assert catalog.sky.chosen == "parts"


def test_parts_without_seconds_or_sign_and_with_gaps(tmp_path):
    (tmp_path / "a.csv").write_text("id,RAh,RAm,DEd,DEm\na,10,30.5,-0,30\nb,1,0,5,0\nc,,,5,0\n")
    catalog = read_catalog(tmp_path / "a.csv")
    assert np.allclose(catalog.ra[:2], [157.625, 15])
    assert np.allclose(catalog.dec[1], 5)
    assert np.isnan(catalog.ra[2])


@pytest.mark.parametrize(
    "texts", [("10:00:28.56 +02:12:21", "0h42m0s -0d0m14.4s"), ("150.119 2.205833", "10.5, -0.004")]
)
@pytest.mark.parametrize("name", ["coord", "RADEC", "position", "sky_centroid", "coord1 (ICRS,J2000/2000)"])
def test_positions_in_one_column(tmp_path, name, texts):
    (tmp_path / "a.csv").write_text(f'id,"{name}"\na,"{texts[0]}"\nb,"{texts[1]}"\nc,\n')
    catalog = read_catalog(tmp_path / "a.csv")
    assert np.allclose(catalog.ra[:2], PLACE.ra.deg, atol=1e-9)
    assert np.allclose(catalog.dec[:2], PLACE.dec.deg, atol=1e-6)
    assert np.isnan(catalog.ra[2])


def test_a_unit_that_is_given_goes_before_that_of_the_columns(tmp_path):
    Table({"ra": PLACE.ra.hourangle, "dec": PLACE.dec.deg}).write(tmp_path / "hours.csv")
    Table({"coord_ra": PLACE.ra.rad, "coord_dec": PLACE.dec.rad}).write(tmp_path / "radians.csv")
    Table({"coord_ra": PLACE.ra.rad * u.rad, "coord_dec": PLACE.dec.rad * u.rad}).write(tmp_path / "stated.fits")
    Table({"ra": PLACE.ra.hourangle, "dec": PLACE.dec.rad}).write(tmp_path / "both.csv")
    assert is_there(read_catalog(tmp_path / "hours.csv", unit="hour"))
    assert is_there(read_catalog(tmp_path / "radians.csv", unit="rad"))
    assert is_there(read_catalog(tmp_path / "stated.fits"))
    assert is_there(read_catalog(tmp_path / "both.csv", unit="hour,rad"))
    for wrong in ("Jy", "hour,deg,deg", "furlong"):
        with pytest.raises(ConfigError, match="expected a unit of angles"):
            read_catalog(tmp_path / "hours.csv", unit=wrong)


@pytest.mark.parametrize(
    ("names", "frame", "scale"),
    [
        ("RA (J2000);Dec (J2000)", "icrs", 1.0),
        ("RA (B1950);Dec (B1950)", "fk4 B1950", 1.0),
        ("RA (J2000, deg);Dec (J2000, deg)", "icrs", 1.0),
        ("RA(FK5 J1975) [rad];Dec(FK5 J1975) [rad]", "fk5 J1975", np.pi / 180),
        ("RA [deg] (FK4);Dec [deg] (FK4)", "fk4 B1950", 1.0),
        ("R.A.;Dec.", "icrs", 1.0),
        ("R.A. (decimal degrees);Decl. (decimal degrees)", "icrs", 1.0),
        ("RA (Galactic);Dec (J2000)", None, 1.0),
    ],
)
@pytest.mark.parametrize("texts", [False, True])
def test_a_frame_and_a_unit_in_brackets_behind_a_name(tmp_path, names, frame, scale, texts):
    first, second = names.split(";")
    lon, lat = degrees(FRAMES[frame or "icrs"][0], **FRAMES[frame or "icrs"][1])
    rows = [f"o{k};{a * scale:.13f};{b * scale:.13f}" for k, (a, b) in enumerate(zip(lon, lat, strict=True))]
    path = tmp_path / "x.csv"
    path.write_text("\n".join([f"id;{names}", *rows]))
    table = Table.read(path, format="ascii.csv", delimiter=";", converters={"*": [str]} if texts else {})
    if frame is None:
        with pytest.raises(CatalogError, match="is contradicted"):
            read_catalog(table)
        return
    for found in (read_catalog(path), read_catalog(table)):
        assert is_there(found)
        assert found.sky.frame.split()[0] == frame.split()[0]
        assert found.sky.columns == (first, second)


def test_a_unit_that_is_no_angle_says_how_to_go_on(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("id,RA (wild),Dec (deg)\na,150.119,2.205833\nb,10.5,-0.004\n")
    with pytest.raises(CatalogError, match=r"'RA \(wild\)' is in wild, expected an angle: .*--unit deg"):
        read_catalog(path)
    assert is_there(read_catalog(path, unit="deg"))


@pytest.mark.parametrize(("second", "clash"), [("rad", True), ("deg", False), (None, False), ("arcsec", True)])
@pytest.mark.parametrize("first", ["deg", None])
def test_tables_in_other_units_are_not_taken_together(tmp_path, first, second, clash):
    tables = []
    for k, unit in enumerate((first, second)):
        one = Table(
            {
                "ID": [f"o{k}"],
                "RA": [PLACE.ra.to_value(unit or "deg")[k]],
                "DEC": [PLACE.dec.to_value(unit or "deg")[k]],
            }
        )
        one["RA"].unit = one["DEC"].unit = unit
        tables.append(fits.BinTableHDU(one))
    fits.HDUList([fits.PrimaryHDU(), *tables]).writeto(tmp_path / "x.fits")
    if clash:
        with pytest.raises(CatalogError, match="they differ in the unit of 'RA'"):
            read_catalog(tmp_path / "x.fits")
        part = read_catalog(f"{tmp_path / 'x.fits'}[2]")
        assert SkyCoord(part.ra, part.dec, unit="deg").separation(PLACE[1:]).mas.max() < 1
    else:
        assert is_there(read_catalog(tmp_path / "x.fits"))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("RA (hh:mm:ss)", "Dec (dd:mm:ss)"),
        ("RA [h m s]", "Dec [d m s]"),
        ("R.A. (hh mm ss.ss)", "Decl. (+dd mm ss.s)"),
        ("RA (hr:min:sec)", "Dec (deg:arcmin:arcsec)"),
        ("RA (J2000, hms)", "Dec (J2000, dms)"),
        ("RA [sexagesimal]", "Dec [sexagesimal]"),
        ("RA", "Dec"),
    ],
)
def test_sexagesimal_texts_whatever_their_unit_is_called(tmp_path, first, second):
    ra, dec = PLACE.ra.to_string("hour", sep=":", precision=7), PLACE.dec.to_string("deg", sep=":", precision=6)
    rows = [f"o{k};{ra[k]};{dec[k]}" for k in range(len(PLACE))]
    (tmp_path / "x.csv").write_text("\n".join([f"id;{first};{second}", *rows]))
    assert is_there(read_catalog(tmp_path / "x.csv"))
