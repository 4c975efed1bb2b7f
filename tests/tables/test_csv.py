"""CSV for spreadsheets: no cell is a formula, however the file is split; who reads it gets the texts as they were."""

import csv
import io
import re

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import example, given, settings
from hypothesis import strategies as st

from astroanomaly import ConfigError, read_catalog, read_texts
from astroanomaly.tables.csv_rows import csv_rows
from astroanomaly.tables.escape import FORMULAS_ESCAPED, formula_text
from astroanomaly.tables.write import build_catalog, write_catalog

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
SIGNS = st.sampled_from("=+-@\t\r\n'\",;| a1.eE\uff1d\uff0b")


def written(names, rows):
    out = io.StringIO(newline="")
    csv_rows(out, names, escape_formulas=True)(rows)
    return out.getvalue()


@given(texts=st.lists(st.text(SIGNS, max_size=12), min_size=1, max_size=4))
@example(["=cmd|'/C calc'!A0", "a;=1+1", "'=x", "-5"])
@example(["-1 ", " +.5 ", "-1 a"])
@example(["\t=1", "+1e5", "+1e5a", '"=1"'])
@settings(max_examples=200, deadline=None)
def test_no_cell_is_a_formula_and_the_texts_come_back(texts):
    content = written(("id", *texts), [["x", *texts]])
    for sign in ",;\t|":
        for row in csv.reader(io.StringIO(content, newline=""), delimiter=sign):
            for cell in row:
                for part in re.split(r"[\r\n,;\t|]", cell):  # whoever cuts at every line end, or at another sign
                    begins = part.lstrip(' "')
                    assert not begins.startswith(("=", "+", "-", "@", "\uff1d")) or NUMBER.fullmatch(
                        begins.rstrip(' "')
                    )
    back = next(csv.reader(io.StringIO(content, newline="")))
    assert back[-1] == FORMULAS_ESCAPED
    found = read_texts(written([f"c{k}" for k in range(len(texts) + 1)], [["x", *texts]]).encode(), "c.csv")
    assert [found.column(k + 1)[0].strip() for k in range(len(texts))] == [text.strip() for text in texts]


def test_text_that_is_no_formula_stays():
    texts = ["a, b; c", "-5", "+1e5", "x=1", " plain ", "a-b", "2;-3"]
    assert [formula_text(text) for text in texts] == texts


def test_ids_of_an_export_for_spreadsheets_are_read_as_they_were(tmp_path):
    ids = ["=1+1", "'=1+1", "-12.5+33", "+44", "@home", "a;=b", "plain"]
    numbers = {name: np.linspace(-2.0, 2.0, len(ids)) for name in ("ra", "dec", "score")}
    table = build_catalog({"object_id": ids, **numbers, "=note": ids}, {})
    write_catalog(table, tmp_path / "c.csv", escape_formulas=True)
    assert "\n'=1+1," in (tmp_path / "c.csv").read_text()
    catalog = read_catalog(tmp_path / "c.csv")
    assert catalog.ids.tolist() == ids
    assert catalog.columns.colnames == ["object_id", "ra", "dec", "score", "=note"]
    assert catalog.columns["score"][0] == -2.0
    write_catalog(table, tmp_path / "plain.csv")
    assert Table.read(tmp_path / "plain.csv", format="ascii.csv")["object_id"].tolist() == ids
    assert read_catalog(tmp_path / "plain.csv").ids.tolist() == ids


def test_formulas_are_escaped_in_csv_only(tmp_path):
    table = build_catalog({"object_id": ["a"], "ra": [1.0], "dec": [1.0], "score": [1.0]}, {})
    with pytest.raises(ConfigError, match="in CSV only"):
        write_catalog(table, tmp_path / "c.vot", escape_formulas=True)
    assert list(tmp_path.iterdir()) == []
