"""The source ``vo``: SIA2 and ObsTAP with datalink and SODA, from a local data centre that satisfies pyvo's clients."""

import io
import json
import shutil
import warnings
from dataclasses import replace

import numpy as np
import pytest
import pyvo
from astropy import units as u
from astropy.io import fits
from astropy.io.votable import parse
from astropy.table import Table, vstack

from astroanomaly import BandError, Cache, CatalogError, ConfigError, FootprintError, Request, ingest
from astroanomaly.config import FetchConfig, build
from astroanomaly.cutting import pixel_scale_arcsec, quiet
from astroanomaly.fetch import get, using
from astroanomaly_plugins.fits import FitsSource
from astroanomaly_plugins.vo.areas import signed_distance
from astroanomaly_plugins.vo.bands import BandChoice
from astroanomaly_plugins.vo.products import Product
from astroanomaly_plugins.vo.source import VoSource
from servers.vo import VoProduct, VoServer
from servers.vo_sky import WAVELENGTHS, make_sky

SOURCE = VoSource()
BANDS = ("g", "r", "i")


@pytest.fixture(scope="module")
def sky(tmp_path_factory):
    return make_sky(tmp_path_factory.mktemp("vo"))


@pytest.fixture
def net(tmp_path):
    config = FetchConfig(first_wait_s=0.01, attempts=3, timeout_s=4, keep=str(tmp_path / "kept"))
    with using(config):
        yield config


def run(server, sky, out, net, path="sia2", **options):
    options = {"service": f"{server.url}/{path}", "size": "32", "catalog": sky.catalog, "bands": BANDS, **options}
    return ingest(SOURCE, out=out, fetch=net, **options)


def by_fits(sky, out, bands=("g", "r", "i"), **options):
    """The same objects cut from the files themselves."""
    paths = [path for path in sky.made.mosaics if path.stem[-1] in bands]
    return ingest(FitsSource(), paths, out=out, catalog=sky.catalog, **{"size": "32", **options})


def assert_same_pixels(cache, other):
    """Same objects, same flux at the same sky."""
    assert set(cache.ids) == set(other.ids)
    for one, two in zip(cache.cutouts(cache.ids), other.cutouts(cache.ids), strict=True):
        assert one.bands == two.bands
        assert np.array_equal(one.data, two.data, equal_nan=True)
        for x, y in ((0, 0), (31, 0), (15, 31)):
            assert np.allclose(one.wcs.all_pix2world(x, y, 0), two.wcs.all_pix2world(x, y, 0), rtol=0, atol=1e-9)
        assert np.allclose(one.coverage, two.coverage, atol=1e-6)


# ------------------------------------------------------------------------------------------------------- the protocol


@pytest.mark.parametrize("links", ["datalink", "descriptor", "none"])
def test_its_tables_are_valid(sky, net, links):
    """Not one remark of astropy's reader, which knows the schema."""
    with VoServer(sky.products, links=links) as server:
        did = next(iter(server.products))
        for path, params in (
            ("/sia2/query", {"POS": "CIRCLE 150.1 2.2 0.5"}),
            ("/sia2/query", {"POS": "BOX 1 2 3 4"}),
            ("/tap/sync", {"REQUEST": "doQuery", "LANG": "ADQL", "QUERY": "SELECT TOP 2 * FROM ivoa.obscore"}),
            ("/datalink", {"ID": did}),
            ("/datalink", {"ID": "ivo://nobody/nothing"}),
        ):
            import requests

            content = requests.get(server.url + path, params=params, timeout=5).content
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                parse(io.BytesIO(content), verify="exception")


