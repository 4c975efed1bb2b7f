"""Sky or pixel positions: what is used is what is true of the images, and what was not named is not guessed."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import QTable, Table
from hypothesis import given, settings
from hypothesis import strategies as st

from astroanomaly import CatalogError, ConfigError, FootprintError, ingest, preview
from astroanomaly.cutting import grid_from_hdu
from astroanomaly_plugins.mosaics.misses import nearest_tile
from astroanomaly_plugins.mosaics.tiles import Tile
from small_sky import header, image, make_sky


@pytest.fixture
def sky(tmp_path):
    return make_sky(tmp_path)


def brightest(cutouts):
    """Whether each star is in the middle of its cutout of 9 pixels."""
    return [float(cutout.data[0, 4, 4]) for cutout in cutouts]


OFF = 594 / 0.2  # pixels: positions on another image, 594 arcsec away


@pytest.mark.parametrize("names", [("alpha_win", "delta_win"), ("ALPHAWIN_J2000", "DELTAWIN_J2000"), ("ra", "dec")])
def test_sky_columns_win_over_pixels_of_another_image(sky, names):
    files, coords, x, y = sky
    table = Table({names[0]: coords.ra.deg, names[1]: coords.dec.deg, "x": x * 0.3, "y": y * 0.3 + 20})
    found = preview("fits", files, catalog=table, size=9, n=20)
    assert sorted(brightest(found.cutouts)) == [100 + k for k in range(20)]
    value = found.facts["positions"].value
    assert value["columns"] == list(names)
    assert value["unused"] == [["x", "y"]]
    assert (value["kind"], value["origin"]) == ("sky", None)


@pytest.mark.parametrize("names", [("x", "y"), ("X_IMAGE", "Y_IMAGE"), ("xcentroid", "ycentroid")])
def test_pixels_are_never_taken_for_images_with_a_wcs_unless_named(sky, tmp_path, names):
    files, coords, x, y = sky
    start = 1 if names[0] == "X_IMAGE" else 0
    table = Table({"lon": coords.ra.deg, "lat": coords.dec.deg, names[0]: x + start, names[1]: y + start})
    with pytest.raises(CatalogError) as caught:
        ingest("fits", files[0], catalog=table, size=9, out=tmp_path / "c")
    for part in (f"lon, lat, {names[0]}, {names[1]}", "--ra COLUMN --dec COLUMN", f"--x {names[0]} --y {names[1]}"):
        assert part in str(caught.value)
    assert not (tmp_path / "c").exists()
    for more, kind in (({"x": names[0], "y": names[1]}, "pixel"), ({"ra": "lon", "dec": "lat"}, "sky")):
        found = preview("fits", files[0], catalog=table, size=9, n=20, **more)
        assert sorted(brightest(found.cutouts)) == [100 + k for k in range(20)]
        value = found.facts["positions"].value
        assert (value["kind"], value["chosen"]) == (kind, "named")
        assert value["origin"] == (start if kind == "pixel" else None)
        assert (
            SkyCoord([c.coord for c in found.cutouts])
            .separation(SkyCoord([coords[int(c.data[0, 4, 4]) - 100] for c in found.cutouts]))
            .arcsec.max()
            < 0.01
        )


def test_pixels_may_be_named_where_there_are_sky_columns_too_but_not_both(sky):
    files, coords, x, y = sky
    table = Table({"ra": coords.ra.deg, "dec": coords.dec.deg + 1, "x": x, "y": y})
    found = preview("fits", files, catalog=table, size=9, n=20, x="x", y="y")
    assert sorted(brightest(found.cutouts)) == [100 + k for k in range(20)]
    with pytest.raises(ConfigError, match="not both"):
        preview("fits", files, catalog=table, size=9, x="x", y="y", ra="ra", dec="dec")


def test_images_without_a_wcs_take_the_usual_pixel_columns(tmp_path):
    files, coords, x, y = make_sky(tmp_path)
    fits.PrimaryHDU(fits.getdata(files[0])).writeto(tmp_path / "bare.fits")
    table = Table({"ra": coords.ra.deg, "dec": coords.dec.deg, "X_IMAGE": x + 1, "Y_IMAGE": y + 1})
    found = preview("fits", tmp_path / "bare.fits", catalog=table, size=9, n=20)
    assert sorted(brightest(found.cutouts)) == [100 + k for k in range(20)]
    assert found.facts["positions"].value["origin"] == 1
    assert found.facts["pixel scale"].text == "unknown: the images have no WCS"
    assert found.facts["size"].value == {"pixels": [9, 9], "arcsec": None}


# -------------------------------------------------------------------------------------------------- positions that miss


def miss(files, table, **more):
    with pytest.raises(FootprintError) as caught:
        preview("fits", files, catalog=table, size=9, **more)
    return str(caught.value)


def test_the_nearest_image_and_its_distance_are_told(sky, tmp_path):
    files, coords, _, _ = sky
    far = header(ra=190.0, FILTER="g")
    fits.PrimaryHDU(np.ones((120, 140), np.float32), far).writeto(tmp_path / "far.fits")
    moved = coords.directional_offset_by(30 * u.deg, 594 * u.arcsec)
    text = miss([*files, tmp_path / "far.fits"], moved)
    assert "none of the 20 objects lies on the images. The catalogue (coord (icrs)) covers RA" in text
    assert f"The nearest image is {files[0]}[0]: the object row-0000" in text
    head = fits.getheader(files[0])
    with fits.open(files[0]) as hdus:
        grid = grid_from_hdu(hdus[0], hdus)
    edge = grid.wcs.pixel_to_world(*np.meshgrid(np.arange(head["NAXIS1"]), np.arange(head["NAXIS2"])))
    true = min(float(place.separation(edge).arcsec.min()) for place in moved)
    told = float(text.partition(" is ")[2].partition(" away from it")[0].rpartition(" is ")[2].split()[0])
    assert told == pytest.approx(true, abs=1)


@given(st.floats(0, 359.9), st.floats(-85, 85), st.floats(0, 360), st.floats(0.02, 60))
@settings(max_examples=20)
def test_distances_are_those_of_astropy(ra, dec, angle, degrees):
    head = header(ra, dec)
    head["NAXIS"], head["NAXIS1"], head["NAXIS2"] = 2, 140, 120
    hdu = fits.PrimaryHDU(image([], []), head)
    tile = Tile({}, grid_from_hdu(hdu))
    place = SkyCoord(ra, dec, unit="deg").directional_offset_by(angle * u.deg, degrees * u.deg)
    number, row, found = nearest_tile([tile], np.array([np.nan, place.ra.deg]), np.array([np.nan, place.dec.deg]))
    assert (number, row) == (0, 1)
    u_, v = np.linspace(0, 139, 280), np.linspace(0, 119, 240)
    x = np.concatenate([u_, u_, np.zeros(240), np.full(240, 139)])
    y = np.concatenate([np.zeros(280), np.full(280, 119), v, v])
    assert found == pytest.approx(place.separation(tile.grid.wcs.pixel_to_world(x, y)).deg.min(), abs=2e-5)


def test_other_readings_that_would_hit_are_suspected_aloud(sky):
    files, coords, _, _ = sky
    hours = {"ra": coords.ra.hourangle, "dec": coords.dec.deg}
    text = miss(files, Table(hours))
    assert "Read as hours, 20 of 20 would lie on the images" in text
    assert "hourangle" in text
    assert len(preview("fits", files, size=9, n=20, catalog=QTable({**hours, "ra": hours["ra"] * u.hourangle}))) == 20
    galactic = Table({"ra": coords.galactic.l.deg, "dec": coords.galactic.b.deg})
    assert "say --frame galactic" in miss(files, galactic)
    assert len(preview("fits", files, size=9, n=20, catalog=galactic, frame="galactic")) == 20
    radians = Table({"ra": coords.ra.rad, "dec": coords.dec.rad})
    assert "say --unit rad" in miss(files, radians)
    assert len(preview("fits", files, size=9, n=20, catalog=radians, unit="rad")) == 20
    old = coords.transform_to("fk4")
    assert "say --frame fk4" in miss(files, Table({"ra": old.ra.deg, "dec": old.dec.deg}))
    elsewhere = Table({"ra": [5.0, 6.0], "dec": [50.0, 51.0]})
    assert "are between 0 and 24: if they are hours" in miss(files, elsewhere)
    assert "hours" not in miss(files, Table({"ra": [50.0, 60.0], "dec": [50.0, 51.0]}))
    assert "hours" not in miss(files, QTable({"ra": [5.0, 6.0] * u.hourangle, "dec": [50.0, 51.0] * u.deg}))


def test_swapped_columns_are_suspected_where_that_would_hit(tmp_path):
    files, coords, _, _ = make_sky(tmp_path, ra=30.0)
    text = miss(files, Table({"ra": coords.dec.deg, "dec": coords.ra.deg}))
    assert "Read as latitude and longitude, 20 of 20 would lie on the images: if that is right, swap them" in text
    assert len(preview("fits", files, size=9, n=20, catalog=Table({"p": coords.dec.deg, "q": coords.ra.deg}),
                       ra="q", dec="p")) == 20  # fmt: skip


def test_a_catalogue_without_any_valid_position_is_told_apart(sky):
    files, _, _, _ = sky
    assert "none of the 2 rows of the catalogue has a valid position" in miss(
        files, Table({"ra": [np.nan, 1.0], "dec": [1.0, 95.0]})
    )


def test_some_misses_are_counted_as_objects_without_coverage(sky, tmp_path):
    files, coords, _, _ = sky
    ra, dec = coords.ra.deg.copy(), coords.dec.deg.copy()
    ra[3], dec[5] = ra[3] + 1, np.nan
    cache = ingest("fits", files, catalog=Table({"ra": ra, "dec": dec}), size=9, out=tmp_path / "c")
    assert len(cache) == 18
    assert sorted((f.object_id, f.kind) for f in cache.failures) == [
        ("row-000004", "no coverage"),
        ("row-000006", "no position"),
    ]
    assert cache.facts["objects"].value == {
        "total": 20, "on_the_images": 18, "outside_all_images": 1, "without_a_valid_position": 1,
    }  # fmt: skip
    assert cache.facts["objects"].text == ("20: 18 on the images, 1 outside all images, 1 without a valid position")
