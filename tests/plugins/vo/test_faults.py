"""The sources ``vo`` and ``hips`` while services misbehave: what the user sees, and that nothing is lost."""

import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from astroanomaly import BandError, Cache, ConfigError, FetchError, FootprintError, ingest
from astroanomaly.config import FetchConfig
from astroanomaly.cutting import tan_grid
from astroanomaly_plugins.hips import service as hips_service
from astroanomaly_plugins.hips.source import HipsSource
from astroanomaly_plugins.vo.source import VoSource
from servers.base import Answer
from servers.hips import HipsServer, HipsSurvey
from servers.vo import VoServer
from servers.vo_sky import make_sky

pytestmark = pytest.mark.faults

PASSING = ("slow", "dropped", "refused", "429", "500", "503", "empty", "html", "truncated")
REASONS = {  # what is said of a trouble that lasts
    "slow": "no answer within 1 s",
    "dropped": "the connection broke",
    "refused": "the connection broke",
    "429": "HTTP 429 Too Many Requests",
    "500": "HTTP 500 Internal Server Error: Internal trouble",
    "503": "HTTP 503 Service Unavailable",
    "empty": "an empty answer",
    "html": "a page came instead of FITS: Scheduled maintenance The archive is back on Monday.",
    "truncated": "the FITS file is cut short",
    "votable error": "states an error: the query took too long",
    "wrong band": "the file says that it is band g, the service that it is r",
    "wcs off": "the WCS of the cutout is not at the position that was asked for",
}


@pytest.fixture(scope="module")
def sky(tmp_path_factory):
    return make_sky(tmp_path_factory.mktemp("vo"), n_objects=8)


@pytest.fixture(autouse=True)
def _forget_mirrors():
    yield
    hips_service._first.clear()


def net(folder, **more):
    return FetchConfig(**{"first_wait_s": 0.01, "attempts": 3, "timeout_s": 1, "keep": str(folder / "kept"), **more})


def run(server, sky, out, path="sia2", *, folder=None, retry_failed=False, config=None, **options):
    """Ingest; ``folder`` is where things are kept."""
    options = {"service": f"{server.url}/{path}", "size": "24", "catalog": sky.catalog, "bands": ("r",), **options}
    config = config or net(folder or out.parent)
    return ingest(VoSource(), out=out, fetch=config, retry_failed=retry_failed, **options)


def assert_complete(cache, count=8):
    """Every object is accounted for once."""
    failed = [failure.object_id for failure in cache.failures]
    assert len(cache) + len(failed) == count
    assert not set(cache.ids) & set(failed)


# ----------------------------------------------------------------------------------------------------- vo: on the way


@pytest.mark.parametrize("kind", PASSING)
@pytest.mark.parametrize("where", ["capabilities", "/sia2/query", "/datalink", "/soda/sync"])
def test_a_passing_trouble_is_overcome(sky, tmp_path, kind, where):
    if where == "capabilities" and kind in ("empty", "html", "truncated"):
        pytest.skip("a document that is none says that the address is no service: see the next test")
    with VoServer(sky.products) as server:
        clean = run(server, sky, tmp_path / "clean", folder=tmp_path / "a").digest()
        server.misbehave(kind, times=1, where=where)
        cache = run(server, sky, tmp_path / "cache", folder=tmp_path / "b")
        assert cache.digest() == clean
        assert not cache.failures


@pytest.mark.parametrize("kind", ["empty", "html", "truncated"])
def test_capabilities_that_are_none(sky, tmp_path, kind):
    with VoServer(sky.products) as server:
        server.misbehave(kind, times=math.inf, where="capabilities")
        with pytest.raises(ConfigError, match="--kind sia2 or --kind tap"):
            run(server, sky, tmp_path / "cache")
        assert not (tmp_path / "cache").exists()
        assert len(run(server, sky, tmp_path / "cache", "sia2/query", kind="sia2")) == 8


