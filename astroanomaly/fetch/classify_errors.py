"""Classify the errors of the network: whether another try may help, and why in few words without secrets."""

from __future__ import annotations

import errno
import html
import http
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from astroanomaly.errors import FetchError, UnreadableError
from astroanomaly.fetch.context import current

__all__ = ["Problem", "classify_error", "classify_status", "clean", "is_disk_full", "words_of_page"]

_TIMEOUTS = {"TimeoutError", "Timeout", "ReadTimeoutError", "ConnectTimeoutError", "ReadTimeout", "ServerTimeoutError"}
_BROKEN_CONNECTIONS = {
    "BadStatusLine",
    "ChunkedEncodingError",
    "ClientConnectionError",
    "ClientPayloadError",
    "ConnectionError",
    "ContentDecodingError",
    "DecodeError",
    "HTTPClientError",  # botocore: connections of all kinds
    "IncompleteRead",
    "IncompleteReadError",
    "ProtocolError",
    "RemoteDisconnected",
    "ResponseStreamingError",
    "SSLError",
    "gaierror",
}
_UNREACHABLE_ERRNOS = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.ENETRESET}
_INVALID_ADDRESSES = {"InvalidURL", "InvalidSchema", "MissingSchema", "LocationParseError", "LocationValueError"}
_NO_FITS_MESSAGES = (
    "Header missing END card",
    "Empty or corrupt FITS file",
    "No SIMPLE card found",
)  # as astropy says it
_SECRET = re.compile(  # a name that says so, and its value: quoted, or up to the next separator
    r"(?i)([\w.-]*(?:password|passwd|pwd|token|secret|api[-_]?key|access[-_]?key|signature|authorization|cookie|session[-_]?id)"
    r"[\w.-]*|(?<![a-z0-9])(?:user(?:name)?|pass|login|auth)(?==))"
    r"(['\"]?\s*[:=]\s*)(?:(?:Bearer|Basic)\s+)?(?:\"[^\"]*\"|'[^']*'|[^\s,;&'\"]*)"
)
_LOGIN_STATUS = {401, 403, 407}
_RETRYABLE_STATUS = {408, 425, 429}
_OUT_OF_SERVICE_STATUS = {502, 503, 504}
_PAGE_BYTES = 20_000  # of a page of a service that are read
_MAX_WORDS_LETTERS = 160  # of a service's own text in a message


@dataclass(frozen=True)
class Problem:
    """An error of a request, classified.

    Attributes
    ----------
    retryable
        Whether another try may help.
    reason
        Why it failed, on one line without secrets.
    status
        HTTP status; 0 where there was no response.
    wait_s
        Seconds the service asked to wait before the next request.
    down
        Whether the host itself seems to be down.
    """

    retryable: bool
    reason: str
    status: int = 0
    wait_s: float = 0.0
    down: bool = False


def classify_error(error: BaseException) -> Problem:
    """Classify whatever a client of the network raised, by its class, its causes and the status of the response."""
    chain = list(_chain(error))
    for one in chain:
        if isinstance(one, FetchError):
            return Problem(one.retryable, one.reason, one.status, one.wait_s, one.down)
    for one in chain:
        status, headers, text = _response_of(one)
        if status:
            return classify_status(status, headers, text)
    names = {cls.__name__ for one in chain for cls in type(one).__mro__}
    text = clean(str(error))
    if isinstance(error, UnreadableError):
        return Problem(False, text)
    if isinstance(error, OSError) and any(words in text for words in _NO_FITS_MESSAGES):
        return Problem(True, "no readable FITS file")
    if "TooManyRedirects" in names:
        return Problem(False, "it sends from one address to the next without end")
    if names & _INVALID_ADDRESSES or "Invalid IPv6 URL" in text:
        return Problem(False, "the address, or one it leads to, is not valid")
    if "certificate" in text.lower() and names & {"SSLError", "SSLCertVerificationError"}:
        return Problem(False, "its certificate is not trusted")
    if any(isinstance(one, ConnectionRefusedError) for one in chain) or "Connection refused" in text:
        return Problem(True, "the connection was refused", down=True)
    if names & _TIMEOUTS:
        return Problem(True, f"no answer within {current().timeout_s:g} s", down=True)
    if names & _BROKEN_CONNECTIONS or any(
        isinstance(one, OSError) and one.errno in _UNREACHABLE_ERRNOS for one in chain
    ):
        unknown = "gaierror" in names or "NameResolutionError" in names or "resolve" in text
        return Problem(True, "the host was not found" if unknown else "the connection broke", down=True)
    return Problem(False, f"{type(error).__name__}: {text}" if text else type(error).__name__)


