"""The source ``euclid`` against local archives: positions, mosaics, bands, grids, login, choice of the archive."""

import dataclasses
import importlib
import json
import logging
import os
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.table import Table
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from astroanomaly import (
    BandError,
    CacheError,
    CatalogError,
    ConfigError,
    FetchError,
    FootprintError,
    Task,
    UnreadableError,
    ingest,
)
from astroanomaly.ingestion.ingest import dry_run
from astroanomaly.ingestion.request import SourceRequest
from astroanomaly_plugins.euclid import esa_client
from astroanomaly_plugins.euclid import source as euclid_archive
from astroanomaly_plugins.euclid.bands import band_name, fits_band, is_wanted
from astroanomaly_plugins.euclid.mosaics import Mosaic, areas, make_tiles, mosaic_extent
from astroanomaly_plugins.euclid.source import EuclidSource
from servers.euclid import EuclidServer
from servers.irsa import BucketServer, IrsaServer, fill_bucket
from servers.mer import TILES, Survey, separation, write_product

BANDS = ("VIS", "Y", "J", "H")
SIZE = 32


@pytest.fixture
def esa(mer, monkeypatch):
    with EuclidServer(mer) as server:
        monkeypatch.setenv("ASTROANOMALY_EUCLID_SERVER", server.url)
        yield server


@pytest.fixture
def irsa(mer, monkeypatch):
    with IrsaServer(mer) as server:
        monkeypatch.setenv("ASTROANOMALY_IRSA_SERVER", server.url)
        yield server


@pytest.fixture
def bucket(mer, monkeypatch):
    with BucketServer(mer) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
        yield server


