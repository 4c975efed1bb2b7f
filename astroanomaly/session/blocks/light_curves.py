"""Light curves beside the image: read from their files, matched to the objects, and described by numbers."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from astroanomaly.errors import AstroAnomalyError, CatalogError, UnreadableError
from astroanomaly.learn.features.block_options import BlockOptions
from astroanomaly.learn.features.light_curve_files import POINT, write_light_curves
from astroanomaly.learn.features.light_curves import LEAST_POINTS, curve_names, curve_numbers
from astroanomaly.parallel.watched import each_watched
from astroanomaly.records import FeatureBlock, Progress
from astroanomaly.session.blocks.given import BLOCKS, GivenBlock, block_name, said_of
from astroanomaly.session.blocks.given_files import find_files
from astroanomaly.session.blocks.kept_curves import KeptCurves
from astroanomaly.session.blocks.object_matching import ObjectMatcher
from astroanomaly.tables.light_curves import LightCurves, read_light_curves

if TYPE_CHECKING:
    from astroanomaly.cache import Cache

__all__ = ["GivenLightCurves", "read_light_curve_blocks"]

_SUFFIXES = (
    ".fits", ".fit", ".fits.gz", ".fit.gz", ".ecsv", ".csv", ".csv.gz", ".vot", ".xml", ".parquet", ".dat", ".txt",
)  # fmt: skip
_SMALL_BYTES = 2**18  # files of one object, of which many are read together
_READ_TOGETHER = 64
_TOLD = 50  # light curves, a second or so, between two reports


class _Called(NamedTuple):
    names: tuple[str, ...]
    ra: float
    dec: float


@dataclass(frozen=True, eq=False)
class GivenLightCurves(GivenBlock):
    """A block of light curves that a new session gets.

    Attributes
    ----------
    starts
        ``(m + 1,)`` where the measurements of each id begin.
    points
        ``(N,)`` measurements, mapped from a file.
    """

    starts: np.ndarray = field(default_factory=lambda: np.zeros(1, np.int64))
    points: np.ndarray = field(default_factory=lambda: np.zeros(0, POINT))

    def write(self, session: Path) -> None:
        """Keep the numbers and the light curves in a session's folder."""
        super().write(session)
        write_light_curves(session / BLOCKS / self.block.name, self.ids, self.starts, self.points)


def read_light_curve_blocks(
    given: Mapping[str, Any],
    cache: Cache,
    config: BlockOptions,
    taken: Sequence[str],
    room: Path,
    progress: Callable[[Progress], None] | None = None,
) -> Iterator[GivenLightCurves]:
    """Read the blocks of light curves of a new session.

    Parameters
    ----------
    given
        File, folder, pattern, or list of these, by the name of the block. ``NAME:COLUMN`` takes a catalogue column of
        the cache for what the light curves of objects are called.
    cache
        The objects.
    config
        The settings of blocks.
    taken
        Names of other blocks.
    room
        A folder that measurements are put in meanwhile.
    progress
        Called now and then while light curves are described.

    Raises
    ------
    ConfigError
        If a name or a wish cannot be.
    CatalogError
        If no light curve is of an object, there is no such column, or files do not go together.
    UnreadableError
        If there is no file, or none that can be read.
    """
    names = set(taken)
    for key, value in given.items():
        name, column = block_name(key, names)
        yield _block(name, column.strip(), value, cache, config, room, progress)


