"""Astropy's tables and positions in place of a file: the positions that are read are those that were given."""

import re
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import FK5, Latitude, Longitude, SkyCoord
from astropy.table import MaskedColumn, QTable, Table
from hypothesis import given, settings
from hypothesis import strategies as st

from astroanomaly import CatalogError, ConfigError, GivenTable, given_catalog, read_catalog

SKY = SkyCoord([10.0, 150.123456, 359.9], [-30.0, 2.2, 89.5], unit="deg")


def check(catalog, expected=SKY):
    assert SkyCoord(catalog.ra, catalog.dec, unit="deg").separation(expected).arcsec.max() < 1e-5


@given(
    st.lists(st.tuples(st.floats(0, 359.99), st.floats(-89.9, 89.9)), min_size=1, max_size=5),
    st.sampled_from(["icrs", "galactic", "fk4", "barycentrictrueecliptic", FK5(equinox="J1975")]),
)
@settings(max_examples=25)
def test_a_skycoord_of_any_frame_keeps_its_place(places, frame):
    coords = SkyCoord([p[0] for p in places], [p[1] for p in places], unit="deg", frame=frame)
    catalog = read_catalog(coords)
    check(catalog, coords.icrs)
    assert catalog.ids.tolist() == [f"row-{k + 1:06d}" for k in range(len(places))]
    assert (catalog.sky.chosen, catalog.sky.frame.split()[0]) == ("SkyCoord", coords.frame.name)
    assert isinstance(frame, str) or catalog.sky.frame.split()[1] == "J1975.000"


def test_one_position_is_a_list_of_one():
    catalog = read_catalog(SKY[1])
    check(catalog, SKY[1:2])
    with pytest.raises(CatalogError, match=r"shape \(1, 3\).*ravel"):
        read_catalog(SKY.reshape(1, 3))


@pytest.mark.parametrize(
    ("columns", "unit"),
    [
        ({"ra": SKY.ra, "dec": SKY.dec}, "deg"),
        ({"ra": SKY.ra.hourangle * u.hourangle, "dec": SKY.dec.rad * u.rad}, "hourangle and rad"),
        ({"ra": Longitude(SKY.ra), "dec": Latitude(SKY.dec)}, "deg"),
        ({"ra": SKY.ra.to_string("hour", sep=":", precision=9), "dec": SKY.dec.to_string(sep=":", precision=9)},
         "sexagesimal hours and sexagesimal degrees"),
        ({"where": SKY.galactic}, "deg"),
    ],
)  # fmt: skip
def test_a_qtable_is_read_by_its_units(columns, unit):
    table = QTable({"name": ["a", "b", "c"], **columns})
    catalog = read_catalog(table)
    check(catalog)
    assert catalog.ids.tolist() == ["a", "b", "c"]
    assert (catalog.sky.unit, catalog.sky.stated) == (unit, True)


def test_a_table_without_units_is_in_degrees_and_that_is_said():
    table = Table({"ra": MaskedColumn(SKY.ra.deg, mask=[False, True, False]), "dec": SKY.dec.deg})
    catalog = read_catalog(table)
    assert np.isfinite(catalog.ra).tolist() == [True, False, True]
    assert not catalog.sky.stated
    assert "frame icrs; in deg, as no unit is stated" in catalog.sky.text
    assert len(table.colnames) == 2  # as it was


def test_errors_name_what_was_given():
    with pytest.raises(CatalogError, match="the QTable that was given as catalogue has no positions"):
        read_catalog(QTable({"flux": [1.0] * u.Jy}))
    with pytest.raises(CatalogError, match="the Table that was given as catalogue has no rows"):
        read_catalog(Table({"ra": [], "dec": []}))
    with pytest.raises(CatalogError, match="expected an angle"):
        read_catalog(QTable({"ra": [1.0] * u.m, "dec": [1.0] * u.deg}))
    for wrong in ([1, 2], {"ra": [1], "dec": [2]}, 5, np.zeros((2, 2)), None):
        with pytest.raises(ConfigError, match=r"astropy .*[tT]able.*SkyCoord"):
            read_catalog(wrong)


def test_paths_are_paths_and_a_row_is_a_table_of_one():
    assert given_catalog("a.csv") == given_catalog(Path("a.csv")) == Path("a.csv")
    assert given_catalog(None) is None
    table = QTable({"ra": SKY.ra, "dec": SKY.dec})
    catalog = read_catalog(table[1])
    assert catalog.ra.tolist() == pytest.approx([150.123456])


def test_the_same_table_has_the_same_digest_and_another_has_not():
    def table(**more):
        return Table({"ra": SKY.ra.deg, "dec": SKY.dec.deg, "name": ["a", "b", "ü"], **more})

    text = str(GivenTable(table(), "Table"))
    assert re.fullmatch("Table of 3 rows, SHA-256 [0-9a-f]{16}", text)
    assert text == str(GivenTable(table(), "Table"))
    others = [
        table(mag=[1, 2, 3]),
        table(ra=SKY.ra.deg + 1e-12),
        table(ra=MaskedColumn(SKY.ra.deg, mask=[True, False, False])),
        QTable({"ra": SKY.ra.deg * u.rad, "dec": SKY.dec.deg, "name": ["a", "b", "ü"]}),
        table(name=np.array(["a", "b", None], object)),
        QTable({"where": SKY}),
        QTable({"where": SKY.galactic}),
    ]
    assert len({GivenTable(other, "x").digest for other in [table(), *others]}) == len(others) + 1
