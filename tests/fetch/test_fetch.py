"""Asking archives: what is tried again, how politely, what is kept, and what the user is told."""

import errno
import functools
import gzip
import http.client
import inspect
import io
import json
import logging
import math
import os
import pickle
import signal
import ssl
import subprocess
import sys
import textwrap
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from astroanomaly import ConfigError, FetchConfig, FetchError, StorageError, UnreadableError, fetch
from astroanomaly.fetch.classify_errors import clean
from astroanomaly.files import locks
from folders import TESTS
from servers.base import NOT_FOUND, Answer, Server


def image(seed=0, **cards):
    data = np.random.default_rng(seed).normal(size=(40, 50)).astype(np.float32)
    table = fits.BinTableHDU.from_columns([fits.Column("x", "E", array=np.arange(700))])
    made = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(data, fits.Header(cards)), table]).writeto(made)
    return made.getvalue()


class Archive(Server):
    """Images by number: ``/image?n=3``."""

    def answer(self, asked):
        if asked.path == "/image":
            return Answer(image(int(asked.get("n", "0"))), "application/fits")
        if asked.path == "/gone":
            return NOT_FOUND
        if asked.path == "/private":
            return Answer(b"<html><body>Please log in</body></html>", "text/html", 403)
        return Answer(asked.line.encode(), "text/plain")


@pytest.fixture
def server():
    with Archive() as running:
        yield running


@pytest.fixture
def config(tmp_path):
    return FetchConfig(first_wait_s=0.01, attempts=3, timeout_s=0.5, keep=str(tmp_path / "kept"))


@pytest.fixture
def quick(config):
    with fetch.using(config):
        yield config


def get_image(server, n=0, **more):
    check = functools.partial(fetch.is_fits, what="image")
    return fetch.get(f"{server.url}/image", params={"n": n}, what=f"image {n}", check=check, **more)


def keep_image(server, n=0, **more):
    return fetch.cached(
        {"service": "archive", "product": n},
        lambda path: fetch.download(f"{server.url}/image", path, params={"n": n}, what=f"image {n}"),
        host=server.url,
        what=f"image {n}",
        check=functools.partial(fetch.is_fits, what=f"image {n}"),
        suffix=".fits",
        **more,
    )


# ----------------------------------------------------------------------------------------------------------- trying


@pytest.mark.parametrize("kind", ["slow", "dropped", "refused", "429", "500", "503", "empty", "html", "truncated"])
def test_a_passing_trouble_is_overcome(server, quick, kind):
    server.misbehave(kind)
    before = fetch.traffic()
    assert get_image(server, 3) == image(3)
    assert server.count() == 2
    asked = fetch.traffic() - before
    assert (asked.requests, asked.retries) == (2, 1)
    assert asked.nbytes >= len(image(3))


LASTING = {
    "slow": "no answer within 0.5 s",
    "dropped": "the connection broke",
    "refused": "the connection broke",
    "429": "HTTP 429 Too Many Requests: slow down",
    "500": "HTTP 500 Internal Server Error: Internal trouble",
    "empty": "an empty answer",
    "html": "a page came instead of FITS: Scheduled maintenance The archive is back on Monday.",
    "truncated": "the FITS file is cut short: it ends before its header says",
}


@pytest.mark.parametrize("kind", LASTING)
def test_a_lasting_trouble_is_told_after_the_last_try(server, quick, kind):
    server.misbehave(kind, math.inf)
    with pytest.raises(FetchError) as caught:
        get_image(server, 3)
    assert server.count() == 3
    assert caught.value.retryable
    host = f"127.0.0.1:{server.port}"
    assert str(caught.value) == (
        f"image 3: {LASTING[kind]} ({host}); tried 3 times. Try again later: what was fetched is kept"
    )
    assert caught.value.reason == f"{LASTING[kind]} ({host})"


def test_what_no_second_try_can_help_is_told_at_once(server, quick):
    for path, reason in (("/gone", "HTTP 404 Not Found"), ("/private", "HTTP 403 Forbidden: Please log in")):
        with pytest.raises(FetchError, match=reason) as caught:
            fetch.get(server.url + path, what="it")
        assert not caught.value.retryable
        assert caught.value.status == int(reason[5:8])
        assert server.count(path) == 1
    server.misbehave("votable error")
    with pytest.raises(FetchError, match="the service states an error: the query took too long"):
        get_image(server)
    assert server.count("image") == 1