@pytest.fixture(scope="module")
def moto(mer):
    """A complete S3 service that holds the mosaics."""
    program = (
        "import logging, time; from moto.server import ThreadedMotoServer;"
        "logging.getLogger('werkzeug').setLevel(logging.ERROR);"
        "server = ThreadedMotoServer(ip_address='127.0.0.1', port=0, verbose=False); server.start();"
        "print(server.get_host_and_port()[1], flush=True); time.sleep(3600)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        try:
            endpoint = f"http://127.0.0.1:{int(process.stdout.readline())}"
            fill_bucket(endpoint, mer)
            yield endpoint
        finally:
            process.kill()


@pytest.fixture
def fill(mer, tmp_path):
    """Ingest into a cache of its own name; what is fetched is kept in a folder of its own name."""

    def run(name="cache", keep="kept", **options):
        config = {"first_wait_s": 0.01, "attempts": 3, "timeout_s": 2.0, "keep": str(tmp_path / keep)}
        config |= options.pop("fetch", {})
        if not {"mer_id", "cone", "catalog", "region", "adql"} & set(options):
            options["catalog"] = mer.folder / "sky" / "catalogue.ecsv"
        options = {"size": str(SIZE), "via": "esa", "bands": ("VIS", "H"), **options}
        return ingest(EuclidSource(), out=tmp_path / name, fetch=config, **options)

    return run


def by_hand(mer, tile, band, coord, size=SIZE):
    """Cut with astropy alone."""
    with fits.open(mer.find(tile, band).path) as hdus:
        wcs = WCS(hdus[0].header)
        return Cutout2D(hdus[0].data, coord, size, wcs=wcs, mode="partial", fill_value=np.nan, copy=True)


# ------------------------------------------------------------------------------------------------------------ cutouts


def test_cutouts_are_crops_of_the_mosaics_with_their_wcs_and_provenance(mer, esa, fill):
    cache = fill(bands=BANDS)
    assert len(cache) == len(mer.catalogue)
    assert cache.layout.bands == BANDS
    assert not cache.failures
    value = {name: fact.value for name, fact in cache.facts.items()}
    assert value["tiles"]["number"] == len(TILES)
    tiles = [cache[object_id].columns["tile"] for object_id in cache.ids]
    assert {item["name"]: item["objects"] for item in value["tiles"]["first"]} == dict(Counter(map(str, tiles)))
    assert value["bands"]["VIS"]["images"] == len(TILES)
    assert value["pixel scale"]["arcsec"] == [0.1, 0.1]
    for object_id in cache.ids[::7]:
        cutout = cache[object_id]
        tile = int(cutout.columns["tile"])
        for plane, band in zip(cutout.data, ("VIS", "NIR_Y", "NIR_J", "NIR_H"), strict=True):
            wanted = by_hand(mer, tile, band, cutout.coord)
            np.testing.assert_array_equal(plane, wanted.data)
        there = wanted.wcs.pixel_to_world([0, 31], [0, 31])
        assert cutout.wcs.pixel_to_world([0, 31], [0, 31]).separation(there).arcsec.max() < 1e-6
    assert cutout.columns["product_H"] == mer.find(tile, "NIR_H").path.name
    assert cutout.columns["zero_point_Y"] == 29.9
    assert cutout.columns["filter_J"] == "NIR_J"
    assert cutout.columns["unit_VIS"] == "adu"
    assert cutout.columns["archive"] == "ESA"
    assert cutout.columns["r50"] > 0


def test_every_archive_gives_the_same_cutouts(mer, esa, irsa, moto, fill, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", moto)
    esa.datalabs = str(mer.folder / "mer")
    caches = [fill(via, via, via=via, bands=(*BANDS, "g")) for via in ("esa", "irsa", "datalabs")]
    first = caches[0]
    assert [cache[first.ids[0]].columns["archive"] for cache in caches] == ["ESA", "IRSA", "ESA Datalabs"]
    for other in caches[1:]:
        assert sorted(other.ids) == sorted(first.ids)
        assert not other.failures
        for object_id in first.ids:
            one, two = first[object_id], other[object_id]
            np.testing.assert_array_equal(one.data, two.data)
            np.testing.assert_allclose(
                one.wcs.wcs_pix2world([[3, 4]], 0), two.wcs.wcs_pix2world([[3, 4]], 0), rtol=1e-12
            )
            assert {**one.columns, "archive": ""} == {**two.columns, "archive": ""}


def test_an_object_on_two_tiles_is_cut_once_where_it_is_farther_from_the_edge(mer, esa, fill):
    cache = fill()
    left, right = mer.find(TILES[0], "VIS"), mer.find(TILES[1], "VIS")
    for object_id in cache.ids:
        cutout = cache[object_id]
        nearer = left if abs(cutout.ra - left.ra) < abs(cutout.ra - right.ra) else right
        assert int(cutout.columns["tile"]) == nearer.tile
    assert len({(path, ra, dec) for path, ra, dec in esa.cutouts}) == len(esa.cutouts) == 2 * len(cache)


def test_what_no_mosaic_shows_has_no_coverage(mer, esa, fill, tmp_path):
    inside = mer.catalogue["right_ascension"][0], mer.catalogue["declination"][0]
    edge = mer.find(TILES[0], "VIS")
    table = Table(
        {
            "id": ["inside", "edge", "far", "nowhere"],
            "ra": [inside[0], edge.corners[0, 0], 10.0, np.nan],
            "dec": [inside[1], edge.corners[0, 1], -45.0, np.nan],
        }
    )
    table.write(tmp_path / "positions.ecsv")
    for via, folder in (("esa", "/data"), ("datalabs", mer.folder / "mer")):
        esa.datalabs = str(folder)
        cache = fill(via, via, via=via, catalog=tmp_path / "positions.ecsv")
        assert sorted(cache.ids) == ["edge", "inside"]
        assert {(f.object_id, f.reason, f.kind) for f in cache.failures} == {
            ("far", "outside all Euclid mosaics", "no coverage"),
            ("nowhere", "no valid position in the catalogue", "no position"),
        }
        coverage = np.isfinite(cache["edge"].data).mean(axis=(1, 2))
        assert np.all((coverage > 0.2) & (coverage < 0.3))
    poor = fill("covered", catalog=tmp_path / "positions.ecsv", min_coverage=0.5)
    assert {f.reason for f in poor.failures if f.object_id == "edge"} == {"covered to less than 0.5 of its pixels"}
    Table({"id": ["far"], "ra": [10.0], "dec": [-45.0]}).write(tmp_path / "far.ecsv")
    with pytest.raises(FootprintError, match="has Euclid seen this place"):
        fill("none", catalog=tmp_path / "far.ecsv")


# -------------------------------------------------------------------------------------------------------------- bands


@pytest.mark.parametrize(
    ("text", "instrument", "name"),
    [
        ("VIS", "VIS", "VIS"),
        ("NIR_Y", "NISP", "Y"),
        ("Y", "NISP", "Y"),
        ("H", "", "H"),
        ("NISP-J", "", "J"),
        ("DECAM_g", "DECAM", "DECAM_g"),
        ("g", "DECam", "DECAM_g"),
        ("DES_G", "", "DECAM_g"),
        ("MEGACAM_u", "MEGACAM", "MEGACAM_u"),
        ("u", "MegaCam", "MEGACAM_u"),
        ("HSC_Z", "", "HSC_z"),
        ("i", "GPC1", "PANSTARRS_i"),
        ("r", "", "r"),
    ],
)
def test_bands_have_one_name_whoever_calls_them(text, instrument, name):
    assert band_name(text, instrument) == name
    assert fits_band(text, name)


def test_a_letter_means_the_filter_of_any_instrument_on_the_ground():
    assert is_wanted("g", "DECAM_g")
    assert not is_wanted("g", "Y")
    assert not is_wanted("DECAM_g", "HSC_g")
    assert not fits_band("NIR_H", "Y")
    assert not fits_band("HSC_g", "DECAM_g")
    assert fits_band("", "Y")


def test_bands_are_matched_by_name_in_the_order_asked_for(mer, esa, fill):
    cache = fill(bands=("NIR_H", "DES_G", "VIS"))
    assert cache.layout.bands == ("H", "DECAM_g", "VIS")
    one = cache[cache.ids[0]]
    for plane, band in zip(one.data, ("NIR_H", "DECAM_g", "VIS"), strict=True):
        np.testing.assert_array_equal(plane, by_hand(mer, int(one.columns["tile"]), band, one.coord).data)
    with pytest.raises(BandError, match=r"the band 'HSC_z'. There are: DECAM_g, H, J, VIS, Y"):
        fill("other", bands=("VIS", "HSC_z"))
    with pytest.raises(ConfigError, match="each once"):
        fill("other", bands=("Y", "NIR_Y"))


def test_a_band_that_a_tile_lacks_is_nan(mer, irsa, bucket, esa, fill):
    fewer = dataclasses.replace(
        mer, products=tuple(item for item in mer.products if (item.tile, item.filter) != (TILES[1], "NIR_J"))
    )
    esa.survey = irsa.survey = fewer
    esa.datalabs = str(mer.folder / "mer")
    for via in ("esa", "irsa", "datalabs"):
        cache = fill(via, via, via=via, bands=("VIS", "J"))
        lacking = [i for i in cache.ids if int(cache[i].columns["tile"]) == TILES[1]]
        assert 0 < len(lacking) < len(cache) == len(mer.catalogue)
        one = cache[lacking[0]]
        assert np.isnan(one.data[1]).all()
        assert np.isfinite(one.data[0]).all()
        assert one.columns["product_J"] == ""
        assert np.isnan(one.columns["zero_point_J"])


def test_bands_on_different_grids_are_aligned_on_one_that_is_stored(mer, monkeypatch, fill, tmp_path):
    vis = mer.find(TILES[0], "VIS")
    with fits.open(vis.path) as hdus:
        pixels, wcs = np.array(hdus[0].data), WCS(hdus[0].header)
    shifted = wcs.deepcopy()
    shifted.wcs.crpix = wcs.wcs.crpix + 0.5
    moved = (pixels + np.roll(pixels, 1, axis=0) + np.roll(pixels, 1, axis=1) + np.roll(pixels, (1, 1), (0, 1))) / 4
    products = (
        write_product(tmp_path / "VIS.fits", pixels, wcs, TILES[0], "VIS", 1),
        write_product(tmp_path / "Y.fits", moved.astype(np.float32), shifted, TILES[0], "NIR_Y", 2),
    )
    with EuclidServer(Survey(tmp_path, products, mer.catalogue)) as server:
        monkeypatch.setenv("ASTROANOMALY_EUCLID_SERVER", server.url)
        cache = fill(bands=("VIS", "Y"))
    one = max((cache[object_id] for object_id in cache.ids), key=lambda cutout: np.isfinite(cutout.data).sum())
    assert one.wcs.wcs.crval == pytest.approx([one.ra, one.dec])  # a grid of its own, around the object
    assert one.wcs.pixel_to_world(15.5, 15.5).separation(one.coord).arcsec < 1e-4
    vis, near = one.data
    inside = np.isfinite(vis) & np.isfinite(near)
    assert inside.mean() > 0.9
    assert np.corrcoef(vis[inside], near[inside])[0, 1] > 0.9


# ---------------------------------------------------------------------------------------------------------- positions


def test_a_cone_gives_the_objects_of_the_catalogue_down_to_a_magnitude(mer, esa, irsa, bucket, fill):
    flux = mer.catalogue["flux_detection_total"]
    limit = float(23.9 - 2.5 * np.log10(np.median(flux)))
    near = [separation(150.1, 2.2, row["right_ascension"], row["declination"]) < 15 / 3600 for row in mer.catalogue]
    wanted = mer.catalogue[np.array(near) & (flux >= np.median(flux))]
    assert 1 < len(wanted) <= len(mer.catalogue) / 2
    columns = ("flux_detection_total", "segmentation_area")
    for via in ("esa", "irsa"):
        cache = fill(
            via,
            via,
            cone=SkyCoord(150.1, 2.2, unit="deg"),
            radius=15 * u.arcsec,
            magnitude_limit=limit + 1e-9,
            via=via,
            columns=columns,
        )
        assert sorted(cache.ids) == sorted(str(one) for one in wanted["object_id"])
        assert "a cone of 15arcsec at 150.1 2.2; frame icrs; in deg" in cache.facts["positions"].text
        for row in wanted:
            one = cache[str(row["object_id"])]
            assert one.columns["flux_detection_total"] == pytest.approx(row["flux_detection_total"], rel=1e-12)
            assert one.columns["segmentation_area"] == row["segmentation_area"]
            assert one.ra == pytest.approx(row["right_ascension"], abs=1e-9)


def test_objects_by_id_and_an_id_that_is_not_there(mer, esa, fill):
    known = [str(one) for one in mer.catalogue["object_id"][3:5]]
    cache = fill(mer_id=(*known, "-570040238507752998"), columns=("*",))
    assert sorted(cache.ids) == sorted(known)
    assert cache[known[0]].columns["point_like_prob"] == pytest.approx(mer.catalogue["point_like_prob"][3])
    failure = cache.failures[0]
    assert (failure.object_id, failure.reason) == ("-570040238507752998", "not in the MER catalogue")
    with pytest.raises(CatalogError, match="knows none of the 1 ids"):
        fill("none", mer_id=("17",))


def test_a_cache_of_version_0_1_0_goes_on(mer, esa, fill, tmp_path):
    """It stored the ids as ``id``, and a task of another kind for the objects that no mosaic shows."""
    ids = (str(mer.catalogue["object_id"][3]), "-570040238507752998")
    fill(mer_id=ids)
    path = tmp_path / "cache" / "cache.json"
    content = json.loads(path.read_text("utf-8"))
    options = content["request"]["options"]
    options["id_column"], options["id"] = options.pop("id"), options.pop("mer_id")
    path.write_text(json.dumps(content), "utf-8")
    assert list(fill(mer_id=ids).ids) == [ids[0]]
    with pytest.raises(CacheError, match="its mer_id was"):
        fill(mer_id=ids[:1])
    table = {"id": np.array(["a"]), "reason": np.array(["outside all Euclid mosaics"]), "ra": [1.0], "dec": [2.0]}
    assert next(EuclidSource().read(Task("outside", {"kind": "outside"}, table))).kind == "no coverage"


def test_an_empty_cone_and_a_column_that_is_not_there(esa, fill):
    with pytest.raises(CatalogError, match="no object brighter than magnitude 1 in a cone of 15arcsec at"):
        fill(cone="150.1 2.2", radius="15arcsec", magnitude_limit=1)
    with pytest.raises(CatalogError, match=r"has no column 'albedo'. It has declination, flux_detection_total"):
        fill(cone="150.1 2.2", radius="15arcsec", columns=("albedo",))
    with pytest.raises(FetchError, match="no such column: flux_albedo"):
        fill(cone="150.1 2.2", radius="15arcsec", magnitude_limit=20, flux_column="flux_albedo")


def test_an_answer_that_was_cut_short_by_the_archive_is_asked_for_in_parts(mer, esa, fill):
    esa.most_rows = 10  # as many as there are mosaics
    whole = {"cone": "150.1 2.2", "radius": "60arcsec", "columns": ("none",)}
    places = zip(mer.catalogue["right_ascension"], mer.catalogue["declination"], strict=True)
    near = np.array([separation(150.1, 2.2, ra, dec) < 60 / 3600 for ra, dec in places])
    assert near.sum() > 10
    assert sorted(fill(**whole).ids) == sorted(str(one) for one in mer.catalogue["object_id"][near])
    esa.most_rows = 0
    with pytest.raises(FetchError, match=r"counts \d+ and gave 0|the answer is not understood"):
        fill("none", **{**whole, "radius": "59arcsec"})


def test_objects_in_regions_a_map_and_of_a_query(mer, esa, fill, tmp_path):
    """The MER catalogue is asked as any table is; `test_sky_area` looks at the areas."""
    ra, dec = (np.asarray(mer.catalogue[name]) for name in ("right_ascension", "declination"))
    near = np.array([separation(150.1, 2.2, *place) < 15 / 3600 for place in zip(ra, dec, strict=True)])
    wanted = sorted(str(one) for one in mer.catalogue["object_id"][near])
    (tmp_path / "a.reg").write_text('icrs\ncircle(150.1,2.2,15")\n')
    assert sorted(fill("region", region=tmp_path / "a.reg", columns=("none",)).ids) == wanted
    adql = "SELECT object_id, right_ascension, declination FROM mer_catalogue WHERE flux_detection_total > 0"
    found = fill("query", adql=adql.replace("mer_catalogue", "catalogue.mer_catalogue"), region=tmp_path / "a.reg")
    assert sorted(found.ids) == wanted
    table = mer.catalogue["object_id", "right_ascension", "declination"]
    rows = {"catalog": table, "id": "object_id", "ra": "right_ascension", "dec": "declination"}
    assert sorted(fill("rows", **rows, cone="150.1 2.2", radius="15arcsec").ids) == wanted


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": ""}, "--size 10arcsec"),
        ({"catalog": "a.csv", "mer_id": ("1",)}, "--catalog and --mer-id"),
        ({"mer_id": ("1",), "cone": "1 2", "radius": "1deg"}, "leave out --cone"),
        ({"mer_id": ("1",), "where": "vis_det = 1"}, "leave out --where"),
        ({"catalog": "a.csv", "magnitude_limit": 20}, "--magnitude-limit belongs"),
        ({"catalog": "a.csv", "adql": "SELECT 1"}, "--catalog and --adql"),
        ({"cone": "1 2"}, "needs a radius"),
        ({"cone": "everywhere", "radius": "1deg"}, "expected a position"),
        ({"cone": "1 2", "radius": "far"}, "an angle"),
        ({"cone": "1 2", "radius": "1deg", "columns": ("a; DROP TABLE b",)}, "no name of a column"),
        ({"mer_id": ("1 OR 1=1",)}, "whole numbers"),
        ({"mer_id": ("1", "01")}, "given twice"),
        ({"catalog": "a.csv", "radius": "1deg"}, "belongs to --cone"),
        ({"via": "irsa", "login": True}, "IRSA has no accounts"),
        ({"size": "1.1deg"}, "expected 1 to 16384|larger than"),
    ],
)
def test_a_choice_that_makes_no_sense_is_refused_with_the_way_out(options, words, esa, fill, tmp_path):
    Table({"id": ["a"], "ra": [150.1], "dec": [2.2]}).write(tmp_path / "a.csv")
    if "catalog" in options:
        options = {**options, "catalog": tmp_path / "a.csv"}
    with pytest.raises(ConfigError, match=words):
        fill(**options)
    assert not (tmp_path / "cache").exists()


