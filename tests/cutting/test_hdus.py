"""Cutouts as FITS: every kind of WCS survives with all its digits, pixels keep their type."""

import io
import warnings

import numpy as np
import pytest
from astropy.coordinates import FK4, FK5, ICRS, Galactic, SkyCoord
from astropy.io import fits
from astropy.wcs import WCS, FITSFixedWarning
from astropy.wcs.utils import wcs_to_celestial_frame

from astroanomaly.cutting import crop_wcs, grid_from_hdu, pixel_to_sky
from astroanomaly.cutting.grids import Grid
from astroanomaly.cutting.hdus import TableVersions, image_hdus, put_card

OFFSET, SHAPE = (310, -5), (64, 48)
PLAIN = {
    "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.123456789012345, "CRVAL2": 2.2123456789, "CRPIX1": 1000.5,
    "CRPIX2": 900.25, "CD1_1": -1e-4, "CD1_2": 2e-5, "CD2_1": 2e-5, "CD2_2": 1e-4, "RADESYS": "FK5", "EQUINOX": 2000.0,
}  # fmt: skip
SIP = PLAIN | {
    "CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "B_ORDER": 2, "A_2_0": 1e-6, "B_0_2": -2e-6,
    "A_1_1": 3e-7,
}  # fmt: skip
TPV = PLAIN | {
    "CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV", "PV1_0": 1e-4, "PV1_1": 1.0, "PV1_4": 1e-3, "PV2_1": 1.0,
    "PV2_6": -1e-3,
}  # fmt: skip
NO_REFERENCE_PIXEL = {key: value for key, value in PLAIN.items() if not key.startswith("CRPIX")}
PLATE_MODEL = [67.2, 0.1, 0, 1e-4, 2e-4, 0, 0, 1e-6, 0, 1e-6, 0, 0, 0]
PLATE = {  # of the Digitized Sky Survey
    "PLTRAH": 10, "PLTRAM": 0, "PLTRAS": 30.5, "PLTDECSN": "+", "PLTDECD": 2, "PLTDECM": 12, "PLTDECS": 1.0,
    "PLTSCALE": 67.2, "XPIXELSZ": 15.0, "YPIXELSZ": 15.0, "PPO3": 177500.0, "PPO6": 177500.0, "CNPIX1": 5000,
    "CNPIX2": 6000, **{f"AMDX{k}": x for k, x in enumerate(PLATE_MODEL, 1)},
    **{f"AMDY{k}": x for k, x in enumerate(PLATE_MODEL, 1)},
}  # fmt: skip
BOTH = PLATE | {key: value for key, value in PLAIN.items() if not key.startswith("CD")} | {"CDELT1": -3e-4}
THREE_AXES = PLAIN | {"CTYPE3": "FREQ", "CRVAL3": 1.4e9, "CDELT3": 1e6, "CRPIX3": 1.0, "CUNIT3": "Hz"}
GALACTIC = PLAIN | {"CTYPE1": "GLON-CAR", "CTYPE2": "GLAT-CAR"}


def with_tables(keyword, parameter, extension):
    """A header that refers to two lookup tables, and these."""
    header = fits.Header(PLAIN)
    rng = np.random.default_rng(1)
    tables = []
    for axis in (1, 2):
        header[f"{keyword}{axis}"] = "LOOKUP"
        for text in (f"EXTVER: {axis}", "NAXES: 2", "AXIS.1: 1", "AXIS.2: 2"):
            header.append((f"{parameter}{axis}", text))
        table = fits.ImageHDU(rng.normal(size=(20, 20)).astype(np.float32), name=extension, ver=axis)
        for number in (1, 2):
            table.header[f"CRPIX{number}"] = table.header[f"CRVAL{number}"] = 1.0
            table.header[f"CDELT{number}"] = 110.0
        tables.append(table)
    return header, tables


