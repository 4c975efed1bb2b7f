"""Learning: progress of the features, labels of the probe, and live curves of a network in training."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from html import escape
from typing import Any

from bokeh.models import Button, Column, ColumnDataSource, Div, NumericInput, Row, Select

from astroanomaly.app.background.learner import Learner
from astroanomaly.app.review.page_state import ViewState
from astroanomaly.app.view.theme import legend_above, plot_figure, view
from astroanomaly.hookspecs import Ranker
from astroanomaly.records import DEFAULT_RANKER

__all__ = ["Learning"]

_BLUE, _ORANGE, _GREEN = "#56B4E9", "#E69F00", "#009E73"
_EMPTY_CURVES: dict[str, list[float]] = {
    "step": [],
    "loss": [],
    "supervised": [],
    "unlabelled": [],
    "confident": [],
    "anomalous": [],
}
_COMING = (
    "<h3>curves of a training</h3><p class=muted>While a network trains, its loss is drawn here step by step and, for "
    "<code>fixmatch</code>, the share of unlabelled images that it learns from. Label nominal objects and anomalies on "
    "the view <i>candidates</i>, then choose <i>train and score a round</i>: it runs in a process of its own, and you "
    "go on labelling.</p>"
)
_NO_ROUND = (
    "<p class=muted>None yet. Each training adds a round, with the scores of all objects; the latest is offered as "
    "<i>ranked by</i> beside the candidates. Until then the instant ranker orders them.</p>"
)


class Learning:
    """``curves`` has one row per training step."""

    def __init__(self, state: ViewState, act: Any, learner: Learner, rankers: Mapping[str, type[Ranker]]) -> None:
        self.state = state
        self.learner = learner
        self._seen: Any = None
        self._steps = {name: _steps(made, state.shared.session.settings) for name, made in rankers.items()}
        self._steps[DEFAULT_RANKER] = None
        self.ranker = Select(title="ranker", options=[DEFAULT_RANKER, *rankers], value=DEFAULT_RANKER, width=130)
        self.iterations = NumericInput(title="training steps", low=1, high=1_000_000, width=110)
        self._choose()
        self.ranker.on_change("value", lambda attr, old, new: self._choose())
        self.start = Button(label="train and score a round", button_type="primary", width=180, name="train")
        self.cancel = Button(label="cancel", width=80, disabled=True, name="cancel")
        self.every = NumericInput(title="rank anew after every N verdicts", value=1, low=1, high=10_000, width=240)
        self.status = Div(disable_math=True, sizing_mode="stretch_width", name="training_status")
        self.probe = Div(disable_math=True, sizing_mode="stretch_width", name="probe_status")
        self.rounds = Div(disable_math=True, sizing_mode="stretch_width", name="rounds")
        self.curves = ColumnDataSource(dict(_EMPTY_CURVES))
        self.compute = Button(label="compute the missing features", width=220, name="compute")
        self.compute.on_click(act(learner.compute))
        self.start.on_click(act(self._train))
        self.cancel.on_click(act(self._cancel))
        self.every.on_change("value", lambda attr, old, new: setattr(learner, "refit_every", int(new or 1)))
        self.losses = loss = plot_figure("loss", "step", "", min_height=240, sizing_mode="stretch_both")
        for name, colour in (("loss", _BLUE), ("supervised", _GREEN), ("unlabelled", _ORANGE)):
            loss.line("step", name, source=self.curves, color=colour, line_width=2, legend_label=name)
        self.shares = shares = plot_figure(
            "unlabelled images", "step", "share", min_height=240, sizing_mode="stretch_both", y_range=(-0.02, 1.02)
        )
        for name, colour, label in (
            ("confident", _BLUE, "confident: pass the threshold"),
            ("anomalous", _ORANGE, "of those, not nominal"),
        ):
            shares.line("step", name, source=self.curves, color=colour, line_width=2, legend_label=label)
        for figure in (loss, shares):
            legend_above(figure)
        self.plots = Row(loss, shares, sizing_mode="stretch_both", spacing=10, visible=False)
        self.coming = Div(
            text=_COMING, disable_math=True, sizing_mode="stretch_width", name="coming_curves",
            styles={"max-width": "900px"},
        )  # fmt: skip
        live = Div(text=f"<h3>instant ranker: {escape(state.shared.instant_ranker)}</h3>")
        self.root = view(
            Row(
                Column(Div(text="<h3>train</h3>"), Row(self.ranker, self.iterations, spacing=6),
                       Row(self.start, self.cancel, spacing=6), self.status, width=340, spacing=6),
                Column(live, self.every, self.probe, self.compute, width=340, spacing=6),
                Column(Div(text="<h3>rounds</h3>"), self.rounds, sizing_mode="stretch_width", spacing=6),
                sizing_mode="stretch_width", spacing=20, css_classes=["aa-zoom"],
            ),
            self.coming,
            self.plots,
            name="learning",
        )  # fmt: skip

    def _choose(self) -> None:
        """Offer the number of steps of a ranker that learns in steps, as the session has it."""
        steps = self._steps[str(self.ranker.value)]
        self.iterations.visible = steps is not None
        if steps is not None:
            self.iterations.value = steps

    def _train(self) -> None:
        name = str(self.ranker.value)
        options = {"iterations": int(self.iterations.value or 1)} if self._steps[name] is not None else {}
        self.learner.train(name, options)

    def _cancel(self) -> None:
        if self.learner.training is not None:
            scoring = self.learner.training.stage == "scoring"
            self.learner.training.cancel()
            self.state.say(
                "the scoring was cancelled; the round is kept: `astroanomaly score` goes on with it"
                if scoring
                else "the training was cancelled; the model of the previous round is kept"
            )

    def update(self, dirty: set[str]) -> None:
        """Show how far everything is; called at every tick."""
        if not self.root.visible:
            return
        learner = self.learner
        job = learner.training
        running = job is not None and job.state == "running"
        self.start.disabled, self.cancel.disabled = running, not running
        self.status.text = self._status()
        total = len(self.state.shared.cache)
        lines = [f"features of {learner.computed:,} of {total:,} objects ({learner.computed / max(total, 1):.0%})"]
        if learner.fitted_on:
            lines.append(f"fitted on {escape(learner.fitted_on)}, ranked again in {learner.seconds:.2f} s")
        else:
            lines.append("<span class=muted>fitted as soon as nominal objects and anomalies are labelled</span>")
        if learner.problem:
            lines.append(f"<span class=bad>{escape(learner.problem)}</span>")
        if learner.warning:
            lines.append(f"<span class=bad>{escape(learner.warning)}</span>")
        self.probe.text = "<br>".join(lines)
        self.compute.visible = learner.computed < total and not learner.computing
        history = learner.history()
        seen = (id(job), len(history))
        if seen != self._seen:
            self._seen = seen
            names = {"supervised": "supervised loss", "unlabelled": "unlabelled loss"}
            data: dict[str, list[float]] = {"step": [float(step.done) for step in history]}
            for name in list(_EMPTY_CURVES)[1:]:
                data[name] = [step.values.get(names.get(name, name), float("nan")) for step in history]
            self.curves.data = data
            self.plots.visible = bool(history)
            self.coming.visible = not history
            self.shares.visible = any(map(math.isfinite, data["confident"]))  # not every ranker looks at them
            for item in self.losses.legend[0].items:
                item.visible = any(map(math.isfinite, data[item.label.value]))
        if dirty & {"scores", "view"} or not self.rounds.text:
            rows = "".join(
                f"<tr><td class=number>{item.number}</td><td>{escape(item.ranker)}</td>"
                f"<td class=muted>{escape(str(item.recipe.get('created', ''))[:16].replace('T', ' '))}</td></tr>"
                for item in reversed(self.state.shared.session.rounds[-12:])
            )
            self.rounds.text = f"<table>{rows}</table>" if rows else _NO_ROUND

    def _status(self) -> str:
        job = self.learner.training
        if job is None:
            return (
                "<p class=muted>A round learns from all verdicts so far and scores every object. Go on labelling.</p>"
            )
        remarks = "".join(f"<p>{escape(step.message)}</p>" for step in job.reports[-400:] if step.message)
        if job.state == "failed":
            stays = (
                "<p class=muted>The model of the previous round is kept.</p>"
                if self.state.shared.session.rounds
                else ""
            )
            return f"<p class=bad>{escape(f'{job.name} failed: {job.error}')}</p>{stays}"
        if job.state in ("cancelled", "done"):
            return f"<p>{escape(job.name)}: {job.state}</p>{remarks}"
        last = job.last
        if last is None or not last.total:
            return f"<p>{escape(job.name)}: {escape(job.stage)}, {job.elapsed_s:.0f} s</p>"
        left = self.learner.time_left_s()
        parts = [f"{escape(last.stage)} {last.done:,} of {last.total:,}"]
        if left is not None:
            soon = f"{left:.0f} s" if left < 100 else f"{left / 60:.0f} min"
            parts.append(f"about {soon} left in this stage")
        return f"<p>{', '.join(parts)}</p>{remarks}"


def _steps(ranker: type[Ranker], settings: Mapping[str, Mapping[str, Any]]) -> int | None:
    """Training steps of a round by a session's settings; None for a ranker that has none."""
    fields = {item.name: item.default for item in dataclasses.fields(ranker.Options)}
    if "iterations" not in fields:
        return None
    return int(settings.get(ranker.section, {}).get("iterations", fields["iterations"]))
