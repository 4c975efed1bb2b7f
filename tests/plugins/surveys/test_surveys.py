"""The sources of single surveys, against local services that speak the surveys' protocols over one known sky."""

import math

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Table

from astroanomaly import BandError, ConfigError, FetchConfig, ingest
from astroanomaly.cutting import tan_grid
from astroanomaly.ingestion.ingest import dry_run
from astroanomaly.ingestion.request import SourceRequest
from astroanomaly_plugins.hips import service as hips_service
from astroanomaly_plugins.surveys.legacy import LegacySource
from astroanomaly_plugins.surveys.panstarrs import PanstarrsSource
from astroanomaly_plugins.surveys.sdss import SdssSource
from astroanomaly_plugins.surveys.skymapper import SkyMapperSource
from servers.hips import HipsServer, HipsSurvey
from servers.surveys import EXPTIME, LegacyServer, PanstarrsServer, SkyMapperServer, SurveySky

SIZE = 24
SOURCES = {"legacy": LegacySource, "panstarrs": PanstarrsSource, "skymapper": SkyMapperSource}
IMAGES = {"legacy": "cutout.fits", "panstarrs": "fitscut.cgi", "skymapper": "get_image"}
LISTS = {"panstarrs": "ps1filenames.py", "skymapper": "siap/dr4/query"}
BANDS = ("g", "r", "i")
NO_WAIT = {"longest_wait_s": 0.02}
PASSING = ("slow", "dropped", "refused", "429", "500", "503", "empty", "html", "truncated")

REASONS = {  # what is said of a trouble that lasts
    "slow": "no answer within 0.5 s",
    "dropped": "the connection broke",
    "refused": "the connection broke",
    "429": "HTTP 429 Too Many Requests",
    "500": "HTTP 500 Internal Server Error: Internal trouble",
    "503": "HTTP 503 Service Unavailable",
    "empty": "an empty answer",
    "html": "a page came instead of",
    "truncated": "cut short",
    "wcs off": "the WCS of the cutout is not at the position that was asked for",
}


@pytest.fixture(scope="module")
def skies():
    one = SurveySky(BANDS, 0.497, turn=3.0)
    return {
        "legacy": SurveySky(BANDS, 0.262),
        "panstarrs": SurveySky(BANDS, 0.25, turn=10.0),
        "skymapper": one,
    }


def served(name, sky):
    if name == "legacy":
        return LegacyServer(sky)
    if name == "panstarrs":
        return PanstarrsServer(sky)
    exposures = {f"short-{band}": (sky, band, 5.0, 1.1) for band in sky.bands}
    return SkyMapperServer(exposures | {f"long-{band}": (sky, band, 100.0, 1.3) for band in sky.bands})


def positions(sky, count=10):
    """Objects well inside, one at the edge, one far away, and one without a position."""
    rng = np.random.default_rng(4)
    x = np.append(rng.uniform(40, 360, count), 399.0)
    y = np.append(rng.uniform(40, 260, count), 150.0)
    ra, dec = sky.places(x, y)
    ids = [*(f"o{k}" for k in range(count)), "edge", "far", "lost"]
    return Table({"object_id": ids, "ra": [*ra, 10.0, np.nan], "dec": [*dec, -40.0, np.nan]})


def run(name, server, table, out, **options):
    net = {"first_wait_s": 0.01, "attempts": 3, "timeout_s": 1, "keep": str(out.parent / "kept")}
    net |= options.pop("fetch", {})
    options = {"size": SIZE, "bands": BANDS, "server": getattr(server, "address", server), "catalog": table, **options}
    return ingest(SOURCES[name](), out=out, fetch=FetchConfig(**net), **options)


def failures(cache):
    return {failure.object_id: failure for failure in cache.failures}


def expected(name, sky, band, row):
    """Pixels of an object as the survey has them."""
    ra, dec = float(row["ra"]), float(row["dec"])
    if name == "legacy":
        return sky.sample(band, tan_grid((ra, dec), 0.262, (SIZE, SIZE)).wcs, SIZE)
    return sky.cut(band, ra, dec, SIZE).data


