"""When an image was taken: what its header says, and what it leaves open."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.time import Time
from astropy.wcs import WCS

from astroanomaly.cutting import middle_time, quiet

NOON = 60370.5  # 2024-03-01T12:00:00


@pytest.mark.parametrize(
    ("cards", "expected"),
    [
        ({"DATE-OBS": "2024-03-01T12:00:00"}, NOON),
        ({"MJD-OBS": NOON}, NOON),
        ({"MJD-BEG": NOON, "MJD-END": NOON + 0.4}, NOON + 0.2),
        ({"DATE-BEG": "2024-03-01T12:00:00", "DATE-END": "2024-03-01T14:00:00", "MJD-OBS": 1.0}, NOON + 1 / 24),
        ({"MJD-AVG": NOON, "MJD-OBS": 60000.0}, NOON),
        ({"MJD-OBS": NOON, "TIMESYS": "TT"}, Time(NOON, format="mjd", scale="tt").utc.mjd),
        ({"DATE-OBS": "2024-03-01"}, np.nan),  # a day, and no time of day
        ({"MJD-BEG": NOON, "MJD-END": NOON + 30}, np.nan),  # a mean of many nights
        ({"MJD-BEG": NOON, "MJD-END": NOON - 0.1, "MJD-OBS": NOON}, np.nan),
        ({"MJD-OBS": 0.0}, np.nan),
        ({"MJD-OBS": 1e300}, np.nan),
        ({"MJD-OBS": NOON, "TIMESYS": "SOLAR"}, NOON),
        ({}, np.nan),
    ],
)
def test_the_middle_of_an_observation(cards, expected):
    header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", **cards})
    with quiet():
        found = middle_time(WCS(header))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
