"""A local HTTP server that counts what it is asked and misbehaves on command; archives are written on top of it.

An archive is a subclass with `answer`. It serves from a thread of the test's own process, on 127.0.0.1, at a
port the system chooses::

    class Images(Server):
        def answer(self, asked):
            return Answer(content, "application/fits") if asked.path == "/image.fits" else NOT_FOUND

    with Images() as server:
        server.misbehave("500", times=1, where="image")
        ...
        assert server.count("image") == 2
"""

import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

# What every server can do wrong, whatever it serves. Other words are for subclasses, which ask `due`.
FAULTS = ("slow", "dropped", "refused", "429", "500", "503", "empty", "html", "truncated", "votable error")
ERROR_PAGE = (
    b"<!DOCTYPE html><html><head><title>Maintenance</title><style>p {color: red}</style></head>"
    b"<body><h1>Scheduled maintenance</h1><p>The archive is back on Monday.</p></body></html>"
)
ERROR_VOTABLE = (
    b'<?xml version="1.0" encoding="utf-8"?>\n<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3">'
    b'<RESOURCE type="results"><INFO name="QUERY_STATUS" value="ERROR">the query took too long</INFO>'
    b"</RESOURCE></VOTABLE>"
)


@dataclass(frozen=True)
class Asked:
    """One request: ``query`` and ``form`` are dictionaries of lists, as `urllib.parse.parse_qs` makes them."""

    method: str
    path: str
    query: dict
    form: dict
    headers: dict
    body: bytes
    line: str  # path and query, as it came
    moment: float

    def get(self, name, default=""):
        """First value of a parameter, from the query or the form, whatever the case of its name."""
        both = {**self.query, **self.form}
        return next((values[0] for key, values in both.items() if key.lower() == name.lower()), default)


@dataclass(frozen=True)
class Answer:
    body: bytes = b""
    type: str = "application/octet-stream"
    status: int = 200
    headers: dict = field(default_factory=dict)


NOT_FOUND = Answer(b"<html><body>There is no such page.</body></html>", "text/html", 404)


@dataclass
class _Fault:
    kind: str
    left: float
    where: str
    share: float
    rng: random.Random


class Server:
    """Subclass it and write `answer`. A context manager, or `start` and `stop`."""

    slow_s = 5.0  # wait of the fault "slow", unless the server is stopped before
    retry_after_s = 0.05  # what the fault "429" asks for

    def __init__(self):
        self.asked = []
        self.busiest = 0
        self._busy = 0
        self._faults = []
        self.done = Counter()  # faults by their kind
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._http = _QuietServer(("127.0.0.1", 0), _handler_of(self))
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def port(self):
        return self._http.server_address[1]

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        self._thread.start()
        return self

    def stop(self):
        self._stopped.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def __enter__(self):
        return self.start()

    def __exit__(self, *error):
        self.stop()

    # ------------------------------------------------------------------------------------------------ what it serves

    def answer(self, asked):
        """Give the `Answer` to a request; the faults of `FAULTS` are put on top of it."""
        raise NotImplementedError

    def count(self, where="", method=""):
        """Requests so far whose path and query contain a text."""
        with self._lock:
            return sum(where in asked.line and asked.method.startswith(method) for asked in self.asked)

    # --------------------------------------------------------------------------------------------- what it does wrong

    def misbehave(self, kind, times=1, where="", share=1.0, seed=0):
        """Do something wrong with the next requests whose path, query or form contains ``where``.

        ``times`` is a number or `math.inf`; of the requests that fit, a random ``share`` is hit.
        """
        with self._lock:
            self._faults.append(_Fault(kind, times, where, share, random.Random(seed)))

    def behave(self):
        """Forget all faults."""
        with self._lock:
            self._faults.clear()

    def due(self, kind, asked):
        """Whether a fault of this kind is due for a request; it counts as done then."""
        text = asked.line + " " + asked.body.decode("utf-8", "replace")
        with self._lock:
            for fault in self._faults:
                if fault.kind == kind and fault.left > 0 and fault.where in text and fault.rng.random() < fault.share:
                    fault.left -= 1
                    self.done[kind] += 1
                    return True
        return False

    def _fault_of(self, asked):
        return next((kind for kind in FAULTS if self.due(kind, asked)), "")

    def _spoil(self, kind, answer):
        if kind == "slow":
            self._stopped.wait(self.slow_s)
        if kind in ("500", "503"):
            return Answer(b"<html><body><h1>Internal trouble</h1></body></html>", "text/html", int(kind))
        if kind == "429":
            return Answer(b"slow down", "text/plain", 429, {"Retry-After": f"{self.retry_after_s:g}"})
        if kind == "empty":
            return replace(answer, body=b"")
        if kind == "html":
            return Answer(ERROR_PAGE, "text/html")
        if kind == "truncated":
            return replace(answer, body=answer.body[: len(answer.body) * 4 // 7])
        if kind == "votable error":
            return Answer(ERROR_VOTABLE, "application/x-votable+xml")
        return answer


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, request, client_address):
        """Say nothing of clients that went away."""


def _handler_of(server):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def handle_any(self):
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            parts = urlsplit(self.path)
            form = {}
            if "urlencoded" in self.headers.get("Content-Type", ""):
                form = parse_qs(body.decode(), keep_blank_values=True)
            asked = Asked(
                method=self.command,
                path=parts.path,
                query=parse_qs(parts.query, keep_blank_values=True),
                form=form,
                headers=dict(self.headers),
                body=body,
                line=self.path,
                moment=time.monotonic(),
            )
            with server._lock:
                server.asked.append(asked)
                server._busy += 1
                server.busiest = max(server.busiest, server._busy)
            try:
                kind = server._fault_of(asked)
                answer = server._spoil(kind, server.answer(asked))
            finally:
                with server._lock:
                    server._busy -= 1  # before the client, which may ask again at once, has the answer
            self.reply(asked, kind, answer)

        def reply(self, asked, kind, answer):
            if kind == "refused":  # hangs up without a word
                self.close_connection = True
                return
            body, status, more = answer.body, answer.status, {}
            wanted = asked.headers.get("Range", "")
            if wanted.startswith("bytes=") and status == 200:
                first, _, last = wanted[6:].partition("-")
                start = int(first) if first else max(0, len(body) - int(last))
                end = min(int(last) if first and last else len(body) - 1, len(body) - 1)
                more = {"Content-Range": f"bytes {start}-{end}/{len(body)}"}
                body, status = body[start : end + 1], 206
            self.send_response(status)
            for name, value in {"Content-Type": answer.type, **answer.headers, **more}.items():
                self.send_header(name, value)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if asked.method == "HEAD":
                return
            if kind == "dropped":
                body = body[: len(body) // 2]
                self.close_connection = True
            self.wfile.write(body)

        do_GET = do_POST = do_HEAD = do_PUT = do_DELETE = handle_any  # noqa: N815 - the names of http.server

        def log_message(self, *words):
            """Keep quiet."""

    return Handler