@pytest.mark.parametrize("name", SOURCES)
def test_cutouts_are_the_surveys_pixels(name, skies, tmp_path):
    sky, table = skies[name], positions(skies[name])
    with served(name, sky) as server:
        cache = run(name, server, table, tmp_path / "cache")
    assert sorted(cache.ids) == sorted([*(f"o{k}" for k in range(10)), "edge"]), failures(cache)
    assert failures(cache)["far"].kind == "no coverage", failures(cache)["far"].reason
    assert failures(cache)["lost"].reason == "no valid position in the catalogue"
    assert cache.bands == BANDS
    rows = {row["object_id"]: row for row in table}
    for object_id in (f"o{k}" for k in range(10)):
        cutout = cache[object_id]
        for number, band in enumerate(BANDS):
            np.testing.assert_allclose(cutout.data[number], expected(name, sky, band, rows[object_id]), rtol=2e-5)
        x, y = cutout.wcs.world_to_pixel(SkyCoord(rows[object_id]["ra"], rows[object_id]["dec"], unit="deg"))
        assert max(abs(x - (SIZE - 1) / 2), abs(y - (SIZE - 1) / 2)) <= 0.5 + 1e-6
    edge = cache["edge"].data[0]
    assert 0.3 < np.isfinite(edge).mean() < 0.7  # what the survey has not seen is NaN, also where zeros came


@pytest.mark.parametrize("name", SOURCES)
def test_what_is_known_of_the_pixels(name, skies, tmp_path):
    with served(name, skies[name]) as server:
        cache = run(name, server, positions(skies[name], 1), tmp_path / "cache")
    about = cache["o0"].columns
    zero_points = {"legacy": 22.5, "panstarrs": 25 + 2.5 * math.log10(EXPTIME), "skymapper": 27.5}
    products = {
        "legacy": "ls-dr10",
        "panstarrs": "rings.v3.skycell.1236.050.stk.r.unconv.fits",
        "skymapper": "long-r",  # of two exposures the longer one
    }
    assert about["zero_point_r"] == pytest.approx(zero_points[name])
    assert about["product_r"] == products[name]
    assert about["archive"] == SOURCES[name].service.title
    assert cache.layout.units == (SOURCES[name].service.unit,) * 3


@pytest.mark.parametrize("name", SOURCES)
def test_requests_are_as_few_as_the_plan_says(name, skies, tmp_path):
    sky = skies[name]
    table = positions(sky)[:10]
    with served(name, sky) as server:
        once, each = SOURCES[name].service.requests
        request = SourceRequest.of(
            SOURCES[name](), options={"size": str(SIZE), "bands": BANDS, "server": server.address, "catalog": table}
        )
        plan = dry_run(request)
        assert server.count() == 0  # planning asks nothing
        assert sum(download.requests for download in plan.downloads) == 10 * (once + 3 * each)
        run(name, server, table, tmp_path / "cache")
        assert server.count() == 10 * (once + 3 * each)
        run(name, server, table, tmp_path / "again")  # of another cache: all is kept
        assert server.count() == 10 * (once + 3 * each)


# --------------------------------------------------------------------------------------------------------- in trouble


@pytest.mark.parametrize(("name", "where"), [*IMAGES.items(), *LISTS.items()])
@pytest.mark.faults
def test_passing_troubles_are_overcome(name, where, skies, tmp_path):
    sky, table = skies[name], positions(skies[name], 2)
    with served(name, sky) as server:
        clean = run(name, server, table, tmp_path / "a" / "cache").digest()
        for kind in PASSING:
            server.misbehave(kind, times=1, where=where)
        cache = run(name, server, table, tmp_path / "b" / "cache", fetch={"timeout_s": 0.5, "attempts": 12, **NO_WAIT})
    assert cache.digest() == clean
    assert set(failures(cache)) == {"far", "lost"}


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.faults
def test_troubles_that_last_lose_nothing_and_are_retried(name, skies, tmp_path):
    """Each object has a trouble of its own, but two: every trouble is a failure with a reason, and only these again."""
    kinds = [*PASSING, "wcs off"]
    sky, table = skies[name], positions(skies[name], len(kinds) + 2)
    with served(name, sky) as server:
        clean = run(name, server, table, tmp_path / "a" / "cache").digest()
        for kind, ra in zip(kinds, table["ra"], strict=False):
            server.misbehave(kind, times=math.inf, where=f"{ra:.7f}")
        quick = {"timeout_s": 0.5, "attempts": 2, **NO_WAIT}
        cache = run(name, server, table, tmp_path / "b" / "cache", fetch=quick)
        assert sorted([*cache.ids, *failures(cache)]) == sorted(table["object_id"])
        failed = [failures(cache)[f"o{k}"] for k in range(len(kinds))]
        assert {failure.kind for failure in failed} == {"failed"}
        for kind, failure in zip(kinds, failed, strict=True):
            assert REASONS[kind] in failure.reason, (kind, failure.reason)
        assert len(cache) == 3  # the other two, and that at the edge
        server.behave()
        before = len(server.asked)
        again = run(name, server, table, tmp_path / "b" / "cache", retry_failed=True)
        good = [f"{ra:.7f}" for ra in table["ra"][len(kinds) : -1]]
        assert not [asked.line for asked in server.asked[before:] if any(ra in asked.line for ra in good)]
    assert set(failures(again)) == {"far", "lost"}
    assert again.digest() == clean


