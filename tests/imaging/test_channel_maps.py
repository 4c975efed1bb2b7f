"""The usual colour pictures: which bands they are made of, whatever these are called."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astroanomaly.imaging.bands import parse_channels
from astroanomaly.imaging.channel_maps import known_maps, usual_map


@pytest.mark.parametrize(
    ("bands", "name", "channels"),
    [
        (["g", "r", "i"], "gri", "i,r,g"),
        (["u", "g", "r", "i", "z"], "gri", "i,r,g"),
        (["g", "r", "z"], "grz", "z,r,g"),
        (["ls-g", "ls-r", "ls-i", "ls-z"], "Legacy Surveys grz", "ls-z,ls-r,ls-g"),
        (["SDSS_G", "SDSS_R", "SDSS_I"], "gri", "SDSS_I,SDSS_R,SDSS_G"),
        (["VIS", "Y", "J", "H"], "Euclid VIS Y H", "H,Y,VIS"),
        (["vis", "nir_y", "nir_h"], "Euclid VIS Y H", "nir_h,nir_y,vis"),
        (["VIS", "NIR_J", "NIR_H"], "Euclid VIS J H", "NIR_H,NIR_J,VIS"),
        (
            ["DES_G_BGSUB", "DES_R_BGSUB", "VIS_BGSUB", "DES_I_BGSUB", "NIR_Y_BGSUB", "NIR_J_BGSUB", "NIR_H_BGSUB"],
            "Euclid VIS Y H",
            "NIR_H_BGSUB,NIR_Y_BGSUB,VIS_BGSUB",
        ),
        (["F606W", "F814W"], "HST pair F606W F814W", "F814W,F814W+F606W,F606W"),
        (["F160W", "F814W"], "HST pair F814W F160W", "F160W,F160W+F814W,F814W"),
        (["F435W", "F606W", "F814W", "F850LP"], "HST ACS F435W F606W F814W", "F814W,F606W,F435W"),
        (["J", "H", "Ks"], "JHK", "Ks,H,J"),
        (["IRAC1", "IRAC2", "IRAC4"], "IRAC 3.6 4.5 8.0", "IRAC4,IRAC2,IRAC1"),
        (["B", "V", "R", "I"], "BVR", "R,V,B"),
    ],
)
def test_the_usual_map_of_an_instrument(bands, name, channels):
    found = usual_map(bands)
    assert (found.name, found.channels) == (name, channels)


@pytest.mark.parametrize("bands", [["R", "G", "B"], ["I"], ["odd", "other"], [], ["W1", "W2"], ["g,x", "r", "i"]])
def test_bands_without_a_usual_map(bands):
    assert known_maps(bands) == []


def test_all_maps_that_fit_are_known_the_usual_one_first():
    bands = ["DECAM_g", "DECAM_r", "VIS", "DECAM_i", "DECAM_z", "NIR_Y", "NIR_J", "NIR_H"]
    assert [one.name for one in known_maps(bands)][:4] == ["Euclid VIS Y H", "Euclid VIS J H", "gri", "grz"]


names = st.sampled_from(["g", "r", "i", "z", "VIS", "NIR_H", "NIR_Y", "F606W", "F814W", "W1", "W2", "W3", "a+b", "K"])


@given(st.lists(names | st.text(max_size=5), max_size=8, unique=True))
def test_every_map_can_be_read(bands):
    for one in known_maps(bands):
        assert len(parse_channels(one.channels, bands)) == 3
