"""A few cutouts of a request as one picture with compass and scale, before anything is written."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly import figures
from astroanomaly.cache.encoding import fit_block
from astroanomaly.cache.pictures import Pictures
from astroanomaly.config import FetchConfig
from astroanomaly.errors import CacheError, ConfigError
from astroanomaly.fetch import using
from astroanomaly.hookspecs import Source
from astroanomaly.imaging.compass import compass_of, sexagesimal
from astroanomaly.ingestion.plan import complete_facts, layout_of
from astroanomaly.ingestion.request import SourceRequest
from astroanomaly.ingestion.workers import read_task
from astroanomaly.records import Cutout, CutoutBlock, Fact, Failure, Layout, Plan, Progress, Task, drain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from astropy.io.fits import HDUList

__all__ = ["Preview", "preview", "preview_steps"]

_MOST_CUTOUTS = 500
_ROUNDS = 10  # in which objects that failed are replaced by others
_CELL_PX = 160  # wanted side of a picture


@dataclass(frozen=True, eq=False)
class Preview:
    """A few cutouts of a request. In a notebook it shows itself.

    Attributes
    ----------
    cutouts
        The cutouts, spread over the tasks of the request.
    layout
        Their layout.
    facts
        What was understood of the request, by name.
    failures
        Objects that were tried and could not be cut.
    source
        Name of the source.
    """

    cutouts: tuple[Cutout, ...]
    layout: Layout
    facts: dict[str, Fact]
    failures: tuple[Failure, ...]
    source: str

    def __len__(self) -> int:
        return len(self.cutouts)

    def __repr__(self) -> str:
        said = "".join(f"\n{fact.name}: {fact.text}" for fact in self.facts.values())
        return f"<Preview of {len(self)} cutouts of {self.source}, {len(self.failures)} failures>{said}"

    @property
    def images(self) -> np.ndarray:
        """``(n, height, width, 3)`` uint8, painted as everywhere, first row on top: for flux the cutout's last one."""
        held = _Held(self.cutouts, self.layout)
        painted = Pictures(held).rgb([cutout.object_id for cutout in self.cutouts])
        return np.stack([_upright(image, cutout) for image, cutout in zip(painted, self.cutouts, strict=True)])

    def save(self, path: str | Path) -> None:
        """Draw the cutouts with their compass and a scale bar as one picture.

        Parameters
        ----------
        path
            ``.png``, ``.svg`` or ``.pdf``; replaced if it is there.

        Raises
        ------
        ConfigError
            For another suffix.
        StorageError
            If it cannot be written.
        """
        count = len(self.cutouts)
        size = self.facts["size"].text if "size" in self.facts else ""
        what = f"{count} {'cutout' if count == 1 else 'cutouts'}{' of ' + size if size else ''}"
        figures.contact_sheet(
            self.images,
            [_caption(cutout) for cutout in self.cutouts],
            path,
            title=f"{self.source}: {what}, bands {', '.join(self.layout.bands)}",
            columns=int(np.ceil(np.sqrt(1.5 * count))),
            cell=_CELL_PX,
            compasses=[compass_of(cutout.wcs, *cutout.data.shape[:0:-1]) for cutout in self.cutouts],
        )

    def _repr_png_(self) -> bytes:
        with tempfile.TemporaryDirectory(prefix="astroanomaly-") as folder:
            path = Path(folder) / "preview.png"
            self.save(path)
            return path.read_bytes()


def preview(
    source: str | Source,
    inputs: str | Path | HDUList | Sequence[str | Path | HDUList] = (),
    *,
    n: int = 12,
    to: str | Path | None = None,
    prefix: str = "",
    fetch: FetchConfig | Mapping[str, Any] | None = None,
    progress: Callable[[Progress], None] | None = None,
    **options: Any,
) -> Preview:
    """Cut a few objects of a request and show them; no cache is written.

    Parameters
    ----------
    source, inputs, prefix, fetch, progress, **options
        As in `astroanomaly.ingest`.
    n
        How many cutouts, 1 to 500; spread over the tiles, the same at every call.
    to
        Draw them into this ``.png``, ``.svg`` or ``.pdf``.

    Raises
    ------
    AstroAnomalyError
        As `astroanomaly.ingest`, and if not one object could be cut.
    """
    request = SourceRequest.of(source, inputs, options=options, prefix=prefix, fetch=fetch)
    found = drain(preview_steps(request, n), progress)
    if to is not None:
        found.save(to)
    return found