def test_pyvo_searches_by_sia2(sky):
    with VoServer(sky.products) as server:
        service = pyvo.dal.SIA2Service(f"{server.url}/sia2")
        assert service.query_ep == f"{server.url}/sia2/query"
        found = service.search(pos=(150.1, 2.2, 0.01), maxrec=100)
        assert len(found) == 6
        assert {row.instrument_name for row in found} == {"SimCam-g", "SimCam-r", "SimCam-i"}
        assert len(service.search(pos=(150.1, 3.2, 0.01))) == 0
        assert len(service.search(pos=(150.1, 2.2, 0.01), instrument=["SimCam-g", "SimCam-r"])) == 4
        short = service.search(pos=(150.1, 2.2, 0.01), maxrec=2)
        assert (len(short), short.status[0]) == (2, "OVERFLOW")
        with pytest.raises(pyvo.dal.exceptions.DALQueryError, match="not supported"):
            service.search(pos=(150 * u.deg, 151 * u.deg, 2 * u.deg, 3 * u.deg))


def test_pyvo_searches_by_tap(sky):
    with VoServer(sky.products) as server:
        service = pyvo.dal.TAPService(f"{server.url}/tap")
        assert "ivoa.obscore" in service.tables.keys()  # noqa: SIM118 - it is no dictionary
        query = "SELECT TOP 10 obs_id, em_min FROM ivoa.obscore WHERE em_min < 5e-7"
        assert set(service.search(query)["obs_id"]) == {"sky_tile1_g", "sky_tile2_g"}
        inside = "1 = CONTAINS(POINT('ICRS', s_ra, s_dec), CIRCLE('ICRS', 150.1, 2.2, 1))"
        assert len(service.search(f"SELECT * FROM ivoa.obscore WHERE {inside}")) == 6
        with pytest.raises(pyvo.dal.exceptions.DALQueryError, match="no such column"):
            service.search("SELECT nonsense FROM ivoa.obscore")


@pytest.mark.parametrize("links", ["datalink", "descriptor"])
def test_pyvo_follows_datalink_to_soda(sky, links):
    with VoServer(sky.products, links=links) as server:
        row = pyvo.dal.SIA2Service(f"{server.url}/sia2").search(pos=(150.1, 2.2, 0.001))[0]
        document = row.getdatalink()
        assert [link.semantics for link in document] == ["#this", "#cutout"]
        whole = next(document.bysemantics("#this", include_narrower=False))
        with fits.open(io.BytesIO(get(whole.access_url, what="it"))) as hdulist:
            shape = hdulist[0].shape
        cutout = document[0].processed(circle=(150.1 * u.deg, 2.2 * u.deg, 2 * u.arcsec))
        with fits.open(io.BytesIO(cutout.read())) as hdulist:
            assert hdulist[0].shape == (41, 41)
            assert shape > hdulist[0].shape


# -------------------------------------------------------------------------------------------------- pixels and grids


@pytest.mark.parametrize("path", ["sia2", "sia2/query", "tap", "tap/sync"])
@pytest.mark.parametrize("links", ["datalink", "descriptor", "none"])
def test_the_pixels_are_those_of_the_archive(sky, tmp_path, net, path, links):
    """By SODA or whole, by SIA2 or TAP: the very pixels and WCS of the files, cut as the source ``fits`` does."""
    with VoServer(sky.products, links=links) as server:
        cache = run(server, sky, tmp_path / "cache", net, path)
        assert cache.layout.bands == ("g", "r", "i")
        assert cache.layout.units == ("adu", "adu", "adu")
        assert cache.facts["bands"].value["g"]["images"] >= 1
        assert cache.facts["size"].value["arcsec"][0] == 32 * cache.facts["pixel scale"].value["arcsec"][0]
        assert bool(server.count("/soda/sync")) == (links != "none")
        if links == "none":  # each file once
            assert server.count("/data/") - server.count("/data/", "HEAD") <= 6 + 3  # and three looks at headers
    assert_same_pixels(cache, by_fits(sky, tmp_path / "fits"))