@pytest.mark.parametrize("kind", [*PASSING, "votable error", "wrong band", "wcs off"])
def test_cutouts_that_fail_for_good_are_failures_and_retried(sky, tmp_path, kind):
    """One tile's cutouts fail for ever: its objects say why; the others are cut; later, only those are asked for."""
    with VoServer(sky.products) as server:
        clean = run(server, sky, tmp_path / "clean", folder=tmp_path / "a").digest()
        server.misbehave(kind, times=math.inf, where="/soda/sync?ID=ivo%3A%2F%2Ftest.astroanomaly%2Fobs%3Fsky_tile2_r")
        cache = run(server, sky, tmp_path / "cache", folder=tmp_path / "b")
        assert_complete(cache)
        assert len(cache) > 0
        assert len(cache.failures) > 0
        assert {failure.kind for failure in cache.failures} == {"failed"}
        reasons = {failure.reason for failure in cache.failures}
        assert len(reasons) == 1  # so that they can be counted
        assert REASONS[kind] in reasons.pop()
        server.behave()
        asked, failed = server.count("/soda/sync"), len(cache.failures)
        again = run(server, sky, tmp_path / "cache", folder=tmp_path / "b", retry_failed=True)
        assert server.count("/soda/sync") == asked + failed  # none of the others
        assert not again.failures
        assert again.digest() == clean


@pytest.mark.parametrize("kind", [*PASSING, "votable error", "wrong band"])
def test_whole_files_that_fail_for_good_are_failures_and_retried(sky, tmp_path, kind):
    with VoServer(sky.products, soda=False) as server:
        clean = run(server, sky, tmp_path / "clean", folder=tmp_path / "a").digest()
        server.misbehave(kind, times=math.inf, where="/data/sky_tile2_r")
        cache = run(server, sky, tmp_path / "cache", folder=tmp_path / "b")
        assert_complete(cache)
        assert len(cache) > 0
        assert len({failure.reason for failure in cache.failures}) == 1
        server.behave()
        fetched = server.count("/data/sky_tile1_r")
        again = run(server, sky, tmp_path / "cache", folder=tmp_path / "b", retry_failed=True)
        assert server.count("/data/sky_tile1_r") == fetched
        assert again.digest() == clean


def test_a_whole_file_of_another_area(sky, tmp_path):
    """Its WCS is not where the service says: an error, not a survey without coverage."""
    moved = tmp_path / "moved.fits"
    shutil.copy(sky.products[1].path, moved)
    with fits.open(moved, mode="update") as hdulist:
        hdulist[0].header["CRVAL1"] += 1

    class Moved(VoServer):
        def answer(self, asked):
            if asked.path == "/data/sky_tile1_r" and self.due("wcs off", asked):
                return Answer(moved.read_bytes(), "application/fits")
            return super().answer(asked)

    with Moved(sky.products, soda=False) as server:
        server.misbehave("wcs off", times=math.inf)
        cache = run(server, sky, tmp_path / "cache")
        assert {f.reason.partition(" (")[0] for f in cache.failures} == {
            "the WCS of the file is not of the area that the service states"
        }
        server.behave()
        again = run(server, sky, tmp_path / "cache", retry_failed=True)
        assert (len(again), len(again.failures)) == (8, 0)


def test_a_plan_that_breaks_off_goes_on_where_it_was(sky, tmp_path):
    """A search fails for ever: the run ends with the reason; what was answered before is not asked for again."""
    far = Table({"object_id": ["far", "further"], "ra": [10.0, 20.0], "dec": [-10.0, -20.0]})
    from astropy.table import vstack

    path = tmp_path / "more.ecsv"
    vstack([sky.table, far]).write(path)
    with VoServer(sky.products) as server:
        server.misbehave("500", times=math.inf, where="CIRCLE+10.")
        with pytest.raises(FetchError, match=r"the images around RA 10\.00000.*HTTP 500.*tried 3 times"):
            run(server, sky, tmp_path / "cache", catalog=path)
        assert not (tmp_path / "cache").exists()
        server.behave()
        before = {asked.line for asked in server.asked if "sia2/query" in asked.line and "CIRCLE+10." not in asked.line}
        cache = run(server, sky, tmp_path / "cache", catalog=path)
        assert (len(cache), len(cache.failures)) == (8, 2)
        for line in before:
            assert server.count(line) == 1


@pytest.mark.parametrize("path", ["sia2", "tap"])
def test_an_error_that_the_service_states_is_told_at_once(sky, tmp_path, path):
    with VoServer(sky.products) as server:
        endpoint = "/sia2/query" if path == "sia2" else "/tap/sync"
        server.misbehave("votable error", times=math.inf, where=endpoint)
        with pytest.raises(FetchError, match="states an error: the query took too long"):
            run(server, sky, tmp_path / "cache", path)
        assert server.count(endpoint) == 1


