"""What the archives of Hubble images do wrong, what the user sees of it, and that nothing is lost."""

import gc
import io
import math
import zipfile

import pytest
from astropy.io import fits
from astropy.table import Table

from astroanomaly import ConfigError, FetchConfig, FetchError, fetch, ingest
from astroanomaly.parallel import limits
from astroanomaly_plugins.hst import ehst, hapcut
from astroanomaly_plugins.hst.images import science
from astroanomaly_plugins.hst.source import HstSource
from servers.hst import served
from servers.hst_sky import SOURCES, Product, mosaics, place, visits

pytestmark = pytest.mark.faults

PASSING = ["slow", "dropped", "refused", "429", "500", "503", "empty", "html", "truncated"]
PRODUCTS = {"s3": "stpubdata/hst", "esa": "/data"}


def write_catalog(folder):
    rows = [(f"s{number}", *place(dx, dy)) for number, (dx, dy, _, _) in enumerate(SOURCES)]
    path = folder / "objects.csv"
    Table(rows=rows, names=["id", "ra", "dec"]).write(path)
    return path


@pytest.fixture
def catalog(tmp_path):
    return write_catalog(tmp_path)


@pytest.fixture
def cutting(catalog, tmp_path):
    """Cut all objects, in a folder for what is kept that each call of a test shares."""
    return cutter(catalog, tmp_path)


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """Digest of what an archive without faults gives, by archive and options; it must not be served meanwhile."""
    found = {}

    def digest(via, **options):
        key = (via, *options.items())
        if key not in found:
            folder = tmp_path_factory.mktemp("clean")
            with served(via, *(([], mosaics()[:1]) if via == "mast" else ())):
                cache = cutter(write_catalog(folder), folder)("cache", via, **options)
            assert sorted({object_id.rpartition("/")[2] for object_id in cache.ids}) == [
                f"s{number}" for number in range(len(SOURCES))
            ]
            found[key] = cache.digest()
        return found[key]

    return digest


def cutter(catalog, folder):
    def cut(name, via, *, retry_failed=False, timeout_s=3.0, keep="kept", bands=("F814W",), **options):
        return ingest(
            HstSource(),
            out=folder / name,
            catalog=catalog,
            size="20",
            bands=list(bands),
            via=via,
            retry_failed=retry_failed,
            fetch=FetchConfig(
                first_wait_s=0.01, longest_wait_s=0.05, attempts=3, timeout_s=timeout_s, keep=str(folder / keep)
            ),
            **options,
        )

    return cut


def reasons(cache):
    return {failure.reason.rsplit(" (127.", 1)[0] for failure in cache.failures}


# -------------------------------------------------------------------------------------------- cutouts by position: MAST


@pytest.mark.parametrize("kind", PASSING)
def test_a_passing_fault_of_hapcut_costs_a_try_and_no_object(kind, cutting, clean):
    expected = clean("mast")
    with served("mast", [], mosaics()[:1]) as archives:
        archives["mast"].slow_s = 2.0
        archives["mast"].misbehave(kind, times=2, where="astrocut")
        before = fetch.traffic()
        cache = cutting("cache", "mast", timeout_s=0.8 if kind == "slow" else 3.0)
    assert not cache.failures
    assert cache.digest() == expected
    assert (fetch.traffic() - before).retries == 2


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("slow", "no answer within"),
        ("dropped", "the connection broke"),
        ("500", "HTTP 500 Internal Server Error: Internal trouble"),
        ("429", "HTTP 429 Too Many Requests"),
        ("empty", "an empty answer"),
        ("html", "a page came instead of JSON: Scheduled maintenance The archive is back on Monday."),
        ("truncated", "the zip of cutouts is cut short or damaged"),
        ("truncated member", "the FITS file is cut short"),
    ],
)
def test_a_lasting_fault_of_hapcut_is_a_failure_that_can_be_retried(kind, words, cutting, clean):
    expected = clean("mast", exposures="all")
    with served("mast", [], mosaics()[:1]) as archives:
        archives["mast"].slow_s = 2.0
        archives["mast"].misbehave(kind, times=math.inf, where="150.4")
        cache = cutting("cache", "mast", timeout_s=0.8 if kind == "slow" else 3.0)
        assert len(cache) < len(SOURCES)
        assert len(cache) + len(cache.failures) == len(SOURCES)
        assert any(words in reason for reason in reasons(cache)), reasons(cache)
        assert len(reasons(cache)) == 1  # counted together
        assert {failure.kind for failure in cache.failures} == {"failed"}
        archives["mast"].behave()
        asked = archives["mast"].count("astrocut")
        lost = len(cache.failures)
        cache = cutting("cache", "mast", retry_failed=True)
        assert archives["mast"].count("astrocut") == asked + lost
    assert not cache.failures
    assert cache.digest() == expected


