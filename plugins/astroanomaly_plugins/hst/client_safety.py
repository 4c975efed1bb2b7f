"""Make the sessions of archive clients safe: time limits they do not set, errors they swallow, pages they misread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from astroanomaly import fetch
from astroanomaly_plugins.shared.client_answers import bound_size

if TYPE_CHECKING:
    from requests import Response, Session
    from requests.adapters import HTTPAdapter

__all__ = ["LastError", "json_of", "prepare"]

_MOST_BYTES = 2**30  # of an answer that is held in memory


@dataclass
class LastError:
    """The last error of a session's requests, for clients that report another one."""

    last: Exception | None = None


def _timed(trouble: LastError) -> HTTPAdapter:
    """Make what sends with the user's time limit where the client sets none, which would wait for ever."""
    from requests.adapters import HTTPAdapter  # slow to import
    from requests.exceptions import RequestException

    class Timed(HTTPAdapter):
        def send(self, request: Any, *arguments: Any, **more: Any) -> Any:
            if more.get("timeout") is None:
                limit = fetch.current().timeout_s
                more["timeout"] = (limit, limit)
            try:
                return super().send(request, *arguments, **more)
            except RequestException as error:
                trouble.last = error
                raise

    return Timed()


def prepare(
    session: Session,
    look: Callable[[Response], None] | None = None,
    most_bytes: Callable[[Response], int] = lambda response: _MOST_BYTES,
) -> LastError:
    """Give a session the user's time limits, and its answers a limit of their size.

    Every HTTP status that is an error is raised before the client sees it.

    Parameters
    ----------
    look
        Looks at each answer before the client does, and raises `FetchError` where it is not what was asked for.
    most_bytes
        Most bytes that are read of an answer.
    """
    from requests.exceptions import RequestException

    trouble = LastError()
    for scheme in ("http://", "https://"):
        session.mount(scheme, _timed(trouble))

    def check(response: Response, *_: Any, **__: Any) -> None:
        bound_size(response, most_bytes(response))
        try:
            response.raise_for_status()
        except RequestException as error:
            trouble.last = error
            raise
        if look is not None and not response.is_redirect:
            look(response)

    session.hooks["response"].append(check)
    return trouble


def json_of(response: Response) -> dict[str, Any]:
    """Return the JSON object of an answer.

    Raises
    ------
    FetchError
        If it is something else; worth another try, since it is mostly the page of a proxy or of a busy server.
    """
    return fetch.json_of(response.content, "the answer", dict)
