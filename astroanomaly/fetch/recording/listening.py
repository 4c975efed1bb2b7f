"""Hear what the clients of this process ask and are answered: those of requests, of http.client, and of aiohttp.

pyvo, astroquery and our own requests use requests; astroquery's client of ESA and astropy's downloads use http.client;
s3fs and fsspec use aiohttp. Answers are noted as their readers read them, so that nothing is held in memory for it
beyond what is kept, and an answer that breaks off is recorded as it broke off.
"""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Iterator
from typing import Any

from astroanomaly.fetch.recording.recorder import Open, Recorder

__all__ = ["address_of", "body_of", "headers_of", "listen", "patched", "prepared_body", "sent_head", "whole_url"]

_of_thread = threading.local()  # ``busy``: requests is at it, and http.client below it is not to be heard too
_NOTE = "_astroanomaly_exchange"


@contextlib.contextmanager
def listen(recorder: Recorder) -> Iterator[None]:
    """Record every request of this process while the block runs."""
    with contextlib.ExitStack() as stack:
        stack.callback(recorder.close)
        stack.enter_context(_hear_requests(recorder))
        stack.enter_context(_hear_http(recorder))
        stack.enter_context(_hear_aiohttp(recorder))
        yield


@contextlib.contextmanager
def patched(owner: Any, **methods: Any) -> Iterator[None]:
    """Replace methods of a class while the block runs."""
    before = {name: vars(owner)[name] for name in methods}
    for name, method in methods.items():
        setattr(owner, name, method)
    try:
        yield
    finally:
        for name, method in before.items():
            setattr(owner, name, method)


class _Heard:
    """Stands for the file of an answer of http.client, and notes what is read of it."""

    def __init__(self, file: Any, opened: Open) -> None:
        self._file, self._opened = file, opened

    def _read(self, name: str, *arguments: Any) -> bytes:
        try:
            part: bytes = getattr(self._file, name)(*arguments)
        except (OSError, ValueError) as error:
            self._opened.failed(error)
            raise
        self._opened.came(part)
        return part

    def read(self, *arguments: Any) -> bytes:
        return self._read("read", *arguments)

    def read1(self, *arguments: Any) -> bytes:
        return self._read("read1", *arguments)

    def readline(self, *arguments: Any) -> bytes:
        return self._read("readline", *arguments)

    def readinto(self, buffer: Any) -> int:
        try:
            count: int = self._file.readinto(buffer)
        except (OSError, ValueError) as error:
            self._opened.failed(error)
            raise
        self._opened.came(bytes(memoryview(buffer)[:count]))
        return count

    def close(self) -> None:
        self._file.close()
        self._opened.done()

    def __getattr__(self, name: str) -> Any:  # peek, flush, closed ...
        return getattr(self._file, name)


def _note_answer(opened: Open, response: Any) -> None:
    """Note the head of an answer of http.client; the rest is noted when it is read."""
    exchange = opened.exchange
    exchange.status, exchange.reason, exchange.version = response.status, response.reason, response.version
    exchange.came = list(response.headers.items())
    exchange.chunked = bool(response.chunked)
    if response.fp is None:
        opened.done()
    else:
        response.fp = _Heard(response.fp, opened)


# ------------------------------------------------------------------------------------------------------------ requests


@contextlib.contextmanager
def _hear_requests(recorder: Recorder) -> Iterator[None]:
    from requests.adapters import HTTPAdapter

    original = HTTPAdapter.send

    def send(self: Any, request: Any, *arguments: Any, **more: Any) -> Any:
        opened = recorder.begin(
            str(request.method), str(request.url), request.headers.items(), prepared_body(request.body)
        )
        outer, _of_thread.busy = getattr(_of_thread, "busy", False), True
        try:
            response = original(self, request, *arguments, **more)
        except BaseException as error:
            opened.failed(error)
            opened.done()
            raise
        finally:
            _of_thread.busy = outer
        answer = getattr(response.raw, "_original_response", None)
        if isinstance(answer, http.client.HTTPResponse):
            _note_answer(opened, answer)
        else:
            opened.done()
        return response

    with patched(HTTPAdapter, send=send):
        yield


def prepared_body(body: Any) -> bytes | None:
    """Return the body of a request of requests; None where it is not known, as of one that is made while it is sent."""
    if not body:
        return b""
    return body.encode() if isinstance(body, str) else bytes(body) if isinstance(body, bytes | bytearray) else None


# --------------------------------------------------------------------------------------------------------- http.client


def address_of(connection: Any, url: str) -> str:
    """Return the whole address of what a connection of http.client asks for."""
    if "://" in url:  # through a proxy
        return url
    secure = connection.default_port == http.client.HTTPS_PORT
    host = connection._tunnel_host or connection.host
    port = connection._tunnel_port if connection._tunnel_host else connection.port
    place = f"[{host}]" if ":" in host else host
    return f"http{'s' if secure else ''}://{place}{'' if port == connection.default_port else f':{port}'}{url}"