def test_provenance_and_zero_points(sky, tmp_path, net):
    with VoServer(sky.products) as server:
        cache = run(server, sky, tmp_path / "cache", net)
        cutout = cache[cache.ids[0]]
        columns = cutout.columns
        assert columns["product_g"].startswith("ivo://test.astroanomaly/obs?sky_tile")
        assert columns["instrument_i"] == "SimCam-i"
        assert columns["address_r"].startswith(f"{server.url}/datalink?ID=")
        assert columns["archive"] == f"{server.url}/sia2"
    assert [columns[f"zero_point_{band}"] for band in "gri"] == [30.0, 30.0, 29.8]
    assert columns["mag_r"] == dict(zip(sky.table["object_id"], sky.table["mag_r"], strict=True))[cache.ids[0]]


def test_a_whole_file_is_fetched_once_for_all_its_objects(sky, tmp_path, net):
    with VoServer(sky.products, soda=False) as server:
        run(server, sky, tmp_path / "cache", net, workers=2)
        fetched = [
            asked.line for asked in server.asked if asked.line.startswith("/data/") and "Range" not in asked.headers
        ]
        assert len(fetched) == len(set(fetched)) == 6
        run(server, sky, tmp_path / "again", net)
        assert len([a for a in server.asked if a.line.startswith("/data/") and "Range" not in a.headers]) == 6
    assert Cache.open(tmp_path / "cache").digest() == Cache.open(tmp_path / "again").digest()


def test_an_angle_becomes_pixels_of_the_archive(sky, tmp_path, net):
    with VoServer(sky.products) as server:
        cache = run(server, sky, tmp_path / "cache", net, size="3.2arcsec", bands=("r",))
    assert (cache.layout.height, cache.layout.width) == (32, 32)
    assert_same_pixels(cache, by_fits(sky, tmp_path / "fits", bands=("r",)))


def test_flux_may_be_stored_in_half_precision(sky, tmp_path, net):
    with VoServer(sky.products) as server:
        whole, half = (run(server, sky, tmp_path / dtype, net, dtype=dtype) for dtype in ("float32", "float16"))
    assert half.layout.dtype == "float16"
    name = whole.ids[0]
    np.testing.assert_allclose(half[name].data, whole[name].data, atol=1e-3 * np.nanmax(np.abs(whole[name].data)))


def test_nothing_but_its_header_tells_the_scale(sky, tmp_path, net):
    """A service that does not list the scale and gives no part of a file."""
    products = [replace(p, more={"s_pixel_scale": None}) for p in sky.products]

    class Plain(VoServer):
        def answer(self, asked):
            return super().answer(replace(asked, headers={}))

    with Plain(products, links="none") as server:
        planned = plan(server, sky, net, size="3.2arcsec", bands=("r",), collection=("SIM",))
    assert planned.layout.height == 32


def plan(server, sky, net, path="sia2", **options):
    options = {"service": f"{server.url}/{path}", "size": "32", "catalog": sky.catalog, "bands": BANDS, **options}
    return SOURCE.plan(Request(()), build(SOURCE.Options, options))


def test_other_pixels_are_resampled_to_a_stored_grid(sky, tmp_path, net):
    with VoServer(sky.products) as server:
        cache = run(server, sky, tmp_path / "cache", net, size="4arcsec", pixel_scale=0.2)
    assert cache.layout.height == 20
    for object_id in list(cache.ids)[:4]:
        cutout = cache[object_id]
        assert abs(pixel_scale_arcsec(cutout.grid) - 0.2) < 1e-6
        assert cutout.grid.wcs.wcs.ctype[0] == "RA---TAN"
        row = sky.table[sky.table["object_id"] == object_id]
        x, y = cutout.wcs.all_world2pix(row["ra"], row["dec"], 0)
        assert abs(x[0] - 9.5) <= 0.5 + 1e-6
        assert abs(y[0] - 9.5) <= 0.5 + 1e-6


