"""Maps: the sky, the feature space, and a scatter plot of any two columns, with one selection for all of them."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np
from bokeh.models import (
    BasicTicker,
    Button,
    ColorBar,
    Column,
    ColumnDataSource,
    CustomJSTickFormatter,
    Div,
    HoverTool,
    LassoSelectTool,
    LinearColorMapper,
    PanTool,
    ResetTool,
    Row,
    Select,
    TapTool,
    WheelZoomTool,
)

from astroanomaly.app.background.learner import Learner
from astroanomaly.app.review.page_state import ViewState
from astroanomaly.app.view.panels.scatter import Scatter
from astroanomaly.app.view.theme import INK, PALE, plot_figure, view
from astroanomaly.imaging.class_marks import mark_style
from astroanomaly.learn.features.compare import comparisons
from astroanomaly.learn.rankers.score_parts import IMAGE

__all__ = ["Maps", "mollweide"]

_MAX_POINTS = 4000  # objects drawn beside those with a label
_MIN_FEATURES = 100  # features for a first map
_LEAST_COSINE = 0.05  # of a declination: nearer to a pole no map in right ascension and declination is to scale
_SPACE = "feature space: similar objects are close"
_COLUMNS = ("object_id", "x", "y", "score", "word", "marker", "size", "edge")


def mollweide(ra: np.ndarray, dec: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Project the whole sky, east to the left, right ascension 0 in the middle (Snyder 1987, USGS 1395, p. 251).

    Parameters
    ----------
    ra, dec
        ``(n,)`` degrees.

    Returns
    -------
    tuple of two numpy.ndarray
        x from -2 to 2 and y from -1 to 1, an ellipse of equal areas.
    """
    longitude = -(np.radians(ra) + np.pi) % (2 * np.pi) - np.pi
    latitude = np.radians(np.asarray(dec, float))
    theta = latitude.copy()
    for _ in range(50):  # Newton; slow only at the poles, where it starts at the answer
        slope = 2 + 2 * np.cos(2 * theta)
        step = (2 * theta + np.sin(2 * theta) - np.pi * np.sin(latitude)) / np.where(slope > 1e-9, slope, np.inf)
        theta = theta - step
        if np.all(np.abs(step) < 1e-10):
            break
    return 2 * longitude / np.pi * np.cos(theta), np.sin(theta)