@given(st.lists(st.tuples(st.floats(0, 359.999), st.floats(-90, 90)), min_size=1, max_size=30))
@settings(max_examples=60, deadline=None)
def test_circles_cover_all_positions(positions):
    ra, dec = np.array(positions).T
    circles = list(areas(ra, dec, 0.01))
    for one in positions:
        assert any(separation(*one, circle[0], circle[1]) <= circle[2] for circle in circles)


@pytest.mark.parametrize(
    "region",
    [
        "POLYGON ICRS 269.95 65.9 270.05 65.9 270.05 66.1 269.95 66.1",
        "{(4.711516 , 1.150172), (4.713261 , 1.150172), (4.713261 , 1.153663), (4.711516 , 1.153663)}",
    ],
)
def test_footprints_are_read_in_degrees_and_radians(region):
    half_x, half_y = mosaic_extent(region, 270.0, 66.0)
    assert half_x == pytest.approx(0.05 * np.cos(np.radians(65.9)), rel=0.02)
    assert half_y == pytest.approx(0.1, rel=0.01)
    assert mosaic_extent("unknown", 270.0, 66.0) == pytest.approx((960 / 3600, 960 / 3600))


# ------------------------------------------------------------------------------------------------------------ products


def test_of_several_versions_the_newest_is_taken(mer, esa, fill, caplog):
    newer = mer.find(TILES[0], "VIS")
    path = newer.path.with_name(newer.path.name.replace("20241018T", "20250318T"))
    if not path.exists():
        with fits.open(newer.path) as hdus:
            fits.writeto(path, hdus[0].data + np.float32(1000), hdus[0].header)
    esa.survey = dataclasses.replace(mer, products=(*mer.products, dataclasses.replace(newer, path=path, oid=0)))
    with caplog.at_level(logging.WARNING):
        cache = fill(bands=("VIS",))
    assert "the archive has several versions of 1 mosaics: the newest are taken" in caplog.text
    assert len(cache) == len(mer.catalogue)
    for object_id in cache.ids:
        new = int(cache[object_id].columns["tile"]) == TILES[0]
        assert ("20250318T" in cache[object_id].columns["product_VIS"]) == new
        assert (np.median(cache[object_id].data) > 500) == new


