"""Spectra beside the image: read from their files, matched to the objects, and described by numbers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.cache.object_tables import catalog_columns
from astroanomaly.errors import AstroAnomalyError, CatalogError, UnreadableError
from astroanomaly.learn.features.block_options import BlockOptions
from astroanomaly.learn.features.blocks import column_numbers
from astroanomaly.learn.features.spectra import SpectrumFeatures, SpectrumGrid, rest_frame, shifted
from astroanomaly.learn.features.spectrum_files import write_spectra
from astroanomaly.records import FeatureBlock
from astroanomaly.session.blocks.given import BLOCKS, GivenBlock, block_name, said_of
from astroanomaly.session.blocks.given_files import find_files
from astroanomaly.session.blocks.kept_spectra import KeptSpectra
from astroanomaly.session.blocks.object_matching import ObjectMatcher
from astroanomaly.session.blocks.spectrum_reading import SUFFIXES, SpectrumOnGrid, each_on_grid, grid_of

if TYPE_CHECKING:
    from astroanomaly.cache import Cache

__all__ = ["GivenSpectra", "read_spectrum_blocks"]

OWN = "own"  # redshifts that are in the files of the spectra
_LEARNT_FROM = 1000  # spectra, for the components
_TOGETHER = 256  # spectra that are described together
_MATCHED = 4096  # spectra that are matched together, 16 kB each
_REDSHIFTS = (-0.1, 30.0)  # that can be


@dataclass(frozen=True, eq=False)
class GivenSpectra(GivenBlock):
    """A block of spectra that a new session gets.

    Attributes
    ----------
    spectra
        ``(m, 2, n)`` float32 flux and error of each id, NaN where unknown; mapped from a file.
    redshifts
        ``(m,)``, NaN where unknown.
    """

    spectra: np.ndarray = field(default_factory=lambda: np.zeros((0, 2, 0), np.float32))
    redshifts: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def write(self, session: Path) -> None:
        """Keep the numbers and the spectra in a session's folder."""
        super().write(session)
        write_spectra(session / BLOCKS / self.block.name, self.ids, self.spectra, self.redshifts)


def read_spectrum_blocks(
    given: Mapping[str, Any], cache: Cache, config: BlockOptions, taken: Sequence[str], room: Path
) -> Iterator[GivenSpectra]:
    """Read the blocks of spectra of a new session.

    Parameters
    ----------
    given
        File, folder, pattern, or list of these, by the name of the block. ``NAME:COLUMN`` takes a catalogue column of
        the cache for what the spectra of objects are called.
    cache
        The objects.
    config
        The settings of blocks.
    taken
        Names of other blocks.
    room
        A folder that spectra are put in meanwhile.

    Raises
    ------
    ConfigError
        If a name or a wish cannot be.
    CatalogError
        If no spectrum is of an object, or there is no such column.
    UnreadableError
        If there is no file, or none that can be read.
    """
    names = set(taken)
    for key, value in given.items():
        name, column = block_name(key, names)
        yield _block(name, column.strip(), value, cache, config, room)


def _block(name: str, column: str, given: Any, cache: Cache, config: BlockOptions, room: Path) -> GivenSpectra:
    files = find_files(given, name, "spectra", SUFFIXES)
    grid = grid_of(files, name)
    matcher = ObjectMatcher(cache, column, name, "spectrum", "spectra")
    with contextlib.closing(KeptSpectra(grid, name, room)) as kept:
        failed = _read(kept, matcher, files)
        if failed and len(failed) == len(files):
            raise UnreadableError(f"block {name}: {failed[0]}")
        if not kept.rows:
            raise matcher.none_of_ours(kept.seen, len(files))
        ids, spectra = list(kept.rows), kept.spectra()
    redshifts = _redshifts(config.redshift, kept, ids, cache)
    columns, values = _described(spectra, redshifts, grid, rest=bool(config.redshift), name=name)
    messages = [
        f"block {name}: {len(ids)} spectra from {grid.shortest:.0f} to {grid.longest:.0f} Angstrom, "
        f"{'in the rest frame' if config.redshift else 'as observed'}",
        *said_of(name, columns, values, cache, ids),
        *matcher.left_out(failed, len(files), kept.seen, kept.matched),
        *_remarks(kept),
        *_without_numbers(name, values, redshifts, rest=bool(config.redshift)),
    ]
    about = {
        "name": name, "columns": columns, "objects": len(ids), "kind": "spectra", "files": len(files),
        "source": files[0].name, "grid": [grid.shortest, grid.longest, grid.bins], "unit": kept.unit,
        "redshift": config.redshift,
    }  # fmt: skip
    block = FeatureBlock(name, tuple(columns), ("",) * len(columns), weight=config.weight)
    return GivenSpectra(block, tuple(messages), ids, values, about, spectra, redshifts)


