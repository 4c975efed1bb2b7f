"""Directions on the sky agree with astropy's own, whatever the projection, its distortions and its frame."""

import io

import numpy as np
import pytest
from astropy.coordinates import BarycentricMeanEcliptic, SkyCoord
from astropy.io import fits
from astropy.time import Time
from astropy.wcs.utils import wcs_to_celestial_frame
from hypothesis import given
from hypothesis import strategies as st

from astroanomaly.cutting.directions import sky_scales
from astroanomaly.cutting.grids import Grid, pixel_to_sky, sky_to_pixel, tan_grid

SIP = {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "B_ORDER": 2, "A_2_0": 1e-4, "A_1_1": 3e-5,
       "B_0_2": 1e-4, "B_1_1": 2e-5}  # fmt: skip
PV = {"PV1_0": 0.001, "PV1_1": 1.01, "PV1_2": 0.02, "PV2_0": 0.0, "PV2_1": 0.99, "PV2_4": 0.1}
NO_CD = {"CD1_1": None, "CD1_2": None, "CD2_1": None, "CD2_2": None, "CDELT1": -1e-4, "CDELT2": 1e-4}


def grid(shape=(1000, 1000), **changes):
    plain = {
        "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 500.0, "CRPIX2": 480.0, "CRVAL1": 150.0, "CRVAL2": 40.0,
        "CD1_1": -1e-4, "CD1_2": 2e-5, "CD2_1": 3e-5, "CD2_2": 1.2e-4,
    }  # fmt: skip
    header = fits.Header()
    for name, value in (plain | changes).items():
        if value is not None:
            header[name] = value
    stream = io.BytesIO()
    fits.PrimaryHDU(header=header).writeto(stream)
    return Grid(stream.getvalue(), shape)


