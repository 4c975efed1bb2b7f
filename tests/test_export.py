"""The exported catalogue: what astropy reads back is what was written, whatever the text in it."""

import io
import warnings

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits, votable
from astropy.table import Column, QTable, Table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astroanomaly.errors import ConfigError, StorageError
from astroanomaly.export import SUFFIXES, build_catalog, merge_duplicates, write_catalog

HOSTILE = ["<img src=x onerror=alert(1)>", "a & b ]]> c", 'quote " and \' ,', "{brace} \\ back", "日本 é", "tab\tnew\nline"]


def catalog(ids=None, n=6):
    ids = ids or [f"obj-{i}" for i in range(n)]
    n = len(ids)
    return build_catalog(
        {
            "object_id": np.array(ids, dtype=str),
            "ra": np.linspace(0.0001, 359.9, n),
            "dec": np.linspace(-89, 89, n),
            "score": np.linspace(5, -5, n).astype(np.float32),
            "rank": np.arange(n) + 1,
            "label": np.array(["anomaly", *[""] * (n - 1)]),
            "log_odds_anomaly": np.linspace(5, -5, n).astype(np.float32),
            "MAG": Column(np.linspace(18, 22, n), unit="mag", description="magnitude"),
        },
        {"ranker": "probe", "software": "astroanomaly", "note": "a " * 200},
    )


def written(tmp_path, suffix, table=None):
    path = tmp_path / f"out{suffix}"
    write_catalog(catalog() if table is None else table, path)
    return path


def same_sky(table, original):
    ours = SkyCoord(original["ra"], original["dec"])
    theirs = SkyCoord(u.Quantity(table["ra"], "deg"), u.Quantity(table["dec"], "deg"))
    return ours.separation(theirs).max() < 1e-9 * u.deg


@pytest.mark.parametrize("suffix", [".fits", ".ecsv", ".vot", ".csv"])
def test_what_was_written_is_read_back(tmp_path, suffix):
    original = catalog()
    path = written(tmp_path, suffix, original)
    back = Table.read(path, format="ascii.csv") if suffix == ".csv" else QTable.read(path)
    assert [str(i) for i in back["object_id"]] == list(original["object_id"])
    assert same_sky(back, original)
    np.testing.assert_allclose(np.asarray(back["score"]), np.asarray(original["score"]), rtol=1e-6)
    if suffix != ".csv":
        assert back["ra"].unit == u.deg
        assert back["MAG"].unit == u.mag


def test_the_votable_is_valid_and_says_what_its_columns_are(tmp_path):
    path = written(tmp_path, ".vot")
    report = io.StringIO()
    assert votable.validate(path, output=report, xmllint=False), report.getvalue()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tree = votable.parse(path, verify="exception")
    fields = {field.name: field for field in tree.get_first_table().fields}
    assert fields["ra"].ucd == "pos.eq.ra;meta.main"
    assert fields["dec"].ucd == "pos.eq.dec;meta.main"
    assert fields["object_id"].ucd == "meta.id;meta.main"
    assert str(fields["ra"].unit) == "deg"
    assert fields["score"].description
    assert tree.resources[0].coordinate_systems[0].system == "ICRS"
    assert {info.name: info.value for info in tree.resources[0].infos}["ranker"] == "probe"


def test_the_fits_header_holds_units_ucds_and_provenance(tmp_path):
    with fits.open(written(tmp_path, ".fits"), checksum=True) as hdus:
        hdus.verify("exception")
        header = hdus[1].header
        number = hdus[1].columns.names.index("ra") + 1
        assert header[f"TUNIT{number}"] == "deg"
        assert header[f"TUCD{number}"] == "pos.eq.ra;meta.main"
        assert header["RADESYS"] == "ICRS"
        assert "ranker: probe" in "".join(header["HISTORY"])


def test_regions_are_read_by_their_positions(tmp_path):
    table = catalog(["plain", "{brace}\nline", "lost"])
    table["ra"][2] = np.nan * u.deg
    lines = written(tmp_path, ".reg", table).read_text().splitlines()
    assert lines[2] == "icrs"
    circles = [line for line in lines if line.startswith("circle(")]
    assert len(circles) == 2
    assert circles[0] == 'circle(0.000100000,-89.000000000,3") # text={plain}'
    assert circles[1].endswith("text={ brace  line}")


@pytest.mark.parametrize("suffix", [".fits", ".ecsv", ".vot", ".csv", ".reg"])
def test_hostile_text_stays_text(tmp_path, suffix):
    table = catalog([*HOSTILE, "x" * 10_000, "\x00\x07control"])
    path = written(tmp_path, suffix, table)
    content = path.read_bytes()
    if suffix == ".vot":
        assert b"<img" not in content
        back = [str(i) for i in Table.read(path)["object_id"]]
        assert back[0] == HOSTILE[0]
        assert back[4] == HOSTILE[4]
    elif suffix == ".fits":
        back = [str(i) for i in Table.read(path)["object_id"]]
        assert back[0] == HOSTILE[0]
        assert back[4] == "\\u65e5\\u672c \\xe9"
    elif suffix == ".ecsv":
        assert [str(i) for i in Table.read(path)["object_id"]][:5] == HOSTILE[:5]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(min_size=1, max_size=20), min_size=2, max_size=6, unique=True))
def test_any_ids_can_be_written_in_any_format(tmp_path_factory, ids):
    folder = tmp_path_factory.mktemp("any")
    for suffix in (".fits", ".vot", ".csv", ".reg", ".ecsv"):
        path = written(folder, suffix, catalog(ids))
        if suffix in (".fits", ".vot"):
            assert len(Table.read(path)) == len(ids)


def test_duplicates_go_to_the_best_score():
    table = catalog(["a", "b", "c", "d"])
    table["ra"] = [10, 10 + 0.5 / 3600, 10 + 1.2 / 3600, np.nan] * u.deg
    table["dec"] = [0, 0, 0, np.nan] * u.deg
    table["score"] = [1.0, 3.0, 2.0, 0.0]
    merged = merge_duplicates(table, 1.0)
    assert list(merged["object_id"]) == ["b", "d"]
    assert list(merged["n_merged"]) == [3, 1]
    assert merged["merged_ids"][0] == "a c"
    assert len(merge_duplicates(table, 0.6)) == 3
    assert len(merge_duplicates(table, 0.0)) == 4


def test_duplicates_are_found_across_the_meridian_and_at_the_pole():
    table = catalog(["a", "b", "c", "d"])
    table["ra"] = [359.99999, 0.00001, 20, 200] * u.deg
    table["dec"] = [0, 0, 89.99999, 89.99999] * u.deg
    assert len(merge_duplicates(table, 1.0)) == 2


def test_nothing_is_overwritten_unasked_and_nothing_half_written_is_left(tmp_path):
    path = written(tmp_path, ".vot")
    with pytest.raises(StorageError, match="exists already"):
        write_catalog(catalog(), path)
    write_catalog(catalog(), path, overwrite=True)
    with pytest.raises(ConfigError, match=r"expected one of .*did you mean '\.vot'"):
        write_catalog(catalog(), tmp_path / "out.vott")
    with pytest.raises(StorageError, match="the folder .* does not exist"):
        write_catalog(catalog(), tmp_path / "none" / "out.vot")
    assert [item.name for item in tmp_path.iterdir()] == ["out.vot"]


def test_an_empty_catalogue_can_be_written(tmp_path):
    for suffix in SUFFIXES:
        written(tmp_path, suffix, catalog()[:0])