def test_products_listed_twice_are_one(sky, tmp_path):
    with VoServer(sky.products) as server:
        clean = run(server, sky, tmp_path / "clean", folder=tmp_path / "a").digest()
        server.misbehave("duplicate products", times=math.inf)
        asked = server.count("/soda/sync")
        assert run(server, sky, tmp_path / "cache", folder=tmp_path / "b").digest() == clean
        assert server.count("/soda/sync") == 2 * asked


def test_a_header_of_another_band_can_be_overruled(sky, tmp_path):
    """Some headers are wrong, as those of the SDSS: the service is believed if the user says so."""
    path = tmp_path / "wrong.fits"
    shutil.copy(sky.products[1].path, path)
    with fits.open(path, mode="update") as hdulist:
        hdulist[0].header["FILTER"] = "g"
    products = [replace(sky.products[1], path=path)]
    with VoServer(products) as server:
        cache = run(server, sky, tmp_path / "cache")
        assert len(cache) == 0
        wrong = (
            "the file says that it is band g, the service that it is r: where the service is right, say --no-check-band"
        )
        assert any(wrong in failure.reason for failure in cache.failures)
        believed = run(server, sky, tmp_path / "believed", check_band=False)
        assert len(believed) > 0


def test_no_pixel_there_is_no_coverage_and_no_error(sky, tmp_path):
    """SODA answers 204 where a product has nothing, though its region says otherwise."""
    wide = "POLYGON 149.9 2.0 150.3 2.0 150.3 2.4 149.9 2.4"
    far = Table({"object_id": ["near"], "ra": [150.2], "dec": [2.3]})
    from astropy.table import vstack

    path = tmp_path / "more.ecsv"
    vstack([sky.table, far]).write(path)
    with VoServer([replace(p, more={"s_region": wide}) for p in sky.products]) as server:
        cache = run(server, sky, tmp_path / "cache", catalog=path)
    found = {failure.object_id: failure for failure in cache.failures}
    assert (found["near"].kind, found["near"].reason) == ("no coverage", "the service has no pixels here")
    assert len(cache) == 8


def test_a_fifth_of_all_requests_fails_and_nothing_is_lost(sky, tmp_path):
    with VoServer(sky.products) as server:
        clean = run(server, sky, tmp_path / "clean", folder=tmp_path / "a", bands=("g", "r", "i")).digest()
        for seed, kind in enumerate(("dropped", "500", "truncated", "html", "refused")):
            server.misbehave(kind, times=math.inf, where="/soda", share=0.08, seed=seed)
        config = net(tmp_path / "b", attempts=2)
        cache = run(server, sky, tmp_path / "cache", bands=("g", "r", "i"), config=config)
        assert_complete(cache)
        for _ in range(20):
            if not Cache.open(tmp_path / "cache").failures:
                break
            run(server, sky, tmp_path / "cache", bands=("g", "r", "i"), config=config, retry_failed=True)
        assert Cache.open(tmp_path / "cache").digest() == clean


# ------------------------------------------------------------------------------------------------------- vo: malicious


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("file:///etc/passwd", "names a file address for the data; only http and https are fetched"),
        ("ftp://127.0.0.1/image.fits", "names a ftp address"),
        ("/etc/passwd", "names a local address"),
        ("gopher://127.0.0.1/1", "names a gopher address"),
        ("http://169.254.169.254/latest/meta-data", "on another host, 169.254.169.254: allow it with --hosts"),
        ("https://data.example.org/image.fits", "on another host, data.example.org: allow it with --hosts"),
        ("http://127.0.0.1@data.example.org/image.fits", "names an address with a password"),
        ("http://[::1/image.fits", "no readable address"),
        ("http://127.0.0.1.example.org/x", "on another host, 127.0.0.1.example.org"),
    ],
)
@pytest.mark.parametrize("links", ["datalink", "none"])
def test_addresses_elsewhere_are_not_fetched(sky, tmp_path, url, reason, links):
    """Whether in the table or in the datalink document."""
    products = [replace(p, access_url=url) for p in sky.products]

    class Through(VoServer):  # the table leads to our datalink document, and that to the address
        def _row(self, product):
            return super()._row(replace(product, access_url="") if links == "datalink" else product)

    with Through(products, soda=False, links=links) as server:
        with pytest.raises(ConfigError) as caught:
            run(server, sky, tmp_path / "cache")
        assert not server.count("/data/")
    assert reason in str(caught.value)
    assert not (tmp_path / "cache").exists()
    products = [replace(p, access_url=url if "tile2" in p.name else "") for p in sky.products]
    with Through(products, soda=False, links=links) as server:
        cache = run(server, sky, tmp_path / "cache")
        assert not server.count("/data/sky_tile2")
    assert_complete(cache)
    assert len(cache) > 0
    assert all(reason in failure.reason for failure in cache.failures), cache.failures[0].reason