@pytest.mark.parametrize("name", ["panstarrs", "skymapper"])
def test_a_file_of_another_band(name, skies, tmp_path):
    sky, table = skies[name], positions(skies[name], 1)
    with served(name, sky) as server:
        if name == "panstarrs":
            server.misbehave("wrong band", times=math.inf, where=".stk.r.")
        else:
            server.exposures["long-r"] = (sky, "r", 200.0, 1.0)
            sky_of = server.image

            def image(asked):
                answer = sky_of(asked)
                if asked.get("IMAGE") == "long-r":
                    body = answer.body.replace(b"FILTER  = 'r ", b"FILTER  = 'g ")
                    return type(answer)(body, answer.type)
                return answer

            server.image = image
        cache = run(name, server, table, tmp_path / "cache")
    assert "the service that it is r" in failures(cache)["o0"].reason


# ------------------------------------------------------------------------------------------------------------- legacy


def test_inverse_variance_is_carried_beside_each_band(skies, tmp_path):
    sky = skies["legacy"]
    with served("legacy", sky) as server:
        cache = run("legacy", server, positions(sky, 2), tmp_path / "cache", invvar=True)
        assert server.count() == 4  # one for each object with a position
    assert cache.layout.auxiliary == ("g:weight", "r:weight", "i:weight")
    planes = cache.auxiliary_planes("o0")
    assert np.all(planes["r:weight"] == 4.0)
    assert np.nanmin(cache.auxiliary_planes("edge")["g:weight"]) == 0  # no weight where nothing was seen


def test_one_band_comes_as_an_image_and_not_as_a_cube(skies, tmp_path):
    sky, table = skies["legacy"], positions(skies["legacy"], 1)
    with served("legacy", sky) as server:
        cache = run("legacy", server, table, tmp_path / "cache", bands=("r",), invvar=True)
    np.testing.assert_allclose(cache["o0"].data[0], expected("legacy", sky, "r", table[0]), rtol=1e-6)
    assert np.all(cache.auxiliary_planes("o0")["r:weight"] == 4.0)


def test_bands_are_those_of_the_header(skies, tmp_path):
    """The viewer answers with all bands where it does not know one of those asked for."""
    sky = skies["legacy"]
    with served("legacy", sky) as server:
        cache = run("legacy", server, positions(sky, 1), tmp_path / "cache", bands=("g", "r", "z"))
        assert "holds the bands gri, not grz" in failures(cache)["o0"].reason
        server.misbehave("other bands", times=1, where="bands=rg")
        swapped = run("legacy", server, positions(sky, 1)[:1], tmp_path / "swapped", bands=("r", "g"))
        assert "holds the bands gri, not rg" in failures(swapped)["o0"].reason


def test_no_inverse_variance_is_said(skies, tmp_path):
    with served("legacy", skies["legacy"]) as server:
        server.has_invvar = False
        cache = run("legacy", server, positions(skies["legacy"], 1), tmp_path / "cache", invvar=True)
    assert "leave out --invvar" in failures(cache)["o0"].reason


def test_an_answer_that_there_is_no_overlap(skies, tmp_path):
    with served("legacy", skies["legacy"]) as server:
        server.misbehave("no overlap", times=1, where="ra=10.0")
        cache = run("legacy", server, positions(skies["legacy"], 1), tmp_path / "cache")
    assert failures(cache)["far"].reason == "the survey has no image here"
    assert failures(cache)["far"].kind == "no coverage"