def test_two_instruments_that_a_letter_may_mean_are_an_error():
    one = Mosaic("a.fits", "", "", "1", "DECAM", "DECAM_g", 1, 1, 0.1, 0.1)
    two = dataclasses.replace(one, name="b.fits", band="HSC_g")
    with pytest.raises(BandError, match="'g' may mean, DECAM_g and HSC_g"):
        make_tiles([one, two], ("g",))


def test_nothing_is_fetched_twice_and_a_second_cache_asks_nothing(mer, esa, fill):
    first = fill("one")
    assert esa.count("/sas-cutout/cutout", "POST") == 2 * len(first)
    before = esa.count()
    assert fill("two").digest() == first.digest()
    assert esa.count() == before


def test_a_file_in_the_cloud_is_opened_once_for_all_its_objects(mer, irsa, bucket, fill):
    cache = fill(via="irsa")
    assert not cache.failures
    for product in mer.products:
        assert bucket.count(product.path.name, "HEAD") == (product.filter in ("VIS", "NIR_H"))
    assert all("Authorization" not in asked.headers for asked in bucket.asked)
    assert not bucket.count("RMS")  # products that are no science


def test_several_processes_give_the_same_cache(mer, esa, fill):
    assert fill("one").digest() == fill("two", "elsewhere", workers=2).digest()


