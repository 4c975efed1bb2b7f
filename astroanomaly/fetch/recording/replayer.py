"""Find the answer to a request in a record; what is not there is refused, and noted."""

from __future__ import annotations

import builtins
import http.client
import io
import socket
import ssl
import threading
from collections import defaultdict
from pathlib import Path
from typing import Any

from astroanomaly.errors import AstroAnomalyError, FetchError
from astroanomaly.fetch.recording.exchange import Exchange, identity, read_answer, read_exchanges
from astroanomaly.fetch.recording.secrets import Secrets

__all__ = ["UNANSWERED", "Replayer", "bytes_of", "error_of", "file_of"]

UNANSWERED = "unanswered"  # the file of what was refused, in the folder of what a run keeps
_NO_ERROR = ("", "Unfinished")


class Replayer:
    """The answers of a record, in the order in which they came.

    Requests are the same where method, address, range of bytes and body are. Asked again, a request gets the next
    answer that was recorded for it, so that a trouble that passed passes again; the last one stays.

    Parameters
    ----------
    folder
        Of the record.
    notes
        Folder where it is noted what is not in the record.
    """

    def __init__(self, folder: Path, notes: Path) -> None:
        self._folder, self._notes = folder, notes
        self._secrets = Secrets({})
        self._lock = threading.Lock()
        self._waiting: dict[str, list[tuple[Path, Exchange]]] = defaultdict(list)
        for path, exchange in read_exchanges(folder):
            self._waiting[exchange.key].append((path, exchange))

    def answer(self, method: str, url: str, headers: Any, body: bytes | None) -> Exchange:
        """Return what was recorded for a request, with its content.

        Raises
        ------
        FetchError
            If it is not in the record, or not all of it.
        """
        pairs = [(str(name), str(value)) for name, value in headers]
        kind = next((value for name, value in pairs if name.lower() == "content-type"), "")
        sent, address = self._secrets.sent(pairs), self._secrets.url(url)
        shown = None if body is None else self._secrets.form(body, kind)
        key = identity(method, address, sent, shown)
        with self._lock:
            found = self._waiting.get(key, [])
            path, exchange = (found.pop(0) if len(found) > 1 else found[0]) if found else (None, None)
        try:
            if path is None or exchange is None:
                raise FetchError(f"not in the record {self._folder}: {method} {address}")
            exchange.content = read_answer(path, exchange)
        except AstroAnomalyError as error:
            reason = str(error)
            with self._lock, (self._notes / UNANSWERED).open("a", encoding="utf-8") as file:
                file.write(" ".join(reason.split()) + "\n")
            raise FetchError(reason, reason=reason) from error
        return exchange


def bytes_of(exchange: Exchange) -> bytes:
    """Return an answer as it goes over a connection."""
    came, content = exchange.came, exchange.content
    if exchange.chunked:
        came = [*came, ("Transfer-Encoding", "chunked")]
        content = (b"%x\r\n%s\r\n" % (len(content), content) if content else b"") + b"0\r\n\r\n"
    head = [f"HTTP/{exchange.version // 10}.{exchange.version % 10} {exchange.status:03d} {exchange.reason}"]
    head += [f"{name}: {value}" for name, value in came]
    return "\r\n".join([*head, "", ""]).encode("latin-1", "replace") + content


def file_of(exchange: Exchange) -> io.BufferedReader:
    """Return an answer as what http.client reads; it ends with the recorded error where there was one.

    Raises
    ------
    OSError, http.client.HTTPException
        Where an error came instead of an answer.
    """
    error = None if exchange.error[0] in _NO_ERROR else error_of(exchange)
    if error is not None and not exchange.status:
        raise error
    return io.BufferedReader(_Source(bytes_of(exchange), error))


class _Source(io.RawIOBase):
    """Bytes, and the error that comes after the last of them."""

    def __init__(self, content: bytes, error: BaseException | None) -> None:
        super().__init__()
        self._content, self._error = io.BytesIO(content), error

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._content.readinto(buffer)
        if not count and self._error is not None:
            raise self._error
        return count


def error_of(exchange: Exchange) -> OSError | http.client.HTTPException:
    """Return a recorded error as http.client raises it."""
    name, words = exchange.error
    places = (builtins, socket, ssl, http.client)
    kind = next((getattr(place, name) for place in places if name.isidentifier() and hasattr(place, name)), None)
    plain = isinstance(kind, type) and issubclass(kind, OSError | http.client.HTTPException)
    if plain and kind not in (http.client.IncompleteRead,):
        return kind(words)  # type: ignore[misc]
    return ConnectionResetError(words)
