"""The exported catalogue: what astropy reads back is what was written, whatever the text in it."""

import csv
import io
import os
import re
import subprocess
import sys
import textwrap
import warnings

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits, votable
from astropy.io.votable import parse, validate
from astropy.table import Column, MaskedColumn, QTable, Table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astroanomaly.errors import CatalogError, ConfigError, StorageError
from astroanomaly.tables.write import SUFFIXES, build_catalog, merge_duplicates, write_catalog
from escaped import unescape

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "a & b ]]> c",
    "quote \" and ' ,",
    "{brace} \\ back",
    "日本 é",
    "tab\tnew\nline",
]


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


def test_ids_of_xml_are_unique_whatever_columns_are_called(tmp_path):
    """A carried column may have the name of the frame, or of what the provenance tells."""
    columns = {name: np.arange(2.0) for name in ("ra", "dec", "score", "icrs", "ranker", "ICRS_")}
    table = build_catalog({"object_id": np.array(["a", "b"]), **columns}, {"ranker": "probe"})
    path = written(tmp_path, ".vot", table)
    ids = re.findall(r'\sID="([^"]*)"', path.read_text())
    assert len(set(ids)) == len(ids)
    tree = votable.parse(path, verify="exception")
    (system,) = tree.resources[0].coordinate_systems
    assert (system.system, system.equinox, system.epoch) == ("ICRS", None, None)
    assert [f.name for f in tree.get_first_table().fields if f.ref == system.ID] == ["ra", "dec"]


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
    assert lines[1] == "global color=green dashlist=8 3"  # DS9 refuses quotes here, see tests/desktop
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
    with pytest.raises(StorageError, match=r"the folder .* does not exist"):
        write_catalog(catalog(), tmp_path / "none" / "out.vot")
    assert [item.name for item in tmp_path.iterdir()] == ["out.vot"]


def test_an_empty_catalogue_can_be_written(tmp_path):
    for suffix in SUFFIXES:
        written(tmp_path, suffix, catalog()[:0])


# ------------------------------------------------------------------------------------- the worst texts and columns

WORST = [
    "field/plain.fits",
    "<img src=x onerror=alert(1)>",
    "]]>&amp;<!--",
    "br{ace}s {{ # text={x}",
    'comma, "quote", semi;',
    "back\\slash",
    "x" * 10_000,
    "=1+1",
    "\u00e9 \u661f \U0001f30c",
    "new\nline\rand\ttab",
    "bell\x07 escape\x1b",
    " blanks at the ends ",
    "lone \udce9 surrogate",
    "null\x00",
]
VOTABLES = (".vot", ".votable", ".xml")
PROVENANCE = {
    "software": "astroanomaly 0.2.0",
    "session": "/data/\u00e9/" + "long/" * 60,
    "command": 'astroanomaly export <search> --out "a & b" \x07',
}


def columns(ids=WORST, **extra):
    n = len(ids)
    return {
        "object_id": np.array(ids, dtype=object),
        "ra": np.linspace(0, 359.999999999, n),
        "dec": np.linspace(-89.123456789, 90, n),
        "score": np.linspace(3, -3, n).astype(np.float32),
        "rank": np.arange(1, n + 1),
        "label": np.array(["", "anomaly"] * n)[:n],
        "log_odds_lens": np.arange(n, dtype=np.float32),
        **extra,
    }


CARRIED = {
    "RA": Column(np.arange(len(WORST)), unit="hourangle"),
    "magnitude": Column(np.arange(len(WORST)) / 7, unit="mag", description="total \u00e9 " + "magnitude " * 20),
    "flux": Column(np.arange(len(WORST)) / 7, unit="nJy"),
    "strange_unit": Column(np.arange(len(WORST)) * 1.0, unit="furlongs!!"),
    "flag": np.arange(len(WORST)) % 2 == 0,
    "masked": MaskedColumn(np.arange(len(WORST)), mask=np.arange(len(WORST)) % 3 == 0),
    "masked_text": MaskedColumn(["word"] * len(WORST), mask=np.arange(len(WORST)) % 2 == 0),
    "vector": np.zeros((len(WORST), 3)),
    "latin1": np.array([b"ab\xff"] * len(WORST)),
    "1 strange <n\u00e4me> '": np.arange(len(WORST)),
    "'" * 60: np.arange(len(WORST)),
    "n" * 80: np.arange(len(WORST)),
    "n" * 81: np.arange(len(WORST)),
}