def test_bands_on_different_grids_are_aligned(sky, tmp_path, net):
    """The i band is moved by half a pixel: it is resampled to the grid of the first band's pixels."""
    products = []
    for product in sky.products:
        path = shutil.copy(product.path, tmp_path / product.path.name)
        if product.name.endswith("_i"):
            with fits.open(path, mode="update") as hdulist:
                hdulist[0].header["CRPIX1"] += 0.5
        products.append(replace(product, path=tmp_path / product.path.name))
    for soda in (True, False):
        with VoServer(products, soda=soda) as server:
            cache = run(server, sky, tmp_path / f"cache-{soda}", net, bands=("r", "i"))
        assert len(cache) == 24
        cutout = cache[cache.ids[5]]
        assert cutout.coverage.min() > 0.95
        row = sky.table[sky.table["object_id"] == cache.ids[5]]
        x, y = cutout.wcs.all_world2pix(row["ra"], row["dec"], 0)
        assert max(abs(x[0] - 15.5), abs(y[0] - 15.5)) <= 0.51


def test_mixed_pixel_sizes_need_a_scale(sky, tmp_path, net):
    """A product with pixels twice as large is no part of the same cache, unless a scale is given."""
    coarse = tmp_path / "coarse.fits"
    with fits.open(sky.products[1].path) as hdulist:
        header = hdulist[0].header.copy()
        header["CDELT1"], header["CDELT2"] = 2 * header["CDELT1"], 2 * header["CDELT2"]
        fits.PrimaryHDU(hdulist[0].data, header).writeto(coarse)
    products = [sky.products[4], VoProduct("coarse", coarse, *WAVELENGTHS["r"], exposure_s=1.0)]
    with VoServer(products) as server:
        planned = plan(server, sky, net, bands=("r",))
        cache = run(server, sky, tmp_path / "cache", net, bands=("r",))
        reasons = {failure.reason for failure in cache.failures}
        assert reasons == {"the pixels of its image are of another size than those of the first: say --pixel-scale"}
        assert 0 < len(cache) < 24
        both = run(server, sky, tmp_path / "both", net, bands=("r",), pixel_scale=0.1)
    assert len(both) == 24
    assert planned.layout.bands == ("r",)


def test_extensions_are_tiles_and_the_weight_is_none(sky, tmp_path, net):
    """A file of two chips and their weights: every object is cut from the chip it is on."""
    hdus = [fits.PrimaryHDU()]
    for mosaic in (path for path in sky.made.mosaics if path.stem.endswith("_g")):
        with fits.open(mosaic) as hdulist:
            hdus.append(fits.ImageHDU(hdulist[0].data, hdulist[0].header, name=mosaic.stem[:9]))
            hdus.append(fits.ImageHDU(np.ones_like(hdulist[0].data), hdulist[0].header, name="WEIGHT"))
    fits.HDUList(hdus).writeto(tmp_path / "chips.fits")
    around = {"s_region": "POLYGON 149.9 2.0 150.3 2.0 150.3 2.4 149.9 2.4"}
    product = VoProduct("chips", tmp_path / "chips.fits", *WAVELENGTHS["g"], hdu=1, more=around)
    with VoServer([product], soda=False) as server:
        cache = run(server, sky, tmp_path / "cache", net, bands=("g",))
    assert_same_pixels(cache, by_fits(sky, tmp_path / "fits", bands=("g",)))


# -------------------------------------------------------------------------------------------------- which image is it


def test_bands_are_chosen_by_name_range_and_pattern(sky, tmp_path, net):
    with VoServer(sky.products) as server:
        assert plan(server, sky, net, bands=()).layout.bands == ("475nm", "625nm", "770nm")
        assert plan(server, sky, net, bands=("i", "g")).layout.bands == ("i", "g")
        named = plan(server, sky, net, bands=("blue=400..600nm", "red=*_i"))
        assert named.layout.bands == ("blue", "red")
        assert {p["did"][-1] for task in named for p in task.payload.get("products", ())} == {"g", "i"}
        with pytest.raises(
            FootprintError, match=r"no FITS image of any of the 24 positions with --bands K: leave it out"
        ):
            plan(server, sky, net, bands=("K",))