def with_coordinates():
    """A header of axes that are tables of positions, and the table."""
    header = fits.Header()
    for axis, ctype in ((1, "RA---TAB"), (2, "DEC--TAB")):
        values = {"CTYPE": ctype, "CUNIT": "deg", "CRPIX": 1.0, "CRVAL": 1.0, "CDELT": 1.0}
        header.update({f"{key}{axis}": value for key, value in values.items()})
        header.update({f"PS{axis}_0": "WCS-TABLE", f"PS{axis}_1": "COORDS", f"PV{axis}_1": 1, f"PV{axis}_3": axis})
    v, u = np.mgrid[0:120, 0:400]
    positions = np.stack([150 - u * 1e-4 - v**2 * 1e-8, 2 + v * 1e-4 + u**2 * 1e-8], axis=-1)
    column = fits.Column("COORDS", format=f"{positions.size}D", dim="(2,400,120)", array=positions[None])
    return header, [fits.BinTableHDU.from_columns([column], name="WCS-TABLE", ver=1)]


KINDS = {
    "tan": (PLAIN, []), "sip": (SIP, []), "tpv": (TPV, []), "no crpix": (NO_REFERENCE_PIXEL, []),
    "galactic": (GALACTIC, []), "plate": (PLATE, []), "plate and header": (BOTH, []), "three axes": (THREE_AXES, []),
    "cpdis": with_tables("CPDIS", "DP", "WCSDVARR"),
    "d2im": with_tables("D2IMDIS", "D2IM", "D2IMARR"),
    "tab": with_coordinates(),
}  # fmt: skip


FRAMES = {  # cards of an image, the frame of its cutouts, and what their headers say of it
    "FK4 of former years": ({"RADECSYS": "FK4", "EPOCH": 1950.0}, FK4(equinox="B1950"), ("FK4", 1950.0)),
    "an epoch that is an equinox": ({"EPOCH": 1950.0}, FK4(equinox="B1950"), (None, 1950.0)),
    "FK5": ({"RADECSYS": "FK5", "EQUINOX": 1975.0}, FK5(equinox="J1975"), ("FK5", 1975.0)),
    "both words": ({"RADESYS": "ICRS", "RADECSYS": "FK5", "EQUINOX": 2000.0}, FK5(), ("FK5", 2000.0)),
    "exposed in 1984": ({"RADESYS": "FK5", "EQUINOX": 2000.0, "EPOCH": 1984.1}, FK5(), ("FK5", 2000.0)),
    "ICRS": ({"RADESYS": "ICRS"}, ICRS(), ("ICRS", None)),
    "nothing said": ({}, ICRS(), (None, None)),
    "galactic": ({"CTYPE1": "GLON-CAR", "CTYPE2": "GLAT-CAR"}, Galactic(), (None, None)),
    "galactic, of an FK5 image": (
        {"CTYPE1": "GLON-CAR", "CTYPE2": "GLAT-CAR", "RADECSYS": "FK5", "EQUINOX": 2000.0}, Galactic(), (None, None),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", FRAMES)
def test_the_frame_is_said_in_the_words_of_the_standard(kind):
    cards, frame, said = FRAMES[kind]
    plain = {key: value for key, value in PLAIN.items() if key not in ("RADESYS", "EQUINOX")}
    grid = make_grid(plain | cards, [])
    (hdu,) = image_hdus(np.zeros((1, *SHAPE), np.float32), ["r"], [], grid=grid, offset=OFFSET)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wcs = WCS(hdu.header)
    assert wcs_to_celestial_frame(wcs).is_equivalent_frame(frame)
    assert (hdu.header.get("RADESYS"), hdu.header.get("EQUINOX")) == said
    assert "RADECSYS" not in hdu.header
    here = SkyCoord(*wcs.all_pix2world([[3, 4]], 0)[0], unit="deg", frame=frame).icrs
    ra, dec = pixel_to_sky(grid, OFFSET[0] + 3, OFFSET[1] + 4)
    assert here.separation(SkyCoord(ra[0], dec[0], unit="deg")).arcsec < 1e-6


def make_grid(header, tables):
    content = io.BytesIO()
    image = fits.PrimaryHDU(np.zeros((1800, 2000), np.uint8), fits.Header(header))
    fits.HDUList([image, *tables]).writeto(content)
    content.seek(0)
    with fits.open(content) as hdus:
        return grid_from_hdu(hdus[0], hdus)


def written(hdus):
    """What is in the file, strictly checked."""
    content = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(content, checksum=True, output_verify="exception")
    content.seek(0)
    found = fits.open(content, checksum=True)
    found.verify("exception")
    return found


def sky(grid, offset=(0, 0)):
    x, y = np.meshgrid(np.arange(0, SHAPE[1], 7.0), np.arange(0, SHAPE[0], 9.0))
    return np.stack(pixel_to_sky(grid, x.ravel() + offset[0], y.ravel() + offset[1]))


@pytest.mark.parametrize("kind", KINDS)
def test_every_pixel_is_where_it_was_on_the_sky(kind):
    grid = make_grid(*KINDS[kind])
    expected = sky(grid, OFFSET)
    assert np.isfinite(expected).any()
    data = np.zeros((2, *SHAPE), np.float32)
    versions = TableVersions()
    for number in (1, 2):  # the second time the lookup tables have other versions
        hdus = image_hdus(data, ["g", "r"], ["nJy", ""], grid=grid, offset=OFFSET, version=number, tables=versions)
        with written(hdus) as found:
            for band in ("g", "r"):
                np.testing.assert_allclose(sky(grid_from_hdu(found[band], found)), expected, rtol=0, atol=1e-9)
            assert found["g"].ver == number
            assert "BUNIT" not in found["r"].header
            count = len(hdus) - 2
            assert [hdu.ver for hdu in found[3:]] == list(range(count * (number - 1) + 1, count * number + 1))


def test_old_tables_of_one_axis_are_written_in_the_way_of_today():
    header = fits.Header(PLAIN | {"AXISCORR": 1})
    table = fits.ImageHDU(np.linspace(-0.3, 0.3, 2000).astype(np.float32), name="D2IMARR", ver=1)
    content = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(np.zeros((1800, 2000), np.uint8), header), table]).writeto(content)
    content.seek(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        with fits.open(content) as hdus:
            grid = grid_from_hdu(hdus[0], hdus)
        expected = crop_wcs(grid.wcs, OFFSET, SHAPE).all_pix2world(20, 30, 0)
        with written(image_hdus(np.zeros((1, *SHAPE)), ["g"], [], grid=grid, offset=OFFSET)) as found:
            again = grid_from_hdu(found["g"], found).wcs.all_pix2world(20, 30, 0)
    np.testing.assert_allclose(again, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, np.int16])
