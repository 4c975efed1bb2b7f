"""The canvas of a figure: without global state, text taken literally, the file written in one step."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astroanomaly.errors import ConfigError, StorageError
from astroanomaly.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "DPI",
    "FONT",
    "GRID",
    "INK",
    "PALE",
    "checked_path",
    "clean",
    "new_figure",
    "put_text",
    "save",
    "shorten",
    "shorten_to_width",
    "text_width",
    "wrap_to_width",
]

INK = "#222222"
PALE = "#888888"
GRID = "#E4E4E4"
_SUFFIXES = (".png", ".svg", ".pdf")
FONT = "DejaVu Sans"  # comes with matplotlib: the same picture on every machine
_MAX_LETTERS = 400  # of a line: no figure is so wide
DPI = 100  # of contact sheets: one pixel of layout is one pixel of the file


def checked_path(path: str | Path) -> Path:
    """Return the path of a figure.

    Raises
    ------
    ConfigError
        If its suffix is none that a figure can have.
    """
    path = Path(path)
    if path.suffix.lower() not in _SUFFIXES:
        raise ConfigError(f"cannot draw {path.name!r}: a figure's name ends in {', '.join(_SUFFIXES)}")
    return path


def new_figure(width: float, height: float, constrained: bool = False) -> Figure:
    """Make a figure of a size in inches on a canvas of its own."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    engine = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1, wspace=0.03) if constrained else None
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white", layout=engine)
    FigureCanvasAgg(figure)
    return figure


def put_text(put: Callable[..., Any], *args: Any, **look: Any) -> None:
    """Put a text as it is: dollar signs and backslashes are characters, not mathematics."""
    put(*args, family=FONT, parse_math=False, usetex=False, **look)


def text_width(text: str, size: float, bold: bool = False) -> float:
    """Return the width of a text in pixels at the resolution of contact sheets."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    font = get_font(findfont(FontProperties(family=FONT, weight="bold" if bold else "normal")))
    font.set_size(size, DPI)
    font.set_text(text, 0.0)
    return font.get_width_height()[0] / 64  # FreeType counts in 64ths of a pixel


def shorten_to_width(text: str, width: float, size: float, bold: bool = False) -> str:
    """Take characters out of the middle until the text is at most ``width`` pixels wide."""
    if len(text) <= _MAX_LETTERS and text_width(text, size, bold) <= width:
        return text
    fits, fails = 1, min(len(text), _MAX_LETTERS)
    while fails - fits > 1:  # how many characters fit, by bisection
        tried = (fits + fails) // 2
        if text_width(shorten(text, tried), size, bold) <= width:
            fits = tried
        else:
            fails = tried
    return shorten(text, fits)


def wrap_to_width(text: str, width: float, size: float, bold: bool = False, *, most: int = 3) -> list[str]:
    """Break a text at blanks into lines at most ``width`` pixels wide; a longer word loses its middle.

    Parameters
    ----------
    text
        The text.
    width
        In pixels.
    size
        Of the font, in points.
    bold
        Whether it is bold.
    most
        How many lines there may be; the last one is shortened to what fits.
    """
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and (len(lines) == most or (len(longer) <= _MAX_LETTERS and text_width(longer, size, bold) <= width)):
            lines[-1] = longer
        else:
            lines.append(word)
    return [shorten_to_width(line, width, size, bold) for line in lines]


def shorten(text: str, longest: int) -> str:
    """Take characters out of the middle until at most ``longest`` are left, one of them the ellipsis."""
    if len(text) <= longest:
        return text
    keep = max(longest - 1, 1)
    tail = keep // 2
    return text[: keep - tail] + "…" + (text[-tail:] if tail else "")


@lru_cache(maxsize=1)
def _glyphs() -> frozenset[int]:
    from matplotlib.font_manager import findfont, get_font

    return frozenset(get_font(findfont(FONT)).get_charmap())


def clean(text: str) -> str:
    """Replace what cannot be drawn: control characters by spaces, characters that the font lacks by a mark."""
    known = _glyphs()
    plain = "".join(" " if unicodedata.category(character)[0] in "CZ" else character for character in str(text))
    return "".join(character if ord(character) in known else "\N{REPLACEMENT CHARACTER}" for character in plain)


def save(figure: Figure, path: Path, dpi: int = 130) -> None:
    """Write the figure in one step; the same figure gives the same bytes."""
    from matplotlib import rc_context

    suffix = path.suffix.lower()[1:]
    metadata = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[suffix]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{path.parent} cannot be made: {error.strerror or error}") from error
    with atomic_path(path) as temporary, rc_context({"svg.hashsalt": "astroanomaly", "savefig.bbox": None}):
        figure.savefig(temporary, format=suffix, dpi=dpi, metadata=metadata)