def test_an_error_that_hapcut_states_is_not_tried_again(cutting):
    with served("mast", [], mosaics()[:1]) as archives:
        archives["mast"].misbehave("stated error", times=1, where="astrocut")
        cache = cutting("cache", "mast")
        assert archives["mast"].count("astrocut") == len(SOURCES)
    assert len(cache) == len(SOURCES) - 1
    assert reasons(cache) == {"the service states an error: The database is out of order."}


def test_a_zip_that_grows_without_end_is_refused(monkeypatch):
    monkeypatch.setattr(limits, "FREE_EXPANSION_BYTES", 2**20)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.fits", bytes(2**24))
        archive.writestr("b.fits", bytes(2**24))
    with pytest.raises(FetchError, match="grows to far more than its size"):
        hapcut._check_zip(content.getvalue())


def test_a_cutout_of_another_band_is_refused(cutting):
    with served("mast", [], mosaics()[:1]) as archives:
        archives["mast"].misbehave("wrong band", times=1)
        cache = cutting("cache", "mast")
    assert len(cache) == len(SOURCES) - 1
    assert reasons(cache) == {"a product named for F814W holds F475W"}


def test_a_cutout_of_another_place_is_refused(cutting):
    with served("mast", [], mosaics()[:1]) as archives:
        archives["mast"].misbehave("off", times=1)
        cache = cutting("cache", "mast")
    assert len(cache) == len(SOURCES) - 1
    assert reasons(cache) == {"the cutouts that came do not show the position that was asked for: their WCS is off"}


def test_a_cutout_that_comes_twice_counts_once(cutting):
    with served("mast", [], mosaics()[:1]) as archives:
        archives["mast"].misbehave("duplicate", times=math.inf)
        cache = cutting("cache", "mast")
    assert len(cache) == len(SOURCES)


def test_five_percent_of_faults_of_all_kinds_lose_nothing(catalog, cutting):
    table = Table.read(catalog)
    rows = [(f"{row['id']}-{k}", row["ra"] + k * 2e-5, row["dec"]) for k in range(8) for row in table]
    Table(rows=rows, names=["id", "ra", "dec"]).write(catalog, overwrite=True)
    with served("mast", [], mosaics()[:1]) as archives:
        clean = cutting("clean", "mast", keep="other", timeout_s=60.0)
        assert not clean.failures
        for seed, kind in enumerate(["dropped", "500", "429", "empty", "html", "truncated", "stated error"]):
            archives["mast"].misbehave(kind, times=math.inf, where="astrocut", share=0.05, seed=seed)
        cache = cutting("cache", "mast", timeout_s=60.0)
        assert len(cache) + len(cache.failures) == len(rows)
        archives["mast"].behave()
        cache = cutting("cache", "mast", retry_failed=True, timeout_s=60.0)
    assert len(cache) == len(rows)
    assert cache.digest() == clean.digest()


# ----------------------------------------------------------------------------------------- lists of products: MAST, ESA