def test_other_pixels_are_asked_of_the_service(skies, tmp_path):
    with served("legacy", skies["legacy"]) as server:
        cache = run(
            "legacy", server, positions(skies["legacy"], 1), tmp_path / "cache", size="20arcsec", pixel_scale=0.5
        )
        assert server.count("pixscale=0.5") == server.count() == 3
    assert cache["o0"].data.shape == (3, 40, 40)


# ---------------------------------------------------------------------------------------------------------- skymapper


def test_exposures_on_several_grids_are_put_on_one(tmp_path):
    one, two = SurveySky(("g",), 0.497), SurveySky(("r",), 0.497, turn=20.0)
    with SkyMapperServer({"a": (one, "g", 100.0, 1.0), "b": (two, "r", 100.0, 1.0)}) as server:
        cache = run("skymapper", server, positions(one, 2)[:2], tmp_path / "cache", bands=("g", "r"))
    cutout = cache["o0"]
    assert cutout.data.shape == (2, SIZE, SIZE)
    assert np.isfinite(cutout.data).all()
    scale = np.abs(cutout.wcs.pixel_scale_matrix).max() * 3600
    assert scale == pytest.approx(0.497, rel=1e-4)


def test_a_band_that_no_exposure_shows_is_nan(skies, tmp_path):
    sky = skies["skymapper"]
    with SkyMapperServer({"a": (sky, "g", 100.0, 1.0)}) as server:
        cache = run("skymapper", server, positions(sky, 1)[:1], tmp_path / "cache", bands=("g", "z"))
    assert np.isfinite(cache["o0"].data[0]).all()
    assert np.isnan(cache["o0"].data[1]).all()
    assert cache["o0"].columns["product_z"] == ""


def test_an_address_on_another_host_is_not_asked(skies, tmp_path):
    with served("skymapper", skies["skymapper"]) as server:
        server.misbehave("elsewhere", times=math.inf)
        cache = run("skymapper", server, positions(skies["skymapper"], 1), tmp_path / "cache")
    assert "on another host, data.example.org" in failures(cache)["o0"].reason


# --------------------------------------------------------------------------------------------------------------- sdss


def test_sdss_is_its_hips(tmp_path):
    sky = SurveySky(BANDS, 0.396)
    surveys = {f"CDS/P/SDSS9/{band}": HipsSurvey(((sky.pixels[band], sky.wcs),)) for band in BANDS}
    with HipsServer(surveys) as server:
        cache = ingest(
            SdssSource(),
            out=tmp_path / "cache",
            catalog=positions(sky, 3),
            size=10 * u.arcsec,
            mirror=(server.endpoint,),
            fetch=FetchConfig(first_wait_s=0.01, keep=str(tmp_path / "kept")),
        )
        assert server.count() == 5 * 3
    hips_service._first.clear()
    assert cache.bands == BANDS
    assert cache["o0"].data.shape == (3, 25, 25)
    assert cache["o0"].columns["product_g"] == "CDS/P/SDSS9/g"
    row = positions(sky, 3)[0]
    wcs = tan_grid((row["ra"], row["dec"]), 0.396, (25, 25)).wcs
    np.testing.assert_allclose(cache["o0"].data[1], sky.sample("r", wcs, 25), rtol=1e-6)


# ------------------------------------------------------------------------------------------------------------ options


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("legacy", {"bands": ("g", "q")}, "has no band 'q'"),
        ("legacy", {"bands": ("g", "g")}, "was asked for a band twice"),
        ("legacy", {"size": 5000}, "gives at most 3000"),
        ("legacy", {"layer": "a&b=c"}, "expected a layer"),
        ("legacy", {"pixel_scale": 0.0}, r"expected 0\.05 to 30"),
        ("legacy", {"server": "ftp://host/"}, "expected an http or https address"),
        ("legacy", {"server": "https://me:secret@h.org/"}, r"holds a name or a password[^@]*$"),
        ("skymapper", {"size": "20arcmin"}, "gives at most 1200"),
        ("panstarrs", {"size": ""}, "the size of the cutouts is missing"),
        ("panstarrs", {"inputs": ["a.fits"]}, "panstarrs reads no files"),
    ],
)
def test_what_makes_no_sense_is_refused(name, options, message, skies, tmp_path):
    with served(name, skies[name]) as server:
        inputs = options.pop("inputs", [])
        address = options.pop("server", server.address)
        with pytest.raises((BandError, ConfigError), match=message):
            run(name, address, positions(skies[name], 1), tmp_path / "cache", inputs=inputs, **options)
        assert server.count() == 0