def test_the_name_of_the_filter_counts_more_than_wavelengths():
    said = {"filter": "MegaPrime r.MP9602", "obs_title": "deep field"}
    assert BandChoice(("g", "r")).name_of(said, 400, 500) == "r"
    assert BandChoice(()).name_of({"filter": "F814W"}, None, None) == "F814W"
    assert BandChoice(()).name_of({}, None, None) == "image"
    assert BandChoice(("f814w",)).name_of({"filter": "F814W"}, None, None) == "f814w"
    assert BandChoice(("R",)).name_of({"filter": "r"}, None, None) == ""  # upper and lower case are other filters
    assert BandChoice(("x=*DEEP*",)).name_of(said, None, None) == "x"
    assert BandChoice(("x=0.4..0.5um",)).name_of({}, 430, 450) == "x"
    for wrong, why in (
        ("=a", "expected NAME"),
        ("x=5..4nm", "shorter wavelength first"),
        ("x=4..5kg", "no unit of length"),
    ):
        with pytest.raises(BandError, match=why):
            BandChoice((wrong,))
    with pytest.raises(BandError, match="twice"):
        BandChoice(("g", "g"))


def test_selections_reach_the_service(sky, tmp_path, net):
    with VoServer(sky.products) as server:
        for path in ("sia2", "tap"):
            asked = {"instrument": ("SimCam-g", "SimCam-r"), "collection": ("SIM",)}
            assert plan(server, sky, net, path, bands=(), **asked).layout.bands == ("475nm", "625nm")
        with pytest.raises(FootprintError, match="--collection O'Neill"):
            plan(server, sky, net, "tap", collection=("O'Neill",))


