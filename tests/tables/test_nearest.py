"""The nearest entry of a catalogue of any format, compared with all separations."""

import re
import shutil
import tracemalloc

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Column, MaskedColumn, QTable, Table
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from astroanomaly.errors import AstroAnomalyError, CatalogError, ConfigError, UnreadableError
from astroanomaly.tables import blocks
from astroanomaly.tables.fits import fits_blocks
from astroanomaly.tables.given import given_catalog
from astroanomaly.tables.nearest import WithinErrors, nearest_in_catalog
from astroanomaly.tables.position_errors import position_errors
from folders import ROOT
from hostile_tables import fits_traps

HATS = ROOT / "tests" / "data" / "hats"


def places(n):
    """Positions that crowd at the poles, at the wrap of right ascension and at one point."""
    near = st.floats(-5 / 3600, 5 / 3600)
    lon = st.one_of(near.map(lambda x: x % 360), near.map(lambda x: 150 + x), st.floats(0, 360, exclude_max=True))
    lat = st.one_of(near.map(lambda x: 90 - abs(x)), near.map(lambda x: abs(x) - 90), near, near.map(lambda x: 2 + x))
    return st.lists(st.tuples(lon, lat), min_size=1, max_size=n).map(lambda both: np.array(both).T)


@settings(max_examples=40, deadline=None)
@given(asked=places(12), entries=places(40), radius=st.sampled_from([0.5, 3.0, 60.0]))
def test_as_all_separations_say(asked, entries, radius):
    found = nearest_in_catalog(
        given_catalog(Table({"name": [f"n{k}" for k in range(entries.shape[1])], "ra": entries[0], "dec": entries[1]})),
        *asked, radius,
    )  # fmt: skip
    apart = SkyCoord(*asked, unit="deg")[:, None].separation(SkyCoord(*entries, unit="deg")[None]).arcsec
    np.testing.assert_array_equal(found.count, (apart <= radius).sum(axis=1))
    there = found.count > 0
    np.testing.assert_allclose(found.separation_arcsec[there], apart.min(axis=1)[there], rtol=0, atol=1e-7)
    assert np.isnan(found.separation_arcsec[~there]).all()
    named = [int(name[1:]) if name else -1 for name in found.texts["name"]]
    assert [k >= 0 for k in named] == there.tolist()
    for row, k in enumerate(named):
        assert k < 0 or apart[row, k] <= apart[row].min() + 1e-7


@settings(max_examples=40, deadline=None)
@given(
    asked=places(12), entries=places(40), own=st.sampled_from([0.0, 0.7]), sigma=st.sampled_from([1.0, 3.0]),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_as_errors_allow(asked, entries, own, sigma, seed):
    errors = np.random.default_rng(seed).choice([0.0, 0.1, 1.0, 10.0, np.nan, -1.0], entries.shape[1])
    table = Table({"ra": entries[0], "dec": entries[1], "pos_err": errors * u.arcsec})
    found = nearest_in_catalog(given_catalog(table), *asked, 4.0, WithinErrors(sigma, own))
    apart = SkyCoord(*asked, unit="deg")[:, None].separation(SkyCoord(*entries, unit="deg")[None]).arcsec
    known = np.where(errors >= 0, np.hypot(errors, own), np.nan)
    edge = np.abs(apart - sigma * known) < 1e-6
    may = (apart <= 4.0) & ~(apart > sigma * known)
    assume(not edge.any())
    np.testing.assert_array_equal(found.count, may.sum(axis=1))
    for row in np.flatnonzero(found.count):
        nearest = np.flatnonzero(may[row] & (apart[row] <= apart[row][may[row]].min() + 1e-7))
        np.testing.assert_allclose(found.separation_arcsec[row], apart[row, nearest[0]], atol=1e-7)
        assert any(np.array_equal(found.error_arcsec[row], known[k], equal_nan=True) for k in nearest)


def with_errors():
    """Entries 1 arcsec north of each other; their errors are 2, 0.1 and unknown."""
    table = Table({"name": ["a", "b", "c"], "ra": [10.0, 20.0, 30.0], "dec": [5 + 1 / 3600] * 3})
    table["RADEC_ERR"] = MaskedColumn([2000.0, 100.0, 0.0], mask=[False, False, True], unit="mas")
    return table


@pytest.mark.parametrize("suffix", [".fits", ".vot", ".ecsv", ".parquet"])
def test_errors_of_positions_are_read_from_every_format(tmp_path, suffix):
    path = tmp_path / f"t{suffix}"
    with_errors().write(path, **({"format": "votable"} if suffix == ".vot" else {}))
    found = nearest_in_catalog(path, np.array([10.0, 20.0, 30.0]), np.array([5.0] * 3), 3.0, WithinErrors(3.0))
    assert found.texts["name"] == ["a", "", "c"]
    np.testing.assert_allclose(found.error_arcsec, [2.0, np.nan, np.nan])
    assert found.error_columns == ["RADEC_ERR"]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"ra_error": [30.0] * u.mas, "dec_error": [40.0] * u.mas}, (["ra_error", "dec_error"], 0.04)),
        ({"e_RAJ2000": [0.3] * u.arcsec, "e_DEJ2000": [0.2] * u.arcsec}, (["e_RAJ2000", "e_DEJ2000"], 0.3)),
        ({"errMaj": [0.001] * u.deg, "errMin": [0.0005] * u.deg}, (["errMaj"], 3.6)),
        ({"strange": Column([2.0], unit="arcsec", meta={"ucd": "stat.error;pos.eq"})}, (["strange"], 2.0)),
        ({"pos_err": [2.0]}, None),
        ({"pos_err": [2.0] * u.mag}, None),
        ({"ra_error": [30.0] * u.mas}, None),
    ],
)
def test_which_columns_are_errors_of_positions(columns, expected):
    found = position_errors(Table({"ra": [1.0], "dec": [2.0], **columns}))
    if expected is None:
        assert found is None
    else:
        assert (found[1], found[0].tolist()) == (expected[0], pytest.approx([expected[1]]))