def test_a_dry_run_says_what_would_be_fetched(mer, esa, irsa, bucket, tmp_path):
    options = {"catalog": mer.folder / "sky" / "catalogue.ecsv", "size": "3.2arcsec", "bands": ("VIS", "H")}
    for via in ("esa", "irsa"):
        fetch = {"keep": str(tmp_path / via)}
        said = dry_run(SourceRequest.of(EuclidSource(), fetch=fetch, options={**options, "via": via}))
        assert said.objects == len(mer.catalogue)
        assert sum(item.requests for item in said.downloads) == 2 * len(mer.catalogue)
        assert {item.product for item in said.downloads} == {
            product.path.name for product in mer.products if product.filter in ("VIS", "NIR_H")
        }
        assert sum(item.nbytes for item in said.downloads) > 2 * len(mer.catalogue) * 4 * 32 * 32
    assert not esa.cutouts
    assert not bucket.asked


# ------------------------------------------------------------------------------------------------- choose the archive


def test_auto_reads_in_place_where_all_mosaics_are_there(mer, esa, fill):
    esa.datalabs = str(mer.folder / "mer")
    cache = fill(via="auto")
    assert cache[cache.ids[0]].columns["archive"] == "ESA Datalabs"
    assert not esa.cutouts


def test_auto_takes_esa_and_its_trial_is_not_fetched_again(mer, esa, irsa, fill):
    cache = fill(via="auto")
    assert cache[cache.ids[0]].columns["archive"] == "ESA"
    assert len(esa.cutouts) == 2 * len(cache)
    assert not irsa.asked


