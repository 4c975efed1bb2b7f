"""SAMP: tables for the programs on this desktop, which point at objects of the app and are told what is selected."""

from __future__ import annotations

import contextlib
import http.client
import logging
import tempfile
import threading
import xmlrpc.client
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.app.review.pointed import HIGHLIGHT, POINT, ROW_LIST, Pointed, read_message
from astroanomaly.errors import StorageError
from astroanomaly.tables.write import write_catalog

if TYPE_CHECKING:
    from astropy.table import QTable

__all__ = ["SampLink", "new_client", "send_by_samp"]

_MAX_TABLES = 20  # tables that were sent, whose rows are known
_PAUSE_S = 2.0  # between two looks for a hub, and between two signs that it is there
_log = logging.getLogger(__name__)


def new_client(**more: Any) -> Any:
    """Connect to the SAMP hub of this desktop, from this computer only and without asking the internet anything.

    Raises
    ------
    pyvo.samp.SAMPHubError, OSError
        If there is no hub.
    """
    from pyvo.samp import SAMPIntegratedClient, conf

    client = SAMPIntegratedClient(name="AstroAnomaly", addr="127.0.0.1", **more)
    with conf.set_temp("use_internet", False):
        client.connect()
    return client


def send_by_samp(table: QTable, name: str) -> tuple[int, str]:
    """Send a catalogue by SAMP to the programs on this computer (TOPCAT, Aladin, DS9).

    Return how many got it, and the table-id by which they speak of it.

    The table lies in the folder for temporary files, since the others read it when they like.

    Raises
    ------
    StorageError
        If no SAMP hub runs here, or nobody is listening to it.
    """
    from pyvo.samp import SAMPHubError

    try:
        client = new_client(description="sends catalogues of anomalies", callable=False)
    except (SAMPHubError, OSError) as error:
        raise StorageError(
            "no SAMP hub is running on the computer of the server: start TOPCAT or Aladin there, or download the file"
        ) from error
    try:
        listeners = client.get_subscribed_clients("table.load.votable")
        if not listeners:
            raise StorageError("a SAMP hub is running, but no program there takes tables: start TOPCAT or Aladin")
        folder = Path(tempfile.mkdtemp(prefix="astroanomaly-samp-"))
        path = folder / "anomalies.vot"
        write_catalog(table, path)
        message = {
            "samp.mtype": "table.load.votable",
            "samp.params": {"url": path.as_uri(), "name": name, "table-id": path.as_uri()},
        }
        client.notify_all(message)
        return len(listeners), path.as_uri()
    finally:
        client.disconnect()


class SampLink:
    """A connection to the SAMP hub of this desktop, made again whenever there is a hub. Close it at the end.

    What arrives goes to the page that was used last, and only the latest message waits. Nothing that a message names is
    opened or fetched.
    """

    def __init__(self) -> None:
        self._tables: OrderedDict[str, tuple[str, ...]] = OrderedDict()
        self._lock = threading.Lock()
        self._page: object = None
        self._pointed: Pointed | None = None
        self._to_tell: tuple[str, float, float] | None = None
        self._client: Any = None
        self._wake = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="samp", daemon=True)
        self._thread.start()

    @property
    def is_connected(self) -> bool:
        """Whether there is a hub."""
        return self._client is not None

    def remember(self, table_id: str, ids: Sequence[str]) -> None:
        """Keep in mind which objects are in the rows of a table that was sent."""
        with self._lock:
            self._tables[table_id] = tuple(ids)
            self._tables.move_to_end(table_id)
            while len(self._tables) > _MAX_TABLES:
                self._tables.popitem(last=False)

    def used(self, page: object) -> None:
        """Take note that somebody uses a page: what arrives is for it."""
        self._page = page

    def left(self, page: object) -> None:
        """Forget a page that was closed."""
        if self._page is page:
            self._page = None

    def take(self, page: object) -> Pointed | None:
        """Return what has arrived for a page, once."""
        if page is not self._page:
            return None
        with self._lock:
            found, self._pointed = self._pointed, None
        return found

    def tell(self, object_id: str, ra: float, dec: float) -> None:
        """Tell the other programs which object is selected, and where it is (ICRS degrees, NaN where unknown)."""
        self._to_tell = (object_id, ra, dec)
        self._wake.set()

    def close(self) -> None:
        """End the connection."""
        self._closing = True
        self._wake.set()
        self._thread.join(10)

    def _run(self) -> None:
        from pyvo.samp import SAMPClientError, SAMPHubError, SAMPProxyError

        gone = (
            SAMPHubError, SAMPClientError, SAMPProxyError, OSError, xmlrpc.client.Error, http.client.HTTPException,
            KeyError, ValueError,  # in the file that names the hub
        )  # fmt: skip
        while not self._closing:
            try:
                if self._client is None:
                    self._client = self._connect()
                self._client.ping()
                self._tell_now()
            except gone as error:
                _log.debug("no SAMP hub: %s", error)
                self._drop(gone)
            self._wake.wait(_PAUSE_S)
            self._wake.clear()
        self._drop(gone)

    def _connect(self) -> Any:
        client = new_client(description="shows candidates of rare objects")
        for mtype in (HIGHLIGHT, ROW_LIST, POINT):
            client.bind_receive_message(mtype, self._receive)
        return client

    def _drop(self, gone: tuple[type[Exception], ...]) -> None:
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(*gone):
                client.disconnect()

    def _receive(self, private_key: str, sender: str, msg_id: str | None, mtype: str, params: Any, extra: Any) -> None:
        with self._lock:
            found = read_message(mtype, params, self._tables)
            self._pointed = found or self._pointed
        client = self._client
        if msg_id is not None and client is not None:
            understood = {"samp.status": "samp.ok", "samp.result": {}}
            refused = {"samp.status": "samp.error", "samp.error": {"samp.errortxt": "nothing here to point at"}}
            client.reply(msg_id, understood if found else refused)

    def _tell_now(self) -> None:
        told, self._to_tell = self._to_tell, None
        if told is None:
            return
        object_id, ra, dec = told
        with self._lock:
            rows = [(name, ids.index(object_id)) for name, ids in self._tables.items() if object_id in ids]
        for table_id, row in rows:
            params = {"table-id": table_id, "url": table_id, "row": str(row)}
            self._client.notify_all({"samp.mtype": HIGHLIGHT, "samp.params": params})
        if np.isfinite(ra + dec):
            self._client.notify_all({"samp.mtype": POINT, "samp.params": {"ra": f"{ra:.8f}", "dec": f"{dec:.8f}"}})