def test_pixels_keep_their_type(dtype):
    data = np.arange(2 * 3 * 4).reshape(2, 3, 4).astype(dtype)
    with written(image_hdus(data, ["a", "b"], [], coverage=np.array([1.0, 0.5]))) as found:
        for number, band in enumerate("ab"):
            assert found[band].data.dtype == np.dtype(dtype).newbyteorder(">")
            np.testing.assert_array_equal(found[band].data, data[number])
        assert found["b"].header["COVERAGE"] == 0.5


@pytest.mark.parametrize("text", ["plain", "日本 é", "'" * 90, "x" * 500, "a\nb\x07", "\ud800", "", "/ not a comment"])
def test_any_text_fits_into_a_card(text):
    header = fits.Header()
    put_card(header, "OBJECT", text, "what it is")
    put_card(header, "SCORE", float("nan"))
    assert "SCORE" not in header
    again = fits.Header.fromstring(header.tostring())
    assert again["OBJECT"] == header["OBJECT"]
    assert len(header.cards) == 1
    if text in ("plain", "/ not a comment"):
        assert again["OBJECT"] == text
        assert again.comments["OBJECT"] == "what it is"


def test_a_cutout_without_a_grid_has_no_wcs():
    with written(image_hdus(np.zeros((1, 4, 4), np.uint8), ["R"], [])) as found:
        assert not [key for key in found["R"].header if key.startswith(("CTYPE", "CRPIX"))]
    assert isinstance(make_grid(PLAIN, []), Grid)