def test_another_host_may_be_allowed(sky, tmp_path):
    """The images lie on a server of another name; also a redirect leads there."""
    with VoServer(sky.products) as data:

        class Elsewhere(VoServer):
            def answer(self, asked):
                if asked.path.startswith("/data/"):
                    return Answer(status=302, headers={"Location": f"http://localhost:{data.port}{asked.path}"})
                return super().answer(asked)

        with Elsewhere(sky.products, soda=False) as server:
            cache = run(server, sky, tmp_path / "refused")
            assert {f.reason.partition(" (")[0] for f in cache.failures} == {
                "the data are on another host, localhost: allow it with --hosts localhost"
            }
            assert data.count() == 0
            cache = run(server, sky, tmp_path / "allowed", hosts=("local*",))
            assert (len(cache), len(cache.failures)) == (8, 0)


def test_a_redirect_to_a_file_is_not_followed(sky, tmp_path):
    class Trap(VoServer):
        def answer(self, asked):
            if asked.path.startswith("/data/"):
                return Answer(status=302, headers={"Location": "file:///etc/passwd"})
            return super().answer(asked)

    with Trap(sky.products, soda=False) as server:
        cache = run(server, sky, tmp_path / "cache")
    assert len(cache) == 0
    assert "names a file address" in cache.failures[0].reason


def test_cutouts_elsewhere_fall_back_to_the_whole_file(sky, tmp_path):
    with VoServer(sky.products) as server:
        server.soda_url = "http://data.example.org/soda"
        cache = run(server, sky, tmp_path / "cache")
        assert len(cache) == 8
        with pytest.raises(ConfigError, match=r"on another host, data\.example\.org: allow it with --hosts"):
            run(server, sky, tmp_path / "soda", via="soda")


def test_downloads_are_bounded(sky, tmp_path):
    with VoServer(sky.products, soda=False) as server:
        cache = run(server, sky, tmp_path / "cache", max_mb=0.01)
    assert len(cache) == 0
    assert "the answer has more than 0.01 MB: that was not asked for" in cache.failures[0].reason


