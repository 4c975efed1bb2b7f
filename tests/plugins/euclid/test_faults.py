"""Every way in which Euclid's archives can misbehave: what the user sees, and that nothing is lost."""

import http.client
import io
import math
import tarfile
import zipfile

import numpy as np
import pytest

from astroanomaly import FetchError, fetch, ingest
from astroanomaly.parallel import limits
from astroanomaly_plugins.euclid import connections
from astroanomaly_plugins.euclid.packed import unpack
from astroanomaly_plugins.euclid.source import EuclidSource
from servers.base import Answer, Server
from servers.euclid import EuclidServer
from servers.irsa import BucketServer, IrsaServer
from servers.mer import TILES

pytestmark = pytest.mark.faults

CUTOUT = "/sas-cutout/cutout"
JOB = "/tap-server/tap/async"
PASSING = ("slow", "dropped", "refused", "429", "500", "503", "empty", "html", "truncated", "votable error")
LASTING = {  # what a failure says after all tries
    "slow": "no answer within 0.5 s",
    "dropped": "the FITS file is cut short: it ends before its header says",
    "refused": "the connection broke",
    "429": "HTTP 429 Too Many Requests: slow down",
    "500": "HTTP 500 Internal Server Error: Internal trouble",
    "503": "HTTP 503 Service Unavailable: Internal trouble",
    "empty": "an empty answer",
    "html": "a page came instead of FITS: Scheduled maintenance The archive is back on Monday.",
    "truncated": "the FITS file is cut short: it ends before its header says",
    "votable error": "the service states an error: the query took too long",
    "wrong band": "the file that came is of the band NIR_H, not of VIS",
    "wcs off": "the file that came does not show the position that was asked for",
    "wcs near": "the file that came does not show the position that was asked for",
}


@pytest.fixture
def esa(mer, monkeypatch):
    with EuclidServer(mer) as server:
        server.slow_s = 1.2
        server.sleepy = 0
        monkeypatch.setenv("ASTROANOMALY_EUCLID_SERVER", server.url)
        yield server


@pytest.fixture
def irsa(mer, monkeypatch):
    with IrsaServer(mer) as server:
        server.slow_s = 1.2
        monkeypatch.setenv("ASTROANOMALY_IRSA_SERVER", server.url)
        yield server


@pytest.fixture
def bucket(mer, monkeypatch):
    with BucketServer(mer) as server:
        server.slow_s = 1.2
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
        yield server


@pytest.fixture
def fill(mer, tmp_path):
    """Ingest two bands of the 12 objects."""

    def run(name="cache", keep="kept", **options):
        config = {"first_wait_s": 0.01, "attempts": 3, "timeout_s": 0.5, "keep": str(tmp_path / keep)}
        config |= options.pop("fetch", {})
        options = {"size": "20", "via": "esa", "bands": ("VIS", "H"), **options}
        catalog = mer.folder / "sky" / "catalogue.ecsv"
        return ingest(EuclidSource(), out=tmp_path / name, catalog=catalog, fetch=config, **options)

    return run


@pytest.fixture(scope="module")
def calm(mer, tmp_path_factory):
    """Digests of runs without trouble, per archive."""
    folder = tmp_path_factory.mktemp("calm")
    catalog = mer.folder / "sky" / "catalogue.ecsv"
    digests = {}
    with (
        pytest.MonkeyPatch.context() as patch,
        EuclidServer(mer) as esa,
        IrsaServer(mer) as irsa,
        BucketServer(mer) as bucket,
    ):
        patch.setenv("ASTROANOMALY_EUCLID_SERVER", esa.url)
        patch.setenv("ASTROANOMALY_IRSA_SERVER", irsa.url)
        patch.setenv("AWS_ENDPOINT_URL_S3", bucket.url)
        for via in ("esa", "irsa"):
            digests[via] = ingest(
                EuclidSource(),
                out=folder / via,
                catalog=catalog,
                size="20",
                via=via,
                bands=("VIS", "H"),
                fetch={"keep": str(folder / "kept")},
            ).digest()
    return digests


def account(mer, cache):
    """Every object is a cutout or a failure, exactly once; return the failures."""
    failed = [failure.object_id for failure in cache.failures]
    assert len({*cache.ids, *failed}) == len(cache.ids) + len(failed) == len(mer.catalogue)
    return list(cache.failures)


