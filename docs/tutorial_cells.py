"""How tutorials run: which mode, real data without a network, and shell commands shown as in a terminal."""

from __future__ import annotations

import os
import shutil
import sys
import urllib.request
from pathlib import Path
from typing import Any

from astropy.utils.data import import_file_to_cache, is_url_in_cache
from docutils import nodes
from sphinx.application import Sphinx

__all__ = ["execution_mode", "left_out", "setup"]

BUILD = Path(__file__).resolve().parent / "_build"
REACH_S = 10.0
SDSS = "http://data.astropy.org/visualization/reprojected_sdss_{band}.fits.bz2"  # sample data of astropy


def execution_mode() -> str:
    """Return how notebooks are run: ``ASTROANOMALY_TUTORIALS=off`` builds the pages without running them."""
    mode = os.environ.get("ASTROANOMALY_TUTORIALS", "cache")
    if mode not in ("cache", "force", "off"):
        raise ValueError(f"ASTROANOMALY_TUTORIALS={mode}: expected cache, force or off")
    return mode


def left_out() -> list[str]:
    """Return the tutorials that cannot run here, for lack of their images: their pages come without results."""
    if execution_mode() == "off" or _given().is_dir() or is_url_in_cache(SDSS.format(band="g")):
        return []
    try:
        urllib.request.urlopen(SDSS.format(band="g"), timeout=REACH_S).close()
    except OSError as error:
        sys.stderr.write(f"tutorials/field is not run: its images cannot be fetched ({error})\n")
        return ["tutorials/field*"]
    return []


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect everything to Sphinx."""
    app.connect("builder-inited", _prepare_kernels)
    app.connect("builder-inited", _give_data)
    app.connect("doctree-read", _show_shell_commands)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


def _prepare_kernels(app: Sphinx) -> None:
    """Let every kernel run ``notebook_shell.py`` first, in a profile of its own."""
    startup = BUILD / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True, exist_ok=True)
    shutil.copy(Path(__file__).with_name("notebook_shell.py"), startup)
    os.environ["IPYTHONDIR"] = str(BUILD / "ipython")
    os.environ["ASTROANOMALY_TESTS"] = str(BUILD.parents[1] / "tests")  # the local archives of the tests


def _give_data(app: Sphinx) -> None:
    """Let astropy's `download_file` find its sample images in the folder ``ASTROANOMALY_DATA``, if there is one."""
    given = _given()
    if execution_mode() == "off" or not given.is_dir():
        return
    folder = BUILD / "download-cache"
    (folder / "astropy" / "download" / "url").mkdir(parents=True, exist_ok=True)
    os.environ["XDG_CACHE_HOME"] = str(folder)  # of the notebooks, which inherit it
    for band in "gri":
        url = SDSS.format(band=band)
        if not is_url_in_cache(url):
            import_file_to_cache(url, str(given / Path(url).name), remove_original=False)


def _given() -> Path:
    return Path(os.environ.get("ASTROANOMALY_DATA", "-"), "fits", "sdss-gri")


def _show_shell_commands(app: Sphinx, doctree: nodes.document) -> None:
    """Show a cell that runs in the shell, or writes a file, as what one copies: without the magic word of notebooks."""
    for block in list(doctree.findall(nodes.literal_block)):
        magic, _, text = block.astext().partition("\n")
        typed = app.env.docname.startswith("tutorials/") and magic.startswith("astroanomaly ")
        if typed:
            text = block.astext()
        if typed or magic == "%%bash":
            block.replace_self(nodes.literal_block(text, text, language="bash", classes=["terminal"]))
        elif magic.startswith("%%writefile"):
            block.replace_self(nodes.literal_block(text, text, language="python", classes=["file"]))
