"""Who may come in: loopback, tokens, origins, a reverse proxy with a path, a notebook. Real servers, real browsers."""

import gc
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
from bokeh.server.util import check_allowlist

from astroanomaly.app.web.address import allowed_origins, visible_host
from astroanomaly.app.web.server import AppServer
from astroanomaly.app.web.token import keep_token
from astroanomaly.errors import ConfigError, StorageError
from web_pages import free_port, get, text_of, verdicts, wait_for, websocket

ORIGIN = "https://evil.example"


@pytest.fixture
def start(tmp_path):
    """Start ``astroanomaly serve`` and return its address and port."""
    running: list[subprocess.Popen] = []

    def run(session, *words):
        log = tmp_path / f"server-{len(running)}.log"
        command = [sys.executable, "-m", "astroanomaly", "serve", str(session.path), "--no-browser", "--port", "0"]
        with log.open("w") as output:
            process = subprocess.Popen(
                [*command, "--no-background", *words],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"},
            )
        running.append(process)
        run.logs.append(log)
        end = time.monotonic() + 60
        while (found := re.search(r"open (http://\S+?:(\d+)/\S*)", log.read_text())) is None:
            assert running[-1].poll() is None, log.read_text()
            assert time.monotonic() < end
            time.sleep(0.05)
        return found[1], int(found[2])

    run.processes, run.logs = running, []
    yield run
    for process in running:
        process.terminate()
        process.wait(30)


def cookie_of(url):
    """Cookie that an address sets."""
    with urllib.request.urlopen(url, timeout=20) as reply:
        return reply.headers["Set-Cookie"].split(";")[0]


