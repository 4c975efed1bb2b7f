"""Addresses that a service names, and how they are fetched: only http and https, only from hosts that are allowed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from astroanomaly import FetchError, fetch

__all__ = ["Web", "error"]

_MAX_TABLE_BYTES = 256 * 10**6


def error(what: str, reason: str, *, retryable: bool = False) -> FetchError:
    """Make an error whose reason can be counted."""
    return FetchError(f"{what}: {reason}", retryable=retryable, reason=reason)


@dataclass(frozen=True)
class Web:
    """Hosts that addresses from a service may lead to.

    Attributes
    ----------
    hosts
        The service's own host, and others that the user named; ``*`` stands for any part of a name. Hosts below the
        service's own host are allowed too.
    most_mb
        Largest file that is fetched, in megabytes.
    login
        Hosts that the user logs in at; their secrets are read of the environment where they are needed.
    """

    hosts: tuple[str, ...]
    most_mb: float
    login: tuple[str, ...] = ()

    @property
    def account(self) -> fetch.Account | None:
        """The user's secrets; None without a login."""
        return fetch.read_account(self.login, "VO") if self.login else None

    def refusal(self, url: str) -> str:
        """Say why an address is not fetched; empty if it is."""
        try:
            parts = urlsplit(url)
            host, _ = (parts.hostname or "").lower().rstrip("."), parts.port
        except ValueError:
            return "the service gives no readable address of the data"
        if parts.scheme.lower() not in ("http", "https"):
            return (
                f"the service names a {parts.scheme or 'local'} address for the data; only http and https are fetched"
            )
        if parts.username or parts.password:
            return "the service names an address with a password for the data"
        if host and (any(fnmatchcase(host, one.lower()) for one in self.hosts) or host.endswith(f".{self.hosts[0]}")):
            return ""
        return f"the data are on another host, {host}: allow it with --hosts {host}"

    def allow(self, url: str) -> None:
        """Raise `FetchError` for an address that is not fetched."""
        reason = self.refusal(url)
        if reason:
            raise FetchError(reason, reason=reason)

    def file(
        self,
        url: str,
        request: Mapping[str, Any],
        what: str,
        *,
        params: Mapping[str, Any] | None = None,
        check: Callable[[Path], None] | None = None,
        suffix: str = ".fits",
    ) -> Path:
        """Return a file, kept or fetched; ``request`` is its key in the cache of files."""
        reason = self.refusal(url)
        if reason:
            raise error(what, reason)

        def make(path: Path) -> None:
            self._download(url, path, params, what, int(self.most_mb * 1e6))

        return fetch.cached(request, make, host=url, what=what, check=check, suffix=suffix)

    def table(self, url: str, params: Mapping[str, Any], what: str) -> Path:
        """Return the VOTable that answers a query, kept or fetched; one that states an error is an error."""
        reason = self.refusal(url)
        if reason:
            raise error(what, reason)

        def make(path: Path) -> None:
            self._download(url, path, params, what, _MAX_TABLE_BYTES)

        def check(path: Path) -> None:
            fetch.is_votable(path, what)

        request = {"service": url, "query": {name: params[name] for name in sorted(params)}}
        return fetch.cached(request, make, host=url, what=what, check=check, suffix=".vot")

    def _download(self, url: str, path: Path, params: Mapping[str, Any] | None, what: str, most_bytes: int) -> None:
        asked: dict[str, Any] = {"params": params, "what": what, "allow": self.allow, "account": self.account}
        fetch.download(url, path, most_bytes=most_bytes, **asked)

    def head(self, url: str, nbytes: int, what: str) -> bytes:
        """Return the first bytes of a file, without keeping them.

        Raises
        ------
        FetchError
            Also if the service sends far more than it was asked for.
        """
        self.allow(url)
        headers = {"Range": f"bytes=0-{nbytes - 1}"}
        return fetch.get(url, headers=headers, what=what, allow=self.allow, account=self.account, most_bytes=2 * nbytes)