def test_errors_that_are_not_there_are_not_guessed():
    here = np.array([10.0]), np.array([5.0])
    with pytest.raises(CatalogError, match=r"no errors of positions.*Call one pos_err and give its unit"):
        nearest_in_catalog(given_catalog(lenses()), *here, 1.0, WithinErrors(3.0))
    for sigma, error in ((0.0, 0.0), (np.nan, 0.0), (3.0, -1.0), (3.0, 1e9)):
        with pytest.raises(ConfigError, match="expected"):
            WithinErrors(sigma, error)


def lenses(n=40):
    rng = np.random.default_rng(0)
    return Table(
        {
            "mag": rng.normal(20, 1, n), "Name": [f"LENS {k}é" for k in range(n)],
            "RAJ2000": rng.uniform(0, 360, n), "DEJ2000": rng.uniform(-90, 90, n),
            "Type": ["galaxy-galaxy"] * n, "bibcode": [f"2020A&A...{600 + k}A..{10 + k}B" for k in range(n)],
        }
    )  # fmt: skip


@pytest.mark.parametrize("suffix", ["fits", "vot", "parquet", "csv", "ecsv", "hdf5", "fits.gz"])
def test_of_every_format(tmp_path, suffix):
    table, path = lenses(), tmp_path / f"known_lenses.{suffix}"
    if suffix == "parquet":
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.table({name: list(table[name]) for name in table.colnames}), path)
    elif suffix == "hdf5":
        table.write(path, path="t", format="hdf5", serialize_meta=False)
    elif suffix.startswith("fits"):
        plain = table.copy()
        plain["Name"] = [text.encode() for text in table["Name"]]
        plain.write(path)
    else:
        table.write(path, format={"vot": "votable", "csv": "ascii.csv", "ecsv": "ascii.ecsv"}[suffix])
    ra, dec = np.array(table["RAJ2000"])[[7, 3, 7]], np.array(table["DEJ2000"])[[7, 3, 7]]
    found = nearest_in_catalog(path, ra, np.clip(dec + np.array([0.5 / 3600, 0, 1]), -90, 90), 2.0)
    assert found.texts["name"] == ["LENS 7é", "LENS 3é", ""]
    assert found.texts["type"] == ["galaxy-galaxy", "galaxy-galaxy", ""]
    assert found.texts["reference"] == ["2020A&A...607A..17B", "2020A&A...603A..13B", ""]
    assert found.count.tolist() == [1, 1, 0]
    np.testing.assert_allclose(found.separation_arcsec, [0.5, 0, np.nan], atol=1e-6)


def test_of_a_hats_catalogue_only_the_cells_nearby_are_read(tmp_path):
    copy = shutil.copytree(HATS, tmp_path / "hats")
    rows = Table.read(ROOT / "tests" / "data" / "hats.csv")
    ra, dec = np.array(rows["ra"], float), np.array(rows["dec"], float)
    whole = nearest_in_catalog(copy, ra, dec, 1.0)
    assert (whole.count >= 1).all()
    np.testing.assert_allclose(whole.separation_arcsec, 0, atol=1e-6)
    first = nearest_in_catalog(copy, ra[:1], dec[:1], 1.0)
    needed = [path for path, _ in blocks.hats_files(copy, (np.array([_vector(ra[0], dec[0])]), 1e-5))]
    assert 0 < len(needed) < len(list(blocks.hats_files(copy)))
    for path in copy.rglob("Npix=*.parquet"):
        if path not in needed:
            path.write_bytes(b"damaged")
    again = nearest_in_catalog(copy, ra[:1], dec[:1], 1.0)
    assert again.texts == first.texts


def _vector(ra, dec):
    return SkyCoord(ra, dec, unit="deg").cartesian.xyz.value


