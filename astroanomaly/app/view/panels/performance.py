"""Performance: curves, the forecast, the histogram of scores, anomalies found against verdicts, suspect labels."""

from __future__ import annotations

import logging
import time
from html import escape
from typing import Any

import numpy as np
from bokeh.models import (
    BasicTicker,
    Button,
    Column,
    ColumnDataSource,
    Div,
    FixedTicker,
    NumeralTickFormatter,
    NumericInput,
    Row,
)

from astroanomaly.app.review.forecast import ForecastAndSuspects, forecast_and_suspects
from astroanomaly.app.review.held_out import MIN_OF_A_KIND
from astroanomaly.app.review.page_state import ViewState
from astroanomaly.app.review.performance import Curves, histogram, measure, pace
from astroanomaly.app.review.shared_state import SharedState
from astroanomaly.app.view.theme import legend_above, marked_up, plot_figure, view
from astroanomaly.session.audit import AuditDraw
from astroanomaly.session.calibration import MIN_AUDIT_LABELS, Forecast

__all__ = ["Performance", "count_ticks"]

_log = logging.getLogger(__name__)
_BLUE, _ORANGE, _GREY = "#56B4E9", "#E69F00", "#8A94A6"
_BAR_BOTTOM = 0.7  # of the histogram, whose axis is logarithmic: one object is a bar, none is nothing
_MOST_FINE_TICKS = 200  # objects in a bin
_MIN_PAUSE_S = 2.0  # and ten times as long as it takes: keys come first
_USUAL_AUDIT = 200  # objects of an audit set that the view proposes
_WHAT_AUDIT_IS = (
    "objects drawn at random from those that nobody has labelled, hidden until you label them blind, and never trained "
    "on: only they tell how many anomalies are left, and how well the ranking works"
)
_NO_SCORES = "how many objects have which score, once there is a ranking"
_NO_STEPS = "how many you have found for how many verdicts, once there are verdicts from the app"
_CURVES = (
    ("roc", "ROC", "false positive rate", "true positive rate"),
    ("precision", "precision and recall", "recall", "precision"),
    ("efficiency", "efficiency", "share of the objects inspected, highest score first", "share of the anomalies found"),
)