def read(path):
    """Read a catalogue with astropy alone; warnings are errors."""
    if path.suffix in VOTABLES:
        return parse(str(path)).get_first_table().to_table(use_names_over_ids=True)
    if path.suffix == ".csv":
        rows = list(csv.reader(io.StringIO(path.read_bytes().decode("utf-8"), newline="")))
        return Table({name: [row[k] for row in rows[1:]] for k, name in enumerate(rows[0])})
    return Table.read(path, format="ascii.ecsv" if path.suffix == ".ecsv" else None)


TABLES = [suffix for suffix in SUFFIXES if suffix != ".reg"]


@pytest.mark.parametrize("suffix", TABLES)
@pytest.mark.parametrize("extra", [{}, CARRIED], ids=["plain", "carried"])
def test_hostile_text_round_trips_or_is_escaped(tmp_path, suffix, extra):
    path = tmp_path / f"c{suffix}"
    write_catalog(build_catalog(columns(**extra), PROVENANCE), path)
    table = read(path)
    assert len(table) == len(WORST)
    for expected, found in zip(WORST, table["object_id"], strict=True):
        # a text is kept, or spelt with escapes that give it back
        assert str(found) == expected or unescape(str(found)) == expected
    kept = 8 if suffix == ".fits" else 9  # FITS is ASCII
    assert [str(found) for found in table["object_id"][:kept]] == WORST[:kept]
    for name in ("score", "rank", "log_odds_lens"):
        np.testing.assert_array_equal(np.asarray(table[name], float), columns()[name])


@pytest.mark.parametrize("suffix", TABLES)
def test_positions_come_back_to_a_billionth_of_a_degree(tmp_path, suffix):
    rng = np.random.default_rng(0)
    ids = [f"o{i}" for i in range(500)]
    ra, dec = rng.uniform(0, 360, 500), np.degrees(np.arcsin(rng.uniform(-1, 1, 500)))
    path = tmp_path / f"c{suffix}"
    write_catalog(build_catalog(columns(ids, ra=ra, dec=dec), {}), path)
    table = read(path)
    found = SkyCoord(np.asarray(table["ra"], float), np.asarray(table["dec"], float), unit="deg")
    assert np.abs(found.ra.deg - ra).max() < 1e-9
    assert np.abs(found.dec.deg - dec).max() < 1e-9
    assert found.separation(SkyCoord(ra, dec, unit="deg")).max() < 1e-8 * u.deg


def test_quantities_units_and_ucds_survive(tmp_path):
    table = build_catalog(columns(["a", "b"]), PROVENANCE)
    assert table["ra"].unit == table["dec"].unit == u.deg
    assert SkyCoord(table["ra"], table["dec"]).dec.deg == pytest.approx([-89.123456789, 90])
    write_catalog(table, tmp_path / "c.vot")
    fields = {field.name: field for field in parse(str(tmp_path / "c.vot")).get_first_table().fields}
    header = write_and_open_fits(table, tmp_path / "c.fits")
    in_fits = {header[f"TTYPE{k}"]: k for k in range(1, header["TFIELDS"] + 1)}
    for name, ucd, unit in (
        ("object_id", "meta.id;meta.main", None),
        ("ra", "pos.eq.ra;meta.main", "deg"),
        ("dec", "pos.eq.dec;meta.main", "deg"),
        ("score", "stat.likelihood", None),
        ("log_odds_lens", "stat.likelihood", None),
    ):
        assert fields[name].ucd == header[f"TUCD{in_fits[name]}"] == ucd
        assert (fields[name].unit and str(fields[name].unit)) == header.get(f"TUNIT{in_fits[name]}") == unit
        assert " ".join(fields[name].description.split()) == header[f"TCOMM{in_fits[name]}"]
        assert fields[name].description


def write_and_open_fits(table, path):
    write_catalog(table, path)
    with fits.open(path, checksum=True) as hdus:
        hdus.verify("exception")
        return hdus[1].header.copy()