def _block(
    name: str,
    column: str,
    given: Any,
    cache: Cache,
    config: BlockOptions,
    room: Path,
    progress: Callable[[Progress], None] | None,
) -> GivenLightCurves:
    files = find_files(given, name, "light curves", _SUFFIXES)
    matcher = ObjectMatcher(cache, column, name, "light curve", "light curves")
    with contextlib.closing(KeptCurves(name, room)) as kept:
        failed = _read(kept, matcher, files, config.brightness)
        if len(failed) == len(files):
            raise UnreadableError(f"block {name}: {failed[0]}")
        if not kept.points:
            raise matcher.none_of_ours(kept.seen, len(files))
        ids = list(kept.rows)
        starts, points = kept.sort()
    bands, order = _in_order(kept.bands)
    columns, values = _described(starts, points, order, kept, progress)
    messages = [
        f"block {name}: {len(ids)} light curves with {len(points)} measurements"
        f"{' in ' + ', '.join(bands) if any(bands) else ''}, as {'magnitudes' if kept.is_magnitude else 'fluxes'}",
        *said_of(name, columns, values, cache, ids),
        *matcher.left_out(failed, len(files), kept.seen, kept.matched),
        *_remarks(kept),
    ]
    about = {
        "name": name, "columns": columns, "objects": len(ids), "kind": "light curves", "files": len(files),
        "source": files[0].name, "bands": kept.bands, "unit": kept.unit, "magnitudes": kept.is_magnitude,
        "mjd": kept.is_mjd,
    }  # fmt: skip
    block = FeatureBlock(name, tuple(columns), ("",) * len(columns), weight=config.weight)
    return GivenLightCurves(block, tuple(messages), ids, values, about, starts, points)


def _read(kept: KeptCurves, matcher: ObjectMatcher, files: Sequence[Path], brightness: str) -> list[str]:
    """Read the light curves of files, keep those of objects, and return why others cannot be read."""
    failed: list[str] = []
    small = all(file.is_file() and file.stat().st_size < _SMALL_BYTES for file in files)
    read = functools.partial(read_light_curves, brightness=brightness)
    results = each_watched(read, files, together=_READ_TOGETHER if small else 1)
    for file, result in zip(files, results, strict=True):
        if isinstance(result, AstroAnomalyError):
            failed.append(str(result))
        else:
            kept.take(result, matcher.find(_called(result)), file)
    return failed


def _called(curves: LightCurves) -> list[_Called]:
    places = zip(curves.names, curves.ra.tolist(), curves.dec.tolist(), strict=True)
    return [_Called(*one) for one in places]


def _in_order(bands: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Return the names of bands in order, and which of them each is."""
    ordered = sorted(bands)
    return ordered, np.array([ordered.index(name) for name in bands], int)


def _described(
    starts: np.ndarray,
    points: np.ndarray,
    order: np.ndarray,
    kept: KeptCurves,
    progress: Callable[[Progress], None] | None,
) -> tuple[list[str], np.ndarray]:
    """Describe light curves by numbers ``(m, D)`` float32 with names, NaN where unknown."""
    names = curve_names(sorted(kept.bands))
    values = np.full((len(starts) - 1, len(names)), np.nan, np.float32)
    for row, (start, end) in enumerate(zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)):
        some = np.array(points[start:end])
        values[row] = curve_numbers(
            some["time"], some["value"].astype(np.float64), some["error"].astype(np.float64), order[some["band"]],
            len(kept.bands), is_magnitude=kept.is_magnitude,
        )  # fmt: skip
        if progress is not None and (row % _TOLD == _TOLD - 1 or row == len(values) - 1):
            progress(Progress("light curves", row + 1, len(values)))
    known: np.ndarray = np.isfinite(values)
    if not (known.sum(axis=1) > 2 * len(kept.bands)).any():
        raise CatalogError(
            f"block {kept.name}: no light curve has {LEAST_POINTS} measurements in a band, and none can be described"
        )
    there = np.flatnonzero(known.any(axis=0))
    return [names[k] for k in there], values[:, there]


def _remarks(kept: KeptCurves) -> Iterator[str]:
    """Say what is not known of those that were kept."""
    if kept.unit and kept.without_unit:
        yield f"block {kept.name}: {kept.without_unit} files state no unit, and are taken to be in {kept.unit}"
    if kept.without_error:
        yield f"block {kept.name}: {kept.without_error} of {kept.points} measurements have no error"