GRIDS = {
    "TAN": {},
    "SIP": SIP,
    "SIP that the axes do not name": SIP | {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"},
    "TPV": {"CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV"} | PV,
    "SCAMP": PV,
    "PC": NO_CD | {"PC1_1": 0.8, "PC1_2": -0.6, "PC2_1": 0.6, "PC2_2": 0.8},
    "PC of former years": NO_CD | {"PC001001": 0.8, "PC001002": -0.6, "PC002001": 0.6, "PC002002": 0.8},
    "CROTA": NO_CD | {"CROTA2": 33.0},
    "another unit": {"CUNIT1": "arcsec", "CUNIT2": "arcsec", "CRVAL1": 5.4e5, "CRVAL2": 1.44e5,
                     "CD1_1": -0.36, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 0.36},
    "FK5 of 2000": {"RADESYS": "FK5", "EQUINOX": 2000.0},
    "FK5 of 1975": {"RADESYS": "FK5", "EQUINOX": 1975.0},
    "B1950": {"EQUINOX": 1950.0, "CRVAL2": 88.0},
    "galactic": {"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN"},
    "declination first": {"CTYPE1": "DEC--TAN", "CTYPE2": "RA---TAN", "CRVAL1": 40.0, "CRVAL2": 150.0},
    "slant orthographic": {"CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN", "PV2_1": 0.1, "PV2_2": 0.2},
    "whole sky": {"CTYPE1": "RA---AIT", "CTYPE2": "DEC--AIT", "CRVAL1": 0.0, "CRVAL2": 0.0, "CD1_1": -0.3,
                  "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 0.3},
    "three axes": {"CTYPE3": "FREQ", "CRVAL3": 1e9, "CDELT3": 1e6, "CRPIX3": 1.0},
}  # fmt: skip


@pytest.mark.parametrize("name", GRIDS)
def test_directions_are_those_of_astropy(name):
    made = grid(**GRIDS[name])
    places = [(made, 510.0, 470.0), (made, 300.5, 600.0)]
    for (_, x, y), scales in zip(places, sky_scales(places), strict=True):
        frame = wcs_to_celestial_frame(made.wcs)
        world = np.asarray(made.wcs.all_pix2world([x, x + 1, x], [y, y, y + 1], 0))
        lon, lat = world[[made.wcs.wcs.lng, made.wcs.wcs.lat]]
        sky = SkyCoord(lon, lat, unit="deg", frame=frame).icrs
        east, north = (part.arcsec for part in sky[0].spherical_offsets_to(sky[1:]))
        length = np.hypot(scales[0], scales[1]).max()
        np.testing.assert_allclose(scales, [east, north], atol=3e-3 * length)


@given(
    angle=st.floats(0, 360), dec=st.floats(-89, 89), mirror=st.booleans(), x=st.floats(-2000, 3000),
    y=st.floats(-2000, 3000),
)  # fmt: skip
def test_pixels_and_directions_lead_to_the_same_place(angle, dec, mirror, x, y):
    """A step of one pixel is the step on the sky that is said, wherever on the sky and on the image."""
    c, s = np.cos(np.radians(angle)) * 1e-5, np.sin(np.radians(angle)) * 1e-5
    made = grid(CRVAL2=dec, CD1_1=c if mirror else -c, CD1_2=s, CD2_1=s if mirror else -s, CD2_2=-c if mirror else c)
    scales = sky_scales([(made, x, y)])[0]
    ra, dec = pixel_to_sky(made, [x, x + 1, x], [y, y, y + 1])
    sky = SkyCoord(ra, dec, unit="deg")
    east, north = (part.arcsec for part in sky[0].spherical_offsets_to(sky[1:]))
    np.testing.assert_allclose(scales, [east, north], atol=1e-3 * 0.036)


def test_many_grids_at_once_are_as_one_by_one():
    grids = [grid(**changes) for changes in GRIDS.values()]
    places = [(made, 450.0 + k, 430.0 + k) for k, made in enumerate(grids * 2)]
    together = sky_scales(places)
    np.testing.assert_array_equal(together, np.concatenate([sky_scales([place]) for place in places]))
    assert np.isfinite(together).all()
    assert sky_scales([]).shape == (0, 2, 2)


@pytest.mark.parametrize(
    "changes",
    [
        {"CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN", "CD1_1": -1.0, "CD2_2": 1.0},  # beyond its edge
        {"CTYPE1": "HPLN-TAN", "CTYPE2": "HPLT-TAN"},  # the Sun's disc
        {"CTYPE1": "MALN-TAN", "CTYPE2": "MALT-TAN"},  # Mars
        {"CTYPE1": "LINEAR", "CTYPE2": "LINEAR"},
        {"CTYPE1": "RA---TAN", "CTYPE2": "FREQ"},
        {"CD1_1": 0.0, "CD1_2": 0.0},
        {"CD1_1": 1e-4, "CD1_2": 1e-4, "CD2_1": 1e-4, "CD2_2": 1e-4},
        {"CRVAL2": 90.0, "CRPIX1": 1.0, "CRPIX2": 1.0},  # on the pole
        {"CRVAL1": 1e300, "CRVAL2": 1e300},
    ],
)
def test_where_there_is_no_direction_there_is_none(changes):
    good = tan_grid((150.0, 2.0), 0.1, (64, 64))
    found = sky_scales([(grid(**changes), 0.0, 0.0), (good, 3.0, 4.0)])
    assert np.isnan(found[0]).all()
    np.testing.assert_allclose(found[1], [[-0.1, 0], [0, 0.1]], atol=1e-6)
    np.testing.assert_array_equal(sky_scales([(Grid(b"no FITS at all", (3, 3)), 0, 0)]), np.full((1, 2, 2), np.nan))


def test_beside_the_pole_north_points_to_it():
    made = grid(CRVAL2=90.0, CD1_1=-1e-4, CD1_2=0.0, CD2_1=0.0, CD2_2=1e-4)
    scales = sky_scales([(made, 509.0, 479.0)])[0]  # ten pixels right of the pole
    np.testing.assert_allclose(np.linalg.inv(scales)[:, 1] * 0.36, [-1, 0], atol=1e-6)


@pytest.mark.parametrize("system", [{}, {"RADESYS": "FK5", "EQUINOX": 2000.0}, {"RADESYS": "ICRS"}])
def test_the_names_of_the_axes_decide_on_the_frame(system):
    """Many galactic images carry the RADESYS of the equatorial image they were made from."""
    galactic = grid(CTYPE1="GLON-TAN", CTYPE2="GLAT-TAN", CRVAL1=30.0, CRVAL2=1.0, **system)
    ra, dec = pixel_to_sky(galactic, 499, 479)
    assert SkyCoord(30, 1, unit="deg", frame="galactic").separation(SkyCoord(ra, dec, unit="deg")).arcsec.max() < 1e-3
    np.testing.assert_allclose(sky_to_pixel(galactic, ra, dec), [[499], [479]], atol=1e-6)
    ecliptic = grid(CTYPE1="ELON-TAN", CTYPE2="ELAT-TAN", CRVAL1=30.0, CRVAL2=1.0, **system)
    frame = BarycentricMeanEcliptic(equinox=Time(2000, format="jyear"))
    ra, dec = pixel_to_sky(ecliptic, 499, 479)
    expected = SkyCoord(30, 1, unit="deg", frame=frame).icrs
    assert expected.separation(SkyCoord(ra, dec, unit="deg")).arcsec.max() < 1e-3
    plain = {"CD1_1": -1e-4, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 1e-4}
    for name, at in (("G", SkyCoord(30, 1, unit="deg", frame="galactic")), ("E", expected)):
        made = grid(CTYPE1=f"{name}LON-TAN", CTYPE2=f"{name}LAT-TAN", CRVAL1=30.0, CRVAL2=1.0, **plain, **system)
        north = np.linalg.inv(sky_scales([(made, 499.0, 479.0)])[0])[:, 1]
        step = at.icrs.directional_offset_by(0, 0.36 * at.icrs.ra.unit / 3600)
        x, y = sky_to_pixel(made, step.ra.deg, step.dec.deg)
        np.testing.assert_allclose(north * 0.36, [x[0] - 499, y[0] - 479], atol=1e-4)
