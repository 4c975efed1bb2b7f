"""One request with its answer, or with the error that came instead, as two or three files of a folder."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from astroanomaly.errors import FetchError, UnreadableError
from astroanomaly.fetch.recording.secrets import Headers
from astroanomaly.files import atomic_path, open_plain, read_json, write_json

__all__ = ["EXCHANGES", "Exchange", "identity", "read_answer", "read_exchanges", "write_exchange"]

EXCHANGES = "exchanges"  # the folder of them in a record
_VERSION = 1
_MAX_ABOUT_BYTES = 2**20
_MAX_REQUEST_BYTES = 2**28
_MAX_ANSWER_BYTES = 2**31
_MAX_EXCHANGES = 1_000_000
_DEFAULT_PORTS = {"http": 80, "https": 443}
_CACHE_BREAKER = re.compile(rb"(?i)cache[-_]?breaker(?:%[0-9a-f]{2}|[^\w%])*[\w-]+")  # astroquery adds a random word
_NAME = re.compile(r"\d{20}-\d{1,10}-\d{1,10}\.json")


@dataclass
class Exchange:
    """What was asked, and what came.

    Attributes
    ----------
    method, url, sent
        Of the request: method, address, headers.
    body
        Of the request; None where it is not known.
    status, reason, version, came
        Of the answer: HTTP status (0 for none), its words, version (10 or 11) and headers.
    content
        The answer, as far as it is kept; chunks are put together.
    nbytes, sha256
        Of the whole answer as it came.
    kept
        Whether ``content`` is all of it, not only its beginning.
    chunked
        Whether it came in chunks.
    error
        Class and words of the error that came instead of an answer, or of its end; empty for none.
    seconds
        How long it took.
    """

    method: str
    url: str
    sent: Headers = field(default_factory=list)
    body: bytes | None = b""
    status: int = 0
    reason: str = ""
    version: int = 11
    came: Headers = field(default_factory=list)
    content: bytes = b""
    nbytes: int = 0
    sha256: str = ""
    kept: bool = True
    chunked: bool = False
    error: tuple[str, str] = ("", "")
    seconds: float = 0.0

    @property
    def key(self) -> str:
        """What makes a request the same."""
        return identity(self.method, self.url, self.sent, self.body)


def identity(method: str, url: str, headers: Headers, body: bytes | None) -> str:
    """Return a digest of a request: method, address, range of bytes, and body but for random words in it."""
    parts = urlsplit(url)
    port = parts.port or _DEFAULT_PORTS.get(parts.scheme.lower(), 0)
    where = f"{parts.scheme.lower()}://{(parts.hostname or '').lower()}:{port}{parts.path or '/'}?{parts.query}"
    values = {name.lower(): value for name, value in headers}
    body = body or b""
    mark = re.search(r'boundary="?([^";]+)', values.get("content-type", ""))
    if mark:
        body = body.replace(mark[1].encode(), b"boundary")
    body = _CACHE_BREAKER.sub(b"", body)
    digest = hashlib.sha256()
    for part in (method.upper().encode(), where.encode(), values.get("range", "").encode(), body):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def write_exchange(folder: Path, name: str, exchange: Exchange) -> None:
    """Write the files of an exchange; the one that names the others comes last.

    Parameters
    ----------
    name
        Twenty digits of time, process and number, joined by hyphens: exchanges are read in the order of their names.
    """
    for suffix, content in (("request", exchange.body), ("answer", exchange.content)):
        if content:
            with atomic_path(folder / f"{name}.{suffix}", sync=False) as temporary:
                temporary.write_bytes(content)
    about = {
        "format": _VERSION,
        "request": {
            "method": exchange.method,
            "url": exchange.url,
            "headers": exchange.sent,
            "body": None if exchange.body is None else len(exchange.body),
        },
        "answer": {
            "status": exchange.status,
            "reason": exchange.reason,
            "version": exchange.version,
            "headers": exchange.came,
            "bytes": exchange.nbytes,
            "kept": len(exchange.content),
            "whole": exchange.kept,
            "sha256": exchange.sha256,
            "chunked": exchange.chunked,
        },
        "error": list(exchange.error),
        "seconds": round(exchange.seconds, 3),
    }
    write_json(folder / f"{name}.json", about)


def read_exchanges(folder: Path) -> Iterator[tuple[Path, Exchange]]:
    """Yield the exchanges of a record in their order, without the answers, which `read_answer` reads.

    Raises
    ------
    UnreadableError
        If the folder is no record, or a file of it is damaged or none of ours.
    """
    place = folder / EXCHANGES
    try:
        names = sorted(item.name for item in place.iterdir() if _NAME.fullmatch(item.name))
    except OSError as error:
        raise UnreadableError(
            f"{folder} is no record of an archive: {place} cannot be read ({error.strerror or error})"
        ) from error
    if len(names) > _MAX_EXCHANGES:
        raise UnreadableError(f"{folder}: more than {_MAX_EXCHANGES} requests are in no record")
    for name in names:
        yield place / name, _read(place / name)


def _read(path: Path) -> Exchange:
    if path.is_symlink():
        raise UnreadableError(f"{path} is a link, which no record has")
    about = read_json(path, max_bytes=_MAX_ABOUT_BYTES, error=UnreadableError, remedy="ask for the record anew")
    if about.get("format") != _VERSION:
        raise UnreadableError(f"{path} has format {about.get('format')!r}, expected {_VERSION}: update AstroAnomaly")
    try:
        request, answer = about["request"], about["answer"]
        length = request["body"]
        exchange = Exchange(
            method=_text(request["method"]),
            url=_text(request["url"]),
            sent=_headers(request["headers"]),
            status=_number(answer["status"], 999),
            reason=_text(answer["reason"]),
            version=10 if answer["version"] == 10 else 11,
            came=_headers(answer["headers"]),
            nbytes=_number(answer["bytes"], 2**60),
            sha256=_text(answer["sha256"]),
            kept=answer["whole"] is True,
            chunked=answer["chunked"] is True,
            error=(_text(about["error"][0]), _text(about["error"][1])),
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise UnreadableError(f"{path} is damaged: {type(error).__name__}: {error}") from error
    exchange.body = None if length is None else b""
    if length:
        exchange.body = _content(path.with_suffix(".request"), _MAX_REQUEST_BYTES)
    return exchange


def read_answer(path: Path, exchange: Exchange) -> bytes:
    """Return what is kept of an answer; ``path`` is that of the exchange.

    Raises
    ------
    FetchError
        If only its beginning was kept.
    UnreadableError
        If the file is not as it was written.
    """
    if not exchange.kept:
        raise FetchError(
            f"the record does not hold the whole of this answer of {exchange.nbytes / 1e6:.4g} MB: it was larger than "
            "--record-mb, or held a secret where none can be hidden"
        )
    if not exchange.nbytes:
        return b""
    content = _content(path.with_suffix(".answer"), _MAX_ANSWER_BYTES)
    if len(content) != exchange.nbytes:
        raise UnreadableError(f"{path} is damaged: its answer has {len(content)} bytes, not {exchange.nbytes}")
    return content


def _content(path: Path, most_bytes: int) -> bytes:
    if path.is_symlink():
        raise UnreadableError(f"{path} is a link, which no record has")
    with open_plain(path) as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise UnreadableError(f"{path} has more than {most_bytes} bytes, which no record has")
    return content


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a text, found {json.dumps(value)[:40]}")
    return value


def _number(value: Any, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise ValueError(f"expected a number up to {most}, found {json.dumps(value)[:40]}")
    return value


def _headers(value: Any) -> Headers:
    if not isinstance(value, list) or len(value) > 1000:
        raise TypeError("expected a list of headers")
    pairs = [(_text(name), _text(content)) for name, content in value]
    if any("\r" in text or "\n" in text for pair in pairs for text in pair):
        raise ValueError("a header has several lines")
    return pairs
