"""Positions and directions on a cutout."""

import pytest

from astroanomaly.imaging.compass import compass_of, sexagesimal, sky_at


def test_where_north_is_and_how_long_an_arcsecond(new_session):
    cache = new_session().cache
    cutout = cache[cache.ids[0]]
    height, width = cutout.data.shape[-2:]
    compass = compass_of(cutout.wcs, width, height)
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
    assert compass_of(None, 10, 10) is None
    assert sky_at(None, 0, 0) is None


def test_how_positions_are_written():
    assert sexagesimal(150.1, 2.2) == "10:00:24.00 +02:12:00.0"
    assert sexagesimal(0.0, -0.5) == "00:00:00.00 -00:30:00.0"
