"""Pictures and facts as HTML and PNG, for notebooks. All text is escaped: it comes from data."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np

__all__ = ["facts_html", "figures_html", "image_html", "png_bytes", "shown_text"]

_MAX_CHARACTERS = 200  # of one text that is shown
_LARGEST_PX = 1024  # side of a picture as PNG


def png_bytes(rgb: np.ndarray, largest: int = _LARGEST_PX) -> bytes:
    """Encode a picture as PNG.

    Parameters
    ----------
    rgb
        ``(height, width, 3)`` uint8, first row at the top.
    largest
        Blocks of pixels are averaged until neither side is longer.
    """
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(rgb))
    factor = -(-max(image.size) // largest)
    if factor > 1:
        image = image.reduce(factor)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def image_html(rgb: np.ndarray, side: int, title: str = "") -> str:
    """Return an ``<img>`` of a picture, its longer side ``side`` CSS pixels, that needs no other file.

    Parameters
    ----------
    rgb
        ``(height, width, 3)`` uint8.
    title
        Text that is shown when the pointer rests on it.
    """
    data = base64.b64encode(png_bytes(rgb, 2 * side)).decode("ascii")
    height, width = rgb.shape[:2]
    scale = side / max(height, width)
    return (
        f'<img alt="" title="{escape(shown_text(title))}" width="{max(1, round(width * scale))}" '
        f'height="{max(1, round(height * scale))}" style="image-rendering:pixelated;max-width:none" '
        f'src="data:image/png;base64,{data}">'
    )


def figures_html(pictures: Iterable[str], captions: Iterable[str]) -> str:
    """Return pictures (as `image_html` makes them) side by side, each over its caption."""
    figures = (
        '<figure style="display:inline-block;margin:4px;max-width:128px;overflow:hidden;vertical-align:top">'
        f'{picture}<figcaption style="font-size:80%;overflow-wrap:anywhere">{escape(shown_text(caption))}'
        "</figcaption></figure>"
        for picture, caption in zip(pictures, captions, strict=True)
    )
    return f"<div>{''.join(figures)}</div>"


def facts_html(facts: Sequence[tuple[str, str]]) -> str:
    """Return a table of names and values."""
    rows = "".join(
        f'<tr><th style="text-align:left">{escape(shown_text(name))}</th>'
        f'<td style="text-align:left">{escape(shown_text(value))}</td></tr>'
        for name, value in facts
    )
    return f"<table>{rows}</table>"


def shown_text(text: object) -> str:
    """Return a text of bounded length whose characters all can be encoded."""
    plain = str(text).encode("utf-8", "backslashreplace").decode("utf-8")
    return plain if len(plain) <= _MAX_CHARACTERS else plain[: _MAX_CHARACTERS - 1] + "…"
