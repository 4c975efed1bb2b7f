"""Records of requests: every client, every trouble, nothing secret, nothing endless; a replay asks nobody."""

import asyncio
import base64
import contextlib
import gzip
import http.client
import json
import os
import socket
import subprocess
import sys
import textwrap
import urllib.request
import warnings
from dataclasses import replace

import aiohttp
import pytest
import requests

from astroanomaly import ConfigError, FetchConfig, FetchError, StorageError, UnreadableError
from astroanomaly.fetch import get, using
from astroanomaly.fetch.recording.run import read_record, recorded
from astroanomaly.fetch.recording.secrets import Secrets
from servers.base import NOT_FOUND, Answer, Server

BODY = bytes(range(256)) * 40


class Files(Server):
    slow_s = 1.5

    def answer(self, asked):
        if asked.path == "/packed":
            packed = gzip.compress(BODY)
            return Answer(packed, headers={"Content-Encoding": "gzip"})
        if asked.path == "/leak":
            return Answer(gzip.compress(b"the word is " + b"sesame-1234"))
        if asked.path == "/said":
            return Answer(
                f"{asked.body.decode()} {asked.get('token')}".encode(), headers={"X-Auth-Token": "sesame-1234"}
            )
        if asked.path == "/moved":
            return Answer(status=302, headers={"Location": "/file?token=sesame-1234"})
        return Answer(BODY) if asked.path == "/file" else NOT_FOUND


@pytest.fixture
def server():
    with Files() as started:
        yield started


@pytest.fixture
def config(tmp_path):
    return FetchConfig(attempts=1, timeout_s=0.5, keep=str(tmp_path / "kept"), first_wait_s=0.01)


@contextlib.contextmanager
def running(config):
    with recorded(config, lambda folder: {"asked": "a test"}) as run, using(run.fetch):
        yield


def by_requests(url, **more):
    with warnings.catch_warnings(), requests.Session() as session:
        answer = session.request("POST" if more else "GET", url, timeout=0.5, **more)
        return answer.status_code, answer.content