def test_votable_passes_the_validator(tmp_path):
    write_catalog(build_catalog(columns(**CARRIED), PROVENANCE), tmp_path / "c.vot")
    report = io.StringIO()
    assert validate(str(tmp_path / "c.vot"), output=report), report.getvalue()
    write_catalog(build_catalog(columns([]), {}), tmp_path / "empty.vot")
    assert validate(str(tmp_path / "empty.vot"), output=report), report.getvalue()
    assert len(read(tmp_path / "empty.vot")) == 0


def test_provenance_is_in_every_header(tmp_path):
    table = build_catalog(columns(["a"]), PROVENANCE)
    history = "".join(write_and_open_fits(table, tmp_path / "c.fits")["HISTORY"])
    assert "software: astroanomaly 0.2.0" in history
    assert "long/" * 60 in history
    long = build_catalog(columns(["a"]), {"settings": "whiten=False, shrink=True, " * 9 + "end"})
    lines = list(write_and_open_fits(long, tmp_path / "d.fits")["HISTORY"])
    assert len(lines) > 3
    words = {word for line in lines for word in str(line).split()}
    assert words == {"settings:", "whiten=False,", "shrink=True,", "end"}  # each whole
    write_catalog(table, tmp_path / "c.vot")
    infos = {info.name: info.value for info in parse(str(tmp_path / "c.vot")).resources[0].infos}
    assert infos["software"] == "astroanomaly 0.2.0"
    assert infos["command"] == 'astroanomaly export <search> --out "a & b" \\x07'
    write_catalog(table, tmp_path / "c.ecsv")
    assert read(tmp_path / "c.ecsv").meta["session"] == PROVENANCE["session"]


