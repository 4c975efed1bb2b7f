"""Write the exchanges of a process into the folder of a record, while its clients go on as ever."""

from __future__ import annotations

import hashlib
import itertools
import os
import threading
import time
from pathlib import Path
from typing import Any

from astroanomaly.fetch.recording.exchange import EXCHANGES, Exchange, write_exchange
from astroanomaly.fetch.recording.secrets import Secrets

__all__ = ["Open", "Recorder"]

_HEAD_BYTES = 65_536  # of an answer that is not kept
_MOST_BYTES = 4 * 2**30  # of all answers of a process that are kept whole


class Open:
    """An exchange under way; its parts are noted as they come."""

    def __init__(self, recorder: Recorder, exchange: Exchange) -> None:
        self._recorder = recorder
        self.exchange = exchange
        self._content = bytearray()
        self._digest = hashlib.sha256()
        self._began = time.monotonic()
        self.name = recorder.next_name()
        self.packed_away = False  # whether the client unpacks what comes before it is noted here

    def came(self, part: bytes) -> None:
        """Note a part of the answer."""
        exchange = self.exchange
        exchange.nbytes += len(part)
        self._digest.update(part)
        if not exchange.kept:
            return
        self._content += part
        if len(self._content) > self._recorder.most_bytes:
            exchange.kept = False
            del self._content[_HEAD_BYTES:]

    def failed(self, error: BaseException) -> None:
        """Note the error that came instead of an answer, or of the rest of it."""
        words = self._recorder.secrets.text(" ".join(str(error).split()))[:2000]
        self.exchange.error = (type(error).__name__, words)

    def done(self) -> None:
        """Write what is known; called again, it does nothing."""
        if self._recorder.forget(self):
            self.exchange.content = bytes(self._content)
            self.exchange.sha256 = self._digest.hexdigest()
            self.exchange.seconds = time.monotonic() - self._began
            self._recorder.write(self)


class Recorder:
    """Writes exchanges, without secrets and of bounded size.

    Parameters
    ----------
    folder
        Of the record.
    most_bytes
        Largest answer that is kept whole.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self.secrets = Secrets()
        self.most_bytes = most_bytes
        self._folder = folder / EXCHANGES
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._open: set[Open] = set()
        self._kept = 0

    def next_name(self) -> str:
        """Return the name of the files of an exchange that begins now."""
        return f"{time.time_ns():020d}-{os.getpid():07d}-{next(self._numbers) % 10_000_000:07d}"

    def begin(self, method: str, url: str, sent: Any, body: bytes | None) -> Open:
        """Note a request; secrets in it are known from here on."""
        headers = [(str(name), str(value)) for name, value in sent]
        kind = next((value for name, value in headers if name.lower() == "content-type"), "")
        shown = self.secrets.sent(headers)
        address = self.secrets.url(url)
        opened = Open(self, Exchange(method, address, shown, None if body is None else self.secrets.form(body, kind)))
        with self._lock:
            self._open.add(opened)
        return opened

    def forget(self, one: Open) -> bool:
        """Take an exchange off the list of those under way; False if it was not there."""
        with self._lock:
            there = one in self._open
            self._open.discard(one)
        return there

    def write(self, one: Open) -> None:
        """Write an exchange that is over."""
        exchange = one.exchange
        exchange.came = self.secrets.came(exchange.came)
        if exchange.chunked and exchange.kept:
            whole = _unchunked(exchange.content)
            if whole is None:
                exchange.chunked = False  # no chunks, or cut short: it stays as it came
            else:
                exchange.content, exchange.nbytes = whole, len(whole)
                exchange.came = [pair for pair in exchange.came if pair[0].lower() != "transfer-encoding"]
        if one.packed_away:
            exchange.came = [pair for pair in exchange.came if pair[0].lower() != "content-encoding"]
            if not exchange.error[0]:
                exchange.came = [pair for pair in exchange.came if pair[0].lower() != "content-length"]
                exchange.came.append(("Content-Length", str(exchange.nbytes)))
        with self._lock:
            self._kept += len(exchange.content)
            full = self._kept > _MOST_BYTES
        if full:
            exchange.kept, exchange.content = exchange.nbytes == 0, exchange.content[:_HEAD_BYTES]
        exchange.content = self.secrets.answer(exchange.content)
        if not self.secrets.is_clean_when_unpacked(exchange.content):
            exchange.kept, exchange.content = False, b""
        exchange.reason = self.secrets.text(exchange.reason)
        write_exchange(self._folder, one.name, exchange)

    def close(self) -> None:
        """Write what is still under way as far as it has come."""
        with self._lock:
            left = list(self._open)
        for one in left:
            if not one.exchange.error[0]:
                one.exchange.error = ("Unfinished", "nobody read on when the run ended")
            one.done()


def _unchunked(content: bytes) -> bytes | None:
    """Put chunks together; None where they are damaged or not all there."""
    parts: list[bytes] = []
    place = 0
    while True:
        end = content.find(b"\r\n", place)
        try:
            size = int(content[place:end].split(b";")[0], 16) if 0 <= end < place + 100 else -1
        except ValueError:
            return None
        if size < 0:
            return None
        if size == 0:
            return b"".join(parts)
        part = content[end + 2 : end + 2 + size]
        if len(part) < size or content[end + 2 + size : end + 4 + size] != b"\r\n":
            return None
        parts.append(part)
        place = end + 4 + size
