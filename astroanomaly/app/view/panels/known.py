"""What catalogues know of an object, as the inspector shows it."""

from __future__ import annotations

from html import escape

import numpy as np

from astroanomaly.app.review.known_objects import KnownObjects
from astroanomaly.session.known import KnownIn, KnownObject
from astroanomaly.session.outputs.links import entry_link, reference_link

__all__ = ["known_text"]


def known_text(known_objects: KnownObjects, object_id: str) -> str:
    """Return a table as HTML, all text of it escaped; empty where no catalogue was asked.

    Links lead to SIMBAD, NED, ADS, doi.org and arXiv only: addresses that a catalogue gives are shown as text.
    """
    if known_objects.problem:
        return f"<h3>known as</h3><p class=bad>{escape(known_objects.problem)}</p>"
    rows = [_row(where, one) for where, one in known_objects.of(object_id) if one is not None]
    return f"<h3>known as</h3><table>{''.join(rows)}</table>" if rows else ""


def _row(where: KnownIn, one: KnownObject) -> str:
    head = f"<tr><th>{escape(where.catalog)}</th>"
    if not one.matches:
        return f"{head}<td class=muted>nothing within {where.lookups[one.lookup].radius_arcsec:g}″</td></tr>"
    address = entry_link(where.catalog, one.name) if where.service else ""
    parts = [_link(one.name, address), escape(one.type), f"{one.separation_arcsec:.2f}″"]
    if one.matches > 1:
        parts.append(f"nearest of {one.matches}")
    parts += [
        f"{escape(name.replace('_', ' '))} {value:.6g}{f' {escape(unit)}' if unit else ''}"
        for (name, (unit, _, _)), value in zip(where.values.items(), one.values, strict=False)
        if np.isfinite(value)
    ]
    parts.append(_link(one.reference, reference_link(one.reference)))
    return f"{head}<td>{', '.join(part for part in parts if part)}</td></tr>"


def _link(text: str, address: str) -> str:
    if not address:
        return escape(text)
    return f'<a href="{escape(address, quote=True)}" target="_blank" rel="noopener noreferrer">{escape(text)}</a>'
