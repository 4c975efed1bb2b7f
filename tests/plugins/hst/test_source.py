"""The source hst on local servers that serve one known sky: MAST, its public bucket, and the ESA archive."""

import zipfile

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.table import Table
from astropy.wcs import WCS

from astroanomaly import Cache, CatalogError, ConfigError, FetchConfig, FetchError, UnreadableError, fetch, ingest
from astroanomaly.cutting import grid_from_hdu, pixel_to_sky, quiet, tan_grid
from astroanomaly.fetch import using
from astroanomaly.ingestion.ingest import dry_run
from astroanomaly.ingestion.request import SourceRequest
from astroanomaly_plugins.hst.datalabs import find_mounted, opened
from astroanomaly_plugins.hst.headers import describe
from astroanomaly_plugins.hst.products import (
    Product as Listed,
)
from astroanomaly_plugins.hst.products import (
    covers,
    exposure_of,
    filter_name,
    instrument_matches,
    search_circles,
    unique_products,
)
from astroanomaly_plugins.hst.source import HstSource
from servers.hst import served
from servers.hst_sky import SOURCES, Product, mosaics, place, visits

FAR = ("far away", 151.0, 2.5)


@pytest.fixture
def catalog(tmp_path):
    """The sources of the sky, one object far from it, and one without a position."""
    rows = [(f"s{number}", *place(dx, dy), 20.0 + number) for number, (dx, dy, _, _) in enumerate(SOURCES)]
    rows += [(*FAR, 30.0), ("nowhere", np.nan, np.nan, 31.0)]
    table = Table(rows=rows, names=["object_id", "ra", "dec", "mag"])
    path = tmp_path / "objects.ecsv"
    table["mag"].unit = "mag"
    table.write(path)
    return path


@pytest.fixture
def quick(tmp_path):
    return FetchConfig(first_wait_s=0.01, longest_wait_s=0.1, attempts=3, timeout_s=5, keep=str(tmp_path / "kept"))


def expected(product, dx, dy, size):
    """Cut a source out of a product by astropy."""
    x, y = product.wcs.all_world2pix(*place(dx, dy), 0)
    data = product.hdulist["SCI"].data
    return Cutout2D(data, (float(x), float(y)), size, mode="partial", fill_value=np.nan).data


# ------------------------------------------------------------------------------------------------------------ cutouts


@pytest.mark.parametrize("via", ["mast", "s3", "esa"])
def test_cutouts_are_the_archives_pixels_with_wcs_units_zero_points_and_provenance(via, catalog, quick, tmp_path):
    whole = mosaics()[0] if via == "mast" else visits()[0]
    with served(via):
        cache = ingest(
            HstSource(),
            out=tmp_path / "cache",
            catalog=catalog,
            size=2 * u.arcsec,
            bands=["F814W"],
            via=via,
            proposal=[] if via == "mast" else ["9822"],
            exposures="deepest",
            fetch=quick,
        )
        assert sorted(cache.ids) == [f"s{number}" for number in range(len(SOURCES))]
        failures = {failure.object_id: failure for failure in cache.failures}
        assert failures["far away"].kind == "no coverage"
        assert failures["far away"].reason == "no image of these filters at the position"
        assert failures["nowhere"].reason == "no valid position in the catalogue"
        assert cache.bands == ("F814W",)
        assert cache.layout.units == ("electron/s",)
        value = {name: fact.value for name, fact in cache.facts.items()}
        unseen = {"without_an_image": 0 if via == "mast" else 1, "without_a_valid_position": 1}
        assert value["objects"] == {"total": len(SOURCES) + 2, **unseen}
        assert value["positions"]["frame"] == "icrs"
        assert value["size"] == {"pixels": [50, 50], "arcsec": pytest.approx([2, 2])}
        assert via == "mast" or value["products"]["first"] == [{"name": whole.name, "objects": len(SOURCES)}]
        for number, (dx, dy, _, _) in enumerate(SOURCES):
            cutout = cache[f"s{number}"]
            assert cutout.data.shape == (1, 50, 50)
            np.testing.assert_allclose(cutout.data[0], expected(whole, dx, dy, 50), rtol=1e-6)
            x, y = cutout.wcs.world_to_pixel(cutout.coord)
            assert max(abs(x - 24.5), abs(y - 24.5)) <= 0.5
            assert cutout.columns["product_F814W"] == whole.name
            assert cutout.columns["instrument_F814W"] == "ACS/WFC"
            assert cutout.columns["proposal_F814W"] == "9822"
            assert cutout.columns["date_F814W"] == "2003-12-22"
            assert cutout.columns["exptime_F814W"] == whole.exptime
            assert cutout.columns["zeropoint_F814W"] == pytest.approx(
                -2.5 * np.log10(7e-20) - 5 * np.log10(8045.0) - 2.408, abs=1e-9
            )
            assert cutout.columns["archive"] == {"mast": "MAST HAP cutouts", "s3": "MAST S3", "esa": "ESA Hubble"}[via]
            assert cutout.columns["mag"] == 20.0 + number