def test_a_server_that_is_not_there(quick):
    with Archive() as server:
        url = server.url
    with pytest.raises(FetchError, match=r"^it: the connection was refused \(127\.0\.0\.1:\d+\); tried 3 times"):
        fetch.get(url, what="it")


def test_neither_password_nor_query_is_in_a_message(server, quick, caplog):
    caplog.set_level(logging.INFO, "astroanomaly")
    server.misbehave("500", math.inf)
    url = server.url.replace("http://", "http://me:hunter2@") + "/x?token=sesame"

    def with_urllib():
        raise RuntimeError(f"cannot open {url} with password='hunter2', Authorization: Bearer sesame")

    for call in (lambda: fetch.get(url, what="it"), lambda: fetch.attempt(with_urllib, host=url, what="it")):
        with pytest.raises(FetchError) as caught:
            call()
        for text in (str(caught.value), caught.value.reason, caplog.text):
            assert "hunter2" not in text
            assert "sesame" not in text


@pytest.mark.parametrize(
    "text",
    [
        "Set JSESSIONID=hunter2; Path=/",
        "sent user=hunter2&pass=hunter2",
        "refused 'Bearer hunter2.hunter2'",
        "MY_PASSWORD='hunter2 hunter2'",
        '{"CASDA_TOKEN": "hunter2, hunter2"}',
        "aws_secret_access_key=hunter2",
        "my_token: hunter2",
    ],
)
def test_no_secret_passes_whatever_it_is_called(text):
    assert "hunter2" not in clean(text)
    assert "..." in clean(text)


def test_text_of_a_service_cannot_steer_the_terminal():
    assert clean("a\x1b[31mred\x9b2J\x07\x00 b\r\nc\td") == "a[31mred2J b c d"
    assert clean("the passage of the bypass: 5") == "the passage of the bypass: 5"


def failing(error, then="fine"):
    left = [error]

    def call():
        if left:
            raise left.pop()
        return then

    return call


def urllib_error(status):
    return urllib.error.HTTPError("http://x", status, "", {}, None)


def botocore_error(status):
    exceptions = pytest.importorskip("botocore.exceptions")
    return exceptions.ClientError({"ResponseMetadata": {"HTTPStatusCode": status}, "Error": {"Message": "why"}}, "Get")


def pyvo_error(status):
    import requests
    from pyvo.dal import DALServiceError

    response = requests.Response()
    response.status_code = status
    return DALServiceError.from_except(requests.HTTPError("bad", response=response), "http://x?a=1")


@pytest.mark.parametrize("make", [urllib_error, botocore_error, pyvo_error])
def test_the_status_is_found_whatever_client_wraps_it(quick, make):
    assert fetch.attempt(failing(make(503)), host="x", what="it") == "fine"
    assert fetch.attempt(failing(make(429)), host="x", what="it") == "fine"
    with pytest.raises(FetchError, match="HTTP 404"):
        fetch.attempt(failing(make(404)), host="x", what="it")


def test_broken_connections_are_known_by_any_name(quick):
    import requests
    import urllib3

    for error in (
        TimeoutError(),
        ConnectionResetError(),
        urllib.error.URLError(TimeoutError("timed out")),
        http.client.IncompleteRead(b""),
        requests.exceptions.ChunkedEncodingError(urllib3.exceptions.ProtocolError("broken", OSError())),
        FetchError("later", retryable=True),
    ):
        assert fetch.attempt(failing(error), host="x", what="it") == "fine"


def test_other_errors_end_at_once(quick):
    with pytest.raises(FetchError, match=r"^it: ValueError: no such band \(x\)$"):
        fetch.attempt(failing(ValueError("no such band")), host="x", what="it")
    with pytest.raises(ConfigError, match=r"^as it is$"):
        fetch.attempt(failing(ConfigError("as it is")), host="x", what="it")
    with pytest.raises(StorageError, match="no space left"):
        fetch.attempt(failing(OSError(28, "No space left on device")), host="x", what="it")
    with pytest.raises(KeyboardInterrupt):
        fetch.attempt(failing(KeyboardInterrupt()), host="x", what="it")


def test_what_cannot_be_read_fails_for_one_object_only(server, quick):
    def check(content):
        raise UnreadableError("it holds no image with a WCS")

    with pytest.raises(FetchError, match=r"^it: it holds no image with a WCS \(127") as caught:
        fetch.get(server.url, what="it", check=check)
    assert not caught.value.retryable
    assert caught.value.reason.startswith("it holds no image with a WCS")
    assert server.count() == 1


