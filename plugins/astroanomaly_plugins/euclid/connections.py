"""Connections to ESA's archives with a time limit, that remember the error which astroquery swallows."""

from __future__ import annotations

import contextlib
import http.client
import io
import threading
from collections.abc import Callable, Iterator
from typing import Any

from astroanomaly import fetch
from astroanomaly.fetch import ClientOutput
from astroanomaly_plugins.shared.client_answers import MOST_FILE_BYTES, MOST_TABLE_BYTES, too_long

__all__ = ["Connections"]

_ERROR_PAGE_BYTES = 20_000  # that are read
_CHUNK_BYTES = 2**20


class Connections:
    """Makes the connections of one `astroquery.utils.tap.conn.tapconn.TapConn`.

    astroquery's own have no time limit, and its archives turn every error into a line of their log and ``None``. These
    keep the error, with status and ``Retry-After``, for whoever called.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._of_thread = threading.local()

    @contextlib.contextmanager
    def listening(self, what: str) -> Iterator[ClientOutput]:
        """Forget the last error of this thread, hear what astroquery says, and close in the end what it leaves open."""
        self._of_thread.error = None
        self._of_thread.opened = []
        try:
            with fetch.answer(what) as output:
                yield output
        finally:
            for part in reversed(self._of_thread.opened):
                part.close()
            self._of_thread.opened = []

    @property
    def error(self) -> Exception | None:
        """The last error of this thread."""
        return getattr(self._of_thread, "error", None)

    def note(self, error: Exception) -> None:
        """Remember an error of this thread."""
        self._of_thread.error = error

    def opened(self, part: Any) -> None:
        """Remember a connection or an answer that is to be closed."""
        self._of_thread.__dict__.setdefault("opened", []).append(part)

    def get_connection(self, *, ishttps: bool = False, cookie: str | None = None, verbose: bool = False) -> Any:
        """Return a connection; with TLS if asked for, or once a login has set a cookie."""
        if ishttps or cookie is not None:
            return self.get_connection_secure(verbose=verbose)
        return _Plain(self, self._host, self._port, timeout=fetch.current().timeout_s)

    def get_connection_secure(self, verbose: bool = False) -> Any:
        """Return a connection with TLS."""
        return _Secure(self, self._host, self._port, timeout=fetch.current().timeout_s)


class _Listening:
    """What both kinds of connections add to those of `http.client`."""

    _owner: Connections

    def request(self, *args: Any, **more: Any) -> None:
        self._owner.opened(self)
        try:
            super().request(*args, **more)  # type: ignore[misc]
        except (OSError, http.client.HTTPException) as error:
            self._owner.note(error)
            raise

    def getresponse(self) -> http.client.HTTPResponse:
        try:
            response: http.client.HTTPResponse = super().getresponse()  # type: ignore[misc]
            self._owner.opened(response)
            if response.status >= 400:
                _refuse(response)
            response.read = _Bounded(response, self._owner.note)  # type: ignore[method-assign]
        except (OSError, http.client.HTTPException) as error:
            self._owner.note(error)
            raise
        return response


class _Plain(_Listening, http.client.HTTPConnection):
    def __init__(self, owner: Connections, host: str, port: int, *, timeout: float) -> None:
        super().__init__(host, port, timeout=timeout)
        self._owner = owner


class _Secure(_Listening, http.client.HTTPSConnection):
    def __init__(self, owner: Connections, host: str, port: int, *, timeout: float) -> None:
        super().__init__(host, port, timeout=timeout)
        self._owner = owner


class _Bounded:
    """Reads an answer up to a size: in pieces, as into a file, or whole, as into memory."""

    def __init__(self, response: http.client.HTTPResponse, note: Callable[[Exception], None]) -> None:
        self._response = response
        self._read: Callable[[int], bytes] = response.read
        self._note = note
        self._came = 0

    def __call__(self, amt: int | None = None) -> bytes:
        if amt is not None:
            return self._piece(amt, MOST_FILE_BYTES)
        whole = b"".join(iter(lambda: self._piece(_CHUNK_BYTES, MOST_TABLE_BYTES), b""))
        if self._response.length:  # bytes that were promised and have not come
            raise http.client.IncompleteRead(whole, self._response.length)
        return whole

    def _piece(self, nbytes: int, most_bytes: int) -> bytes:
        piece = self._read(nbytes)
        self._came += len(piece)
        if self._came > most_bytes:
            error = too_long(most_bytes)
            self._note(error)
            raise error
        return piece


def _refuse(response: http.client.HTTPResponse) -> None:
    """Raise the error of a status, with the headers and first words of the answer."""
    import requests

    answer = requests.Response()
    answer.status_code = response.status
    answer.headers.update(response.getheaders())
    answer.raw = io.BytesIO(response.read(_ERROR_PAGE_BYTES))
    raise requests.HTTPError(f"HTTP {response.status} {response.reason}", response=answer)