def test_the_grid_of_a_product_is_stored_once_and_its_wcs_is_exact(catalog, quick, tmp_path):
    with served("s3", [visits()[2]]):
        cache = ingest(
            HstSource(), out=tmp_path / "cache", catalog=catalog, size="40", bands=["F814W"], via="s3", fetch=quick
        )
    grids = {cache[object_id].grid.key for object_id in cache.ids}
    assert len(cache) > 3
    assert len(grids) == 1
    source = visits()[2]
    for object_id in cache.ids:
        cutout = cache[object_id]
        x0, y0 = cutout.offset
        sky = cutout.wcs.pixel_to_world_values([0, 39], [0, 39])
        np.testing.assert_allclose(sky, source.wcs.all_pix2world([x0, x0 + 39], [y0, y0 + 39], 0), atol=1e-9)


@pytest.mark.parametrize("via", ["s3", "esa"])
def test_every_exposure_is_a_cutout_of_its_own(via, catalog, quick, tmp_path):
    with served(via):
        cache = ingest(
            HstSource(),
            out=tmp_path / "cache",
            catalog=catalog,
            size="1arcsec",
            bands=["F814W"],
            via=via,
            fetch=quick,
        )
    first, second = "hst_9822_25_acs_wfc_f814w_j8pu25_drc", "hst_13641_01_acs_wfc_f814w_jcoy01_drc"
    assert {f"{first}/s{number}" for number in range(len(SOURCES))} < set(cache.ids)
    shown = sorted(object_id for object_id in cache.ids if object_id.startswith(second))
    assert 3 < len(shown) < len(SOURCES)  # the later visit is smaller and rotated
    assert cache[shown[0]].columns["product_F814W"] == second
    assert cache[shown[0]].columns["exptime_F814W"] == 5200.0
    assert {failure.object_id for failure in cache.failures} == {"far away", "nowhere"}


@pytest.mark.parametrize("via", ["s3", "esa"])
def test_the_deepest_exposure_wins_where_it_has_data(via, catalog, quick, tmp_path):
    products = visits()[:3]
    x, y = products[2].wcs.all_world2pix(*place(0, 0), 0)
    products[2].hdulist["WHT"].data[int(y) - 10 : int(y) + 10, int(x) - 10 : int(x) + 10] = 0
    with served(via, products):
        cache = ingest(
            HstSource(),
            out=tmp_path / "cache",
            catalog=catalog,
            size="1arcsec",
            bands=["F814W"],
            via=via,
            exposures="deepest",
            fetch=quick,
        )
    assert sorted(cache.ids) == [f"s{number}" for number in range(len(SOURCES))]
    times = {object_id: cache[object_id].columns["exptime_F814W"] for object_id in cache.ids}
    assert times["s1"] == 5200.0
    assert times["s0"] == 2028.0  # not on the deep image
    assert times["s2"] == 2028.0  # on it, but without weight there
    assert np.isfinite(cache["s2"].data).all()