def test_the_deeper_image_is_taken_and_the_next_where_it_is_blank(sky, tmp_path, net):
    """Half of the deeper image has no data: there the other one serves."""
    deep = tmp_path / "deep.fits"
    with fits.open(sky.products[1].path) as hdulist:
        data = hdulist[0].data + 1000
        data[:, : data.shape[1] // 2] = np.nan
        fits.PrimaryHDU(data, hdulist[0].header).writeto(deep)
    product = replace(sky.products[1], name="deep", path=deep, exposure_s=5000.0)
    for soda in (True, False):
        with VoServer([sky.products[1], product], soda=soda) as server:
            cache = run(server, sky, tmp_path / f"cache-{soda}", net, bands=("r",))
        origin = {i: cache[i].columns["product_r"].rpartition("?")[2] for i in cache.ids}
        assert set(origin.values()) == {"deep", sky.products[1].name}
        for object_id, name in origin.items():
            assert (np.nanmedian(cache[object_id].data) > 500) == (name == "deep")


def test_an_object_that_no_image_shows_is_no_coverage(sky, tmp_path, net):
    more = Table({"object_id": ["far", "lost"], "ra": [10.0, np.nan], "dec": [0.0, np.nan]})
    path = tmp_path / "more.ecsv"
    vstack([sky.table, more]).write(path)
    with VoServer(sky.products) as server:
        cache = run(server, sky, tmp_path / "cache", net, catalog=path)
    found = {failure.object_id: failure for failure in cache.failures}
    assert (found["far"].kind, found["far"].reason) == ("no coverage", "the service has no image here")
    assert found["lost"].reason == "no valid position in the catalogue"
    assert len(cache) == 24


def test_a_band_that_has_not_seen_it_is_blank(sky, tmp_path, net):
    products = [p for p in sky.products if p.name != "sky_tile2_i"]
    with VoServer(products) as server:
        cache = run(server, sky, tmp_path / "cache", net, bands=("r", "i"))
    blank = [i for i in cache.ids if cache[i].coverage[1] == 0]
    assert 0 < len(blank) < 24
    assert np.isnan(cache[blank[0]].data[1]).all()
    assert cache[blank[0]].columns["product_i"] == ""


def test_positions_are_searched_for_in_cells(sky, tmp_path, net):
    with VoServer(sky.products) as server:
        plan(server, sky, net)
        assert server.count("POS=CIRCLE+150.") == server.count("/sia2/query") <= 2  # and not 24


def test_a_long_answer_is_asked_for_in_halves(sky, tmp_path, net):
    class Short(VoServer):
        def answer(self, asked):
            radius = float(asked.get("POS").split()[-1]) if asked.get("POS") else 0
            query = {**asked.query, **({"MAXREC": ["2"]} if radius > 0.0125 else {})}
            return super().answer(replace(asked, query=query))

    with Short(sky.products) as server:
        cache = run(server, sky, tmp_path / "cache", net, bands=("r",))
        assert server.count("/sia2/query") > 3
    assert len(cache) == 24


def test_the_same_request_gives_the_same_tasks(sky, tmp_path, net):
    with VoServer(sky.products) as server:
        first, second = list(plan(server, sky, net)), list(plan(server, sky, net))
    assert [task.key for task in first] == [task.key for task in second]
    assert len({task.key for task in first}) == len(first)
    for task in first:
        json.dumps(task.payload)


def test_a_dry_run_says_what_would_be_fetched(sky, tmp_path, net):
    with VoServer(sky.products) as server:
        downloads = plan(server, sky, net, bands=("r",)).downloads
        assert sum(item.requests for item in downloads) == 24
        assert all("(cutouts)" in item.product for item in downloads)
        whole = plan(server, sky, net, bands=("r",), via="whole").downloads
    assert [item.requests for item in whole] == [1, 1]
    assert sum(item.nbytes for item in whole) == sum(
        p.path.stat().st_size for p in sky.products if p.name.endswith("_r")
    )


def test_regions_of_all_kinds():
    ra, dec = np.array([10.0, 10.4, 359.95]), np.array([0.0, 0.0, 0.0])

    def inside(region, **more):
        return signed_distance(Product("d", "b", "u", region=region, **more), ra, dec)

    square = inside("POLYGON ICRS 9.5 -0.5 10.5 -0.5 10.5 0.5 9.5 0.5")
    assert np.allclose(square[:2], [0.5, 0.1], atol=1e-3)
    assert np.allclose(inside("Polygon 9.5 -0.5 10.5 -0.5 10.5 0.5 9.5 0.5"), square)
    assert np.allclose(inside("CIRCLE ICRS 10 0 0.3")[:2], [0.3, -0.1], atol=1e-9)
    assert inside("UNION ICRS (CIRCLE 10 0 0.1 POLYGON 10.3 -0.1 10.5 -0.1 10.5 0.1 10.3 0.1)")[:2].min() > 0
    assert inside("POLYGON 359.9 -0.1 0.1 -0.1 0.1 0.1 359.9 0.1")[2] > 0.04  # across RA = 0
    assert np.allclose(inside("", ra=10.0, dec=0.0, fov_deg=1.0)[:2], [0.5, 0.1], atol=1e-9)
    assert np.isnan(inside("")).all()
    assert np.isnan(inside("NOT SPECIFIED")).all()


# ------------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"service": "ftp://example.org/sia"}, ConfigError, "expected the http or https address"),
        ({"service": "https://me:secret@example.org/sia"}, ConfigError, "holds a password"),
        ({"size": ""}, ConfigError, "the size of the cutouts is missing"),
        ({"size": "big"}, ConfigError, "expected pixels .64. or an angle"),
        ({"min_coverage": 2.0}, ConfigError, "expected 0 to 1"),
        ({"pixel_scale": 0.0}, ConfigError, "more than 0"),
        ({"max_mb": 0.0}, ConfigError, "more than 0"),
        ({"bands": ("g=",)}, BandError, "expected NAME"),
        ({"carry": ("nonsense",)}, CatalogError, "no column 'nonsense' to carry"),
    ],
)
def test_requests_that_make_no_sense(sky, tmp_path, net, options, error, message):
    with VoServer(sky.products) as server, pytest.raises(error, match=message):
        run(server, sky, tmp_path / "cache", net, **options)
    assert not (tmp_path / "cache").exists()