def test_passing_troubles_of_the_net_and_of_tls_are_tried_again(quick):
    for error in (
        ssl.SSLEOFError(8, "EOF occurred in violation of protocol"),
        ssl.SSLError(1, "[SSL: DECRYPTION_FAILED_OR_BAD_RECORD_MAC] decryption failed"),
        OSError(errno.ENETDOWN, "Network is down"),
        OSError(errno.EHOSTDOWN, "Host is down"),
        OSError(errno.ENETUNREACH, "Network is unreachable"),
        OSError("Header missing END card."),
        OSError("Empty or corrupt FITS file"),
    ):
        assert fetch.attempt(failing(error), host="x", what="it") == "fine"
    with pytest.raises(FetchError, match="its certificate is not trusted"):
        fetch.attempt(failing(ssl.SSLCertVerificationError(1, "certificate verify failed")), host="x", what="it")


@pytest.mark.parametrize("content", [b"", b"SIMPLE  = nonsense"], ids=["empty", "damaged"])
def test_what_astropy_cannot_open_is_tried_again(quick, content):
    def call():
        with fits.open(io.BytesIO(content)) as file:
            return file[0].data

    with pytest.raises(FetchError, match=r"^it: no readable FITS file \(x\); tried 3 times"):
        fetch.attempt(call, host="x", what="it")


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("/there", "it sends from one address to the next without end"),
        ("http://[", "is not valid"),
        ("ftp://x", "is not valid"),
    ],
)
def test_a_redirect_to_nowhere_is_told_plainly(quick, place, reason):
    class Sends(Server):
        def answer(self, asked):
            return Answer(status=302, headers={"Location": place})

    with Sends() as server, pytest.raises(FetchError, match=f"^it: .*{reason} .127") as caught:
        fetch.get(server.url, what="it")
    assert not caught.value.retryable


def test_a_call_inside_a_call_is_repeated_by_the_outer_one_only(server, config):
    server.misbehave("500", math.inf)
    before = fetch.traffic()
    with fetch.using(FetchConfig(**{**vars(config), "requests": 1})), pytest.raises(FetchError) as caught:
        keep_image(server)
    assert server.count() == 3
    assert (fetch.traffic() - before).requests == 3
    assert str(caught.value).startswith("image 0: HTTP 500 Internal Server Error: Internal trouble (127.0.0.1:")
    assert str(caught.value).count("127.0.0.1") == 1


def test_an_error_crosses_the_border_of_a_process():
    error = pickle.loads(pickle.dumps(FetchError("a: b", retryable=True, reason="b", status=503, wait_s=3)))
    assert (str(error), error.retryable, error.reason, error.status, error.wait_s) == ("a: b", True, "b", 503, 3)


# ------------------------------------------------------------------------------------------------------- politeness


def test_never_more_requests_at_once_than_allowed_over_processes(server, config):
    server.misbehave("slow", math.inf)
    server.slow_s = 0.05
    script = textwrap.dedent(
        f"""
        from astroanomaly import FetchConfig, fetch
        with fetch.using(FetchConfig(requests=2, keep={config.keep!r})):
            for item, result in fetch.each(lambda n: fetch.get(f"{server.url}/{{n}}", what="it"), range(8)):
                assert result == f"/{{item}}".encode(), result
        """
    )
    running = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(3)]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    assert server.count() == 24
    assert server.busiest == 2


def test_without_flock_the_limits_hold_all_the_same(server, config, monkeypatch):
    monkeypatch.setattr(locks, "fcntl", None)
    server.misbehave("slow", math.inf)
    server.slow_s = 0.05
    with fetch.using(FetchConfig(requests=2, pause_s=0.001, keep=config.keep)):
        found = dict(fetch.each(lambda n: keep_image(server, n), range(6)))
    assert [found[n].read_bytes() for n in range(6)] == [image(n) for n in range(6)]
    assert server.busiest == 2
    assert not list((Path(config.keep) / "locks").iterdir())
    assert not list(Path(config.keep).rglob("*.held"))


def test_requests_keep_their_distance(server, config):
    with fetch.using(FetchConfig(**{**vars(config), "pause_s": 0.08})):
        results = list(fetch.each(lambda n: fetch.get(f"{server.url}/{n}", what="it"), range(6)))
    assert len(results) == 6
    moments = sorted(asked.moment for asked in server.asked)
    assert min(np.diff(moments)) > 0.05


