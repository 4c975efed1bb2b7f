"""The source ``fits``: which pixels become which band of which object, on synthetic and on real files."""

import dataclasses
import gzip
import json
import logging
import warnings

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.table import MaskedColumn, Table
from astropy.wcs import WCS

from astroanomaly import (
    BandError,
    CatalogError,
    ConfigError,
    CutoutBlock,
    Failure,
    FootprintError,
    Request,
    UnreadableError,
    ingest,
)
from astroanomaly.config import build
from astroanomaly_plugins.fits import FitsSource
from astroanomaly_plugins.mosaics import reading as fits_reading

SOURCE = FitsSource()


@pytest.fixture(autouse=True)
def _forget_tiles():
    yield
    fits_reading._last.clear()


def plan(inputs, **options):
    inputs = inputs if isinstance(inputs, (list, tuple)) else [inputs]
    return SOURCE.plan(Request(tuple(map(str, inputs))), build(SOURCE.Options, options))


def read(planned, split=None):
    """Return cutouts by id and failures by id."""
    cutouts, failures = {}, {}
    for whole in planned:
        for task in whole.split(split or len(whole) or 1):
            json.dumps(task.payload)  # plain data
            for item in SOURCE.read(task):
                if isinstance(item, Failure):
                    failures[item.object_id] = item
                    continue
                assert isinstance(item, CutoutBlock)
                assert item.images.shape[1:] == (len(planned.layout.bands), planned.layout.height, planned.layout.width)
                for k, object_id in enumerate(item.ids):
                    assert object_id not in cutouts
                    cutouts[object_id] = (item, k)
    return cutouts, failures


def header(ra=150.0, dec=2.0, shape=(120, 140), scale=0.2, rotate=0.0, **more):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [(shape[1] + 1) / 2, (shape[0] + 1) / 2]
    c, s = np.cos(rotate), np.sin(rotate)
    wcs.wcs.cd = np.array([[-c, s], [s, c]]) * scale / 3600
    found = wcs.to_header()
    found.update(more)
    return found


def image(seed=0, shape=(120, 140)):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def write(path, data, head, **kwargs):
    fits.PrimaryHDU(data, head).writeto(path, **kwargs)
    return path


def write_catalog(path, head, x, y, **more):
    coords = WCS(head).pixel_to_world(np.asarray(x, float), np.asarray(y, float))
    Table({"id": [f"o{k}" for k in range(len(x))], "ra": coords.ra.deg, "dec": coords.dec.deg, **more}).write(path)
    return path


X, Y = [20.3, 70.2, 2.1, 138.9, 60.6], [30.7, 60.1, 3.2, 119.3, 118.3]  # none half-way between two windows


@pytest.fixture
def mosaic(tmp_path):
    """Two bands on one grid and a catalogue of five objects, some of them over an edge."""
    folder = tmp_path / "images"
    folder.mkdir()
    for seed, band in enumerate("gr"):
        write(folder / f"m_{band}.fits", image(seed), header(FILTER=band, BUNIT="nJy"))
    catalog = write_catalog(tmp_path / "c.fits", header(), X, Y, mag=[20.0, 21, 22, 23, 24])
    return folder, catalog


# ------------------------------------------------------------------------------------------- cutting from a mosaic


def test_cutouts_are_those_of_cutout2d_with_their_wcs(mosaic):
    folder, catalog = mosaic
    planned = plan(folder, catalog=catalog, size="24x16")
    assert (planned.layout.bands, planned.layout.units) == (("g", "r"), ("nJy", "nJy"))
    assert (planned.layout.height, planned.layout.width) == (16, 24)
    cutouts, failures = read(planned)
    assert not failures
    table = Table.read(catalog)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wcs = WCS(fits.getheader(folder / "m_g.fits"))
    for k in range(5):
        block, row = cutouts[f"o{k}"]
        coord = SkyCoord(table["ra"][k], table["dec"][k], unit="deg")
        for band in range(2):
            expected = Cutout2D(image(band), coord, (16, 24), wcs, mode="partial", fill_value=np.nan)
            np.testing.assert_array_equal(block.images[row, band], expected.data)
            assert block.coverage[row, band] == pytest.approx(np.isfinite(expected.data).mean())
        assert (block.ra[row], block.dec[row]) == (table["ra"][k], table["dec"][k])
        assert block.columns["mag"][row] == table["mag"][k]


