"""Units and UCDs of carried columns, from the catalogue through the cache into the tables that are written."""

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.io.votable import from_table, parse, parse_single_table
from astropy.table import Column, QTable, Table

from astroanomaly import Cache, Session, ingest
from astroanomaly.tables.column_names import clean_ucd
from astroanomaly.tables.units import spell_unit
from astroanomaly.tables.write import build_catalog, write_catalog

CARRIED = {  # name -> unit, UCD
    "mag_r": ("mag", "phot.mag;em.opt.R"),
    "flam": ("erg / (s cm2 Angstrom)", "phot.flux.density;em.opt.R"),
    "fnu": ("uJy", "phot.flux.density"),
    "pm": ("mas / yr", "pos.pm;pos.eq.ra"),
    "old": ("solLum", "PHYS_LUMINOSITY"),
    "bare": ("", ""),
}


def catalogue(path, made):
    """The simulated sky's catalogue as a VOTable or FITS table, with UCDs."""
    table = Table.read(made.catalog)
    own = Table({"source": [f"s{k}" for k in range(len(table))], "RA": table["ra"], "DEC": table["dec"]})
    ucds = {"source": "meta.id;meta.main", "RA": "pos.eq.ra;meta.main", "DEC": "pos.eq.dec;meta.main"}
    for name, (unit, ucd) in CARRIED.items():
        own[name] = Column(np.linspace(1, 2, len(own)), unit=u.Unit(unit) if unit else None, description=f"the {name}")
        ucds[name] = ucd
    if path.suffix == ".vot":
        tree = from_table(own)
        for field in tree.get_first_table().fields:
            field.ucd = ucds[field.name] or None
        tree.to_xml(str(path))
        return path
    hdu = fits.table_to_hdu(own)
    for number, name in enumerate(own.colnames, 1):
        if ucds[name]:
            hdu.header[f"TUCD{number}"] = ucds[name]
        if own[name].description:
            hdu.header[f"TCOMM{number}"] = own[name].description
    hdu.writeto(path)
    return path


@pytest.mark.parametrize("suffix", [".vot", ".fits"])
@pytest.mark.filterwarnings("ignore::astropy.units.UnitsWarning")  # erg and Angstrom are discouraged by VOUnits
@pytest.mark.filterwarnings("ignore::astropy.io.votable.exceptions.VOWarning")  # UCDs of the first kind
def test_what_a_catalogue_says_of_its_columns_comes_out_again(sky, tmp_path, suffix):
    made, _ = sky
    given = catalogue(tmp_path / f"in{suffix}", made)
    ingest("fits", made.mosaics, out=tmp_path / "cache", catalog=given, size="32", carry=("*",))
    kept = Cache.open(tmp_path / "cache").columns(["s1", "s2"])
    session = Session.create(tmp_path / "s", tmp_path / "cache", settings={"input": {"size": 32}})
    session.label(["s1", "s2", "s3"], "anomaly")
    for out in (".vot", ".fits", ".ecsv"):
        session.export(tmp_path / f"out{out}", labelled="anomaly")
    fields = {field.name: field for field in parse(tmp_path / "out.vot").get_first_table().fields}
    header = fits.getheader(tmp_path / "out.fits", 1)
    number = {header[f"TTYPE{k}"]: k for k in range(1, header["TFIELDS"] + 1)}
    ecsv = QTable.read(tmp_path / "out.ecsv")
    for name, (unit, ucd) in CARRIED.items():
        expected = u.Unit(unit) if unit else None
        assert kept[name].unit == expected
        assert kept[name].meta.get("ucd", "") == ucd
        assert (fields[name].unit, fields[name].ucd or "") == (expected, ucd)
        assert header.get(f"TUCD{number[name]}", "") == ucd
        assert u.Unit(header[f"TUNIT{number[name]}"], format="fits") == expected if unit else True
        assert ecsv[name].info.meta.get("ucd", "") == ucd if ucd else True
        assert fields[name].description == f"the {name}"
    # the catalogue's own id and position are told, but ours are the main ones
    main = [name for name, field in fields.items() if "meta.main" in (field.ucd or "")]
    assert main == ["object_id", "ra", "dec"]
    assert (fields["catalog_RA"].ucd, fields["source"].ucd) == ("pos.eq.ra", "meta.id")


def test_the_digest_of_a_cache_does_not_depend_on_ucds(sky, tmp_path):
    made, _ = sky
    for name, ucd in (("with", "phot.mag"), ("without", "")):
        table = Table.read(made.catalog)["object_id", "ra", "dec", "mag_r"]
        table["mag_r"].info.meta = {"ucd": ucd}
        table.write(tmp_path / f"{name}.ecsv")
        catalog = tmp_path / f"{name}.ecsv"
        ingest("fits", made.mosaics, out=tmp_path / name, catalog=catalog, size="16", carry=("mag_r",))
    assert Cache.open(tmp_path / "with").digest() == Cache.open(tmp_path / "without").digest()


@pytest.mark.parametrize(
    ("unit", "vounit", "in_fits"),
    [
        (u.Unit("erg / (s cm2 Angstrom)"), u.Unit("erg / (s cm2 Angstrom)"), True),
        (u.electron / u.s, "'electron'.s**-1", False),
        (u.DN, "'DN'", False),
        (u.ABmag, None, False),
        (u.Unit("furlongs!!", parse_strict="silent"), None, False),
        (None, None, True),
    ],
)
def test_a_unit_is_kept_spelt_or_told(unit, vounit, in_fits):
    kept, text, note = spell_unit(unit, "vounit")
    assert (kept or text or None) == vounit
    if text:  # astropy has read it between quotes meanwhile, as from a table
        u.Unit(text, format="vounit")
        assert spell_unit(unit, "vounit") == (kept, text, note)
    assert bool(note) == (unit is not None and vounit is None)
    kept, text, note = spell_unit(unit, "fits")
    assert (kept, text) == (unit if in_fits else None, "")
    assert spell_unit(unit, "generic") == (unit, "", "")


def test_quoted_units_are_understood_by_astropy(tmp_path):
    columns = {
        "object_id": ["a"],
        "ra": [1.0],
        "dec": [2.0],
        "score": [0.0],
        "rate": Column([3.0], unit="electron / s"),
    }
    write_catalog(build_catalog(columns, {}), tmp_path / "a.vot")
    assert parse_single_table(tmp_path / "a.vot").to_table()["rate"].unit.to_string() == "electron / s"


@pytest.mark.parametrize(
    ("text", "ucd"),
    [
        ("phot.mag;em.opt.R", "phot.mag;em.opt.R"), (" meta.id ", "meta.id"), (b"phot.mag", "phot.mag"),
        ("<b>", ""), ("a\nb", ""), ("x" * 300, ""), (None, ""), ("", ""), (";;", ""), ("POS_EQ_RA", "POS_EQ_RA"),
    ],
)  # fmt: skip
def test_ucds_of_strangers_are_checked(text, ucd):
    assert clean_ucd(text) == ucd
