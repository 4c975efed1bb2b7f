"""Positions come back from vectors, circles hold what they should, text is read as astropy reads it."""

import contextlib

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import Angle, SkyCoord
from hypothesis import example, given, settings
from hypothesis import strategies as st

from astroanomaly import sky
from astroanomaly.errors import ConfigError
from astroanomaly.sky import (
    angle_text,
    arcsec_number,
    cells,
    enclosing_circle,
    mean_position,
    position_text,
    read_angle,
    read_position,
    size_in_pixels,
    size_or_angle,
    size_text,
    unit_vectors,
)
from folders import ROOT

POSITION = st.tuples(st.floats(0, 360, exclude_max=True), st.floats(-90, 90))
POSITIONS = st.lists(POSITION, min_size=1, max_size=30)
POLES = [(10.0, 90.0), (200.0, 90.0), (0.0, -90.0), (359.999, 89.95)]
WRAP = [(0.0, 0.0), (359.9, 0.1), (0.1, -0.1), (359.95, 0.0)]


def coordinates(ra, dec):
    return SkyCoord(np.atleast_1d(ra), np.atleast_1d(dec), unit="deg")


@given(POSITIONS)
@example(POLES)
@settings(deadline=None)
def test_vectors_are_those_of_astropy(positions):
    ra, dec = np.array(positions).T
    vectors = unit_vectors(ra, dec)
    assert vectors.shape == (len(ra), 3)
    np.testing.assert_allclose(vectors, coordinates(ra, dec).cartesian.xyz.value.T, atol=1e-15)
    assert np.isnan(unit_vectors(np.array([np.nan]), np.array([1.0]))).any()


@given(POSITION, st.integers(1, 300))
@settings(deadline=None)
def test_the_middle_of_one_place_is_that_place(position, count):
    ra, dec = mean_position(np.full(count, position[0]), np.full(count, position[1]))
    assert 0 <= ra <= 360
    assert coordinates(ra, dec).separation(coordinates(*position))[0] < 1e-9 * u.deg


@pytest.mark.parametrize(("positions", "expected"), [(WRAP, (359.9875, 0.0)), (POLES[:2], (0.0, 90.0))])
def test_the_middle_across_the_seam_and_at_the_pole(positions, expected):
    found = mean_position(*np.array(positions).T)
    assert coordinates(*found).separation(coordinates(*expected))[0] < 1e-5 * u.deg


@given(POSITIONS, st.sampled_from([None, 3, 5, 9]))
@example(POLES, 5)
@example(WRAP, 5)
@example([(359.999999, 0.0)], 5)
@example([(0.0, 90.0), (0.0, -90.0)], None)  # no direction is the middle of opposite ones
@settings(deadline=None)
def test_a_circle_reaches_the_farthest_position_and_no_farther(positions, decimals):
    ra, dec = np.array(positions).T
    *center, radius = enclosing_circle(ra, dec, decimals)
    assert 0 <= center[0] < 360
    distance = coordinates(ra, dec).separation(coordinates(*center)).deg.max()
    assert radius == pytest.approx(distance, abs=1e-9)
    if decimals is not None:
        assert center == [round(value, decimals) for value in center]


@given(POSITIONS, st.sampled_from([0.2, 0.25, 1.0, 8.0]))
@example(POLES, 0.2)
@example(WRAP, 0.25)
@settings(deadline=None)
def test_every_position_is_in_one_cell_with_those_near_it(positions, side):
    ra, dec = np.array([*positions, (np.nan, 1.0), (1.0, np.inf)]).T
    found = cells(ra, dec, side)
    assert sorted(row for rows in found for row in rows.tolist()) == list(range(len(positions)))
    for rows in found:
        assert np.all(np.diff(rows) > 0)
        assert np.ptp(dec[rows]) <= side
        across = coordinates(ra[rows], dec[rows])
        # bands at the poles are not cut: a cell there is as wide as the cap
        assert across[:, None].separation(across[None, :]).deg.max() <= 3 * side


def test_cells_do_not_depend_on_the_turn_of_the_circle():
    rng = np.random.default_rng(4)
    ra, dec = rng.uniform(0, 360, 500), rng.uniform(-90, 90, 500)
    for found, again in zip(cells(ra, dec, 8.0), cells(ra - 360, dec, 8.0), strict=True):
        np.testing.assert_array_equal(found, again)
    assert cells(np.array([np.nan]), np.array([0.0]), 1.0) == []


