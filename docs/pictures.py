"""Take pictures out of tutorials that were run: ``python docs/pictures.py`` after the documentation was built.

They are the cards of the front page, the picture of the README and the gallery, in ``docs/images``.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path

from jupyter_cache import get_cache
from PIL import Image, ImageDraw, ImageFont

__all__ = ["PICTURES", "main"]

DOCS = Path(__file__).resolve().parent
WIDTH = 1280  # pixels at most
CARD = (640, 360)
PICTURES = {  # name in docs/images: the tutorial, which of its pictures, whether as a card
    "field": ("field", 0, True),
    "pictures": ("pictures", 0, True),
    "no-labels": ("no-labels", 0, True),
    "euclid": ("euclid", 0, True),
    "plugin": ("plugin", 0, True),
    "gallery-field-1": ("field", 2, False),
    "gallery-field-2": ("field", 3, False),
    "gallery-field-3": ("field", 4, False),
    "gallery-pictures": ("pictures", 1, False),
}


def main() -> None:
    """Write all pictures, and the front page's."""
    made = {page: _outputs(page) for page in {page for page, _, _ in PICTURES.values()}}
    for name, (page, number, card) in PICTURES.items():
        picture = made[page][number]
        _save(_card(picture, low=name == "field") if card else picture, name)
    _save(_front(*made["pictures"][:2]), "front")


def _outputs(page: str) -> list[Image.Image]:
    """Return the pictures of a tutorial in their order."""
    cache = get_cache(str(DOCS / "_build" / ".jupyter_cache"))
    records = [record for record in cache.list_cache_records() if Path(record.uri).stem == page]
    if not records:
        raise FileNotFoundError(f"{page} was not run: build the documentation first")
    notebook = cache.get_cache_bundle(max(record.pk for record in records)).nb
    found = []
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            data = output.get("data", {}).get("image/png")
            if data:
                found.append(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
    return found


def _card(picture: Image.Image, *, low: bool) -> Image.Image:
    """Cut the upper left part, or the lower left one, in the shape of a card."""
    width = min(picture.width * 3 // 4 if low else picture.width, round(picture.height * CARD[0] / CARD[1]))
    height = round(width * CARD[1] / CARD[0])
    top = picture.height - height if low else 0
    part = picture.crop((0, top, width, top + height))
    return part.resize(CARD, Image.Resampling.LANCZOS)


def _front(examples: Image.Image, sheet: Image.Image) -> Image.Image:
    """Put the known examples above what comes first."""
    known = examples.crop((0, 0, examples.width, examples.height // 2))
    first = sheet.crop((0, 25, sheet.width, sheet.height))
    font = ImageFont.load_default(size=24)
    whole = Image.new("RGB", (first.width, known.height + first.height + 104), "white")
    draw = ImageDraw.Draw(whole)
    draw.text((28, 16), "Five known examples (and five that are nominal) ...", "black", font)
    whole.paste(known, (23, 50))
    draw.text((28, known.height + 68), "... and what comes first:", "black", font)
    whole.paste(first, (0, known.height + 104))
    return whole


def _save(picture: Image.Image, name: str) -> None:
    picture.thumbnail((WIDTH, 4 * WIDTH))
    picture.save(DOCS / "images" / f"{name}.jpg", quality=82, optimize=True)


if __name__ == "__main__":
    main()