BOMB = b"""<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "ha">
<!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">
<!ENTITY d "&c;&c;&c;&c;&c;&c;&c;&c;&c;&c;"><!ENTITY e "&d;&d;&d;&d;&d;&d;&d;&d;&d;&d;">
<!ENTITY f "&e;&e;&e;&e;&e;&e;&e;&e;&e;&e;"><!ENTITY g "&f;&f;&f;&f;&f;&f;&f;&f;&f;&f;">
<!ENTITY h "&g;&g;&g;&g;&g;&g;&g;&g;&g;&g;"><!ENTITY i "&h;&h;&h;&h;&h;&h;&h;&h;&h;&h;">]>
<VOTABLE version="1.4"><RESOURCE type="results"><INFO name="QUERY_STATUS" value="OK">&i;</INFO></RESOURCE></VOTABLE>"""
LEAK = b"""<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]>
<VOTABLE version="1.4"><RESOURCE type="results"><INFO name="QUERY_STATUS" value="ERROR">said &a;</INFO></RESOURCE>
</VOTABLE>"""
NO_TABLE = b"""<?xml version="1.0"?><VOTABLE version="1.4"><RESOURCE type="results">
<INFO name="QUERY_STATUS" value="OK"/></RESOURCE></VOTABLE>"""
NOT_OBSCORE = b"""<?xml version="1.0"?><VOTABLE version="1.4"><RESOURCE type="results"><INFO name="QUERY_STATUS"
value="OK"/><TABLE><FIELD name="a" datatype="int"/><DATA><TABLEDATA><TR><TD>1</TD></TR></TABLEDATA></DATA></TABLE>
</RESOURCE></VOTABLE>"""


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (BOMB, FetchError, "defines XML entities"),
        (LEAK, FetchError, "defines XML entities"),
        (NO_TABLE, FetchError, "no table of images"),
        (NOT_OBSCORE, FootprintError, "no FITS image of any of the 8 positions"),
        (b"VOTABLE" * 100, FetchError, "VOTable"),
    ],
    ids=["bomb", "leak", "no table", "another table", "no XML"],
)
def test_hostile_and_strange_tables(sky, tmp_path, content, error, message):
    class Hostile(VoServer):
        def answer(self, asked):
            return Answer(content, "text/xml") if asked.path == "/sia2/query" else super().answer(asked)

    with Hostile(sky.products) as server, pytest.raises(error, match=message) as caught:
        run(server, sky, tmp_path / "cache", bands=())
    import socket

    assert socket.gethostname() not in str(caught.value)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    "content", [BOMB, NO_TABLE, b"<VOTABLE>", b"nothing"], ids=["bomb", "no table", "open", "text"]
)
def test_a_strange_datalink_document_fails_its_objects_only(sky, tmp_path, content):
    class Hostile(VoServer):
        def answer(self, asked):
            strange = asked.path == "/datalink" and "sky_tile2_r" in asked.line
            return Answer(content, "text/xml") if strange else super().answer(asked)

    with Hostile(sky.products) as server:
        cache = run(server, sky, tmp_path / "cache")
    assert_complete(cache)
    assert len(cache) > 0
    assert len(cache.failures) > 0


def test_an_image_of_another_kind_than_said(sky, tmp_path):
    """A cube, and a table, where an image is due."""
    for name, hdu in (
        ("cube", fits.PrimaryHDU(np.zeros((3, 20, 20), np.float32))),
        ("table", fits.BinTableHDU.from_columns([fits.Column("a", "D", array=np.zeros(3))])),
    ):
        path = tmp_path / f"{name}.fits"
        hdu.writeto(path)

        class Odd(VoServer):
            strange = path

            def answer(self, asked):
                whole = asked.path.startswith("/data/")
                return Answer(self.strange.read_bytes(), "application/fits") if whole else super().answer(asked)

        with Odd(sky.products, soda=False) as server:
            cache = run(server, sky, tmp_path / f"cache-{name}", folder=tmp_path / f"kept-{name}")
        assert len(cache) == 0
        assert "holds no image with a WCS" in cache.failures[0].reason


# ---------------------------------------------------------------------------------------------------------------- hips


SURVEYS = ("CDS/P/SIM/red", "CDS/P/SIM/NIR")
HIPS_REASONS = {
    "wrong band": "the image is of the survey CDS/P/SIM/NIR, not of CDS/P/SIM/red: give the full identifier",
    "wcs off": "the WCS of the image is not the one that was asked for",
    "no such projection": "the WCS of the image cannot be understood",
}


@pytest.fixture(scope="module")
def surveys():
    wcs = tan_grid((150.1, 2.2), 0.5, (300, 300)).wcs
    rng = np.random.default_rng(0)
    return {name: HipsSurvey(((rng.normal(0, 1, (300, 300)).astype(np.float32), wcs),)) for name in SURVEYS}


@pytest.fixture
def positions(tmp_path):
    wcs = tan_grid((150.1, 2.2), 0.5, (300, 300)).wcs
    x = np.linspace(60, 240, 10)
    ra, dec = wcs.all_pix2world(x, x, 0)
    path = tmp_path / "positions.csv"
    Table({"object_id": [f"o{k}" for k in range(10)], "ra": ra, "dec": dec}).write(path)
    return path


def address_of(positions, row):
    """The part of a request that names an object's position."""
    return f"{Table.read(positions)['ra'][row]:.9f}"[:10]


def run_hips(servers, positions, out, folder, retry_failed=False, **options):
    options = {"survey": (SURVEYS[0],), "size": "20arcsec", "pixels": 24, "kind": "flux", **options}
    mirrors = tuple(server.endpoint for server in servers)
    return ingest(
        HipsSource(),
        out=out,
        catalog=positions,
        mirror=mirrors,
        fetch=net(folder),
        retry_failed=retry_failed,
        **options,
    )


