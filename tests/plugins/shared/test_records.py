"""A record of what an archive was asked gives the same cache where the archive is not: for every archive source."""

import base64
import json
import os
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from astropy import units as u
from astropy.table import Table

from astroanomaly import FetchError, ingest
from astroanomaly.ingestion import workers
from astroanomaly_plugins.euclid import esa_client
from astroanomaly_plugins.euclid.source import EuclidSource
from astroanomaly_plugins.hips import service as hips_service
from astroanomaly_plugins.hips.source import HipsSource
from astroanomaly_plugins.hst.source import HstSource
from astroanomaly_plugins.surveys import survey
from astroanomaly_plugins.surveys.legacy import LegacySource
from astroanomaly_plugins.surveys.panstarrs import PanstarrsSource
from astroanomaly_plugins.surveys.skymapper import SkyMapperSource
from astroanomaly_plugins.vo.source import VoSource
from servers.base import Answer
from servers.euclid import EuclidServer
from servers.hips import HipsServer, HipsSurvey
from servers.hst import served
from servers.hst_sky import place
from servers.irsa import BucketServer, IrsaServer
from servers.surveys import LegacyServer, PanstarrsServer, SkyMapperServer, SurveySky
from servers.vo import VoServer
from servers.vo_sky import make_sky

QUICK = {"first_wait_s": 0.01, "longest_wait_s": 0.1, "attempts": 3, "timeout_s": 10}
TOKEN = "s3cret/of+the=test"


@pytest.fixture(autouse=True)
def _fresh_clients(monkeypatch):
    """Let every run ask anew what clients keep of a service as long as the program runs."""
    monkeypatch.setattr(esa_client, "_clients", {})
    yield
    hips_service._first.clear()


@pytest.fixture(scope="module")
def survey_sky():
    return SurveySky(("g", "r"), 0.262)


@pytest.fixture(scope="module")
def vo_sky(tmp_path_factory):
    return make_sky(tmp_path_factory.mktemp("vo"), n_objects=4)


def sky_table(sky):
    ra, dec = sky.places([60.0, 200.0, 320.0], [60.0, 150.0, 200.0])
    return Table(
        {"object_id": ["a", "b", "c", "far"], "ra": [*ra, 10.0], "dec": [*dec, -40.0], "note": [*"xyz", "far"]}
    )


@contextmanager
def archive(name, request):
    """Start the servers of an archive; give its source, a request for a few objects, and the servers."""
    with ExitStack() as stack:
        if name.startswith("euclid"):
            mer = request.getfixturevalue("mer")
            catalog = Table.read(mer.folder / "sky" / "catalogue.ecsv")[:6]
            options = {"via": name.partition(" ")[2], "bands": ("VIS", "H"), "size": "32", "catalog": catalog}
            servers = [EuclidServer(mer)] if "esa" in name else [IrsaServer(mer), BucketServer(mer)]
            for server in servers:
                stack.enter_context(server)
            names = ["ASTROANOMALY_EUCLID_SERVER"] * ("esa" in name) or [
                "ASTROANOMALY_IRSA_SERVER",
                "AWS_ENDPOINT_URL_S3",
            ]
            for variable, server in zip(names, servers, strict=True):
                request.getfixturevalue("monkeypatch").setenv(variable, server.url)
            yield EuclidSource(), options, servers
        elif name.startswith("hst"):
            via = name.partition(" ")[2]
            servers = [*stack.enter_context(served(via)).values()]
            rows = [(f"s{number}", *place(*shift)) for number, shift in enumerate([(4.0, 3.0), (-6.0, 5.0)])]
            options = {
                "catalog": Table(rows=rows, names=["object_id", "ra", "dec"]), "size": 2 * u.arcsec, "bands": ["F814W"],
                "via": via, "proposal": [] if via == "mast" else ["9822"], "exposures": "deepest",
            }  # fmt: skip
            yield HstSource(), options, servers
        elif name == "vo":
            sky = request.getfixturevalue("vo_sky")
            server = stack.enter_context(VoServer(sky.products))
            options = {"service": f"{server.url}/sia2", "size": "24", "catalog": sky.catalog, "bands": ("r",)}
            yield VoSource(), options, [server]
        elif name == "hips":
            sky = request.getfixturevalue("survey_sky")
            planes = {"CDS/P/SIM/red": HipsSurvey(((sky.pixels["r"], sky.wcs),))}
            server = stack.enter_context(HipsServer(planes))
            options = {
                "survey": ("CDS/P/SIM/red",), "size": "6arcsec", "pixels": 24, "mirror": (server.endpoint,),
                "catalog": sky_table(sky),
            }  # fmt: skip
            yield HipsSource(), options, [server]
        else:
            sky = request.getfixturevalue("survey_sky")
            exposures = {f"long-{band}": (sky, band, 100.0, 1.3) for band in sky.bands}
            source, server = {
                "legacy": (LegacySource, lambda: LegacyServer(sky)),
                "panstarrs": (PanstarrsSource, lambda: PanstarrsServer(sky)),
                "skymapper": (SkyMapperSource, lambda: SkyMapperServer(exposures)),
            }[name]
            started = stack.enter_context(server())
            address = getattr(started, "address", started)
            options = {"size": 24, "bands": ("g", "r"), "server": address, "catalog": sky_table(sky)}
            yield source(), options, [started]