@pytest.mark.parametrize("kind", PASSING)
@pytest.mark.parametrize("where", ["columnsconfig", "invoke", "path_lookup"])
def test_a_passing_fault_of_the_portal_costs_a_try_and_no_object(kind, where, cutting):
    with served("s3", visits()[:1]) as archives:
        archives["mast"].slow_s = 2.0
        archives["mast"].misbehave(kind, times=2, where=where)
        cache = cutting("cache", "s3", exposures="deepest", timeout_s=0.8 if kind == "slow" else 3.0)
    assert len(cache) == len(SOURCES)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("500", "HTTP 500"),
        ("html", "a page came instead of JSON: Scheduled maintenance"),
        ("empty", "an empty answer"),
        ("stated error", "the service states an error: The database is out of order."),
        ("odd table", "the answer holds no table: "),
    ],
)
def test_a_plan_needs_the_list_of_products(kind, words, cutting, tmp_path):
    with served("s3") as archives:
        archives["mast"].misbehave(kind, times=math.inf, where="/api/v0/invoke")
        with pytest.raises(FetchError, match="list of HST products around") as caught:
            cutting("cache", "s3")
        assert words in str(caught.value)
        assert not (tmp_path / "cache" / "cache.json").exists()
        archives["mast"].behave()
        cache = cutting("cache", "s3", exposures="deepest")
    assert len(cache) == len(SOURCES)


def test_a_query_that_takes_its_time_is_waited_for(cutting):
    with served("s3") as archives:
        cutting("clean", "s3", keep="other")
        asked = archives["mast"].count("invoke")
        archives["mast"].misbehave("executing", times=4)
        cache = cutting("cache", "s3", exposures="deepest")
        assert archives["mast"].count("invoke") == 2 * asked + 4
    assert len(cache) == len(SOURCES)


def test_lists_on_several_pages_are_read_to_the_end(cutting):
    with served("s3") as archives:
        archives["mast"].rows_per_page = 1
        cache = cutting("cache", "s3")
    assert {object_id.split("/")[0] for object_id in cache.ids} == {visits()[0].name, visits()[2].name}


def test_products_listed_twice_count_once(cutting):
    with served("all") as archives:
        for name in ("mast", "esa"):
            archives[name].misbehave("duplicate", times=math.inf)
        for via in ("s3", "esa"):
            cache = cutting(via, via, exposures="deepest")
            assert sorted(cache.ids) == [f"s{number}" for number in range(len(SOURCES))]


def test_a_product_that_is_not_in_the_bucket_is_said_so(cutting, caplog):
    with served("s3") as archives:
        deep = next(product for product in archives["mast"].products if "13641" in product.name)
        archives["mast"].private.add(deep.uri)
        with caplog.at_level("WARNING", logger="astroanomaly_plugins"):
            cache = cutting("cache", "s3", exposures="deepest")
    assert len(cache) == len(SOURCES)  # the other visit shows them too
    assert f"{deep.name} is not in the public bucket" in caplog.text


@pytest.mark.parametrize("kind", [*PASSING, "votable error"])
@pytest.mark.parametrize("where", ["capabilities", "sync", "artifact"])
def test_faults_of_the_esa_tables(kind, where, cutting):
    stated = kind == "votable error" and where != "capabilities"
    with served("esa", visits()[:1]) as archives:
        archives["esa"].slow_s = 2.0
        archives["esa"].misbehave(kind, times=1 if stated else 2, where=where)
        if stated:
            with pytest.raises(FetchError, match=r"the service states an error: .*the query took too long"):
                cutting("cache", "esa")
        cache = cutting("cache", "esa", exposures="deepest", timeout_s=0.8 if kind == "slow" else 3.0)
    assert len(cache) == len(SOURCES)


@pytest.mark.parametrize(
    ("kind", "words"),
    [("500", "HTTP 500"), ("html", "something else came instead of a table"), ("slow", "no answer within")],
)
def test_lasting_faults_of_the_esa_tables_are_explained(kind, words, cutting):
    with served("esa") as archives:
        archives["esa"].slow_s = 1.0
        archives["esa"].misbehave(kind, times=math.inf, where="/tap")
        with pytest.raises(FetchError, match=words):
            cutting("cache", "esa", timeout_s=0.3)


def test_a_table_without_the_columns_needed_is_explained(cutting):
    with served("esa") as archives:
        archives["esa"].misbehave("missing column")
        with pytest.raises(FetchError, match="the table has no column 'observation_id', only something_else"):
            cutting("cache", "esa")


