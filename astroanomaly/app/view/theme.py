"""One look for the whole page: colours as CSS variables, which reach into every widget, dark and light."""

from __future__ import annotations

from functools import cache
from html import escape
from typing import Any

import numpy as np
from bokeh import palettes
from bokeh.core.property.vectorization import Value
from bokeh.models import (
    Column,
    GlobalInlineStyleSheet,
    InlineStyleSheet,
    Model,
    PanTool,
    UIElement,
    WheelZoomTool,
    Widget,
)
from bokeh.plotting import figure

from astroanomaly.app.assets import asset

__all__ = [
    "ACCENT",
    "DARK",
    "INK",
    "PALE",
    "dress",
    "dress_page",
    "legend_above",
    "marked_up",
    "palette",
    "pan_tools",
    "plain_figure",
    "plot_figure",
    "scale_text",
    "view",
]

_PALETTES = {
    "grey": "Greys256", "viridis": "Viridis256", "magma": "Magma256", "inferno": "Inferno256",
    "cividis": "Cividis256", "turbo": "Turbo256",
}  # fmt: skip

ACCENT = "#4CC2FF"
DARK = "#0E1116"  # behind and around what is drawn on images
INK = "#8A94A6"  # readable on dark and on light
PALE = "#5A6475"


def dress(root: UIElement) -> None:
    """Give a part of the page its look; to be called once, when it is complete."""
    sheet = InlineStyleSheet(css=asset("widgets.css"))
    models: set[Model] = root.references()
    zoomed: set[Model] = set()  # what stands in a part that is zoomed as a whole; figures cannot be, see `scale_text`
    for model in models:
        if isinstance(model, UIElement) and "aa-zoom" in model.css_classes:
            zoomed |= model.references()
    for model in models:
        if isinstance(model, UIElement):
            model.stylesheets = [*model.stylesheets, sheet]
            if isinstance(model, Widget) and model not in zoomed:
                model.css_classes = [*model.css_classes, "aa-zoom"]


def dress_page(root: UIElement) -> None:
    """Give the whole page its look; to be called once, when all that is there from the start is in it."""
    dress(root)
    root.stylesheets = [*root.stylesheets, GlobalInlineStyleSheet(css=asset("page.css"))]


def marked_up(text: str) -> str:
    """Return plain text as HTML; commands in backquotes are set as such."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))


def scale_text(root: UIElement, factor: float) -> None:
    """Make the text of all figures larger by a factor; that of widgets follows the style sheet."""
    for model in root.references():
        for name in model.properties():
            if name.endswith("text_font_size"):
                size = getattr(model, name)
                text = size.value if isinstance(size, Value) else size
                if isinstance(text, str) and text.endswith("px"):
                    setattr(model, name, f"{float(text[:-2]) * factor:.4g}px")


def view(*parts: UIElement, name: str) -> Column:
    """Lay out one view of the page, hidden until it is chosen; it scrolls where it is too long."""
    for part in parts:  # none is squeezed until it lies on the next
        part.styles = {**part.styles, "min-height": "min-content"}
    return Column(
        *parts, name=name, visible=False, sizing_mode="stretch_both", spacing=8, css_classes=["aa-scroll"],
        styles={"padding": "10px 16px"},
    )  # fmt: skip


def plain_figure(**more: Any) -> figure:
    """Make a figure without axes, for images: transparent, so that the page shows through."""
    usual: dict[str, Any] = {"background_fill_color": None, "border_fill_color": None}
    made = figure(
        toolbar_location=None, tools="", outline_line_color=None, min_border=0, output_backend="canvas",
        **{**usual, **more},
    )  # fmt: skip
    made.axis.visible = False
    made.grid.visible = False
    return made


def pan_tools() -> dict[str, Any]:
    """Return the properties of a toolbar that lets somebody pan, and zoom with the wheel."""
    zoom = WheelZoomTool()
    return {"tools": [PanTool(), zoom], "active_scroll": zoom}


def plot_figure(title: str, x: str, y: str, **more: Any) -> figure:
    """Make a figure with axes, for curves."""
    made = figure(
        title=title, x_axis_label=x, y_axis_label=y, toolbar_location=None, background_fill_color=None,
        border_fill_color=None, outline_line_color=None, min_border=8, **{"tools": "", **more}
    )  # fmt: skip
    made.title.text_color = INK
    made.title.text_font_size = "12px"
    for axis in made.axis:
        axis.axis_label_text_color = axis.major_label_text_color = INK
        axis.axis_line_color = axis.major_tick_line_color = axis.minor_tick_line_color = PALE
        axis.axis_label_text_font_size = "11px"
        axis.axis_label_text_font_style = "normal"
    made.grid.grid_line_color = PALE
    made.grid.grid_line_alpha = 0.3
    return made


def legend_above(made: figure) -> None:
    """Put the legend of a figure above it, where it hides no line."""
    legend = made.legend[0]
    legend.update(
        orientation="horizontal", background_fill_alpha=0, border_line_alpha=0, label_text_color=INK,
        label_text_font_size="11px", padding=0, margin=2, glyph_width=14, spacing=12,
    )  # fmt: skip
    made.add_layout(legend, "above")


@cache
def palette(name: str) -> np.ndarray:
    """``(256, 3)`` uint8 of a colour map, dark first."""
    words = getattr(palettes, _PALETTES[name])
    table = np.array([[int(word[k : k + 2], 16) for k in (1, 3, 5)] for word in words], np.uint8)
    table.flags.writeable = False
    return table