@pytest.mark.parametrize("via", ["s3", "esa"])
def test_filters_become_bands_on_one_grid(via, catalog, quick, tmp_path):
    with served(via):
        cache = ingest(
            HstSource(),
            out=tmp_path / "cache",
            catalog=catalog,
            size="2arcsec",
            bands=["F606W", "F814W"],
            via=via,
            exposures="deepest",
            carry=["none"],
            fetch=quick,
        )
    assert cache.bands == ("F606W", "F814W")
    rotated = cache["s1"]  # F814W from the rotated visit, F606W from the other
    assert rotated.columns["product_F814W"] != rotated.columns["product_F606W"].replace("f606w", "f814w")
    assert rotated.grid.key == tan_grid((rotated.ra, rotated.dec), 0.04, (50, 50)).key
    y, x = np.mgrid[:50, :50]
    sky = 0.01 * np.array([1.5, 1.0])
    light = rotated.data - sky[:, None, None]
    centers = [((plane * x).sum() / plane.sum(), (plane * y).sum() / plane.sum()) for plane in light]
    np.testing.assert_allclose(centers, 24.5, atol=0.05)
    np.testing.assert_allclose(light.sum(axis=(1, 2)), [1.5 * 25.0, 25.0], rtol=5e-3)
    same = cache["s0"]  # both bands from one visit: no resampling
    np.testing.assert_allclose(same.data[1], expected(visits()[0], *SOURCES[0][:2], 50), rtol=1e-6)
    np.testing.assert_allclose(same.data[0], expected(visits()[1], *SOURCES[0][:2], 50), rtol=1e-6)


def test_exposures_with_several_filters_are_visits(catalog, quick, tmp_path):
    with served("s3"):
        cache = ingest(
            HstSource(),
            out=tmp_path / "cache",
            catalog=catalog,
            size="1arcsec",
            bands=["F814W", "F606W"],
            via="s3",
            fetch=quick,
        )
    both = cache["hst_9822_25_acs_wfc_j8pu25_drc/s1"]
    one = cache["hst_13641_01_acs_wfc_jcoy01_drc/s1"]
    assert np.isfinite(both.data).all()
    assert np.isfinite(one.data[0]).all()
    assert np.isnan(one.data[1]).all()
    assert one.columns["product_F606W"] == ""
    assert np.isnan(one.columns["zeropoint_F606W"])


def test_mosaics_of_all_visits_are_one_cutout_whatever_the_instruments(catalog, quick, tmp_path):
    with served("mast"):
        cache = ingest(
            HstSource(),
            out=tmp_path / "cache",
            catalog=catalog,
            size="2arcsec",
            bands=["F160W", "F814W"],
            fetch=quick,
        )
    cutout = cache["hst_skycell-p1234x05y06_all/s3"]
    assert cutout.columns["product_F160W"] == "hst_skycell-p1234x05y06_wfc3_ir_f160w_all_drz"  # of .04", not of .12"
    assert cutout.columns["instrument_F160W"] == "WFC3/IR"
    np.testing.assert_allclose(cutout.data[0], cutout.data[1], rtol=1e-6)  # the same sky


def test_the_mosaic_nearest_in_scale_is_taken_and_another_scale_is_resampled(catalog, quick, tmp_path):
    with served("mast"):
        coarse = ingest(
            HstSource(),
            out=tmp_path / "coarse",
            catalog=catalog,
            size="25",
            bands=["F160W"],
            pixel_scale=0.12,
            exposures="deepest",
            fetch=quick,
        )
        between = ingest(
            HstSource(),
            out=tmp_path / "between",
            catalog=catalog,
            size="30",
            bands=["F814W"],
            pixel_scale=0.1,
            exposures="deepest",
            fetch=quick,
        )
    assert "coarse" in coarse["s2"].columns["product_F160W"]
    np.testing.assert_allclose(coarse["s2"].data[0], expected(mosaics()[3], 0, 0, 25), rtol=1e-6)
    assert between["s2"].grid.key == tan_grid((between["s2"].ra, between["s2"].dec), 0.1, (30, 30)).key
    assert (between["s2"].data - 0.01 * 6.25).sum() == pytest.approx(90.0, rel=0.01)  # an object keeps its flux