def classify_status(status: int, headers: Mapping[str, str] | None = None, text: str = "") -> Problem:
    """Classify an HTTP status other than success."""
    phrase = http.HTTPStatus(status).phrase if status in set(http.HTTPStatus) else ""
    words = words_of_page(text)
    reason = f"HTTP {status} {phrase}".strip() + (f": {words}" if words and words != phrase else "")
    if status in _LOGIN_STATUS:
        reason += " (are these data public? see the source's page on login)"
    retryable = status in _RETRYABLE_STATUS or status >= 500
    return Problem(retryable, reason, status, _retry_after(headers), status in _OUT_OF_SERVICE_STATUS)


def is_disk_full(error: BaseException) -> bool:
    """Whether an error is that of our own disk, so that every further request would be in vain."""
    return any(
        isinstance(one, OSError) and one.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS) for one in _chain(error)
    )


def words_of_page(text: str) -> str:
    """Return the first words of a page of HTML, XML or plain text."""
    head = text[:_PAGE_BYTES]
    head = re.sub(r"(?is)<(script|style|head)\b.*?</\1\s*>", " ", head) if "<body" in head.lower() else head
    head = re.sub(r"(?is)<(script|style)\b.*?</\1\s*>", " ", head)
    words = clean(html.unescape(re.sub(r"(?s)<[^>]*>", " ", head)))
    return words if len(words) <= _MAX_WORDS_LETTERS else words[:_MAX_WORDS_LETTERS].rsplit(" ", 1)[0] + " ..."


def clean(text: str) -> str:
    """Return a text on one line, without passwords, queries of addresses and addresses in memory."""
    text = re.sub(r"(\w+://)[^\s/@]*@", r"\1", text)
    text = re.sub(r"\?[^\s'\"<>)\]]*=[^\s'\"<>)\]]*", "?...", text)
    text = re.sub(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]", "", text)
    text = re.sub(r"(?i)\b(Bearer|Basic)\s+[\w.~+/=-]{6,}", r"\1 ...", text)
    text = _SECRET.sub(r"\1\2...", text)
    text = re.sub(r"<([\w.]+)[^<>]*\bat 0x[0-9a-f]+>", r"\1", text)
    return " ".join(text.split())


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it came from: causes, contexts, and errors that clients wrap in arguments."""
    seen: set[int] = set()
    waiting: list[Any] = [error]
    while waiting:
        one = waiting.pop(0)
        if not isinstance(one, BaseException) or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [
            one.__cause__,
            one.__context__,
            getattr(one, "reason", None),
            getattr(one, "cause", None),
            *one.args,
        ]


def _response_of(error: BaseException) -> tuple[int, Mapping[str, str] | None, str]:
    """Find status, headers and text of the HTTP response that an error is about; status 0 where there is none."""
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):  # botocore
        about = response.get("ResponseMetadata", {})
        text = str(response.get("Error", {}).get("Message", ""))
        return _status(about.get("HTTPStatusCode")), about.get("HTTPHeaders"), text
    if response is not None:
        status = _status(getattr(response, "status_code", None))
        return (status, response.headers, _text_of(response)) if status else (0, None, "")
    if type(error).__module__ == "aiohttp.http_exceptions":  # answers that break off: its 400 is not the service's
        return 0, None, ""
    for name in ("code", "status", "status_code"):  # urllib, aiohttp, pyvo and others
        status = _status(getattr(error, name, None))
        if status:
            headers = getattr(error, "headers", None)
            return status, headers if hasattr(headers, "get") else None, ""
    return 0, None, ""


def _status(value: Any) -> int:
    return value if isinstance(value, int) and 400 <= value < 600 else 0


def _text_of(response: Any) -> str:
    """Return the beginning of a page; of one that nobody has read yet, no more than that is read."""
    try:
        if getattr(response, "_content_consumed", True):
            return str(response.text)
        head = next(iter(response.iter_content(_PAGE_BYTES)), b"")
        return head.decode(response.encoding or "utf-8", "replace")
    except (OSError, RuntimeError, LookupError):  # the body has gone, or breaks off
        return ""


def _retry_after(headers: Mapping[str, str] | None) -> float:
    """Seconds that the header Retry-After asks for, as a number or as a date."""
    value = str((headers or {}).get("Retry-After") or (headers or {}).get("retry-after") or "").strip()
    if re.fullmatch(r"\d+(\.\d+)?", value):
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0
