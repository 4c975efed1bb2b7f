"""The footprint of a session holds its objects, and needs to know how large cutouts are."""

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy_healpix import HEALPix

from astroanomaly import Session, ingest
from astroanomaly.errors import ConfigError, StorageError


def test_every_object_is_in_the_footprint(sky, tmp_path):
    session = Session.create(tmp_path / "s", sky[1], settings={"input": {"size": 32}})
    found = session.write_footprint(tmp_path / "m.fits")
    scale = session.cache[session.cache.ids[0]].wcs.proj_plane_pixel_scales()[0].to_value("arcsec")
    assert found.diameter_arcsec == pytest.approx(48 * scale, rel=1e-3)
    assert (found.objects, found.without_position) == (len(session.cache), 0)
    ra, dec = session.cache.positions
    grid = HEALPix(2**found.moc.order, order="nested")
    assert np.isin(grid.lonlat_to_healpix(ra * u.deg, dec * u.deg), found.moc.cells).all()
    one = np.pi * (found.diameter_arcsec / 7200) ** 2
    assert 0.5 * one * len(session.cache) < found.moc.area_deg2 < 1.05 * one * len(session.cache)  # some overlap
    with fits.open(tmp_path / "m.fits") as hdus:
        assert "cutouts of: cache" in str(hdus[1].header["HISTORY"])
    coarse = session.write_footprint(tmp_path / "c.fits", size=10 * u.arcsec, order=10)
    assert (coarse.moc.order, coarse.diameter_arcsec) == (10, 10)
    with pytest.raises(StorageError, match="exists already"):
        session.write_footprint(tmp_path / "m.fits")
    with pytest.raises(ConfigError, match=r"called \.fits"):
        session.write_footprint(tmp_path / "m.moc")


def test_pictures_without_a_place_have_no_footprint(tmp_path):
    from PIL import Image

    (tmp_path / "pictures").mkdir()
    for k in range(3):
        Image.fromarray(np.full((32, 32, 3), 40 * k, np.uint8)).save(tmp_path / "pictures" / f"{k}.png")
    ingest("images", tmp_path / "pictures", out=tmp_path / "c")
    session = Session.create(tmp_path / "s", tmp_path / "c", settings={"input": {"size": 32}})
    with pytest.raises(ConfigError, match="no object has a position"):
        session.write_footprint(tmp_path / "m.fits")