def test_pixels_without_weight_are_not_covered(catalog, quick, tmp_path):
    product = Product("hst_1_01_acs_wfc_f814w_jabc01_drc", "hst_1_01_acs_wfc_f814w_jabc01", "F814W", proposal="1")
    for dx, dy, _, _ in SOURCES[:2]:
        x, y = (int(value) for value in product.wcs.all_world2pix(*place(dx, dy), 0))
        product.hdulist["WHT"].data[y - 40 : y + (41 if dx == SOURCES[0][0] else -2), x - 40 : x + 41] = 0
    with served("s3", [product]):
        cache = ingest(
            HstSource(),
            out=tmp_path / "cache",
            catalog=catalog,
            size="1arcsec",
            bands=["F814W"],
            via="s3",
            exposures="deepest",
            fetch=quick,
        )
        strict = ingest(
            HstSource(),
            out=tmp_path / "strict",
            catalog=catalog,
            size="1arcsec",
            bands=["F814W"],
            via="s3",
            exposures="deepest",
            min_coverage=0.9,
            fetch=quick,
        )
    failures = {failure.object_id: failure for failure in cache.failures}
    assert failures["s0"].reason == "no pixel with data"
    assert failures["s0"].kind == "no coverage"
    assert 0.4 < cache["s1"].coverage[0] < 0.7
    assert np.isnan(cache["s1"].data[0, 0]).all()
    assert {f.object_id: f.reason for f in strict.failures}["s1"] == "covered to less than 0.9 of its pixels"


# --------------------------------------------------------------------------------------------------------- selections


