"""astroquery's client of ESA's Euclid archive: one per process, with connections of ours, logged in where asked for."""

from __future__ import annotations

import inspect
import logging
import os
import socket
import sys
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from astroanomaly import ConfigError, fetch
from astroanomaly_plugins.euclid.connections import Connections
from astroanomaly_plugins.euclid.packed import unpack

__all__ = ["client_of", "environments", "forget_client", "status_of"]

_log = logging.getLogger(__name__)
_lock = threading.RLock()
_clients: dict[tuple[str, str, bool], tuple[Any, Connections]] = {}


def client_of(environment: str, server: str, login: bool) -> tuple[Any, Connections]:
    """Return the client and its connections.

    Parameters
    ----------
    environment
        As astroquery calls the archive.
    server
        Its address, ending in a slash.
    login
        Whether to log in.

    Raises
    ------
    ConfigError
        If name or password are missing or refused, or would go to another host.
    """
    key = (environment, server, login)
    with _lock:
        if key not in _clients:
            _clients[key] = _make_client(*key)
        return _clients[key]


def forget_client(environment: str, server: str, login: bool) -> None:
    """Have the next request make a new client, and log in again."""
    with _lock:
        _clients.pop((environment, server, login), None)


def environments() -> dict[str, dict[str, str]]:
    """Return the archives that astroquery knows by name, with their addresses and main tables."""
    _import()
    from astroquery.esa.euclid import conf

    return conf.ENVIRONMENTS


def _import() -> None:
    """Import astroquery's module, which asks ESA for news at once: within a time limit, and nothing is printed."""
    if "astroquery.esa.euclid" in sys.modules:
        return
    with _lock:
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(min(10.0, fetch.current().timeout_s))
        try:
            with fetch.answer("astroquery.esa.euclid"):
                import astroquery.esa.euclid  # noqa: F401
        finally:
            socket.setdefaulttimeout(before)


def _make_client(environment: str, server: str, login: bool) -> tuple[Any, Connections]:
    _import()
    from astroquery.esa.euclid import EuclidClass
    from astroquery.utils.tap import TapPlus
    from astroquery.utils.tap.conn.tapconn import TapConn

    parts = urlsplit(server)
    secure = parts.scheme == "https"
    host, port = parts.hostname or "", parts.port or (443 if secure else 80)
    connections = Connections(host, port)

    def tap(context: str, data: str) -> Any:
        return TapConn(
            secure,
            host,
            server_context=context,
            port=port,
            sslport=port,
            connhandler=connections,
            tap_context="tap",
            upload_context="Upload",
            table_edit_context="TableTool",
            data_context=data,
            datalink_context="datalink",
        )

    def plus(context: str, data: str) -> Any:
        return TapPlus(url=server, connhandler=tap(context, data), client_id="ASTROQUERY", use_names_over_ids=True)

    services = {
        "tap_plus_conn_handler": tap("tap-server", "data"),
        "datalink_handler": plus("sas-dd", "data"),
        "cutout_handler": plus("sas-cutout", "cutout"),
    }
    if "sia_handler" in inspect.signature(EuclidClass).parameters:  # from astroquery 0.4.12 on
        services["sia_handler"] = plus("sas-sia", "sia2/query")
    client = EuclidClass(environment=environment, show_server_messages=False, **services)
    # astroquery unpacks whatever is a tar or zip file, wherever its members say and however large they are
    client._EuclidClass__extract_file = unpack
    client._EuclidClass__check_file_number = lambda **_: None
    if login:
        _refuse_other_hosts(client, connections, server)
        _log_in(client, connections)
    return client, connections


def _refuse_other_hosts(client: Any, connections: Connections, server: str) -> None:
    """Refuse to log in where any service of the client would connect by itself, perhaps to another host.

    The client hands name and password to all its services, and later versions may have more than are known here.
    """
    from astroquery.utils.tap import TapPlus

    services = [client, *(one for one in vars(client).values() if isinstance(one, TapPlus))]
    handlers = [service._TapPlus__getconnhandler() for service in services]
    if any(getattr(handler, "_TapConn__connectionHandler", None) is not connections for handler in handlers):
        raise ConfigError(
            f"this version of astroquery would send name and password to other hosts than {server}: install "
            "astroquery 0.4.11 or 0.4.12, or go without --login"
        )


def _log_in(client: Any, connections: Connections) -> None:
    """Log in with what the environment says; neither name nor password are kept or shown."""
    user, password = os.environ.get("EUCLID_USER", ""), os.environ.get("EUCLID_PASSWORD", "")
    file = os.environ.get("EUCLID_CREDENTIALS", "")
    if file:
        try:
            lines = Path(file).expanduser().read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"the file that EUCLID_CREDENTIALS names cannot be read: {type(error).__name__}"
            ) from None
        user, password = ([line.strip() for line in lines] + ["", ""])[:2]
    if not user or not password:
        raise ConfigError(
            "--login needs a name and a password of ESA's archive: set EUCLID_USER and EUCLID_PASSWORD, or "
            "EUCLID_CREDENTIALS to a file with the name on the first line and the password on the second"
        )
    with connections.listening("login at ESA") as output:
        client.login(user=user, password=password)
    refused = connections.error
    if refused is not None and status_of(refused) not in (401, 403):
        raise refused
    if refused is not None or "rror" in output.reason:
        raise ConfigError("ESA's Euclid archive refused the login: check name and password") from None
    _log.info("logged in at ESA's Euclid archive")


def status_of(error: Exception) -> int:
    """HTTP status of an error; 0 for none."""
    return int(getattr(getattr(error, "response", None), "status_code", 0) or 0)