@pytest.mark.parametrize("where", ["/tap-server", "/sas-cutout"])
def test_auto_falls_back_to_irsa_before_the_first_cutout_and_says_so(where, esa, irsa, bucket, fill, caplog):
    esa.misbehave("503", 10**6, where)
    with caplog.at_level(logging.WARNING):
        cache = fill(via="auto")
    assert "ESA's Euclid archive cannot be used (HTTP 503" in caplog.text
    assert "everything comes from IRSA" in caplog.text
    assert not cache.failures
    assert {cache[one].columns["archive"] for one in cache.ids} == {"IRSA"}


def test_the_archive_is_not_changed_after_the_first_cutout(mer, esa, irsa, bucket, fill):
    esa.break_after = 10
    cache = fill(via="auto", fetch={"attempts": 1, "requests": 1})
    assert 0 < len(cache) < len(mer.catalogue)
    assert len(cache) + len(cache.failures) == len(mer.catalogue)
    assert {failure.kind for failure in cache.failures} == {"failed"}
    assert not irsa.asked
    esa.break_after = None
    again = fill(via="auto", retry_failed=True)
    assert not again.failures
    assert not irsa.asked
    assert again.digest() == fill("calm", "calm").digest()


def test_neither_archive_can_be_used(esa, irsa, fill, tmp_path):
    esa.misbehave("503", 10**6)
    irsa.misbehave("503", 10**6)
    with pytest.raises(FetchError, match=r"neither archive can be used. ESA: HTTP 503.*IRSA: .*HTTP 503"):
        fill(via="auto")
    assert not (tmp_path / "cache").exists()


