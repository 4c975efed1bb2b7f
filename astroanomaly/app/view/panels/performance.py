"""Performance: curves, the forecast, the histogram of scores, anomalies found against verdicts, suspect labels."""

from __future__ import annotations

import logging
import time
from html import escape
from typing import Any

import numpy as np
from bokeh.models import Button, Column, ColumnDataSource, Div, Row

from astroanomaly.app.review.forecast import ForecastAndSuspects, forecast_and_suspects
from astroanomaly.app.review.page_state import ViewState
from astroanomaly.app.review.performance import Curves, curves, histogram, pace
from astroanomaly.app.view.theme import legend_above, plot_figure, view
from astroanomaly.session.calibration import Forecast

__all__ = ["Performance"]

_log = logging.getLogger(__name__)
_BLUE, _ORANGE, _GREY = "#56B4E9", "#E69F00", "#8A94A6"
_MIN_PAUSE_S = 2.0  # and ten times as long as it takes: keys come first
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
        bars = plot_figure(
            "scores", "score", "objects + 1", min_height=230, sizing_mode="stretch_both", y_axis_type="log"
        )
        for name, colour in (("all", _GREY), ("nominal", _BLUE), ("anomaly", _ORANGE)):
            bars.quad(
                source=self.bars, left="left", right="right", bottom=0.9, top=name, fill_color=colour, line_color=None,
                fill_alpha=0.45 if name == "all" else 0.8, legend_label=name,
            )  # fmt: skip
        legend_above(bars)
        steps = plot_figure(
            "anomalies found", "verdicts given", "anomalies found", min_height=230, sizing_mode="stretch_both"
        )
        steps.line("verdicts", "found", source=self.steps, color=_ORANGE, line_width=2)
        ahead = plot_figure(
            "anomalies among the next objects", "unlabelled objects, highest score first", "share of anomalies",
            min_height=230, sizing_mode="stretch_both", x_axis_type="log", y_range=(-0.02, 1.04), visible=False,
        )  # fmt: skip
        ahead.varea("depth", "low", "high", source=self.forecast, fill_color=_BLUE, fill_alpha=0.25)
        ahead.line("depth", "precision", source=self.forecast, color=_BLUE, line_width=2)
        self.curve = ahead
        self.remaining = Div(disable_math=True, sizing_mode="stretch_width", name="remaining")
        self.words = Div(disable_math=True, sizing_mode="stretch_width", name="performance_words")
        self.suspects = Div(
            text="<p class=muted>comparing …</p>", disable_math=True, sizing_mode="stretch_width", name="suspects"
        )
        self.show = Button(label="show these objects", width=140, visible=False)
        self._ids: list[str] = []
        self.show.on_click(act(lambda: go(self._ids, "doubted")))
        heading = Div(text="<h3>suspect labels</h3>")
        suspects = Column(heading, self.suspects, self.show, sizing_mode="stretch_width")
        self.root = view(
            self.words,
            self.remaining,
            Row(*figures, sizing_mode="stretch_both", spacing=8),
            Row(bars, steps, ahead, suspects, sizing_mode="stretch_both", spacing=8),
            name="performance",
        )  # fmt: skip

    def update(self, dirty: set[str]) -> None:
        """Measure again what has changed, now and then, while the view is open."""
        state = self.state
        by = state.by_name
        seen = (state.shared.revision, by)
        now = time.monotonic()
        if not self.root.visible or seen == self._seen or ("view" not in dirty and now < self._when):
            return
        self._seen = seen
        self._measure(by)
        self._when = time.monotonic() + max(_MIN_PAUSE_S, 10 * (time.monotonic() - now))

    def _measure(self, by: str) -> None:
        state = self.state
        measured = curves(state.shared, by)
        if measured is None:
            self.curves.data = {name: [] for name in self.curves.data}
            self.words.text = (
                "<p class=muted>Curves appear as soon as there is a ranking, and nominal objects and anomalies are "
                "labelled.</p>"
            )
        else:
            data: dict[str, Any] = {"x": measured.x}
            for name, *_ in _CURVES:
                values = getattr(measured, name)
                data |= {name: values[0], f"{name}_low": values[1], f"{name}_high": values[2]}
            self.curves.data = data
            where = (
                "<span class=bad>labelled objects only, biased:</span> they were shown because of their scores, "
                f"and the probe has learnt from them. {_what_to_do(measured)}"
                if measured.biased
                else f"<span class=good>audit set, {measured.audit_labelled} of {measured.audit_size} labelled:</span> "
                "drawn at random, labelled blind, never trained on."
            )
            figures = "  ".join(
                f"{name} <b>{value:.3f}</b> <span class=muted>({low:.3f} to {high:.3f})</span>"
                for name, (value, low, high) in (("AUROC", measured.auroc), ("AUPRC", measured.auprc))
            )
            ranked = state.shared.describe_scores(by)
            self.words.text = (
                f"<p>{where}</p><p>{figures} <span class=muted>on {measured.anomalies} anomalies and "
                f"{measured.nominal} nominal objects; 90 % bootstrap intervals; ranked by {escape(ranked)}</span></p>"
            )
        edges, everything, nominal, anomaly = histogram(state.shared, by)
        self.bars.data = {
            "left": edges[:-1], "right": edges[1:], "all": everything + 1, "nominal": np.maximum(nominal, 0) + 1 - 1e-9,
            "anomaly": anomaly + 1 - 1e-9,
        }  # fmt: skip
        went = pace(state.shared)
        own = pace(state.shared, state.annotator)
        self.steps.data = {"verdicts": went.verdicts, "found": went.found}
        if np.isfinite(own.per_minute):
            self.words.text += f"<p class=muted>your rate: {own.per_minute:.0f} verdicts a minute</p>"
        if not self._is_waiting:
            self._is_waiting = True
            self._later(self._show, self._ask, by)

    def _ask(self, by: str) -> ForecastAndSuspects | str:
        """Find out in a thread; what goes wrong must not keep the view from asking again."""
        try:
            return forecast_and_suspects(self.state.shared, by)
        except Exception as error:  # noqa: BLE001 - the page says it
            _log.exception("the forecast failed")
            return f"{type(error).__name__}: {error}"

    def _show(self, found: ForecastAndSuspects | str) -> None:
        self._is_waiting = False
        if isinstance(found, str):
            self.remaining.text = f"<p class=bad>{escape(found)}</p>"
            return
        self._ids = [object_id for object_id, *_ in found.suspects]
        rows = "".join(
            f"<tr><td class=mono>{escape(i)}</td><td>{escape(label)}</td><td>more likely {escape(like)}</td>"
            f"<td class=number>{sure:.2f}</td></tr>"
            for i, label, sure, like in found.suspects[:8]
        )
        self.suspects.text = f"<table>{rows}</table>" if rows else "<p class=muted>none</p>"
        self.show.visible = bool(rows)
        forecast = found.forecast
        self.remaining.text = (
            f"<p class=muted>{escape(found.why_none)}</p>" if forecast is None else f"<p>{_forecast_text(forecast)}</p>"
        )
        pairs = [] if forecast is None else list(zip(forecast.depths, forecast.within, strict=True))
        self.curve.visible = bool(pairs)
        self.forecast.data = {
            "depth": [depth for depth, _ in pairs],
            "precision": [item.expected / depth for depth, item in pairs],
            "low": [item.low / depth for depth, item in pairs],
            "high": [item.high / depth for depth, item in pairs],
        }


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
    return (
        f"{text} <span class=muted>90 % intervals, from {forecast.audit} objects of the audit set, "
        f"{forecast.audit_anomalies} of them anomalies</span>"
    )


def _what_to_do(measured: Curves) -> str:
    """Say how to get an unbiased answer."""
    if not measured.audit_size:
        return "<code>init --audit N</code> draws a set for an unbiased answer."
    return (
        f"{measured.audit_labelled} of the {measured.audit_size} objects of the audit set are labelled, which is too "
        "few: choose <i>show: the audit set, blind</i>."
    )
