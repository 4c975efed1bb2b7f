"""The source ``hips``: any HiPS survey through hips2fits, from a local service that speaks its protocol."""

import json
import math
import warnings

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import Angle, Latitude, Longitude
from astropy.io import fits
from astropy.table import QTable, Table
from astropy.wcs import WCS
from PIL import Image

from astroanomaly import Cache, CatalogError, ConfigError, FetchError, Request, ingest
from astroanomaly.config import FetchConfig, build
from astroanomaly.cutting import same_grid, tan_grid
from astroanomaly.fetch import traffic, using
from astroanomaly_plugins.hips import service as hips_service
from astroanomaly_plugins.hips.service import picture
from astroanomaly_plugins.hips.source import HipsSource
from servers.hips import HipsServer, HipsSurvey

SOURCE = HipsSource()
RED, NIR, COLOUR, GREY = "CDS/P/SIM/red", "CDS/P/SIM/NIR", "CDS/P/SIM/color", "CDS/P/SIM/alpha"
CENTRE = (150.1, 2.2)
SCALE = 0.5  # arcsec of the surveys


@pytest.fixture(autouse=True)
def _forget_mirrors():
    yield
    hips_service._first.clear()


def mosaic(shape, seed):
    """A sky of known pixels, and its WCS."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    pixels = 100 * np.sin(x / 7) * np.cos(y / 5) + rng.normal(0, 1, shape)
    wcs = tan_grid(CENTRE, SCALE, shape).wcs
    return pixels.astype(np.float32), wcs


def surveys():
    red, wcs = mosaic((400, 500), 1)
    nir, _ = mosaic((400, 500), 2)
    colour = np.stack([np.clip(plane + 128, 1, 255).astype(np.uint8) for plane in (red, nir, red[::-1])])
    return {
        RED: HipsSurvey(((red, wcs),)),
        NIR: HipsSurvey(((nir[:, :250], wcs[:, :250]),)),  # half of the area
        COLOUR: HipsSurvey(((colour, wcs),)),
    }


@pytest.fixture
def server():
    with HipsServer(surveys()) as started:
        yield started


@pytest.fixture
def net(tmp_path):
    """Fetch quickly, and keep it in a folder of the test."""
    config = FetchConfig(first_wait_s=0.01, attempts=3, timeout_s=2, keep=str(tmp_path / "kept"))
    with using(config):
        yield config


@pytest.fixture
def catalog(tmp_path):
    """Twelve objects on the survey, one of them at its edge, one far away and one without a position."""
    wcs = tan_grid(CENTRE, SCALE, (400, 500)).wcs
    x = np.array([40, 80, 120, 160, 200, 300, 340, 380, 420, 450, 100, 499])
    y = np.array([40, 80, 120, 160, 200, 300, 340, 120, 160, 200, 300, 200])
    ra, dec = wcs.all_pix2world(x, y, 0)
    table = Table(
        {
            "object_id": [f"o{k}" for k in range(len(x))] + ["far", "lost"],
            "ra": [*ra, 10.0, np.nan],
            "dec": [*dec, -40.0, np.nan],
            "mag": np.linspace(18, 22, len(x) + 2),
        }
    )
    path = tmp_path / "positions.ecsv"
    table.write(path)
    return path


def run(server, catalog, out, net, **options):
    options = {"survey": (RED,), "size": "20arcsec", "pixels": 40, "mirror": (server.endpoint,), **options}
    return ingest(SOURCE, out=out, catalog=catalog, fetch=net, **options)


def test_what_was_understood_of_astropys_objects(server, catalog, tmp_path, net):
    table = QTable.read(catalog)
    cache = run(server, table, tmp_path / "c", net, survey=(RED, NIR), size=20 * u.arcsec)
    assert cache.request["options"]["size"] == "20arcsec"
    value = {name: fact.value for name, fact in cache.facts.items()}
    assert value["positions"]["columns"] == ["ra", "dec"]
    assert value["objects"] == {"total": 14, "without_a_valid_position": 1}
    assert [value["bands"][band]["first"] for band in ("red", "NIR")] == [[RED], [NIR]]
    assert value["pixel scale"]["arcsec"] == [0.5, 0.5]
    assert value["size"] == {"pixels": [40, 40], "arcsec": [20, 20]}
    with pytest.raises(ConfigError, match="size: int 20 cannot be taken as an angle"):
        run(server, table, tmp_path / "d", net, size=20)


def failures(cache):
    return {failure.object_id: failure for failure in cache.failures}


# ------------------------------------------------------------------------------------------------------- the protocol


def test_the_server_satisfies_the_real_client(server):
    from astroquery.hips2fits import hips2fitsClass

    client = hips2fitsClass()
    client.server, client.timeout = server.endpoint, 5
    grid = tan_grid(CENTRE, SCALE, (30, 40))
    with client.query_with_wcs(RED, grid.wcs) as hdulist:
        assert hdulist[0].data.shape == (30, 40)
        assert hdulist[0].data.dtype == ">f4"
        assert "From HiPS CDS/P/SIM/red" in str(hdulist[0].header["HISTORY"])
    with client.query_with_wcs(COLOUR, grid.wcs) as hdulist:
        assert hdulist[0].data.shape == (3, 30, 40)
        colours = hdulist[0].data
    png = client.query_with_wcs(COLOUR, grid.wcs, format="png")
    assert np.array_equal(np.moveaxis(png[::-1], -1, 0), colours)  # the first row of a picture is the northernmost
    jpg = client.query_with_wcs(COLOUR, grid.wcs, format="jpg")
    assert np.abs(jpg.astype(float) - png).mean() < 20
    asked = {"width": 40, "height": 30, "projection": "TAN", "fov": Angle(20, "arcsec")}
    with client.query(RED, ra=Longitude(CENTRE[0], "deg"), dec=Latitude(CENTRE[1], "deg"), **asked) as hdulist:
        assert hdulist[0].data.shape == (30, 40)
    with pytest.raises(AttributeError, match="No HiPS corresponds to the given keyword: CDS/P/none"):
        client.query_with_wcs("CDS/P/none", grid.wcs)


# --------------------------------------------------------------------------------------------------------------- flux


def test_flux_comes_on_the_grid_that_is_stored(server, catalog, tmp_path, net):
    cache = run(server, catalog, tmp_path / "cache", net)
    assert cache.layout.bands == ("red",)
    assert cache.layout.pixel_kind == "flux"
    assert set(cache.ids) == {f"o{k}" for k in range(12)}
    pixels, wcs = surveys()[RED].mosaics[0]
    table = Table.read(catalog)
    for row in table[:11]:
        cutout = cache[row["object_id"]]
        assert same_grid(cutout.grid, tan_grid((row["ra"], row["dec"]), 0.5, (40, 40)))
        ra, dec = cutout.wcs.all_pix2world([19.5], [19.5], 0)  # the middle is the position
        assert np.hypot((ra[0] - row["ra"]) * math.cos(math.radians(2.2)), dec[0] - row["dec"]) * 3600 < 1e-6
        x, y = (round(float(value)) for value in wcs.all_world2pix(*cutout.wcs.all_pix2world(25, 8, 0), 0))
        assert cutout.data[0, 8, 25] == pixels[y, x]
        assert cutout.columns["mag"] == row["mag"]
        assert cutout.columns["product_red"] == RED
    edge = cache["o11"]
    assert 0.4 < edge.coverage[0] < 0.6
    assert np.isnan(edge.data[0]).any()


def test_flux_may_be_stored_in_half_precision(server, catalog, tmp_path, net):
    whole, half = (run(server, catalog, tmp_path / dtype, net, dtype=dtype) for dtype in ("float32", "float16"))
    assert half.layout.dtype == "float16"
    np.testing.assert_allclose(half["o0"].data, whole["o0"].data, atol=1e-3 * np.nanmax(np.abs(whole["o0"].data)))


def test_nothing_there_is_no_coverage_and_final(server, catalog, tmp_path, net):
    found = failures(run(server, catalog, tmp_path / "cache", net))
    assert found["far"].kind == "no coverage"
    assert "no data here" in found["far"].reason
    assert found["lost"].reason == "no valid position in the catalogue"


def test_surveys_are_bands_and_one_that_has_not_seen_it_is_blank(server, catalog, tmp_path, net):
    cache = run(server, catalog, tmp_path / "cache", net, survey=(RED, NIR), bands=("r", "nir"))
    assert cache.layout.bands == ("r", "nir")
    left, right = cache["o0"], cache["o8"]
    assert left.coverage.min() == 1
    assert list(right.coverage) == [1, 0]
    assert np.isnan(right.data[1]).all()


def test_a_survey_of_whole_numbers_and_padding(server, catalog, tmp_path, net):
    """Zero everywhere, or along an edge, is no data; other values are linear flux with the unit of the header."""
    pixels, wcs = mosaic((400, 500), 3)
    padded = np.where(np.arange(500) < 150, 0, pixels).astype(np.float32)
    server.surveys[RED] = HipsSurvey(((padded, wcs),))
    cache = run(server, catalog, tmp_path / "cache", net)
    assert failures(cache)["o0"].kind == "no coverage"
    assert 0 < cache["o3"].coverage[0] < 1


def test_each_image_is_asked_for_once(server, catalog, tmp_path, net):
    before = traffic()
    run(server, catalog, tmp_path / "cache", net)
    assert server.count("hips2fits") == 13  # also to find out what the survey holds
    run(server, catalog, tmp_path / "again", net)
    assert server.count("hips2fits") == 13
    assert (traffic() - before).cached >= 14
    first, second = Cache.open(tmp_path / "cache"), Cache.open(tmp_path / "again")
    assert first.digest() == second.digest()


def test_said_kind_needs_no_image_to_plan(server, catalog, net):
    options = build(SOURCE.Options, {"survey": (RED,), "catalog": catalog, "size": "20arcsec", "kind": "flux"})
    planned = SOURCE.plan(Request(()), options)
    assert planned.layout.bands == ("red",)
    assert server.count() == 0
    assert [(item.product, item.requests) for item in planned.downloads] == [(RED, 13)]
    assert planned.downloads[0].nbytes == 13 * (64 * 64 * 4 + 5760)
    json.dumps([task.payload for task in planned])


def test_neighbours_are_asked_for_after_one_another(tmp_path, net):
    rng = np.random.default_rng(0)
    table = Table({"ra": rng.uniform(0, 360, 600), "dec": np.degrees(np.arcsin(rng.uniform(-1, 1, 600)))})
    table.write(tmp_path / "all.csv")
    options = {"survey": (RED,), "catalog": tmp_path / "all.csv", "size": "20arcsec", "kind": "flux"}
    tasks = list(SOURCE.plan(Request(()), build(SOURCE.Options, options)))
    assert sum(len(task) for task in tasks) == 600
    assert sorted(i for task in tasks for i in task.table["id"]) == sorted(f"row-{k:06d}" for k in range(1, 601))
    dec = np.concatenate([task.table["dec"] for task in tasks])
    assert (np.diff(np.floor(dec)) >= 0).all()


# ------------------------------------------------------------------------------------------------------------- colour


@pytest.mark.parametrize("form", ["fits", "png", "jpg"])
def test_colours_are_display_pixels_with_their_wcs(server, catalog, tmp_path, net, form):
    cache = run(server, catalog, tmp_path / form, net, survey=(COLOUR,), form=form)
    assert cache.layout.bands == ("R", "G", "B")
    assert (cache.layout.pixel_kind, cache.layout.dtype) == ("display", "uint8")
    cutout = cache["o2"]
    pixels, wcs = surveys()[COLOUR].mosaics[0]
    x, y = (round(float(value)) for value in wcs.all_world2pix(*cutout.wcs.all_pix2world(25, 8, 0), 0))
    far = 0 if form != "jpg" else 60
    assert np.abs(cutout.data[:, 8, 25].astype(int) - pixels[:, y, x]).max() <= far
    assert failures(cache)["far"].kind == "no coverage"


def test_a_picture_may_say_what_is_covered(server, catalog, tmp_path, net):
    """PNG tiles have a fourth plane: 0 where the survey has nothing."""
    colour, wcs = surveys()[COLOUR].mosaics[0]
    alpha = np.full((1, 400, 500), 255, np.uint8)
    alpha[:, :, :120] = 0

    class Four(HipsServer):
        def answer(self, asked):
            name = asked.get("hips")
            found = super().answer(asked)
            if name != GREY:
                return found
            with fits.open(_stream(found.body)) as hdulist:
                shown = HipsSurvey(((np.concatenate([alpha] * 3), wcs),)).sample(
                    WCS(hdulist[0].header, naxis=2), 40, 40
                )
                return type(found)(
                    _whole(np.concatenate([hdulist[0].data, shown[:1]]), hdulist[0].header), "image/fits"
                )

    with Four({GREY: HipsSurvey(((colour, wcs),))}) as four:
        cache = run(four, catalog, tmp_path / "cache", net, survey=(GREY,))
    assert failures(cache)["o0"].kind == "no coverage"
    assert 0.4 < cache["o2"].coverage[0] < 0.6
    assert cache["o5"].coverage[0] == 1


def _stream(body):
    import io

    return io.BytesIO(body)


def _whole(pixels, header):
    import io

    stream = io.BytesIO()
    fits.PrimaryHDU(pixels, header).writeto(stream)
    return stream.getvalue()


def test_only_the_picture_that_was_asked_for_is_decoded(tmp_path):
    """PostScript would be drawn by another program, and a huge picture takes memory before its size is compared."""
    postscript = tmp_path / "a.png"
    postscript.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n")
    with pytest.raises(FetchError, match="the answer is no picture"):
        picture(postscript, "it", (8, 8))
    large = tmp_path / "b.png"
    Image.new("1", (9_000, 9_000)).save(large)
    large.write_bytes(large.read_bytes()[:200])  # whatever decodes it finds it cut short
    with pytest.raises(FetchError, match="the picture has 9000 x 9000 pixels, 8 x 4 were asked for"):
        picture(large, "it", (4, 8))


def test_colours_stand_alone(server, catalog, tmp_path, net):
    with pytest.raises(ConfigError, match="a colour survey is a cache of its own"):
        run(server, catalog, tmp_path / "cache", net, survey=(RED, COLOUR))


def test_colours_where_flux_was_said_are_failures(server, catalog, tmp_path, net):
    cache = run(server, catalog, tmp_path / "cache", net, survey=(COLOUR,), kind="flux")
    assert len(cache) == 0
    assert {failure.reason for failure in cache.failures if failure.object_id != "lost"} == {
        f"{COLOUR} gave colours: see --kind"
    }


# ------------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"survey": ()}, "the survey is missing: --survey ID"),
        ({"size": "20"}, "expected an angle with its unit, as in 30arcsec"),
        ({"pixels": 0}, "pixels=0: expected 1 to 4096"),
        ({"bands": ("a", "b")}, "2 names in bands=a,b for 1 surveys"),
        ({"form": "png", "kind": "flux"}, "the service would stretch each picture by itself"),
        ({"mirror": ("file:///etc/passwd",)}, "expected the address of a hips2fits service"),
        ({"survey": (RED, RED)}, "two surveys are the same"),
    ],
)
def test_requests_that_make_no_sense(server, catalog, tmp_path, net, options, message):
    with pytest.raises(ConfigError, match=message):
        run(server, catalog, tmp_path / "cache", net, **options)
    assert not (tmp_path / "cache").exists()


def test_a_survey_that_is_not_there(server, catalog, tmp_path, net):
    with pytest.raises(FetchError, match=r"CDS/P/none holds could not be found out.*No HiPS corresponds.*identifier"):
        run(server, catalog, tmp_path / "cache", net, survey=("CDS/P/none",))
    assert server.count() == 5  # a few positions, and none of them twice: it is not worth another try


def test_pixel_positions_are_no_sky_positions(server, tmp_path, net):
    path = tmp_path / "pixels.csv"
    Table({"x": [1.0], "y": [2.0]}).write(path)
    with pytest.raises(CatalogError, match="an archive is asked by sky positions"):
        run(server, path, tmp_path / "cache", net)


def test_default_mirrors_are_those_of_astroquery():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from astroquery.hips2fits import conf

    assert hips_service.mirrors(()) == hips_service.MIRRORS
    with conf.set_temp("server", hips_service.MIRRORS[1]):
        assert hips_service.mirrors(()) == hips_service.MIRRORS[::-1]


@pytest.mark.remote
def test_the_real_service(catalog, tmp_path, net):
    table = Table({"object_id": ["m51"], "ra": [202.4696], "dec": [47.1952]})
    table.write(tmp_path / "m51.csv")
    cache = ingest(
        SOURCE,
        out=tmp_path / "cache",
        catalog=tmp_path / "m51.csv",
        survey=("CDS/P/DSS2/red",),
        size="10arcmin",
        pixels=100,
    )
    assert cache["m51"].coverage[0] == 1