def test_retry_after_holds_back_everybody(server, quick):
    server.retry_after_s = 0.4
    server.misbehave("429")
    began = time.monotonic()
    for _ in fetch.each(lambda n: fetch.get(f"{server.url}/{n}", what="it"), range(12)):
        pass
    first_wave = [asked for asked in server.asked if asked.moment - began < 0.35]
    assert len(first_wave) <= 8  # those that had begun
    assert server.count() == 13


def test_an_endless_retry_after_is_not_obeyed(server, config):
    server.retry_after_s = 86400
    server.misbehave("429")
    with fetch.using(FetchConfig(**{**vars(config), "longest_wait_s": 0.1})):
        assert fetch.get(server.url, what="it")


def test_waits_double(server, config):
    server.misbehave("500", math.inf)
    with fetch.using(FetchConfig(**{**vars(config), "attempts": 5, "first_wait_s": 0.04})), pytest.raises(FetchError):
        fetch.get(server.url, what="it")
    waits = np.diff([asked.moment for asked in server.asked])
    assert all(0.5 * 0.04 * 2**n <= wait <= 1.5 * 0.04 * 2**n + 0.1 for n, wait in enumerate(waits))


def test_each_gives_errors_beside_results_and_ends_with_any_other(server, quick):
    server.misbehave("500", math.inf, where="/3")
    found = dict(fetch.each(lambda n: fetch.get(f"{server.url}/{n}", what=f"item {n}"), range(6)))
    assert {n for n, result in found.items() if isinstance(result, FetchError)} == {3}
    assert found[5] == b"/5"
    with pytest.raises(ZeroDivisionError):
        list(fetch.each(lambda n: 1 / n, [0]))


def test_each_leaves_what_has_not_begun_when_the_caller_stops(server, config):
    server.misbehave("500", math.inf, where="/1")
    began = time.monotonic()
    with fetch.using(FetchConfig(**{**vars(config), "first_wait_s": 30})):
        for _ in fetch.each(lambda n: fetch.get(f"{server.url}/{n}", what="it"), range(1000)):
            break
    assert time.monotonic() - began < 5  # the wait before a second try ends too
    assert server.count() < 20