# pyvo leaves the answer to the creation of a job unread; its socket is closed when it is forgotten
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_a_list_that_was_cut_off_is_asked_for_as_a_job(cutting, monkeypatch):
    monkeypatch.setattr(ehst, "_MAX_ROWS", 3)
    third = Product("hst_1_01_acs_wfc_f814w_jabc01_drc", "hst_1_01_acs_wfc_f814w_jabc01", "F814W", proposal="1")
    with served("esa", [*visits(), third]) as archives:
        archives["esa"].most_rows = 3
        cache = cutting("cache", "esa")
        assert archives["esa"].count("async", "POST") >= 1
    assert {object_id.split("/")[0] for object_id in cache.ids} == {visits()[0].name, visits()[2].name, third.name}
    gc.collect()


# ------------------------------------------------------------------------------------------------------ whole products


@pytest.mark.parametrize(
    ("module", "name", "words"),
    [(ehst, "MOST_FILE_BYTES", "the answer is longer than"), (limits, "FREE_EXPANSION_BYTES", "grows to more than")],
)
def test_a_file_without_an_end_is_a_failure(module, name, words, cutting, monkeypatch):
    monkeypatch.setattr(module, name, 1000)
    with served("esa", visits()[:1]):
        cache = cutting("cache", "esa", limits={"expansion": 0.01})
    assert len(cache) == 0
    assert all(words in reason for reason in reasons(cache)), reasons(cache)


@pytest.mark.parametrize(
    ("via", "kind"),  # an answer of the bucket is as long as it says, or the connection broke: none is "truncated"
    [(via, kind) for kind in PASSING for via in ("s3", "esa") if (via, kind) != ("s3", "truncated")],
)
def test_a_passing_fault_of_a_file_costs_a_try_and_no_object(via, kind, cutting):
    with served(via, visits()[:1]) as archives:
        archives[via].slow_s = 2.0
        archives[via].misbehave(kind, times=2, where=PRODUCTS[via])
        cache = cutting("cache", via, exposures="deepest", timeout_s=0.8 if kind == "slow" else 3.0)
    assert sorted(cache.ids) == [f"s{number}" for number in range(len(SOURCES))]


@pytest.mark.parametrize(
    ("via", "kind", "words"),
    [
        ("esa", "500", "HTTP 500"),
        ("esa", "html", "a page came instead of FITS: Scheduled maintenance The archive is back on Monday."),
        ("esa", "truncated", "the compressed file is cut short"),
        ("esa", "empty", "an empty answer"),
        ("s3", "500", "HTTP 500"),
        ("s3", "slow", "no answer within"),
        ("s3", "dropped", "the connection broke"),
    ],
)
def test_a_lasting_fault_of_a_file_is_a_failure_of_its_objects_that_can_be_retried(via, kind, words, cutting, clean):
    expected = clean(via)
    with served(via) as archives:
        archives[via].slow_s = 2.0
        archives[via].misbehave(kind, times=math.inf, where={"s3": "jcoy01", "esa": "ARTIFACTID=hst_13641"}[via])
        cache = cutting("cache", via, timeout_s=0.8 if kind == "slow" else 3.0)
        lost = {failure.object_id for failure in cache.failures}
        assert {object_id.split("/")[1] for object_id in cache.ids} | lost == {f"s{k}" for k in range(len(SOURCES))}
        assert lost
        assert any(words in reason for reason in reasons(cache)), reasons(cache)
        archives[via].behave()
        cache = cutting("cache", via, retry_failed=True)
    assert not cache.failures
    assert cache.digest() == expected


@pytest.mark.parametrize("via", ["s3", "esa"])
def test_a_file_of_another_band_is_refused(via, cutting):
    products = visits()
    products[0].hdulist[0].header["FILTER2"] = "F475W"
    with served(via, products):
        cache = cutting("cache", via, exposures="deepest", proposal=["9822"])
    assert len(cache) == 0
    assert reasons(cache) == {"a product listed as F814W holds F475W"}


@pytest.mark.parametrize("via", ["s3", "esa"])
def test_a_file_whose_wcs_is_elsewhere_shows_nothing(via, cutting):
    products = visits()
    products[0].hdulist["SCI"].header["CRVAL2"] += 1.0
    with served(via, products):
        cache = cutting("cache", via, exposures="deepest", proposal=["9822"])
    assert len(cache) == 0
    assert reasons(cache) == {"no image of these filters at the position"}