ARCHIVES = (
    "euclid esa",
    "euclid irsa",
    "hst mast",
    "hst s3",
    "hst esa",
    "vo",
    "hips",
    "legacy",
    "panstarrs",
    "skymapper",
)


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_record_gives_the_same_cache_without_the_archive(name, request, tmp_path):
    with archive(name, request) as (source, options, servers):
        servers[-1].misbehave("500", 1)  # a trouble that passes is part of it
        first = ingest(source, out=tmp_path / "first", fetch={**QUICK, "record": str(tmp_path / "record")}, **options)
        assert len(first)
        asked = [server.count() for server in servers]
        hips_service._first.clear()
        esa_client._clients.clear()
        again = ingest(source, out=tmp_path / "again", fetch={"replay": str(tmp_path / "record")})
        assert [server.count() for server in servers] == asked
    about = json.loads((tmp_path / "record" / "record.json").read_text())
    assert again.digest() == first.digest() == about["outcome"]["digest"]
    assert sorted((one.object_id, one.reason, one.kind) for one in again.failures) == sorted(
        (one.object_id, one.reason, one.kind) for one in first.failures
    )
    said = [json.loads(path.read_text()) for path in (tmp_path / "record" / "exchanges").glob("*.json")]
    places = [f"//127.0.0.1:{server.port}/" for server in servers]  # astroquery asks ESA for news when it is imported
    here = [one for one in said if any(place in one["request"]["url"] for place in places)]
    assert len(here) == sum(asked)  # every request, and no other
    assert 500 in {one["answer"]["status"] for one in said}
    assert about["finished"]
    assert not about["error"]


def test_a_record_of_a_login_holds_no_secret(mer, monkeypatch, tmp_path):
    certificate, public = tmp_path / "key.pem", tmp_path / "public.pem"
    made = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    command = ["openssl", *made.split(), "-keyout", str(certificate), "-out", str(public)]
    subprocess.run(command, check=True, capture_output=True)
    certificate.write_text(certificate.read_text() + public.read_text())
    monkeypatch.setenv("SSL_CERT_FILE", str(public))
    monkeypatch.setenv("EUCLID_USER", "reader")
    monkeypatch.setenv("EUCLID_PASSWORD", "open sesame")
    asked = {
        "catalog": Table.read(mer.folder / "sky" / "catalogue.ecsv")[:3],
        "size": "32",
        "bands": ("VIS",),
        "via": "esa",
    }
    with EuclidServer(mer, certificate) as server:
        server.members_only = True
        monkeypatch.setenv("ASTROANOMALY_EUCLID_SERVER", server.url)
        record = {**QUICK, "record": str(tmp_path / "record")}
        first = ingest(EuclidSource(), out=tmp_path / "first", login=True, fetch=record, **asked)
        assert len(first) == 3
        assert server.logins
    for secret in ("open sesame", "5EC2E7"):  # the password, and the cookie of the session
        assert_nowhere(secret, tmp_path / "record")
    for path in (tmp_path / "record").rglob("*.*"):
        assert b"reader" not in path.read_bytes()
    monkeypatch.setenv("EUCLID_USER", "somebody")  # a replay logs in with whatever it is given
    monkeypatch.setenv("EUCLID_PASSWORD", "anything")
    esa_client._clients.clear()
    again = ingest(EuclidSource(), out=tmp_path / "again", fetch={"replay": str(tmp_path / "record")})
    assert again.digest() == first.digest()


