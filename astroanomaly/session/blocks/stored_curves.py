"""The light curves of a session, as it keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from astroanomaly.errors import SessionError
from astroanomaly.learn.features.light_curve_files import has_light_curves, open_light_curves
from astroanomaly.records import FeatureBlock
from astroanomaly.session.folder import SessionFolder

if TYPE_CHECKING:
    from astropy.table import QTable

__all__ = ["light_curve", "light_curve_blocks"]


def light_curve_blocks(session: SessionFolder) -> Iterator[FeatureBlock]:
    """Give the blocks of a session that have light curves."""
    yield from (block for block in session.context.blocks if has_light_curves(block.folder))


def light_curve(session: SessionFolder, object_id: str, block: str = "") -> QTable:
    """Return the light curve of an object; see `Session.light_curve`."""
    from astropy import units
    from astropy.table import QTable

    session.cache.rows([object_id])  # raises an error unless it is there
    known = {one.name: one for one in light_curve_blocks(session)}
    if not known:
        raise SessionError(
            f"{session.path} has no light curves: make a session with `astroanomaly init ... --light-curves NAME=FILES`"
        )
    if block and block not in known:
        raise SessionError(f"{session.path} has no light curves {block!r} (it has {', '.join(known)})")
    for name in [block] if block else list(known):
        found = open_light_curves(Path(known[name].folder))
        points = found.points(object_id)
        if points is None:
            continue
        value = "magnitude" if found.is_magnitude else "flux"
        unit = (
            units.Unit(found.unit, parse_strict="silent") if found.unit else units.mag if found.is_magnitude else None
        )
        table = QTable({"time": points["time"] * units.day, "band": np.array(found.bands)[points["band"]]})
        for column, values in ((value, points["value"]), ("error", points["error"])):
            table[column] = values if unit is None else values * unit
        table.meta = {"object_id": object_id, "block": name, "time": "MJD" if found.is_mjd else "as in its file"}
        return table
    raise SessionError(f"there is no light curve of {object_id}")
