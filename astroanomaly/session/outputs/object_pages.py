"""A page for each object of a report: pictures in colour and in every band, all that is known of it, what was said."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.cache import Cache
from astroanomaly.imaging.compass import Compass, sexagesimal
from astroanomaly.imaging.display import Display
from astroanomaly.session.known import KnownIn, KnownObject
from astroanomaly.session.outputs.links import links, reference_link
from astroanomaly.session.outputs.pictures import Palette, marks, png, render
from astroanomaly.tables.designation import designations

if TYPE_CHECKING:
    from astropy.table import QTable

__all__ = ["MOST_PAGES", "anchor", "object_pages"]

MOST_PAGES = 100
_LARGEST_PX = 256
_AT_A_TIME = 16  # objects whose pictures are made together
_MOST_BANDS = 12
_FIELDS_IN_LINK = 2.0  # the field of view of other services, in widths of the cutout
_MOST_LETTERS = 400
_SAID = ("label", "votes", "note")  # columns that have a place of their own
_FIRST = ("object_id", "ra", "dec", "rank", "score", "probability")


def anchor(number: int) -> str:
    """Return the name of the page of an object, by its place in the catalogue."""
    return f"object-{number}"


def object_pages(
    cache: Cache,
    table: QTable,
    known: Sequence[KnownIn],
    display: Display | None,
    palette: Palette,
    beside: Callable[[str], str] | None = None,
) -> Iterator[str]:
    """Give a page of HTML for each of a catalogue's objects, as part of a report.

    Parameters
    ----------
    cache
        Has the pictures.
    table
        A catalogue, see `astroanomaly.session.export.describe`.
    known
        What catalogues and services know of the objects.
    display, palette
        How the colour pictures look, as in `Painter.paint`; bands have its stretch and orientation, in grey.
    beside
        Gives the HTML of the spectra and light curves of an object; None: there are none.
    """
    how = display or cache.pictures.usual_display
    bands = cache.bands[:_MOST_BANDS] if len(cache.bands) > 1 else ()
    displays = [how, *(how.changed(colours="single", band=band, colour_map="grey", hidden=()) for band in bands)]
    names = ["colour" if len(cache.bands) > 1 else cache.bands[0], *bands]
    for start in range(0, len(table), _AT_A_TIME):
        rows = table[start : start + _AT_A_TIME]
        ids = [str(object_id) for object_id in rows["object_id"]]
        painted = [render(cache, ids, _LARGEST_PX, one, palette) for one in displays]
        turned = cache.pictures.compasses(ids, how, _LARGEST_PX)
        for place, (row, compass) in enumerate(zip(rows, turned, strict=True)):
            pictures = [(name, images[place]) for name, images in zip(names, painted, strict=True)]
            drawn = beside(ids[place]) if beside else ""
            yield _page(start + place, row, pictures, compass, known, drawn)


def _page(
    number: int,
    row: Any,
    pictures: Sequence[tuple[str, np.ndarray]],
    compass: Compass | None,
    known: Sequence[KnownIn],
    beside: str,
) -> str:
    ra, dec = float(row["ra"].value), float(row["dec"].value)
    (name,) = designations(np.array([ra]), np.array([dec]))
    title = _text(row["object_id"])
    place = f"{escape(name)} · {ra:.6f} {dec:+.6f} · {sexagesimal(ra, dec)}" if name else "no position on the sky"
    figures = "".join(_picture(what, picture, compass) for what, picture in pictures)
    field = 60.0 if compass is None else compass.scale_arcsec * pictures[0][1].shape[1] * _FIELDS_IN_LINK
    found = " · ".join(f'<a href="{escape(to)}">{text}</a>' for text, to in links(ra, dec, field))
    return (
        f'<article id="{anchor(number)}"><h2>{title}</h2><p class=muted>{place}</p><div class=bands>{figures}</div>'
        f"{beside}{_said(row)}{_crossmatches(known, str(row['object_id']))}<h3>Catalogue</h3>"
        f"<table>{_columns(row)}</table>"
        f"<p><small>{found}</small></p></article>\n"
    )


def _picture(name: str, picture: np.ndarray, compass: Compass | None) -> str:
    height, width = picture.shape[:2]
    data = base64.b64encode(png(picture)).decode("ascii")
    drawn = "" if compass is None else marks(compass, width, height)
    return (
        f'<figure><div><img alt="" width="{width}" height="{height}" src="data:image/png;base64,{data}">{drawn}</div>'
        f"<figcaption>{_text(name)}</figcaption></figure>"
    )


def _said(row: Any) -> str:
    words = [f"<b>{_text(row['label'])}</b>" if row["label"] else "no label"]
    words += [f"votes {_text(row['votes'])}"] if row["votes"] else []
    words += [f"<q>{_text(row['note'])}</q>"] if row["note"] else []
    return f"<h3>Verdicts</h3><p>{', '.join(words)}</p>"


def _crossmatches(known: Sequence[KnownIn], object_id: str) -> str:
    """List what each catalogue that was asked for the object has."""
    rows = [_known_row(where, where.objects[object_id]) for where in known if object_id in where.objects]
    return f"<h3>Crossmatches</h3><table>{''.join(rows)}</table>" if rows else ""


def _known_row(where: KnownIn, one: KnownObject) -> str:
    if not one.matches:
        return f"<tr><th>{_text(where.catalog)}</th><td>nothing within the radius</td></tr>"
    words = [f"<b>{_text(one.name)}</b>" if one.name else "an entry", _text(one.type)]
    words.append(f"{one.separation_arcsec:.2f}″ away" + (f", {one.matches} entries" if one.matches > 1 else ""))
    address = reference_link(one.reference)
    words.append(f'<a href="{escape(address)}">{_text(one.reference)}</a>' if address else _text(one.reference))
    for (name, (unit, _, _)), value in zip(where.values.items(), one.values, strict=False):
        words += [f"{_text(name)} {value:.6g} {_text(unit)}".strip()] if np.isfinite(value) else []
    return f"<tr><th>{_text(where.catalog)}</th><td>{', '.join(word for word in words if word)}</td></tr>"


def _columns(row: Any) -> str:
    names = [*(name for name in _FIRST if name in row.colnames), *(n for n in row.colnames if n not in _FIRST + _SAID)]
    return "".join(_column(row, name) for name in names if not name.startswith("known"))


def _column(row: Any, name: str) -> str:
    value = row[name]
    info = row.columns[name].info
    plain = getattr(value, "value", value)
    if np.ma.is_masked(plain) or (isinstance(plain, float | np.floating) and not np.isfinite(plain)):
        return ""
    if isinstance(plain, float | np.floating):
        text = f"{float(plain):.8g}"
    else:
        text = plain.decode("utf-8", "backslashreplace") if isinstance(plain, bytes) else str(plain)
    if not text:
        return ""
    unit = "" if info.unit is None else f" {_text(info.unit)}"
    about = _text(info.description or "")
    return f"<tr><th>{_text(name)}</th><td>{_text(text)}{unit}</td><td class=muted>{about}</td></tr>"


def _text(value: Any) -> str:
    text = str(value)
    return escape(text if len(text) <= _MOST_LETTERS else text[: _MOST_LETTERS - 1] + "…")
