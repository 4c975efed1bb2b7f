"""Positions and directions on a cutout."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astroanomaly.imaging.compass import Compass, sexagesimal, sky_at


@pytest.mark.parametrize("orientation", ["north", "stored"])
def test_where_north_is_and_how_long_an_arcsecond(new_session, orientation):
    cache = new_session().cache
    pictures, cutout = cache.pictures, cache[cache.ids[0]]
    height, width = cutout.data.shape[-2:]
    display = pictures.usual_display.changed(orientation=orientation)
    compass = pictures.compasses([cutout.object_id], display)[0]
    x, y = (width - 1) / 2, (height - 1) / 2
    centre = cutout.wcs.pixel_to_world(x, y).icrs
    north = cutout.wcs.pixel_to_world(x + 3 * compass.north[0], y + 3 * compass.north[1]).icrs
    east = cutout.wcs.pixel_to_world(x + 3 * compass.east[0], y + 3 * compass.east[1]).icrs
    assert centre.position_angle(north).wrap_at("180d").deg == pytest.approx(0, abs=0.05)
    assert centre.position_angle(east).deg == pytest.approx(90, abs=0.05)
    assert centre.separation(north).arcsec == pytest.approx(3 * compass.scale_arcsec, rel=1e-3)
    pixels, text = compass.bar(width)
    number, unit = float(text[:-1]), {"″": 1, "′": 60, "°": 3600}[text[-1]]
    assert pixels == pytest.approx(number * unit / compass.scale_arcsec)
    assert 0.05 * width < pixels <= width / 3
    binned = pictures.compasses([cutout.object_id], display, width // 2)[0]
    assert binned.scale_arcsec == pytest.approx(2 * compass.scale_arcsec)
    sky = sky_at(cutout.grid, x + cutout.offset[0], y + cutout.offset[1])
    assert sky == pytest.approx((centre.ra.deg, centre.dec.deg), abs=1e-9)
    assert sky_at(None, 0, 0) is None


@given(angle=st.floats(0, 360), mirrored=st.booleans(), width=st.floats(1, 1e4), height=st.floats(1, 1e4))
def test_marks_lie_within_what_is_seen(angle, mirrored, width, height):
    import math

    north = (math.cos(angle), math.sin(angle))
    east = (-north[1], north[0]) if not mirrored else (north[1], -north[0])
    lines, words = Compass(0.1, north, east).marks(5.0, 7.0, width, height)
    assert len(lines) == len(words) == 3
    places = [(x, y) for xs, ys in lines for x, y in zip(xs, ys, strict=True)] + [word[:2] for word in words]
    assert all(5 <= x <= 5 + width and 7 <= y <= 7 + height for x, y in places)


def test_how_positions_are_written():
    assert sexagesimal(150.1, 2.2) == "10:00:24.00 +02:12:00.0"
    assert sexagesimal(0.0, -0.5) == "00:00:00.00 -00:30:00.0"