@pytest.mark.parametrize("kind", PASSING)
def test_hips_overcomes_a_passing_trouble(surveys, positions, tmp_path, kind):
    with HipsServer(surveys) as server:
        clean = run_hips([server], positions, tmp_path / "clean", tmp_path / "a").digest()
        server.misbehave(kind, times=1)
        cache = run_hips([server], positions, tmp_path / "cache", tmp_path / "b")
        assert cache.digest() == clean
        assert server.count() == 10 + 11


@pytest.mark.parametrize("kind", [*PASSING, "votable error", "wrong band", "wcs off", "no such projection"])
def test_hips_failures_say_why_and_are_retried(surveys, positions, tmp_path, kind):
    third = address_of(positions, 3)
    with HipsServer(surveys) as server:
        clean = run_hips([server], positions, tmp_path / "clean", tmp_path / "a").digest()
        server.misbehave(kind, times=math.inf, where=third)
        cache = run_hips([server], positions, tmp_path / "cache", tmp_path / "b")
        assert [failure.object_id for failure in cache.failures] == ["o3"]
        assert len(cache) == 9
        assert cache.failures[0].kind == "failed"
        assert {**REASONS, **HIPS_REASONS}[kind] in cache.failures[0].reason
        server.behave()
        asked = server.count()
        again = run_hips([server], positions, tmp_path / "cache", tmp_path / "b", retry_failed=True)
        assert server.count() == asked + 1
        assert again.digest() == clean


@pytest.mark.parametrize("kind", ["empty", "truncated", "html"])
def test_pictures_are_looked_at_too(surveys, positions, tmp_path, kind):
    pixels = np.random.default_rng(1).integers(1, 255, (3, 300, 300)).astype(np.uint8)
    colour = {SURVEYS[0]: HipsSurvey(((pixels, surveys[SURVEYS[0]].mosaics[0][1]),))}
    asked = {"kind": "colour", "form": "png"}
    with HipsServer(colour) as server:
        server.misbehave(kind, times=1)
        cache = run_hips([server], positions, tmp_path / "cache", tmp_path / "a", **asked)
        assert len(cache) == 10
        server.misbehave(kind, times=math.inf)
        cache = run_hips([server], positions, tmp_path / "lost", tmp_path / "b", **asked)
        assert len(cache.failures) == 10


def test_the_mirror_is_asked_when_one_is_out_of_order(surveys, positions, tmp_path, caplog):
    """Every object is cut; after the first failure the mirror is asked first."""
    with HipsServer(surveys) as first, HipsServer(surveys) as second:
        clean = run_hips([second], positions, tmp_path / "clean", tmp_path / "a").digest()
        first.misbehave("500", times=math.inf)
        cache = run_hips([first, second], positions, tmp_path / "cache", tmp_path / "b")
        assert cache.digest() == clean
        assert first.count() <= 3 * 4  # those under way when it was found out, three tries each
        assert "is out of order" in caplog.text
        assert "asking the mirror" in caplog.text


def test_what_one_mirror_gave_is_not_asked_of_another(surveys, positions, tmp_path):
    with HipsServer(surveys) as first, HipsServer(surveys) as second:
        run_hips([first], positions, tmp_path / "one", tmp_path / "kept")
        run_hips([second], positions, tmp_path / "two", tmp_path / "kept")
        assert (first.count(), second.count()) == (10, 0)


def test_planning_survives_the_first_object(surveys, positions, tmp_path):
    """What the survey holds is found out from another object if the first one fails."""
    first = address_of(positions, 0)
    with HipsServer(surveys) as server:
        server.misbehave("500", times=math.inf, where=first)
        cache = run_hips([server], positions, tmp_path / "cache", tmp_path / "b", kind="auto")
        assert [failure.object_id for failure in cache.failures] == ["o0"]


def test_a_band_that_no_object_has_is_said_before_anything_is_fetched(sky, tmp_path):
    with VoServer(sky.products) as server, pytest.raises(BandError, match=r"band 'rr'.*--bands rr=PATTERN"):
        run(server, sky, tmp_path / "cache", bands=("r", "rr"))
    assert not (tmp_path / "cache").exists()