class Dribble(ThreadingHTTPServer):
    """Promises 100 kB and sends a byte every 0.1 s."""

    daemon_threads = True
    block_on_close = False

    def __init__(self):
        self.asked = 0
        super().__init__(("127.0.0.1", 0), self.Handler)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __exit__(self, *error):
        self.shutdown()
        super().__exit__(*error)

    def handle_error(self, request, client_address):
        """Say nothing of clients that went away."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.asked += 1
            self.send_response(int(self.path[1:]))
            self.send_header("Content-Length", "100000")
            self.end_headers()
            for _ in range(100_000):
                self.wfile.write(b"x")
                time.sleep(0.1)

        def log_message(self, *words):
            """Keep quiet."""


@pytest.mark.parametrize("status", [200, 500])
def test_an_answer_that_dribbles_is_too_slow(quick, status):
    began = time.monotonic()
    with Dribble() as server:
        with pytest.raises(FetchError, match=r"^it: too slow: less than 1 kB/s came \(.*tried 3 times") as caught:
            fetch.get(f"{server.url}/{status}", what="it")
        assert server.asked == 3
    assert caught.value.retryable
    assert time.monotonic() - began < 5


def test_each_does_not_wait_for_an_answer_that_dribbles_when_the_caller_stops(server, config):
    with Dribble() as dribble, fetch.using(FetchConfig(**{**vars(config), "timeout_s": 60})):
        began = time.monotonic()
        for _ in fetch.each(lambda n: fetch.get(f"{dribble.url}/200" if n else server.url, what="it"), range(8)):
            break
        assert time.monotonic() - began < 2


@pytest.mark.parametrize("kind", ["silent", "dribbles"])
def test_an_interrupt_ends_a_process_whatever_the_server_does(server, config, kind):
    server.misbehave("slow", math.inf)
    server.slow_s = 30
    with Dribble() as dribble:
        url = server.url if kind == "silent" else f"{dribble.url}/200"
        script = textwrap.dedent(
            f"""
            from astroanomaly import FetchConfig, fetch
            with fetch.using(FetchConfig(keep={config.keep!r})):
                for item, result in fetch.each(lambda n: fetch.get({url!r}, what="it"), range(8)):
                    print(result)
            """
        )
        process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE)
        until = time.monotonic() + 20
        while not (server.count() or dribble.asked) and time.monotonic() < until:
            time.sleep(0.02)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=20)[1].decode()
    assert "KeyboardInterrupt" in said
    assert time.monotonic() - began < 3


# ----------------------------------------------------------------------------------------------------------- keeping


@pytest.mark.parametrize("suffix", ["", ".json", ".about.fits"])
def test_no_end_of_a_name_stands_in_the_way_of_the_note(server, quick, suffix):
    def make(path):
        path.write_bytes(b"{}")

    ask = {"request": {"suffix": suffix}, "make": make, "host": server.url, "what": "it", "suffix": suffix}
    path = fetch.cached(**ask)
    before = fetch.traffic()
    assert fetch.cached(**ask) == path
    assert fetch.traffic() - before == fetch.Traffic(cached=1)
    assert path.read_bytes() == b"{}"


def test_what_was_fetched_is_kept_with_its_request(server, quick):
    path = keep_image(server, 2)
    assert path.read_bytes() == image(2)
    assert path.suffix == ".fits"
    about = json.loads(path.with_suffix(".about").read_text())
    assert about["request"] == {"service": "archive", "product": 2}
    before = fetch.traffic()
    assert keep_image(server, 2) == path
    assert fetch.traffic() - before == fetch.Traffic(cached=1)
    assert server.count() == 1
    assert keep_image(server, 3) != path
    assert not list((Path(quick.keep) / "new").iterdir())
    assert not list((Path(quick.keep) / "locks").iterdir())


def test_a_damaged_file_is_fetched_anew(server, quick, caplog):
    path = keep_image(server)
    for damage in (
        lambda: path.write_bytes(path.read_bytes()[:-1] + b"!"),
        lambda: path.write_bytes(b""),
        path.unlink,
        lambda: path.with_suffix(".about").write_text("{"),
        path.with_suffix(".about").unlink,
    ):
        damage()
        before = server.count()
        assert keep_image(server).read_bytes() == image()
        assert server.count() == before + 1
    assert "is damaged" in caplog.text


def test_refresh_fetches_anew_once_a_run(server, config):
    fresh = FetchConfig(**{**vars(config), "refresh": True})
    with fetch.using(config):
        keep_image(server)
    for _ in range(2):
        with fetch.using(fresh):
            keep_image(server)
            keep_image(server)
    assert server.count() == 3


def test_a_failed_fetch_leaves_the_old_file_and_no_rubbish(server, config):
    with fetch.using(config):
        path = keep_image(server)
    server.misbehave("truncated", math.inf)
    with fetch.using(FetchConfig(**{**vars(config), "refresh": True})), pytest.raises(FetchError, match="cut short"):
        keep_image(server)
    assert path.read_bytes() == image()
    assert not list((Path(config.keep) / "new").iterdir())


def test_a_client_that_writes_nothing_is_found_out(quick):
    with pytest.raises(FetchError, match=r"^a map: nothing came \(x\); tried 3 times"):
        fetch.cached({"a": 1}, lambda path: None, host="x", what="a map")


def test_every_try_has_a_fresh_folder(quick):
    seen = []

    def make(path):
        seen.append(path)
        assert list(path.parent.iterdir()) == []
        path.write_bytes(b"half")
        (path.parent / "debris").write_text("")
        if len(seen) < 3:
            raise ConnectionResetError

    assert fetch.cached({"a": 1}, make, host="x", what="it").read_bytes() == b"half"
    assert len({path.parent for path in seen}) == 3


def test_several_processes_fetch_one_product_once(server, config):
    server.misbehave("slow", math.inf)
    server.slow_s = 0.1
    script = textwrap.dedent(
        f"""
        import sys
        sys.path[:0] = [{str(TESTS)!r}, {str(Path(__file__).parent)!r}]
        from types import SimpleNamespace
        from astroanomaly import FetchConfig, fetch
        from test_fetch import keep_image
        server = SimpleNamespace(url={server.url!r})
        with fetch.using(FetchConfig(keep={config.keep!r})):
            for _, path in fetch.each(lambda n: keep_image(server, n % 3), range(12)):
                assert path.stat().st_size > 1000
        """
    )
    running = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(3)]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    assert server.count() == 3


def test_what_was_not_used_for_longest_goes_first(server, config):
    size = len(image())
    with fetch.using(FetchConfig(**{**vars(config), "keep_gb": 3.5 * size / 1e9})):
        paths = [keep_image(server, n) for n in range(3)]
        for age, path in zip((3000, 1000, 2000), paths, strict=True):
            os.utime(path.with_suffix(".about"), (time.time() - age,) * 2)
        keep_image(server, 0)  # used again
        keep_image(server, 3)
        assert [path.exists() for path in paths] == [True, True, False]
        assert not paths[2].with_suffix(".about").exists()


def test_what_another_machine_left_goes_once_nobody_can_be_using_it(server, config, tmp_path):
    new, key = tmp_path / "kept" / "new", "0123456789abcdef" * 4
    names = {
        "held": f".tmp-fedcba98-4711-01234567-00000001-{key}",
        "abandoned": f".tmp-fedcba98-4711-01234567-00000002-{key[::-1]}",
        "written to": f".tmp-fedcba98-4711-01234567-00000003-{key[4:]}0123",
        "of no known product": ".tmp-fedcba98-4711-01234567-00000004-product",
    }
    for what, name in names.items():
        (new / name).mkdir(parents=True)
        (new / name / "product.fits").write_bytes(b"half")
        if what != "written to":
            os.utime(new / name / "product.fits", (1e9, 1e9))
        os.utime(new / name, (1e9, 1e9))
    (tmp_path / "kept" / "locks").mkdir()
    with fetch.using(config), locks.locked(tmp_path / "kept" / "locks" / key):  # as its fetch would, wherever it runs
        keep_image(server, 1)
    assert {what for what, name in names.items() if (new / name).exists()} == set(names) - {"abandoned"}
    assert list((tmp_path / "kept" / "locks").iterdir()) == [tmp_path / "kept" / "locks" / key]


def test_a_lock_that_cannot_be_made_is_an_error_with_a_way_out(server, quick):
    path = keep_image(server)
    path.unlink()
    (Path(quick.keep) / "locks" / path.stem).mkdir()
    with pytest.raises(StorageError, match=r"locks/.* cannot be made: .*--keep"):
        keep_image(server)


def test_a_folder_nobody_may_write_to_answers_what_it_holds(server, quick, monkeypatch):
    path = keep_image(server)

    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    for name in ("open", "mkdir", "utime", "unlink"):
        real = getattr(os, name)
        reads = name == "open"

        def guarded(path, *more, _real=real, _reads=reads, **named):
            writes = more and isinstance(more[0], int) and more[0] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            return _real(path, *more, **named) if _reads and not writes else refuse()

        monkeypatch.setattr(os, name, guarded)
    assert keep_image(server) == path
    assert server.count() == 1


def test_no_space_for_the_note_of_a_pause_is_told(quick):
    def call():
        note = Path(quick.keep) / "hosts" / "x" / "next"
        note.unlink()
        note.symlink_to("/dev/full")
        raise FetchError("later", retryable=True, wait_s=0.05)

    with pytest.raises(StorageError, match=r"next cannot be written: .*--keep"):
        fetch.attempt(call, host="x", what="it")


def test_the_default_folder_is_that_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "mine"))
    path = fetch.cached({"a": 1}, lambda path: path.write_bytes(b"1"), host="x", what="it")
    assert path.is_relative_to(tmp_path / "mine" / "astroanomaly" / "fetched")


def test_a_folder_that_cannot_be_used_is_an_error_with_a_way_out(tmp_path):
    (tmp_path / "file").write_text("")
    with fetch.using(FetchConfig(keep=str(tmp_path / "file"))), pytest.raises(StorageError, match="--keep"):
        fetch.get("http://127.0.0.1:9", what="it")


def test_values_that_make_no_sense_are_refused():
    for name, value in (("requests", 0), ("attempts", 0), ("timeout_s", 0.0), ("pause_s", -1.0), ("keep_gb", -1.0)):
        with pytest.raises(ConfigError, match=f"fetch.{name}"):
            FetchConfig(**{name: value})


# --------------------------------------------------------------------------------------------------- checks, answers


def test_whole_fits_files_pass(tmp_path):
    for content in (image(), gzip.compress(image()), image() + b"\0" * 100):
        fetch.is_fits(content, "it")
        (tmp_path / "f").write_bytes(content)
        fetch.is_fits(tmp_path / "f", "it")
    made = io.BytesIO()
    data = np.arange(10000, dtype=np.int16).reshape(100, 100)
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(data)]).writeto(made)
    fetch.is_fits(made.getvalue(), "it")


WRONG = {
    b"": "an empty answer",
    b"  \n ": "an empty answer",
    b"<html><head><style>p {}</style></head><body><p>Down &amp; out</p></body>": "a page came .*: Down & out",
    b'{"error": "no"}': 'a text came instead of FITS: {"error": "no"}',
    b"No image at this position": "a text came instead of FITS: No image",
    b"\x89PNG\r\n\x1a\n\x00\x00": "no FITS file",
    image()[:1000]: "cut short",
    image()[:5000]: "cut short",
    image()[:-2880]: "cut short",
    gzip.compress(image())[:-300]: "cut short",
    b'<?xml version="1.0"?><VOTABLE><RESOURCE/></VOTABLE>': "a VOTable came instead of FITS",
}


@pytest.mark.parametrize("content", WRONG, ids=range(len(WRONG)))
def test_anything_else_is_called_what_it_is(content):
    with pytest.raises(FetchError, match=f"it: .*{WRONG[content]}"):
        fetch.is_fits(content, "it")


def test_what_unpacks_without_end_is_refused(tmp_path):
    header = fits.Header({"SIMPLE": True, "BITPIX": 8, "NAXIS": 1, "NAXIS1": 10})
    path = tmp_path / "bomb.fits.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(header.tostring().encode())
        for _ in range(400):
            file.write(bytes(2**20))
    with pytest.raises(FetchError, match=r"it: the file unpacks to more than .* MB.* refused") as caught:
        fetch.is_fits(path, "it")
    assert not caught.value.retryable
    with gzip.open(path, "wb", compresslevel=1) as file:  # an empty image of 100 MB packs well and is fine
        file.write(image() + bytes(10**8))
    fetch.is_fits(path, "it")


def test_an_answer_is_bounded_by_what_it_unpacks_to(quick):
    class Packed(Server):
        def answer(self, asked):
            return Answer(gzip.compress(bytes(10**7)), "text/plain", headers={"Content-Encoding": "gzip"})

    with Packed() as server:
        assert len(fetch.get(server.url, what="it")) == 10**7
        with pytest.raises(FetchError, match="more than 1 MB"):
            fetch.get(server.url, what="it", most_bytes=10**6)
    assert inspect.signature(fetch.get).parameters["most_bytes"].default == 2**30


@pytest.mark.parametrize(
    "cards",
    [{"NAXIS1": -2880}, {"NAXIS1": 2**62}, {"NAXIS": 10**6}, {"PCOUNT": -(2**40)}, {"BITPIX": 7}],
    ids=lambda cards: "".join(cards),
)
def test_headers_that_cannot_be_are_refused_before_a_library_acts_on_them(cards):
    whole = image()
    for name, value in cards.items():
        card = f"{name:<8}= {value:>20}".ljust(80).encode()
        at = whole.find(f"{name:<8}=".encode())
        whole = whole[:at] + card + whole[at + 80 :]
    for content in (whole, gzip.compress(whole)):
        with pytest.raises(FetchError, match=r"it: (the answer is no readable FITS file|the FITS file is cut short)"):
            fetch.is_fits(content, "it")


def test_a_header_without_end_is_not_read_to_its_end(tmp_path):
    path = tmp_path / "long.fits"
    with path.open("wb") as file:
        file.write(image()[:2800].replace(b"END ", b"    "))
        file.truncate(2**33)  # 8 GB, of which the disk holds nothing
    with pytest.raises(FetchError, match="readable FITS file: header 0 has more than 100000 cards"):
        fetch.is_fits(path, "it")


def test_json_is_of_bounded_size_and_depth_and_of_the_kind_that_was_asked_for(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b'[{"a": 1}]')
    assert fetch.json_of(b'{"format": "VOTABLE"}', "it", dict) == {"format": "VOTABLE"}
    assert fetch.json_of(path, "it", list) == fetch.json_of(path.read_bytes(), "it", list) == [{"a": 1}]
    for content, kind, reason, retryable in (
        (b'[{"a": 1}]', dict, "expected an object, found list", True),
        (b'{"a": 1}', list, "expected a list, found dict", True),
        (b'{"a": 1', dict, "damaged, no JSON", True),
        (b'{"a": ' + b"[" * 10**5, dict, "nested more than 64 deep|damaged, no JSON", True),
        (b'{"a": \xff}', dict, "damaged, no JSON", True),
        (b"<html><body>Down</body></html>", dict, "a page came instead of JSON: Down", True),
        (b"<VOTABLE><RESOURCE/></VOTABLE>", dict, "a VOTable came instead of JSON", False),
        (b" ", dict, "an empty answer", True),
    ):
        with pytest.raises(FetchError, match=f"^it: .*({reason})") as caught:
            fetch.json_of(content, "it", kind)
        assert caught.value.retryable is retryable
    with path.open("wb") as file:
        file.truncate(2**29)
    with pytest.raises(FetchError, match=r"an empty answer|MB, more than"):
        fetch.json_of(path, "it", dict)


def test_a_page_of_an_error_that_nobody_has_read_is_read_in_part(quick):
    import requests

    class Endless(Server):
        def answer(self, asked):
            return Answer(b"Out of order. " * 10**6, "text/plain", 404)

    with Endless() as endless, requests.Session() as session, session.get(endless.url, stream=True) as response:
        with pytest.raises(FetchError, match=r"HTTP 404 Not Found: Out of order\."):
            fetch.attempt(response.raise_for_status, host=endless.url, what="it")
        assert response.raw.tell() < 2**18


def test_every_cut_that_costs_data_is_found():
    """But for one between two HDUs, which leaves a whole file: there, the length that HTTP promised is checked."""
    whole = image()
    pixels, table = 2880 + 40 * 50 * 4, 11520 + 2880 + 700 * 4
    for size in [*range(1, pixels, 997), pixels - 1, *range(11521, table, 499), table - 1]:
        with pytest.raises(FetchError, match=r"cut short|no FITS|instead of FITS"):
            fetch.is_fits(whole[:size], "it")
    fetch.is_fits(whole[:table], "it")  # some forget the padding at the end


LAUGHS = (
    b'<?xml version="1.0"?><!DOCTYPE VOTABLE [<!ENTITY e0 "ha ha ha ha ha ha ha ha ha ha ha ha">'
    + b"".join(b'<!ENTITY e%d "%s">' % (n, b"&e%d;" % (n - 1) * 10) for n in range(1, 10))
    + b"]><VOTABLE><RESOURCE><INFO>&e9;</INFO></RESOURCE></VOTABLE>"
)
FOREIGN = (
    b'<?xml version="1.0"?><!DOCTYPE VOTABLE [<!ENTITY e SYSTEM "file:///etc/hostname">]>'
    b"<VOTABLE><RESOURCE><INFO>&e;</INFO></RESOURCE></VOTABLE>"
)


def test_votables_pass_unless_they_state_an_error_or_end_early():
    from astropy.table import Table

    from servers.base import ERROR_PAGE, ERROR_VOTABLE

    made = io.BytesIO()
    Table({"ra": [1.0, 2.0], "id": ["a", "b"]}).write(made, format="votable")
    fetch.is_votable(made.getvalue(), "it")
    for content, reason, retryable in (
        (ERROR_VOTABLE, "the service states an error: the query took too long", False),
        (made.getvalue()[:-200], "cut short", True),
        (LAUGHS, "defines XML entities", False),
        (FOREIGN, "defines XML entities", False),
        (ERROR_PAGE, "a page came instead of VOTable: Scheduled maintenance", True),
        (b"", "an empty answer", True),
    ):
        with pytest.raises(FetchError, match=reason) as caught:
            fetch.is_votable(content, "it")
        assert caught.value.retryable is retryable


def mute(number):
    """Behaves as clients that log the error, print something, and return None."""
    from astroquery import log

    print(f"Launched query {number}")
    log.info("Connecting %s", number)
    if number % 2:
        log.error("Error 500: no table %s at http://x/tap?password=hunter2", number)
        return None
    return number


def test_a_silent_none_becomes_an_error_with_the_reason(capfd):
    import astroquery  # noqa: F401 - else it is imported while it is listened to

    results = {}

    def work(number):
        with fetch.answer(f"job {number}") as said:
            value = mute(number)
        try:
            results[number] = fetch.expect(value, said)
        except FetchError as error:
            results[number] = error

    threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, result in results.items():
        if number % 2:
            assert str(result) == f"job {number}: Error 500: no table {number} at http://x/tap?..."
            assert result.retryable
        else:
            assert result == number
    print("heard")
    shown = capfd.readouterr()
    assert shown.out == "heard\n"
    assert "no table" not in shown.err


def test_listening_does_not_stand_in_the_way_of_the_first_import():
    script = "from astroanomaly import fetch\nwith fetch.answer('it'):\n    import astroquery.query"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_what_was_printed_is_the_reason_when_nothing_was_logged():
    with fetch.answer("it") as said:
        print("Archive down")
        print("for maintenance")
    with pytest.raises(FetchError, match=r"^it: Archive down for maintenance$") as caught:
        fetch.expect(None, said)
    assert not caught.value.retryable
    with fetch.answer("it") as said:
        pass
    with pytest.raises(FetchError, match="gave nothing and no reason"):
        fetch.expect(None, said)
