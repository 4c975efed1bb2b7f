"""Names of annotators that somebody vouches for: a proxy that names the user in a header, or a JupyterHub."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tornado.httputil import HTTPServerRequest

from astroanomaly.app.web.gate import RefusedError
from astroanomaly.errors import ConfigError
from astroanomaly.session.campaign.lists import annotator_name

__all__ = ["check_header", "hub_user", "named_user"]

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,99}")
_HUB_VARIABLE = "JUPYTERHUB_USER"


def hub_user(environment: Mapping[str, str]) -> str:
    """Return the name under which a JupyterHub has started this process; empty elsewhere."""
    try:
        return annotator_name(environment.get(_HUB_VARIABLE, ""))
    except ConfigError:
        return ""


def check_header(name: str) -> str:
    """Return the name of a header, as it is.

    Raises
    ------
    ConfigError
        If no header can have it.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"--user-header {name!r}: expected the name of a header, as in X-Forwarded-User")
    return name


def named_user(request: HTTPServerRequest, header: str) -> str:
    """Return who asks, as the proxy says.

    Raises
    ------
    RefusedError
        If the header is missing, comes more than once, or names nobody: then no proxy of ours has set it.
    """
    values = request.headers.get_list(header)
    if len(values) != 1:
        raise RefusedError(403)
    try:
        text = values[0].encode("latin-1").decode("utf-8")  # as it came over the line
    except UnicodeError:
        text = values[0]
    try:
        return annotator_name(text)
    except ConfigError:
        raise RefusedError(403) from None