def test_a_file_in_the_bucket_that_is_cut_short_is_explained(cutting):
    products = visits()[:1]
    whole = products[0].content
    with served("s3", products) as archives:
        archives["s3"].replace(products[0].key, whole[: len(whole) // 3])
        cache = cutting("cache", "s3", exposures="deepest")
    assert any("the file is cut short" in reason for reason in reasons(cache)), reasons(cache)


@pytest.mark.parametrize("content", [b"", b"<html><body>Moved</body></html>"], ids=["empty", "page"])
def test_what_is_no_image_in_the_bucket_is_explained(content, cutting):
    products = visits()[:1]
    with served("s3", products) as archives:
        archives["s3"].replace(products[0].key, content)
        cache = cutting("cache", "s3", exposures="deepest")
    assert len(cache) == 0
    assert any(words in str(reasons(cache)) for words in ("an empty answer", "a page came instead of FITS: Moved"))


@pytest.mark.parametrize("via", ["s3", "esa"])
def test_images_that_cannot_be_understood_are_failures(via, cutting):
    products = visits()
    products[0].hdulist["SCI"].header["BUNIT"] = "furlongs"
    del products[2].hdulist["SCI"].header["CTYPE1"]
    del products[2].hdulist["SCI"].header["CTYPE2"]
    with served(via, products):
        unit = cutting("unit", via, proposal=["9822"])
        wcs = cutting("wcs", via, proposal=["13641"])
    words = "pixels in 'furlongs' cannot be turned into electron/s: expected electrons, or counts and a gain"
    assert reasons(unit) == {words}
    assert "the image has no WCS" in str(reasons(wcs))


def test_weights_of_another_shape_are_refused():
    hdulist = visits()[0].hdulist
    hdulist["WHT"].data = hdulist["WHT"].data[:-1]
    with pytest.raises(OSError, match="the weights have another shape"):
        science(hdulist, "a")
    with pytest.raises(OSError, match="no image of two axes"):
        science(fits.HDUList([fits.PrimaryHDU()]), "a")


def test_no_s3fs_is_explained(cutting, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "s3fs", None)
    with served("s3"), pytest.raises(ConfigError, match=r"pip install 'astroanomaly\[cloud\]'"):
        cutting("cache", "s3")


@pytest.mark.parametrize("name", ["../../../../escaped_drc", "{folder}/escaped_drc", "x" * 300 + "_drc"])
def test_a_file_keeps_to_its_folder_whatever_the_archive_calls_it(name, cutting, tmp_path):
    name = name.format(folder=tmp_path)
    strange = Product(name, name.removesuffix("_drc"), "F814W")
    with served("esa", [strange]):
        cache = cutting("cache", "esa", keep="a/b/c/d/kept")
    outside = [path for path in tmp_path.rglob("*escaped*") if (tmp_path / "a/b/c/d/kept") not in path.parents]
    assert outside == []
    assert len(cache) + len(cache.failures) == len({*cache.ids, *(failure.object_id for failure in cache.failures)})
    assert not any("tmp" in failure.reason for failure in cache.failures)


@pytest.mark.parametrize(("name", "value"), [("NAXIS1", -800), ("NAXIS2", 2**40), ("PCOUNT", -(2**50))])
def test_a_header_in_the_bucket_that_cannot_be_is_a_failure(name, value, cutting):
    products = visits()[:1]
    whole = products[0].content
    at = whole.find(f"{name:<8}=".encode(), whole.find(b"XTENSION"))
    card = f"{name:<8}= {value:>20}".ljust(80).encode()
    with served("s3", products) as archives:
        archives["s3"].replace(products[0].key, whole[:at] + card + whole[at + 80 :])
        cache = cutting("cache", "s3", exposures="deepest")
        archives["s3"].replace(products[0].key, whole)
    assert len(cache.failures) == len(SOURCES)
    assert all("header 1" in reason for reason in reasons(cache)), reasons(cache)
