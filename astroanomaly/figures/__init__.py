"""Curves and contact sheets as pictures: the only place of matplotlib.

Every figure is an object of its own on the Agg canvas; pyplot and its global state are never touched. Text that comes
from data (ids, names) is drawn as it is: no mathtext, no markup, glyphs that the font lacks replaced by a mark.
"""

from astroanomaly.figures.curves import costs, learning_curves, performance_curves, training_curves
from astroanomaly.figures.injections import efficiency
from astroanomaly.figures.light_curves import light_curve_figure
from astroanomaly.figures.rounds import CURVES, round_curves
from astroanomaly.figures.sheets import contact_sheet
from astroanomaly.figures.spectra import spectrum_figure

__all__ = [
    "CURVES",
    "contact_sheet",
    "costs",
    "efficiency",
    "learning_curves",
    "light_curve_figure",
    "performance_curves",
    "round_curves",
    "spectrum_figure",
    "training_curves",
]
