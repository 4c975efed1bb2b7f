"""Band names and channel maps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astroanomaly.errors import BandError
from astroanomaly.imaging.bands import default_channels, parse_channels, wavelength_nm


@pytest.mark.parametrize(
    "bands",
    [
        ["u", "g", "r", "i", "z", "y"],
        ["U", "B", "V", "R", "I", "J", "H", "K"],
        ["DES_G_BGSUB", "DES_R_BGSUB", "DES_I_BGSUB", "VIS", "DES_Z_BGSUB", "NIR_Y", "NIR_J", "NIR_H"],
        ["F435W", "F606W", "F814W", "F110W", "F160W"],
        ["FUV", "NUV", "g", "W1", "W2", "W3", "W4"],
        ["sdss-g", "sdss_r", "SDSS I"],
        ["B", "G", "R"],
    ],
)
def test_bands_are_known_in_the_order_of_their_wavelengths(bands):
    waves = [wavelength_nm(band) for band in bands]
    if "VIS" in bands:
        waves.remove(wavelength_nm("VIS"))
    assert None not in waves
    assert waves == sorted(waves)


def test_a_name_that_says_nothing_has_no_wavelength():
    assert wavelength_nm("flux_best") is None
    assert wavelength_nm("") is None


def test_the_longest_wavelength_is_red():
    assert default_channels(["g", "r", "i"]) == ((0, 0, 1), (0, 1, 0), (1, 0, 0))
    assert default_channels(["i", "g", "r"]) == ((1, 0, 0), (0, 0, 1), (0, 1, 0))
    assert default_channels(["R", "G", "B"]) == ((1, 0, 0), (0, 1, 0), (0, 0, 1))
    assert default_channels(["VIS"]) == ((1,), (1,), (1,))
    assert default_channels(["g", "i"]) == ((0, 1), (0.5, 0.5), (1, 0))


def test_more_than_three_bands_are_averaged_in_groups():
    assert default_channels(["z", "g", "r", "i"]) == ((1, 0, 0, 0), (0, 0, 0.5, 0.5), (0, 1, 0, 0))


@given(st.lists(st.sampled_from([*"ugrizyUBVRIJHK", "odd", "other"]), min_size=1, max_size=9, unique=True))
def test_every_band_counts_and_every_channel_is_a_mean(bands):
    channels = default_channels(bands)
    assert len(channels) == 3
    for row in channels:
        assert sum(row) == pytest.approx(1)
    assert all(any(row[k] for row in channels) for k in range(len(bands)))


def test_channel_maps_are_read_and_checked():
    bands = ["g", "r", "i", "z"]
    assert parse_channels("z, i+r ,g", bands) == ((0, 0, 0, 1), (0, 0.5, 0.5, 0), (1, 0, 0, 0))
    with pytest.raises(BandError, match=r"no band 'rr'; did you mean 'r'\? \(bands: g, r, i, z\)"):
        parse_channels("z,rr,g", bands)
    with pytest.raises(BandError, match="expected three parts"):
        parse_channels("z,g", bands)
