"""Tables for a paper: astropy reads back what was written, names are truncated positions, LaTeX is escaped."""

import re
import string

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import ascii as text_tables
from astropy.table import MaskedColumn
from hypothesis import example, given, settings
from hypothesis import strategies as st

from astroanomaly.errors import ConfigError, StorageError
from astroanomaly.tables.designation import designations
from astroanomaly.tables.escape import ascii_text
from astroanomaly.tables.latex import latex_text
from astroanomaly.tables.paper import write_paper_table
from astroanomaly.tables.write import build_catalog


def catalog(**columns):
    """Return a catalogue of as many objects as the first column has."""
    count = len(next(iter(columns.values()))) if columns else 2
    usual = {
        "object_id": np.array([f"obj-{k}" for k in range(count)]),
        "ra": np.linspace(10.00001, 359.9, count),
        "dec": np.linspace(-89.5, 45.123456789, count),
        "score": np.linspace(3, -2.5, count).astype(np.float32),
    }
    return build_catalog(usual | columns, {"session": "search", "ranker": "probe"})


def read_mrt(path):
    return text_tables.read(path, format="mrt")


def read_cds(path):
    return text_tables.read(path, format="cds", readme=path.with_name("ReadMe"))


BOTH = pytest.mark.parametrize(("suffix", "read"), [(".mrt", read_mrt), (".dat", read_cds)])


@BOTH
def test_descriptions_and_units_come_back(tmp_path, suffix, read):
    flux = np.array([1.5, np.nan]) * u.Jy
    radius = MaskedColumn([0.25, 1.0], mask=[False, True], unit="arcsec", description="half-light radius " * 9)
    table = catalog(flux=flux, radius=radius, odd=np.array([1, 2]) * u.electron / u.s)
    write_paper_table(table, tmp_path / f"t{suffix}", acronym="AA")
    back = read(tmp_path / f"t{suffix}")
    assert back.colnames[:5] == ["designation", "object_id", "RAdeg", "DEdeg", "score"]
    assert (back["RAdeg"].unit, back["flux"].unit, back["radius"].unit) == (u.deg, u.Jy, u.arcsec)
    assert back["RAdeg"].tolist() == table["ra"].value.tolist()
    assert back["DEdeg"].tolist() == table["dec"].value.tolist()
    assert back["flux"][0] == 1.5
    assert np.ma.is_masked(back["flux"][1])
    assert np.ma.is_masked(back["radius"][1])
    assert back["radius"].description.endswith("half-light radius")
    assert "not calibrated, higher is more anomalous [ucd=stat.likelihood]" in back["score"].description
    assert "[unit: electron / s]" in back["odd"].description
    text = (tmp_path / ("ReadMe" if suffix == ".dat" else "t.mrt")).read_text()
    assert "ranker: probe" in text
    described = text.split("Byte-by-byte")[1].split("Note (1)")[0]
    assert max(map(len, described.splitlines())) <= 80
    assert "[1.5/1.5]?" in described


floats = st.floats(allow_nan=True, allow_infinity=True)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@BOTH
@settings(max_examples=40)
@given(
    rows=st.lists(
        st.tuples(floats, st.floats(width=32), st.integers(-(2**63), 2**63 - 1), texts, st.booleans()),
        min_size=1,
        max_size=4,
    ),
    description=texts,
    name=st.text(string.printable, min_size=1, max_size=9),
)
@example(rows=[(0.0, 0.0, 0, "0", False)], description="\r", name="0")
def test_values_come_back_whatever_they_are(tmp_path_factory, suffix, read, rows, description, name):
    double, single, whole, words, yes = map(list, zip(*rows, strict=True))
    columns = {
        "double": np.array(double, float), "single": np.array(single, np.float32), "whole": np.array(whole, np.int64),
        "words": np.array(words, dtype=str), "yes": np.array(yes, bool), f"x{name}": np.array(double, float),
    }  # fmt: skip
    table = catalog(**columns)
    table["words"].info.description = description
    path = tmp_path_factory.mktemp("any") / f"t{suffix}"
    write_paper_table(table, path)
    back = read(path)
    assert len(back) == len(rows)
    finite = np.isfinite(columns["double"])
    np.testing.assert_array_equal(np.ma.getdata(back["double"])[finite], columns["double"][finite])
    assert np.ma.getmaskarray(back["double"]).tolist() == (~finite).tolist()
    finite = np.isfinite(columns["single"])
    np.testing.assert_array_equal(np.ma.getdata(back["single"]).astype(np.float32)[finite], columns["single"][finite])
    assert back["whole"].tolist() == whole
    assert back["yes"].tolist() == [int(one) for one in yes]
    kept = [str(one) for one in np.ma.filled(back["words"].astype(str), "")]
    assert kept == [ascii_text(one.rstrip("\0")) for one in words]


@BOTH
def test_lines_that_look_like_the_end_of_a_section_are_kept(tmp_path, suffix, read):
    table = catalog(words=np.array(["---------", "========"]))
    table["ra"][:] = np.nan  # so that there is no designation before
    for name in ("object_id", "words"):
        table[name] = np.array(["---------------", "=========="])
    write_paper_table(table, tmp_path / f"t{suffix}")
    back = read(tmp_path / f"t{suffix}")
    assert back["object_id"].tolist() == ["---------------", "=========="]