def test_a_password_is_not_repeated(sky, tmp_path, net):
    with VoServer(sky.products) as server, pytest.raises(ConfigError) as caught:
        run(server, sky, tmp_path / "cache", net, service="https://me:secret@example.org/sia")
    assert "secret" not in str(caught.value)


def test_what_is_no_service_says_so(sky, tmp_path, net):
    with VoServer(sky.products) as server:
        with pytest.raises(ConfigError, match=r"states no capabilities.*HTTP 404.*--kind sia2 or --kind tap"):
            run(server, sky, tmp_path / "cache", net, "nothing/here")
        with pytest.raises(
            ConfigError, match=r"neither an SIA version 2 nor a TAP service: it offers .*vosi#availability"
        ):
            run(Soap(sky.products).start(), sky, tmp_path / "cache", net)


class Soap(VoServer):
    def answer(self, asked):
        found = super().answer(asked)
        return replace(found, body=found.body.replace(b"SIA#query-2.0", b"SOAP"))


def test_the_kind_can_be_said(sky, tmp_path, net):
    with VoServer(sky.products) as server:
        plan(server, sky, net, "sia2/query", kind="sia2")
        plan(server, sky, net, "tap", kind="tap")
        assert server.count("capabilities") == 0


def test_via_soda_where_there_is_none(sky, tmp_path, net):
    with VoServer(sky.products, soda=False) as server:
        cache = run(server, sky, tmp_path / "cache", net, via="soda", bands=("r",))
    assert len(cache) == 0
    assert {failure.reason for failure in cache.failures} == {
        "the service offers no cutouts of this image: say --via whole"
    }


def test_a_real_image_through_the_whole_chain(data_folder, tmp_path, net):
    """The HST image of a COSMOS galaxy, by SODA: the pixels of the file."""
    (path,) = sorted((data_folder / "fits" / "hst-acs").glob("*.fits*"))
    with quiet(), fits.open(path) as hdulist:
        number = next(n for n, hdu in enumerate(hdulist) if hdu.is_image and hdu.shape)
        data = hdulist[number].data
        from astropy.wcs import WCS

        wcs = WCS(hdulist[number].header)
    place = wcs.pixel_to_world(271.3, 280.8).icrs  # the WCS itself is FK5
    Table({"object_id": ["galaxy"], "ra": [place.ra.deg], "dec": [place.dec.deg]}).write(tmp_path / "one.csv")
    product = VoProduct("acs", path, 700.0, 960.0, hdu=number)
    with VoServer([product]) as server:
        cache = ingest(
            SOURCE,
            out=tmp_path / "cache",
            service=f"{server.url}/sia2",
            catalog=tmp_path / "one.csv",
            size="40",
            fetch=net,
        )
    cutout = cache["galaxy"]
    assert np.array_equal(cutout.data[0], data[261:301, 252:292].astype(np.float32))


@pytest.mark.remote
def test_a_real_service(tmp_path, net):
    Table({"object_id": ["m51"], "ra": [202.4696], "dec": [47.1952]}).write(tmp_path / "m51.csv")
    cache = ingest(
        SOURCE,
        out=tmp_path / "cache",
        service="https://ws.cadc-ccda.hia-iha.nrc-cnrc.gc.ca/argus",
        catalog=tmp_path / "m51.csv",
        collection=("CFHTMEGAPIPE",),
        bands=("r",),
        size="20arcsec",
        hosts=("*.nrc-cnrc.gc.ca", "*.canfar.net"),
    )
    assert cache["m51"].coverage[0] > 0
