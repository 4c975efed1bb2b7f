"""Answer what the clients of this process ask from a record; nothing of this process reaches the network meanwhile."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import socket
import socketserver
import sys
import threading
from collections.abc import Iterator
from typing import Any

from astroanomaly.errors import FetchError
from astroanomaly.fetch.recording.exchange import Exchange
from astroanomaly.fetch.recording.listening import (
    address_of,
    body_of,
    headers_of,
    patched,
    prepared_body,
    sent_head,
    whole_url,
)
from astroanomaly.fetch.recording.replayer import Replayer, bytes_of, error_of, file_of

__all__ = ["answer"]

_NETWORK = {int(socket.AF_INET), int(socket.AF_INET6)}
_LOOPBACK = "127.0.0.1"


@contextlib.contextmanager
def answer(replayer: Replayer) -> Iterator[None]:
    """Answer every request of this process from a record while the block runs."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(_closed_network())
        stack.enter_context(_answer_requests(replayer))
        stack.enter_context(_answer_http(replayer))
        stack.enter_context(_answer_aiohttp(replayer))
        yield


# --------------------------------------------------------------------------------------------------------- the network


class _Guard:
    """Refuses connections and look-ups of names; Python calls it for each (PEP 578)."""

    def __init__(self) -> None:
        self.is_up = False
        self.own_port = 0
        self._is_installed = False

    def install(self) -> None:
        """Have Python call it, once and for good."""
        if not self._is_installed:
            self._is_installed = True
            sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.is_up or not event.startswith("socket."):
            return
        if event == "socket.connect":
            connected, address = arguments
            if int(connected.family) not in _NETWORK or tuple(address[:2]) == (_LOOPBACK, self.own_port):
                return
        elif event == "socket.getaddrinfo":
            if arguments[0] in (None, _LOOPBACK, _LOOPBACK.encode()):
                return
            address = arguments[:2]
        elif event in ("socket.gethostbyname", "socket.gethostbyaddr", "socket.sendto", "socket.sendmsg"):
            address = arguments[-1]
            if event.startswith("socket.send") and int(arguments[0].family) not in _NETWORK:
                return
        else:
            return
        raise FetchError(f"a record is replayed, so nothing is asked of the network: {address}")


_guard = _Guard()


@contextlib.contextmanager
def _closed_network() -> Iterator[None]:
    _guard.install()
    before, _guard.is_up = _guard.is_up, True
    try:
        yield
    finally:
        _guard.is_up = before


# ------------------------------------------------------------------------------------------------------------ requests


@contextlib.contextmanager
def _answer_requests(replayer: Replayer) -> Iterator[None]:
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3 import HTTPResponse
    from urllib3._collections import HTTPHeaderDict

    def send(self: Any, request: Any, *_: Any, **__: Any) -> Any:
        exchange = replayer.answer(request.method, request.url, request.headers.items(), prepared_body(request.body))
        if not exchange.status:
            kind = getattr(requests.exceptions, exchange.error[0], None)
            if not (isinstance(kind, type) and issubclass(kind, requests.RequestException)):
                kind = requests.ConnectionError
            raise kind(exchange.error[1], request=request)
        original = http.client.HTTPResponse(_Answered(lambda: file_of(exchange)), method=request.method)  # type: ignore[arg-type]
        original.begin()
        raw = HTTPResponse(
            body=original,
            headers=HTTPHeaderDict(original.headers.items()),
            status=original.status,
            version=original.version,
            reason=original.reason,
            preload_content=False,
            decode_content=False,
            original_response=original,
            request_method=request.method,
            request_url=request.url,
        )
        return self.build_response(request, raw)

    with patched(HTTPAdapter, send=send):
        yield


# --------------------------------------------------------------------------------------------------------- http.client


class _Answered:
    """Stands for the socket of a connection of http.client."""

    def __init__(self, open_answer: Any) -> None:
        self._open_answer = open_answer

    def makefile(self, *_: Any, **__: Any) -> Any:
        return self._open_answer()

    def close(self) -> None:
        """Nothing is open."""


