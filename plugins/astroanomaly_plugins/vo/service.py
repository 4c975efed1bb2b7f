"""Which protocol a service speaks, where it is asked, and how a search around a position is put."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from astroanomaly import ConfigError, FetchError, fetch
from astroanomaly.cutting import quiet
from astroanomaly_plugins.shared.web import Web

__all__ = ["Selection", "Service", "find_service", "is_address"]

_SIA2 = "ivo://ivoa.net/std/sia#query-2"
_TAP = "ivo://ivoa.net/std/tap"
_METHODS = {"token": ("oauth", "token", "bearer"), "password": ("basicaa",), "certificate": ("tls-with-certificate",)}
_MAX_ROWS = 10_000
_MAX_CAPABILITIES_BYTES = 4 * 10**6


@dataclass(frozen=True)
class Selection:
    """What is wanted beside a position: names of collections and instruments; empty for any."""

    collections: tuple[str, ...] = ()
    instruments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Service:
    """Where queries go, and in which protocol: ``sia2`` or ``tap``."""

    kind: str
    url: str

    def search(self, ra: float, dec: float, radius: float, wanted: Selection) -> dict[str, Any]:
        """Return the parameters of a search for images that meet a circle; all in degrees."""
        if self.kind == "sia2":
            from pyvo.dal.sia2 import SIA2Query

            query = SIA2Query(
                self.url,
                pos=(ra, dec, radius),
                data_type="image",
                collection=list(wanted.collections),
                instrument=list(wanted.instruments),
                maxrec=_MAX_ROWS,
            )
        else:
            from pyvo.dal.tap import TAPQuery

            query = TAPQuery(self.url, _adql(ra, dec, radius, wanted), maxrec=_MAX_ROWS)
        return {name: _plain(value) for name, value in query.items()}


def _plain(value: Any) -> Any:
    """Turn pyvo's parameters into plain texts."""
    if isinstance(value, str | bytes):
        return value.decode() if isinstance(value, bytes) else value
    return [str(item) for item in value] if isinstance(value, Sequence | set) else str(value)


def _adql(ra: float, dec: float, radius: float, wanted: Selection) -> str:
    from pyvo.dal.tap import escape

    where = [
        "dataproduct_type = 'image'",
        f"1 = INTERSECTS(CIRCLE('ICRS', {ra!r}, {dec!r}, {radius!r}), s_region)",
    ]
    for column, names in (("obs_collection", wanted.collections), ("instrument_name", wanted.instruments)):
        if names:
            texts = [f"'{escape(name)}'" for name in names]
            where.append(f"{column} IN ({', '.join(texts)})")
    return f"SELECT TOP {_MAX_ROWS} * FROM ivoa.obscore WHERE {' AND '.join(where)}"


def find_service(url: str, kind: str, web: Web) -> Service:
    """Tell by its capabilities what a service is; ``kind`` other than ``auto`` is believed.

    Raises
    ------
    ConfigError
        If it is neither SIA version 2 nor TAP, or does not say.
    """
    base = url.rstrip("?&")
    if kind == "sia2":
        return Service("sia2", base)
    if kind == "tap":
        return Service("tap", f"{base.rstrip('/').removesuffix('/sync')}/sync")
    capabilities, trouble = _capabilities(base, web)
    for standard, address in _usable(capabilities, web):
        if standard.startswith(_SIA2):
            return Service("sia2", address or base)
        if standard == _TAP or standard.startswith(f"{_TAP}#"):
            return Service("tap", f"{(address or base).rstrip('/')}/sync")
    if not capabilities:
        raise ConfigError(
            f"what {base} is, is unknown, for it states no capabilities ({trouble}). If it is a service, say "
            "which: --kind sia2 or --kind tap"
        )
    closed = [standard for standard, _, methods in capabilities if methods and standard.startswith((_SIA2, _TAP))]
    if closed:
        raise ConfigError(
            f"{base} wants a login of a kind that is not given: name its host, --login {urlsplit(base).netloc}, and "
            "set VO_TOKEN, VO_USER and VO_PASSWORD, or VO_CERTIFICATE"
        )
    standards = ", ".join(dict.fromkeys(item[0] for item in capabilities if item[0])) or "nothing"
    raise ConfigError(
        f"{base} is neither an SIA version 2 nor a TAP service: it offers {standards}. Look for the data centre's "
        "SIA2 or ObsTAP address"
    )


def _usable(capabilities: list[tuple[str, str, tuple[str, ...]]], web: Web) -> list[tuple[str, str]]:
    """Return ``(standard, address)`` of what can be asked; first what wants the secret that its host gets.

    What wants another secret is left out.
    """
    account = web.account
    mine, open_to_all = [], []
    for standard, address, methods in capabilities:
        secret = account.of(address) if account is not None else None
        allowed = address if not web.refusal(address) else ""
        if not methods:
            open_to_all.append((standard, allowed))
        elif secret is not None and any(word in method for method in methods for word in _METHODS[secret.kind]):
            mine.append((standard, allowed))
    return [*mine, *open_to_all]


def _capabilities(base: str, web: Web) -> tuple[list[tuple[str, str, tuple[str, ...]]], str]:
    """Return ``(standard, address, ways to log in)``, in lower case, of each capability, and the last trouble."""
    from pyvo.io import vosi

    trouble = ""
    for address in _candidates(base):
        what = f"the capabilities of {base}"
        try:
            most = _MAX_CAPABILITIES_BYTES
            content = fetch.get(address, what=what, allow=web.allow, account=web.account, most_bytes=most)
            fetch.is_self_contained(content, what)
        except FetchError as error:
            if error.retryable:
                raise
            trouble = error.reason
            continue
        found = []
        try:
            with quiet(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # pyvo on capabilities it does not know
                parsed = vosi.parse_capabilities(io.BytesIO(content).read)
            for capability in parsed:
                for interface in capability.interfaces:
                    urls = [one.content for one in interface.accessurls if one.content]
                    methods = tuple(str(m.standardid or "").lower() for m in interface.securitymethods)
                    if urls:
                        found.append((str(capability.standardid or "").lower(), str(urls[0]), methods))
        except (ValueError, OSError, IndexError, KeyError, TypeError, AttributeError) as error:
            trouble = f"its document cannot be read: {error}"
            continue
        if found:
            return found, ""
    return [], trouble


def _candidates(base: str) -> list[str]:
    """Places where the capabilities may be: below the address, and beside it."""
    parts = urlsplit(base)
    path = parts.path.rstrip("/")
    paths = dict.fromkeys([f"{path}/capabilities", f"{path.rpartition('/')[0]}/capabilities"])
    return [urlunsplit((parts.scheme, parts.netloc, one, "", "")) for one in paths]


def is_address(url: str) -> bool:
    """Whether a text is the address of a service."""
    parts = urlsplit(url)
    return parts.scheme in ("http", "https") and bool(parts.hostname)
