"""Who may come in: loopback, tokens, origins, a reverse proxy with a path, a notebook. Real servers, real browsers."""

import gc
import http.client
import http.server
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import warnings

import nbclient
import nbformat
import pytest

from astroanomaly.app.server import AppServer
from astroanomaly.errors import ConfigError, StorageError
from astroanomaly.labels import LabelLog

ORIGIN = "https://evil.example"


@pytest.fixture
def start(tmp_path):
    """Start ``astroanomaly serve`` and return its address and port."""
    running = []

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
        end = time.monotonic() + 60
        while (found := re.search(r"open (http://[^:]+:(\d+)\S*)", log.read_text())) is None:
            assert running[-1].poll() is None, log.read_text()
            assert time.monotonic() < end
            time.sleep(0.05)
        return found[1], int(found[2])

    yield run
    for process in running:
        process.terminate()
        process.wait(30)


def get(url, **headers):
    """Status and text of an address, without following where it sends a browser."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def websocket(port, path="/ws", origin=None, **headers):
    """Status of the reply to the opening of a websocket; 101 opens it."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", path, headers={
            "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": "bokeh, x",
            "Origin": origin or f"http://127.0.0.1:{port}", **headers,
        })  # fmt: skip
        return connection.getresponse().status
    finally:
        connection.close()


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


def test_open_to_others_it_wants_the_token(new_session, start):
    session = new_session()
    url, port = start(session, "--address", "0.0.0.0", "--allow-websocket-origin", "host.example:5006")
    base, token = url.split("?token=")
    base = base.replace("0.0.0.0", "127.0.0.1")
    assert len(token) >= 32
    for wrong in ("", "?token=", "?token=wrong", f"?token={token[:-1]}"):
        status, text = get(f"{base}{wrong}")
        assert status == 403
        assert "Bokeh" not in text
    assert websocket(port, origin="http://host.example:5006") == 403
    assert websocket(port, origin="http://host.example:5006", Cookie=f"astroanomaly-token={token}") == 101
    assert websocket(port, origin=ORIGIN, Cookie=f"astroanomaly-token={token}") == 403
    assert websocket(port, Cookie=f"astroanomaly-token={token}") == 403  # its own address was not among those given
    assert get(f"{base}?token={token}")[0] == 200
    assert token not in (session.path / "session.toml").read_text()


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


def text_of(page):
    return page.evaluate(
        """() => {
            const read = (e) => e.nodeType == 3 ? e.textContent
                : e.nodeType != 1 && e.nodeType != 11 || ["STYLE", "SCRIPT"].includes(e.tagName) ? ""
                : [...(e.shadowRoot ? e.shadowRoot.childNodes : []), ...e.childNodes].map(read).join(" ")
            return read(document.body)
        }"""
    )


def wait_for(what, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return
        time.sleep(0.05)
    raise AssertionError(f"this did not happen within {seconds} s")


def verdicts(session):
    with LabelLog.open(session.labels.path) as log:
        return [event.value for event in log.events() if event.kind == "verdict"]


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


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


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
        wait_for(lambda: "took back" in text_of(page))
        assert [address for address in failed if "favicon" not in address] == []
    finally:
        context.close()
        proxy.terminate()
        proxy.wait(20)


def test_inside_a_notebook(new_session, chromium, tmp_path):
    """A real kernel runs the cell; what the cell shows is put on a page of another origin, as a notebook does."""
    session = new_session()
    outer = free_port()
    cell = (
        "from astroanomaly import Session\n"
        f"Session.open({str(session.path)!r}).app(annotator='ann', origin='127.0.0.1:{outer}')"
    )
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    client = nbclient.NotebookClient(book, timeout=120, kernel_name="python3")
    folder = tmp_path / "page"
    folder.mkdir()
    context = chromium.new_context()
    with client.setup_kernel():
        client.execute_cell(book.cells[0], 0)
        outputs = [output for output in book.cells[0].outputs if "data" in output]
        html = "\n".join(output["data"].get("text/html", "") for output in outputs)
        assert "autoload.js" in html
        scripts = [output["data"].get("application/javascript", "") for output in outputs]  # a notebook runs these
        for number, script in enumerate(scripts):
            (folder / f"{number}.js").write_text(script, encoding="utf-8")
        loads = "".join(f"<script src={number}.js></script>" for number in range(len(scripts)))
        page_text = f"<!doctype html><body><h1>a notebook</h1>{loads}{html}</body>"
        (folder / "index.html").write_text(page_text, encoding="utf-8")

        class Quiet(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *arguments):
                super().__init__(*arguments, directory=str(folder))

            def log_message(self, *arguments):
                pass

        with http.server.ThreadingHTTPServer(("127.0.0.1", outer), Quiet) as pages:
            threading.Thread(target=pages.serve_forever, daemon=True).start()
            try:
                page = context.new_page()
                page.goto(f"http://127.0.0.1:{outer}/index.html")
                wait_for(lambda: "page 1" in text_of(page), 60)
                page.keyboard.press("a")  # nobody has clicked into the app: the key is the notebook's
                page.get_by_text("page 1").first.click()
                page.keyboard.press("n")
                wait_for(lambda: verdicts(session) == ["nominal"])
                page.get_by_role("heading", name="a notebook").click()
                page.keyboard.press("a")
                time.sleep(0.5)
                assert verdicts(session) == ["nominal"]
            finally:
                context.close()
                pages.shutdown()
