"""Every file and image that is found is cut, is a failure, or is left out with a reason; bands wherever they are."""

import gzip
import itertools
import lzma
import shutil

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import QTable
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from astroanomaly import BandError, Cache, UnreadableError, ingest
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
        and images["found"] == images["used"] + images["failed"] + images["left_out"]
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
        assert cache.facts["images"].value == {"found": 3, "used": 2, "failed": 0, "left_out": 1}
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


def test_a_link_to_a_file_that_is_there_itself_is_left_out(tmp_path):
    write(tmp_path / "s/a.fits", None, head())
    write(tmp_path / "elsewhere/b.fits", None, head(151))
    for name, target in (
        ("again.fits", "a.fits"),
        ("b.fits", "../elsewhere/b.fits"),
        ("b2.fits", "../elsewhere/b.fits"),
    ):
        (tmp_path / "s" / name).symlink_to(target)
    cache = cut(tmp_path / "s", tmp_path / "c")
    assert sorted(cache.ids) == ["a.fits", "b.fits"]
    assert not cache.failures
    assert balanced(cache)
    reasons = cache.facts["left out"].value["reasons"]
    assert reasons["link to a file that is there itself"]["first"] == ["again.fits", "b2.fits"]


def test_a_cache_inside_the_folder_is_no_input(tmp_path):
    write(tmp_path / "a.fits", None, head())
    first = cut(tmp_path, tmp_path / "c").facts["files"].value
    assert first == {"found": 1, "used": 1, "failed": 0, "left_out": 0}
    assert cut(tmp_path, tmp_path / "d").facts["files"].value == first
    np.save(tmp_path / "x.npy", pixels(shape=(3, SIDE, SIDE)))
    stacks = ingest("arrays", [tmp_path], out=tmp_path / "e", workers=1)
    assert sorted(stacks.ids) == ["x/000000", "x/000001", "x/000002"]
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(tmp_path / "p.png")
    pictures = ingest("images", [tmp_path], out=tmp_path / "f")
    assert pictures.facts["files"].value == {"found": 3, "used": 1, "replaced": 0, "left_out": 2}


def test_a_file_packed_twice_is_read(tmp_path):
    packed = fits.CompImageHDU(pixels(), head())
    packed.writeto(tmp_path / "a.fits.fz")
    (tmp_path / "s").mkdir()
    (tmp_path / "s/a.fits.fz.gz").write_bytes(gzip.compress((tmp_path / "a.fits.fz").read_bytes()))
    cache = cut(tmp_path / "s", tmp_path / "c")
    assert list(cache.ids) == ["a.fits.fz.gz"]
    assert np.array_equal(cache["a.fits.fz.gz"].data[0], fits.getdata(tmp_path / "a.fits.fz", 1))


@pytest.mark.parametrize("inside", ["folder", "zip"])
def test_files_packed_with_xz_are_read(tmp_path, inside):
    plain = write(tmp_path / "plain/a.fits", None, head())
    packed = tmp_path / "s/a.fits.xz"
    packed.parent.mkdir()
    packed.write_bytes(lzma.compress(plain.read_bytes()))
    if inside == "zip":
        shutil.make_archive(str(tmp_path / "s"), "zip", packed.parent)
    cache = cut(tmp_path / ("s" if inside == "folder" else "s.zip"), tmp_path / "c")
    assert list(cache.ids) == ["a.fits.xz"]
    assert np.array_equal(cache["a.fits.xz"].data[0], pixels())


