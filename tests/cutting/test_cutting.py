"""Cutouts agree with Cutout2D, and the WCS rebuilt from a stored grid agrees with the original."""

import io
import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.nddata.utils import NoOverlapError
from astropy.wcs import WCS
from hypothesis import given
from hypothesis import strategies as st

from astroanomaly.cutting import (
    Plane,
    align,
    aligned_padding,
    constant_areas,
    covering_tan_grid,
    crop_wcs,
    cut,
    grid_from_hdu,
    is_counts,
    pixel_scale_arcsec,
    pixel_to_sky,
    same_grid,
    sky_to_pixel,
    tan_grid,
)
from astroanomaly.errors import CatalogError, UnreadableError

MAS = 1 / 3.6e6  # degrees
HEIGHT, WIDTH = 23, 31
IMAGE = np.random.default_rng(1).normal(size=(HEIGHT, WIDTH)).astype(">f4")

REAL = (
    "sdss-gri/reprojected_sdss_g.fits.bz2",
    "sdss-gri/reprojected_sdss_r.fits.bz2",
    "sdss-gri/reprojected_sdss_i.fits.bz2",
    "decam-tpv/c4d_141029_043225_ooi_g_ls9.N26.fits",
    "decam-tpv/c4d_141029_043420_ooi_r_ls9.N26.fits",
    "decam-tpv/c4d_150329_083320_ooi_r_ls9.N11.fits",
    "decam-tpv/c4d_150329_083505_ooi_g_ls9.N11.fits",
    "decam-tpv/c4d_150412_073257_ooi_z_ls9.N11.fits",
    "euclid-q1/102018665_NEG570040238507752998.fits",
    "euclid-q1/EUCLJ174517.55+655612.5.fits",
    "hst-acs/147246.0_150.416558_1.998697_masknoise.fits",
    "spitzer/spitzer_example_image.fits",
    "wcs-odd/sipsample.fits",
    "wcs-odd/tpv_odd.fits",
)


def by_astropy(image, x, y, size_hw):
    try:
        return Cutout2D(image, (x, y), size_hw, mode="partial", fill_value=np.nan).data
    except NoOverlapError:
        return np.full(size_hw, np.nan)


def separation(first, second):
    """Largest distance in degrees between the sky positions of two sets of coordinates."""
    return np.max(first.separation(second).deg)


# ------------------------------------------------------------------------------------------------------------- pixels


@given(
    x=st.floats(-45, 75),
    y=st.floats(-40, 65),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
)
def test_a_cutout_is_that_of_cutout2d_pixel_for_pixel(x, y, height, width):
    stamps, offsets, coverage = cut([IMAGE], x, y, (height, width))
    expected = by_astropy(IMAGE, x, y, (height, width))
    assert stamps.dtype == np.float32
    assert stamps.dtype.isnative
    np.testing.assert_array_equal(stamps[0, 0], expected)
    assert coverage[0, 0] == np.float32(np.isfinite(expected).mean())
    if np.isfinite(expected).any():  # the offset says where the stamp lies
        row, column = np.argwhere(np.isfinite(expected))[0]
        assert expected[row, column] == IMAGE[row + offsets[0, 1], column + offsets[0, 0]]


@given(st.sampled_from([0.0, 0.5, 0.25, -0.5]), st.integers(-3, 33), st.integers(1, 12))
def test_halves_are_rounded_like_cutout2d(fraction, whole, size):
    x = whole + fraction
    stamps, _, _ = cut([IMAGE], x, 10.5, (size, size))
    np.testing.assert_array_equal(stamps[0, 0], by_astropy(IMAGE, x, 10.5, (size, size)))


def test_many_objects_and_bands_at_once_are_each_cut_right():
    rng = np.random.default_rng(2)
    images = rng.normal(size=(3, 60, 70)).astype(np.float64)
    images[1, 20:30] = np.nan
    x, y = rng.uniform(-20, 90, 300), rng.uniform(-20, 80, 300)
    stamps, _, coverage = cut(images, x, y, (11, 8))
    for k in range(300):
        for band in range(3):
            expected = by_astropy(images[band], x[k], y[k], (11, 8)).astype(np.float32)
            np.testing.assert_array_equal(stamps[k, band], expected)
            assert coverage[k, band] == np.float32(np.isfinite(expected).mean())