def preview_steps(request: SourceRequest, n: int) -> Generator[Progress, None, Preview]:
    """As `preview`, as a generator of progress reports that returns it.

    Raises
    ------
    ConfigError
        If ``n`` is not 1 to 500.
    CacheError
        If nothing could be cut.
    """
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or not 1 <= n <= _MOST_CUTOUTS:
        raise ConfigError(f"a preview of {n!r} cutouts: expected a whole number from 1 to {_MOST_CUTOUTS}")
    yield Progress("planning", 0)
    with using(request.fetch, time.time()), request.stored_for_now() as stored:
        plan = stored.plan()
        tasks = list(plan)
        planned = plan if isinstance(plan, Plan) else Plan(tasks)
        yield Progress("planning", 0, facts=complete_facts(planned.facts, planned.layout, tasks))
        layout, cutouts, failures = planned.layout, list[Cutout](), list[Failure]()
        for item in _cut_some(stored.source, tasks, int(n)):
            if isinstance(item, Failure):
                failures.append(replace(item, object_id=stored.prefix + item.object_id))
                continue
            layout = layout or layout_of(item)
            cutouts += _apart(fit_block(item, layout), layout, stored.prefix)
            yield Progress("cutting", len(cutouts), int(n))
    if layout is None or not cutouts:
        reasons = Counter(failure.reason for failure in failures)
        why = f"; most often: {reasons.most_common(1)[0][0]}" if reasons else ""
        raise CacheError(f"nothing could be cut of {len(failures)} objects that were tried{why}")
    facts = {fact.name: fact for fact in complete_facts(planned.facts, layout, tasks)}
    return Preview(tuple(cutouts), layout, facts, tuple(failures), request.source.name)


# ------------------------------------------------------------------------------------------------------ which objects


def _cut_some(source: Source, tasks: Sequence[Task], n: int) -> Iterator[CutoutBlock | Failure]:
    """Cut objects spread over the tasks; those that fail are replaced by others, first from tasks without failures."""
    unread = {number: np.arange(len(task)) if task.table else None for number, task in enumerate(tasks)}
    troubled: set[int] = set()
    fruitful: set[int] = set()
    left = n
    for _ in range(_ROUNDS):
        ranked = ([k for k in unread if k not in troubled], [k for k in unread if k in fruitful], list(unread))
        shares = _shares(unread, next((numbers for numbers in ranked if numbers), []), left)
        if not shares:
            return
        for number, share in shares.items():
            rows = unread.pop(number)
            task = tasks[number]
            if rows is not None:
                chosen = ((np.arange(share) + 0.5) * len(rows) / share).astype(int)
                task = task.take(rows[chosen])
                if len(rows) > share:
                    unread[number] = np.delete(rows, chosen)
            wanted = share
            for item in read_task(source, task):
                if isinstance(item, Failure):
                    troubled.add(number)
                    yield item
                    continue
                block = CutoutBlock.of(item) if isinstance(item, Cutout) else item
                if len(block):
                    fruitful.add(number)
                    some = block if len(block) <= wanted else block.take(np.arange(wanted))
                    wanted -= len(some)
                    left -= len(some)
                    yield some
                if wanted <= 0:
                    break
            if left <= 0:
                return


def _shares(unread: Mapping[int, np.ndarray | None], numbers: Sequence[int], wanted: int) -> dict[int, int]:
    """Share out how many objects each task gives: as evenly as may be, from tasks evenly spaced where they are more."""
    if len(numbers) > wanted:
        chosen = ((np.arange(wanted) + 0.5) * len(numbers) / wanted).astype(int)
        return {numbers[k]: 1 for k in chosen}
    shares: dict[int, int] = {}
    waiting = sorted(numbers, key=lambda number: (_count(unread[number], wanted), number))
    for place, number in enumerate(waiting):  # the smallest first: what they lack is shared by the others
        fair = -(-wanted // (len(waiting) - place))
        shares[number] = min(fair, _count(unread[number], wanted))
        wanted -= shares[number]
    return {number: share for number, share in sorted(shares.items()) if share}


def _count(rows: np.ndarray | None, wanted: int) -> int:
    return wanted if rows is None else len(rows)


def _apart(block: CutoutBlock, layout: Layout, prefix: str) -> list[Cutout]:
    """Turn a block that fits the layout into cutouts."""
    ra, dec, offsets, coverage = (np.asarray(part) for part in (block.ra, block.dec, block.offsets, block.coverage))
    return [
        Cutout(
            object_id=prefix + object_id,
            data=block.images[row],
            bands=layout.bands,
            ra=float(ra[row]),
            dec=float(dec[row]),
            grid=block.grid,
            offset=(int(offsets[row, 0]), int(offsets[row, 1])),
            coverage=coverage[row],
            columns={name: values[row] for name, values in block.columns.items()},
            units=layout.units,
        )
        for row, object_id in enumerate(block.ids)
    ]


# ----------------------------------------------------------------------------------------------------------- pictures


class _Held:
    """Cutouts in memory, as the part of a cache that pictures need."""

    def __init__(self, cutouts: Sequence[Cutout], layout: Layout) -> None:
        self.layout, self.bands = layout, layout.bands
        self._by_id = {cutout.object_id: cutout for cutout in cutouts}

    def sample(self, n: int, rng: np.random.Generator) -> list[str]:
        return list(self._by_id)[:n]

    def read(self, ids: Sequence[str]) -> np.ndarray:
        return np.stack([self._by_id[object_id].data for object_id in ids])


def _upright(image: np.ndarray, cutout: Cutout) -> np.ndarray:
    """Put the first row of flux, or of what has a WCS, at the bottom, as FITS has it; pictures keep their up."""
    return image[::-1] if cutout.grid is not None or cutout.data.dtype.kind == "f" else image


def _caption(cutout: Cutout) -> str:
    place = sexagesimal(cutout.ra, cutout.dec) if np.isfinite(cutout.ra + cutout.dec) else "no position"
    return f"{cutout.object_id}\n{place}"