def test_datalabs_elsewhere_says_what_to_do(esa, fill):
    with pytest.raises(UnreadableError, match=r"is not at /data/euclid_q1/.*elsewhere say --via esa or irsa"):
        fill(via="datalabs")


def test_a_mosaic_in_place_of_another_band_is_refused(mer, esa, fill, tmp_path):
    vis, near = mer.find(TILES[0], "VIS"), mer.find(TILES[0], "NIR_H")
    target = tmp_path / str(TILES[0]) / "VIS" / vis.path.name
    target.parent.mkdir(parents=True)
    target.symlink_to(near.path)
    esa.survey = dataclasses.replace(mer, products=(vis,))
    esa.datalabs = str(tmp_path)
    with pytest.raises(BandError, match="is of the band 'NIR_H', but the archive says 'VIS'"):
        fill(via="datalabs", bands=("VIS",))


def test_the_message_names_the_extra_that_reads_the_cloud(irsa, fill, monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(ConfigError, match=r"pip install 'astroanomaly\[cloud\]'"):
        fill(via="irsa")


# -------------------------------------------------------------------------------------------------------------- login


@pytest.fixture
def secure(mer, tmp_path, monkeypatch):
    """ESA's archive with TLS and accounts; cutouts are for members only."""
    certificate = tmp_path / "certificate.pem"
    command = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(
        ["openssl", *command.split(), "-keyout", str(certificate), "-out", str(tmp_path / "public.pem")],
        check=True,
        capture_output=True,
    )
    with certificate.open("a") as handle:
        handle.write((tmp_path / "public.pem").read_text())
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "public.pem"))
    with EuclidServer(mer, certificate) as server:
        server.members_only = True
        monkeypatch.setenv("ASTROANOMALY_EUCLID_SERVER", server.url)
        yield server


def test_login_by_the_environment_leaves_no_trace(secure, fill, monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("EUCLID_USER", "reader")
    monkeypatch.setenv("EUCLID_PASSWORD", "open sesame")
    with caplog.at_level(logging.DEBUG):
        cache = fill(login=True)
    assert not cache.failures
    assert secure.logins[:3] == ["/tap-server/login", "/sas-dd/login", "/sas-cutout/login"]
    assert secure.logins[3:] in ([], ["/sas-sia/login"])  # the latter from astroquery 0.4.12 on
    for folder, _, names in os.walk(tmp_path):
        for name in names:
            assert b"sesame" not in (Path(folder) / name).read_bytes(), name
    assert "sesame" not in caplog.text


def test_login_by_a_file_and_again_when_the_session_ends(secure, fill, monkeypatch, tmp_path):
    (tmp_path / "secret").write_text("reader\nopen sesame\n")
    monkeypatch.setenv("EUCLID_CREDENTIALS", str(tmp_path / "secret"))
    secure.misbehave("session ends", 1, "NISP")
    cache = fill(login=True)
    assert not cache.failures
    assert len(secure.logins) == 2 * len(set(secure.logins))


def test_name_and_password_go_to_the_server_that_was_named_alone(secure, fill, monkeypatch):
    importlib.import_module("astroquery.esa.euclid")  # which asks ESA for news
    monkeypatch.setenv("EUCLID_USER", "reader")
    monkeypatch.setenv("EUCLID_PASSWORD", "open sesame")
    asked = []
    look_up = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, port, *more, **names: (
        asked.append((str(host), int(port))), look_up(host, port, *more, **names))[1])  # fmt: skip
    cache = fill(login=True)
    assert not cache.failures
    assert set(asked) == {("127.0.0.1", secure.port)}


