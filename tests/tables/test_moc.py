"""Coverage maps have the area and the cells that they should, and are written as the standard says."""

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy_healpix import HEALPix
from hypothesis import given, settings
from hypothesis import strategies as st

from astroanomaly.errors import ConfigError
from astroanomaly.tables.moc import Moc, disc_moc, usual_order, write_moc


def spread(uniq, order):
    """Cells of one order that NUNIQ numbers stand for."""
    found = []
    for number in uniq.tolist():
        k = (int(number // 4).bit_length() - 1) // 2
        first = (number - 4 * 4**k) << 2 * (order - k)
        found += range(first, first + 4 ** (order - k))
    return found


@given(st.sets(st.integers(0, 12 * 4**3 - 1), max_size=300), st.booleans())
def test_joined_cells_are_the_same_part_of_the_sky(cells, whole):
    cells = set(range(12 * 4**3)) if whole else cells
    moc = Moc(3, np.array(sorted(cells), np.int64))
    assert sorted(spread(moc.uniq, 3)) == sorted(cells)
    assert (np.diff(moc.uniq) > 0).all()
    if whole:
        assert moc.uniq.tolist() == list(range(4, 16))
        assert moc.area_deg2 == pytest.approx(129600 / np.pi)


@settings(max_examples=30)
@given(st.floats(0, 360), st.floats(-90, 90), st.floats(0.0005, 2))
def test_cells_of_a_disc_are_those_whose_centres_lie_in_it(ra, dec, diameter):
    moc = disc_moc(np.array([ra]), np.array([dec]), diameter)
    grid = HEALPix(2**moc.order, order="nested")
    touched = set(grid.cone_search_lonlat(ra * u.deg, dec * u.deg, diameter / 2 * u.deg).tolist())
    mine = set(moc.cells.tolist())
    lon, lat = grid.healpix_to_lonlat(sorted(touched))
    inside = [
        cell
        for cell, x, y in zip(sorted(touched), lon, lat, strict=True)
        if _separation(x.rad, y.rad, np.radians(ra), np.radians(dec)) < np.radians(diameter / 2)
    ]
    own = int(grid.lonlat_to_healpix(ra * u.deg, dec * u.deg))
    assert mine == {*inside, own}


def _separation(a, b, c, d):
    return 2 * np.arcsin(np.sqrt(np.sin((b - d) / 2) ** 2 + np.cos(b) * np.cos(d) * np.sin((a - c) / 2) ** 2))


def test_many_discs_are_those_one_by_one():
    rng = np.random.default_rng(3)
    ra, dec = rng.uniform(10, 10.2, 60), rng.uniform(-30.1, -30, 60)
    together = disc_moc(ra, dec, 0.004)
    alone = [disc_moc(ra[k : k + 1], dec[k : k + 1], 0.004).cells for k in range(60)]
    np.testing.assert_array_equal(together.cells, np.unique(np.concatenate(alone)))


def test_the_area_of_many_discs_is_right():
    rng = np.random.default_rng(5)
    ra, dec = rng.uniform(0, 360, 400), np.degrees(np.arcsin(rng.uniform(-1, 1, 400)))
    assert disc_moc(ra, dec, 0.01).area_deg2 == pytest.approx(400 * np.pi * 0.005**2, rel=0.03)


def test_the_file_is_as_the_standard_says(tmp_path):
    moc = disc_moc(np.array([0.0, 120.0]), np.array([89.999, -20.0]), 0.1)
    write_moc(moc, tmp_path / "m.fits", iter([("cutouts of", "cache")]))
    with fits.open(tmp_path / "m.fits", checksum=True) as hdus:
        head, data = hdus[1].header, hdus[1].data
        assert (head["MOCVERS"], head["MOCDIM"], head["ORDERING"], head["COORDSYS"]) == ("2.0", "SPACE", "NUNIQ", "C")
        assert (head["PIXTYPE"], head["TFORM1"].strip("1")) == ("HEALPIX", "K")
        assert head["MOCORD_S"] == head["MOCORDER"] == moc.order == usual_order(0.1)
        assert sorted(spread(data["UNIQ"], moc.order)) == moc.cells.tolist()


def test_what_cannot_be_is_refused():
    here = np.array([10.0])
    for diameter, order, words in (
        (0, None, "above 0"),
        (11, None, "above 0"),
        (1, 30, "0 to 29"),
        (1, 29, "too small"),
    ):
        with pytest.raises(ConfigError, match=words):
            disc_moc(here, here, diameter, order)
    assert len(disc_moc(here, here, 1e-7, 29).cells) >= 1