@pytest.mark.parametrize("via", ["s3", "esa"])
@pytest.mark.parametrize(
    ("options", "products"),
    [
        ({"proposal": ["13641"]}, {"hst_13641_01_acs_wfc_f814w_jcoy01_drc"}),
        ({"date_to": "2003-12-22"}, {"hst_9822_25_acs_wfc_f814w_j8pu25_drc"}),
        ({"date_from": "2010-01-01", "date_to": "2015-01-01"}, {"hst_13641_01_acs_wfc_f814w_jcoy01_drc"}),
        ({"collections": ["HST"]}, {"j8pu25010_drz"}),
        ({"instruments": ["ACS"], "proposal": ["9822", "1"]}, {"hst_9822_25_acs_wfc_f814w_j8pu25_drc"}),
        ({"instruments": ["WFC3/UVIS"]}, set()),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_selections(via, options, products, catalog, quick, tmp_path):
    with served(via):
        cache = ingest(
            HstSource(),
            out=tmp_path / "cache",
            catalog=catalog,
            size="20",
            bands=["F814W"],
            via=via,
            pixel_scale=0.05 if "collections" in options else 0.04,
            fetch=quick,
            **options,
        )
    assert {object_id.split("/")[0] for object_id in cache.ids} == products
    if not products:
        assert sum(failure.kind == "no coverage" for failure in cache.failures) == len(SOURCES) + 1


def test_instruments_select_among_hap_cutouts(catalog, quick, tmp_path):
    with served("mast"):
        cache = ingest(
            HstSource(),
            out=tmp_path / "cache",
            catalog=catalog,
            size="20",
            bands=["F814W", "F160W"],
            instruments=["WFC3/IR"],
            exposures="deepest",
            fetch=quick,
        )
    assert np.isnan(cache["s0"].data[0]).all()
    assert np.isfinite(cache["s0"].data[1]).all()


@pytest.mark.parametrize("packed", [True, False])
def test_files_on_datalabs_are_read_in_place(packed, catalog, quick, tmp_path, monkeypatch):
    """The archive says where they are below /data/user, for which a folder stands; no file is fetched."""
    monkeypatch.setenv("ASTROANOMALY_HST_DATALABS", str(tmp_path / "user"))
    options = {"catalog": catalog, "size": 2 * u.arcsec, "bands": ["F814W"], "exposures": "deepest", "fetch": quick}
    with served("esa") as archives:
        with pytest.raises(UnreadableError, match="elsewhere say --via esa"):
            ingest(HstSource(), out=tmp_path / "none", via="datalabs", **options)
        archives["esa"].mount(tmp_path / "user", packed=packed)
        cache = ingest(HstSource(), out=tmp_path / "cache", via="datalabs", **options)
        assert archives["esa"].count("/data") == 0
        whole = ingest(HstSource(), out=tmp_path / "whole", via="esa", **options)
    assert sorted(cache.ids) == sorted(whole.ids)
    assert len(cache) == len(SOURCES)
    for object_id in cache.ids:
        np.testing.assert_array_equal(cache[object_id].data, whole[object_id].data)
        assert cache[object_id].columns["archive"] == "ESA Datalabs"
        assert cache[object_id].columns["product_F814W"] == whole[object_id].columns["product_F814W"]


def test_a_block_without_mounted_files_does_not_end_the_plan(quick, tmp_path, monkeypatch):
    """The first block of a catalogue shows that files are mounted; those of a later one may be missing."""
    monkeypatch.setenv("ASTROANOMALY_HST_DATALABS", str(tmp_path / "user"))
    folder = tmp_path / "user"
    with served("esa") as archives, using(quick):
        names = [product.file for product in archives["esa"].products]
        archives["esa"].mount(folder, packed=False)
        assert find_mounted(names)
        for file in folder.rglob("*.fits"):
            file.unlink()
        assert not find_mounted(names, needed=False)
        with pytest.raises(UnreadableError, match="none of"):
            find_mounted(names)


def test_a_file_that_is_not_mounted_is_a_failure_that_says_so(catalog, quick, tmp_path, monkeypatch):
    monkeypatch.setenv("ASTROANOMALY_HST_DATALABS", str(tmp_path / "user"))
    options = {"catalog": catalog, "size": "1arcsec", "bands": ["F814W", "F606W"], "via": "datalabs", "fetch": quick}
    with served("esa") as archives:
        archives["esa"].mount(tmp_path / "user", packed=False)
        for file in (tmp_path / "user").rglob("*.fits"):
            file.write_bytes(file.read_bytes()[:5000])  # damaged
        cache = ingest(HstSource(), out=tmp_path / "cache", **options)
    assert not len(cache)
    assert {failure.kind for failure in cache.failures if failure.object_id.startswith("s")} == {"failed"}
    with pytest.raises(FetchError, match="cannot be read: No such file"):
        opened(str(tmp_path / "gone.fits"), "gone")


# ---------------------------------------------------------------------------------------------------- asking politely


@pytest.mark.parametrize("via", ["mast", "s3", "esa"])
def test_nothing_is_fetched_twice(via, catalog, quick, tmp_path):
    options = {"catalog": catalog, "size": "1arcsec", "bands": ["F814W"], "via": via, "fetch": quick}
    with served(via) as archives:
        first = ingest(HstSource(), out=tmp_path / "one", **options)
        asked = sum(archive.count() for archive in archives.values())
        before = fetch.traffic()
        second = ingest(HstSource(), out=tmp_path / "two", **options)
        assert sum(archive.count() for archive in archives.values()) == asked
        assert (fetch.traffic() - before).requests == 0
        if via == "mast":
            assert archives["mast"].count("astrocut") == len(SOURCES) + 1
        if via == "esa":
            assert archives["esa"].count("/data") == 2  # files, for all objects of both visits
    assert first.digest() == second.digest()


def test_the_bucket_gives_only_the_parts_that_are_needed(quick, tmp_path):
    product = Product(
        "hst_1_01_acs_wfc_f814w_jabc01_drc", "hst_1_01_acs_wfc_f814w_jabc01", "F814W", proposal="1", shape=(2000, 2000)
    )
    table = Table(rows=[("one", *place(0, 0)), ("two", *place(0.5, 0.2))], names=["id", "ra", "dec"])
    table.write(tmp_path / "two.csv")
    with served("s3", [product]) as archives:
        options = {"catalog": tmp_path / "two.csv", "size": "1arcsec", "bands": ["F814W"], "via": "s3"}
        dry_run(SourceRequest.of(HstSource(), fetch=quick, options=options))  # what planning takes is not counted here
        before = fetch.traffic()
        cache = ingest(HstSource(), out=tmp_path / "cache", fetch=quick, **options)
        ranges = [asked.headers["Range"] for asked in archives["s3"].asked if "Range" in asked.headers]
    assert len(cache) == 2
    size = len(product.content)
    read = sum(int(last) - int(first) + 1 for first, last in (text[6:].split("-") for text in ranges))
    assert read < size / 4
    assert read <= (fetch.traffic() - before).nbytes < read + 10_000  # what the summary says of the bucket is true
    assert len(ranges) == len(set(ranges))  # no part twice: the file is opened once for both


def test_a_dry_run_says_what_would_be_fetched(catalog, quick):
    options = {"catalog": catalog, "size": "1arcsec", "bands": ["F814W"]}
    with served("all") as archives:
        cuts = dry_run(SourceRequest.of(HstSource(), fetch=quick, options=options))
        parts = dry_run(SourceRequest.of(HstSource(), fetch=quick, options={**options, "via": "s3"}))
        files = dry_run(SourceRequest.of(HstSource(), fetch=quick, options={**options, "via": "esa"}))
        assert archives["mast"].count("astrocut") == 0
        assert archives["s3"].count() == 0
        assert archives["esa"].count("/data") == 0
    assert [(item.product, item.requests) for item in cuts.downloads] == [("HAP cutouts", len(SOURCES) + 1)]
    assert {item.product for item in files.downloads} == {product.name for product in (visits()[0], visits()[2])}
    sizes = {product.name: len(product.content) for product in visits()}
    assert all(item.nbytes == pytest.approx(sizes[item.product], rel=0.01) for item in files.downloads)
    assert 0 < sum(item.nbytes for item in parts.downloads) < sum(item.nbytes for item in files.downloads)


def test_workers_find_the_archive_by_astroquerys_configuration(catalog, quick, tmp_path, monkeypatch):
    options = {"catalog": catalog, "size": "1arcsec", "bands": ["F814W"], "fetch": quick}
    with served("mast") as archives:
        here = ingest(HstSource(), out=tmp_path / "here", **options)
        (tmp_path / "config" / "astropy").mkdir(parents=True)
        (tmp_path / "config" / "astropy" / "astroquery.cfg").write_text(f"[mast]\nserver = {archives['mast'].url}\n")
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
        there = ingest(
            HstSource(),
            out=tmp_path / "there",
            workers=2,
            **{**options, "fetch": FetchConfig(attempts=1, keep=str(tmp_path / "anew"))},
        )
    assert here.digest() == there.digest()


# ------------------------------------------------------------------------------------------------------- small pieces


@pytest.mark.parametrize(
    ("unit", "more", "factor"),
    [
        ("ELECTRONS/S", {}, 1.0),
        ("electron / s", {}, 1.0),
        ("electron s-1", {}, 1.0),
        ("", {}, 1.0),
        ("ELECTRONS", {"EXPTIME": 500.0}, 1 / 500),
        ("COUNTS/S", {"ATODGAIN": 7.0}, 7.0),
        ("COUNTS", {"ATODGAIN": 7.0, "EXPTIME": 100.0}, 0.07),
    ],
)
def test_units_become_electrons_per_second_and_the_magnitude_stays(unit, more, factor):
    header = fits.Header({"BUNIT": unit, "PHOTFLAM": 1e-19, "PHOTPLAM": 5000.0, "FILTNAM1": "F555W", **more})
    about = describe([header], "u1")
    assert about.factor == pytest.approx(factor)
    exptime = more.get("EXPTIME", 1.0) if "/" not in unit and unit else 1.0
    rate = 3.0 / exptime  # of the instrument's own unit, for which PHOTFLAM holds
    magnitude = -2.5 * np.log10(rate * 1e-19) - 5 * np.log10(5000.0) - 2.408
    assert -2.5 * np.log10(3.0 * about.factor) + about.zeropoint == pytest.approx(magnitude)


def test_a_flux_of_one_microjansky_has_23_9_ab_magnitudes():
    pivot = 8045.0
    flux = 1e-29 * 2.99792458e18 / pivot**2  # erg/s/cm2/A of 1 uJy
    about = describe([fits.Header({"PHOTFLAM": flux, "PHOTPLAM": pivot})], "p")
    assert about.zeropoint == pytest.approx(23.9, abs=2e-3)


def test_names_of_filters_and_instruments():
    assert filter_name("CLEAR1L", "F814W") == "F814W"
    assert filter_name("F814W;CLEAR2L") == "F814W"
    assert filter_name("f606w", "POL0V") == "F606W;POL0V"
    assert filter_name("", None, "N/A") == ""
    assert instrument_matches("ACS/WFC", ["ACS"])
    assert instrument_matches("WFC3/IR", ["acs", "wfc3/ir"])
    assert not instrument_matches("WFC3/IR", ["WFC"])


def test_names_of_exposures():
    visit = "hst_9822_25_acs_wfc_f814w_j8pu25_drc"
    assert exposure_of(visit, "F814W", several=False) == visit
    assert exposure_of(visit, "F814W", several=True) == "hst_9822_25_acs_wfc_j8pu25_drc"
    mosaic = "hst_skycell-p0081x14y15_wfc3_ir_f128n_coarse-all_drz"
    assert exposure_of(mosaic, "F128N", several=True, across=True) == "hst_skycell-p0081x14y15_all"
    single = "hst_skycell-p0081x14y15_wfc3_ir_f128n_coarse-all-ibp505mf_drz"
    assert exposure_of(single, "F128N", several=True, across=True).endswith("ir_coarse-all-ibp505mf_drz")


def listed(name, region="", ra=10.0, dec=0.0, **more):
    return Listed(name, "", "HAP", "F814W", "ACS/WFC", "1", 100.0, 5e4, region, ra, dec, **more)


def test_of_a_dataset_the_product_with_corrected_charge_transfer_is_taken_once():
    products = [listed("a_drz"), listed("a_drc"), listed("b_drz"), listed("a_drc"), listed("b_drz")]
    assert [product.name for product in unique_products(products)] == ["a_drc", "b_drz"]


def test_footprints():
    ra, dec = np.array([10.0, 10.02, 10.2, 190.0]), np.array([0.0, 0.0, 0.0, 0.0])
    square = "POLYGON ICRS 9.99 -0.01 10.01 -0.01 10.01 0.01 9.99 0.01"
    assert covers(listed("a", square), ra, dec).tolist() == [True, False, False, False]
    two = square + " POLYGON 10.19 -0.01 10.21 -0.01 10.21 0.01 10.19 0.01 10.19 -0.01"
    assert covers(listed("a", two), ra, dec).tolist() == [True, False, True, False]
    assert covers(listed("a", "CIRCLE ICRS 10.0 0.0 0.03"), ra, dec).tolist() == [True, True, False, False]
    assert covers(listed("a", reach=0.01), ra, dec).tolist() == [True, False, False, False]
    around = "POLYGON ICRS 359.9 -0.1 0.1 -0.1 0.1 0.1 359.9 0.1"
    assert covers(listed("a", around), np.array([0.0, 359.95, 0.2]), np.zeros(3)).tolist() == [True, True, False]
    pole = "POLYGON ICRS 0 89.9 90 89.9 180 89.9 270 89.9"
    assert covers(listed("a", pole), np.array([45.0, 45.0]), np.array([89.99, 89.0])).tolist() == [True, False]


def test_pieces_of_sky_hold_all_positions_once():
    rng = np.random.default_rng(1)
    ra = np.concatenate([rng.uniform(359.8, 360.2, 60) % 360, rng.uniform(0, 360, 40), [np.nan]])
    dec = np.concatenate([rng.uniform(-0.2, 0.2, 60), rng.uniform(-90, 90, 40), [np.nan]])
    found = search_circles(ra, dec)
    assert sorted(row for rows, _, _ in found for row in rows) == list(range(100))
    from astropy.coordinates import SkyCoord

    for rows, center, radius in found:
        distance = SkyCoord(ra[rows], dec[rows], unit="deg").separation(SkyCoord(*center, unit="deg")).deg
        assert distance.max() <= radius < 0.3


# ------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"bands": []}, "expected names of filters"),
        ({"bands": ["CLEAR1L"]}, "expected names of filters"),
        ({"bands": ["F814W", "f814w"]}, "named twice"),
        ({"proposal": ["9822"]}, "--proposal needs --via s3, --via esa or --via datalabs"),
        ({"date_from": "2003-01-01"}, "--date-from needs --via s3"),
        ({"via": "s3", "date_from": "yesterday"}, "expected a day"),
        ({"via": "s3", "date_from": "2004-01-01", "date_to": "2003-01-01"}, "is after"),
        ({"via": "s3", "proposal": ["GO-9822"]}, "expected the number"),
        ({"via": "s3", "collections": ["HLSP"]}, "expected some of HAP, HAP-MVM, HST, HLA"),
        ({"pixel_scale": 0.0}, "expected arcseconds"),
        ({"min_coverage": 2.0}, "expected 0 to 1"),
        ({"size": "big"}, "expected pixels"),
    ],
)
def test_wrong_options_are_explained(options, words, catalog, tmp_path):
    given = {"catalog": catalog, "size": "1arcsec", "bands": ["F814W"], **options}
    with pytest.raises(ConfigError, match=words):
        ingest(HstSource(), out=tmp_path / "cache", **given)


