"""The spectra and light curves of an object on its page of a report."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path

import numpy as np

from astroanomaly.errors import SessionError
from astroanomaly.figures import light_curve_figure, spectrum_figure
from astroanomaly.session.blocks.stored import light_curve, light_curve_blocks, spectrum, spectrum_blocks
from astroanomaly.session.folder import SessionFolder

__all__ = ["beside_html"]


def beside_html(session: SessionFolder) -> Callable[[str], str] | None:
    """Return what gives the spectra and light curves of an object as HTML; None in a session without any."""
    spectra = [block.name for block in spectrum_blocks(session)]
    curves = [block.name for block in light_curve_blocks(session)]

    def figures(object_id: str) -> Iterator[str]:
        for name in spectra:
            yield _spectrum(session, object_id, name)
        for name in curves:
            yield _light_curve(session, object_id, name)

    return (lambda object_id: "".join(figures(object_id))) if spectra or curves else None


def _spectrum(session: SessionFolder, object_id: str, name: str) -> str:
    try:
        table = spectrum(session, object_id, name)
    except SessionError:  # there is none of this object
        return ""
    wavelength, flux, error = (_plain(table[column]) for column in ("wavelength", "flux", "error"))
    unit = getattr(table["flux"], "unit", None)
    redshift = table.meta["redshift"]
    told = f", redshift {redshift:.5g}" if np.isfinite(redshift) else ""
    picture = _png(lambda path: spectrum_figure(wavelength, flux, error, path, f"flux in {unit}" if unit else ""))
    return f"<h3>Spectrum {escape(name)}{told}</h3>{_paragraph(picture, 'flux against wavelength')}"


def _light_curve(session: SessionFolder, object_id: str, name: str) -> str:
    try:
        table = light_curve(session, object_id, name)
    except SessionError:  # there is none of this object
        return ""
    is_magnitude = "magnitude" in table.colnames
    value = "magnitude" if is_magnitude else "flux"
    unit = getattr(table[value], "unit", None)
    days = "MJD (days)" if table.meta["time"] == "MJD" else "time (days)"
    time, values, error = (_plain(table[column]) for column in ("time", value, "error"))
    title = f"{value} in {unit}" if unit else ""

    def draw(path: Path) -> None:
        band = list(table["band"])
        light_curve_figure(time, values, error, band, path, is_magnitude=is_magnitude, x=days, title=title)

    picture = _png(draw)
    return f"<h3>Light curve {escape(name)}</h3>{_paragraph(picture, f'{value} against time')}"


def _plain(column: object) -> np.ndarray:
    return np.asarray(getattr(column, "value", column), np.float64)


def _png(draw: Callable[[Path], None]) -> str:
    with tempfile.TemporaryDirectory(prefix="astroanomaly-") as folder:
        path = Path(folder) / "figure.png"
        draw(path)
        return base64.b64encode(path.read_bytes()).decode("ascii")


def _paragraph(data: str, words: str) -> str:
    return f'<p class=spectrum><img alt="{words}" src="data:image/png;base64,{data}"></p>'
