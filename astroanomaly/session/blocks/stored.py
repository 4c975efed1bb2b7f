"""The spectra and light curves of a session, as it keeps them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from astroanomaly.errors import SessionError
from astroanomaly.learn.features.light_curve_files import has_light_curves, open_light_curves
from astroanomaly.learn.features.spectrum_files import has_spectra, open_spectra
from astroanomaly.records import FeatureBlock
from astroanomaly.session.folder import SessionFolder

if TYPE_CHECKING:
    from astropy.table import QTable

__all__ = ["light_curve", "light_curve_blocks", "spectrum", "spectrum_blocks"]


def spectrum_blocks(session: SessionFolder) -> Iterator[FeatureBlock]:
    """Give the blocks of a session that have spectra."""
    yield from (block for block in session.context.blocks if has_spectra(block.folder))


def light_curve_blocks(session: SessionFolder) -> Iterator[FeatureBlock]:
    """Give the blocks of a session that have light curves."""
    yield from (block for block in session.context.blocks if has_light_curves(block.folder))


def spectrum(session: SessionFolder, object_id: str, block: str = "") -> QTable:
    """Return the spectrum of an object; see `Session.spectrum`."""
    from astropy import units
    from astropy.table import QTable

    session.cache.rows([object_id])  # raises an error unless it is there
    for one in _asked(session, spectrum_blocks(session), block, "spectra", "--spectra"):
        found = open_spectra(Path(one.folder))
        row = found.row(object_id)
        if row < 0:
            continue
        unit = units.Unit(found.unit, parse_strict="silent") if found.unit else None
        flux, error = np.asarray(found.spectra[row], np.float64)
        table = QTable({"wavelength": found.grid.wavelengths * units.AA})
        for column, values in (("flux", flux), ("error", error)):
            table[column] = values if unit is None else values * unit
        table.meta = {"object_id": object_id, "block": one.name, "redshift": float(found.redshifts[row])}
        return table
    raise SessionError(f"there is no spectrum of {object_id}")


def light_curve(session: SessionFolder, object_id: str, block: str = "") -> QTable:
    """Return the light curve of an object; see `Session.light_curve`."""
    from astropy import units
    from astropy.table import QTable

    session.cache.rows([object_id])  # raises an error unless it is there
    for one in _asked(session, light_curve_blocks(session), block, "light curves", "--light-curves"):
        found = open_light_curves(Path(one.folder))
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
        table.meta = {"object_id": object_id, "block": one.name, "time": "MJD" if found.is_mjd else "as in its file"}
        return table
    raise SessionError(f"there is no light curve of {object_id}")


def _asked(
    session: SessionFolder, blocks: Iterable[FeatureBlock], name: str, what: str, flag: str
) -> Iterable[FeatureBlock]:
    """Return the block of a name, or all without one."""
    known = {one.name: one for one in blocks}
    if not known:
        raise SessionError(
            f"{session.path} has no {what}: make a session with `astroanomaly init ... {flag} NAME=FILES`"
        )
    if name and name not in known:
        raise SessionError(f"{session.path} has no {what} {name!r} (it has {', '.join(known)})")
    return [known[name]] if name else known.values()