def test_wrong_catalogues_are_explained(catalog, tmp_path):
    options = {"size": "1arcsec", "bands": ["F814W"], "out": tmp_path / "cache"}
    with pytest.raises(ConfigError, match="takes no files"):
        ingest(HstSource(), ["image.fits"], catalog=catalog, **options)
    with pytest.raises(CatalogError, match="no column 'seeing'"):
        ingest(HstSource(), catalog=catalog, carry=["seeing"], **options)
    pixels = tmp_path / "pixels.csv"
    Table(rows=[(1, 5.0, 6.0)], names=["id", "x", "y"]).write(pixels)
    with pytest.raises(CatalogError, match="pixel positions only"):
        ingest(HstSource(), catalog=pixels, **options)
    clash = tmp_path / "clash.csv"
    Table(rows=[(1, 5.0, 6.0, "mine")], names=["id", "ra", "dec", "archive"]).write(clash)
    with pytest.raises(CatalogError, match="column 'archive' has the name of one"):
        ingest(HstSource(), catalog=clash, **options)


# ---------------------------------------------------------------------------------------------------------- real data


@pytest.fixture
def real_galaxy(data_folder):
    """A real image of a COSMOS galaxy as a product: in electrons, without weights, in the primary header."""
    path = next((data_folder / "fits" / "hst-acs").glob("*.fits"))
    product = visits()[0]
    with fits.open(path) as hdulist:
        data, header = hdulist[0].data.copy(), hdulist[0].header.copy()
    with quiet():
        product.wcs = WCS(header)
    product.hdulist = fits.HDUList([fits.PrimaryHDU(data, header)])
    product.center = tuple(float(value[0]) for value in pixel_to_sky(grid_from_hdu(product.hdulist[0]), 271, 271))
    product.exptime = float(header["EXPTIME"])
    return product


