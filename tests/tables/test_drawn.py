"""Text tables that people print or type: drawn with signs, without names, and what is no table at all."""

import numpy as np
import pytest
from astropy.table import Table

from astroanomaly import UnreadableError, read_catalog, read_texts

ROWS = [("NGC 1", 150.119, 2.205833), ("M 31", 10.5, -0.004)]
BOX = """+-------+---------+----------+
| id    | ra      | dec      |
+-------+---------+----------+
| NGC 1 | 150.119 | 2.205833 |
| M 31  | 10.5    | -0.004   |
+-------+---------+----------+
"""
MARKDOWN = """| id | ra | dec |
|:---|---:|---|
| NGC 1 | 150.119 | 2.205833 |
| M 31 | 10.5 | -0.004 |
"""
PSQL = """  id   |   ra    |   dec
-------+---------+----------
 NGC 1 | 150.119 | 2.205833
 M 31  | 10.5    | -0.004
"""
RULED = """=====================
id        ra      dec
=====================
"NGC 1"  150.119  2.205833
"M 31"   10.5     -0.004
"""


@pytest.mark.parametrize("text", [BOX, MARKDOWN, PSQL, RULED])
def test_tables_drawn_with_signs(tmp_path, text):
    (tmp_path / "x.txt").write_text(text)
    found = read_catalog(tmp_path / "x.txt")
    assert list(zip(found.ids, found.ra, found.dec, strict=True)) == ROWS


@pytest.mark.parametrize("sign", [" ", ",", ";", "\t", "|"])
def test_the_first_row_of_a_table_without_names_is_a_row(tmp_path, sign):
    (tmp_path / "x.txt").write_text(
        "".join(sign.join((f'"{name}"', f"{ra}", f"{dec}")) + "\n" for name, ra, dec in ROWS)
    )
    found = read_catalog(tmp_path / "x.txt", id="col1", ra="col2", dec="col3")
    assert list(zip(found.ids, found.ra, found.dec, strict=True)) == ROWS


@pytest.mark.parametrize("names", ["id,ra,dec,3.6,4.5", "Name,4.5,5.8", "x,y,0.5", "a,1,2"])
def test_numbers_among_names_are_names(tmp_path, names):
    (tmp_path / "x.csv").write_text(f"{names}\n" + ",".join("1" * len(names.split(","))) + "\n")
    assert read_texts(tmp_path / "x.csv", "x.csv").names == names.split(",")


def test_latex_is_refused_by_name(tmp_path):
    table = Table({"id": ["a"], "ra": [1.0], "dec": [2.0]})
    for kind in ("latex", "aastex"):
        table.write(tmp_path / "x.tex", format=f"ascii.{kind}", overwrite=True)
        with pytest.raises(UnreadableError, match=r"x\.tex is LaTeX, which is not read as a table"):
            read_catalog(tmp_path / "x.tex")
    assert np.isfinite(read_catalog(table).ra).all()


@pytest.mark.parametrize("units", [",deg,deg", "-,[deg],[deg]", "---,(rad),(rad)"])
def test_a_row_of_units_below_the_names_holds_units(tmp_path, units):
    (tmp_path / "x.csv").write_text(f"id,ra,dec\n{units}\nNGC 1,1.5,-0.5\n")
    found = read_catalog(tmp_path / "x.csv")
    scale = np.degrees(1) if "rad" in units else 1
    assert list(found.ids) == ["NGC 1"]
    assert (found.ra[0], found.dec[0]) == pytest.approx((1.5 * scale, -0.5 * scale), abs=1e-10)
    assert found.sky.stated


def test_a_row_with_such_a_word_is_no_row_of_units(tmp_path):
    (tmp_path / "x.csv").write_text("id,ra,dec,grade\na,1,2,h\nb,3,4,h\n")
    assert list(read_catalog(tmp_path / "x.csv").ids) == ["a", "b"]


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (b"ARROW1\0\0\xff", "Feather"),
        (b"\x80\x05\x95\xff", "a pickle"),
        (b"MATLAB 5.0 MAT-file", "MATLAB"),
        (b"SR\0\4\0\0", "IDL"),
    ],
)
def test_files_of_other_programs_are_refused_by_name(tmp_path, start, words):
    (tmp_path / "x.dat").write_bytes(start + bytes(200))
    with pytest.raises(UnreadableError, match=rf"x\.dat is {words}.*, which is not read as a table"):
        read_catalog(tmp_path / "x.dat")