def test_a_client_with_a_service_that_goes_elsewhere_is_not_logged_in(secure, fill, monkeypatch):
    from astroquery.esa import euclid
    from astroquery.utils.tap import TapPlus

    class Later(euclid.EuclidClass):
        def __init__(self, **more):
            super().__init__(**more)
            self.spectra = TapPlus(url="https://127.0.0.1:9/")

    monkeypatch.setattr(euclid, "EuclidClass", Later)
    monkeypatch.setattr(esa_client, "_clients", {})
    monkeypatch.setenv("EUCLID_USER", "reader")
    monkeypatch.setenv("EUCLID_PASSWORD", "open sesame")
    with pytest.raises(ConfigError, match="would send name and password to other hosts"):
        fill(login=True)
    assert not secure.logins


def test_without_login_members_only_cutouts_fail_with_the_way_out(secure, fill):
    cache = fill(bands=("VIS",))
    assert not len(cache)
    assert {failure.reason.partition(" (127")[0] for failure in cache.failures} == {
        "HTTP 403 Forbidden: Error Message: User not authorised (are these data public? see the source's page on login)"
    }


def test_a_wrong_password_is_said_and_not_shown(secure, fill, monkeypatch, tmp_path):
    monkeypatch.setenv("EUCLID_USER", "reader")
    monkeypatch.setenv("EUCLID_PASSWORD", "open wheat")
    with pytest.raises(ConfigError, match="refused the login") as raised:
        fill(login=True)
    error = raised.value
    while error is not None:
        assert "wheat" not in str(error)
        error = error.__cause__ or error.__context__
    monkeypatch.delenv("EUCLID_PASSWORD")
    with pytest.raises(ConfigError, match="set EUCLID_USER and EUCLID_PASSWORD"):
        fill(login=True)
    monkeypatch.setenv("EUCLID_CREDENTIALS", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="EUCLID_CREDENTIALS names cannot be read"):
        fill(login=True)


# ---------------------------------------------------------------------------------------------------- real data, sites


def test_real_q1_pixels_come_through_unchanged(data_folder, monkeypatch, fill, tmp_path):
    with fits.open(data_folder / "fits" / "euclid-q1" / "EUCLJ174517.55+655612.5.fits") as hdus:
        products = []
        for number, (extension, filter) in enumerate((("VIS_FLUX", "VIS"), ("NIR_H_FLUX", "NIR_H")), 1):
            hdu = hdus[extension]
            products.append(
                write_product(tmp_path / f"{filter}.fits", hdu.data, WCS(hdu.header), 102159190, filter, number)
            )
        wanted = [hdus[extension].data[34:66, 34:66] for extension in ("VIS_FLUX", "NIR_H_FLUX")]
        ra, dec = WCS(hdus["VIS_FLUX"].header).wcs_pix2world([[49.6, 49.6]], 0)[0]
    Table({"id": ["lens"], "ra": [ra], "dec": [dec]}).write(tmp_path / "lens.csv")
    empty = Table({"object_id": [0], "right_ascension": [0.0], "declination": [0.0]})
    with EuclidServer(Survey(tmp_path, tuple(products), empty)) as server:
        monkeypatch.setenv("ASTROANOMALY_EUCLID_SERVER", server.url)
        cache = fill(catalog=tmp_path / "lens.csv", bands=("VIS", "H"))
    np.testing.assert_array_equal(cache["lens"].data, np.array(wanted, np.float32))
    assert cache["lens"].wcs.wcs_world2pix([[ra, dec]], 0)[0] == pytest.approx([15.6, 15.6], abs=1e-3)


@pytest.mark.remote
@pytest.mark.skipif(not os.environ.get("ASTROANOMALY_REMOTE"), reason="calls real archives: set ASTROANOMALY_REMOTE=1")
@pytest.mark.parametrize("via", ["esa", "irsa"])
def test_the_real_archives(via, fill):
    cache = fill(cone="266.4 65.9", radius="20arcsec", via=via, fetch={"timeout_s": 120, "first_wait_s": 2})
    assert len(cache)
    assert np.isfinite(cache[cache.ids[0]].data).all()


def test_the_plugin_registers_the_source():
    found = []
    euclid_archive.register_sources(found.append)
    assert [source.name for source in found] == ["euclid"]
    assert found[0].fetches