def reasons(cache, server):
    """What the failures say, without the server's address."""
    return {failure.reason.removesuffix(f" (127.0.0.1:{server.port})") for failure in cache.failures}


# ------------------------------------------------------------------------------------------------- cutouts of ESA


@pytest.mark.parametrize(
    "kind", [kind for kind in (*PASSING, "wrong band", "wcs off", "wcs near") if kind != "votable error"]
)
def test_passing_trouble_with_cutouts_changes_nothing(kind, mer, esa, fill, calm):
    esa.misbehave(kind, 2, where=CUTOUT)
    before = fetch.traffic()
    cache = fill()
    assert not account(mer, cache)
    assert cache.digest() == calm["esa"]
    assert (fetch.traffic() - before).retries >= 2  # and what took longer than the time limit of this test


@pytest.mark.parametrize("kind", list(LASTING))
def test_lasting_trouble_costs_only_the_objects_it_concerns_and_they_are_retried_alone(kind, mer, esa, fill, calm):
    product = mer.find(TILES[0], "VIS").path.name
    esa.misbehave(kind, math.inf, where=product)
    cache = fill(fetch={"attempts": 2})
    failed = account(mer, cache)
    concerned = {failure.object_id for failure in failed}
    assert 3 < len(failed) < 9
    assert reasons(cache, esa) == {LASTING[kind]}
    assert {failure.kind for failure in failed} == {"failed"}
    assert all(np.isfinite(failure.ra) for failure in failed)
    assert all(int(cache[one].columns["tile"]) == TILES[1] for one in cache.ids)

    esa.behave()
    esa.asked.clear()
    again = fill(retry_failed=True)
    assert not account(mer, again)
    assert again.digest() == calm["esa"]
    assert {again[one].columns["tile"] for one in concerned} == {str(TILES[0])}
    assert esa.count() == esa.count(CUTOUT)  # the plan is not asked for again
    assert len(concerned) <= esa.count(CUTOUT) <= 2 * len(concerned)  # nor is what had come


def test_all_kinds_of_trouble_at_once(mer, esa, fill, calm):
    for number, kind in enumerate(("dropped", "refused", "429", "500", "empty", "html", "truncated", "wcs off")):
        esa.misbehave(kind, math.inf, where=CUTOUT, share=0.05, seed=number)
    cache = fill(fetch={"attempts": 2})
    account(mer, cache)
    esa.behave()
    again = fill(retry_failed=True)
    assert not account(mer, again)
    assert again.digest() == calm["esa"]


def test_one_trouble_does_not_hold_up_an_error_that_no_retry_can_mend(mer, esa, fill):
    esa.members_only = True
    before = fetch.traffic()
    cache = fill()
    assert len(account(mer, cache)) == len(mer.catalogue)
    assert (fetch.traffic() - before).retries == 0


# ------------------------------------------------------------------------------------------------- queries to ESA


@pytest.mark.parametrize(
    ("kind", "where"),
    [(kind, "/results/result") for kind in PASSING if kind != "votable error"]
    + [(kind, where) for kind in ("slow", "refused", "429", "500", "503") for where in ("QUERY=", "/phase")],
)
def test_passing_trouble_with_a_job_changes_nothing(kind, where, mer, esa, fill, calm):
    esa.misbehave(kind, 1, where=where)
    cache = fill()
    assert not account(mer, cache)
    assert cache.digest() == calm["esa"]
    assert 3 <= esa.count(JOB, "POST") <= 4  # the list of tables, the mosaics, one of them again; 4 on a busy machine


@pytest.mark.parametrize("kind", ["empty", "html", "truncated", "dropped"])
def test_a_phase_that_is_none_is_asked_for_again(kind, mer, esa, fill, calm):
    esa.misbehave(kind, 1, where="/phase")
    cache = fill()
    assert cache.digest() == calm["esa"]
    assert not account(mer, cache)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("slow", "no answer within 0.5 s"),
        ("refused", "the connection broke"),
        ("429", "HTTP 429 Too Many Requests: slow down"),
        ("500", "HTTP 500 Internal Server Error: Internal trouble"),
        ("empty", "an empty answer"),
        ("html", "a page came instead of VOTable: Scheduled maintenance"),
        ("truncated", "the VOTable is cut short or damaged"),
        ("votable error", "the service states an error: the query took too long"),
        ("job error", "Cannot parse query: the archive is being rebuilt"),
    ],
)
def test_lasting_trouble_with_queries_ends_the_plan_with_the_reason(kind, words, mer, esa, fill, calm, tmp_path):
    esa.misbehave(kind, math.inf, where="QUERY=" if kind == "job error" else "/results/result")
    with pytest.raises(FetchError) as raised:
        fill()
    final = kind in ("votable error", "job error")
    what = "Euclid mosaics" if final else "tables of Euclid"  # without a list of tables, those of Q1 are asked for
    assert str(raised.value).startswith(f"{what} at ESA: ")
    assert words in str(raised.value)
    assert "SELECT" not in str(raised.value)
    assert not (tmp_path / "cache").exists()
    assert esa.count(JOB, "POST") == (2 if final else 3)
    esa.behave()
    cache = fill()
    assert not account(mer, cache)
    assert cache.digest() == calm["esa"]