def sent_head(head: bytes) -> list[tuple[str, str]]:
    """Return the headers of a request as http.client sends it."""
    lines = head.decode("latin-1").split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines if line)
    return [(name, value.strip()) for name, _, value in pairs]


@contextlib.contextmanager
def _hear_http(recorder: Recorder) -> Iterator[None]:
    connection = http.client.HTTPConnection
    put, give, take = connection.putrequest, connection.send, connection.getresponse

    def putrequest(self: Any, method: str, url: str, *arguments: Any, **more: Any) -> None:
        put(self, method, url, *arguments, **more)
        if not getattr(_of_thread, "busy", False):
            setattr(self, _NOTE, [method, url, b"", b"", None])

    def send(self: Any, data: Any) -> None:
        note = getattr(self, _NOTE, None)
        if note is not None:
            if not note[2]:
                note[2] = data
            elif isinstance(data, bytes | bytearray | memoryview) and note[3] is not None:
                note[3] += bytes(data)
            else:
                note[3] = None
        try:
            give(self, data)
        except (OSError, http.client.HTTPException) as error:
            if note is not None:
                _fail(self, note, error)
            raise

    def getresponse(self: Any) -> Any:
        note = getattr(self, _NOTE, None)
        if note is None:
            return take(self)
        try:
            response = take(self)
        except (OSError, http.client.HTTPException) as error:
            _fail(self, note, error)
            raise
        setattr(self, _NOTE, None)
        _note_answer(_begin(self, note), response)
        return response

    def _begin(self: Any, note: list[Any]) -> Open:
        return recorder.begin(note[0], address_of(self, note[1]), sent_head(note[2]), note[3])

    def _fail(self: Any, note: list[Any], error: Exception) -> None:
        setattr(self, _NOTE, None)
        opened = _begin(self, note)
        opened.failed(error)
        opened.done()

    with patched(connection, putrequest=putrequest, send=send, getresponse=getresponse):
        yield


# ------------------------------------------------------------------------------------------------------------- aiohttp


class _HeardStream:
    """Stands for the stream of an answer of aiohttp, and notes what is read of it."""

    def __init__(self, stream: Any, opened: Open) -> None:
        self._stream, self._opened = stream, opened

    async def _read(self, name: str, *arguments: Any) -> Any:
        try:
            part = await getattr(self._stream, name)(*arguments)
        except BaseException as error:
            self._opened.failed(error)
            self._opened.done()
            raise
        self._opened.came(part[0] if isinstance(part, tuple) else part)
        if self._stream.at_eof():
            self._opened.done()
        return part

    async def read(self, *arguments: Any) -> Any:
        return await self._read("read", *arguments)

    async def readany(self) -> Any:
        return await self._read("readany")

    async def readchunk(self) -> Any:
        return await self._read("readchunk")

    async def readline(self, *arguments: Any) -> Any:
        return await self._read("readline", *arguments)

    async def readexactly(self, *arguments: Any) -> Any:
        return await self._read("readexactly", *arguments)

    def iter_chunked(self, nbytes: int) -> Any:
        return type(self._stream).iter_chunked(self, nbytes)

    def iter_any(self) -> Any:
        return type(self._stream).iter_any(self)

    def iter_chunks(self) -> Any:
        return type(self._stream).iter_chunks(self)

    def __aiter__(self) -> Any:
        return type(self._stream).__aiter__(self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def _hear_aiohttp(recorder: Recorder) -> Iterator[None]:
    try:
        import aiohttp
    except ImportError:  # the extra `cloud` is not there
        yield
        return

    original = aiohttp.ClientSession._request

    async def request(self: Any, method: str, url: Any, **more: Any) -> Any:
        opened = recorder.begin(method, whole_url(url, more.get("params")), headers_of(self, more), body_of(more))
        try:
            response = await original(self, method, url, **more)
        except BaseException as error:
            opened.failed(error)
            opened.done()
            raise
        exchange = opened.exchange
        exchange.status, exchange.reason = response.status, response.reason or ""
        exchange.came = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in response.raw_headers]
        exchange.came = [pair for pair in exchange.came if pair[0].lower() != "transfer-encoding"]
        opened.packed_away = bool(self.auto_decompress and response.headers.get("Content-Encoding"))
        if response.content.at_eof():
            opened.done()
        else:
            response.content = _HeardStream(response.content, opened)  # type: ignore[assignment]
        return response

    with patched(aiohttp.ClientSession, _request=request):
        yield


def whole_url(url: Any, params: Any) -> str:
    """Return the address that aiohttp asks for."""
    from yarl import URL

    address = url if isinstance(url, URL) else URL(url)
    return str(address.extend_query(params) if params else address)


def headers_of(session: Any, more: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the headers that aiohttp sends, but for those it adds itself."""
    given = more.get("headers") or {}
    pairs = [*session.headers.items(), *(given.items() if hasattr(given, "items") else given)]
    return [(str(name), str(value)) for name, value in pairs]


def body_of(more: dict[str, Any]) -> bytes | None:
    """Return the body that aiohttp sends; None where it is not known."""
    data = more.get("data")
    return data if isinstance(data, bytes) else b"" if not data and more.get("json") is None else None
