"""One HTTP GET, checked and bounded, into memory or into a file."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from astroanomaly._version import __version__
from astroanomaly.errors import FetchError
from astroanomaly.fetch.accounts import Account
from astroanomaly.fetch.classify_errors import classify_status
from astroanomaly.fetch.context import current, wait
from astroanomaly.fetch.retry import attempt
from astroanomaly.fetch.traffic import count_bytes

if TYPE_CHECKING:
    from requests import Response, Session

__all__ = ["download", "get"]

_MAX_BYTES = 64 * 2**30
_MAX_BYTES_IN_MEMORY = 2**30
_CHUNK_BYTES = 2**16
_VOTABLE = "application/x-votable+xml"
_MIN_BYTES_PER_S = 1000  # on average over the longest wait for an answer: less is no use to anybody
_MOST_REDIRECTS = 30
_SAME_AGAIN = (307, 308)  # redirects that want the same request again: all others want a GET
_MAX_ERROR_PAGE_BYTES = 4096  # that are read


def get(
    url: str,
    *,
    params: Mapping[str, Any] | None = None,
    what: str,
    check: Callable[[bytes], None] | None = None,
    headers: Mapping[str, str] | None = None,
    allow: Callable[[str], None] | None = None,
    account: Account | None = None,
    most_bytes: int = _MAX_BYTES_IN_MEMORY,
) -> bytes:
    """Fetch an address through `attempt`; return the body.

    Parameters
    ----------
    url
        The address.
    params
        Its query.
    what
        What is asked for, as messages will name it.
    check
        Looks at the body and raises `FetchError` where it is not what was asked for; see `is_fits`.
    headers
        Headers of the request.
    allow
        Called with every address that a redirect leads to; raises `FetchError` to refuse it.
    account
        The user's secrets; each is sent to its own host alone, also where the service sends elsewhere.
    most_bytes
        An answer that has more, once it is unpacked, is refused. Default: 1 GiB; `download` takes 64 GiB.

    Raises
    ------
    FetchError
        If it failed for good: the service is not there, refuses, breaks off, or the check does not pass.
    """
    _session()  # what it takes to be made is no part of the time between requests

    def ask() -> bytes:
        body = b"".join(_stream(url, params, headers, allow, account, most_bytes))
        if check is not None:
            check(body)
        return body

    return attempt(ask, host=url, what=what)


def download(
    url: str,
    path: Path,
    *,
    params: Mapping[str, Any] | None = None,
    what: str,
    headers: Mapping[str, str] | None = None,
    allow: Callable[[str], None] | None = None,
    account: Account | None = None,
    most_bytes: int = _MAX_BYTES,
    form: Mapping[str, str | bytes] | None = None,
) -> None:
    """Fetch an address into a file, as `get` into memory: for what is large.

    Parameters
    ----------
    url, params, what, headers, allow, most_bytes
        As in `get`.
    path
        The file.
    form
        Fields of a form to POST. Bytes are sent as VOTable files, as in an upload of TAP. None: a GET.

    Examples
    --------
    ::

        path = cached(request, lambda path: download(url, path, what=what), host=url, what=what)
    """

    def ask() -> None:
        with path.open("wb") as file:
            for chunk in _stream(url, params, headers, allow, account, most_bytes, form):
                file.write(chunk)

    attempt(ask, host=url, what=what)


def _stream(
    url: str,
    params: Mapping[str, Any] | None,
    headers: Mapping[str, str] | None,
    allow: Callable[[str], None] | None,
    account: Account | None,
    most_bytes: int,
    form: Mapping[str, str | bytes] | None = None,
) -> Iterator[bytes]:
    """Yield the body in chunks; end with an error where it is not whole."""
    wait_s = current().timeout_s
    with _answer(url, params, headers, allow, account, wait_s, form) as response:
        if response.status_code >= 400 or response.status_code == 204:  # an answer that says it has no content
            head = b""
            for chunk in _chunks(response, wait_s):
                head += chunk
                if len(head) >= _MAX_ERROR_PAGE_BYTES:
                    break
            page = head[:_MAX_ERROR_PAGE_BYTES].decode("utf-8", "replace")
            problem = classify_status(response.status_code, response.headers, page)
            raise FetchError(
                problem.reason,
                retryable=problem.retryable,
                status=problem.status,
                wait_s=problem.wait_s,
                down=problem.down,
            )
        size = 0
        for chunk in _chunks(response, wait_s):
            size += len(chunk)
            count_bytes(len(chunk))
            if size > most_bytes:
                raise FetchError(f"the answer has more than {most_bytes / 1e6:.4g} MB: that was not asked for")
            yield chunk
        promised = response.headers.get("Content-Length", "")
        if promised.isdigit() and response.raw.tell() != int(promised):
            raise FetchError("the connection broke before all bytes had come", retryable=True)


def _answer(
    url: str,
    params: Mapping[str, Any] | None,
    headers: Mapping[str, str] | None,
    allow: Callable[[str], None] | None,
    account: Account | None,
    wait_s: float,
    form: Mapping[str, str | bytes] | None,
) -> Response:
    """Ask an address and those that it sends to, each with the secret of its own host; return the last answer.

    What a redirect says beside its address may have no end, and is not read. The form goes along after 307 and 308.
    """
    from requests import TooManyRedirects

    fields = {} if form is None else form
    files = {name: (f"{name}.vot", value, _VOTABLE) for name, value in fields.items() if isinstance(value, bytes)}
    texts = {name: value for name, value in fields.items() if isinstance(value, str)}
    method = "GET" if form is None else "POST"
    for _ in range(_MOST_REDIRECTS):
        secret = account.of(url) if account is not None else None
        response = _session().request(
            method,
            url,
            params=params,
            headers=headers,
            data=texts or None,
            files=files or None,
            stream=True,
            timeout=(wait_s, wait_s),
            allow_redirects=False,
            auth=None if secret is None else secret.sign,
            cert=(secret.certificate or None) if secret is not None else None,
        )
        if not response.is_redirect:
            return response
        response.close()
        if response.status_code not in _SAME_AGAIN:
            method, texts, files = "GET", {}, {}
        url, params = urljoin(response.url, response.headers["Location"]), None
        if allow is not None:
            allow(url)
    raise TooManyRedirects(f"more than {_MOST_REDIRECTS} redirects")


def _chunks(response: Response, wait_s: float) -> Iterator[bytes]:
    """Yield what has come as soon as it has; end where it comes too slowly, or when the work has been stopped."""
    began, came = time.monotonic(), 0
    while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=True):
        wait(0)
        came += len(chunk)
        passed = time.monotonic() - began
        if passed >= wait_s:
            if came < _MIN_BYTES_PER_S * passed:
                raise FetchError(
                    f"too slow: {came} bytes came in {passed:.3g} s, less than {_MIN_BYTES_PER_S / 1e3:g} kB/s",
                    retryable=True,
                    reason=f"too slow: less than {_MIN_BYTES_PER_S / 1e3:g} kB/s came",
                )
            began, came = time.monotonic(), 0
        yield chunk


@functools.lru_cache(maxsize=1)
def _session() -> Session:
    """One pool of connections for all threads of the process."""
    import atexit
    from http.cookiejar import DefaultCookiePolicy

    import requests
    from requests.adapters import HTTPAdapter

    session = requests.Session()
    session.headers["User-Agent"] = f"astroanomaly/{__version__}"
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(pool_maxsize=32))
    atexit.register(session.close)
    return session