def test_a_position_that_is_not_finite_is_refused():
    with pytest.raises(CatalogError, match="not finite"):
        cut([IMAGE], [1.0, np.nan], [1.0, 1.0], (3, 3))


@pytest.mark.parametrize(
    ("kind", "scale", "zero", "blank"),
    [(">i2", 2.9, 3713.7, None), (">i2", 1, 32768, None), (">i4", 0.01, 5, -999), ("u1", 1, 0, 7), (">i8", 1, 0, None)],
)
def test_scaled_integers_become_what_astropy_makes_of_them(tmp_path, kind, scale, zero, blank):
    rng = np.random.default_rng(3)
    raw = rng.integers(0, 100, (40, 40)).astype(kind)
    if blank is not None:
        raw[5:9, 5:9] = blank
    hdu = fits.PrimaryHDU(raw)
    path = tmp_path / "scaled.fits"
    hdu.writeto(path)
    with fits.open(path, mode="update", do_not_scale_image_data=True) as hdulist:
        hdulist[0].header["BSCALE"], hdulist[0].header["BZERO"] = scale, zero
        if blank is not None:
            hdulist[0].header["BLANK"] = blank
    expected = fits.getdata(path)
    stamps, _, _ = cut([Plane(raw, scale, zero, blank)], [7, 20], [7, 20], (9, 9))
    for k, at in enumerate((7, 20)):
        np.testing.assert_array_equal(stamps[k, 0], expected[at - 4 : at + 5, at - 4 : at + 5].astype(np.float32))


def test_nodata_becomes_nan_and_is_not_covered():
    image = np.ones((20, 20))
    image[:10] = -99
    stamps, _, coverage = cut([image], [9.5], [9.5], (20, 20), nodata=-99)
    assert np.isnan(stamps[0, 0, :10]).all()
    assert coverage[0, 0] == 0.5


def test_padding_of_one_value_along_the_edge_is_not_covered_but_a_flat_spot_inside_is():
    image = np.random.default_rng(4).normal(size=(200, 200)).astype(np.float32)
    image[:, :50] = 0  # the padding of a mosaic
    image[100:140, 100:140] = 0  # a saturated or masked spot
    planes = [Plane(image, constant=constant_areas(image))]
    stamps, _, coverage = cut(planes, [49.5, 119.5, 175.5], [100.5, 119.5, 100.5], (20, 20))
    assert coverage[:, 0] == pytest.approx([0.5, 1, 1])
    assert (stamps[0, 0, :, :10] == 0).all()  # pixels stay as they are


def test_an_ordinary_image_has_no_constant_area():
    assert constant_areas(IMAGE) == ()
    assert constant_areas(np.random.default_rng(5).poisson(2.0, (300, 300))) == ()


@pytest.mark.parametrize("exposure", [1.0, 1234.5])
@pytest.mark.parametrize("kind", ["i2", "f4", "f8", "u1"])
@pytest.mark.parametrize("mean", [1e-3, 0.003, 0.03])
def test_true_zeros_of_photon_counts_are_no_padding(mean, kind, exposure):
    """Counts are told by their whole numbers; rates, which are none, by zeros that are common inside too."""
    counts = np.random.default_rng(6).poisson(mean, (300, 300)).astype(kind)
    assert is_counts(counts)
    if kind[0] == "f":
        rates = counts / np.float64(exposure).astype(kind)
        assert is_counts(rates) == (exposure == 1)
        assert constant_areas(rates) == ()
        padded = np.random.default_rng(4).normal(size=(300, 300)).astype(kind)
        padded[:, :50] = 0
        assert not is_counts(padded)
        assert len(constant_areas(padded)) == 1


# ---------------------------------------------------------------------------------------------------------------- WCS