class Maps:
    """``sky``, ``near``, ``features`` and ``points`` (of the scatter plot) hold one row per object drawn.

    A lasso on any but the first selects objects, and all of them show which; ``selected`` has their ids.
    """

    def __init__(self, state: ViewState, act: Any, later: Any, go: Any, learner: Learner) -> None:
        self.state = state
        self.learner = learner
        self._seen: Any = None
        self.selected: list[str] = []
        self._before: list[str] | None = None  # what a lasso on the scatter plot may add to
        self._from_page: list[str] = []
        self._drawn: list[str] = []
        self._singled: list[str] = []  # of those, all but the ones drawn at random
        self._marking = False
        self.sky, self.near, self.features, self.points = (
            ColumnDataSource({name: [] for name in _COLUMNS}) for _ in range(4)
        )
        self.near.name, self.points.name = "sky_near", "scatter_points"
        self.colours = LinearColorMapper(palette="Viridis256", low=0, high=1, nan_color="#5A6475")
        whole = plot_figure(  # 120 pixels a unit: an ellipse twice as wide as high
            "all sky (Mollweide)", "", "", width=524, height=320, x_range=(-2.1, 2.1), y_range=(-1.15, 1.15),
            frame_width=504, frame_height=276, styles={"flex": "none"},
        )  # fmt: skip
        whole.axis.visible = whole.grid.visible = False
        self._graticule(whole)
        near = self._chart(
            "survey area", "right ascension [deg]", "declination [deg]", name="survey_area", match_aspect=True
        )
        near.x_range.flipped = True
        near.xaxis.formatter = CustomJSTickFormatter(code="return String(+(((tick % 360) + 360) % 360).toFixed(7))")
        space = self._chart(_SPACE, "", "")
        space.axis.visible = space.visible = False
        self.survey_area, self.feature_space = near, space
        plot = self._chart("scatter plot", " ", " ", name="scatter_plot")
        for figure, source in ((whole, self.sky), (near, self.near), (space, self.features), (plot, self.points)):
            figure.scatter(
                "x", "y", source=source, marker="marker", size="size", line_color="edge", line_width=1.5,
                fill_alpha=0.8, fill_color={"field": "score", "transform": self.colours}, nonselection_alpha=0.15,
            )  # fmt: skip
        on_sky = bool(np.isfinite(state.shared.cache.positions[0]).any())
        (near if on_sky else space).add_layout(
            ColorBar(color_mapper=self.colours, ticker=BasicTicker(desired_num_ticks=5), width=8, title="score",
                     background_fill_color=None, major_label_text_color=INK, title_text_color=INK), "right"
        )  # fmt: skip
        self.method = Select(
            title="feature map", value="neighbours", width=170,
            options=[("neighbours", "t-SNE"), ("principal", "principal components (PCA)")],
        )  # fmt: skip
        ways = comparisons(state.shared.session.context.blocks)
        self.by = Select(
            title="compared by", value=IMAGE, options=list(ways), width=130, visible=len(ways) > 1, name="map_by"
        )
        self.make = Button(label="draw the feature map", width=160, name="feature_map")
        self.make.on_click(act(self._make))
        self.chosen = Button(
            label="show the selected objects", width=200, disabled=True, button_type="primary", name="show_selection"
        )
        self.chosen.on_click(act(lambda: go(self.selected, "map")))
        self.words = Div(disable_math=True, sizing_mode="stretch_width", name="map_words")
        for source in (self.near, self.features, self.points):
            source.selected.on_change(
                "indices", lambda attr, old, new, source=source: act(lambda: self._pick(source))()
            )
        self.scatter = Scatter(state, act, later, plot, self.points, self._describe, self._choose, self._mark)
        self.no_space = Div(disable_math=True, sizing_mode="stretch_both", name="no_feature_space")
        self.root = view(
            Row(self.method, self.by, self.make, self.chosen, self.words, sizing_mode="stretch_width", spacing=8),
            Div(text=_legend(state), disable_math=True, sizing_mode="stretch_width"),
            Row(
                Column(near, self.scatter.root, sizing_mode="stretch_both", spacing=8),
                Column(space, self.no_space, whole, sizing_mode="stretch_both", spacing=8),
                sizing_mode="stretch_both", spacing=8,
            ),
            name="maps",
        )  # fmt: skip
        near.visible = whole.visible = on_sky

    def _chart(self, title: str, x: str, y: str, **more: Any) -> Any:
        zoom, lasso = WheelZoomTool(), LassoSelectTool()
        hover = HoverTool(tooltips=[("", "@object_id"), ("score", "@score{0.00}"), ("label", "@word")])
        return plot_figure(
            title, x, y, sizing_mode="stretch_both", min_height=200,
            tools=[PanTool(), zoom, lasso, TapTool(), ResetTool(), hover], active_scroll=zoom, active_drag=lasso,
            output_backend="webgl", **more,
        )  # fmt: skip

    def _graticule(self, figure: Any) -> None:
        xs, ys = [], []
        for ra in range(-180, 181, 30):
            dec = np.linspace(-90, 90, 61)
            x, y = mollweide(np.full(61, ra + (1e-6 if ra == -180 else -1e-6 if ra == 180 else 0)), dec)
            xs.append(x.tolist())
            ys.append(y.tolist())
        for parallel in range(-60, 61, 30):
            x, y = mollweide(np.linspace(-180 + 1e-6, 180 - 1e-6, 121), np.full(121, float(parallel)))
            xs.append(x.tolist())
            ys.append(y.tolist())
        figure.multi_line(xs, ys, line_color=PALE, line_alpha=0.5)
        hours, degrees = np.arange(-150, 180, 60), np.array([-60, -30, 30, 60])
        x, y = mollweide(np.concatenate([hours, np.full(4, 0.0)]), np.concatenate([np.zeros(5 + 1), degrees]))
        text = [f"{(h % 360) // 15}h" for h in hours] + [f"{d:+d}°" for d in degrees]
        figure.text(x, y, text, text_color=INK, text_font_size="11px", text_align="center", text_baseline="bottom")

    def _pick(self, source: ColumnDataSource) -> None:
        """Take what was selected on one of the maps."""
        if not self._marking:
            picked = bool(source.selected.indices)
            self._before = self.selected if source is self.points and picked else None
            self._select([str(source.data["object_id"][k]) for k in source.selected.indices])

    def _choose(self, ids: list[str], adds: bool) -> None:
        """Take what lies in a lasso on the scatter plot, also objects that are not drawn."""
        before = self.selected if self._before is None else self._before
        self._before = None
        self._select([*before, *ids] if adds else ids)

    def _select(self, ids: list[str]) -> None:
        """Select objects, and show them on all maps."""
        self.selected = list(dict.fromkeys(ids))
        if not set(self.selected[: _MAX_POINTS // 2]) <= set(self._drawn):
            self._draw()
        self._mark()
        n = len(self.selected)
        self.chosen.disabled = n == 0
        self.chosen.label = f"show the selected objects ({n:,})" if n else "show the selected objects"

    def _mark(self) -> None:
        """Let every map show the selection."""
        selected, self._marking = set(self.selected), True
        try:
            for source in (self.sky, self.near, self.features, self.points):
                found = [k for k, object_id in enumerate(source.data["object_id"]) if object_id in selected]
                if source.selected.indices != found:
                    source.selected.indices = found
        finally:
            self._marking = False

    def _take_page(self) -> None:
        """Take over what is selected on the page of candidates, once."""
        page = self.state.page.ids
        found = [page[cell] for cell in sorted(self.state.selection)]
        if found and found != self._from_page:
            blind = self.state.shared.blind_for(self.state.annotator)
            self._select([object_id for object_id in found if object_id not in blind])
        self._from_page = found

    def _make(self) -> None:
        self.learner.map_features(str(self.method.value), str(self.by.value))
        self._tell()

    def update(self, dirty: set[str]) -> None:
        """Draw again what has changed, while the view is open."""
        if not self.root.visible:
            return
        learner = self.learner
        whole = len(self.state.shared.cache)  # for who waits here
        enough = _MIN_FEATURES if "view" in dirty else max(_MIN_FEATURES, whole)
        if learner.map_job is None and learner.computed >= enough:
            learner.map_features(str(self.method.value), str(self.by.value))
        self._tell()
        if "view" in dirty:
            self._take_page()
        shared = self.state.shared
        seen = (
            shared.verdicts,
            shared.described.get(self.state.by_name),
            self.learner.map is not None and id(self.learner.map),
        )
        if seen != self._seen:
            self._seen = seen
            self._draw()
            self._mark()
        self.scatter.update(self._singled)

    def _draw(self) -> None:
        """Draw the objects on the maps of the sky and of the features."""
        shared = self.state.shared
        self._drawn = ids = self._which()
        if not ids:
            return
        scores = shared.score_of(ids, self.state.by_name)
        known = scores[np.isfinite(scores)]
        if len(known):
            low, high = np.percentile(known, [2, 98])
            self.colours.update(low=float(low), high=float(max(high, low + 1e-6)))
        rows = shared.cache.rows(ids)
        ra, dec = (values[rows] for values in shared.cache.positions)
        there = np.isfinite(ra) & np.isfinite(dec)
        data = self._columns(ids, scores)
        picked = np.flatnonzero(there)
        base = {name: [values[k] for k in picked] for name, values in data.items()}
        centre = float(np.degrees(np.angle(np.exp(1j * np.radians(ra[there])).mean()))) % 360 if there.any() else 180.0
        if there.any():  # as wide on the screen as on the sky
            middle = np.radians(dec[there].min() + dec[there].max()) / 2
            self.survey_area.aspect_scale = max(float(np.cos(middle)), _LEAST_COSINE)
        near_ra = (ra[there] - centre + 180) % 360 - 180 + centre  # no gap where right ascension begins again
        self.near.data = base | {"x": near_ra.tolist(), "y": dec[there].tolist()}
        x, y = mollweide(ra[there], dec[there])
        self.sky.data = base | {"x": x.tolist(), "y": y.tolist()}
        self._draw_features()

    def _draw_features(self) -> None:
        found = self.learner.map
        if found is None:
            return
        scores = self.state.shared.score_of(found.ids, self.state.by_name)
        self.features.data = self._columns(found.ids, scores) | {
            "x": found.points[:, 0].tolist(), "y": found.points[:, 1].tolist()
        }  # fmt: skip

    def _columns(self, ids: list[str], scores: np.ndarray) -> dict[str, list[Any]]:
        state = self.state
        words = [state.shared.consensus_of(i).label for i in ids]
        styles = [mark_style(word, state.shared.classes) if word else None for word in words]
        return {
            "object_id": list(ids), "score": scores.astype(float).tolist(), "word": words,
            "marker": [style.marker if style else "circle" for style in styles],
            "size": [11 if style else 5 for style in styles],
            "edge": [style.colour if style else "rgba(0,0,0,0)" for style in styles],
        }  # fmt: skip

    def _describe(self, ids: list[str]) -> dict[str, list[Any]]:
        return self._columns(ids, self.state.shared.score_of(ids, self.state.by_name))

    def _which(self) -> list[str]:
        """Return the objects to draw: all with a label, the highest scores, some at random; none of the audit set.

        Of those that are selected as many as of the others.
        """
        shared = self.state.shared
        labelled = shared.known([i for i, o in shared.current_consensus().items() if o.label])
        scores = shared.scores.get(self.state.by_name)
        best: list[str] = []
        if scores is not None:
            order = np.argsort(-np.nan_to_num(scores, nan=-np.inf))[: _MAX_POINTS // 2]
            best = shared.cache.ids_at(order[np.isfinite(scores[order])])
        rng = np.random.default_rng(0)
        selected = self.selected[: _MAX_POINTS // 2]
        blind = shared.blind_for(self.state.annotator)
        self._singled = [object_id for object_id in (*labelled, *selected, *best) if object_id not in blind]
        found = dict.fromkeys([*self._singled, *shared.cache.sample(_MAX_POINTS // 2, rng)])
        return [object_id for object_id in found if object_id not in blind]

    def _tell(self) -> None:
        learner = self.learner
        job, found = learner.map_job, learner.map
        running = job is not None and job.state == "running"
        text = "<span class=muted>Drag a lasso around objects to select them.</span>"
        if found is not None:
            by = f", compared by {escape(found.by)}" if found.by != IMAGE else ""
            text = (
                f"<span class=muted>{len(found.ids):,} objects on the feature map{by}; drag a lasso to select.</span>"
            )
        if running:
            text = "the feature map is being drawn …"
        elif job is not None and job.state == "failed":
            text = f"<span class=bad>{escape(job.error)}</span>"
        if not np.isfinite(self.state.shared.cache.positions[0]).any():
            text += " <span class=muted>These objects have no positions on the sky.</span>"
        self.words.text = text
        self.feature_space.visible = found is not None
        self.no_space.visible = found is None
        if found is None:
            why = "it is being drawn …" if running else self._why_no_space()
            self.no_space.text = f"<h3>{_SPACE}</h3><p class=muted>{why}</p>"

    def _why_no_space(self) -> str:
        count, whole = self.learner.computed, len(self.state.shared.cache)
        if count < min(_MIN_FEATURES, whole):
            return (
                f"drawn once there are features of {min(_MIN_FEATURES, whole):,} objects; {count:,} have theirs so far"
            )
        return "<i>draw the feature map</i> makes it, from the features of the objects"


def _legend(state: ViewState) -> str:
    """Say what the marks mean, in a line."""
    styles = ((word, mark_style(word, state.shared.classes)) for word in state.shared.classes)
    marks = [f"<span style='color:{style.colour}'>{style.letter}</span> {escape(word)}" for word, style in styles]
    return f"{' &nbsp; '.join(marks)} &nbsp; <span class=muted>colour of a point: its score</span>"
