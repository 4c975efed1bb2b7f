"""The inspector: one object large, in colour and band by band, with all that is known of it."""

from __future__ import annotations

import dataclasses
from html import escape
from typing import Any

import numpy as np
from bokeh.core.properties import value
from bokeh.events import MouseMove
from bokeh.models import (
    Button,
    Column,
    ColumnDataSource,
    CustomJS,
    Div,
    LinearColorMapper,
    Range1d,
    Row,
    TextInput,
    Toggle,
)

from astroanomaly.app.assets import asset
from astroanomaly.app.review.grid_layout import inspector_sizes
from astroanomaly.app.review.page_state import ViewState
from astroanomaly.app.review.shown_cutout import ShownCutout
from astroanomaly.app.view.panels.auxiliary import AuxiliaryPictures
from astroanomaly.app.view.panels.colour_bar import ColourBar
from astroanomaly.app.view.panels.known import known_text
from astroanomaly.app.view.panels.light_curve import LightCurvePlot
from astroanomaly.app.view.panels.similar import Similar
from astroanomaly.app.view.panels.spectrum import SpectrumPlot
from astroanomaly.app.view.theme import ACCENT, DARK, palette, pan_tools, plain_figure
from astroanomaly.errors import AstroAnomalyError
from astroanomaly.imaging.compass import sexagesimal
from astroanomaly.session.outputs.links import links

__all__ = ["Inspector"]

_INFO_WIDTH_PX = 320  # pixels, width of the column of text
_MAX_COLUMNS = 200
_POINTER_PLACEHOLDER = "<span class=muted>position and flux under the pointer</span>"
_WRAP_STYLE = {"flex-wrap": "wrap", "align-content": "start"}


