"""Which way up: as DS9 for FITS, as a picture viewer for pictures, north up where there is a WCS."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astroanomaly.imaging.compass import Compass
from astroanomaly.imaging.orientation import ORIENTATIONS, Orientation, native, orient, show

SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 12))
QUARTERS = [Orientation(mirror, turns) for mirror in (False, True) for turns in range(4)]
ORIENTED = st.builds(Orientation, st.booleans(), st.integers(0, 3), st.sampled_from([0.0, 30.0, -44.0, 12.5]))
NO_DATA = 0xFF4A3B33


def numbered(shape, n=2):
    return np.arange(n * math.prod(shape), dtype=np.uint32).reshape(n, *shape)


def scales(angle=0.0, *, mirror=False, size=1.0):
    """Arcseconds east and north a pixel, of an image whose north is so many degrees counter-clockwise from up."""
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    north, east = (-s, c), (c, s) if mirror else (-c, -s)
    return size * np.array([east, north])


def test_first_row():
    """Pictures as in a picture viewer, the rest as in DS9."""
    image = numbered((2, 3), 1)
    ds9, viewer = image[:, ::-1], image
    for kind, stretch, has_wcs, from_pictures, expected in [
        ("flux", "", True, False, ds9),
        ("flux", "", False, False, ds9),
        ("display", "asinh", True, False, ds9),
        ("display", "asinh", False, False, ds9),
        ("display", "", True, False, ds9),  # colours of a HiPS, counted from the lower left as its WCS does
        ("display", "", False, False, viewer),
        ("display", "", False, True, viewer),
        ("flux", "", False, True, viewer),  # the numbers of a TIFF
    ]:
        stored = native(kind, stretch, has_wcs=has_wcs, from_pictures=from_pictures)
        np.testing.assert_array_equal(stored.show(image), expected)
        x, y = stored.to_shown(2, 0, (2, 3))  # the last pixel of the first row
        assert expected[0, 1 - int(y), int(x)] == image[0, 0, 2]


@given(orientation=ORIENTED, shape=SHAPES, x=st.floats(-50, 50), y=st.floats(-50, 50))
def test_there_and_back(orientation, shape, x, y):
    np.testing.assert_allclose(orientation.to_stored(*orientation.to_shown(x, y, shape), shape), (x, y), atol=1e-9)
    np.testing.assert_allclose(orientation.to_shown(*orientation.to_stored(x, y, shape), shape), (x, y), atol=1e-9)
    np.testing.assert_allclose(orientation.matrix @ orientation.matrix.T, np.eye(2), atol=1e-12)


@given(orientation=st.sampled_from(QUARTERS), shape=SHAPES)
def test_every_pixel_is_where_the_map_says(orientation, shape):
    """Quarter turns and reflections move whole pixels, also where an oblong does not fit its frame."""
    images = numbered(shape)
    shown = orientation.show(images, NO_DATA)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    x, y = orientation.to_stored(columns, shape[0] - 1 - rows, shape)
    x, y = np.rint(x).astype(int), np.rint(y).astype(int)
    inside = (x >= 0) & (x < shape[1]) & (y >= 0) & (y < shape[0])
    np.testing.assert_array_equal(shown[:, inside], images[:, y[inside], x[inside]])
    assert (shown[:, ~inside] == NO_DATA).all()
    seen = min(shape) ** 2 if orientation.turns % 2 else math.prod(shape)
    assert inside.sum() == seen


@given(
    angle=st.floats(-45, 45), turns=st.integers(0, 3), mirror=st.booleans(), shape=st.sampled_from([(40, 60), (61, 34)])
)
def test_a_blob_is_where_the_map_says(angle, turns, mirror, shape):
    orientation = Orientation(mirror, turns, angle)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    at = (shape[1] / 2 + 7, shape[0] / 2 - 5)
    blob = np.exp(-((columns - at[0]) ** 2 + (rows - at[1]) ** 2) / 8).astype(np.float32)[None]
    shown = orientation.show(blob)[0].astype(float)
    centre = (shown * columns).sum() / shown.sum(), (shown * (shape[0] - 1 - rows)).sum() / shown.sum()
    np.testing.assert_allclose(centre, orientation.to_shown(*at, shape), atol=0.05)
    assert shown.sum() == pytest.approx(blob.sum(), rel=0.02)


def test_colours_are_interpolated_and_the_edge_fades_within_a_pixel():
    colour = np.uint32(0xFF102030)
    shown = Orientation(angle=45.0).show(np.full((3, 20, 20), colour), NO_DATA)
    assert (shown[:, 0, 0] == NO_DATA).all()
    assert (shown[:, 10, 10] == colour).all()
    ends = np.array([(0x30, 0x20, 0x10), (0x33, 0x3B, 0x4A)])
    share = (shown.view(np.uint8).reshape(*shown.shape, 4)[..., 2] - 16.0) / (ends[1, 2] - ends[0, 2])  # 0: the colour
    assert 1 - share.mean() == pytest.approx(2 * math.sqrt(2) - 2, abs=0.03)  # what two squares have in common
    fading = (share > 0.02) & (share < 0.98)
    middle = np.abs(np.arange(20) - 9.5)
    across = (middle + middle[:, None]) / math.sqrt(2)  # distance along the diagonals
    assert fading.any()
    assert np.abs(across[fading[0]] - 10).max() < 1.5  # of the edge, which is 10 pixels from the middle
    grey = np.random.default_rng(0).integers(0, 255, (1, 9, 9, 4), np.uint8)
    grey[..., 3] = 255
    same = Orientation(angle=1e-9).show(grey.view(np.uint32)[..., 0])
    apart = same[:, ::-1].copy().view(np.uint8).reshape(grey.shape).astype(int) - grey
    assert np.abs(apart).max() <= 1  # interpolated levels are rounded down


@given(angle=st.floats(-360, 360), mirror=st.booleans(), size=st.floats(1e-4, 1e4))
def test_north_is_up_and_east_to_the_left(angle, mirror, size):
    sky = scales(angle, mirror=mirror, size=size)
    exact = orient(Orientation(), sky, "north", (200, 100))
    compass = Compass.of(exact.scales(sky))
    tolerance = 1.01 / (math.hypot(200, 100) / 2)  # a pixel at the corner
    np.testing.assert_allclose(compass.north, (0, 1), atol=tolerance)
    np.testing.assert_allclose(compass.east, (-1, 0), atol=tolerance)
    assert compass.scale_arcsec == pytest.approx(size)
    quarter = orient(Orientation(), sky, "north-quarter", (200, 100))
    compass = Compass.of(quarter.scales(sky))
    assert quarter.angle == 0
    assert compass.north[1] >= math.cos(math.radians(45)) - 1e-9
    assert compass.east[0] <= -math.cos(math.radians(45)) + 1e-9
    assert orient(Orientation(True, 2), sky, "stored", (200, 100)) == Orientation(True, 2)


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("angle", [0, 90, 180, 270, 0.5, 89.6])
def test_near_quarter_turns_lose_nothing(angle, mirror):
    found = orient(Orientation(), scales(angle, mirror=mirror), "north", (64, 64))
    assert found.angle == 0
    assert found == orient(Orientation(), scales(angle, mirror=mirror), "north-quarter", (64, 64))
    image = numbered((64, 64))
    assert len(np.unique(found.show(image))) == image.size


def test_the_exact_angle_counts_where_a_pixel_would_move():
    assert orient(Orientation(), scales(1.0), "north", (64, 64)).angle == 0
    assert orient(Orientation(), scales(1.0), "north", (200, 200)).angle == pytest.approx(-1.0)
    assert orient(Orientation(), scales(30.0), "north", (64, 64)).angle == pytest.approx(-30.0)
    assert orient(Orientation(), scales(30.0), "north-quarter", (64, 64)) == Orientation()


@pytest.mark.parametrize("wanted", ORIENTATIONS)
def test_without_a_direction_as_stored(wanted):
    picture = native("display", "", has_wcs=False)
    for none in (None, np.full((2, 2), np.nan)):
        assert orient(picture, none, wanted, (5, 6)) == picture
        assert Compass.of(none) is None


def test_pixels_that_are_not_square():
    """North is up though pixels are oblong; the bar is measured along the rows of what is seen."""
    sky = np.array([(0.0, 2.0), (1.0, 0.0)])  # north to the right, one arcsec a pixel; east up, two
    turned = orient(Orientation(), sky, "north", (50, 50))
    compass = Compass.of(turned.scales(sky))
    np.testing.assert_allclose(compass.north, (0, 1), atol=1e-9)
    np.testing.assert_allclose(compass.east, (-1, 0), atol=1e-9)
    assert compass.scale_arcsec == pytest.approx(2.0)


@given(picked=st.lists(st.sampled_from([*QUARTERS, Orientation(angle=20.0)]), max_size=6))
def test_each_image_is_turned_in_its_own_way(picked):
    images = numbered((5, 7), len(picked))
    shown = show(images, picked, NO_DATA)
    assert shown.shape == images.shape
    for one, image, orientation in zip(shown, images, picked, strict=True):
        np.testing.assert_array_equal(one, orientation.show(image[None], NO_DATA)[0])