def test_blocks_give_what_the_whole_table_gives(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "_ROWS", 7)
    table = lenses(50)
    table.remove_column("Name")
    table["id"] = np.arange(50)
    table["RAJ2000"].unit = "deg"
    table.write(tmp_path / "t.fits")
    assert len(list(fits_blocks(tmp_path / "t.fits", 7))) == 8
    ra, dec = np.array(table["RAJ2000"]), np.array(table["DEJ2000"])
    found = nearest_in_catalog(tmp_path / "t.fits", ra, dec, 2.0)
    assert found.texts["name"] == [str(k) for k in range(50)]
    table.remove_column("id")
    table.write(tmp_path / "t.fits", overwrite=True)
    assert nearest_in_catalog(tmp_path / "t.fits", ra, dec, 2.0).texts["name"] == [f"row {k + 1}" for k in range(50)]


def test_the_frame_that_a_table_states_counts():
    place = SkyCoord(266.4, -29.0, unit="deg")
    galactic = QTable({"glon": [place.galactic.l.deg], "glat": [place.galactic.b.deg], "name": ["centre"]})
    found = nearest_in_catalog(given_catalog(galactic), np.array([266.4]), np.array([-29.0]), 1.0)
    assert found.texts["name"] == ["centre"]
    found = nearest_in_catalog(given_catalog(SkyCoord([place.fk4])), np.array([266.4]), np.array([-29.0]), 1.0)
    assert found.texts["name"] == ["row 1"]


def test_ucds_say_what_is_what():
    table = QTable({"p": [10.0] * u.deg, "q": [5.0] * u.deg, "r": ["GRB"], "s": ["2017ApJ...848L..12A"], "t": ["x 1"]})
    for name, ucd in zip("pqrst", ("pos.eq.ra", "pos.eq.dec", "src.class", "meta.bib.bibcode", "meta.id;meta.main"),
                         strict=True):  # fmt: skip
        table[name].info.meta = {"ucd": ucd}
    found = nearest_in_catalog(given_catalog(Table(table)), np.array([10.0]), np.array([5.0]), 1.0)
    assert found.texts == {"name": ["x 1"], "type": ["GRB"], "reference": ["2017ApJ...848L..12A"]}


def test_what_cannot_be(tmp_path):
    here = np.array([1.0]), np.array([1.0])
    with pytest.raises(CatalogError, match=r"no sky positions.*Its columns: mag"):
        nearest_in_catalog(given_catalog(Table({"mag": [1.0]})), *here, 1.0)
    for radius in (0, -1, 601, float("nan")):
        with pytest.raises(ConfigError, match="radius"):
            nearest_in_catalog(given_catalog(lenses()), *here, radius)
    (tmp_path / "a.fits").write_bytes(b"SIMPLE  =                    T" + b" " * 3000)
    with pytest.raises(UnreadableError, match=r"a\.fits"):
        nearest_in_catalog(tmp_path / "a.fits", *here, 1.0)
    table = lenses(1)
    table["Name"] = ["x" * 5000]
    found = nearest_in_catalog(given_catalog(table), np.array(table["RAJ2000"]), np.array(table["DEJ2000"]), 1.0)
    assert len(found.texts["name"][0]) == 200


@pytest.mark.faults
@pytest.mark.parametrize("name", sorted(fits_traps()))
def test_a_table_that_is_a_trap_is_an_error(tmp_path, name):
    (tmp_path / name).write_bytes(fits_traps()[name])
    with pytest.raises(AstroAnomalyError, match=re.escape(name)):
        nearest_in_catalog(tmp_path / name, np.array([1.0]), np.array([1.0]), 1.0)


def test_a_damaged_block_is_an_error(tmp_path):
    (tmp_path / "t.parquet").write_bytes(b"PAR1" + bytes(200) + b"PAR1")
    with pytest.raises(UnreadableError, match=r"t\.parquet"):
        nearest_in_catalog(tmp_path / "t.parquet", np.array([1.0]), np.array([1.0]), 1.0)


def test_a_large_catalogue_takes_the_memory_of_a_block(tmp_path):
    rng, n = np.random.default_rng(0), 250_000
    table = np.zeros(n, [("ra", "f8"), ("dec", "f8"), ("id", "i8"), ("more", "f4", 120)])
    table["ra"], table["dec"], table["id"] = rng.uniform(0, 360, n), rng.uniform(-80, 80, n), np.arange(n)
    fits.BinTableHDU(table).writeto(tmp_path / "t.fits")  # 126 MB
    ra, dec = np.array(table["ra"][::500]), np.array(table["dec"][::500])
    del table
    tracemalloc.start()
    try:
        found = nearest_in_catalog(tmp_path / "t.fits", ra, dec, 1.0)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.texts["name"] == [str(k) for k in range(0, n, 500)]
    assert most < 95e6