def test_following_cells_are_neighbours():
    ra, dec = (part.ravel() for part in np.meshgrid(np.arange(10.5, 20), np.arange(-4.5, 5)))
    order = np.array([rows[0] for rows in cells(ra, dec, 1.0)])
    assert len(order) == 100
    steps = coordinates(ra[order[:-1]], dec[order[:-1]]).separation(coordinates(ra[order[1:]], dec[order[1:]])).deg
    assert steps.max() < 1.5


def test_the_plugin_guide_names_all_of_it():
    guide = (ROOT / "plugins" / "README.md").read_text("utf-8")
    for name in sky.__all__:
        assert f"`{name}`" in guide


# ---------------------------------------------------------------------------------------------------------- from text


@given(st.floats(-1e4, 1e4), st.sampled_from(["arcsec", "arcmin", "deg", "rad", "hourangle", "mas"]), st.booleans())
@settings(deadline=None)
def test_a_number_with_its_unit_comes_back(value, unit, spaced):
    text = f"{value!r}{' ' if spaced else ''}{unit}"
    assert read_angle(text, unit) == value
    assert read_angle(text, "arcsec", plain="deg") == pytest.approx((value * u.Unit(unit)).to_value("arcsec"))


@given(st.floats(-1e4, 1e4))
@settings(deadline=None)
def test_a_plain_number_has_the_unit_that_is_said_or_none(value):
    assert read_angle(repr(value), "arcsec", plain="arcsec") == value
    assert read_angle(repr(value), "arcsec", plain="deg") == pytest.approx(value * 3600)
    with pytest.raises(ConfigError, match=r"--radius='.*': expected an angle with its unit"):
        read_angle(repr(value), "deg", name="--radius")


@pytest.mark.parametrize(
    ("text", "plain", "degrees"),
    [
        ("1d30m", "", 1.5),
        ('30"', "", 30 / 3600),
        ("5'", "deg", 5 / 60),
        ("-02:30:00", "deg", -2.5),
        ("10:00:24", "hourangle", 150.1),
        ("10 00 24", "hourangle", 150.1),
        ("10h00m24s", "deg", 150.1),
        ("150.1d", "hourangle", 150.1),
        ("2°", "", 2.0),
    ],
)
def test_sexagesimal_angles(text, plain, degrees):
    assert read_angle(text, "deg", plain=plain) == pytest.approx(degrees, abs=1e-12)


@pytest.mark.parametrize(
    "text", ["", "wide", "10", "3kpc", "nan", "inf deg", "1e400deg", "1 000arcsec", "10arcsec2", "1 10**99999999 deg"]
)
def test_what_is_no_angle_is_refused(text):
    with pytest.raises(ConfigError, match="expected an angle"):
        read_angle(text, "arcsec")


@pytest.mark.filterwarnings("ignore::astropy.coordinates.IllegalHourWarning")  # 359.99999999 as 24:00:00
@given(POSITION)
@example((0.0, 90.0))
@example((359.99999999, -90.0))
@settings(deadline=None)
def test_positions_come_back_however_they_are_written(position):
    place = SkyCoord(*position, unit="deg")
    assert read_position(f"{position[0]!r} {position[1]!r}") == (place.ra.deg, place.dec.deg)
    for text in (
        f"{position[0]!r}, {position[1]!r}",
        f"{position[0]!r}deg {position[1]!r}deg",
        place.to_string("hmsdms", precision=9),
        place.to_string("hmsdms", sep=":", precision=9),
        place.to_string("hmsdms", sep=" ", precision=9),
        place.to_string("hmsdms", precision=9).replace(" ", ""),
    ):
        assert coordinates(*read_position(text)).separation(place)[0] < 1e-7 * u.arcsec, text


def test_a_right_ascension_may_be_of_any_turn_and_a_declination_may_not():
    assert read_position("-10 3") == (350.0, 3.0)
    assert read_position("370 3") == (10.0, 3.0)
    assert read_position("17h58m48s +66d00m00s") == (Angle("17h58m48s").deg, 66.0)
    for text in ("150.1 95", "150.1", "", "here there", "1 2 3kpc", "nan 2"):
        with pytest.raises(ConfigError, match="expected a position"):
            read_position(text)


@pytest.mark.filterwarnings("ignore")  # astropy's remarks on sixty seconds
@given(st.text(alphabet="0123456789.:+-hdms'\" eJarcin°*/", max_size=20))
@settings(deadline=None, max_examples=300)
def test_any_other_text_is_an_error_of_ours(text):
    for read in (lambda: read_position(text), lambda: read_angle(text, "deg", plain="hourangle")):
        with contextlib.suppress(ConfigError):
            assert np.isfinite(read()).all()


