"""What the tests of the server ask of addresses and of pages in a browser."""

import http.client
import http.server
import re
import socket
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

from astroanomaly.labels.log import LabelLog


def get(url, **headers):
    """Status and text of an address, without following where it sends a browser."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def headers_of(url, **headers):
    """Status and headers of an address."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60) as reply:
            return reply.status, reply.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers


def cookie_of(url):
    """Cookie that an address sets, as a browser brings it back."""
    return headers_of(url)[1]["Set-Cookie"].split(";")[0]


def session_in(text):
    """What the text of a page has, and its websocket has to bring."""
    return re.search(r'"token":"([^"]+)"', text)[1]


@contextmanager
def page_elsewhere(html, host="127.0.0.1"):
    """Serve a page from a port of its own; gives its address."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(f"<!doctype html><meta charset=utf-8><body>{html}</body>".encode())

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as pages:
        threading.Thread(target=pages.serve_forever, daemon=True).start()
        try:
            yield f"http://{host}:{pages.server_address[1]}/"
        finally:
            pages.shutdown()


def websocket(port, path="/ws", origin=None, session="x", **headers):
    """Status of the reply to the opening of a websocket that brings a session; 101 opens it."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path, headers={
            "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": f"bokeh, {session}",
            "Origin": f"http://127.0.0.1:{port}" if origin is None else origin, **headers,
        })  # fmt: skip
        return connection.getresponse().status
    finally:
        connection.close()


def text_of(page):
    return page.evaluate(
        """() => {
            const read = (e) => e.nodeType == 3 ? e.textContent
                : e.nodeType != 1 && e.nodeType != 11 || ["STYLE", "SCRIPT"].includes(e.tagName) ? ""
                : [...(e.shadowRoot ? e.shadowRoot.childNodes : []), ...e.childNodes].map(read).join(" ")
            return document.body ? read(document.body) : ""
        }"""
    )


def wait_for(what, say=lambda: "", seconds=300):
    """Wait until something is so, long enough for what runs at a low priority on a busy machine."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if what():
                return
        except Exception as error:
            if "context was destroyed" not in str(error):  # by the page being loaded anew meanwhile
                raise
        time.sleep(0.03)
    raise AssertionError(f"this did not happen within {seconds} s{say()}")


def verdicts(session):
    with LabelLog.open(session.labels.path) as log:
        return [event.value for event in log.events() if event.kind == "verdict"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