@BOTH
def test_a_column_with_several_numbers_becomes_several(tmp_path, suffix, read):
    write_paper_table(catalog(shape=np.array([[1.5, 2.0], [3.0, 4.25]])), tmp_path / f"t{suffix}")
    back = read(tmp_path / f"t{suffix}")
    assert (back["shape_0"].tolist(), back["shape_1"].tolist()) == ([1.5, 3.0], [2.0, 4.25])


def test_names_are_positions_cut_off():
    place = SkyCoord("12h34m56.789s -01d23m45.67s")
    near = SkyCoord("23h59m59.999s +89d59m59.99s")
    ra, dec = np.array([place.ra.deg, near.ra.deg, 0.0, np.nan]), np.array([place.dec.deg, near.dec.deg, -0.0, 1.0])
    assert designations(ra, dec, "AA-DR1") == [
        "AA-DR1 J123456.78-012345.6", "AA-DR1 J235959.99+895959.9", "AA-DR1 J000000.00+000000.0", "",
    ]  # fmt: skip


@given(st.integers(0, 24 * 360000 - 1), st.integers(-324000 * 10, 324000 * 10))
def test_a_position_of_just_so_many_digits_keeps_them(hundredths, tenths):
    (name,) = designations(np.array([hundredths / 24000]), np.array([tenths / 36000]))
    h, m, s, sign, d, a, t = re.fullmatch(r"J(\d\d)(\d\d)(\d\d\.\d\d)([+-])(\d\d)(\d\d)(\d\d\.\d)", name).groups()
    assert round((int(h) * 3600 + int(m) * 60 + float(s)) * 100) == hundredths
    assert round((int(d) * 3600 + int(a) * 60 + float(t)) * 10) * (-1 if sign == "-" else 1) == tenths


@pytest.mark.parametrize("journal", ["aas", "mnras"])
def test_latex_has_a_row_for_each_object_and_escapes_text(tmp_path, journal):
    names = np.array([r"50% \input{/etc/passwd} $x_1$ & #~^", "[a]*--b", "é" * 100])
    table = catalog(label=names, probability=np.array([0.5, np.nan, 1.0]), rank=np.array([1, 2, 3]))
    write_paper_table(table, tmp_path / "t.tex", acronym="AA_1", journal=journal)
    text = (tmp_path / "t.tex").read_text(encoding="ascii")
    missing = r"\nodata" if journal == "aas" else "--"
    table_of = "deluxetable*" if journal == "aas" else "tabular"
    assert text.count(rf"\begin{{{table_of}}}") == text.count(rf"\end{{{table_of}}}") == 1
    body = text.split(r"\startdata" if journal == "aas" else "\\hline")[1 if journal == "aas" else 2]
    rows = [line for line in body.splitlines() if line.startswith(r"AA\_1 J")]
    assert len(rows) == 3
    columns = len(re.split(r"(?<!\\)&", rows[0]))
    assert all(len(re.split(r"(?<!\\)&", row)) == columns for row in rows)
    assert r"\textbackslash{}input\{/etc/passwd\}" in rows[0]
    assert missing in rows[1]
    assert "{[}a{]}{*}-{}-b" in rows[1]
    assert r"$-$893000.0" in rows[0]


def undo(text):
    """Read what `latex_text` wrote as LaTeX would set it."""
    words = {
        "textbackslash": "\\", "textasciitilde": "~", "textasciicircum": "^", "textless": "<", "textgreater": ">",
        "textbar": "|", "textquotedbl": '"', "textasciigrave": "`", "textquotesingle": "'",
    }  # fmt: skip
    text = text.replace(r"\texttt{\char34}", r"\textquotedbl{}")
    text = re.sub(r"\\([a-z]+)\{\}", lambda found: f"\\{ord(words[found[1]]):03d}", text)
    text = re.sub(r"\{([\[\]*]?)\}", r"\1", re.sub(r"\\([{}$&#_%])", lambda f: f"\\{ord(f[1]):03d}", text))
    return re.sub(r"\\(\d{3})", lambda found: chr(int(found[1])), text)


@given(texts)
def test_latex_sets_text_as_it_is(text):
    written = latex_text(text)
    assert undo(written) == ascii_text(text)
    assert not re.search(r"(?<!\\)[$&#_%^~]|--", written)


def test_what_cannot_be_written_is_refused_before_the_work(tmp_path):
    with pytest.raises(ConfigError, match="acronym"):
        write_paper_table(catalog(), tmp_path / "a.mrt", acronym="Ä" * 30)
    with pytest.raises(ConfigError, match="expected one of aas, mnras"):
        write_paper_table(catalog(), tmp_path / "a.tex", journal="apj")
    (tmp_path / "ReadMe").write_text("mine")
    with pytest.raises(StorageError, match="ReadMe exists already"):
        write_paper_table(catalog(), tmp_path / "a.dat")
    assert (tmp_path / "ReadMe").read_text() == "mine"
    assert sorted(item.name for item in tmp_path.iterdir()) == ["ReadMe"]
