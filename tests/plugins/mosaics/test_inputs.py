"""Every file and image that is found is cut, is a failure, or is left out with a reason; bands wherever they are."""

import itertools

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import QTable
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from astroanomaly import BandError, Cache, ingest
from astroanomaly.cli import main
from small_sky import header as tan_header

SIDE = 24


def pixels(seed=0, shape=(SIDE, SIDE)):
    return np.random.default_rng(seed).normal(10, 1, shape).astype("f4")


def head(ra=150.0, **cards):
    return tan_header(ra, 2.0, (SIDE, SIDE), 0.5, **cards)


def write(path, data=None, header=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.PrimaryHDU(pixels() if data is None else data, header).writeto(path)
    return path


def cut(folder, out, **options):
    return ingest("fits", [folder], out=out, **options)


def balanced(cache):
    """Whether all that was found is accounted for, by counts that are made apart from one another."""
    files = cache.facts["files"].value
    images = cache.facts["images"].value
    return (
        files["found"] == files["used"] + files["failed"] + files["left_out"]
        and images["found"] >= images["used"] + images["left_out"]
    )


# ------------------------------------------------------------------------------------------------- nothing disappears


def test_a_star_called_sigma_is_cut_and_a_sigma_map_is_left_out_aloud(tmp_path):
    for number, name in enumerate(("sigma_Orionis", "V838_var", "psf_subtracted_HD100", "NGC1234", "RR_mask_neb")):
        write(tmp_path / f"s/{name}.fits", None, head(150 + number))
    for name in ("NGC1234_sigma", "NGC1234.weight"):
        write(tmp_path / f"s/{name}.fits", None, head(153))
    cache = cut(tmp_path / "s", tmp_path / "c")
    assert len(cache) == 5
    assert not cache.failures
    assert balanced(cache)
    assert cache.facts["files"].value == {"found": 7, "used": 5, "failed": 0, "left_out": 2}
    assert cache.facts["left out"].value["total"] == 2
    assert "NGC1234.weight.fits" in cache.facts["left out"].text


@pytest.mark.parametrize("names", [("a_sci", "a_wht"), ("field_drz", "field_rms"), ("x", "mask"), ("m51", "dq_of_it")])
def test_a_weight_map_is_known_by_the_image_it_belongs_to(tmp_path, names):
    for name in names:
        write(tmp_path / f"s/{name}.fits", None, head())
    assert list(cut(tmp_path / "s", tmp_path / "c").ids) == [f"{names[0]}.fits"]


def test_what_is_left_out_is_said_by_the_command_at_its_end_and_by_info(tmp_path, capsys):
    write(tmp_path / "s/a.fits", None, head())
    write(tmp_path / "s/cube.fits", pixels(shape=(3, SIDE, SIDE)), head(160))
    (tmp_path / "s/notes.txt").write_text("seen on Monday")
    (tmp_path / "s/broken.fits").write_bytes(b"SIMPLE  =")
    write(tmp_path / "s/table.fits", np.zeros(5), None)
    main(["ingest", "fits", str(tmp_path / "s"), "--out", str(tmp_path / "c"), "--workers", "1"])
    end = capsys.readouterr().out.partition("written")[2]
    assert "left out" in end
    assert "cube.fits[0][0]" in end
    assert "notes.txt" in end
    assert "table.fits" in end
    main(["info", str(tmp_path / "c")])
    assert "cube.fits[0][0]" in capsys.readouterr().out
    cache = Cache.open(tmp_path / "c")
    assert cache.facts["files"].value == {"found": 5, "used": 1, "failed": 1, "left_out": 3}
    assert [failure.object_id for failure in cache.failures] == ["broken.fits"]


def test_a_mosaic_that_cannot_be_read_does_not_stop_the_others(tmp_path):
    write(tmp_path / "m/a.fits", None, head(150))
    write(tmp_path / "m/b.fits", None, head(151, RADESYS="J2000"))
    (tmp_path / "cat.csv").write_text("id,ra,dec\nhere,150,2\nthere,151,2\n")
    cache = cut(tmp_path / "m", tmp_path / "c", catalog=tmp_path / "cat.csv", size=8)
    assert list(cache.ids) == ["here"]
    assert balanced(cache)
    (lost,) = cache.failures
    assert lost.object_id == "there"
    assert lost.kind == "failed"
    assert "b.fits" in lost.reason


KINDS = ("stamp", "weight", "hidden", "text", "broken", "cube", "planes", "table", "frame", "pair", "twice")


@settings(max_examples=10)
@given(st.lists(st.sampled_from(KINDS), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_found_is_cut_failed_and_left_out(tmp_path_factory, kinds, random):
    folder = tmp_path_factory.mktemp("inputs")
    write(folder / "s/first.fits", None, head(140))
    number = itertools.count()
    for kind in kinds:
        k = next(number)
        name, header = f"s/{random.choice('abc')}/n{k}", head(150 + k)
        if kind == "weight":
            write(folder / f"{name}.fits", None, header)
            write(folder / f"{name}_wht.fits", None, header)
        elif kind in ("hidden", "text"):
            path = folder / (f"s/.n{k}.fits" if kind == "hidden" else f"{name}.txt")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("x")
        elif kind == "broken":
            write(folder / f"{name}.fits", None, header)
            with (folder / f"{name}.fits").open("r+b") as file:
                file.truncate(200)
        elif kind in ("cube", "planes"):
            header.update({"BANDS": "gr"} if kind == "planes" else {})
            write(folder / f"{name}.fits", pixels(k, (2, SIDE, SIDE)), header)
        elif kind == "table":
            write(folder / f"{name}.fits", np.zeros(3))
        elif kind == "frame":
            write(folder / f"{name}.fits", None, head(150 + k, RADESYS="J2000"))
        elif kind in ("pair", "twice"):
            for more in "gr" if kind == "pair" else ("", "_copy"):
                write(folder / f"{name}{'_' if kind == 'pair' else ''}{more}.fits", None, header)
        else:
            write(folder / f"{name}.fits", None, header)
    try:
        cache = cut(folder / "s", folder / "c")
    except BandError:  # more files that cannot be named than others
        return
    assert balanced(cache)
    names = [*cache.ids, *(failure.object_id for failure in cache.failures)]
    assert len(names) == len(set(names))


# ------------------------------------------------------------------------------------------------------------- frames


@pytest.mark.parametrize("card", [{"RADESYS": "J2000"}, {"CTYPE1": "HPLN-TAN", "CTYPE2": "HPLT-TAN"}])
def test_an_unknown_frame_is_the_failure_of_its_file(tmp_path, card):
    write(tmp_path / "s/good.fits", None, head(150))
    write(tmp_path / "s/bad.fits", None, head(151, **card))
    cache = cut(tmp_path / "s", tmp_path / "c")
    assert list(cache.ids) == ["good.fits"]
    (failure,) = cache.failures
    assert failure.object_id == "bad.fits"
    assert next(iter(card.values())) in failure.reason


def test_a_wcs_in_the_primary_header_or_under_another_letter_is_found(tmp_path):
    header = head(150)
    primary = fits.PrimaryHDU(header=header)
    fits.HDUList([primary, fits.ImageHDU(pixels(), name="SCI")]).writeto(tmp_path / "primary.fits")
    other = fits.Header([(f"{card.keyword}B", card.value) for card in header.cards])
    other.update(CTYPE1="LINEAR", CTYPE2="LINEAR")
    write(tmp_path / "letter.fits", None, other)
    refused = fits.ImageHDU(pixels(), fits.Header([("INHERIT", False)]), name="SCI")
    fits.HDUList([primary, refused]).writeto(tmp_path / "refused.fits")
    for name in ("primary", "letter"):
        cutout = cut(tmp_path / f"{name}.fits", tmp_path / name)[f"{name}.fits"]
        assert abs(cutout.ra - 150) < 1e-3
        assert abs(cutout.dec - 2) < 1e-3
        assert cutout.coord.separation(cutout.wcs.pixel_to_world((SIDE - 1) / 2, (SIDE - 1) / 2)).mas < 1
    assert cut(tmp_path / "refused.fits", tmp_path / "r")["refused.fits"].wcs is None


# -------------------------------------------------------------------------------------------------------------- bands


@pytest.mark.parametrize(
    "cards", [{"BANDS": "grz"}, {"BANDS": "g, r, z"}, {f"BAND{k}": b for k, b in enumerate("grz")}], ids=str
)
def test_planes_of_a_cube_are_the_bands_that_its_header_names(tmp_path, cards):
    cube = pixels(shape=(3, SIDE, SIDE))
    write(tmp_path / "s/a.fits", cube, head(**cards))
    (tmp_path / "cat.csv").write_text("id,ra,dec\nhere,150,2\n")
    cache = cut(tmp_path / "s", tmp_path / "c")
    assert cache.bands == ("g", "r", "z")
    assert np.array_equal(cache["a.fits"].data, cube)
    cache = cut(tmp_path / "s", tmp_path / "d", catalog=tmp_path / "cat.csv", size=8)
    assert np.array_equal(cache["here"].data, cube[:, 8:16, 8:16])


def test_planes_of_a_cube_can_be_named_or_be_stamps_of_their_own(tmp_path):
    cube = pixels(shape=(3, SIDE, SIDE))
    path = write(tmp_path / "s/a.fits", cube, head())
    with pytest.raises(BandError, match=r"--planes objects"):
        cut(tmp_path / "s", tmp_path / "c")
    for number, bands in enumerate((f"g={path}[0][0],r={path}[0][2]", "g=[0][0],r=[0][2]", "g=*.fits[0][0],r=[0][2]")):
        cache = cut(tmp_path / "s", tmp_path / f"c{number}", bands=tuple(bands.split(",")))
        assert cache.bands == ("g", "r")
        assert np.array_equal(cache["a.fits"].data, cube[[0, 2]])
        assert cache.facts["images"].value == {"found": 3, "used": 2, "left_out": 1}
    stack = cut(tmp_path / "s", tmp_path / "stack", planes="objects")
    assert list(stack.ids) == ["a.fits[0][0]", "a.fits[0][1]", "a.fits[0][2]"]
    assert all(np.array_equal(stack[f"a.fits[0][{k}]"].data[0], cube[k]) for k in range(3))


def test_what_an_extension_is_may_be_said_by_exttype(tmp_path):
    hdus = [fits.PrimaryHDU()]
    for number, kind in enumerate(("IMAGE", "MASK", "VARIANCE")):
        hdus.append(fits.ImageHDU(pixels(number), head(EXTTYPE=kind)))
    (tmp_path / "s").mkdir()
    fits.HDUList(hdus).writeto(tmp_path / "s/a.fits")
    cache = cut(tmp_path / "s", tmp_path / "c")
    assert np.array_equal(cache["a.fits"].data, pixels(0)[None])
    assert np.array_equal(cut(tmp_path / "s", tmp_path / "d", ext=("VARIANCE",))["a.fits"].data, pixels(2)[None])


@pytest.mark.parametrize("names", [("chi2", "depth"), ("model", "epochs")])
def test_words_that_are_no_known_bands_are_asked_about(tmp_path, names):
    hdus = [fits.PrimaryHDU(), *(fits.ImageHDU(pixels(k), head(), name=name) for k, name in enumerate(names))]
    fits.HDUList(hdus).writeto(tmp_path / "a.fits")
    for name in names:
        write(tmp_path / f"s/f_{name}.fits", None, head())
    for given_path in (tmp_path / "a.fits", tmp_path / "s"):
        with pytest.raises(BandError, match="cannot be told"):
            cut(given_path, tmp_path / "c")


@pytest.mark.parametrize("wcs", [True, False])
@pytest.mark.parametrize("name", ["{0}_{1}", "{1}/{0}", "{1}_{0}_v2"])
def test_stamps_whose_names_differ_in_the_band_are_one_object(tmp_path, wcs, name):
    """Also where two objects lie so close that their stamps show the same sky."""
    for number, ra in enumerate((150.0, 150.0002, 151.0)):
        for k, band in enumerate("gr"):
            path = tmp_path / f"s/{name.format(f'gal{number}', band)}.fits"
            write(path, pixels(10 * number + k), head(ra) if wcs else None)
    cache = cut(tmp_path / "s", tmp_path / "c")
    assert len(cache) == 3
    assert cache.bands == ("g", "r")
    first = next(i for i in cache.ids if "gal0" in i)
    assert np.array_equal(cache[first].data, np.stack([pixels(0), pixels(1)]))


def test_names_do_not_join_what_lies_apart(tmp_path):
    for number, band in enumerate("gr"):
        write(tmp_path / f"s/star_{band}.fits", None, head(150 + number))
    assert len(cut(tmp_path / "s", tmp_path / "c")) == 2


def test_a_file_that_is_there_twice_is_a_failure_and_no_more(tmp_path):
    for number in range(3):
        write(tmp_path / f"s/gal{number}.fits", None, head(150 + number, FILTER="g"))
    write(tmp_path / "s/gal1-copy.fits", None, head(151, FILTER="g"))
    cache = cut(tmp_path / "s", tmp_path / "c")
    assert list(cache.ids) == ["gal0.fits", "gal2.fits"]
    assert balanced(cache)
    assert sorted(failure.object_id for failure in cache.failures) == ["gal1-copy.fits", "gal1.fits"]
    assert all("twice" in failure.reason for failure in cache.failures)


# ---------------------------------------------------------------------------------------------------- units and scales


@pytest.mark.parametrize("packed", [False, True])
def test_asinh_magnitudes_of_pan_starrs_become_flux(tmp_path, packed):
    flux = np.random.default_rng(2).gamma(2, 50, (SIDE, SIDE)) - 20
    stored = (2.5 / np.log(10) * np.arcsinh((flux - 3) / 4)).astype("f4")
    header = head(BOFFSET=3.0, BSOFTEN=2.0)
    if packed:
        hdu = fits.CompImageHDU(stored, header, quantize_level=0, compression_type="GZIP_2")
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(tmp_path / "a.fits")
    else:
        write(tmp_path / "a.fits", stored, header)
    for number, options in enumerate(({}, {"pixel_scale": 0.5})):
        cache = cut(tmp_path / "a.fits", tmp_path / f"c{number}", **options)
        got = cache["a.fits"].data[0]
        middle = got[(got.shape[0] - SIDE) // 2 :, (got.shape[1] - SIDE) // 2 :][2 : SIDE - 2, 2 : SIDE - 2]
        assert np.allclose(middle, flux[2:-2, 2:-2], rtol=1e-4, atol=1e-3) or options
        assert abs(np.nanmean(got) - flux.mean()) < 2
        assert "BSOFTEN" in cache.facts["flux"].text


@pytest.mark.parametrize("unit", ["mag", "mag(AB)", "ABmag", "mag/arcsec2", "dex(Jy)", "dB"])
def test_magnitudes_are_no_flux(tmp_path, unit):
    path = write(tmp_path / "s/mags.fits", None, head(BUNIT=unit))
    for options in ({}, {"bands": (f"r={path}",)}, {"ext": ("0",)}):
        with pytest.raises(BandError, match=r"no linear flux. Convert"):
            cut(tmp_path / "s", tmp_path / "c", **options)
    write(tmp_path / "s/flux.fits", None, head(151, BUNIT="nmgy"))
    cache = cut(tmp_path / "s", tmp_path / "c")
    assert list(cache.ids) == ["flux.fits"]
    assert "mags.fits" in cache.facts["left out"].text


@pytest.mark.parametrize("unit", ["nmgy", "maggies", "magnetic flux", "dBm5", "Jy/(beam", "???", "electron/s/Jy"])
def test_odd_units_stop_nothing(tmp_path, unit):
    write(tmp_path / "a.fits", None, head(BUNIT=unit))
    assert cut(tmp_path / "a.fits", tmp_path / "c", pixel_scale=0.5)["a.fits"].units == (unit,)


@pytest.mark.parametrize(("size", "pixels"), [("10arcsec", (10, 20)), ("10arcsec x 5arcsec", (5, 20)), ("7", (7, 7))])
def test_an_angle_is_that_angle_on_pixels_that_are_not_square(tmp_path, size, pixels):
    header = head()
    header["PC2_2"] *= 2
    write(tmp_path / "a.fits", None, header)
    (tmp_path / "cat.csv").write_text("id,ra,dec\nhere,150,2\n")
    cache = cut(tmp_path / "a.fits", tmp_path / "c", catalog=tmp_path / "cat.csv", size=size)
    assert cache["here"].data.shape == (1, *pixels)


@pytest.mark.parametrize("crval", [0.0, 100.0, 359.5])
@pytest.mark.parametrize("projection", ["CAR", "CEA", "MER"])
def test_a_map_of_the_whole_sky_that_begins_at_its_reference_loses_nothing(tmp_path, projection, crval):
    """Its middle, and half of its pixels, have no position by WCSLIB, which knows -180 to 180 degrees only."""
    header = fits.Header()
    for axis, (name, value, first) in enumerate((("RA--", crval, 0.5), ("DEC-", 0.0, 45.5)), 1):
        header.update({f"CTYPE{axis}": f"{name}-{projection}", f"CRVAL{axis}": value, f"CRPIX{axis}": first})
        header[f"CDELT{axis}"] = 1.0
    data = np.add.outer(np.arange(90.0), np.arange(360.0) / 1000).astype("f4")
    write(tmp_path / "a.fits", data, header)
    ra = (np.array([20.5, 100.5, 181.5, 270.5, 340.5]) + crval) % 360
    table = QTable({"id": list("abcde"), "ra": ra * u.deg, "dec": np.zeros(5) * u.deg})
    cache = cut(tmp_path / "a.fits", tmp_path / "c", catalog=table, size=9)
    assert sorted(cache.ids) == list("abcde")
    for name, x in zip("abcde", (20, 100, 181, 270, 340), strict=True):
        cutout = cache[name]
        assert np.array_equal(cutout.data[0], data[40:49, x - 4 : x + 5])
        assert cutout.coord.separation(cutout.wcs.pixel_to_world(4, 4)).deg < 1
        assert cutout.coord.separation(WCS(cutout.to_hdulist()[1].header).pixel_to_world(4, 4)).deg < 1


def test_a_card_without_the_blank_behind_its_equals_sign_is_read(tmp_path):
    path = write(tmp_path / "a.fits", None, head())
    content = path.read_bytes()
    start = content.index(b"CRVAL2  =")
    path.write_bytes(content[:start] + b"CRVAL2  =-5.5".ljust(80) + content[start + 80 :])
    assert abs(cut(path, tmp_path / "c")["a.fits"].dec + 5.5) < 1e-3


def test_links_are_not_lost(tmp_path):
    write(tmp_path / "s/a.fits", None, head())
    (tmp_path / "s/gone.fits").symlink_to(tmp_path / "nothing.fits")
    (tmp_path / "s/round").symlink_to(tmp_path / "s")
    cache = cut(tmp_path / "s", tmp_path / "c")
    assert cache.facts["files"].value == {"found": 3, "used": 1, "failed": 0, "left_out": 2}
    assert "gone.fits" in cache.facts["left out"].text