def outward_address():
    """Address of this computer that is not loopback, or None."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
            return probe.getsockname()[0]
        except OSError:
            return None


def test_it_listens_on_this_computer_only_and_refuses_other_origins(new_session, start):
    url, port = start(new_session())
    assert url == f"http://127.0.0.1:{port}/"
    assert get(url)[0] == 200
    assert websocket(port) == 101
    assert websocket(port, origin=f"http://localhost:{port}") == 101
    for origin in (ORIGIN, "http://127.0.0.1:1", "null"):
        assert websocket(port, origin=origin) == 403
    rebound = f"evil.example:{port}"  # a name that a hostile name server points at this computer
    assert websocket(port, origin=f"http://{rebound}", Host=rebound) == 403
    outside = outward_address()
    if outside and not outside.startswith("127."):
        with pytest.raises(OSError), socket.create_connection((outside, port), timeout=5):
            pass


def test_open_to_others_it_wants_the_token(new_session, start, caplog):
    session = new_session()
    port = free_port()
    wanted = ("--address", "0.0.0.0", "--port", str(port), "--allow-websocket-origin", "host.example:5006")
    url, _ = start(session, *wanted)
    base, token = url.split("?token=")
    assert base == "http://host.example:5006/"
    base = f"http://127.0.0.1:{port}/"
    assert len(token) >= 32
    for wrong in ("", "?token=", "?token=wrong", f"?token={token[:-1]}"):
        status, text = get(f"{base}{wrong}")
        assert status == 403
        assert "Bokeh" not in text
    assert websocket(port, origin="http://host.example:5006") == 403
    cookie = cookie_of(f"{base}?token={token}")
    assert websocket(port, origin="http://host.example:5006", Cookie=cookie) == 101
    assert websocket(port, origin=ORIGIN, Cookie=cookie) == 403
    assert websocket(port, Cookie=cookie) == 403  # its own address was not among those given
    assert token not in (session.path / "session.toml").read_text()
    kept = session.path / "app-token"
    assert kept.stat().st_mode & 0o777 == 0o600
    start.processes[-1].terminate()
    start.processes[-1].wait(30)
    again, _ = start(session, *wanted)
    assert again == url
    assert get(base, Cookie=cookie)[0] == 200  # the browser comes back with what it has
    kept.chmod(0o644)  # now others could have read it
    with caplog.at_level("ERROR"):
        assert keep_token(session.path)[0] != token


def test_a_token_is_kept_by_its_owner_alone_whoever_starts_first(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        tokens = {token for token, kept in pool.map(keep_token, [tmp_path] * 8) if kept}
    assert len(tokens) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["app-token"]
    (tmp_path / "app-token").write_text("short\n")
    token, kept = keep_token(tmp_path)
    assert len(token) >= 32
    assert kept
    other = tmp_path / "other"
    other.mkdir()
    (other / "app-token").symlink_to(tmp_path / "app-token")
    assert keep_token(other)[0] != token
    assert keep_token(tmp_path)[0] == token
    assert len(keep_token(tmp_path / "gone")[0]) >= 32


def test_servers_of_one_host_do_not_throw_each_other_out(new_session, start):
    cookies = {}
    for name, prefix in (("one", ""), ("two", ""), ("three", "/here")):
        port = free_port()
        url, _ = start(
            new_session(name), "--address", "0.0.0.0", "--port", str(port), "--prefix", prefix,
            "--allow-websocket-origin", f"127.0.0.1:{port}",
        )  # fmt: skip
        cookies[url.split("?")[0]] = cookie_of(url)
    assert len({cookie.split("=")[0] for cookie in cookies.values()}) == 3
    for url in cookies:
        assert get(url, Cookie="; ".join(cookies.values()))[0] == 200


@pytest.mark.parametrize(
    ("address", "origins", "shown"),
    [
        ("127.0.0.1", ["hub.org"], "127.0.0.1:5006"), ("localhost", [], "127.0.0.1:5006"), ("::1", [], "[::1]:5006"),
        ("0.0.0.0", ["host.org:80", "b.org"], "host.org:80"), ("0.0.0.0", ["*", "host.org"], "host.org:5006"),
        ("::", ["[2001:db8::1]"], "[2001:db8::1]:5006"), ("192.0.2.7", ["*"], "192.0.2.7:5006"),
    ],
)  # fmt: skip
def test_the_address_shown_is_one_that_browsers_can_open(address, origins, shown):
    assert visible_host(address, 5006, origins) == shown
    allowed = allowed_origins(address, 5006, origins)
    assert "*" in allowed or check_allowlist(shown, allowed)


def test_an_origin_without_a_port_means_that_of_the_proxy_or_of_the_server():
    assert check_allowlist("hub.org", allowed_origins("127.0.0.1", 5006, ["hub.org"]))
    assert not check_allowlist("hub.org:5006", allowed_origins("127.0.0.1", 5006, ["hub.org"]))
    assert check_allowlist("hub.org:5006", allowed_origins("0.0.0.0", 5006, ["hub.org"]))
    for wrong in ("http://hub.org", "hub.org/", "", "hub.org:99999", "a b", "hub.org:"):
        with pytest.raises(ConfigError, match="allow-websocket-origin"):
            allowed_origins("127.0.0.1", 5006, [wrong])


@pytest.mark.parametrize(
    "prefix",
    ["a/../b", "..", "a//b", "a?b", "a#b", "[a]", "a\nb", "a;b", "%2e%2e/a", "a%00b", "a\\b", '"', "%ff", "a\u202eb"],
)  # fmt: skip
def test_a_path_that_cannot_be_is_refused_with_what_can(new_session, prefix):
    with pytest.raises(ConfigError, match="--prefix"):
        AppServer(new_session().path, prefix=prefix, port=0)


@pytest.mark.parametrize("prefix", ["a+b", "user/ann(1)", "ünï", "a b", "/x/", "user/ann%40host.org", "a.b$c"])
def test_a_path_may_have_characters_with_a_meaning_elsewhere(new_session, start, chromium, prefix):
    session = new_session()
    port = free_port()
    url, _ = start(session, "--port", str(port), "--prefix", prefix, "--address", "0.0.0.0",
                   "--allow-websocket-origin", f"127.0.0.1:{port}")  # fmt: skip
    path = "/" + urllib.parse.quote(urllib.parse.unquote(prefix.strip("/")), safe="/-._~!$&'()*+,=:@") + "/"
    assert url.startswith(f"http://127.0.0.1:{port}{path}?token=")
    assert get(f"http://127.0.0.1:{port}/x{path}")[0] == 404
    query = urllib.parse.urlparse(url).query
    every = "".join(f"%{byte:02X}" if byte != ord("/") else "/" for byte in urllib.parse.unquote(path).encode())
    assert get(f"http://127.0.0.1:{port}{every}?{query}")[0] == 200
    context = chromium.new_context()
    try:
        page = context.new_page()
        failed = []
        page.on("response", lambda reply: failed.append(reply.url) if reply.status >= 400 else None)
        page.goto(f"http://127.0.0.1:{port}/{prefix.strip('/')}/?{query}")
        wait_for(lambda: "page 1" in text_of(page))
        page.keyboard.press("a")
        wait_for(lambda: verdicts(session) == ["anomaly"])
        assert [address for address in failed if "favicon" not in address] == []
    finally:
        context.close()


def test_an_open_page_comes_back_after_a_restart_and_the_terminal_stays_quiet(new_session, start, chromium):
    session = new_session()
    port = free_port()
    words = ("--port", str(port), "--address", "0.0.0.0", "--allow-websocket-origin", f"127.0.0.1:{port}")
    url, _ = start(session, *words)
    context = chromium.new_context()
    try:
        page = context.new_page()
        page.goto(url)
        wait_for(lambda: "page 1" in text_of(page))
        assert page.evaluate("Bokeh.documents[0].config.notify_connection_status") is False
        assert page.evaluate("Bokeh.documents[0].config.reconnect_session") is False
        token = re.search(r'"token":"([^"]+)"', page.content())[1]
        start.processes[-1].kill()
        start.processes[-1].wait(30)
        wait_for(lambda: "connection to the server is lost" in text_of(page))
        assert "Client connection" not in text_of(page)
        start(session, *words)
        assert websocket(port, Cookie=f"{context.cookies()[0]['name']}={context.cookies()[0]['value']}",
                         **{"Sec-WebSocket-Protocol": f"bokeh, {token}"}) == 410  # fmt: skip
        page.wait_for_selector("#aa-lost", state="detached", timeout=30_000)
        page.wait_for_load_state("load")
        wait_for(lambda: "page 1" in text_of(page))
        page.keyboard.press("a")
        wait_for(lambda: verdicts(session) == ["anomaly"])
        said = start.logs[-1].read_text()
        assert "Traceback" not in said
        assert "signature" not in said
        assert " 410 " not in said
    finally:
        context.close()


@pytest.mark.parametrize(
    ("asked", "chosen", "colour"),
    [
        ("dark", None, "rgb(14, 17, 22)"),
        ("light", None, "rgb(238, 240, 243)"),
        ("dark", "light", "rgb(238, 240, 243)"),
        ("light", "dark", "rgb(14, 17, 22)"),
    ],
)
def test_the_page_has_its_colour_before_anything_is_loaded(new_session, start, chromium, asked, chosen, colour):
    """As the browser asks for it, until somebody chooses."""
    url, _ = start(new_session())
    context = chromium.new_context(color_scheme=asked)
    try:
        page = context.new_page()
        if chosen:
            page.add_init_script(f"localStorage.setItem('astroanomaly-theme', '{chosen}')")
        page.route("**/*.js*", lambda route: route.abort())  # nothing of Bokeh ever arrives
        page.goto(url)
        assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == colour
    finally:
        context.close()


def test_what_cannot_be_served_is_said(new_session, tmp_path):
    session = new_session()
    with pytest.raises(ConfigError, match="allow-websocket-origin"):
        AppServer(session.path, address="0.0.0.0")
    with pytest.raises(ConfigError, match="port 70000"):
        AppServer(session.path, port=70000)
    with socket.socket() as taken, warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # Tornado leaves the socket it could not bind to the collector
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(StorageError, match="another --port"):
            AppServer(session.path, port=taken.getsockname()[1])
        gc.collect()


def test_a_browser_with_the_token_gets_in_once_and_for_all(new_session, start, chromium):
    session = new_session()
    port = free_port()
    url, _ = start(
        session, "--address", "0.0.0.0", "--port", str(port), "--allow-websocket-origin", f"127.0.0.1:{port}"
    )
    context = chromium.new_context()
    try:
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{port}/")
        assert "token" in page.inner_text("body")
        page.goto(url.replace("0.0.0.0", "127.0.0.1"))
        wait_for(lambda: "page 1" in text_of(page))
        assert "token" not in page.url
        page.goto(f"http://127.0.0.1:{port}/")
        wait_for(lambda: "page 1" in text_of(page))
        page.keyboard.press("a")
        wait_for(lambda: verdicts(session) == ["anomaly"])
    finally:
        context.close()


def is_open(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_behind_a_reverse_proxy_with_a_path(new_session, start, chromium, tmp_path):
    program = shutil.which("nginx") or ("/usr/sbin/nginx" if os.path.exists("/usr/sbin/nginx") else None)
    if program is None:
        pytest.skip("there is no nginx to be the reverse proxy")
    session = new_session()
    outer = free_port()
    prefix = "/user/ann@host.org/proxy/5006"
    _, port = start(session, "--prefix", prefix, "--allow-websocket-origin", f"127.0.0.1:{outer}")
    (tmp_path / "nginx.conf").write_text(
        f"""
        daemon off; pid {tmp_path}/nginx.pid; error_log {tmp_path}/nginx-error.log;
        events {{}}
        http {{
            access_log off;
            client_body_temp_path {tmp_path}/body; proxy_temp_path {tmp_path}/proxy;
            fastcgi_temp_path {tmp_path}/f; uwsgi_temp_path {tmp_path}/u; scgi_temp_path {tmp_path}/s;
            server {{
                listen 127.0.0.1:{outer};
                location / {{ return 404; }}
                location {prefix}/ {{
                    proxy_pass http://127.0.0.1:{port};
                    proxy_http_version 1.1;
                    proxy_set_header Upgrade $http_upgrade;
                    proxy_set_header Connection "upgrade";
                    proxy_set_header Host $http_host;
                }}
            }}
        }}
        """
    )
    proxy = subprocess.Popen([program, "-c", str(tmp_path / "nginx.conf"), "-e", str(tmp_path / "early.log")])
    context = chromium.new_context()
    try:
        wait_for(lambda: is_open(outer))
        page = context.new_page()
        failed = []
        page.on("response", lambda reply: failed.append(reply.url) if reply.status >= 400 else None)
        page.goto(f"http://127.0.0.1:{outer}{prefix}/")
        wait_for(lambda: "page 1" in text_of(page))
        page.keyboard.press("n")
        wait_for(lambda: verdicts(session) == ["nominal"])
        page.keyboard.press("u")
        wait_for(lambda: "undid your action" in text_of(page))
        assert [address for address in failed if "favicon" not in address] == []
    finally:
        context.close()
        proxy.terminate()
        proxy.wait(20)