@pytest.mark.parametrize("split", [1, 2])
def test_a_split_task_gives_the_same(mosaic, split):
    folder, catalog = mosaic
    whole, _ = read(plan(folder, catalog=catalog, size="12"))
    parts, _ = read(plan(folder, catalog=catalog, size="12"), split)
    assert sorted(parts) == sorted(whole)
    for object_id, (block, row) in parts.items():
        other, place = whole[object_id]
        np.testing.assert_array_equal(block.images[row], other.images[place])


def test_keys_and_tasks_are_stable(mosaic):
    folder, catalog = mosaic
    first, second = (list(plan(folder, catalog=catalog, size="12")) for _ in range(2))
    assert [task.key for task in first] == [task.key for task in second]
    assert [task.payload_json for task in first] == [task.payload_json for task in second]


def test_min_coverage_makes_failures(mosaic):
    folder, catalog = mosaic
    cutouts, failures = read(plan(folder, catalog=catalog, size="20", min_coverage=0.9))
    assert sorted(failures) == ["o2", "o3", "o4"]
    assert "covered to less than 0.9" in failures["o2"].reason
    assert sorted(cutouts) == ["o0", "o1"]


def test_objects_outside_or_without_position_are_failures(mosaic, tmp_path):
    folder, _ = mosaic
    ra = MaskedColumn([150.0, 150.0, 200.0], mask=[False, True, False])
    Table({"id": ["in", "masked", "out"], "ra": ra, "dec": [2.0, 2.0, 2.0]}).write(tmp_path / "d.ecsv")
    cutouts, failures = read(plan(folder, catalog=tmp_path / "d.ecsv", size="10"))
    assert list(cutouts) == ["in"]
    assert failures["masked"].reason == "no valid position in the catalogue"
    assert failures["out"].reason == "outside all images"
    assert (failures["out"].kind, failures["masked"].kind) == ("no coverage", "no position")


def test_no_object_inside_says_both_footprints(mosaic, tmp_path):
    folder, _ = mosaic
    Table({"ra": [10.0, 11.0], "dec": [5.0, 6.0]}).write(tmp_path / "d.fits")
    with pytest.raises(FootprintError, match=r"RA 10\.0.* to 11\.0.*images cover RA 149\.99"):
        plan(folder, catalog=tmp_path / "d.fits", size="10")


def test_nan_and_nodata_are_not_covered(tmp_path):
    data = image()
    data[:, :70] = np.nan
    data[:60, 70:] = -1
    write(tmp_path / "a.fits", data, header())
    catalog = write_catalog(tmp_path / "c.csv", header(), [69.5], [59.5])
    cutouts, _ = read(plan(tmp_path / "a.fits", catalog=catalog, size="20", nodata=-1.0))
    block, row = cutouts["o0"]
    assert block.coverage[row, 0] == 0.25
    assert np.isfinite(block.images[row, 0]).mean() == 0.25


@pytest.mark.parametrize("kind", ["gz", "bz2", "fz", "extension", "scaled", "double", "cube"])
def test_variants_of_a_file_give_the_same_pixels(tmp_path, kind):
    whole = np.random.default_rng(3).integers(0, 4000, (120, 140)).astype(np.int16)
    head = header()
    path = tmp_path / {"gz": "a.fits.gz", "bz2": "a.fits.bz2", "fz": "a.fits.fz"}.get(kind, "a.fits")
    if kind == "fz":
        fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(whole, head)]).writeto(path)
    elif kind == "extension":
        tables = fits.BinTableHDU(Table({"a": [1]}))
        fits.HDUList([fits.PrimaryHDU(), tables, fits.ImageHDU(whole, head, name="SCI")]).writeto(path)
    elif kind == "scaled":
        hdu = fits.PrimaryHDU((whole.astype(np.int32) + 30000).astype(np.uint16), head)  # stored with BZERO
        hdu.writeto(path)
    elif kind == "cube":
        write(path, whole[None, None], head)
    else:
        write(path, whole.astype(np.float64) if kind == "double" else whole, head)
    catalog = write_catalog(tmp_path / "c.csv", head, X, Y)
    cutouts, failures = read(plan(path, catalog=catalog, size="11"))
    assert not failures
    for k in range(5):
        expected = Cutout2D(whole.astype(float), (X[k], Y[k]), 11, mode="partial", fill_value=np.nan).data
        block, row = cutouts[f"o{k}"]
        np.testing.assert_array_equal(block.images[row, 0], expected + (30000 if kind == "scaled" else 0))


