"""Open a browser at an address that nobody else may see."""

from __future__ import annotations

import contextlib
import html
import json
import logging
import secrets
import tempfile
import time
import webbrowser
from collections.abc import Iterator
from pathlib import Path

from astroanomaly.errors import StorageError
from astroanomaly.files import atomic_path

__all__ = ["opened"]

_PREFIX, _SUFFIX = "app-open-", ".html"
_UNUSED_S = 60  # a page that a killed server left behind
_log = logging.getLogger(__name__)


@contextlib.contextmanager
def opened(url: str, folder: Path) -> Iterator[None]:
    """Have the user's browser open an address, which all accounts of the computer would see on its command line.

    So the browser gets a file to open, which leads on to the address and which its owner alone may read.

    Parameters
    ----------
    url
        The address.
    folder
        Where the file is, meanwhile; if it cannot be there, that for temporary files.
    """
    for old in folder.glob(f"{_PREFIX}*{_SUFFIX}"):
        with contextlib.suppress(OSError):
            if time.time() - old.stat().st_mtime > _UNUSED_S:
                old.unlink()
    page = _write(url, folder)
    try:
        if not webbrowser.open(page.absolute().as_uri()):
            _log.info("no browser could be opened")
        yield
    finally:
        page.unlink(missing_ok=True)


def _write(url: str, folder: Path) -> Path:
    text = (
        '<!DOCTYPE html><meta charset="utf-8"><meta name="referrer" content="no-referrer"><title>AstroAnomaly</title>'
        f'<script>location.replace({json.dumps(url)})</script><p><a href="{html.escape(url)}">open the app</a>\n'
    )
    name = f"{_PREFIX}{secrets.token_hex(8)}{_SUFFIX}"
    try:
        return _write_private(folder / name, text)
    except StorageError:
        return _write_private(Path(tempfile.gettempdir()) / name, text)


def _write_private(path: Path, text: str) -> Path:
    with atomic_path(path, sync=False, private=True) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path