def by_http(url, method="GET", body=None, headers=None):
    place, _, path = url.removeprefix("http://").partition("/")
    with contextlib.closing(http.client.HTTPConnection(place, timeout=0.5)) as connection:
        connection.request(method, f"/{path}", body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()


def by_urllib(url):
    with urllib.request.urlopen(url, timeout=0.5) as answer:
        return answer.status, answer.read()


def by_aiohttp(url):
    async def ask():
        timeout = aiohttp.ClientTimeout(sock_read=0.5)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as answer:
            return answer.status, await answer.read()

    return asyncio.run(ask())


CLIENTS = (by_requests, by_http, by_urllib, by_aiohttp)


def outcome(call, *arguments):
    """What a call gives, or the classes of the error that it raises and what it says of its cause."""
    try:
        return call(*arguments)
    except (OSError, http.client.HTTPException, aiohttp.ClientError) as error:
        return type(error)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_replay_gives_what_was_recorded_and_asks_nobody(client, server, config, tmp_path):
    paths = ("/file", "/packed", "/none", "/file")
    with running(replace(config, record=str(tmp_path / "r"))):
        first = [outcome(client, server.url + path) for path in paths]
    asked = server.count()
    with running(replace(config, replay=str(tmp_path / "r"))):
        again = [outcome(client, server.url + path) for path in paths]
    assert again == first
    assert first[0] == (200, BODY)
    assert server.count() == asked == len(paths)
    assert client(server.url + "/file") == (200, BODY)  # afterwards clients are as they were
    assert server.count() == asked + 1


@pytest.mark.parametrize("kind", ["dropped", "refused", "slow", "500", "empty", "truncated"])
@pytest.mark.parametrize("client", CLIENTS)
def test_a_trouble_is_replayed_and_passes_again(client, kind, server, config, tmp_path):
    server.misbehave(kind, 1)
    with running(replace(config, record=str(tmp_path / "r"))):
        first = [outcome(client, f"{server.url}/file") for _ in range(2)]
    with running(replace(config, replay=str(tmp_path / "r"))):
        again = [outcome(client, f"{server.url}/file") for _ in range(2)]
    assert first[1] == (200, BODY)
    assert first[0] != first[1] or (client, kind) == (by_aiohttp, "refused")  # aiohttp itself asks once more
    assert again[1] == first[1]
    assert again[0] == first[0] or (issubclass(again[0], Exception) and issubclass(first[0], Exception))


def test_reasons_of_troubles_are_the_same(server, config, tmp_path):
    server.misbehave("slow", 1, "a")
    server.misbehave("dropped", 1, "b")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        urls = [f"{server.url}/file?a", f"{server.url}/file?b", f"http://127.0.0.1:{nobody.getsockname()[1]}/"]

    def reasons():
        for url in urls:
            with pytest.raises(FetchError) as caught:
                get(url, what="the file")
            yield caught.value.reason

    with running(replace(config, record=str(tmp_path / "r"))):
        first = list(reasons())
    with running(replace(config, replay=str(tmp_path / "r"))):
        assert list(reasons()) == first
    assert [reason.partition(" (")[0] for reason in first] == [
        "no answer within 0.5 s",
        "the connection broke",
        "the connection was refused",
    ]


# ------------------------------------------------------------------------------------------------------------- secrets


def test_nothing_secret_is_in_the_folder(server, config, tmp_path, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://jane:proxy-word@proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("SOME_API_KEY", "key-of-the-environment")
    monkeypatch.setattr(
        sys, "argv", ["astroanomaly", "ingest", "x", os.path.expanduser("~/data"), "http://u:pass-word@h/"]
    )
    basic = base64.b64encode(b"jane:sesame-1234").decode()
    with running(replace(config, record=str(tmp_path / "r"))):
        by_requests(
            f"{server.url}/said?token=sesame-5678&q=1",
            data={"password": "sesame 90/1", "query": "key-of-the-environment"},
        )
        sent = {"Authorization": f"Basic {basic}", "Cookie": "SID=cookie-word; b=1", "Content-Type": "application/json"}
        by_http(f"{server.url}/said?sig=abc123def", "POST", b'{"access_token": "json-word", "n": 1}', sent)
        by_requests(f"{server.url}/said", files={"password": (None, "part-word"), "table": ("t.vot", b"jane")})
        by_requests(f"{server.url}/moved")
        by_requests(f"{server.url}/leak")
    words = (
        "sesame",
        "proxy-word",
        "key-of-the",
        "abc123def",
        "json-word",
        "cookie-word",
        "part-word",
        "pass-word",
        "jane",
    )
    looked_at = 0
    for path in (tmp_path / "r").rglob("*.*"):
        content = path.read_bytes()
        looked_at += 1
        for word in (*words, basic, os.path.expanduser("~/")):
            assert word.encode() not in content, path
        with contextlib.suppress(OSError):
            assert b"sesame" not in gzip.decompress(content), path
    assert looked_at > 10
    assert read_record(tmp_path / "r")["command"] == ["ingest", "x", "~/data", "http://h/"]
    with running(replace(config, replay=str(tmp_path / "r"))):
        said = by_requests(f"{server.url}/said?token=other&q=1", data={"password": "other", "query": "x" * 22})
        assert said[0] == 200
        assert by_requests(f"{server.url}/moved") == (200, BODY)


def test_secrets_are_found_in_every_form():
    secrets = Secrets({"X_TOKEN": "s3cret/of+the=test"})
    raw = b"s3cret/of+the=test"
    for shift in range(3):
        coded = base64.b64encode(b"abc"[:shift] + raw + b"tail")
        assert coded != secrets.answer(coded)
        assert len(coded) == len(secrets.answer(coded))
    for text in ("s3cret%2Fof%2Bthe%3Dtest", "s3cret%2fof%2bthe%3dtest", "s3cret/of%2Bthe%3Dtest", raw.hex()):
        assert set(secrets.answer(text.encode())) == {ord("x")}
    assert secrets.answer(b"a test of the secret") == b"a test of the secret"


# -------------------------------------------------------------------------------------------------- what is refused


def test_what_is_not_in_the_record_is_refused_and_said(server, config, tmp_path):
    with running(replace(config, record=str(tmp_path / "r"))):
        by_requests(f"{server.url}/file")

    def replay():
        with running(replace(config, replay=str(tmp_path / "r"))):
            assert outcome(by_requests, f"{server.url}/other") is FetchError
            assert outcome(lambda url: by_requests(url, data={"a": "1"}), f"{server.url}/file") is FetchError
            assert by_requests(f"{server.url}/file") == (200, BODY)

    with pytest.raises(
        FetchError, match=r"2 of its requests had no answer there; the first: .* GET .*/other.* as record"
    ):
        replay()
    assert server.count() == 1


def test_a_replay_reaches_no_network_by_any_way(server, config, tmp_path):
    with running(replace(config, record=str(tmp_path / "r"))):
        by_requests(f"{server.url}/file")
    with running(replace(config, replay=str(tmp_path / "r"))):
        with pytest.raises(FetchError, match="nothing is asked of the network"):
            socket.create_connection(("127.0.0.1", server.port))
        with pytest.raises(FetchError, match="nothing is asked of the network"):
            socket.getaddrinfo("archive.example", 443)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one, pytest.raises(FetchError):
            one.sendto(b"", ("127.0.0.1", 53))
    socket.create_connection(("127.0.0.1", server.port)).close()


def test_large_answers_are_kept_as_their_beginning(server, config, tmp_path):
    with running(replace(config, record=str(tmp_path / "r"), record_mb=0.005)):
        assert by_requests(f"{server.url}/file") == (200, BODY)
    (about,) = [json.loads(path.read_text()) for path in (tmp_path / "r" / "exchanges").glob("*.json")]
    assert about["answer"]["bytes"] == len(BODY)
    assert not about["answer"]["whole"]
    with pytest.raises(FetchError, match=r"does not hold the whole of this answer of 0\.01024 MB"):  # noqa: SIM117
        with running(replace(config, replay=str(tmp_path / "r"))), contextlib.suppress(FetchError):
            by_requests(f"{server.url}/file")


def test_folders_that_do_not_fit(server, config, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    (tmp_path / "file").touch()
    for name in ("full", "file"):
        with (
            pytest.raises(ConfigError, match="is there already"),
            running(replace(config, record=str(tmp_path / name))),
        ):
            pass
    with pytest.raises(ConfigError, match="exclude one another"), running(replace(config, record="a", replay="b")):
        pass
    with pytest.raises(UnreadableError, match="no record"), running(replace(config, replay=str(tmp_path / "full"))):
        pass
    with pytest.raises(StorageError), running(replace(config, record=str(tmp_path / "file" / "below"))):
        pass
    with running(replace(config, record=str(tmp_path / "r"))):  # noqa: SIM117
        with (
            pytest.raises(ConfigError, match="one run at a time"),
            running(replace(config, record=str(tmp_path / "s"))),
        ):
            pass


@pytest.mark.parametrize(
    "change",
    [
        lambda about, path: about.clear(),
        lambda about, path: about.update(format=99),
        lambda about, path: about["request"].update(url=5),
        lambda about, path: about["answer"].update(headers=[["A", "b\r\nSet-Cookie: c"]]),
        lambda about, path: about["answer"].update(bytes=10**30),
        lambda about, path: path.with_suffix(".answer").write_bytes(b"less"),
        lambda about, path: (
            path.with_suffix(".answer").unlink(),
            path.with_suffix(".answer").symlink_to("/etc/passwd"),
        ),
    ],
)
def test_a_strangers_record_that_is_damaged_is_refused(change, server, config, tmp_path):
    with running(replace(config, record=str(tmp_path / "r"))):
        by_requests(f"{server.url}/file")
    (path,) = (tmp_path / "r" / "exchanges").glob("*.json")
    about = json.loads(path.read_text())
    change(about, path)
    path.write_text(json.dumps(about))
    with pytest.raises((UnreadableError, FetchError)), running(replace(config, replay=str(tmp_path / "r"))):
        by_requests(f"{server.url}/file")


def test_a_run_that_is_killed_leaves_a_record(server, config, tmp_path):
    program = f"""
        import os, requests
        from astroanomaly import FetchConfig
        from astroanomaly.fetch import using
        from astroanomaly.fetch.recording.run import recorded
        config = FetchConfig(record={str(tmp_path / "r")!r}, keep={str(tmp_path / "kept")!r})
        with recorded(config, lambda folder: {{}}) as run, using(run.fetch):
            requests.get("{server.url}/file")
            os.kill(os.getpid(), 9)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=False)
    assert done.returncode == -9
    assert read_record(tmp_path / "r")["finished"] is False
    with running(replace(config, replay=str(tmp_path / "r"))):
        assert by_requests(f"{server.url}/file") == (200, BODY)


def test_nothing_kept_is_used_or_left(server, config, tmp_path):
    from astroanomaly.fetch import cached, download

    def fetch():
        path = cached(
            {"x": 1}, lambda path: download(f"{server.url}/file", path, what="it"), host=server.url, what="it"
        )
        assert path.read_bytes() == BODY

    with using(config):
        fetch()
    with running(replace(config, record=str(tmp_path / "r"))):
        fetch()
    assert server.count() == 2
    products = sorted((tmp_path / "kept" / "products").rglob("*"))
    with running(replace(config, replay=str(tmp_path / "r"))):
        fetch()
    assert sorted((tmp_path / "kept" / "products").rglob("*")) == products
    assert not list((tmp_path / "kept" / "records").iterdir())
    assert server.count() == 2
