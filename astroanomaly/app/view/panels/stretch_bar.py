"""The stretch bar: how cutouts are displayed, live; nothing here reaches the cache or the model."""

from __future__ import annotations

import typing
from html import escape
from typing import Any

from bokeh.models import (
    Button,
    CheckboxButtonGroup,
    Column,
    Div,
    NumericInput,
    Row,
    Select,
    Slider,
    TextInput,
    Toggle,
)

from astroanomaly.app.review.page_state import ViewState
from astroanomaly.config import StretchConfig
from astroanomaly.imaging.channel_maps import known_maps
from astroanomaly.imaging.display import COLOUR_MAPS

__all__ = ["StretchBar"]

_CURVES = list(typing.get_args(typing.get_type_hints(StretchConfig)["curve"]))
_INTERVALS = list(typing.get_args(typing.get_type_hints(StretchConfig)["interval"]))
_COLOURS = [("rgb", "RGB"), ("lupton", "RGB, Lupton"), ("single", "one band")]
_ORIENTATIONS = [("north", "north up"), ("north-quarter", "north up, by 90°"), ("stored", "as stored")]
_SCALES = [("band", "own interval"), ("flux", "one flux scale")]
_OWN_MAP = "own"
_SCOPES = [("cutout", "each cutout"), ("survey", "whole survey")]
_BOUNDS = {  # interval -> fields of the stretch that bound it, with their titles
    "percentile": (("low", "low %"), ("high", "high %")),
    "sigma": (("sigma_low", "σ below"), ("sigma_high", "σ above")),
    "mad": (("sigma_low", "σ below"), ("sigma_high", "σ above")),
    "manual": (("black", "black"), ("white", "white")),
}
_STRENGTHS = ("asinh", "sinh", "log", "power")


