"""A report of objects with pictures: one file of HTML that can be sent, printed, or printed into a PDF."""

from __future__ import annotations

import base64
import datetime
from collections.abc import Callable, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.cache import Cache
from astroanomaly.errors import ConfigError
from astroanomaly.files import atomic_path, check_new
from astroanomaly.imaging.compass import Compass, sexagesimal
from astroanomaly.imaging.display import Display
from astroanomaly.imaging.painting import grey_map
from astroanomaly.records import Progress, counted
from astroanomaly.session.known import KnownIn
from astroanomaly.session.outputs.links import links, reference_link
from astroanomaly.session.outputs.object_pages import MOST_PAGES, anchor, object_pages
from astroanomaly.session.outputs.pictures import Palette, marks, png, render
from astroanomaly.session.outputs.provenance import public

if TYPE_CHECKING:
    from astropy.table import QTable

__all__ = ["MOST_PICTURES", "report", "write_report"]

MOST_PICTURES = 500
_LARGEST_PX = 192
_FIELDS_IN_LINK = 2.0  # the field of view of the other services, in widths of the cutout
_MOST_LETTERS = 400  # of an id or a note
_CSP = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # the page can fetch nothing and run nothing


def write_report(
    cache: Cache,
    table: QTable,
    path: Path,
    title: str,
    *,
    display: Display | None = None,
    completeness: str = "",
    method: str = "",
    pages: bool = False,
    known: Sequence[KnownIn] = (),
    beside: Callable[[str], str] | None = None,
    overwrite: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> None:
    """Write the report of a catalogue's objects as one HTML file.

    Raises
    ------
    ConfigError
        If the suffix is neither ``.html`` nor ``.htm``, or the catalogue is empty.
    StorageError
        If the file exists and must not be replaced, or cannot be written.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"{path}: a report is a file of HTML, called .html; a browser prints it into a PDF")
    check_new(path, overwrite=overwrite)
    text = report(
        cache, table, title, display=display, completeness=completeness, method=method, pages=pages, known=known,
        beside=beside, progress=progress,
    )  # fmt: skip
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def report(
    cache: Cache,
    table: QTable,
    title: str,
    *,
    display: Display | None = None,
    palette: Palette = grey_map,
    completeness: str = "",
    method: str = "",
    pages: bool = False,
    known: Sequence[KnownIn] = (),
    beside: Callable[[str], str] | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> str:
    """Make the report of a catalogue's objects.

    Parameters
    ----------
    cache
        Has the pictures.
    table
        A catalogue, see `astroanomaly.session.export.describe`; of more than `MOST_PICTURES` rows the first are shown.
    title
        Heading.
    display, palette
        How the pictures look, as in `Painter.paint`; None: as usual.
    completeness
        HTML of `astroanomaly.session.outputs.completeness.completeness_html`, shown after the objects.
    method
        HTML of `astroanomaly.session.outputs.methods.Methods.html`, shown after that.
    pages
        Whether each of the first `MOST_PAGES` objects has a page of its own behind the overview.
    known
        What catalogues and services know of the objects, for these pages.
    beside
        Gives the HTML of the spectra and light curves of an object, for these pages; None: there are none.
    progress
        Called with a report after each object.

    Returns
    -------
    str
        HTML that needs no other file and fetches none. All text from data is escaped; paths of this computer are left
        out.

    Raises
    ------
    ConfigError
        If the catalogue is empty.
    """
    if not len(table):
        raise ConfigError("there is nothing to report: no object was chosen")
    shown = table[:MOST_PICTURES]
    ids = [str(object_id) for object_id in shown["object_id"]]
    pictures = render(cache, ids, _LARGEST_PX, display, palette)
    turned = cache.pictures.compasses(ids, display, _LARGEST_PX)
    rows = counted(shown, "report", len(shown), progress)
    paged = shown[:MOST_PAGES] if pages else shown[:0]
    targets = [f"#{anchor(k)}" if k < len(paged) else "" for k in range(len(shown))]
    figures = "".join(map(_figure, rows, pictures, turned, targets))
    made_pages = object_pages(cache, paged, known, display, palette, beside) if pages else iter(())
    articles = "".join(counted(made_pages, "pages", len(paged), progress) if pages else ())
    made = datetime.datetime.now(datetime.UTC)
    count = f"{len(table)} object{'s' if len(table) != 1 else ''}"
    if len(shown) < len(table):
        count += f", the first {len(shown)} are shown"
    facts = "".join(_fact(key, value) for key, value in public(table.meta).items())
    return (
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8>"
        f'<meta http-equiv="Content-Security-Policy" content="{_CSP}">'
        '<meta name=viewport content="width=device-width, initial-scale=1"><meta name=referrer content=no-referrer>'
        f"<title>{escape(title)}</title><style>{files(__package__).joinpath('report.css').read_text('utf-8')}</style>"
        f"</head>\n<body><header><h1>{escape(title)}</h1>"
        f'<p class=muted>{count} · <time datetime="{made:%Y-%m-%dT%H:%MZ}">{made.day} {made:%B %Y, %H:%M} UTC</time> · '
        f"{_size(turned, pictures.shape)}positions are ICRS</p></header>\n<main>{figures}</main>\n"
        f"{articles}{completeness}{method}"
        f"<footer><h2>Where this comes from</h2><table>{facts}</table></footer></body></html>\n"
    )


def _fact(key: str, value: str) -> str:
    return f"<tr><th>{escape(key.replace('_', ' '))}</th><td>{escape(value)}</td></tr>"


def _size(turned: Sequence[Compass | None], shape: tuple[int, ...]) -> str:
    """Say how large the pictures are on the sky, where all are alike."""
    found = [(one.scale_arcsec * shape[2], one.scale_arcsec * shape[1]) for one in turned if one is not None]
    if len(found) < len(turned) or np.ptp(np.array(found), axis=0).max() > 0.01 * max(found[0]):
        return ""
    return f"each picture is {found[0][0]:.3g}″ × {found[0][1]:.3g}″ · "


def _figure(row: Any, picture: np.ndarray, compass: Compass | None, target: str = "") -> str:
    height, width = picture.shape[:2]
    data = base64.b64encode(png(picture)).decode("ascii")
    drawn = "" if compass is None else marks(compass, width, height)
    more = f'<p><a href="{target}">its page</a></p>' if target else ""
    return (
        f'<figure><div><img alt="" width="{width}" height="{height}" src="data:image/png;base64,{data}">{drawn}</div>'
        f"<figcaption>{''.join(_lines(row, compass, width))}{more}</figcaption></figure>"
    )


def _lines(row: Any, compass: Compass | None, width: int) -> Sequence[str]:
    """Say in a few lines what is known of an object, and where else to look."""
    lines = [f"<b>{_text(row['object_id'])}</b>"]
    ra, dec = float(row["ra"].value), float(row["dec"].value)
    if np.isfinite(ra) and np.isfinite(dec):
        lines.append(f"{ra:.6f} {dec:+.6f}<br>{sexagesimal(ra, dec)}")
    words = [f"<em>{_text(row['label'])}</em>"] if row["label"] else []
    if np.isfinite(row["score"]):
        words.append(f"rank {row['rank']}, score {row['score']:+.2f}")
    if "probability" in row.colnames and np.isfinite(row["probability"]):
        words.append(f"probability {row['probability']:.2f}")
    lines += [", ".join(words)] if words else []
    lines += [f"votes {_text(row['votes'])}"] if ";" in str(row["votes"]) else []
    lines += [f"<q>{_text(row['note'])}</q>"] if row["note"] else []
    if "merged_ids" in row.colnames and row["merged_ids"]:
        lines.append(f"merged with {_text(row['merged_ids'])}")
    lines += _known(row)
    field = 60.0 if compass is None else compass.scale_arcsec * width * _FIELDS_IN_LINK
    found = " · ".join(f'<a href="{escape(address)}">{name}</a>' for name, address in links(ra, dec, field))
    lines += [f"<small>{found}</small>"] if found else []
    return [f"<p>{line}</p>" for line in lines]


def _known(row: Any) -> list[str]:
    """Say who knows an object, if it was looked up."""
    if "known" not in row.colnames:
        return []
    if not row["known_in"]:
        return [] if np.ma.is_masked(row["known_matches"]) else ["not known where it was looked up"]
    words = [f"known as <b>{_text(row['known'])}</b>", _text(row["known_type"]), f"in {_text(row['known_in'])}"]
    words += [f"{float(row['known_separation'].to_value('arcsec')):.2f}″ away"]
    address = reference_link(str(row["known_reference"]))
    named = _text(row["known_reference"])
    words += [f'<a href="{escape(address)}">{named}</a>' if address else named]
    return [", ".join(word for word in words if word)]


def _text(value: Any) -> str:
    text = str(value)
    return escape(text if len(text) <= _MOST_LETTERS else text[: _MOST_LETTERS - 1] + "…")
