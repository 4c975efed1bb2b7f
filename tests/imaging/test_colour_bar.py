"""The ticks of a colour bar are where the painter puts the colour of that flux."""

import numpy as np
import pytest

from astroanomaly.app.view.theme import palette
from astroanomaly.config import StretchConfig
from astroanomaly.imaging.colour_bar import bar_ticks
from astroanomaly.imaging.display import Display
from astroanomaly.imaging.painting import Painter

LEVELS = [(-0.02, 10.0), (1000.0, 1010.0), (0.0, 1.0), (-5.0, -1.0), (1e-20, 3e-18)]


@pytest.mark.parametrize(("black", "white"), LEVELS)
@pytest.mark.parametrize("curve", ["linear", "sqrt", "log", "asinh", "sinh", "power", "squared"])
@pytest.mark.parametrize("more", [{}, {"brightness": 0.2, "contrast": 0.7}])
def test_a_tick_has_the_colour_of_its_flux(curve, black, white, more):
    stretch = StretchConfig(curve=curve, interval="manual", black=black, white=white, scope="cutout")
    display = Display(stretch, colours="single", colour_map="viridis", **more)
    ticks = bar_ticks(display, black, white)
    assert len(ticks) >= 2
    places, fluxes = np.array(ticks).T
    assert (np.diff(places) > 0.1).all()
    assert (np.diff(fluxes) > 0).all()
    images = fluxes.astype(np.float64).reshape(1, 1, 1, -1)
    painted = Painter(images, ("r",), lambda config: ()).paint(display, palette)[0, 0]
    rgb = painted.view(np.uint8).reshape(-1, 4)[:, :3].astype(int)
    expected = palette("viridis")[np.round(places * 255).astype(int)].astype(int)
    assert np.abs(rgb - expected).max() <= 6  # a colour map's neighbours


def test_there_is_no_bar_where_colour_is_no_function_of_flux():
    assert bar_ticks(Display(StretchConfig(curve="histogram")), 0, 1) == []
    assert bar_ticks(Display(), 1, 1) == []
    assert bar_ticks(Display(), float("nan"), 1) == []
