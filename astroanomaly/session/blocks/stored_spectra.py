"""The spectra of a session, as it keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from astroanomaly.errors import SessionError
from astroanomaly.learn.features.spectrum_files import has_spectra, open_spectra
from astroanomaly.records import FeatureBlock
from astroanomaly.session.folder import SessionFolder

if TYPE_CHECKING:
    from astropy.table import QTable

__all__ = ["spectrum", "spectrum_blocks"]


def spectrum_blocks(session: SessionFolder) -> Iterator[FeatureBlock]:
    """Give the blocks of a session that have spectra."""
    yield from (block for block in session.context.blocks if has_spectra(block.folder))


def spectrum(session: SessionFolder, object_id: str, block: str = "") -> QTable:
    """Return the spectrum of an object; see `Session.spectrum`."""
    from astropy import units
    from astropy.table import QTable

    session.cache.rows([object_id])  # raises an error unless it is there
    known = {one.name: one for one in spectrum_blocks(session)}
    if not known:
        raise SessionError(
            f"{session.path} has no spectra: make a session with `astroanomaly init ... --spectra NAME=FILES`"
        )
    if block and block not in known:
        raise SessionError(f"{session.path} has no spectra {block!r} (it has {', '.join(known)})")
    for name in [block] if block else list(known):
        found = open_spectra(Path(known[name].folder))
        row = found.row(object_id)
        if row < 0:
            continue
        unit = units.Unit(found.unit, parse_strict="silent") if found.unit else None
        flux, error = np.asarray(found.spectra[row], np.float64)
        table = QTable({"wavelength": found.grid.wavelengths * units.AA})
        for column, values in (("flux", flux), ("error", error)):
            table[column] = values if unit is None else values * unit
        table.meta = {"object_id": object_id, "block": name, "redshift": float(found.redshifts[row])}
        return table
    raise SessionError(f"there is no spectrum of {object_id}")