class StretchBar:
    """Two rows of controls: what is changed often, and the rest behind a button."""

    def __init__(self, state: ViewState, act: Any) -> None:
        self.state = state
        self._act = act
        self._syncing = False
        bands = list(state.shared.cache.bands)
        self.widgets: dict[str, Any] = {
            "colours": Select(title="colours", options=_COLOURS, width=105),
            "band": Select(title="band", options=bands, width=90),
            "colour_map": Select(title="colour map", options=list(COLOUR_MAPS), width=85),
            "curve": Select(title="curve", options=_CURVES, width=90),
            "interval": Select(title="interval", options=_INTERVALS, width=95),
            "brightness": Slider(title="brightness", start=-1, end=1, step=0.01, value=0, width=120),
            "contrast": Slider(title="contrast", start=0.1, end=5, step=0.05, value=1, width=120),
            "scope": Select(title="measured on", options=_SCOPES, width=105),
            "strength": NumericInput(title="strength (0: default)", mode="float", low=0, width=105),
            "lupton_q": NumericInput(title="Lupton Q", mode="float", low=0.01, high=100, width=70),
            "lupton_stretch": NumericInput(title="Lupton stretch", mode="float", low=0.001, high=100, width=85),
            "scale": Select(title="bands on", options=_SCALES, width=110),
            "channels": TextInput(title="red, green, blue bands", placeholder="by wavelength", width=150),
            "sharpen": Slider(title="unsharp mask", start=0, end=5, step=0.1, value=0, width=110),
            "radius": NumericInput(title="radius [px]", mode="float", low=0.3, high=50, width=70),
            "orientation": Select(title="orientation (o)", options=_ORIENTATIONS, width=130),
        }
        maps = [(one.channels, one.name) for one in known_maps(bands)]
        self.channel_map = Select(
            title="map of bands", options=[*maps, ("", "by wavelength"), (_OWN_MAP, "as written")], width=150
        )
        self.words = Div(disable_math=True, name="display_words", styles={"align-self": "center"})
        self.first = NumericInput(title="low %", mode="float", width=70)
        self.second = NumericInput(title="high %", mode="float", width=70)
        self.invert = Toggle(label="i invert", width=65)
        self.shared = Toggle(label="same for all bands", width=130)
        self.shown = CheckboxButtonGroup(labels=bands)
        self.more = Toggle(label="more", width=60)
        self.reset = Button(label="reset", width=60)
        for name, widget in self.widgets.items():
            widget.on_change("value", self._changed(name))
        self.first.on_change("value", self._changed(0))
        self.second.on_change("value", self._changed(1))
        self.channel_map.on_change("value", self._map_channels)
        self.invert.on_change("active", self._changed("invert"))
        self.shared.on_change("active", self._changed("shared"))
        self.shown.on_change("active", self._bands)
        self.more.on_change("active", lambda attr, old, new: self._second_row())
        self.reset.on_click(act(self._reset))
        w = self.widgets
        top = Row(
            w["colours"], w["band"], w["colour_map"], w["curve"], w["interval"], self.first, self.second,
            w["brightness"], w["contrast"], self.invert, self.more, self.reset,
            self.words,
            css_classes=["aa-bar", "aa-zoom"], sizing_mode="stretch_width", spacing=6, styles={"padding": "3px 6px"},
        )  # fmt: skip
        self.below = Row(
            w["strength"], w["scope"], w["scale"], self.shared, self.channel_map, w["channels"], w["lupton_q"],
            w["lupton_stretch"], w["sharpen"], w["radius"], w["orientation"], self.shown,
            css_classes=["aa-bar", "aa-zoom"], sizing_mode="stretch_width", spacing=6, visible=False,
            styles={"padding": "3px 6px"},
        )  # fmt: skip
        for widget in (*top.children, *self.below.children):
            widget.margin = (0, 2, 2, 2)  # so that one row is enough on a small screen
        self.root = Column(top, self.below, sizing_mode="stretch_width", spacing=0, name="stretch_bar")
        self.update({"options"})

    def _changed(self, what: str | int) -> Any:
        def handle(attr: str, old: Any, new: Any) -> None:
            if self._syncing or new is None:
                return
            name = what
            if isinstance(name, int):
                name = _BOUNDS[self.state.display.stretch.interval][name][0]
            self._act(lambda: self.state.set_display(**{name: new}))()

        return handle

    def _bands(self, attr: str, old: list[int], new: list[int]) -> None:
        if not self._syncing:
            hidden = tuple(band for k, band in enumerate(self.state.shared.cache.bands) if k not in new)
            self._act(lambda: self.state.set_display(hidden=hidden))()

    def _map_channels(self, attr: str, old: str, new: str) -> None:
        if not self._syncing and new != _OWN_MAP:
            self._act(lambda: self.state.set_display(channels=new))()

    def _second_row(self) -> None:
        self.below.visible = bool(self.more.active)

    def _reset(self) -> None:
        usual = self.state.shared.cache.pictures.usual_display
        self.state.set_display(**{name: getattr(usual, name) for name in usual.__dataclass_fields__})

    def update(self, dirty: set[str]) -> None:
        """Show the display of the state in the controls."""
        if not dirty & {"options", "display"}:
            return
        display = self.state.display
        stretch = display.stretch
        self._syncing = True
        try:
            for name, widget in self.widgets.items():
                value = getattr(display if hasattr(display, name) else stretch, name)
                if name == "band":
                    value = value or self.state.shared.cache.bands[0]
                if widget.value != value:
                    widget.value = value
            self.words.text = f"<span class=muted>{escape(self.state.shared.cache.pictures.describe(display))}</span>"
            known = [value for value, _ in self.channel_map.options]
            self.channel_map.value = display.channels if display.channels in known else _OWN_MAP
            bounds = _BOUNDS.get(stretch.interval, ())
            self.first.visible = self.second.visible = bool(bounds)
            for widget, (field, title) in zip((self.first, self.second), bounds, strict=False):
                widget.update(title=title, value=getattr(stretch, field))
            self.invert.active = display.invert
            self.shared.active = stretch.shared
            bands = self.state.shared.cache.bands
            self.shown.active = [k for k, band in enumerate(bands) if band not in display.hidden]
            w, single = self.widgets, display.colours == "single"
            w["band"].visible = w["colour_map"].visible = single
            w["channels"].visible = self.channel_map.visible = not single and len(bands) > 1
            w["scale"].visible = not single and len(bands) > 1
            w["lupton_q"].visible = w["lupton_stretch"].visible = display.colours == "lupton"
            w["curve"].visible = display.colours != "lupton"
            w["strength"].visible = display.colours != "lupton" and stretch.curve in _STRENGTHS
            w["radius"].visible = display.sharpen > 0
            self.shown.visible = len(bands) > 1
        finally:
            self._syncing = False