@given(st.integers(1, 16384), st.integers(1, 16384))
@settings(deadline=None)
def test_sizes_in_pixels_come_back(width, height):
    assert size_in_pixels(f"{width}", None) == (width, width)
    assert size_in_pixels(f" {width} x {height} ", None) == (height, width)
    assert size_in_pixels(f"{width * 0.2!r}arcsec, {height * 0.2!r} arcsec", 0.2) == (height, width)
    assert size_or_angle(f" {width} ") == (width, None)
    assert size_or_angle(f"{width}arcsec") == (None, float(width))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0", "is 0 x 0 pixels: expected 1 to 16384"),
        ("0.01arcsec", "is 0 x 0 pixels"),
        ("64x20000", "is 64 x 20000 pixels"),
        ("big", "expected pixels .64, or 64x48"),
        ("-5", "expected pixels"),
        ("64x", "expected pixels"),
    ],
)
def test_wrong_sizes_are_explained(text, words):
    with pytest.raises(ConfigError, match=words):
        size_in_pixels(text, 0.2)


def test_an_angle_needs_a_pixel_scale():
    assert size_in_pixels("10arcsec", 0.5) == (20, 20)
    with pytest.raises(ConfigError, match="have no WCS: give the size in pixels"):
        size_in_pixels("10arcsec", None)


@pytest.mark.parametrize("text", ["0", "16385", "-5", "0arcsec", "90deg", "10x10", "big", ""])
def test_wrong_sides_are_explained(text):
    with pytest.raises(ConfigError, match=r"expected pixels \(64\) or an angle"):
        size_or_angle(text)


# ---------------------------------------------------------------------------------------------- from astropy's objects


@given(st.floats(0.2, 100), st.floats(0.2, 100), st.sampled_from([u.arcsec, u.arcmin, u.deg, u.rad]))
def test_a_size_is_height_and_width_as_arrays_have_it(height, width, unit):
    sides = (height * u.arcsec).to(unit), (width * u.arcsec).to(unit)
    expected = round(height / 0.1), round(width / 0.1)
    found = size_in_pixels(size_text(sides), 0.1)
    assert np.abs(np.subtract(found, expected)).max() <= 1  # where a half is rounded
    assert size_in_pixels(size_text(u.Quantity(sides)), 0.1) == found
    assert size_in_pixels(size_text(sides[0]), 0.1) == (found[0], found[0])
    assert read_angle(angle_text(sides[0]), "arcsec") == pytest.approx(height, rel=1e-13)


@pytest.mark.parametrize("given", [48, np.int64(48), 48 * u.pix, (48, 48), [48, 48], np.array([48, 48])])
def test_pixels_are_a_whole_number(given):
    assert size_text(given) == "48"


def test_what_was_typed_and_what_was_given_are_the_same_request():
    assert size_text(5 * u.arcsec) == size_text("5arcsec") == "5arcsec"
    assert size_text(0.5 * u.arcmin) == "30arcsec"
    assert size_text((48, 64)) == "64 x 48"  # text is width x height
    assert size_in_pixels(size_text((48, 64)), None) == (48, 64)
    assert size_text("64x48") == "64x48"
    assert size_text(None) == ""
    assert arcsec_number(0.2 * u.arcsec / u.pix) == arcsec_number(200 * u.mas) == pytest.approx(0.2)
    assert arcsec_number(0.2) == 0.2
    place = SkyCoord(10.25, -20.5, unit="deg")
    assert read_position(position_text(place)) == (10.25, -20.5)
    assert read_position(position_text(place.galactic)) == pytest.approx((10.25, -20.5))
    assert position_text("1 2") == "1 2"


@pytest.mark.parametrize(
    ("function", "value"),
    [
        *[(size_text, value) for value in (48.5, True, 0, -3, 5 * u.m, (1, 2, 3), (), 2.5 * u.pix, np.nan * u.deg, {})],
        *[(angle_text, value) for value in (5, 5 * u.s, [1, 2] * u.deg)],
        (arcsec_number, 5 * u.s),
        *[(position_text, value) for value in (5, SkyCoord([1, 2], [3, 4], unit="deg"))],
    ],
)
def test_anything_else_is_refused_and_what_is_taken_is_said(function, value):
    with pytest.raises(ConfigError, match=r"this: .*cannot be taken.*expected"):
        function(value, "this")