@pytest.mark.parametrize(
    ("plain", "about"),
    [
        ("rings.1234.stk.{}.unconv", ("{}.mask", "{}.wt", "{}.exp", "{}.num", "{}.expwt")),  # Pan-STARRS
        ("GLM_{}_mosaic", ("{}_cov", "{}_std", "{}_unc")),  # Spitzer
        ("AIS_50-{}-int", ("AIS_50-{}-rrhr", "AIS_50-{}-skybg")),  # GALEX
        ("em01_{}_021_Image", ("em01_{}_023_ExposureMap",)),  # eROSITA, where the number differs too
    ],
)
def test_what_surveys_lay_beside_an_image_is_left_out(tmp_path, plain, about):
    for band in ("g", "r"):
        name = plain.format(band)
        write(tmp_path / f"s/{name}.fits", pixels(1), head(FILTER=band))
        for other in about:
            path = other.format(name) if "-" not in other and "em01" not in other else other.format(band)
            write(tmp_path / f"s/{path}.fits", pixels(2), head(FILTER=band))
    cache = cut(tmp_path / "s", tmp_path / "c")
    assert cache.bands == ("g", "r")
    assert len(cache) == 1
    assert np.array_equal(cache[cache.ids[0]].data[0], pixels(1))
    assert balanced(cache)
    assert cache.facts["left out"].value["total"] == 2 * len(about)


def test_words_of_a_name_alone_are_no_exposure_map(tmp_path):
    for number, name in enumerate(("ccd.exp", "ccd.num2", "obj_exp_7")):
        write(tmp_path / f"s/{name}.fits", None, head(150 + number))
    assert len(cut(tmp_path / "s", tmp_path / "c")) == 3


def target_pixels():
    cells = fits.Column("FLUX", "64E", dim="(8,8)", array=np.ones((5, 8, 8), "f4"))
    mask = fits.ImageHDU(np.full((8, 8), 3, "i4"), head(), name="APERTURE")
    return [fits.BinTableHDU.from_columns([cells], name="PIXELS"), mask]


def healpix():
    table = fits.BinTableHDU.from_columns([fits.Column("I", "E", array=np.ones(12, "f4"))])
    table.header["PIXTYPE"] = "HEALPIX"
    return [table]


def table_called(name):
    return lambda: [fits.BinTableHDU.from_columns([fits.Column("X", "D", array=np.ones(3))], name=name)]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (target_pixels, "target pixel file of Kepler or TESS"),
        (healpix, "HEALPix map: .*ingest hips"),
        (table_called("EVENTS"), "list of events"),
        (table_called("CATALOG"), r"tables only \(CATALOG\).*--catalog"),
    ],
)
def test_a_file_without_an_image_says_what_it_is(tmp_path, make, words):
    fits.HDUList([fits.PrimaryHDU(), *make()]).writeto(tmp_path / "x.fits")
    with pytest.raises(BandError, match=words):
        ingest("fits", [tmp_path / "x.fits"], out=tmp_path / "c")
    (tmp_path / "s").mkdir()
    (tmp_path / "x.fits").rename(tmp_path / "s/x.fits")
    with pytest.raises(UnreadableError, match=words):
        ingest("fits", [tmp_path / "s"], out=tmp_path / "c")
    write(tmp_path / "s/a.fits", None, head())
    cache = cut(tmp_path / "s", tmp_path / "d")
    assert list(cache.ids) == ["a.fits"]
    assert cache.facts["left out"].value["reasons"] == {"no image in it": {"number": 1, "first": ["x.fits"]}}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<!DOCTYPE html><html>503</html>", "page of the web"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS"),
        (b"\x1f\x9d\x90abc", r"packed with compress \(\.Z\)"),
        (b"\x28\xb5\x2f\xfdabc", "packed with zstd"),
    ],
)
def test_what_is_no_fits_file_is_called_by_what_it_is(tmp_path, content, words):
    (tmp_path / "x.fits").write_bytes(content)
    with pytest.raises(UnreadableError, match=rf"x\.fits cannot be read as FITS: it does not begin .*{words}"):
        ingest("fits", [tmp_path / "x.fits"], out=tmp_path / "c")


def test_stamps_without_wcs_that_nothing_joins_are_refused_where_bands_are_named(tmp_path):
    for name in ("a_Science", "a_Template", "b_Science", "b_Template"):
        fits.writeto(tmp_path / f"{name}.fits", np.ones((8, 8), np.float32))
    with pytest.raises(BandError, match=r"which of these images show one object in the bands S, T is not known"):
        ingest("fits", tmp_path, bands=("S=*_Science.fits", "T=*_Template.fits"), out=tmp_path / "cache")
