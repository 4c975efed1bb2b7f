"""Who may come in, and who not: other accounts, pages of other addresses, frames, tokens of every origin."""

import os
import re
import socket
import stat
import sys
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astroanomaly.app.web.address import frame_sources
from astroanomaly.app.web.passes import Passes
from astroanomaly.app.web.token import VARIABLE, given_token, kept_token
from astroanomaly.errors import ConfigError
from web_pages import (
    cookie_of,
    free_port,
    get,
    headers_of,
    page_elsewhere,
    session_in,
    text_of,
    verdicts,
    wait_for,
    websocket,
)

ORIGIN = "https://evil.example"


def outward_address():
    """Address of this computer that is not loopback, or None."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
            return probe.getsockname()[0]
        except OSError:
            return None


def test_it_listens_on_this_computer_only_and_wants_the_token_for_everything(new_session, start):
    session = new_session()
    url, port = start(session, verbose=True)
    base, token = url.split("?token=")
    assert base == f"http://127.0.0.1:{port}/"
    assert len(token) >= 32
    assert (session.path / "app-token").stat().st_mode & 0o777 == 0o600
    paths = ("", "autoload.js?bokeh-autoload-element=x", "metadata", "static/js/bokeh.min.js", "favicon.ico", "ws", "x",
             "static/", "static/../app-token", "static/js/..%2f..%2fapp-token", "static/js/%2e%2e/x")  # fmt: skip
    for path in paths:  # another account of this computer
        for wrong in ("", "token=", "token=wrong", f"token={token[:-1]}", f"token={token}x", "key=", "token=%00%ff"):
            address = f"{base}{path}{'&' if '?' in path else '?'}{wrong}"
            status, text = get(address)
            assert status == 403, address
            assert "Bokeh" not in text
    status, headers = headers_of(url)
    assert status == 200
    cookie, *about = headers["Set-Cookie"].split("; ")
    assert token not in cookie
    assert {"HttpOnly", "SameSite=Strict"} < set(about)
    assert not [word for word in about if word.startswith(("Path", "Secure", "Domain"))]
    assert "Secure" in headers_of(url, **{"X-Forwarded-Proto": "https"})[1]["Set-Cookie"].split("; ")
    name, value = cookie.split("=")
    end, mark = value.split("~")
    for forged in ("x", f"{int(end) + 1}~{mark}", f"{end}~{mark[:-1]}x", f"{end}~", f"{end}~{mark.upper()}"):
        assert get(base, Cookie=f"{name}={forged}")[0] == 403
        assert get(f"{base}?token={forged}")[0] == 403
    assert get(f"{base}?token={value}")[0] == 200  # a pass: what stands in the address of a frame
    assert get(base, Cookie=f"{name}={token}")[0] == 403
    answers = {path: headers_of(f"{base}{path}", Cookie=cookie)[0] for path in paths}
    assert {path for path, status in answers.items() if status == 200} == {"", "static/js/bokeh.min.js", "favicon.ico"}
    assert answers["autoload.js?bokeh-autoload-element=x"] == answers["metadata"] == 404
    text = get(base, Cookie=cookie)[1]
    part = re.search(r'src="./(static/js/bokeh\.min\.js\?[^"]+)"', text)[1].replace("&amp;", "&")
    assert get(f"{base}{part}")[0] == 200  # a frame without cookies
    opened = session_in(text)
    assert websocket(port, session=opened) == 101
    assert websocket(port, origin=f"http://localhost:{port}", session=opened) == 101
    for origin in (ORIGIN, "http://127.0.0.1:1", "null", ""):
        assert websocket(port, origin=origin, session=opened, Cookie=cookie) == 403
    rebound = f"evil.example:{port}"  # a name that a hostile name server points at this computer
    assert websocket(port, origin=f"http://{rebound}", session=opened, Cookie=cookie, Host=rebound) == 403
    for forged in ("x", "", "e30.c2lnbmVk", "W10.x", f"{opened[:-2]}xx", opened.split(".")[0]):
        assert websocket(port, session=forged, Cookie=cookie) in (403, 410)
    outside = outward_address()
    if outside and not outside.startswith("127."):
        with pytest.raises(OSError), socket.create_connection((outside, port), timeout=5):
            pass
    said = start.servers[-1].log.read_text()  # all of it, with --verbose
    assert "GET /ws" in said
    assert said.count(token) == 1  # in the address that is shown
    for secret in (mark, opened, part.partition("key=")[2]):
        assert secret not in said


def test_what_a_browser_may_do_with_each_reply(new_session, start):
    url, _ = start(new_session(), "--allow-frame", "https://hub.example")
    base = url.partition("?")[0]
    cookie = cookie_of(url)
    replies = {path: headers_of(f"{base}{path}", Cookie=cookie) for path in ("", "static/js/bokeh.min.js", "x", "ws")}
    replies["refused"] = headers_of(base)
    for _, headers in replies.values():
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "Access-Control-Allow-Origin" not in headers
    policies = [
        {word.split()[0]: word.split()[1:] for word in headers["Content-Security-Policy"].split("; ")}
        for _, headers in replies.values()
    ]
    assert all(policy["default-src"] == ["'none'"] for policy in policies)
    page, static, missing, _, refused = policies
    assert page["frame-ancestors"] == ["'self'", "https://hub.example"]
    assert static["frame-ancestors"] == missing["frame-ancestors"] == ["'none'"]
    assert refused["frame-ancestors"] == ["'self'"]
    assert "script-src" not in refused
    nonce, also = page["script-src"]
    assert also == "'unsafe-eval'"
    again = headers_of(base, Cookie=cookie)[1]["Content-Security-Policy"]
    assert nonce.startswith("'nonce-")
    assert nonce not in again  # a new one for every page
    assert all(headers["Cache-Control"] == "no-store" for name, (_, headers) in replies.items() if "static" not in name)
    for fetch in ({"Sec-Fetch-Site": "same-site"}, {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}):
        assert get(base, Cookie=cookie, **fetch)[0] == 403
    assert get(base, Cookie=cookie, **{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"})[0] == 200


def test_other_computers_come_by_the_addresses_that_were_named(new_session, start, caplog):
    session = new_session()
    port = free_port()
    wanted = ("--address", "0.0.0.0", "--port", str(port), "--allow-websocket-origin", "host.example:5006")
    url, _ = start(session, *wanted)
    base, token = url.split("?token=")
    assert base == "http://host.example:5006/"
    base = f"http://127.0.0.1:{port}/"
    assert get(base)[0] == 403
    cookie = cookie_of(f"{base}?token={token}")
    opened = session_in(get(base, Cookie=cookie)[1])
    assert websocket(port, origin="http://host.example:5006", session=opened) == 101
    assert websocket(port, origin=ORIGIN, session=opened) == 403
    assert websocket(port, session=opened) == 403  # its own address was not among those given
    assert token not in (session.path / "session.toml").read_text()
    start.servers[-1].stop()
    again, _ = start(session, *wanted)
    assert again == url
    assert get(base, Cookie=cookie)[0] == 200  # the browser comes back with what it has
    (session.path / "app-token").chmod(0o644)  # now others could have read it
    with caplog.at_level("ERROR"):
        assert kept_token(session.path).text != token


def test_a_token_is_kept_by_its_owner_alone_whoever_starts_first(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        tokens = set(pool.map(kept_token, [tmp_path] * 8))
    assert len(tokens) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["app-token"]
    (tmp_path / "app-token").write_text("short\n")
    token = kept_token(tmp_path)
    assert len(token.text) >= 32
    assert "app-token is removed" in token.kept
    assert token.text not in repr(token)
    other = tmp_path / "other"
    other.mkdir()
    (other / "app-token").symlink_to(tmp_path / "app-token")
    assert kept_token(other) != token
    assert kept_token(tmp_path) == token
    lost = kept_token(tmp_path / "gone")
    assert len(lost.text) >= 32
    assert "another" in lost.kept


@given(st.text(max_size=40), st.integers(0, 10**9))
@settings(max_examples=40)
def test_a_pass_is_good_for_its_token_and_its_time_alone(text, seconds):
    passes = Passes("a" * 32, lifetime_s=60)
    good = passes.issue()
    assert passes.is_valid(good)
    assert Passes("a" * 32, lifetime_s=60).is_valid(good)  # after a restart
    assert not Passes("b" * 32, lifetime_s=60).is_valid(good)
    assert not passes.is_valid(text)
    end, mark = good.split("~")
    assert not passes.is_valid(f"{int(end) + 1 + seconds}~{mark}")
    assert not passes.is_valid(Passes("a" * 32, lifetime_s=-seconds).issue())
    assert "a" * 32 not in good


def test_a_token_may_be_given_by_a_file_or_a_variable_and_must_be_private_and_long(tmp_path):
    token, other = "t" * 32, "o" * 40
    file = tmp_path / "token"
    file.write_text(f"{token}\n")
    file.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        given_token(file, {})
    file.chmod(0o400)
    assert given_token(file, {VARIABLE: other}).text == token
    assert given_token(None, {VARIABLE: f" {other}\n"}).text == other
    assert given_token(None, {}) is None
    for wrong in ("", "short", "x" * 31, "with a blank" * 5, "ü" * 40, "x" * 201):
        with pytest.raises(ConfigError, match=VARIABLE):
            given_token(None, {VARIABLE: wrong})
    with pytest.raises(ConfigError, match="cannot be read"):
        given_token(tmp_path / "none", {})


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can make a file of another account")
def test_the_token_of_another_account_is_left_alone(tmp_path):
    theirs = tmp_path / "app-token"
    theirs.write_text("t" * 32)
    theirs.chmod(0o600)
    os.chown(theirs, 12345, 12345)
    mine = kept_token(tmp_path)
    assert theirs.read_text() == "t" * 32
    assert mine == kept_token(tmp_path)
    assert mine.text != "t" * 32


def test_the_pages_that_may_show_the_app_are_named_by_address():
    assert frame_sources(["https://Hub.org", "http://[::1]:80", "https://*.hub.org:*"]) == [
        "https://hub.org", "http://[::1]:80", "https://*.hub.org:*"
    ]  # fmt: skip
    for wrong in ("hub.org", "https://hub.org/", "https://hub.org; script-src *", "*", "https://a b", "'self'", ""):
        with pytest.raises(ConfigError, match="--allow-frame"):
            frame_sources([wrong])


def hostile_page(port):
    """A page that frames the app, opens a websocket, loads `autoload.js` and what else it can, and says what came."""
    return f"""<h1>free prize</h1><iframe src="http://127.0.0.1:{port}/" width=900 height=600></iframe>
    <script>
    window.came = {{}}
    const say = (name, value) => {{ window.came[name] = String(value) }}
    const base = "http://127.0.0.1:{port}/"
    const socket = new WebSocket("ws://127.0.0.1:{port}/ws", ["bokeh", "x"])
    socket.onopen = () => say("socket", "open")
    socket.onerror = () => say("socket", "refused")
    for (const [name, path] of [["page", ""], ["autoload", "autoload.js?bokeh-autoload-element=x"]])
      fetch(base + path, {{credentials: "include"}}).then((r) => r.text()).then(
        (t) => say(name, t), () => say(name, "refused"))
    fetch(base, {{method: "POST", mode: "no-cors", credentials: "include", body: "token=x"}}).then(
      (r) => say("post", r.type), () => say("post", "refused"))
    const script = document.createElement("script")
    script.src = base + "autoload.js?bokeh-autoload-element=x"
    script.onload = () => say("script", "ran")
    script.onerror = () => say("script", "refused")
    document.head.appendChild(script)
    </script>"""


@pytest.mark.parametrize("words", [(), ("--no-token",)])
def test_a_page_of_another_address_gets_nothing_from_a_browser_that_is_signed_in(new_session, start, chromium, words):
    session = new_session()
    url, port = start(session, *words)
    assert ("token" in url) == (not words)
    context = chromium.new_context()
    try:
        page = context.new_page()
        page.goto(url)
        wait_for(lambda: "page 1" in text_of(page))
        with page_elsewhere(hostile_page(port)) as address:  # of the same site: browsers send it the cookie
            page.goto(address)
            wait_for(lambda: len(page.evaluate("window.came")) == 5)
            came = page.evaluate("window.came")
            assert {came[name] for name in ("socket", "page", "autoload", "script")} == {"refused"}
            page.mouse.click(400, 300)
            for key in "nau":
                page.keyboard.press(key)
            frame = page.frames[1]
            wait_for(lambda: frame.url.startswith("chrome-error:"))
            assert verdicts(session) == []
        with page_elsewhere(f"<a href='http://127.0.0.1:{port}/'>to the app</a>", "hub.example") as address:
            page.goto(address)
            page.get_by_role("link").click()
            if not words:  # else a page could lead here just before somebody presses keys on it
                page.get_by_role("link", name="Go on").click()
            wait_for(lambda: "page 1" in text_of(page))
    finally:
        context.close()
    if words:  # a name server may point any name at this computer
        base = f"http://127.0.0.1:{port}/"
        assert get(base)[0] == 200
        assert get(base, Host=f"evil.example:{port}")[0] == 403
        opened = session_in(get(base)[1])
        assert websocket(port, session=opened) == 101
        assert websocket(port, session="x") == 403
        assert websocket(port, origin=ORIGIN, session=opened) == 403
        assert get(f"{base}autoload.js?bokeh-autoload-element=x")[0] == 404


def test_in_an_allowed_frame_of_another_site_it_works_without_cookies(new_session, start, chromium):
    session = new_session()
    with page_elsewhere("<script>document.write(`<iframe src='${location.hash.slice(1)}' width=1200 height=800>`)"
                        "</script>", "hub.example") as portal:  # fmt: skip
        url, _ = start(session, "--allow-frame", portal.rstrip("/"))
        token = url.partition("token=")[2]
        context = chromium.new_context(viewport={"width": 1300, "height": 900})
        try:
            page = context.new_page()
            asked = []
            page.on("websocket", lambda socket: asked.append(socket.url))
            page.goto(f"{portal}#{url}")
            wait_for(lambda: len(page.frames) > 1 and "page 1" in text_of(page.frames[1]))
            frame = page.frames[1]
            assert context.cookies() == []
            page.frame_locator("iframe").get_by_text("page 1").first.click()
            page.keyboard.press("a")
            wait_for(lambda: verdicts(session) == ["anomaly"])
            assert re.search(r"\?token=\d+~[0-9a-f]{64}$", frame.url)  # a pass, not the token
            with page.expect_websocket():
                frame.evaluate("location.reload()")
            wait_for(lambda: "page 1" in text_of(page.frames[1]))
            page.frame_locator("iframe").get_by_text("page 1").first.click()
            page.keyboard.press("n")
            wait_for(lambda: verdicts(session) == ["anomaly", "nominal"])
            assert not [address for address in asked if token in address]
        finally:
            context.close()


def test_no_list_of_processes_and_no_file_of_others_has_the_token(new_session, start, chromium, tmp_path):
    session = new_session()
    browser = tmp_path / "browser"
    browser.write_text(f"#!{sys.executable}\nimport sys\nopen({str(tmp_path / 'asked')!r}, 'w').write(sys.argv[1])\n")
    browser.chmod(0o755)
    url, port = start(session, browser=True, environment={"BROWSER": f"{browser} %s"})
    token = url.partition("token=")[2]
    asked = tmp_path / "asked"
    wait_for(lambda: asked.exists() and asked.read_text())
    opened = Path(urllib.parse.unquote(urllib.parse.urlparse(asked.read_text()).path))
    assert token not in asked.read_text()
    assert token in opened.read_text()
    for path in session.path.rglob("*"):
        if path.is_file() and token.encode() in path.read_bytes():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    lists = Path("/proc").glob("[0-9]*/cmdline")
    assert not [path for path in lists if token.encode() in _content(path)]
    context = chromium.new_context()
    try:
        page = context.new_page()
        page.goto(asked.read_text())
        page.wait_for_url(f"http://127.0.0.1:{port}/")
        wait_for(lambda: "page 1" in text_of(page))
        assert page.evaluate("history.length") <= 2
    finally:
        context.close()
    start.servers[-1].stop()
    assert not opened.exists()


def _content(path):
    try:
        return path.read_bytes()
    except OSError:  # it has ended
        return b""


def test_a_given_token_is_not_shown_and_may_be_brought_on_the_page(new_session, start, chromium):
    session = new_session()
    token = "given-token-of-a-service-0123456789"
    url, port = start(session, environment={VARIABLE: token}, verbose=True)
    assert url == f"http://127.0.0.1:{port}/"
    assert get(f"{url}?token={token}")[0] == 200
    assert get(f"http://127.0.0.1:{port}/?token=other&token={token}")[0] == 200  # a hub may have one of its own there
    assert not (session.path / "app-token").exists()
    context = chromium.new_context()
    try:
        page = context.new_page()
        page.goto(url)
        assert "token" in page.inner_text("p")
        for text, said in (("wrong", "not the token"), (token, "")):
            page.get_by_placeholder("token").fill(text)
            page.get_by_role("button", name="open").click()
            if said:
                wait_for(lambda: "not the token" in page.inner_text("p"))
        wait_for(lambda: "page 1" in text_of(page))
        assert page.url == url
        page.keyboard.press("a")
        wait_for(lambda: verdicts(session) == ["anomaly"])
        ask = context.request  # brings the cookie
        assert ask.post(url, form={"token": token}, max_redirects=0).status == 303
        assert ask.post(url, form={"token": "wrong"}, max_redirects=0).status == 403
        assert {ask.post(f"{url}ws").status, ask.put(url).status, ask.delete(f"{url}favicon.ico").status} == {405}
    finally:
        context.close()
    assert token not in start.servers[-1].log.read_text()
