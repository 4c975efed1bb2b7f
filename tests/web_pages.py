"""What the tests of the server ask of addresses and of pages in a browser."""

import http.client
import socket
import time
import urllib.error
import urllib.request

from astroanomaly.labels.log import LabelLog


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


def text_of(page):
    return page.evaluate(
        """() => {
            const read = (e) => e.nodeType == 3 ? e.textContent
                : e.nodeType != 1 && e.nodeType != 11 || ["STYLE", "SCRIPT"].includes(e.tagName) ? ""
                : [...(e.shadowRoot ? e.shadowRoot.childNodes : []), ...e.childNodes].map(read).join(" ")
            return document.body ? read(document.body) : ""
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


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