def test_a_record_of_a_token_holds_no_secret_though_the_service_repeats_it(vo_sky, monkeypatch, tmp_path):
    class Tactless(VoServer):
        def answer(self, asked):
            answer = super().answer(asked)
            if asked.headers.get("Authorization") != f"Bearer {TOKEN}":
                return Answer(b"Who are you?", "text/plain", 401)
            said = f"<!-- {TOKEN} {quote(TOKEN, safe='')} {base64.b64encode(TOKEN.encode()).decode()} -->".encode()
            return replace(answer, body=answer.body + said) if b"</VOTABLE>" in answer.body else answer

    monkeypatch.setenv("VO_TOKEN", TOKEN)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    with Tactless(vo_sky.products) as server:
        options = {"service": f"{server.url}/sia2", "size": "24", "catalog": vo_sky.catalog, "bands": ("r",)}
        options["login"] = (f"127.0.0.1:{server.port}",)
        fetch = {**QUICK, "record": str(tmp_path / "record")}
        first = ingest(VoSource(), out=tmp_path / "first", fetch=fetch, **options)
        assert len(first) == 4
    assert_nowhere(TOKEN, tmp_path / "record")
    monkeypatch.setenv("VO_TOKEN", "another")
    again = ingest(VoSource(), out=tmp_path / "again", fetch={"replay": str(tmp_path / "record")})
    assert again.digest() == first.digest()


def assert_nowhere(secret, folder):
    """Look for a secret in all files of a folder, in plain and encoded."""
    raw = secret.encode()
    parts = [base64.b64encode(b"x" * shift + raw)[3 if shift else 0 : -4] for shift in range(3)]
    forms = {raw, quote(secret, safe="").encode(), quote_plus(secret).encode(), raw.hex().encode(), *parts}
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 5
    for path in files:
        content = path.read_bytes()
        assert not [form for form in forms if form in content], path
        assert not [form for form in forms if form in path.name.encode()]


def test_several_processes_record_and_replay(survey_sky, monkeypatch, tmp_path):
    monkeypatch.setattr(survey, "_OBJECTS_PER_TASK", 2)
    monkeypatch.setattr(workers, "_BATCH_BYTES", 1)
    record = str(tmp_path / "record")
    with LegacyServer(survey_sky) as server:
        options = {"size": 24, "bands": ("g", "r"), "server": server.address, "catalog": sky_table(survey_sky)}
        first = ingest("legacy", out=tmp_path / "first", workers=2, fetch={**QUICK, "record": record}, **options)
        asked = server.count()
    names = [path.name for path in (tmp_path / "record" / "exchanges").glob("*.json")]
    assert len(names) == asked
    assert {name.split("-")[1] for name in names} - {f"{os.getpid():07d}"}  # not this process, which makes the plan
    again = ingest("legacy", out=tmp_path / "again", workers=2, fetch={"replay": record})
    assert again.digest() == first.digest()
    said = r"had no answer there; the first: not in the record .*/record: GET http.*size=32"
    with pytest.raises(FetchError, match=said):
        ingest("legacy", out=tmp_path / "other", workers=2, fetch={"replay": record}, size=32)


@pytest.mark.faults
def test_the_command_says_what_it_recorded_and_the_record_is_a_test(survey_sky, tmp_path):
    sky_table(survey_sky).write(tmp_path / "objects.ecsv")
    record = tmp_path / "record"
    with LegacyServer(survey_sky) as server:
        words = ["--catalog", tmp_path / "objects.ecsv", "--size", 24, "--bands", "g,r", "--server", server.address]
        words += ["--out", tmp_path / "cache", "--workers", 1, "--record", record]
        done = program("astroanomaly", "ingest", "legacy", *words)
        assert done.returncode == 0, done.stderr
        assert f"record: {server.count()} requests, " in done.stdout
    about = json.loads((record / "record.json").read_text())
    assert about["command"][:4] == ["ingest", "legacy", "--catalog", str(tmp_path / "objects.ecsv")]
    assert (record / about["request"]["options"]["catalog"]).read_bytes() == (tmp_path / "objects.ecsv").read_bytes()
    test = Path(__file__).with_name("test_given_record.py")
    done = program("pytest", "-q", "-n", "0", test, env={**os.environ, "ASTROANOMALY_REPLAY": str(record)})
    assert "1 passed" in done.stdout, done.stdout


def program(*words, env=None):
    command = [sys.executable, "-m", *map(str, words)]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)
