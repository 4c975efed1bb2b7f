"""Look at VOTables before the client of an archive reads them: one may tell it to open other files and addresses."""

from __future__ import annotations

import http.client
import io
from typing import TYPE_CHECKING, Any

from astroanomaly import FetchError, fetch

if TYPE_CHECKING:
    from requests import Response

__all__ = ["check_answer"]

_MOST_BYTES = 2**31
_CHUNK_BYTES = 2**20
_FIRST_ERROR = 400  # of HTTP


def check_answer(response: Response, *_: Any, **__: Any) -> None:
    """Refuse an answer in XML that points elsewhere; a hook of a session, which leaves the answer for its client.

    Raises
    ------
    FetchError
        For that, or an answer without an end.
    """
    from requests import RequestException
    from urllib3 import HTTPResponse

    if response.status_code >= _FIRST_ERROR or response.is_redirect:
        return
    content = bytearray()
    try:
        for part in response.iter_content(_CHUNK_BYTES):
            content += part
            if len(content) > _MOST_BYTES:
                reason = f"the answer is longer than {_MOST_BYTES >> 30} GiB"
                raise FetchError(reason, reason=reason)
    except RequestException:  # of an error that is raised here clients keep the words alone
        response.raw = HTTPResponse(_BreaksOff(content), status=response.status_code, preload_content=False)
        return
    whole = bytes(content)
    fetch.is_self_contained(whole, "the answer")
    response._content = whole
    response.raw = HTTPResponse(io.BytesIO(whole), status=response.status_code, preload_content=False)


class _BreaksOff(io.BytesIO):
    """An answer that ends before its end: whoever reads so far gets the error of a connection that broke."""

    def read(self, size: int | None = -1) -> bytes:
        part = super().read(size)
        if size is None or size < 0 or len(part) < size:
            raise http.client.IncompleteRead(part)
        return part