def test_carried_columns_keep_units_descriptions_and_gaps(tmp_path):
    table = build_catalog(columns(**CARRIED), {})
    assert "catalog_RA" in table.colnames  # RA and ra are one name in FITS
    write_catalog(table, tmp_path / "c.fits")
    write_catalog(table, tmp_path / "c.vot")
    assert "furlongs!!" in read(tmp_path / "c.vot")["strange_unit"].description
    with fits.open(tmp_path / "c.fits") as hdus:
        told = [value for key, value in hdus[1].header.items() if key.startswith("TCOMM")]
    assert "[unit: furlongs!!]" in told
    assert "[name: 1 strange <n\\xe4me> ']" in told
    for path in (tmp_path / "c.fits", tmp_path / "c.vot"):
        found = read(path)
        assert found["magnitude"].unit == u.mag
        assert found["flux"].unit == u.nJy
        assert found["strange_unit"].unit is None
        assert list(found["masked"].mask) == list(CARRIED["masked"].mask)
        assert [str(word) for word in found["masked_text"][1::2]] == ["word"] * (len(WORST) // 2)
        assert "--" not in np.ma.getdata(found["masked_text"]).tolist()


def test_regions_are_circles_and_say_who_is_missing(tmp_path, caplog):
    given = columns()
    given["ra"][2] = np.nan
    write_catalog(build_catalog(given, {}), tmp_path / "c.reg")
    lines = (tmp_path / "c.reg").read_text(encoding="utf-8").splitlines()
    circles = [line for line in lines if line.startswith("circle(")]
    assert lines[3:-1] == circles
    assert len(circles) == len(WORST) - 1
    assert lines[-1] == f"# 1 of {len(WORST)} objects have no position and are left out"
    assert "1 of 14 objects have no position" in caplog.text
    for line in circles:
        shape, comment = line.split(" # text={", 1)
        assert comment.count("}") == 1
        assert comment.endswith("}")
        assert "{" not in comment
        assert shape.endswith(',3")')
    ra, dec = circles[5].removeprefix("circle(").split(",")[:2]
    assert (float(ra), float(dec)) == pytest.approx((given["ra"][6], given["dec"][6]), abs=1e-9)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_existing_file_is_replaced_only_when_asked(tmp_path, suffix):
    path = tmp_path / f"c{suffix}"
    path.write_text("precious")
    table = build_catalog(columns(["a"]), {})
    with pytest.raises(StorageError, match="exists already"):
        write_catalog(table, path)
    assert path.read_text() == "precious"
    write_catalog(table, path, overwrite=True)
    assert path.read_bytes() != b"precious"
    assert os.listdir(tmp_path) == [path.name]


def test_bad_requests_say_the_way_out(tmp_path):
    table = build_catalog(columns(["a"]), {})
    with pytest.raises(ConfigError, match=r"expected one of \.vot, .*did you mean '\.fits'"):
        write_catalog(table, tmp_path / "c.fit")
    with pytest.raises(StorageError, match="does not exist"):
        write_catalog(table, tmp_path / "none" / "c.vot")
    with pytest.raises(ConfigError, match="merge radius of -1"):
        merge_duplicates(table, -1)
    with pytest.raises(CatalogError, match="needs the column 'score'"):
        build_catalog({"object_id": ["a"], "ra": [1.0], "dec": [2.0]}, {})
    with pytest.raises(CatalogError, match="of one length"):
        build_catalog(columns(["a"], rank=[1, 2]), {})
    assert os.listdir(tmp_path) == []


def test_a_full_disk_leaves_nothing_behind(tmp_path):
    """A limit on the size of files stands for the full disk: writing fails in the middle."""
    script = f"""
        import resource, signal
        import numpy as np
        from astroanomaly.errors import StorageError
        from astroanomaly.tables.write import SUFFIXES, build_catalog, write_catalog
        n = 3000
        zeros = np.zeros(n)
        ids = [f"object-{{i}}" for i in range(n)]
        table = build_catalog({{"object_id": ids, "ra": zeros, "dec": zeros, "score": zeros}}, {{}})
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        for suffix in SUFFIXES:
            try:
                write_catalog(table, {str(tmp_path)!r} + "/c" + suffix)
            except StorageError as error:
                print("STORAGE", suffix)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False)
    assert done.stdout.split() == [word for suffix in SUFFIXES for word in ("STORAGE", suffix)], done.stderr
    assert os.listdir(tmp_path) == []


# --------------------------------------------------------------------------------------------------------- duplicates


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(0, 3)), max_size=15),
    st.sampled_from([0.5, 1.0, 1.5, 4.0]),
)
def test_merging_loses_nobody_and_keeps_no_better_neighbour(points, radius):
    arcsec = 1 / 3600
    ids = [f"o{k}" for k in range(len(points))]
    given = columns(
        ids,
        ra=np.array([p[0] * arcsec * 0.7 for p in points]),
        dec=np.array([p[1] * arcsec * 0.7 for p in points]),
        score=np.array([float(p[2]) for p in points]),
    )
    merged = merge_duplicates(build_catalog(given, {}), radius)
    members = [[str(i), *str(m).split()] for i, m in zip(merged["object_id"], merged["merged_ids"], strict=True)]
    assert sorted(i for group in members for i in group) == sorted(ids)
    assert [len(m) for m in members] == list(merged["n_merged"])
    scores = dict(zip(ids, given["score"], strict=True))
    assert all(scores[kept] >= scores[other] for kept, *others in members for other in others)
    where = SkyCoord(merged["ra"], merged["dec"])
    if len(merged) > 1:
        apart = where[:, None].separation(where[None, :]).arcsec + np.eye(len(merged)) * 1e9
        assert apart.min() > radius - 1e-6


# ----------------------------------------------------------------------------------------------------------- any text


@settings(deadline=None, max_examples=25)
@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=4), st.sampled_from(TABLES))
def test_any_text_at_all_can_be_written_and_read(tmp_path_factory, ids, suffix):
    path = tmp_path_factory.mktemp("any") / f"c{suffix}"
    write_catalog(build_catalog(columns(ids), {"note": ids[0]}), path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = read(path)
    for expected, found in zip(ids, np.ma.getdata(table["object_id"]).tolist(), strict=True):
        assert found == expected or unescape(found) == unescape(expected)


def test_rows_of_any_length_are_written_within_their_memory(tmp_path):
    """Python's own guard around every block of memory ends the process if a byte beside one is touched."""
    program = f"""
import numpy as np
from pathlib import Path
from astroanomaly.tables.write import build_catalog, write_catalog
for n in range(300, 520):
    ids = np.array([letter * n for letter in "abc"])
    numbers = {{name: np.arange(3.0) for name in ("ra", "dec", "score", "rank")}}
    columns = {{"object_id": ids, **numbers}}
    write_catalog(build_catalog(columns, {{}}), Path({str(tmp_path)!r}) / f"{{n}}.vot")
"""
    environment = {**os.environ, "PYTHONMALLOC": "debug"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:2000]
    assert len(list(tmp_path.glob("*.vot"))) == 220