@pytest.mark.parametrize("via", ["s3", "esa"])
def test_a_real_image_of_hst(via, real_galaxy, quick, tmp_path):
    ra, dec = real_galaxy.center
    Table(rows=[("galaxy", ra, dec)], names=["id", "ra", "dec"]).write(tmp_path / "one.csv")
    with quiet():
        scale = float(np.sqrt(np.abs(np.linalg.det(real_galaxy.wcs.pixel_scale_matrix)))) * 3600
    with served(via, [real_galaxy], []):
        cache = ingest(
            HstSource(),
            out=tmp_path / "cache",
            catalog=tmp_path / "one.csv",
            size="101",
            bands=["F814W"],
            via=via,
            pixel_scale=round(scale, 4),
            exposures="deepest",
            fetch=quick,
        )
    cutout = cache["galaxy"]
    pixels = real_galaxy.hdulist[0].data[221:322, 221:322] / real_galaxy.exptime
    np.testing.assert_allclose(cutout.data[0], pixels, rtol=1e-5)
    assert cutout.columns["proposal_F814W"] == "9822"
    assert 25.5 < cutout.columns["zeropoint_F814W"] < 26.2


def test_a_zip_of_hapcut_is_kept_as_it_came(catalog, quick, tmp_path):
    with served("mast"):
        ingest(HstSource(), out=tmp_path / "cache", catalog=catalog, size="20", bands=["F814W"], fetch=quick)
    zips = [path for path in (tmp_path / "kept").rglob("*.zip") if zipfile.is_zipfile(path)]
    assert len(zips) == len(SOURCES)
    assert isinstance(Cache.open(tmp_path / "cache"), Cache)