def test_a_job_that_takes_its_time_is_waited_for(mer, esa, fill, calm):
    esa.sleepy = 4
    assert fill().digest() == calm["esa"]
    assert esa.count("/phase") >= 5 * 2
    assert esa.count(JOB, "POST") == 2


def test_products_listed_twice_are_cut_once(mer, esa, irsa, bucket, fill, calm):
    esa.misbehave("duplicate products", math.inf)
    irsa.misbehave("duplicate products", math.inf)
    for via in ("esa", "irsa"):
        cache = fill(via, via, via=via)
        assert not account(mer, cache)
        assert cache.digest() == calm[via]
    assert len(esa.cutouts) == 2 * len(mer.catalogue)


# ------------------------------------------------------------------------------------------------------------- IRSA


@pytest.mark.parametrize("kind", [kind for kind in PASSING if kind != "votable error"])
@pytest.mark.parametrize("where", ["/SIA?", "/SIA/capabilities"])
def test_passing_trouble_with_the_image_search_changes_nothing(kind, where, mer, irsa, bucket, fill, calm):
    irsa.misbehave(kind, 1, where=where)
    cache = fill(via="irsa")
    assert not account(mer, cache)
    assert cache.digest() == calm["irsa"]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("slow", "no answer within 0.5 s"),
        ("503", "HTTP 503 Service Unavailable"),
        ("empty", "no readable VOTable"),
        ("html", "no readable VOTable"),
        ("truncated", "no readable VOTable"),
        ("votable error", "the query took too long"),
    ],
)
def test_lasting_trouble_with_the_image_search_ends_the_plan(kind, words, irsa, bucket, fill, tmp_path):
    irsa.misbehave(kind, math.inf, where="/SIA?")
    with pytest.raises(FetchError) as raised:
        fill(via="irsa")
    assert str(raised.value).startswith("Euclid mosaics at IRSA: ")
    assert words in str(raised.value)
    assert not (tmp_path / "cache").exists()
    assert irsa.count("/SIA?") == (1 if kind == "votable error" else 3)


@pytest.mark.parametrize("kind", [kind for kind in PASSING if kind != "votable error"])
def test_passing_trouble_in_the_cloud_changes_nothing(kind, mer, irsa, bucket, fill, calm):
    bucket.misbehave(kind, 2, where="VIS")
    cache = fill(via="irsa")
    assert not account(mer, cache)
    assert cache.digest() == calm["irsa"]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("slow", "no answer within 0.5 s"),
        ("refused", "the connection broke"),
        ("503", "HTTP 503"),
        ("dropped", "the connection broke"),
        ("empty", "what came is no whole FITS file"),
        ("html", "what came is no whole FITS file"),
        ("truncated", "what came is no whole FITS file"),
    ],
)
def test_lasting_trouble_in_the_cloud_costs_only_the_objects_it_concerns(kind, words, mer, irsa, bucket, fill, calm):
    product = mer.find(TILES[1], "NIR_H").path.name
    bucket.misbehave(kind, math.inf, where=product)
    cache = fill(via="irsa", fetch={"attempts": 2} if kind == "slow" else {"attempts": 2, "timeout_s": 5.0})
    failed = account(mer, cache)
    assert (0 if kind == "truncated" else 3) < len(failed) < 9  # what lies in the part that is left can be read
    assert len(reasons(cache, bucket)) == 1
    assert words in failed[0].reason
    bucket.behave()
    again = fill(via="irsa", retry_failed=True)
    assert not account(mer, again)
    assert again.digest() == calm["irsa"]