@contextlib.contextmanager
def _answer_http(replayer: Replayer) -> Iterator[None]:
    note = "_astroanomaly_exchange"
    connection = http.client.HTTPConnection
    put = connection.putrequest

    def connect(self: Any) -> None:
        def open_answer() -> Any:
            method, url, head, body = getattr(self, note)
            return file_of(replayer.answer(method, address_of(self, url), sent_head(head), body))

        self.sock = _Answered(open_answer)

    def putrequest(self: Any, method: str, url: str, *arguments: Any, **more: Any) -> None:
        put(self, method, url, *arguments, **more)
        setattr(self, note, [method, url, b"", b""])

    def send(self: Any, data: Any) -> None:
        if self.sock is None:
            connect(self)
        asked = getattr(self, note)
        if not asked[2]:
            asked[2] = data
        elif isinstance(data, bytes | bytearray | memoryview) and asked[3] is not None:
            asked[3] += bytes(data)
        else:
            asked[3] = None

    with (
        patched(connection, connect=connect, putrequest=putrequest, send=send),
        patched(http.client.HTTPSConnection, connect=connect),
    ):
        yield


# ------------------------------------------------------------------------------------------------------------- aiohttp


class _Loopback(socketserver.ThreadingTCPServer):
    """Gives answers to aiohttp, whose own reader they have to go through, over a port of this process."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__((_LOOPBACK, 0), _Handler)
        self.port: int = self.server_address[1]
        self.answers: dict[str, bytes] = {}
        self._numbers = itertools.count()
        threading.Thread(target=self.serve_forever, args=(0.05,), name="replay", daemon=True).start()

    def put(self, answer: bytes) -> str:
        """Have an answer ready; return where."""
        name = str(next(self._numbers))
        self.answers[name] = answer
        return f"http://{_LOOPBACK}:{self.port}/{name}"


class _Handler(socketserver.StreamRequestHandler):
    server: _Loopback

    def handle(self) -> None:
        name = self.rfile.readline(1000).split(b" ")[1].decode().lstrip("/")
        while self.rfile.readline(65_536).strip():
            pass
        with contextlib.suppress(OSError):
            self.wfile.write(self.server.answers.pop(name, b""))


@contextlib.contextmanager
def _answer_aiohttp(replayer: Replayer) -> Iterator[None]:
    try:
        import aiohttp
    except ImportError:  # the extra `cloud` is not there
        yield
        return
    from yarl import URL

    original = aiohttp.ClientSession._request

    async def request(self: Any, method: str, url: Any, **more: Any) -> Any:
        exchange = replayer.answer(method, whole_url(url, more.get("params")), headers_of(self, more), body_of(more))
        if not exchange.status:
            raise _error_of_aiohttp(exchange)
        headers = [pair for pair in exchange.came if pair[0].lower() not in ("connection", "keep-alive")]
        exchange.came = [*headers, ("Connection", "close")]
        content = bytes_of(exchange)
        if method.upper() == "HEAD":
            content = content.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        return await original(self, method, URL(server.put(content)), allow_redirects=False)

    server = _Loopback()
    before, _guard.own_port = _guard.own_port, server.port
    try:
        with patched(aiohttp.ClientSession, _request=request):
            yield
    finally:
        _guard.own_port = before
        server.shutdown()
        server.server_close()


def _error_of_aiohttp(exchange: Exchange) -> BaseException:
    import aiohttp

    name, words = exchange.error
    if name == "TimeoutError":
        return TimeoutError(words)
    if "Timeout" in name:
        return aiohttp.ServerTimeoutError(words)
    if name == "ServerDisconnectedError":
        return aiohttp.ServerDisconnectedError(words)
    if name == "ClientPayloadError":
        return aiohttp.ClientPayloadError(words)
    found = error_of(exchange)
    return aiohttp.ClientConnectionError(f"{type(found).__name__}: {words}")