class Inspector:
    """One object. ``pictures`` holds one source of one image for the colours, then one for each band."""

    def __init__(self, state: ViewState, act: Any, later: Any, learner: Any) -> None:
        self.state = state
        self._later = later
        self.learner = learner
        self._shown = ""
        self._seen: ShownCutout | None = None
        self._painted = state.display
        self._about: dict[str, np.ndarray] = {}  # planes beside the bands
        self._fall: np.ndarray | None = None  # of the saliency map, as stored
        layout = state.shared.cache.layout
        self.x_range, self.y_range = Range1d(-0.5, layout.width - 0.5), Range1d(-0.5, layout.height - 0.5)
        self.pictures: list[ColumnDataSource] = []
        self.figures: list[Any] = []
        self.corner = ColumnDataSource({"x": [], "y": []})  # upper left of what is seen
        for number, title in enumerate(["", *layout.bands]):
            source = ColumnDataSource({"image": []})
            figure = plain_figure(
                x_range=self.x_range, y_range=self.y_range, width=480 if not number else 150,
                height=480 if not number else 150, name="colours" if not number else f"band {number}",
            )  # fmt: skip
            figure.toolbar.update(**pan_tools())
            figure.image_rgba(source=source, image="image", x=-0.5, y=-0.5, dw=layout.width, dh=layout.height)
            figure.on_event(MouseMove, act(self._hover))
            if title:
                figure.text(
                    source=self.corner, x="x", y="y", text=value(title), text_color="#ffffff",
                    background_fill_color=DARK,
                    background_fill_alpha=0.55, padding=2,
                    text_font_size="11px", text_baseline="top",
                )  # fmt: skip
            self.pictures.append(source)
            self.figures.append(figure)
        self.planes = AuxiliaryPictures(
            layout.auxiliary, (self.x_range, self.y_range), self.corner, (layout.width, layout.height)
        )
        main = self.figures[0]
        self.heat = ColumnDataSource({"image": []})
        colours = [
            f"#{r:02x}{g:02x}{b:02x}{min(190, round(a * 0.9)):02x}" for a, (r, g, b) in enumerate(palette("inferno"))
        ]
        main.image(
            source=self.heat, image="image", x=-0.5, y=-0.5, dw=layout.width, dh=layout.height,
            color_mapper=LinearColorMapper(palette=colours, low=0, high=1),
        )  # fmt: skip
        self.lines = ColumnDataSource({"xs": [], "ys": []})
        self.words = ColumnDataSource({"x": [], "y": [], "text": []})
        main.multi_line(source=self.lines, xs="xs", ys="ys", line_color=DARK, line_width=4)
        main.multi_line(source=self.lines, xs="xs", ys="ys", line_color=ACCENT, line_width=2)
        main.text(
            source=self.words, x="x", y="y", text="text", text_color="#ffffff", background_fill_color=DARK,
            background_fill_alpha=0.55, padding=2,
            text_font_size="12px", text_align="center", text_baseline="middle",
        )  # fmt: skip
        self.readout = Div(
            disable_math=True, height=18, sizing_mode="stretch_width", name="readout", text=_POINTER_PLACEHOLDER
        )
        self.copy_pointed = Button(label="copy", width=60, disabled=True, name="copy_pointed")
        pointed = {"position": self.readout, "button": self.copy_pointed}
        self.copy_pointed.js_on_click(CustomJS(args=pointed, code=asset("copy.js")))
        self.colour_bar = ColourBar()
        self.title = Div(disable_math=True, width=_INFO_WIDTH_PX)
        self.position = Div(disable_math=True, width=_INFO_WIDTH_PX, name="position")
        self.copy = Button(label="copy position", width=110)
        self.copy.js_on_click(CustomJS(args={"position": self.position, "button": self.copy}, code=asset("copy.js")))
        self.links = Div(disable_math=True, width=_INFO_WIDTH_PX, name="links")
        self.note = TextInput(
            placeholder="write a note, Enter saves it", width=_INFO_WIDTH_PX, name="note", css_classes=["aa-drop"]
        )
        self.note.on_change("value", lambda attr, old, new: act(lambda: self._note(new))())
        more = Similar(state, act, later, learner)
        self.similar = more.button
        self.spectrum, self.light_curve = SpectrumPlot(state.shared), LightCurvePlot(state.shared)
        below = [part for plot in (self.spectrum, self.light_curve) if plot for part in (plot.tools, plot.figure)]
        self.saliency = Toggle(label="saliency map", width=110)
        self.saliency.on_change("active", lambda attr, old, new: act(self._map_saliency)())
        self.reset_zoom = Button(label="reset zoom", width=90)
        self.reset_zoom.on_click(act(self._reset_zoom))
        self.back = Button(label="Enter back to the page", width=160)
        self.back.on_click(act(state.inspect))
        self.history = Div(disable_math=True, width=_INFO_WIDTH_PX, name="history", css_classes=["aa-wide"])
        self.columns = Div(disable_math=True, width=_INFO_WIDTH_PX, name="columns", css_classes=["aa-wide"])
        self.known = Div(disable_math=True, width=_INFO_WIDTH_PX, name="known", css_classes=["aa-wide"])
        self.reveal = Toggle(label="show what may tell the class", visible=False, name="reveal")
        self.reveal.on_change("active", lambda attr, old, new: act(self._tell)())
        single = len(layout.bands) == 1  # the same again
        small = [*([] if single else self.figures[1:]), *self.planes.figures]
        self.bands = Row(*small, spacing=4, styles=_WRAP_STYLE)
        info = Column(
            self.title, self.position, Row(self.copy, more.button, spacing=6), more.by, self.links, self.known,
            self.note, self.history, self.columns, self.reveal,
            width=_INFO_WIDTH_PX + 30, sizing_mode="stretch_height", css_classes=["aa-scroll", "aa-zoom"], spacing=6,
            styles={"padding": "8px 10px"},
        )  # fmt: skip
        left = Column(
            Row(self.back, self.reset_zoom, self.saliency, spacing=6),
            Row(self.copy_pointed, self.readout, spacing=6, sizing_mode="stretch_width", css_classes=["aa-zoom"]),
            Row(main, self.bands, spacing=4, styles=_WRAP_STYLE, sizing_mode="stretch_width"),
            self.colour_bar.root, *below,
            sizing_mode="stretch_both", spacing=4, styles={"padding": "6px 10px", "overflow": "auto"},
        )  # fmt: skip
        for seen in (self.x_range, self.y_range):  # their ends come one after the other
            for end in ("start", "end"):
                seen.on_change(end, lambda attr, old, new: self._draw_compass())
        self.root = Row(left, info, sizing_mode="stretch_both", visible=False, spacing=0, name="inspector")

    # ----------------------------------------------------------------------------------------------------- what is done

    def _note(self, text: str) -> None:
        if text.strip():
            self.state.note(text)
            self.note.value = ""

    def _map_saliency(self) -> None:
        if not self.saliency.active:
            self._fall = None
            self._draw_heat()
            return
        current = self.state.current
        self.state.say("computing the saliency map: covering one part after another …")
        self._later(lambda found: self._heat(current, *found), self.learner.explain, current, self.state.by_name)

    def _heat(self, object_id: str, fall: np.ndarray, due_to: str) -> None:
        if object_id != self.state.current or not self.saliency.active:
            return  # somebody has gone on meanwhile
        self._fall = fall
        self._draw_heat()
        self.state.say(f"bright: covering this part lowers the score most{due_to and '; due to '}{due_to}")

    def _draw_heat(self) -> None:
        if self._fall is None or self._seen is None:
            self.heat.data = {"image": []}
            return
        top = float(np.percentile(self._fall, 99.5))
        heat = np.clip(self._fall / top if top > 0 else self._fall * 0, 0, 1).astype(np.float32)
        self.heat.data = {"image": [_from_below(self._seen.orientation.show(heat[None])[0])]}

    def _reset_zoom(self) -> None:
        layout = self.state.shared.cache.layout
        self.x_range.update(start=-0.5, end=layout.width - 0.5)
        self.y_range.update(start=-0.5, end=layout.height - 0.5)

    def _hover(self, event: MouseMove) -> None:
        pixel = self._seen.pixel_at(event.x, event.y) if self._seen and None not in (event.x, event.y) else None
        if self._seen is None or pixel is None:
            return  # the last position stays, to be copied
        cutout, x, y = self._seen.cutout, pixel.x, pixel.y
        parts = [f"x {x} y {y}"]
        if pixel.sky is not None:
            degrees = f"{pixel.sky[0]:.6f} {pixel.sky[1]:+.6f}"
            parts.append(f"{sexagesimal(*pixel.sky)} &nbsp; {degrees}")
            self.readout.tags = [degrees]
            self.copy_pointed.disabled = False
        units = cutout.units or ("",) * len(cutout.bands)
        values = [
            f"{escape(band)} {float(flux):.4g}{f' {escape(unit)}' if unit and np.isfinite(flux) else ''}"
            for band, flux, unit in zip(cutout.bands, cutout.data[:, y, x], units, strict=True)
        ]
        self.readout.text = f"<span class=mono>{' &nbsp; '.join([*parts, *values[:6]])}</span>"

    # ------------------------------------------------------------------------------------------------- what is shown

    def update(self, dirty: set[str]) -> None:
        """Show the object under the cursor, while the inspector is open."""
        if "view" in dirty:
            self.root.visible = self.state.inspecting
        if not self.state.inspecting or not self.state.current:
            self._shown = self._shown if self.state.current else ""
            return
        if dirty & {"zoom", "area"}:
            self._arrange()
        if self.state.current != self._shown:
            self._load()
        elif self.state.display != self._painted:  # changed here, or while the inspector was closed
            self._turn()
            self._paint()
        if dirty & {"view", "page", "cursor", "marks", "options"}:
            self._tell()

    def _load(self) -> None:
        current = self.state.current
        try:
            cutout = self.state.shared.cache[current]
            self._about = self.state.shared.cache.auxiliary_planes(current) if self.planes.names else {}
        except AstroAnomalyError as error:
            self._shown, self._seen, self.state.unreadable = "", None, str(error)
            for source in (*self.pictures, self.heat):
                source.data = {"image": []}
            self.state.say(str(error), "error")
            return
        self._shown, self.state.unreadable = current, ""
        self._seen = ShownCutout(cutout, self.state.shared.cache.pictures, self.state.display)
        self.saliency.active = False
        self.copy_pointed.disabled = True
        self.readout.text = _POINTER_PLACEHOLDER
        self._fall = None
        self._draw_heat()
        for plot in (self.spectrum, self.light_curve):
            if plot and (problem := plot.show(current)):
                self.state.say(problem, "error")
        self._arrange()
        self._paint()
        self._draw_compass()
        ra, dec = cutout.ra, cutout.dec
        if cutout.coord is not None:
            text = f"{sexagesimal(ra, dec)}\n{ra:.6f} {dec:+.6f}"
            self.position.text = (
                f"<span class=mono>{escape(text).replace(chr(10), '<br>')}</span> <span class=muted>ICRS</span>"
            )
            self.position.tags = [f"{ra:.6f} {dec:+.6f}"]
        else:
            self.position.text, self.position.tags = "<span class=muted>no position on the sky</span>", [""]
        self.copy.visible = cutout.coord is not None
        compass = self._seen.compass
        field = 2 * compass.scale_arcsec * cutout.data.shape[-1] if compass else 60.0
        self.links.text = " · ".join(
            f'<a href="{escape(address, quote=True)}" target="_blank" rel="noopener noreferrer">{escape(name)}</a>'
            for name, address in links(ra, dec, field)
        )

    def _arrange(self) -> None:
        """Make the figures as large as the place for them allows; their pixels stay square."""
        layout = self.state.shared.cache.layout
        width, height = self.state.area
        if width < 50:  # not laid out yet
            return
        bands = len(self.bands.children)
        aspect = layout.height / layout.width
        zoom = self.state.zoom
        below = height - 72 * zoom - 16 - self.colour_bar.height - self.spectrum.height - self.light_curve.height
        large, small, area = inspector_sizes(bands, aspect, width - (_INFO_WIDTH_PX + 50) * zoom - 24, below)
        self.colour_bar.root.width = max(large, 240)
        for number, figure in enumerate((*self.figures, *self.planes.figures)):
            side = max(small, 40) if number else max(large, 80)
            figure.update(width=side, height=max(1, round(side * aspect)))
        self.bands.width = max(area, 44)

    def _turn(self) -> None:
        """Follow the orientation of the display: what is in the middle of the view stays there."""
        if self._seen is None:
            return
        before, ranges = self._seen.orientation, (self.x_range, self.y_range)
        x, y = ((seen.start + seen.end) / 2 for seen in ranges)
        moved = self._seen.turn(self.state.display, (x, y))
        if self._seen.orientation == before:
            return
        for seen, place in zip(ranges, moved, strict=True):
            half = (seen.end - seen.start) / 2
            seen.update(start=place - half, end=place + half)
        self._draw_heat()
        self._draw_compass()

    def _paint(self) -> None:
        if self._seen is None:
            return
        display, painter = self.state.display, self._seen.painter
        self._painted = display
        self.pictures[0].data = {"image": [_from_below(painter.paint(display, palette)[0])]}
        for source, band in zip(self.pictures[1:], painter.bands, strict=True):
            single = dataclasses.replace(display, colours="single", band=band, hidden=())
            source.data = {"image": [_from_below(painter.paint(single, palette)[0])]}
        turned = {name: self._seen.orientation.show(plane[None])[0] for name, plane in self._about.items()}
        self.planes.show(turned)
        self._show_colour_bar()

    def _show_colour_bar(self) -> None:
        """Show which colour is which flux; the images make room for it."""
        before, seen = self.colour_bar.height, self._seen
        self.colour_bar.update(seen.painter if seen else None, self.state.display, seen.cutout.units if seen else ())
        if self.colour_bar.height != before:
            self._arrange()

    def _draw_compass(self) -> None:
        """Draw names of bands, scale, north and east into the part of the image that is seen."""
        x1, y1 = self.x_range.start, self.y_range.start
        width, height = self.x_range.end - x1, self.y_range.end - y1
        self.corner.data = {"x": [x1 + 0.01 * width], "y": [y1 + 0.99 * height]}
        compass = self._seen.compass if self._seen else None
        if compass is None:
            self.lines.data, self.words.data = {"xs": [], "ys": []}, {"x": [], "y": [], "text": []}
            return
        lines, words = compass.marks(x1, y1, width, height)
        self.lines.data = {"xs": [xs for xs, _ in lines], "ys": [ys for _, ys in lines]}
        self.words.data = {"x": [x for x, _, _ in words], "y": [y for _, y, _ in words], "text": [t for *_, t in words]}

    def _tell(self) -> None:
        state, object_id = self.state, self._shown
        hidden = state.is_hidden(object_id)
        for widget in (self.similar, self.saliency):  # neighbours have labels, and a score tells what it rests on
            widget.disabled = hidden
        if hidden and self.saliency.active:
            self.saliency.active = False
        self._tell_columns(hidden)
        self.known.text = "" if hidden else known_text(state.shared.known_objects, object_id)
        mark = state.mark(object_id)
        score = state.page.score(object_id)
        lines = [f"<b class=mono style='font-size:14px;overflow-wrap:anywhere'>{escape(state.name_of(object_id))}</b>"]
        if mark.label:
            marked = state.style(mark.label)
            label = escape(state.called(mark.label, meaning=True))
            lines.append(f"<span style='color:{marked.colour}'>{marked.letter} {label}</span>")
        if hidden:
            lines.append("<span class=muted>shown blind: scores, catalogue and earlier verdicts are hidden</span>")
        elif np.isfinite(score):
            source = f"{state.page.choice_of(object_id).ranked}, not calibrated"
            lines.append(f"score <b>{score:+.3f}</b> <span class=muted>{escape(source)}</span>")
        self.title.text = "<br>".join(lines)
        if hidden:
            self.history.text = ""
            return
        valid = {event.number for event in state.shared.consensus.valid_events(object_id)}
        rows = []
        for event in state.shared.consensus.events_of(object_id):
            text = state.verdicts.words(event)
            style = "" if event.number in valid else " style='text-decoration:line-through;opacity:.6'"
            rows.append(
                f"<tr{style}><td class=muted>{escape(event.time[:16].replace('T', ' '))}</td>"
                f"<td>{escape(event.annotator)}</td><td>{escape(text)}</td></tr>"
            )
        self.history.text = f"<h3>verdicts and notes</h3><table>{''.join(rows)}</table>" if rows else ""

    def _tell_columns(self, hidden: bool) -> None:
        """List the catalogue; nothing of it blind, and columns that may tell the class when somebody asks for them."""
        columns = self._seen.cutout.columns if self._seen is not None and not hidden else {}
        telling = self.state.shared.truth_columns(self._shown) & set(columns) if columns else frozenset()
        self.reveal.visible = bool(telling)
        left_out = frozenset() if self.reveal.active else telling
        rows = "".join(
            f"<tr><th>{escape(str(name))}</th><td class=number>{escape(_shown(entry))}</td></tr>"
            for name, entry in list(columns.items())[:_MAX_COLUMNS]
            if name not in left_out
        )
        text = f"<h3>catalogue</h3><table>{rows}</table>" if rows else ""
        if left_out:
            names = ", ".join(sorted(left_out))
            text += f"<p class=muted>not shown, since it may tell the class: {escape(names)}</p>"
        self.columns.text = text


def _shown(value: Any) -> str:
    if isinstance(value, np.float32 | np.float16):
        return f"{float(value):.6g}"
    if isinstance(value, float | np.floating):
        return f"{float(value):.10g}"  # positions need more than six digits
    return str(value)


def _from_below(picture: np.ndarray) -> np.ndarray:
    """Turn a picture with its first row on top into what Bokeh draws, first row at the bottom."""
    return np.ascontiguousarray(picture[::-1])
