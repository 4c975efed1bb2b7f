"""Cards of a WCS that WCSLIB passes over in silence: they are mended, or the image is refused."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from astroanomaly import UnreadableError
from astroanomaly.cutting.grids import grid_from_hdu

RIGHT = {
    "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 2.0, "CRPIX1": 150.5, "CRPIX2": 20.5,
    "CDELT1": -5.5e-5, "CDELT2": 5.5e-5, "RADESYS": "FK5", "EQUINOX": 2000.0,
}  # fmt: skip


def grid(cards):
    """The grid of an image whose header has these cards; a value in angle brackets stands there as it is."""
    header = fits.Header()
    for key, value in cards.items():
        if isinstance(value, str) and value.startswith("<"):
            header.append(fits.Card.fromstring(f"{key:8}= {value[1:-1]:>20}"))
        else:
            header[key] = value
    return grid_from_hdu(fits.PrimaryHDU(np.zeros((40, 300), np.float32), header))


@pytest.mark.parametrize(
    "changed",
    [
        {"CRPIX1": "150.5"},
        {"CRVAL1": " 150 ", "CRVAL2": "2"},
        {"CDELT1": "-5.5D-05", "CDELT2": "+.000055"},
        {"EQUINOX": "J2000"},
        {"EQUINOX": "2000.0"},
        {"CDELT1": "<-5.5D-05>", "CDELT2": "<+0.55d-4>", "CRVAL1": "<1.5D2>"},
        {"EPOCH": "unknown"},
        {"LONPOLE": "<>"},
    ],
)
def test_a_number_in_quotes_is_that_number(changed):
    found = grid({**RIGHT, **changed}).wcs
    expected = WCS(fits.Header(RIGHT))
    x, y = np.array([0, 150, 299.0]), np.array([0, 20, 39.0])
    separation = expected.pixel_to_world(x, y).separation(found.pixel_to_world(x, y))
    assert separation.mas.max() < 1e-3


def test_an_equinox_in_quotes_is_the_frame():
    cards = {**{key: value for key, value in RIGHT.items() if key != "RADESYS"}, "EQUINOX": "B1950"}
    assert grid(cards).wcs.wcs.radesys == "FK4"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"CRVAL1": "10:00:00"}, "CRVAL1 = '10:00:00' in its header is no number"),
        ({"CRPIX2": "<20,5>"}, "CRPIX2 = '20,5' in its header is no number"),
        ({"CDELT2": "<NaN>"}, "CDELT2 = 'NaN' in its header is no number"),
        ({"CDELT1": "<0.2 arcsec>"}, "CDELT1 = '0.2 arcsec' in its header is no number"),
        ({"CRVAL2": True}, "CRVAL2 = 'True' in its header is no number"),
        ({"EQUINOX": "now"}, "EQUINOX = 'now' in its header is no number"),
        ({"CDELT1": None, "CDELT2": None}, "neither CDELT1 nor CD1_1"),
        ({"CDELT2": None}, "neither CDELT2 nor CD2_2"),
        (
            {"CD1_1": -5.5e-5, "CD2_2": 5.5e-5, "PC1_1": 1.0, "PC2_2": 1.0, "CDELT1": 1.0},
            "CD1_1 .* PC1_1 .* contradict",
        ),
    ],
)
def test_what_would_be_passed_over_is_refused(changed, message):
    cards = {key: value for key, value in {**RIGHT, **changed}.items() if value is not None}
    with pytest.raises(UnreadableError, match=message):
        grid(cards)


@pytest.mark.parametrize(
    "scale",
    [
        {"CD1_1": -5.5e-5, "CD2_2": 5.5e-5},
        {"PC1_1": -5.5e-5, "PC2_2": 5.5e-5},
        {"CD001001": -5.5e-5, "CD002002": 5.5e-5},
    ],
)
def test_the_size_of_the_pixels_is_stated_in_several_ways(scale):
    cards = {key: value for key, value in RIGHT.items() if not key.startswith("CDELT")}
    assert grid({**cards, **scale}).wcs.has_celestial


def test_what_astropy_assumes_is_not_printed_with_each_file(caplog):
    import logging

    with caplog.at_level(logging.INFO):
        assert grid({**RIGHT, "A_ORDER": 2, "B_ORDER": 2, "A_2_0": 1e-4}).wcs.sip is not None
    assert "SIP" not in caplog.text


def test_a_card_that_is_there_twice():
    for value, wrong in ((150.0, False), (151.0, True)):
        header = fits.Header(RIGHT)
        header.append(("CRVAL1", value), end=True)
        if wrong:
            with pytest.raises(UnreadableError, match=r"CRVAL1 is in its header twice, as 150\.0 and as 151\.0"):
                grid_from_hdu(fits.PrimaryHDU(np.zeros((40, 300), np.float32), header))
        else:
            assert grid_from_hdu(fits.PrimaryHDU(np.zeros((40, 300), np.float32), header)) is not None


def test_cd_and_pc_that_say_the_same_are_read():
    angle = np.radians(30)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = {f"{kind}{i + 1}_{j + 1}": turn[i, j] for kind in ("CD", "PC") for i in (0, 1) for j in (0, 1)}
    scales = {"CD1_1": -5.5e-5, "CD1_2": -5.5e-5, "CD2_1": 5.5e-5, "CD2_2": 5.5e-5}
    matrix |= {key: float(f"{matrix[key] * scale:.9g}") for key, scale in scales.items()}
    assert grid({**RIGHT, **matrix}).wcs.has_celestial