@pytest.mark.parametrize(("name", "value"), [("NAXIS1", -800), ("NAXIS2", 2**40)])
def test_a_header_in_the_cloud_that_cannot_be_is_a_failure(name, value, mer, irsa, bucket, fill, tmp_path):
    place = next(place for place, path in bucket.files.items() if path == mer.find(TILES[1], "NIR_H").path)
    whole = bucket.files[place].read_bytes()
    at = whole.find(f"{name:<8}=".encode())
    (tmp_path / "odd.fits").write_bytes(whole[:at] + f"{name:<8}= {value:>20}".ljust(80).encode() + whole[at + 80 :])
    bucket.files[place] = tmp_path / "odd.fits"
    cache = fill(via="irsa")
    assert 3 < len(account(mer, cache)) < 9
    assert all(f"header 0{': ' + name if value < 0 else ' is of'}" in reason for reason in reasons(cache, bucket))


def test_a_mosaic_that_is_not_in_the_cloud_is_said(mer, irsa, bucket, fill):
    gone = mer.find(TILES[1], "NIR_H").path.name
    bucket.files = {name: path for name, path in bucket.files.items() if not name.endswith(gone)}
    cache = fill(via="irsa")
    failed = account(mer, cache)
    assert 3 < len(failed) < 9
    assert reasons(cache, bucket) == {"the mosaic is not in the cloud"}


def test_an_archive_writes_nowhere_but_where_it_is_asked(mer, esa, fill, calm, tmp_path):
    esa.misbehave("hostile tar", math.inf, where=CUTOUT)
    cache = fill(keep="a/b/c/d/kept")
    assert list(tmp_path.rglob("evil.fits")) == []
    assert cache.digest() == calm["esa"]  # the cutout that it holds is taken all the same


def packed(kind, members):
    """A tar or zip file of some members, as bytes."""
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return buffer.getvalue()
    with tarfile.open(fileobj=buffer, mode=kind) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["w", "w:gz", "zip"])
def test_of_an_archive_of_files_the_first_image_is_taken(kind, tmp_path):
    path = tmp_path / "product.fits"
    path.write_bytes(packed(kind, {"read me.txt": b"no image", "../../a.fits": b"image", "b.fits": b"other"}))
    files = []
    unpack(str(path), str(tmp_path / "elsewhere"), files)
    assert files == [str(path)]
    assert path.read_bytes() == b"image"
    assert list(tmp_path.iterdir()) == [path]
    path.write_bytes(packed(kind, {"read me.txt": b"no image"}))
    unpack(str(path), "", files := [])
    assert files == []


@pytest.mark.parametrize("kind", ["w:gz", "zip"])
@pytest.mark.parametrize("name", ["a.fits", "a.txt"])
def test_an_archive_of_files_that_grows_without_end_is_refused(kind, name, tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "FREE_EXPANSION_BYTES", 2**20)
    path = tmp_path / "product.fits"
    path.write_bytes(packed(kind, {name: bytes(2**25), "b.fits": b"image"}))
    if (kind, name) == ("zip", "a.txt"):  # nothing of it has to be unpacked
        unpack(str(path), "", files := [])
        assert files == [str(path)]
        return
    with pytest.raises(FetchError, match="grows to more than"):
        unpack(str(path), "", [])


def test_an_answer_that_breaks_off_is_not_taken_for_a_whole_one():
    class Dropping(Server):
        def answer(self, asked):
            return Answer(b"COMPLETED", "text/plain")

    with Dropping() as server:
        made = connections.Connections("127.0.0.1", server.port)
        for fault in ("", "dropped"):
            server.misbehave(fault)
            with made.listening("it"):
                connection = made.get_connection()
                connection.request("GET", "/phase")
                response = connection.getresponse()
                if not fault:
                    assert response.read() == b"COMPLETED"
                    continue
                with pytest.raises(http.client.IncompleteRead):
                    response.read()


def test_an_answer_of_esa_is_read_up_to_a_bound(mer, esa, fill, monkeypatch):
    monkeypatch.setattr(connections, "MOST_FILE_BYTES", 1000)
    with pytest.raises(FetchError, match=r"the answer is longer than 0\.001 MB"):
        fill()
    monkeypatch.setattr(connections, "MOST_FILE_BYTES", 10**9)
    monkeypatch.setattr(connections, "MOST_TABLE_BYTES", 5)  # the phase of a job has nine letters
    with pytest.raises(FetchError, match=r"the answer is longer than 5e-06 MB"):
        fill()
