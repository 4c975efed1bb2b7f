"""The spectra of an object on its page of a report."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Callable
from html import escape
from pathlib import Path

import numpy as np

from astroanomaly.errors import SessionError
from astroanomaly.figures import spectrum_figure
from astroanomaly.session.blocks.stored_spectra import spectrum, spectrum_blocks
from astroanomaly.session.folder import SessionFolder

__all__ = ["spectra_html"]


def spectra_html(session: SessionFolder) -> Callable[[str], str] | None:
    """Return what gives the spectra of an object as HTML; None in a session without spectra."""
    names = [block.name for block in spectrum_blocks(session)]

    def of(object_id: str) -> str:
        return "".join(_figure(session, object_id, name) for name in names)

    return of if names else None


def _figure(session: SessionFolder, object_id: str, name: str) -> str:
    try:
        table = spectrum(session, object_id, name)
    except SessionError:  # there is none of this object
        return ""
    wavelength, flux, error = (
        np.asarray(getattr(table[column], "value", table[column])) for column in ("wavelength", "flux", "error")
    )
    unit = getattr(table["flux"], "unit", None)
    with tempfile.TemporaryDirectory(prefix="astroanomaly-") as folder:
        path = Path(folder) / "spectrum.png"
        spectrum_figure(wavelength, flux, error, path, f"flux in {unit}" if unit else "")
        data = base64.b64encode(path.read_bytes()).decode("ascii")
    redshift = table.meta["redshift"]
    told = f", redshift {redshift:.5g}" if np.isfinite(redshift) else ""
    return (
        f"<h3>Spectrum {escape(name)}{told}</h3>"
        f'<p class=spectrum><img alt="flux against wavelength" src="data:image/png;base64,{data}"></p>'
    )
