"""A report of objects with thumbnails: one file of HTML that can be printed or sent."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.app.assets import asset

if TYPE_CHECKING:
    from astropy.table import QTable

__all__ = ["report"]


def report(table: QTable, pictures: np.ndarray, title: str, about: Mapping[str, str]) -> str:
    """Write the report.

    Parameters
    ----------
    table
        A catalogue, see `astroanomaly.session.candidates.describe`.
    pictures
        ``(n, H, W)`` uint32 of bytes red, green, blue, opacity; one for each row.
    title
        Heading.
    about
        What else to say at the top, by name.

    Returns
    -------
    str
        HTML that needs no other file. All text from data is escaped.
    """
    figures = "".join(_figure(row, picture) for row, picture in zip(table, pictures, strict=True))
    facts = "".join(
        f"<tr><td class=muted>{escape(str(k))}</td><td>{escape(str(v))}</td></tr>" for k, v in about.items()
    )
    style = asset("report.css")
    return (
        f"<!doctype html><html lang=en><head><meta charset=utf-8><title>{escape(title)}</title>"
        f"<style>{style}</style></head>"
        f"<body><h1>{escape(title)}</h1><table>{facts}</table><div class=sheet>{figures}</div></body></html>\n"
    )


def _figure(row: Any, picture: np.ndarray) -> str:
    from PIL import Image

    rgb = np.ascontiguousarray(picture).view(np.uint8).reshape(*picture.shape, 4)[..., :3]
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    lines: Sequence[str] = [f"<b>{escape(str(row['object_id']))}</b>"]
    ra, dec = float(row["ra"].value), float(row["dec"].value)
    if np.isfinite(ra):
        lines = [*lines, f"{ra:.6f} {dec:+.6f}"]
    words = [str(row["label"])] if row["label"] else []
    if np.isfinite(row["score"]):
        words.append(f"score {row['score']:+.2f}, rank {row['rank']}")
    lines = [*lines, escape(", ".join(words))]
    if row["note"]:
        lines = [*lines, escape(str(row["note"]))]
    return (
        f'<figure><img alt="" src="data:image/png;base64,{data}"><figcaption>{"<br>".join(lines)}</figcaption></figure>'
    )