def test_size_as_an_angle(mosaic):
    folder, catalog = mosaic
    planned = plan(folder, catalog=catalog, size="4arcsec")
    assert (planned.layout.height, planned.layout.width) == (20, 20)
    planned = plan(folder, catalog=catalog, size="0.1arcmin x 2arcsec")
    assert (planned.layout.height, planned.layout.width) == (10, 30)
    with pytest.raises(ConfigError, match="expected pixels"):
        plan(folder, catalog=catalog, size="4 bananas")
    with pytest.raises(ConfigError, match="--size"):
        plan(folder, catalog=catalog)


def test_carried_columns(mosaic):
    folder, catalog = mosaic
    block = next(iter(read(plan(folder, catalog=catalog, size="9", carry=("mag",)))[0].values()))[0]
    assert list(block.columns) == ["mag"]
    block = next(iter(read(plan(folder, catalog=catalog, size="9", carry=("none",)))[0].values()))[0]
    assert not block.columns
    with pytest.raises(CatalogError, match="no column 'color'"):
        plan(folder, catalog=catalog, size="9", carry=("color",))


# ---------------------------------------------------------------------------------------------------------- overlaps


def test_zero_points_of_the_headers_are_columns(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    points = {"g": {"MAGZERO": 30.0}, "r": {"MAGZPT": 25.5}, "i": {"MAGZERO": "unknown"}}
    for seed, band in enumerate(points):
        write(folder / f"m_{band}.fits", image(seed), header(FILTER=band, **points[band]))
    catalog = write_catalog(tmp_path / "c.fits", header(), X, Y, zero_point_r=[1.0, 2, 3, 4, 5])
    cutouts, _ = read(plan(folder, catalog=catalog, size="8"))
    for k in range(len(X)):
        block, row = cutouts[f"o{k}"]
        assert block.columns["zero_point_g"][row] == 30
        assert block.columns["zero_point_r"][row] == k + 1  # the catalogue's own
        assert np.isnan(block.columns["zero_point_i"][row])
    stamps, _ = read(plan(folder))
    assert [block.columns["zero_point_r"][row] for block, row in stamps.values()] == [25.5]


def test_an_object_on_two_tiles_is_cut_from_the_better_one(tmp_path):
    left, right = header(ra=150.0), header(ra=150.0 - 100 * 0.2 / 3600)  # 100 pixels further west: x grows by 100
    write(tmp_path / "left.fits", image(1), left)
    write(tmp_path / "right.fits", image(2), right)
    x, y = [70.0, 118.0, 122.0, 139.0, 230.0], [60.0] * 5
    catalog = write_catalog(tmp_path / "c.csv", left, x, y)
    planned = plan([tmp_path / "left.fits", tmp_path / "right.fits"], catalog=catalog, size="20")
    cutouts, failures = read(planned)
    assert not failures
    names = {k: cutouts[f"o{k}"][0].grid.wcs.wcs.crval[0] for k in range(5)}
    # 118 is 21.5 from the right edge of the left tile and 18 from the left edge of the right one; 122 the reverse
    assert [names[k] == pytest.approx(150.0) for k in range(5)] == [True, True, False, False, False]


def test_where_the_first_choice_has_no_data_the_other_tile_is_taken(tmp_path):
    data = image(1)
    data[:, 60:] = np.nan
    write(tmp_path / "a.fits", data, header(FILTER="g"))
    shifted = header(ra=150.0 - 90 * 0.2 / 3600, FILTER="g")
    write(tmp_path / "b.fits", image(2), shifted)
    catalog = write_catalog(tmp_path / "c.csv", header(), [105.0], [60.0])
    cutouts, failures = read(plan([tmp_path / "a.fits", tmp_path / "b.fits"], catalog=catalog, size="20"))
    assert not failures
    block, row = cutouts["o0"]
    assert block.coverage[row, 0] == 1
    assert block.grid.wcs.wcs.crval[0] == pytest.approx(shifted["CRVAL1"])


# -------------------------------------------------------------------------------------------------------------- bands


def test_clashing_headers_fall_back_to_file_names(data_folder):
    files = sorted((data_folder / "fits/sdss-gri").glob("*.bz2"))
    assert {fits.getheader(path)["FILTER"] for path in files} == {"g"}
    planned = plan(data_folder / "fits/sdss-gri")
    assert planned.layout.bands == ("g", "r", "i")
    cutouts, _ = read(planned)
    ((block, row),) = cutouts.values()
    for band, name in enumerate("gri"):
        data = fits.getdata(data_folder / f"fits/sdss-gri/reprojected_sdss_{name}.fits.bz2")
        np.testing.assert_array_equal(block.images[row, band], data)


def test_band_overrides_are_by_file_extension_or_pattern(mosaic, tmp_path):
    folder, catalog = mosaic
    options = {"catalog": catalog, "size": "9"}
    planned = plan([], bands=(f"two={folder}/m_r.fits", f"one={folder}/m_g.fits[0]"), **options)
    assert planned.layout.bands == ("two", "one")
    block, row = read(planned)[0]["o1"]
    np.testing.assert_array_equal(block.images[row, 1], image(0)[56:65, 66:75])
    assert plan(folder, bands=("blue=*_g.fits",), **options).layout.bands == ("blue",)
    with pytest.raises(BandError, match="named twice"):
        plan(folder, bands=("a=*_g.fits", "a=*_r.fits"), **options)
    with pytest.raises(BandError, match=r"(?s)matches no image.*m_g\.fits"):
        plan(folder, bands=("a=*_z.fits",), **options)
    with pytest.raises(BandError, match="expected NAME="):
        plan(folder, bands=("z",), **options)
    with pytest.raises(BandError, match="named twice by --bands"):
        plan(folder, bands=("a=*_g.fits", "b=m_*"), **options)


def test_two_images_of_one_band_on_one_grid_are_an_error(tmp_path):
    for name in ("first", "second", "third"):
        write(tmp_path / f"{name}{'x-1' if name == 'third' else ''}.fits", image(), header(FILTER="g"))
    with pytest.raises(BandError, match=r"(?s)cannot be told.*--bands NAME1="):
        plan(tmp_path, size="9")


def test_stamps_in_one_band_on_one_sky_are_told_how_to_be_named(tmp_path):
    """The advice names what works: each is an object of its own then."""
    for name, angle in (("first", 0.0), ("second", 0.03), ("thirdx-1", 0.06)):
        write(tmp_path / f"{name}.fits", image()[:60, :60], header(shape=(60, 60), rotate=angle))
    with pytest.raises(BandError, match=r"(?s)cannot be told.*--bands 'R=\*\.fits'.*--bands NAME1="):
        plan(tmp_path)
    planned = plan(tmp_path, bands=("R=*.fits",))
    assert planned.layout.bands == ("R",)
    assert sum(map(len, planned.tasks)) == 3


@pytest.mark.parametrize("count", [2, 20])
def test_stamps_on_one_grid_are_objects_where_that_is_said(tmp_path, count):
    """Simulations often write one WCS into all stamps: nobody can tell such objects from bands of one."""
    for number in range(count):
        write(tmp_path / f"m{number:02d}.fits", image(number)[:60, :60], header(shape=(60, 60)))
    with pytest.raises(BandError, match=r"(?s)cannot be told.*--bands 'R=\*\.fits'"):
        plan(tmp_path)
    planned = plan(tmp_path, bands=("R=*.fits",))
    assert planned.layout.bands == ("R",)
    cutouts, _ = read(planned)
    for number in range(count):
        block, row = cutouts[f"m{number:02d}.fits"]
        np.testing.assert_array_equal(block.images[row, 0], image(number)[:60, :60])
    write_catalog(tmp_path / "c.csv", header(shape=(60, 60)), [30], [30])
    with pytest.raises(BandError, match="the same name"):  # one mosaic cannot be two
        plan(tmp_path, bands=("R=*.fits",), catalog=tmp_path / "c.csv", size="9")


def test_several_files_of_each_object_are_bands_by_what_their_names_share(tmp_path):
    for number in range(3):
        for band, stamp in (("sci", 17), ("new", 23)):
            name = f"o{number}_{band}_{stamp * (number + 1)}.fits"
            write(tmp_path / name, image(stamp)[:60, :60], header(150 + 0.1 * number, shape=(60, 60)))
    with pytest.raises(BandError, match=r"(?s)cannot be told.*--bands 'R=\*\.fits'.*--bands 'g=\*_g\.fits'"):
        plan(tmp_path)
    planned = plan(tmp_path, bands=("sci=*_sci_*", "new=*_new_*"))
    assert planned.layout.bands == ("sci", "new")
    cutouts, _ = read(planned)
    assert len(cutouts) == 3
    for block, row in cutouts.values():
        found = block.images[row, block.bands.index("new")]
        np.testing.assert_array_equal(found, image(23)[:60, :60])


def test_extensions_on_one_grid_are_bands_and_auxiliary_ones_never_are(tmp_path):
    hdus = [fits.PrimaryHDU()]
    for seed, name in enumerate(("DES_G_FLUX", "DES_G_RMS", "VIS_FLUX", "VIS_PSF", "WEIGHT", "MASK", "DQ", "VAR")):
        shape = (20, 20) if "PSF" in name else (120, 140)
        hdus.append(fits.ImageHDU(image(seed, shape), header(shape=shape), name=name))
    fits.HDUList(hdus).writeto(tmp_path / "a.fits")
    write(tmp_path / "a.weight.fits", image(), header())
    write(tmp_path / "a_rms.fits", image(), header())
    planned = plan(tmp_path)
    assert planned.layout.bands == ("DES_G", "VIS")
    assert sum(len(task) for task in planned) == 1
    assert plan(tmp_path / "a.fits", ext=("WEIGHT",)).layout.bands == ("WEIGHT",)  # unless it is asked for
    assert plan(tmp_path / "a_rms.fits").layout.bands == ("image",)  # nothing else was given that it could be about


def test_extensions_on_disjoint_areas_are_tiles(tmp_path):
    chips = [fits.ImageHDU(image(k), header(ra=150 + k * 0.1), name="SCI", ver=k + 1) for k in range(3)]
    fits.HDUList([fits.PrimaryHDU(header=fits.Header({"FILTER": "r"})), *chips]).writeto(tmp_path / "m.fits")
    Table({"ra": [150.0, 150.1, 150.2], "dec": [2.0] * 3}).write(tmp_path / "c.csv")
    planned = plan(tmp_path / "m.fits", catalog=tmp_path / "c.csv", size="10")
    assert planned.layout.bands == ("r",)
    assert [len(task) for task in planned] == [1, 1, 1]
    cutouts, _ = read(planned)
    block, row = cutouts["row-000002"]
    np.testing.assert_array_equal(block.images[row, 0], image(1)[55:65, 65:75])


def test_any_other_mixture_is_an_error_that_lists_the_extensions(tmp_path):
    shifted = header(ra=150 - 60 * 0.2 / 3600)
    parts = [fits.ImageHDU(image(0), header(), name="ONE"), fits.ImageHDU(image(1), shifted, name="TWO")]
    fits.HDUList([fits.PrimaryHDU(), *parts]).writeto(tmp_path / "m.fits")
    with pytest.raises(BandError, match=r"(?s)ONE,1.*TWO,1.*--ext ONE.*--bands"):
        plan(tmp_path / "m.fits", size="10")
    assert plan(tmp_path / "m.fits", size="10", ext=("TWO",)).layout.bands == ("TWO",)


def test_a_band_missing_from_one_tile_is_nan_there(tmp_path):
    for ra, bands in ((150.0, "gr"), (151.0, "g")):
        for band in bands:
            write(tmp_path / f"t{ra:.0f}_{band}.fits", image(), header(ra=ra, FILTER=band))
    Table({"id": ["both", "one"], "ra": [150.0, 151.0], "dec": [2.0, 2.0]}).write(tmp_path / "c.csv")
    cutouts, _ = read(plan(tmp_path, catalog=tmp_path / "c.csv", size="8"))
    assert cutouts["both"][0].coverage[0].tolist() == [1, 1]
    assert cutouts["one"][0].coverage[0].tolist() == [1, 0]
    assert np.isnan(cutouts["one"][0].images[0, 1]).all()


def test_a_lone_header_that_differs_from_its_file_name_is_believed_aloud(tmp_path, caplog):
    write(tmp_path / "field_r.fits", image(), header(FILTER="g"))
    with caplog.at_level(logging.WARNING):
        assert plan(tmp_path).layout.bands == ("g",)
    assert "file name r" in caplog.text


# ----------------------------------------------------------------------------------------------------------- aligning


def star(head, shape, ra, dec):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x, y = WCS(head).world_to_pixel(SkyCoord(ra, dec, unit="deg"))
    v, u = np.mgrid[0 : shape[0], 0 : shape[1]]
    return np.exp(-((u - x) ** 2 + (v - y) ** 2) / 2 / 2.0**2).astype(np.float32)


def test_bands_on_different_grids_are_aligned_on_a_stored_tan_grid(tmp_path):
    ra, dec = 150.001, 2.0005
    for band, rotate in (("g", 0.0), ("r", 0.4)):
        head = header(rotate=rotate, FILTER=band)
        write(tmp_path / f"f_{band}.fits", star(head, (120, 140), ra, dec), head)
    Table({"ra": [ra], "dec": [dec]}).write(tmp_path / "c.csv")
    cutouts, _ = read(plan(tmp_path, catalog=tmp_path / "c.csv", size="21"))
    ((block, row),) = cutouts.values()
    assert list(block.grid.wcs.wcs.ctype) == ["RA---TAN", "DEC--TAN"]
    x, y = block.grid.wcs.world_to_pixel(SkyCoord(ra, dec, unit="deg"))
    v, u = np.mgrid[0:21, 0:21]
    for band in range(2):
        stamp = block.images[row, band]
        assert np.isfinite(stamp).all()
        assert (stamp * u).sum() / stamp.sum() == pytest.approx(x - block.offsets[row, 0], abs=0.05)
        assert (stamp * v).sum() / stamp.sum() == pytest.approx(y - block.offsets[row, 1], abs=0.05)


def test_other_pixel_scales_need_a_scale(tmp_path):
    write(tmp_path / "a.fits", image(1), header(ra=150.0, scale=0.2))
    write(tmp_path / "b.fits", image(2), header(ra=151.0, scale=0.4))
    Table({"id": ["a", "b"], "ra": [150.0, 151.0], "dec": [2.0, 2.0]}).write(tmp_path / "c.csv")
    with pytest.raises(ConfigError, match="--pixel-scale"):
        plan(tmp_path, catalog=tmp_path / "c.csv", size="6arcsec")
    planned = plan(tmp_path, catalog=tmp_path / "c.csv", size="6arcsec", pixel_scale=0.3)
    assert planned.layout.width == 20
    cutouts, _ = read(planned)
    for block, _ in cutouts.values():
        assert block.grid.wcs.wcs.cdelt[1] * 3600 == pytest.approx(0.3)


def test_the_decam_trio_is_aligned(data_folder, tmp_path):
    files = sorted((data_folder / "fits/decam-tpv").glob("*N11*.fits"))
    Table({"ra": [244.555], "dec": [12.07]}).write(tmp_path / "c.csv")
    planned = plan(files)
    assert planned.layout.bands == ("g", "r", "z")
    ((block, row),) = read(planned)[0].values()
    assert (block.coverage[row] > 0.8).all()
    stamps = [np.nan_to_num(plane - np.nanmedian(plane)).ravel() for plane in block.images[row]]
    assert np.corrcoef(stamps)[0, 1] > 0.3  # the same sources at the same places


# ------------------------------------------------------------------------------------------------ without a catalogue


def test_stamps_are_cropped_or_padded_by_whole_pixels(tmp_path):
    shapes = {"a": (20, 20), "b": (25, 16), "c": (21, 21)}
    for k, (name, shape) in enumerate(shapes.items()):
        write(tmp_path / f"{name}.fits", image(k, shape), header(ra=150 + k, shape=shape))
    cutouts, failures = read(plan(tmp_path))
    assert not failures
    for k, (name, shape) in enumerate(shapes.items()):
        block, row = cutouts[f"{name}.fits"]
        middle = ((shape[1] - 1) / 2, (shape[0] - 1) / 2)
        expected = Cutout2D(image(k, shape), middle, 20, mode="partial", fill_value=np.nan).data
        np.testing.assert_array_equal(block.images[row, 0], expected)
        assert (block.ra[row], block.dec[row]) == pytest.approx((150 + k, 2.0), abs=1e-6)
    assert plan(tmp_path, size="12").layout.width == 12


def test_a_broken_stamp_is_one_failure(tmp_path):
    write(tmp_path / "good.fits", image(), header())
    (tmp_path / "noise.fits").write_bytes(b"nothing of the kind" * 300)
    write(tmp_path / "short.fits", image(), header(ra=160))
    content = (tmp_path / "short.fits").read_bytes()
    (tmp_path / "short.fits").write_bytes(content[:20000])
    cutouts, failures = read(plan(tmp_path))
    assert list(cutouts) == ["good.fits"]
    assert sorted(failures) == ["noise.fits", "short.fits"]
    assert "noise.fits cannot be read as FITS" in failures["noise.fits"].reason


def test_stamps_without_wcs_are_objects_of_their_own(tmp_path):
    for k in range(3):
        write(tmp_path / f"s{k}.fits", image(k, (16, 16)), None)
    cutouts, _ = read(plan(tmp_path))
    assert sorted(cutouts) == ["s0.fits", "s1.fits", "s2.fits"]
    assert all(block.grid is None and np.isnan(block.ra[0]) for block, _ in cutouts.values())


def test_euclid_stamps(data_folder):
    planned = plan(data_folder / "fits/euclid-q1")
    assert len(planned.layout.bands) == 12
    cutouts, failures = read(planned)
    assert not failures
    block, row = cutouts["EUCLJ174517.55+655612.5.fits"]
    with fits.open(data_folder / "fits/euclid-q1/EUCLJ174517.55+655612.5.fits") as hdulist:
        np.testing.assert_array_equal(
            block.images[row, planned.layout.bands.index("HSC_g")], hdulist["HSC_G_FLUX"].data
        )
    assert (block.coverage[row] > 0).sum() == 8
    mapped = plan(data_folder / "fits/euclid-q1", bands=("g=*_G_*,1", "vis=VIS_[BF]*,1"))
    assert mapped.layout.bands == ("g", "vis")
    assert all((block.coverage[row] == 1).all() for block, row in read(mapped)[0].values())


# ---------------------------------------------------------------------------------------------------- real catalogues


def test_spitzer_galactic_mosaic_with_its_votable(data_folder):
    folder = data_folder / "fits/spitzer"
    planned = plan(folder / "spitzer_example_image.fits", catalog=folder / "spitzer_example_catalog.xml", size="32")
    assert planned.layout.units == ("MJy/sr",)
    cutouts, failures = read(planned)
    assert len(cutouts) + len(failures) == 224
    table = Table.read(folder / "spitzer_example_catalog.xml")
    with fits.open(folder / "spitzer_example_image.fits") as hdulist, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wcs, data = WCS(hdulist[0].header), np.array(hdulist[0].data)
    for k in (0, 50, 223):
        coord = SkyCoord(table["l"][k], table["b"][k], unit="deg", frame="galactic")
        expected = Cutout2D(data, coord, 32, wcs, mode="partial", fill_value=np.nan).data
        block, row = cutouts[f"row-{k + 1:06d}"]
        np.testing.assert_array_equal(block.images[row, 0], expected)


def test_pixel_positions_without_wcs(data_folder):
    folder = data_folder / "fits/emmi-no-wcs"
    planned = plan(folder / "image.fits", catalog=folder / "image.cat", size="15")
    cutouts, failures = read(planned)
    assert not failures
    assert len(cutouts) == 65
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = fits.getdata(folder / "image.fits")
    block, row = cutouts["16"]
    expected = Cutout2D(data, (232.03, 182.0266), 15, mode="partial", fill_value=np.nan).data
    np.testing.assert_array_equal(block.images[row, 0], expected.astype(np.float32))
    assert block.grid is None
    peak = np.unravel_index(np.nanargmax(block.images[row, 0]), (15, 15))
    assert np.abs(np.array(peak) - 7).max() <= 1  # SExtractor's count from one is understood
    with pytest.raises(ConfigError, match="no WCS"):
        plan(folder / "image.fits", catalog=folder / "image.cat", size="5arcsec")


# ------------------------------------------------------------------------------------------------------------ bad input


def test_missing_and_unreadable_files(mosaic, tmp_path):
    folder, catalog = mosaic
    with pytest.raises(UnreadableError, match=r"nothing\.fits does not exist"):
        plan(tmp_path / "nothing.fits", catalog=catalog, size="9")
    bad = tmp_path / "bad.fits"
    bad.write_bytes(b"SIMPLE  =                    T" + b" " * 3000)
    with pytest.raises(UnreadableError, match=r"bad\.fits"):
        plan([folder, bad], catalog=catalog, size="9")
    with pytest.raises(UnreadableError, match="does not exist"):
        plan(folder, catalog=tmp_path / "none.fits", size="9")
    (tmp_path / "void").mkdir()
    with pytest.raises(UnreadableError, match="no FITS file"):
        plan(tmp_path / "void")


def test_pixels_cut_short_are_failures_of_their_objects(tmp_path):
    path = write(tmp_path / "m.fits", image(), header())
    catalog = write_catalog(tmp_path / "c.csv", header(), X, Y)
    content = path.read_bytes()
    path.write_bytes(content[:30000])
    cutouts, failures = read(plan(path, catalog=catalog, size="9"))
    assert not cutouts
    assert len(failures) == 5
    assert all("pixels cannot be read" in failure.reason for failure in failures.values())
    packed = tmp_path / "m.fits.gz"
    packed.write_bytes(gzip.compress(content)[:20000])
    with pytest.raises(UnreadableError, match=r"m\.fits\.gz"):
        plan(packed, catalog=catalog, size="9")


def test_sky_positions_cannot_be_cut_from_an_image_without_wcs(tmp_path):
    write(tmp_path / "a.fits", image(), None)
    Table({"ra": [1.0], "dec": [2.0]}).write(tmp_path / "c.csv")
    with pytest.raises(CatalogError, match=r"has no WCS.*--x"):
        plan(tmp_path / "a.fits", catalog=tmp_path / "c.csv", size="9")


@pytest.mark.parametrize(("name", "value"), [("min_coverage", 1.5), ("pixel_scale", -1.0), ("dtype", "int8")])
def test_options_are_checked(name, value):
    with pytest.raises(ConfigError, match=name):
        build(SOURCE.Options, {name: value})


def test_every_option_has_help():
    assert all(item.metadata["help"] for item in dataclasses.fields(SOURCE.Options))


# ---------------------------------------------------------------------------------------------------- through a cache


def test_from_the_cache_pixels_and_wcs_are_those_of_the_file(mosaic, tmp_path):
    folder, catalog = mosaic
    cache = ingest("fits", folder, out=tmp_path / "cache", catalog=catalog, size="16")
    cutout = cache["o2"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wcs = WCS(fits.getheader(folder / "m_g.fits"))
    for corner in ((0, 0), (15, 0), (0, 15), (15, 15)):
        original = wcs.pixel_to_world(corner[0] + cutout.offset[0], corner[1] + cutout.offset[1])
        assert cutout.wcs.pixel_to_world(*corner).separation(original).mas < 1
    expected = Cutout2D(image(1), cutout.coord, 16, wcs, mode="partial", fill_value=np.nan).data
    np.testing.assert_array_equal(cutout.band("r"), expected)
    assert cutout.columns["mag"] == 22


def damage(path):
    """Spoil the compressed pixels in the second half of a file, and nothing else."""
    content = bytearray(path.read_bytes())
    start = len(content) // 2
    for place in range(start, start + 400):
        content[place] ^= 0x5A
    path.write_bytes(content)


@pytest.mark.parametrize("kind", ["GZIP_1", "RICE_1"])
def test_a_damaged_compressed_file_is_its_own_failure(tmp_path, kind):
    """What the decompressor raises is no error of FITS: the other files and tiles are cut all the same."""
    rng = np.random.default_rng(5)
    for number in range(4):
        pixels = rng.integers(0, 30_000, (60, 60)).astype(np.int16)
        fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(pixels, compression_type=kind)]).writeto(
            tmp_path / f"stamp{number}.fits"
        )
    damage(tmp_path / "stamp2.fits")
    cache = ingest("fits", tmp_path, out=tmp_path / "cache", workers=2)
    assert sorted(cache.ids) == ["stamp0.fits", "stamp1.fits", "stamp3.fits"]
    (failure,) = cache.failures
    assert failure.object_id == "stamp2.fits"
    assert "stamp2.fits: the pixels cannot be read" in failure.reason