def check_grid(hdu, hdulist, offsets=((0, 0), (7, 11), (-20, 5))):
    """The grid survives being bytes, and crops of it agree with the original to a milliarcsecond at every corner."""
    grid = grid_from_hdu(hdu, hdulist)
    assert grid is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # remarks on strangers' headers
        original = WCS(hdu.header, hdulist).celestial
    assert grid.shape == hdu.shape[-2:]
    height, width = grid.shape
    for offset in offsets:
        crop = crop_wcs(grid.wcs, offset, (height, width))
        assert crop.pixel_shape == (width, height)
        x = np.array([0, width - 1, 0, width - 1, width / 2.0])
        y = np.array([0, 0, height - 1, height - 1, height / 3.0])
        ours, theirs = crop.pixel_to_world(x, y), original.pixel_to_world(x + offset[0], y + offset[1])
        assert ours.frame.name == theirs.frame.name
        assert separation(ours, theirs) < MAS
    inner_x, inner_y = np.array([1.0, width / 2, width - 2]), np.array([1.0, height / 2, height - 2])
    found = sky_to_pixel(grid, *pixel_to_sky(grid, inner_x, inner_y))
    np.testing.assert_allclose(found, (inner_x, inner_y), atol=1e-3)
    return grid


@pytest.mark.parametrize("name", REAL)
def test_wcs_of_real_files(data_folder, name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hdulist = fits.open(data_folder / "fits" / name)
        tested = [check_grid(hdu, hdulist) for hdu in hdulist if hdu.is_image and "CTYPE1" in hdu.header]
        hdulist.close()
    assert tested


@pytest.mark.parametrize("name", ["emmi-no-wcs/image.fits", "wcs-odd/blankimg.fits", "spitzer/irac_ch1_flight.fits"])
def test_an_image_without_wcs_has_no_grid(data_folder, name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with fits.open(data_folder / "fits" / name) as hdulist:
            assert grid_from_hdu(hdulist[0], hdulist) is None


def tan_header(naxis=2):
    header = fits.Header()
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    header["CRVAL1"], header["CRVAL2"] = 150.1, 2.2
    header["CRPIX1"], header["CRPIX2"] = 40.0, 60.0
    header["CD1_1"], header["CD1_2"] = -5e-5, 1e-6
    header["CD2_1"], header["CD2_2"] = 1e-6, 5e-5
    header["RADESYS"] = "ICRS"
    return header


def image_hdu(header, shape=(120, 100)):
    return fits.PrimaryHDU(np.zeros(shape, np.float32), header)


def test_sip():
    header = tan_header()
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN-SIP", "DEC--TAN-SIP"
    header["A_ORDER"], header["B_ORDER"] = 2, 2
    header["A_2_0"], header["A_0_2"], header["B_1_1"] = 3e-5, -2e-5, 4e-5
    hdu = image_hdu(header)
    assert check_grid(hdu, fits.HDUList([hdu])).wcs.sip is not None


def test_tpv():
    header = tan_header()
    header["CTYPE1"], header["CTYPE2"] = "RA---TPV", "DEC--TPV"
    for axis in (1, 2):
        header[f"PV{axis}_1"], header[f"PV{axis}_4"], header[f"PV{axis}_7"] = 1.0, 0.02, 1.5
    hdu = image_hdu(header)
    check_grid(hdu, fits.HDUList([hdu]))


def test_lookup_tables_move_with_the_crop():
    header = tan_header()
    rng = np.random.default_rng(6)
    tables = []
    for kind, prefix, extension in (("CPDIS", "DP", "WCSDVARR"), ("D2IMDIS", "D2IM", "D2IMARR")):
        for axis in (1, 2):
            header[f"{kind}{axis}"] = "LOOKUP"
            header[f"{prefix}{axis}"] = f"EXTVER: {axis}"
            header.append((f"{prefix}{axis}", "NAXES: 2"), end=True)
            header.append((f"{prefix}{axis}", "AXIS.1: 1"), end=True)
            header.append((f"{prefix}{axis}", "AXIS.2: 2"), end=True)
            table = fits.ImageHDU(rng.normal(0, 2, (9, 8)).astype(np.float32), name=extension, ver=axis)
            for number, length in ((1, 100), (2, 120)):
                table.header[f"CRPIX{number}"], table.header[f"CRVAL{number}"] = 1.0, 1.0
                table.header[f"CDELT{number}"] = length / 7
            tables.append(table)
    buffer = io.BytesIO()
    fits.HDUList([image_hdu(header), *tables]).writeto(buffer)
    buffer.seek(0)
    with fits.open(buffer) as hdulist:
        grid = check_grid(hdulist[0], hdulist, offsets=((0, 0), (13, 29), (-9, -4)))
        assert grid.wcs.cpdis1 is not None
        assert grid.wcs.det2im2 is not None
        plain = WCS(tan_header()).pixel_to_world(30, 30)
        assert plain.separation(grid.wcs.pixel_to_world(30, 30)).arcsec > 0.01  # the tables do something
        with pytest.raises(UnreadableError, match="lookup table"):
            grid_from_hdu(hdulist[0], hdulist[:1])


def test_tab_axes_keep_their_table():
    header = fits.Header()
    for axis, ctype in ((1, "RA---TAB"), (2, "DEC--TAB")):
        header[f"CTYPE{axis}"], header[f"CUNIT{axis}"] = ctype, "deg"
        header[f"CRPIX{axis}"], header[f"CRVAL{axis}"], header[f"CDELT{axis}"] = 1.0, 1.0, 1.0
        header[f"PS{axis}_0"], header[f"PS{axis}_1"] = "WCS-TABLE", "COORDS"
        header[f"PV{axis}_1"], header[f"PV{axis}_3"] = 1, axis
    v, u = np.mgrid[0:120, 0:100]
    coords = np.stack([150 - u * 1e-4 - v**2 * 1e-8, 2 + v * 1e-4 + u**2 * 1e-8], axis=-1)
    table = fits.BinTableHDU.from_columns(
        [fits.Column("COORDS", format=f"{coords.size}D", dim="(2,100,120)", array=coords[None])],
        name="WCS-TABLE",
        ver=1,
    )
    buffer = io.BytesIO()
    fits.HDUList([image_hdu(header), table]).writeto(buffer)
    buffer.seek(0)
    with fits.open(buffer) as hdulist:
        grid = grid_from_hdu(hdulist[0], hdulist)
        original = WCS(hdulist[0].header, hdulist)
        x, y = np.array([20.0, 60, 90]), np.array([40.0, 80, 100])
        crop = crop_wcs(grid.wcs, (10, 20), (50, 50))
        ours, theirs = crop.pixel_to_world(x - 10, y - 20), original.pixel_to_world(x, y)
    assert separation(ours, theirs) < MAS
    assert theirs.ra.deg == pytest.approx(150 - x * 1e-4 - y**2 * 1e-8, abs=1e-9)


def test_degenerate_axes_are_dropped():
    header = tan_header()
    header["CTYPE3"], header["CRVAL3"], header["CRPIX3"], header["CDELT3"] = "FREQ", 1.4e9, 1.0, 1e6
    header["CTYPE4"], header["CRVAL4"], header["CRPIX4"], header["CDELT4"] = "STOKES", 1.0, 1.0, 1.0
    hdu = image_hdu(header, (1, 1, 120, 100))
    grid = check_grid(hdu, fits.HDUList([hdu]))
    assert grid.wcs.naxis == 2


def test_a_wcs_that_cannot_be_is_an_error():
    header = tan_header()
    header["CTYPE2"] = "RA---TAN"
    hdu = image_hdu(header)
    with pytest.raises(UnreadableError, match="WCS cannot be understood"):
        grid_from_hdu(hdu, fits.HDUList([hdu]))


def test_equal_headers_give_equal_keys_and_history_is_left_out():
    first, second = tan_header(), tan_header()
    second["HISTORY"], second["COMMENT"], second["OBJECT"] = "reduced twice", "nice", "M 31"
    grids = [grid_from_hdu(image_hdu(header)) for header in (first, second)]
    assert grids[0].key == grids[1].key
    assert b"HISTORY" not in grids[1].fits


@given(ra=st.floats(0, 359.9), dec=st.floats(-89, 89), scale=st.floats(0.01, 10))
def test_tan_grid_has_its_centre_and_scale(ra, dec, scale):
    grid = tan_grid((ra, dec), scale, (50, 61))
    x, y = sky_to_pixel(grid, ra, dec)
    assert (x[0], y[0]) == pytest.approx((30, 24.5), abs=1e-6)
    assert pixel_scale_arcsec(grid) == pytest.approx(scale, rel=1e-3)


def test_positions_behind_the_projection_have_no_pixel():
    grid = tan_grid((10.0, 20.0), 1.0, (50, 50))
    x, _ = sky_to_pixel(grid, [190.0, 10.0], [-20.0, 20.0])
    assert np.isnan(x[0])
    assert np.isfinite(x[1])


# ----------------------------------------------------------------------------------------------------------- aligning


def blob(grid, ra, dec, sigma_arcsec, flux):
    """A Gaussian source of some flux on a grid."""
    height, width = grid.shape
    x, y = sky_to_pixel(grid, ra, dec)
    scale = pixel_scale_arcsec(grid)
    v, u = np.mgrid[0:height, 0:width]
    radius2 = ((u - x[0]) ** 2 + (v - y[0]) ** 2) * scale**2
    return flux * np.exp(-radius2 / 2 / sigma_arcsec**2) * scale**2 / (2 * np.pi * sigma_arcsec**2)


def test_aligned_bands_show_an_object_at_one_place_with_its_flux():
    fine, coarse = tan_grid((30.0, 5.0), 0.2, (150, 150)), tan_grid((30.001, 5.002), 0.5, (70, 70))
    planes = [blob(grid, 30.0005, 5.0005, 2.0, 100.0) for grid in (fine, coarse)]
    target = covering_tan_grid([fine, coarse], 0.2)
    images = align(planes, [fine, coarse], target)
    x, y = sky_to_pixel(target, 30.0005, 5.0005)
    v, u = np.mgrid[0 : target.shape[0], 0 : target.shape[1]]
    for image in images:
        filled = np.nan_to_num(image)
        assert filled.sum() == pytest.approx(100, rel=0.02)
        assert (filled * u).sum() / filled.sum() == pytest.approx(x[0], abs=0.05)
        assert (filled * v).sum() / filled.sum() == pytest.approx(y[0], abs=0.05)


def test_a_window_of_an_alignment_is_the_window_of_the_whole():
    source = tan_grid((30.0, 5.0), 0.3, (80, 90))
    image = np.random.default_rng(7).normal(size=(80, 90))
    target = tan_grid((30.0002, 5.0001), 0.25, (110, 120))
    whole = align([image], [source], target)
    window = align([image], [source], target, (15, 40), (30, 35))
    np.testing.assert_allclose(window[0], whole[0, 40:70, 15:50], atol=1e-5)
    beyond = align([image], [source], target, (-500, -500), (20, 20))
    assert np.isnan(beyond).all()


def test_inferred_padding_is_interpolated_as_it_is_and_told_apart():
    """Whether a zero is padding is a guess: resampling makes no pixel of it, or beside it, NaN."""
    source, target = tan_grid((30.0, 5.0), 0.3, (120, 120)), tan_grid((30.0, 5.0), 0.25, (130, 130))
    image = np.random.default_rng(3).normal(5, 1, (120, 120))
    image[:, :40] = 0
    padded = Plane(image, constant=constant_areas(image))
    assert padded.constant
    found, plain = align([padded], [source], target), align([image], [source], target)
    np.testing.assert_array_equal(found, plain)
    assert np.isfinite(found).all()
    marked = aligned_padding([padded], [source], target)[0]
    x, _ = sky_to_pixel(source, *pixel_to_sky(target, *np.mgrid[0:130, 0:130].reshape(2, -1)[::-1]))
    np.testing.assert_array_equal(marked, (np.rint(x) < 40).reshape(130, 130))
    window = aligned_padding([padded], [source], target, (30, 20), (40, 50))[0]
    np.testing.assert_array_equal(window, marked[20:60, 30:80])
    assert not aligned_padding([padded], [source], target, (500, 500), (20, 20)).any()
    assert not aligned_padding([image], [source], target).any()


def test_surface_brightness_is_not_scaled():
    fine, coarse = tan_grid((30.0, 5.0), 0.2, (100, 100)), tan_grid((30.0, 5.0), 0.4, (60, 60))
    flat = np.full((60, 60), 3.0)
    assert np.nanmedian(align([flat], [coarse], fine, per_area=[True])) == pytest.approx(3)
    assert np.nanmedian(align([flat], [coarse], fine)) == pytest.approx(0.75, rel=1e-3)


def test_grids_are_the_same_to_a_hundredth_of_a_pixel():
    first = tan_grid((30.0, 5.0), 0.2, (100, 100))
    assert same_grid(first, tan_grid((30.0, 5.0 + 0.001 * 0.2 / 3600), 0.2, (100, 100)))
    assert not same_grid(first, tan_grid((30.0, 5.0 + 0.1 * 0.2 / 3600), 0.2, (100, 100)))
    assert not same_grid(first, tan_grid((30.0, 5.0), 0.2, (101, 100)))
