"""At which addresses the app is served: origins, paths, a reverse proxy, restarts. Real servers, real browsers."""

import gc
import os
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
import warnings

import pytest
from bokeh.server.util import check_allowlist

from astroanomaly.app.web.address import allowed_origins, visible_host
from astroanomaly.app.web.server import AppServer
from astroanomaly.errors import ConfigError, StorageError
from web_pages import (
    cookie_of,
    free_port,
    get,
    session_in,
    text_of,
    verdicts,
    wait_for,
    websocket,
)

ORIGIN = "https://evil.example"


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


def test_a_path_that_cannot_be_is_refused_with_what_can(new_session):
    session = new_session()
    for prefix in (
        "a/../b", "..", "a//b", "a?b", "a#b", "[a]", "a\nb", "a;b", "%2e%2e/a", "a%00b", "a\\b", '"', "%ff", "a\u202eb"
    ):  # fmt: skip
        with pytest.raises(ConfigError, match="--prefix"):
            AppServer(session.path, prefix=prefix, port=0)


@pytest.mark.parametrize("prefix", ["a+b/ünï", "/x/", "user/ann(1)/a b/ann%40host.org/a.b$c"])
def test_a_path_may_have_characters_with_a_meaning_elsewhere(new_session, start, chromium, prefix):
    session = new_session()
    port = free_port()
    url, _ = start(session, "--port", str(port), "--prefix", prefix, "--address", "0.0.0.0",
                   "--allow-websocket-origin", f"127.0.0.1:{port}")  # fmt: skip
    path = "/" + urllib.parse.quote(urllib.parse.unquote(prefix.strip("/")), safe="/-._~!$&'()*+,=:@") + "/"
    assert url.startswith(f"http://127.0.0.1:{port}{path}?token=")
    assert get(f"http://127.0.0.1:{port}/x{path}")[0] == 403
    assert get(f"http://127.0.0.1:{port}/x{path}", Cookie=cookie_of(url))[0] == 404
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
        assert [urllib.parse.unquote(cookie["path"]) for cookie in context.cookies() if cookie["httpOnly"]] == [
            urllib.parse.unquote(path[:-1])
        ]  # other servers of the host do not get it
    finally:
        context.close()


def test_an_open_page_comes_back_after_a_restart_and_the_terminal_stays_quiet(new_session, start, chromium):
    session = new_session()
    port = free_port()
    words = ("--port", str(port))
    url, _ = start(session, *words)
    context = chromium.new_context()
    try:
        page = context.new_page()
        page.goto(url)
        wait_for(lambda: "page 1" in text_of(page))
        assert page.evaluate("Bokeh.documents[0].config.notify_connection_status") is False
        assert page.evaluate("Bokeh.documents[0].config.reconnect_session") is False
        token = session_in(page.content())
        start.servers[-1].stop(signal.SIGKILL)
        wait_for(lambda: "connection to the server is lost" in text_of(page))
        assert "Client connection" not in text_of(page)
        start(session, *words)
        assert websocket(port, session=token) == 410
        page.wait_for_selector("#aa-lost", state="detached")
        page.wait_for_load_state("load")
        wait_for(lambda: "page 1" in text_of(page))
        page.keyboard.press("a")
        wait_for(lambda: verdicts(session) == ["anomaly"])
        said = start.servers[-1].log.read_text()
        assert "Traceback" not in said
        assert "signature" not in said
        assert " 410 " not in said
        start.servers[-1].stop(signal.SIGKILL)
        (session.path / "app-token").unlink()  # the next token is another
        url, _ = start(session, *words)
        wait_for(lambda: "Open the address that the server showed" in text_of(page))
        context.new_page().goto(url)
        wait_for(lambda: "page 1" in text_of(page))  # signed in beside it, it goes on by itself
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
    url, port = start(session)
    context = chromium.new_context()
    try:
        page = context.new_page()
        asked = []
        page.on("request", lambda request: asked.append((request.url, request.headers.get("referer"))))
        page.on("websocket", lambda socket: asked.append((socket.url, "")))
        page.goto(f"http://127.0.0.1:{port}/")
        assert "token" in page.inner_text("body")
        page.goto(url)
        wait_for(lambda: "page 1" in text_of(page))
        assert page.url == f"http://127.0.0.1:{port}/"
        assert [address for address, _ in asked if "token=" in address] == [url]
        assert {referer for _, referer in asked} <= {None, ""}
        page.reload()
        wait_for(lambda: "page 1" in text_of(page))
        assert context.cookies()[0]["value"] not in page.content()  # no script of the page can read it
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
    url, port = start(session, "--prefix", prefix, "--allow-websocket-origin", f"127.0.0.1:{outer}")
    token = url.partition("token=")[2]
    (tmp_path / "nginx.conf").write_text(
        f"""
        daemon off; pid {tmp_path}/nginx.pid; error_log {tmp_path}/nginx-error.log;
        events {{}}
        http {{
            log_format all '$request "$http_referer" $status'; access_log {tmp_path}/access.log all;
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
        page.goto(f"http://127.0.0.1:{outer}{prefix}")  # which nginx ends with a slash
        page.get_by_placeholder("token").fill(token)  # and not in the address, which nginx writes down
        failed.clear()
        page.get_by_role("button", name="open").click()
        wait_for(lambda: "page 1" in text_of(page))
        page.keyboard.press("n")
        wait_for(lambda: verdicts(session) == ["nominal"])
        page.keyboard.press("u")
        wait_for(lambda: "undid your action" in text_of(page))
        assert [address for address in failed if "favicon" not in address] == []
        page.close()
        log = tmp_path / "access.log"
        wait_for(lambda: f"GET {prefix}/ws" in log.read_text())  # written at the end of the connection
    finally:
        context.close()
        proxy.terminate()
        proxy.wait(20)
    written = log.read_text()
    assert token not in written
    assert "token=" not in written
