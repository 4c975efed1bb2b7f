"""Look at what comes before the client of an archive reads it: of bounded size, and no XML that points elsewhere."""

from __future__ import annotations

import contextlib
import http.client
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from astroanomaly import AstroAnomalyError, FetchError, fetch

if TYPE_CHECKING:
    from requests import Response

__all__ = ["MOST_FILE_BYTES", "MOST_TABLE_BYTES", "bound_size", "check_answer", "too_long", "understood"]

MOST_TABLE_BYTES = 2**31  # of an answer that is held in memory
MOST_FILE_BYTES = 2**36  # of one that goes to a file
_CHUNK_BYTES = 2**16  # as it came: what is packed may be far more, and is counted once it is unpacked
_ERROR_PAGE_BYTES = 20_000  # that are read
_FIRST_ERROR = 400  # of HTTP


def bound_size(response: Response, most_bytes: int) -> bool:
    """Bound what a client can read of an answer, by whatever way of `requests`; a hook of a session calls it.

    Of the page that says an error its beginning is left, of a redirect nothing.

    Returns
    -------
    bool
        Whether there is an answer to be looked at.

    Raises
    ------
    FetchError
        When more than ``most_bytes`` have been read, not here.
    """
    if response.is_redirect:
        _put(response, b"")
    elif response.status_code >= _FIRST_ERROR:
        _put(response, _beginning(response))
    else:
        response.iter_content = _Bounded(response, most_bytes)  # type: ignore[method-assign]
        return True
    return False


class _Bounded:
    """What stands for ``iter_content`` of an answer."""

    def __init__(self, response: Response, most_bytes: int) -> None:
        self._response, self._parts = response, response.iter_content
        self._most_bytes = most_bytes

    def __call__(self, chunk_size: int | None = _CHUNK_BYTES, decode_unicode: bool = False) -> Iterator[Any]:
        came = 0
        parts: Any = self._parts  # of bytes, or of text
        for part in parts(min(chunk_size or _CHUNK_BYTES, _CHUNK_BYTES), decode_unicode):
            came += len(part)
            if came > self._most_bytes:
                self._response.close()
                raise too_long(self._most_bytes)
            yield part


@contextlib.contextmanager
def understood(what: str) -> Iterator[None]:
    """Make a `FetchError` of whatever taking an answer apart raises: the service sent something else than it does."""
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError) as error:
        if isinstance(error, AstroAnomalyError):
            raise
        reason = f"the answer is not understood: {type(error).__name__}: {' '.join(str(error).split())[:160]}"
        raise FetchError(f"{what}: {reason}", reason=reason) from error


def too_long(most_bytes: int) -> FetchError:
    """Make the error of an answer that is longer than it may be."""
    reason = f"the answer is longer than {most_bytes / 1e6:.4g} MB: that was not asked for"
    return FetchError(reason, reason=reason)


def _beginning(response: Response) -> bytes:
    from requests import RequestException

    content = b""
    try:
        for part in response.iter_content(_ERROR_PAGE_BYTES):
            content += part
            if len(content) >= _ERROR_PAGE_BYTES:
                break
    except RequestException:  # the status says it all
        pass
    return content[:_ERROR_PAGE_BYTES]


def _put(response: Response, content: bytes) -> None:
    """Have a client find this content, whichever way it reads."""
    from urllib3 import HTTPResponse

    response.raw.close()
    response._content = content
    response._content_consumed = True
    response.raw = HTTPResponse(io.BytesIO(content), status=response.status_code, preload_content=False)


def check_answer(response: Response, *_: Any, **__: Any) -> None:
    """Refuse an answer in XML that points elsewhere; a hook of a session, which leaves the answer for its client.

    Raises
    ------
    FetchError
        For that, or an answer without an end.
    """
    from requests import RequestException
    from urllib3 import HTTPResponse

    if not bound_size(response, MOST_TABLE_BYTES):
        return
    content = bytearray()
    try:
        for part in response.iter_content(_CHUNK_BYTES):
            content += part
    except RequestException:  # of an error that is raised here clients keep the words alone
        response.raw = HTTPResponse(_BreaksOff(content), status=response.status_code, preload_content=False)
        return
    whole = bytes(content)
    fetch.is_self_contained(whole, "the answer")
    _put(response, whole)


class _BreaksOff(io.BytesIO):
    """An answer that ends before its end: whoever reads so far gets the error of a connection that broke."""

    def read(self, size: int | None = -1) -> bytes:
        part = super().read(size)
        if size is None or size < 0 or len(part) < size:
            raise http.client.IncompleteRead(part)
        return part