def _read(kept: KeptSpectra, matcher: ObjectMatcher, files: Sequence[Path]) -> list[str]:
    """Read the spectra of files, keep those of objects, and return why others cannot be read."""
    failed: list[str] = []
    waiting: list[SpectrumOnGrid] = []
    for result in each_on_grid(kept.grid, files):
        if isinstance(result, AstroAnomalyError):
            failed.append(str(result))
            continue
        waiting += result
        if len(waiting) >= _MATCHED:
            kept.take(waiting, matcher.find(waiting))
            waiting = []
    kept.take(waiting, matcher.find(waiting))
    return failed


def _remarks(kept: KeptSpectra) -> Iterator[str]:
    """Say what is not known of those that were kept, and how many objects have several."""
    if kept.unit and kept.without_unit:
        yield (
            f"block {kept.name}: {kept.without_unit} spectra state no unit of their flux, and are taken to be in "
            f"{kept.unit} like the others"
        )
    if kept.repeated:
        yield (
            f"block {kept.name}: {kept.repeated} spectra more are of objects that have one: of each object that with "
            "the highest signal over noise is taken"
        )


def _without_numbers(name: str, values: np.ndarray, redshifts: np.ndarray, *, rest: bool) -> Iterator[str]:
    """Say how many spectra are not described, and why."""
    unknown = ~np.isfinite(redshifts) if rest else np.zeros(len(values), bool)
    outside = ~np.isfinite(values).any(axis=1) & ~unknown
    if unknown.any():
        yield f"block {name}: {unknown.sum()} of {len(values)} spectra have no redshift, and no numbers"
    if outside.any():
        yield (
            f"block {name}: {outside.sum()} of {len(values)} spectra cover less than a tenth of the wavelengths "
            "that are compared, and have no numbers"
        )


# ---------------------------------------------------------------------------------------------------------- described


def _redshifts(wish: str, kept: KeptSpectra, ids: Sequence[str], cache: Cache) -> np.ndarray:
    """``(m,)`` redshifts of objects: of a catalogue column, else of the files; NaN where unknown."""
    found = np.array(kept.redshifts)
    if wish and wish != OWN:
        column = catalog_columns(cache, [wish])[wish]
        found = column_numbers(column, "", f"blocks.redshift: {wish!r}")[cache.rows(list(ids))]
    with np.errstate(invalid="ignore"):
        found = np.where((found > _REDSHIFTS[0]) & (found < _REDSHIFTS[1]), found, np.nan)
    if wish and not np.isfinite(found).any():
        raise CatalogError(
            f"blocks.redshift={wish}: no object with a spectrum has a redshift there, and without it spectra cannot be "
            "brought to the rest frame"
        )
    return found


def _described(
    spectra: np.ndarray, redshifts: np.ndarray, grid: SpectrumGrid, *, rest: bool, name: str
) -> tuple[list[str], np.ndarray]:
    """Describe spectra ``(m, 2, n)`` by numbers ``(m, D)`` float32 with names, NaN where unknown."""
    target = rest_frame(grid, redshifts) if rest else grid

    def on_target(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        parts = [np.asarray(spectra[rows, k], np.float64) for k in (0, 1)]
        flux, noise = (shifted(one, redshifts[rows], grid, target) for one in parts) if rest else parts
        return flux, noise

    count = len(spectra)
    drawn = np.sort(np.random.default_rng(0).permutation(count)[:_LEARNT_FROM])
    learnt = SpectrumFeatures.learn(target, *on_target(drawn))
    rows = [np.arange(start, min(count, start + _TOGETHER)) for start in range(0, count, _TOGETHER)]
    values = np.concatenate([learnt.transform(*on_target(some)) for some in rows])
    there = np.isfinite(values).any(axis=0)
    if not there.any():
        raise CatalogError(f"block {name}: no spectrum covers a tenth of the wavelengths, and none can be described")
    return [one for one, yes in zip(learnt.names, there, strict=True) if yes], values[:, there]