class Performance:
    """``curves`` has the three curves with their intervals, ``bars`` the histogram, ``steps`` what was found.

    ``forecast`` has the share of anomalies among the next objects, by how many are looked at.
    """

    def __init__(self, state: ViewState, act: Any, later: Any, go: Any) -> None:
        self.state = state
        self._later = later
        self._is_waiting = False
        self._rate = ""
        self._audit_shown = -1
        self._seen: Any = None
        self._when = 0.0
        self.curves = ColumnDataSource({"x": []} | {f"{n}{e}": [] for n, *_ in _CURVES for e in ("", "_low", "_high")})
        self.bars = ColumnDataSource({"left": [], "right": [], "all": [], "nominal": [], "anomaly": []})
        self.steps = ColumnDataSource({"verdicts": [], "found": []})
        self.forecast = ColumnDataSource({"depth": [], "precision": [], "low": [], "high": []})
        figures = []
        for name, title, x, y in _CURVES:
            figure = plot_figure(
                title, x, y, min_height=230, sizing_mode="stretch_both", x_range=(-0.02, 1.02), y_range=(-0.02, 1.04)
            )
            figure.varea("x", f"{name}_low", f"{name}_high", source=self.curves, fill_color=_BLUE, fill_alpha=0.25)
            figure.line("x", name, source=self.curves, color=_BLUE, line_width=2)
            if name == "roc":
                figure.line([0, 1], [0, 1], color=_GREY, line_dash="dotted")
            figures.append(figure)
        bars = plot_figure("scores", "score", "objects", min_height=230, sizing_mode="stretch_both", y_axis_type="log")
        self.ticker = FixedTicker()
        bars.yaxis.update(ticker=self.ticker, formatter=NumeralTickFormatter(format="0,0"))
        for name, colour in (("all", _GREY), ("nominal", _BLUE), ("anomaly", _ORANGE)):
            bars.quad(
                source=self.bars, left="left", right="right", bottom=_BAR_BOTTOM, top=name, fill_color=colour,
                line_color=None, fill_alpha=0.45 if name == "all" else 0.8, legend_label=name,
            )  # fmt: skip
        legend_above(bars)
        steps = plot_figure(
            "anomalies found", "verdicts given", "anomalies found", min_height=230, sizing_mode="stretch_both"
        )
        steps.xaxis.ticker, steps.yaxis.ticker = (BasicTicker(min_interval=1) for _ in range(2))
        steps.line("verdicts", "found", source=self.steps, color=_ORANGE, line_width=2)
        ahead = plot_figure(
            "anomalies among the next objects", "unlabelled objects, highest score first", "share of anomalies",
            min_height=230, sizing_mode="stretch_both", x_axis_type="log", y_range=(-0.02, 1.04), visible=False,
        )  # fmt: skip
        ahead.varea("depth", "low", "high", source=self.forecast, fill_color=_BLUE, fill_alpha=0.25)
        ahead.line("depth", "precision", source=self.forecast, color=_BLUE, line_width=2)
        self.curve, self.found = ahead, steps
        self.no_steps = Div(text=f"<h3>anomalies found</h3><p class=muted>{_NO_STEPS}</p>", sizing_mode="stretch_width")
        self.no_steps.visible = steps.visible = False
        self.scores = bars
        self.no_scores = Div(text=f"<h3>scores</h3><p class=muted>{_NO_SCORES}</p>", sizing_mode="stretch_width")
        self.no_scores.visible = bars.visible = False
        self.remaining = Div(disable_math=True, sizing_mode="stretch_width", name="remaining")
        self.words = Div(
            text="<p class=muted>measuring …</p>",
            disable_math=True,
            sizing_mode="stretch_width",
            name="performance_words",
        )
        left = len(state.shared.cache) - len(state.shared.current_consensus())
        self.audit_size = NumericInput(
            value=max(1, min(_USUAL_AUDIT, left // 2)), low=1, high=1_000_000, width=90, name="audit_size"
        )
        self.draw = Button(label="", width=190, name="draw_audit")
        self.draw.on_click(act(lambda: later(self._drawn, state.shared.session.add_audit, self.audit_size.value or 0)))
        self.audit_words = Div(disable_math=True, sizing_mode="stretch_width", name="audit_words")
        self.suspects = Div(
            text="<p class=muted>comparing …</p>", disable_math=True, sizing_mode="stretch_width", name="suspects"
        )
        self.show = Button(label="show these objects", width=140, visible=False)
        self._ids: list[str] = []
        self.show.on_click(act(lambda: go(self._ids, "doubted")))
        heading = Div(text="<h3>suspect labels</h3>")
        suspects = Column(heading, self.suspects, self.show, sizing_mode="stretch_width")
        self.curve_row = Row(*figures, sizing_mode="stretch_both", spacing=8, visible=False, name="performance_curves")
        self.root = view(
            self.words,
            self.remaining,
            Row(self.draw, self.audit_size, self.audit_words, sizing_mode="stretch_width", spacing=8),
            self.curve_row,
            Row(
                bars, self.no_scores, steps, self.no_steps, ahead, suspects,
                sizing_mode="stretch_both", spacing=8, name="performance_counts",
            ),
            name="performance",
        )  # fmt: skip

    def update(self, dirty: set[str]) -> None:
        """Measure again what has changed, now and then, while the view is open."""
        state = self.state
        by = state.by_name
        seen = (state.shared.revision, by)
        if self._is_waiting:  # what has changed meanwhile is measured after the answer
            return
        now = time.monotonic()
        self._offer_audit()
        if not self.root.visible or seen == self._seen or ("view" not in dirty and now < self._when):
            return
        self._seen = seen
        self._measure(by)
        self._when = time.monotonic() + max(_MIN_PAUSE_S, 10 * (time.monotonic() - now))

    def _offer_audit(self) -> None:
        """Say what an audit set is, and offer to draw one or to enlarge the one there is."""
        size = len(self.state.shared.audit)
        if size != self._audit_shown:
            self._audit_shown = size
            self.draw.label = "enlarge the audit set" if size else "draw an audit set"
            self.audit_words.text = f"<span class=muted>{f'it has {size:,} objects' if size else _WHAT_AUDIT_IS}</span>"

    def _drawn(self, draw: AuditDraw) -> None:
        """Say what was drawn; the pages of candidates begin again without these objects."""
        self.state.shared.refresh()
        self._offer_audit()
        self.audit_words.text = f"<span class=good>{escape(str(draw))}</span>"

    def _measure(self, by: str) -> None:
        state = self.state
        edges, *counts = histogram(state.shared, by)
        bars = dict(zip(("all", "nominal", "anomaly"), counts, strict=True))
        self.bars.data = {"left": edges[:-1], "right": edges[1:]} | {
            name: np.where(values > 0, values, np.nan) for name, values in bars.items()
        }
        self.ticker.ticks = count_ticks(int(counts[0].max(initial=1)))
        self.scores.visible = len(edges) > 1
        self.no_scores.visible = not self.scores.visible
        went = pace(state.shared)
        own = pace(state.shared, state.annotator)
        self.steps.data = {"verdicts": went.verdicts, "found": went.found}
        self.found.visible = bool(len(went.found))
        self.no_steps.visible = not self.found.visible
        self._rate = (
            f"<p class=muted>your rate: {own.per_minute:.0f} verdicts a minute</p>"
            if np.isfinite(own.per_minute)
            else ""
        )
        self._is_waiting = True
        self._later(self._show, self._ask, by)

    def _ask(self, by: str) -> tuple[ForecastAndSuspects, Curves | None, str] | str:
        """Find out in a thread; what goes wrong must not keep the view from asking again."""
        try:
            shared = self.state.shared
            measured, why_none = measure(shared, by)
            ranked = _in_words(shared, by, measured) if measured is not None else why_none
            return forecast_and_suspects(shared, by), measured, ranked
        except Exception as error:  # noqa: BLE001 - the page says it
            _log.exception("the forecast failed")
            return f"{type(error).__name__}: {error}"

    def _show(self, answer: tuple[ForecastAndSuspects, Curves | None, str] | str) -> None:
        self._is_waiting = False
        if isinstance(answer, str):
            self.remaining.text = f"<p class=bad>{escape(answer)}</p>"
            return
        found, measured, words = answer
        self.words.text = (words if measured is not None else f"<p class=muted>{escape(words)}</p>") + self._rate
        data: dict[str, Any] = {name: [] for name in self.curves.data}
        if measured is not None:
            data["x"] = measured.x
            for name, *_ in _CURVES:
                values = getattr(measured, name)
                data |= {name: values[0], f"{name}_low": values[1], f"{name}_high": values[2]}
        self.curves.data = data
        self.curve_row.visible = measured is not None  # else the words say what is wanting
        self._ids = [object_id for object_id, *_ in found.suspects]
        rows = "".join(
            f"<tr><td class=mono>{escape(i)}</td><td>{escape(label)}</td><td>more likely {escape(like)}</td>"
            f"<td class=number>{sure:.2f}</td></tr>"
            for i, label, sure, like in found.suspects[:8]
        )
        none = "none; a label that a model contradicts which has learnt from all the others is named here"
        self.suspects.text = f"<table>{rows}</table>" if rows else f"<p class=muted>{none}</p>"
        self.show.visible = bool(rows)
        forecast = found.forecast
        self.remaining.text = (
            f"<p class=muted>{marked_up(found.why_none)}</p>"
            if forecast is None
            else f"<p>{_forecast_text(forecast)}</p>"
        )
        pairs = [] if forecast is None else list(zip(forecast.depths, forecast.within, strict=True))
        self.curve.visible = bool(pairs)
        self.forecast.data = {
            "depth": [depth for depth, _ in pairs],
            "precision": [item.expected / depth for depth, item in pairs],
            "low": [item.low / depth for depth, item in pairs],
            "high": [item.high / depth for depth, item in pairs],
        }


def count_ticks(most: int) -> list[int]:
    """Return ticks of a logarithmic axis of counts, so few that labels have room: 1, 2, 5, 10 ... or 1, 10, 100 ..."""
    mantissas = (1, 2, 5) if most <= _MOST_FINE_TICKS else (1,)
    return [digit * 10**power for power in range(len(str(most)) + 1) for digit in mantissas]


def _forecast_text(forecast: Forecast) -> str:
    """Say what is left in one sentence."""
    total = forecast.total
    text = (
        f"about <b>{total.expected:,.0f}</b> anomalies ({total.low:,.0f} to {total.high:,.0f}) are left among "
        f"{forecast.unlabelled:,} unlabelled objects"
    )
    within_100 = [k for k, depth in enumerate(forecast.depths) if depth <= 100]
    if within_100:
        depth, item = forecast.depths[within_100[-1]], forecast.within[within_100[-1]]
        text += f"; the next {depth} hold about <b>{item.expected:.0f}</b> ({item.low:.0f} to {item.high:.0f})"
    sample = f", drawn from {escape(forecast.sample_of)}" if forecast.sample_of else ""
    text += (
        f" <span class=muted>90 % intervals, from {forecast.audit} objects of the audit set, "
        f"{forecast.audit_anomalies} of them anomalies{sample}</span>"
    )
    if forecast.outside:
        text += f" <span class=muted>Nothing is said of {forecast.outside:,} objects that it is no sample of.</span>"
    return text


def _in_words(shared: SharedState, by: str, measured: Curves) -> str:
    """Say what the curves were measured on, and give the areas."""
    labels = measured.anomalies + measured.nominal
    ranked = escape(shared.describe_scores(by))
    if not measured.biased:
        sample = f"drawn at random from {escape(measured.sample_of)}" if measured.sample_of else "drawn at random"
        where = (
            f"<span class=good>audit set, {measured.audit_labelled} of {measured.audit_size} labelled:</span> "
            f"{sample}, labelled blind, never trained on."
        )
        if measured.sample_of:
            where += " So this is how well these are ranked, without what was found before."
    elif measured.cross_validated:
        where = (
            f"<span class=bad>cross-validated on {labels} labels that were chosen, biased:</span> {ranked} has learnt "
            "from these labels, so each was scored by regressions on frozen features that did not see it, as for "
            "<i>suspect labels</i>. Objects were labelled because of their scores, which says little of the others. "
            f"{_what_to_do(measured)}"
        )
        ranked = "these regressions"
    else:
        where = (
            f"<span class=bad>on {labels} labels that were chosen, biased:</span> the ranking has learnt from none of "
            f"them, but objects were labelled because of their scores. {_what_to_do(measured)}"
        )
    figures = "  ".join(
        f"{name} <b>{value:.3f}</b> <span class=muted>({low:.3f} to {high:.3f})</span>"
        for name, (value, low, high) in (("AUROC", measured.auroc), ("AUPRC", measured.auprc))
    )
    return (
        f"<p>{where}</p><p>{figures} <span class=muted>on {measured.anomalies} anomalies and {measured.nominal} "
        f"nominal objects; 90 % bootstrap intervals; ranked by {ranked}</span></p>"
    )


def _what_to_do(measured: Curves) -> str:
    """Say how to get an unbiased answer."""
    if not measured.audit_size:
        return "An audit set, drawn at random and labelled blind, gives an unbiased answer."
    return (
        f"{measured.audit_labelled} of the {measured.audit_size} objects of the audit set are labelled: curves need "
        f"{MIN_AUDIT_LABELS} of them with {MIN_OF_A_KIND} anomalies and {MIN_OF_A_KIND} nominal objects, so choose "
        "<i>show: the audit set, blind</i>."
    )
